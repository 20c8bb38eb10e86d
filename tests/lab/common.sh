# Shared by the laboratory's scripts (sourced, POSIX sh): places, messages, versions.

repo=$(cd "$(dirname "$0")/../.." && pwd)
lab=${LAB_DIR:-$repo/.lab}
root=${ASTERISK_ROOT:-$lab/root}

say() { echo "lab: $*" >&2; }
fail() { echo "lab: error: $*" >&2; exit 1; }

# host_package NAME…: installs Debian packages on this machine when root may, else says what to install.
host_package() {
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        say "installing $*"
        { apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install "$@"; } >>"$lab/host.log" 2>&1 \
            || fail "apt-get install $* failed: see $lab/host.log"
    else
        fail "not installed: $*. Run: sudo apt-get install $*"
    fi
}

# need PROGRAM PACKAGE: installs the package when the program is missing.
need() {
    command -v "$1" >/dev/null 2>&1 || host_package "$2"
}

# Runs a program of the laboratory's root: by chroot, or directly when the root is this machine's own.
lab_exec() {
    if [ "$root" = / ]; then "$@"; else chroot "$root" "$@"; fi
}

versions() {
    echo "asterisk:    $(lab_exec /usr/sbin/asterisk -V 2>/dev/null || echo missing)"
    if [ -x "$root/usr/bin/whisper-cli" ]; then
        echo "whisper.cpp: $(lab_exec dpkg-query -W -f '${Version}' whisper.cpp 2>/dev/null || echo 'not a Debian package')"
    else
        echo "whisper.cpp: missing"
    fi
    echo "sipp:        $( (sipp -v 2>/dev/null || true) | sed -n 's/^ *SIPp *\(v[^,]*\).*/\1/p' | head -n 1)"
    echo "baresip:     $( (dpkg-query -W -f '${Version}' baresip 2>/dev/null) || echo missing)"
    echo "chromium:    $( (chromium --version 2>/dev/null || echo missing) | head -n 1)"
    echo "tshark:      $( (tshark --version 2>/dev/null || true) | sed -n '1s/^TShark (Wireshark) \([^ ]*\).*/\1/p')"
    echo "python3:     $( (python3 --version 2>/dev/null || echo missing))"
    echo "webhooks:    $(sed 's/==/ /' "$lab/venv/.python-packages" 2>/dev/null || echo missing)"
}

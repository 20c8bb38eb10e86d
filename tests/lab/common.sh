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

# The Debian archive to bootstrap from: LAB_MIRROR, else the first one that this machine's apt is configured for.
mirror() {
    if [ -n "${LAB_MIRROR:-}" ]; then echo "$LAB_MIRROR"; return; fi
    apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 2>/dev/null | sed 's#/*$##' | grep '/debian$' | head -n 1
}

# in_root ROOT COMMAND ARGS: runs an administrator's command in a chroot.
in_root() {
    in_root=$1
    shift
    chroot "$in_root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 "$@"
}

# make_root ROOT SUITE [SCRIPT]: a minimal Debian below ROOT, by debootstrap's script for that suite; once.
make_root() {
    [ ! -e "$1/.bootstrapped" ] || return 0
    need debootstrap debootstrap
    from=$(mirror)
    [ -n "$from" ] || fail "no Debian archive in this machine's apt sources: set LAB_MIRROR to a Debian mirror (…/debian)"
    say "bootstrapping Debian $2 into $1"
    rm -rf "$1"
    mkdir -p "$1"
    # shellcheck disable=SC2086 # the script may be left out
    debootstrap --variant=minbase --include=ca-certificates "$2" "$1" "$from" ${3:-} >"$lab/${1##*/}-debootstrap.log" 2>&1 \
        || fail "debootstrap failed: see $lab/${1##*/}-debootstrap.log and $1/debootstrap/debootstrap.log"
    # testing moves and old suites rest: the mirror's Release file may be past its date
    echo 'Acquire::Check-Valid-Until "false";' >"$1/etc/apt/apt.conf.d/90lab"
    printf '#!/bin/sh\nexit 101\n' >"$1/usr/sbin/policy-rc.d"
    chmod +x "$1/usr/sbin/policy-rc.d"
    touch "$1/.bootstrapped"
}

# packages_in ROOT "NAME…": installs Debian packages in a chroot, when they are not those that are there already.
packages_in() {
    [ "$(cat "$1/.packages-done" 2>/dev/null)" != "$2" ] || return 0
    say "installing $2 in $1"
    {
        # an installation that was killed is finished first
        in_root "$1" dpkg --configure -a
        in_root "$1" apt-get -q update
        # shellcheck disable=SC2086 # a list of names
        in_root "$1" apt-get -q -y --no-install-recommends install $2
    } >"$lab/${1##*/}-packages.log" 2>&1 || fail "installing packages in the chroot failed: see $lab/${1##*/}-packages.log"
    in_root "$1" apt-get clean
    echo "$2" >"$1/.packages-done"
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
    echo "nats-server: $( (lab_exec dpkg-query -W -f '${Version}' nats-server 2>/dev/null) || echo missing)"
    echo "kamailio:    $( (dpkg-query -W -f '${Version}' kamailio 2>/dev/null) || echo missing)"
    echo "odoo:        $( (chroot "$lab/odoo-root" dpkg-query -W -f '${Version}' odoo-14 2>/dev/null) || echo missing)"
    echo "kintone:     $(cat "$lab/node/.node-packages" 2>/dev/null || echo missing)"
    echo "webhooks:    $(sed 's/==/ /' "$lab/venv/.python-packages" 2>/dev/null || echo missing)"
}

#!/bin/sh
# Sets up the laboratory: Asterisk 22, whisper.cpp's own program and a NATS server in a chroot below .lab/, the host-side peers
# (SIPp, baresip, Chromium, tshark), and a Python environment with an independent Standard Webhooks library.
# Safe to run again: what is there is kept.
#
#   tests/lab/setup.sh             everything
#   tests/lab/setup.sh --root      only the chroot (enough for whisper_cli.sh)
#   tests/lab/setup.sh --bench     the chroot and the Python environment (the peers of `make bench`)
#
# LAB_DIR        where the laboratory lives (default: .lab in the repository)
# LAB_MIRROR     a Debian mirror (default: the first Debian archive that this machine's apt is configured for)
# LAB_SUITE      the suite (default: forky, Debian testing)
# ASTERISK_ROOT  an existing root that holds usr/sbin/asterisk (`/` for the machine's own); nothing is bootstrapped then
set -eu
. "$(dirname "$0")/common.sh"

suite=${LAB_SUITE:-forky}
# sysusers: what nats-server needs of systemd, without the rest
packages="asterisk asterisk-modules asterisk-config whisper.cpp systemd-standalone-sysusers nats-server"
# for receiver.py: the reference implementation of Standard Webhooks in Python, the CloudEvents SDK, Ed25519 by OpenSSL; a softphone that is none of
# ours, for web_phone.py; a client of HTTP, for benches/webhook_peer.py; the messages of OTLP, for otlp.py
python_packages="standardwebhooks==1.1.0 cloudevents==2.2.0 cryptography==50.0.2 aiortc==1.16.0 httpx==0.28.1 opentelemetry-proto==1.45.2"


bootstrap() {
    [ "$(id -u)" = 0 ] || fail "making the chroot needs root: run 'sudo tests/lab/setup.sh', or set ASTERISK_ROOT to an existing Asterisk 22"
    # the script of unstable serves every newer suite, also one that this debootstrap does not know by name
    make_root "$root" "$suite" /usr/share/debootstrap/scripts/sid
    packages_in "$root" "$packages"
}

host_peers() {
    missing=
    for peer in sipp:sip-tester baresip:baresip chromium:chromium python3:python3 tshark:tshark dumpcap:tshark curl:curl kamailio:kamailio; do
        command -v "${peer%%:*}" >/dev/null 2>&1 || missing="$missing ${peer#*:}"
    done
    # shellcheck disable=SC2086 # a list of names
    [ -z "$missing" ] || host_package $missing
}

python_environment() {
    [ "$(cat "$lab/venv/.python-packages" 2>/dev/null)" = "$python_packages" ] && return 0
    python3 -c 'import venv, ensurepip' 2>/dev/null || host_package python3-venv
    say "installing $python_packages in $lab/venv"
    {
        # shellcheck disable=SC2086 # a list of names
        python3 -m venv "$lab/venv" && "$lab/venv/bin/pip" install --disable-pip-version-check $python_packages
    } >"$lab/venv.log" 2>&1 || fail "installing $python_packages failed: see $lab/venv.log"
    echo "$python_packages" >"$lab/venv/.python-packages"
}

mkdir -p "$lab"
if [ -z "${ASTERISK_ROOT:-}" ]; then bootstrap; fi
[ -x "$root/usr/sbin/asterisk" ] || fail "no usr/sbin/asterisk below $root: unset ASTERISK_ROOT, or point it at a root that has Asterisk 22"
case "${1:-}" in
    --root) ;;
    --bench) python_environment ;;
    *)
        host_peers
        python_environment
        "$(dirname "$0")/certificates.sh"
        ;;
esac
versions

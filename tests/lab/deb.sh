#!/bin/sh
# Installs the Debian package in a clean Debian without a network, starts it there as its service would be, and takes it away again. Needs root.
# usage: tests/lab/deb.sh PACKAGE [SUITE]     prints what it saw; ends with 0 when all of it is as it should be
set -eu
. "$(dirname "$0")/common.sh"

package=$1
suite=${2:-$(. /etc/os-release && echo "$VERSION_CODENAME")}
if [ "${DEB_ALONE:-}" != yes ]; then
    [ "$(id -u)" = 0 ] || fail "the chroot needs root: run it with sudo"
    mkdir -p "$lab"
    make_root "$lab/clean-root" "$suite"
    need ip iproute2
    need curl curl
    DEB_ALONE=yes exec unshare --net --pid --fork --kill-child --mount-proc "$0" "$package" "$suite"
fi

ip link set lo up
clean=$(mktemp -d "$lab/clean-XXXXXX")
finish() {
    umount "$clean/proc" 2>/dev/null || true
    rm -rf "$clean"
}
trap finish EXIT
trap 'exit 130' INT TERM
cp -a "$lab/clean-root/." "$clean"
mount -t proc proc "$clean/proc"
cp "$package" "$clean/kakehashi.deb"

in_root "$clean" dpkg -i /kakehashi.deb
echo "CONFIG=$(in_root "$clean" stat -c '%a %U:%G' /etc/kakehashi/kakehashi.toml)"
echo "DATA=$(in_root "$clean" stat -c '%a %U:%G' /var/lib/kakehashi)"
as_service() {
    in_root "$clean" setpriv --reuid kakehashi --regid kakehashi --clear-groups env NOTIFY_SOCKET=/run/notify.sock "$@"
}
as_service kakehashi check --config /etc/kakehashi/kakehashi.toml
echo "CHECK=$?"

# what systemd would hear
python3 -c '
import os, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
os.chmod(sys.argv[1], 0o777)
while True:
    print("NOTIFY=" + s.recv(4096).decode().strip(), flush=True)
' "$clean/run/notify.sock" &
until [ -S "$clean/run/notify.sock" ]; do sleep 0.1; done
as_service kakehashi serve --config /etc/kakehashi/kakehashi.toml &
service=$!
tries=0
until curl -fsS --max-time 5 http://127.0.0.1:8080/readyz >/dev/null 2>&1; do
    kill -0 "$service" 2>/dev/null || fail "the service ended"
    tries=$((tries + 1))
    [ "$tries" -lt 600 ] || fail "the service was not ready within 60 s"
    sleep 0.1
done
echo "READY=$(curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:8080/readyz)"
# the bridge, not its recognisers
kill -TERM "$(pgrep -o -x kakehashi)"
ended=0
wait "$service" || ended=$?
echo "ENDED=$ended"
in_root "$clean" dpkg --purge kakehashi
[ -e "$clean/var/lib/kakehashi/outbox.db" ] && echo "KEPT=yes"
[ ! -e "$clean/usr/bin/kakehashi" ] && echo "GONE=yes"

#!/bin/sh
# Runs a NATS server with JetStream in the laboratory's root until it is killed. Prints PID=… (of the server), MONITOR=http://… and, as the
# last line, URL=nats://…: clients are accepted then.
#
#   tests/lab/nats.sh up [PORT]            on 127.0.0.1; a free port when none is named. What it stored is deleted at the end
#   tests/lab/nats.sh up PORT STORE        keeps what it stored below .lab under that name: the next run with the name finds it
#
# NATS_LISTEN=0.0.0.0 lets machines in other networks (namespaces) in. NATS_MORE is more text for the server's configuration (users, limits).
# NATS_TLS=FOLDER makes it speak TLS by own.pem and own.key of that folder, with clients that authority.pem vouches for.
set -eu
. "$(dirname "$0")/common.sh"

[ "${1:-}" = up ] || fail "nats.sh up [PORT [STORE]]: see the head of $0"
port=${2:--1}
address=${NATS_LISTEN:-127.0.0.1}
server=/usr/sbin/nats-server
[ -x "$root$server" ] || fail "no $server below $root: run tests/lab/setup.sh --root"

# below the root, because the server runs there
top=var/lib/kakehashi-lab/nats
under=${root%/}
mkdir -p "$under/$top"
if [ -n "${3:-}" ]; then
    store=$top/$3
    mkdir -p "$under/$store"
else
    # what runs that were killed outright left behind
    for old in "$under/$top"/run-*; do
        if [ -e "$old" ] && ! kill -0 "${old##*-}" 2>/dev/null; then rm -rf "$old"; fi
    done
    store=$top/run-$$
    mkdir "$under/$store"
fi
tls=
if [ -n "${NATS_TLS:-}" ]; then
    cp "$NATS_TLS/own.pem" "$NATS_TLS/own.key" "$NATS_TLS/authority.pem" "$under/$store/"
    tls="tls { cert_file: \"/$store/own.pem\", key_file: \"/$store/own.key\", ca_file: \"/$store/authority.pem\", verify: true }"
fi
cat >"$under/$store/nats.conf" <<CONF
listen: "$address:$port"
http: "127.0.0.1:-1"
jetstream { store_dir: "/$store", sync_interval: always }
$tls
${NATS_MORE:-}
CONF
log=$under/$store/log
: >"$log"

# the server ends when this script does, in whatever way
if [ "$root" = / ]; then enter=; else enter="chroot $root"; fi
# shellcheck disable=SC2086 # a command and its argument
setpriv --pdeathsig TERM $enter "$server" -c "/$store/nats.conf" >"$log" 2>&1 &
nats=$!
finish() {
    kill "$nats" 2>/dev/null || true
    wait "$nats" 2>/dev/null || true
    [ "$store" != "$top/run-$$" ] || rm -rf "${under:?}/$store"
}
trap finish EXIT
trap 'exit 0' INT TERM

tries=0
until grep -q 'Server is ready' "$log"; do
    kill -0 "$nats" 2>/dev/null || fail "the NATS server did not start: $(tail -n 1 "$log")"
    tries=$((tries + 1))
    [ "$tries" -lt 300 ] || fail "the NATS server was not ready within 30 s: $(tail -n 1 "$log")"
    sleep 0.1
done
listens() { sed -n "s/.*$1.* on .*[.0-9]:\([0-9]*\).*/\1/p" "$log" | head -n 1; }
echo "PID=$nats"
echo "MONITOR=http://127.0.0.1:$(listens 'http monitor')"
echo "URL=nats://127.0.0.1:$(listens 'client connections')"
wait "$nats" || fail "the NATS server ended: $(tail -n 1 "$log")"

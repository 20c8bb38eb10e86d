#!/bin/sh
# Runs the laboratory (`make lab`): sets it up, starts Asterisk, runs every test that needs it, stops Asterisk.
#
#   tests/lab/run.sh               all tests marked "needs the lab: make lab" or "needs Chromium"
#   tests/lab/run.sh COMMAND ARGS  that command instead, with Asterisk running
#
# All tests take place in three laboratories beside each other, each with an Asterisk and a network (namespace) of its own, because calls are
# mostly waiting; where no namespace can be made, one after the other. What needs the whole machine comes after them. Nothing is left running, whatever happens.
set -eu
. "$(dirname "$0")/common.sh"

cd "$repo"
if [ -z "${LAB_LANE:-}" ]; then
    tests/lab/setup.sh
    tests/lab/chromium.sh >/dev/null
    tests/lab/node.sh >/dev/null
    tests/lab/schema.sh >/dev/null
    tests/lab/odoo.sh setup >/dev/null
elif [ "$LAB_LANE" != host ] && [ "$LAB_LANE" != alone ]; then
    ip link set lo up
fi

# Runs a command with Asterisk running.
with_asterisk() {
    said="$lab/asterisk${LAB_LANE:+-$LAB_LANE}.out"
    : >"$said" # what the last run said is not taken for this one
    python3 tests/lab/lab.py up >"$said" 2>&1 &
    asterisk=$!
    trap 'kill "$asterisk" 2>/dev/null || true; wait "$asterisk" 2>/dev/null || true' EXIT
    trap 'exit 130' INT TERM
    tries=0
    until grep -q '^Asterisk runs' "$said"; do
        kill -0 "$asterisk" 2>/dev/null || fail "Asterisk did not start: $(cat "$said")"
        tries=$((tries + 1))
        [ "$tries" -lt 700 ] || fail "Asterisk was not ready within 70 s: see $lab/asterisk/console.log"
        sleep 0.1
    done
    "$@"
}

# Runs a lane's tests; one call at a time: the telephones have fixed ports.
calls() {
    cargo test --no-fail-fast "$@" --test-threads=1 --nocapture --skip soak
}

# The tests of one lane.
tests_of() {
    case $1 in
        first) calls --test call_lab -- --ignored killed:: matrix:: carriers:: ;;
        second) calls --test call_lab -- --ignored --skip killed:: --skip matrix:: --skip carriers:: --skip stopped:: ;;
        host)
            # what shows an interface of the machine's own, makes networks of its own, or asks a browser for its addresses
            calls --test serve --test receiver_lab --test ari_lab --test sip_lab --test tls_lab --test secure_lab --test probe_lab --test registrar_lab \
                --test mirror_lab --test webcall_lab --test siprec_lab --test remote_lab --test nats_sink_lab --test kamailio_lab --test package_lab --test kintone_client --test odoo_lab -- --ignored
            ;;
        alone)
            # fifty callers, several recognisers at once, and a thousand requests: the calls of the other lanes would not be heard in time beside them
            calls --test call_lab -- --ignored stopped:: && calls --test nats_lab --test schema_lab -- --ignored
            ;;
    esac
}

if [ $# -gt 0 ]; then
    with_asterisk "$@"
    exit
elif [ -n "${LAB_LANE:-}" ]; then
    with_asterisk tests_of "$LAB_LANE"
    exit
fi

cargo test --no-run
need ip iproute2
own_network='unshare --net'
$own_network true 2>/dev/null || own_network=
running=
# shellcheck disable=SC2086 # a list of numbers
trap 'kill $running 2>/dev/null || true; wait; exit 130' INT TERM
failed=
end_of() { # LANE PID
    wait "$2" || failed="$failed $1"
    cat "$lab/lane-$1.log"
}
for lane in first second host; do
    network=$own_network
    [ "$lane" != host ] || network=
    say "lane $lane: tail -f $lab/lane-$lane.log"
    LAB_LANE=$lane $network "$repo/tests/lab/run.sh" >"$lab/lane-$lane.log" 2>&1 &
    eval "$lane=$!"
    running="$running $!"
    [ -n "$own_network" ] || end_of "$lane" "$!"
done
if [ -n "$own_network" ]; then
    for lane in first second host; do
        eval "end_of $lane \$$lane"
    done
fi
say "lane alone: tail -f $lab/lane-alone.log"
LAB_LANE=alone "$repo/tests/lab/run.sh" >"$lab/lane-alone.log" 2>&1 &
end_of alone "$!"
cargo test --test panel page -- --ignored --test-threads=2 || failed="$failed pages"
[ -z "$failed" ] || fail "failed:$failed (see above)"

#!/bin/sh
# Runs the laboratory (`make lab`): sets it up, starts Asterisk, runs every test that needs it, stops Asterisk.
#
#   tests/lab/run.sh               all tests marked "needs the lab: make lab" or "needs Chromium"
#   tests/lab/run.sh COMMAND ARGS  that command instead, with Asterisk running
#
# Nothing is left running, whatever happens.
set -eu
. "$(dirname "$0")/common.sh"

cd "$repo"
tests/lab/setup.sh
tests/lab/chromium.sh >/dev/null
: >"$lab/asterisk.out" # what the last run said is not taken for this one
python3 tests/lab/lab.py up >"$lab/asterisk.out" 2>&1 &
asterisk=$!
trap 'kill "$asterisk" 2>/dev/null || true; wait "$asterisk" 2>/dev/null || true' EXIT
trap 'exit 130' INT TERM
tries=0
until grep -q '^Asterisk runs' "$lab/asterisk.out"; do
    kill -0 "$asterisk" 2>/dev/null || fail "Asterisk did not start: $(cat "$lab/asterisk.out")"
    tries=$((tries + 1))
    [ "$tries" -lt 700 ] || fail "Asterisk was not ready within 70 s: see $lab/asterisk/console.log"
    sleep 0.1
done

if [ $# -gt 0 ]; then
    "$@"
else
    failed=
    # one call at a time: the telephones have fixed ports
    cargo test --no-fail-fast --test receiver_lab --test ari_lab --test sip_lab --test tls_lab --test secure_lab --test probe_lab --test registrar_lab --test mirror_lab --test webcall_lab --test siprec_lab --test call_lab -- --ignored --test-threads=1 --nocapture --skip soak \
        || failed="$failed calls"
    cargo test --test panel page -- --ignored --test-threads=2 || failed="$failed pages"
    [ -z "$failed" ] || fail "failed:$failed (see above)"
fi

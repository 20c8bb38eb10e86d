#!/usr/bin/env bash
# What takes longer than continuous integration may (`make soak`, by hand): 10^7 mutated messages of each kind, ten minutes of four times as much
# speech as can be recognised and the half hour that it takes to catch up, a call of two hours, an hour of real calls, and the outbox killed at 1,000
# points with everything else that may happen to it.
#
#   KAKEHASHI_MUTATE_TIMES  multiplies the mutated cases of the tests (100: 10^8 over SIP, SDP, digest and dialog-info, at least 10^7 of each kind; `make test` runs 1.04 million)
#   KAKEHASHI_OVERLOAD_S, KAKEHASHI_LONG_CALL_MIN, KAKEHASHI_HANG_UPS  see tests/overload.rs (600), tests/long_call.rs (120), tests/hang_ups.rs (100)
#   KAKEHASHI_SOAK_MINUTES  how long calls are made (60)
#   KAKEHASHI_FAULT_POINTS  at how many points the process with the outbox is killed; power cuts, full disks and the rest in proportion (1000; `make test`: 50)
#   KAKEHASHI_SILENCE_MINUTES  minutes of what is no speech for each of five seeds (60)
set -euo pipefail
cd "$(dirname "$0")/.."
export KAKEHASHI_MUTATE_TIMES=${KAKEHASHI_MUTATE_TIMES:-100} KAKEHASHI_SOAK_MINUTES=${KAKEHASHI_SOAK_MINUTES:-60}
export KAKEHASHI_OVERLOAD_S=${KAKEHASHI_OVERLOAD_S:-600} KAKEHASHI_LONG_CALL_MIN=${KAKEHASHI_LONG_CALL_MIN:-120}

echo "# commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown)$(git diff --quiet HEAD 2>/dev/null || echo ', changed')"
echo "# $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | sort -u | head -n 1), $(nproc) cores, $(date -u +%F)"
mutations=()
for file in tests/mutate_*.rs; do
    mutations+=(--test "$(basename "$file" .rs)")
done
cargo test --release --no-fail-fast "${mutations[@]}" -- --nocapture
KAKEHASHI_FAULT_POINTS=${KAKEHASHI_FAULT_POINTS:-1000} cargo test --release --test faults -- --nocapture
for seed in 11 12 13 14 15; do
    KAKEHASHI_SILENCE_SEED=$seed cargo test --release --test no_invention -- --nocapture hour
done
# one at a time: each has the recogniser to itself
for test in hang_ups overload long_call; do
    cargo test --release --test "$test" -- --nocapture --test-threads=1
done
tests/lab/run.sh cargo test --test call_lab soak -- --ignored --nocapture

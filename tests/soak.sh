#!/usr/bin/env bash
# What takes longer than continuous integration may (`make soak`, by hand): 10^7 mutated messages of each kind, and an hour of real calls.
#
#   KAKEHASHI_MUTATE_TIMES  multiplies the mutated cases of the tests (100: 10^8 over SIP, SDP, digest and dialog-info, at least 10^7 of each kind; `make test` runs 1.04 million)
#   KAKEHASHI_SOAK_MINUTES  how long calls are made (60)
set -euo pipefail
cd "$(dirname "$0")/.."
export KAKEHASHI_MUTATE_TIMES=${KAKEHASHI_MUTATE_TIMES:-100} KAKEHASHI_SOAK_MINUTES=${KAKEHASHI_SOAK_MINUTES:-60}

echo "# commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown)$(git diff --quiet HEAD 2>/dev/null || echo ', changed')"
echo "# $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | sort -u | head -n 1), $(nproc) cores, $(date -u +%F)"
mutations=()
for file in tests/mutate_*.rs; do
    mutations+=(--test "$(basename "$file" .rs)")
done
cargo test --release --no-fail-fast "${mutations[@]}" -- --nocapture
tests/lab/run.sh cargo test --test call_lab soak -- --ignored --nocapture

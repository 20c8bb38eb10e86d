#!/usr/bin/env bash
# Runs every bench one after the other (`make bench`) and prints `name value unit` lines; the machine and the commit first.
set -euo pipefail
cd "$(dirname "$0")/.."

echo "# commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown)$(git diff --quiet HEAD 2>/dev/null || echo ', changed')"
echo "# $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | sort -u | head -n 1), $(nproc) cores, load $(cut -d' ' -f1 /proc/loadavg)"
# the peers that some benches run beside us
tests/lab/setup.sh --bench || echo "# the laboratory cannot be set up: JetStream and Python are left out"
for bench in dictionary media outbox ring delivery link sip ingest; do
    [ -e "benches/$bench.rs" ] || continue
    echo "# $bench"
    cargo bench --quiet --bench "$bench"
done
# recognition: with and without the dictionary, and beside whisper.cpp's own program in the laboratory's root.
# KAKEHASHI_EVAL_DIR names another set; 40 utterances of samples/eval prove little (samples/generate.py makes more)
set=${KAKEHASHI_EVAL_DIR:-samples/eval}
echo "# eval $set"
cargo build --quiet --release
target/release/kakehashi eval "$set" --dictionary samples/dictionary.csv --model models/kakehashi-lab-ja.bin
echo "# whisper_peer $set"
tests/lab/setup.sh --root
python3 benches/whisper_peer.py "$set"
# from the end of speech to its text, and live calls on two cores (half an hour; KAKEHASHI_BENCH_SECONDS and others in benches/speech.rs)
echo "# speech"
KAKEHASHI_BENCH_SET=$set cargo bench --quiet --bench speech

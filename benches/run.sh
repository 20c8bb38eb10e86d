#!/usr/bin/env bash
# Runs every bench one after the other (`make bench`) and prints `name value unit` lines; the machine and the commit first.
set -euo pipefail
cd "$(dirname "$0")/.."

echo "# commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown)$(git diff --quiet HEAD 2>/dev/null || echo ', changed')"
echo "# $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | sort -u | head -n 1), $(nproc) cores, load $(cut -d' ' -f1 /proc/loadavg)"
for bench in dictionary media outbox ring; do
    [ -e "benches/$bench.rs" ] || continue
    echo "# $bench"
    cargo bench --quiet --bench "$bench"
done
# recognition beside whisper.cpp's own program; needs the laboratory's root (tests/lab/setup.sh --root)
for peer in benches/whisper_peer.sh benches/whisper_peer.py; do
    [ -e "$peer" ] || continue
    echo "# whisper_peer"
    "$peer"
done

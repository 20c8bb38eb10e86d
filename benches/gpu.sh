#!/usr/bin/env bash
# Compares one built `kakehashi` on a graphics card with the same binary on the processor: text, time, and which device whisper.cpp saw.
# Builds and installs nothing: it runs what it is given, so that a binary can be carried to a machine with a card.
#
#   benches/gpu.sh BINARY [MODEL] [WAV]
#
# BINARY   built with `--features cuda` or `vulkan` (docs/models.md)
# MODEL    default: models/kakehashi-lab-ja.bin, whose figures prove that it runs, not how fast a production model is
# WAV      8 or 16 kHz, 16 bit; default: the sample call
# TIMES    runs of each, the fastest counts (default 3)
set -euo pipefail
cd "$(dirname "$0")/.."

binary=${1:?usage: benches/gpu.sh BINARY [MODEL] [WAV]}
model=${2:-models/kakehashi-lab-ja.bin}
wav=${3:-samples/calls/call1.wav}
times=${TIMES:-3}
[ -x "$binary" ] || { echo "gpu.sh: $binary is no program; build one with --features cuda or vulkan (docs/models.md)" >&2; exit 1; }
missing=$(ldd "$binary" | grep 'not found' || true)
[ -z "$missing" ] || { echo "gpu.sh: $binary needs libraries that are not here:$missing" >&2; exit 1; }
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

echo "binary:  $("$binary" --version), $(sha256sum "$binary" | cut -c1-12)"
linked=$(ldd "$binary" | grep -oE '^[[:space:]]*lib(cudart|cublas|cuda|vulkan|openblas)[^ ]*' | sort -u | tr -d '\t' | tr '\n' ' ' || true)
echo "linked:  ${linked:-nothing of a card: both runs below are on the processor}"
echo "machine: $(grep -m1 'model name' /proc/cpuinfo | sed 's/.*: //'), $(nproc) cores"
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null | sed 's/^/card:    /' || echo "card:    no nvidia-smi"
"$binary" model verify "$model" | sed 's/^/model:   /'

# run NAME [VARIABLE=VALUE…]: the fastest of some runs, loading included; text in $out/NAME
run() {
    local name=$1 best= spent
    shift
    for _ in $(seq "$times"); do
        spent=$( { TIMEFORMAT=%R; time env "$@" "$binary" transcribe "$wav" --model "$model" >"$out/$name" 2>"$out/$name.err"; } 2>&1 ) \
            || { echo "gpu.sh: $name failed: $(tail -n 3 "$out/$name.err")" >&2; return 1; }
        if [ -z "$best" ] || [ "$(printf '%s\n' "$spent" "$best" | sort -g | head -n 1)" = "$spent" ]; then best=$spent; fi
    done
    echo "$name: $best s for $(wc -l <"$out/$name") utterances (fastest of $times, with loading)"
}

run card LC_ALL=C.UTF-8
# the card is hidden from CUDA and from Vulkan: whisper.cpp falls back to the processor
run processor LC_ALL=C.UTF-8 CUDA_VISIBLE_DEVICES= GGML_VK_VISIBLE_DEVICES= VK_DRIVER_FILES=/nonexistent
if cmp -s "$out/card" "$out/processor"; then
    echo "text:    the same"
else
    echo "text:    $(diff "$out/card" "$out/processor" | grep -c '^<') of $(wc -l <"$out/card") lines differ (other kernels round otherwise)"
fi

#!/bin/sh
# Runs whisper.cpp's own server from the laboratory's root, as a recogniser on another machine would run; ends with its parent's signal.
#
#   tests/lab/whisper_server.sh MODEL PORT
#
# It answers POST http://127.0.0.1:PORT/v1/audio/transcriptions. Needs root. Set up first: tests/lab/setup.sh --root
set -eu
. "$(dirname "$0")/common.sh"

[ -x "$root/usr/bin/whisper-server" ] || fail "no whisper-server below $root: run tests/lab/setup.sh --root"
[ "$(id -u)" = 0 ] || fail "chroot needs root: run this script as root"
model=$1 port=$2
if [ "$root" != / ]; then
    # a copy, so that no mount is needed
    mkdir -p "$root/tmp/models"
    cmp -s "$model" "$root/tmp/models/$(basename "$model")" || cp "$model" "$root/tmp/models/"
    model=/tmp/models/$(basename "$model")
fi
set -- -m "$model" -l ja -t 1 --host 127.0.0.1 --port "$port" --inference-path /v1/audio/transcriptions
if [ "$root" = / ]; then exec whisper-server "$@"; fi
exec chroot "$root" /usr/bin/whisper-server "$@"

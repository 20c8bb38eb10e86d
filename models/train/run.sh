#!/bin/sh
# Trains the lab model from nothing and writes it as a ggml file: sh models/train/run.sh [FOLDER]   (default: out/model)
# SMOKE=1 does every step with very little, to see that it runs.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=${1:-out/model}
mkdir -p "$work" && cd "$work"
mkdir -p data eval

[ -d venv ] || python3 -m venv venv
pip=venv/bin/pip
"$pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
if [ ! -f mel_filters.npz ]; then # the two assets of openai-whisper; the package itself is not needed
    "$pip" download --quiet --disable-pip-version-check --no-deps --no-binary :all: --no-build-isolation -d sdist openai-whisper 2>/dev/null \
        || "$pip" download --quiet --disable-pip-version-check --no-deps -d sdist openai-whisper
    venv/bin/python - <<'EOF'
import glob, pathlib, tarfile, zipfile
archive = glob.glob("sdist/*")[0]
if archive.endswith(".whl"):
    opened = zipfile.ZipFile(archive); names = opened.namelist(); read = opened.read
else:
    opened = tarfile.open(archive); names = opened.getnames(); read = lambda name: opened.extractfile(name).read()
for asset in ("mel_filters.npz", "multilingual.tiktoken"):
    pathlib.Path(asset).write_bytes(read(next(name for name in names if name.endswith("assets/" + asset))))
EOF
fi

if [ "${SMOKE:-0}" = 1 ]; then
    export ITEMS=40 STEPS=16 EVERY=16
    full=1 prefixes=1
else
    full=36 prefixes=7
fi
export ASSETS="$PWD" TH="${TH:-2}"
python=venv/bin/python
"$python" "$here/synthesise.py" 9002 1 eval
"$python" "$here/synthesise.py" 1 "$full" data
"$python" "$here/synthesise.py" 77 "$prefixes" data --prefixes
"$python" "$here/train.py"
"$python" "$here/export_ggml.py" ck.pt kakehashi-lab-ja.bin
sha256sum kakehashi-lab-ja.bin

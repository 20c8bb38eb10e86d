#!/bin/sh
# Trains the lab model from nothing and writes it as a ggml file: sh models/train/run.sh [FOLDER]   (default: out/model)
# SMOKE=1 does every step with very little, to see that it runs.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=${1:-out/model}
mkdir -p "$work" && cd "$work"
mkdir -p data wide eval

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
    export ITEMS=40 EVERY=16
    full=1 prefixes=1 wide=1 wide_prefixes=1 first=16 second=16 third=16
else
    full=36 prefixes=7 wide=31 wide_prefixes=4 first=6000 second=4000 third=9000
fi
export ASSETS="$PWD" TH="${TH:-2}"
python=venv/bin/python
"$python" "$here/synthesise.py" 9002 1 eval
"$python" "$here/synthesise.py" 1 "$full" data
"$python" "$here/synthesise.py" 77 "$prefixes" data --prefixes
STEPS=$first "$python" "$here/train.py"
# then only the decoder, with names and terms that do not exist; at last with mistakes in the text before each token
"$python" "$here/synthesise.py" 501 "$wide" wide --wide
"$python" "$here/synthesise.py" 577 "$wide_prefixes" wide --wide --prefixes
export DATA=wide
NOISE=0 STEPS=$second "$python" "$here/refine.py" ck.pt second.pt
STEPS=$third "$python" "$here/refine.py" second.pt refined.pt
"$python" "$here/export_ggml.py" refined.pt kakehashi-lab-ja.bin
sha256sum kakehashi-lab-ja.bin

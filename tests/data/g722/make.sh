#!/bin/sh
# Makes the G.722 vectors of tests/codecs.rs again: sound.g722 (64 kbit/s) with what FFmpeg decodes of it, sound.s16le (16 kHz, mono), and what
# libg722 decodes of its lower band alone, narrow.s16le (8 kHz). Both were written independently of the decoder here.
# The files here are by FFmpeg n9.0.2-17-g2a571b6068 (the program of imageio-ffmpeg 0.8.1 from PyPI; coder and decoder adpcm_g722) and libg722
# (G722 1.2.8 from PyPI).
#
# usage: FFMPEG=/path/to/ffmpeg PYTHON=/path/to/python-with-G722 tests/data/g722/make.sh [FOLDER]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
to=${1:-$here}
ffmpeg=${FFMPEG:-ffmpeg}

# The caller's speech of the sample call at three levels, then tones of both sub-bands, a sweep through them, and noise up to full scale.
speech="aresample=16000,asetpts=N/SR/TB"
"$ffmpeg" -v error -y -bitexact \
    -i "$here/../../../samples/calls/call1.wav" \
    -f lavfi -i "aevalsrc='0.5*sin(2*PI*1000*t)':s=16000:d=0.12" \
    -f lavfi -i "aevalsrc='0.01*sin(2*PI*440*t)':s=16000:d=0.12" \
    -f lavfi -i "aevalsrc='0.3*sin(2*PI*6000*t)':s=16000:d=0.12" \
    -f lavfi -i "aevalsrc='0.9*sin(2*PI*8000*t*t)':s=16000:d=0.5" \
    -f lavfi -i "anoisesrc=r=16000:d=0.1:a=1:seed=7" \
    -filter_complex "[0:a]channelsplit=channel_layout=stereo[l][r];[r]anullsink;[l]asplit=3[a][b][c];
        [a]atrim=9.2:9.6,$speech,volume=1[s1];[b]atrim=11:11.4,$speech,volume=0.05[s2];[c]atrim=12:12.4,$speech,volume=3[s3];
        [s1][s2][s3][1:a][2:a][3:a][4:a][5:a]concat=n=8:v=0:a=1,aformat=sample_fmts=s16:sample_rates=16000:channel_layouts=mono" \
    -c:a g722 -f g722 "$to/sound.g722"
"$ffmpeg" -v error -y -bitexact -f g722 -i "$to/sound.g722" -c:a pcm_s16le -f s16le "$to/sound.s16le"
"${PYTHON:-python3}" - "$to" <<'END'
import array, sys, G722
coded = open(sys.argv[1] + "/sound.g722", "rb").read()
open(sys.argv[1] + "/narrow.s16le", "wb").write(array.array("h", G722.G722(8000, 64000).decode(coded)).tobytes())
END

"""python3 export_ggml.py CHECKPOINT OUT.bin: writes a ggml Whisper file (f16) with the full multilingual vocabulary."""

import sys, struct, json, numpy as np, torch
from whisper_micro import *
import train as T

ck, out = sys.argv[1], sys.argv[2]
m = T.Micro(T.D, T.H, T.NE, T.ND, T.NC, len(T.PH))
m.load_state_dict(torch.load(ck)["m"])
m.eval()
sd = m.state_dict()
f = open(out, "wb")
f.write(struct.pack("I", 0x67676D6C))
f.write(struct.pack("11i", NV, 1500, T.D, T.H, T.NE, 448, T.D, T.H, T.ND, 80, 1))
f.write(struct.pack("2i", *FILT.shape))
f.write(FILT.astype(np.float32).tobytes())
f.write(struct.pack("i", len(TOKS)))
for t in TOKS:
    f.write(struct.pack("I", len(t)))
    f.write(t)
emb = sd["emb.weight"].numpy()
full = np.repeat(emb[T.UNUSED][None], NV, 0)
full[np.array(T.V)] = emb[: len(T.V)]


def put(name, a):
    a = a.astype(np.float32)
    keep = a.ndim < 2 or name in (
        "encoder.conv1.bias",
        "encoder.conv2.bias",
        "encoder.positional_embedding",
        "decoder.positional_embedding",
    )
    ft = 0 if keep else 1
    if not keep:
        a = a.astype(np.float16)
    n = name.encode()
    f.write(struct.pack("3i", a.ndim, len(n), ft))
    for d in reversed(a.shape):
        f.write(struct.pack("i", d))
    f.write(n)
    f.write(np.ascontiguousarray(a).tobytes())


put("encoder.positional_embedding", sd["pos"].numpy())
for c in ("conv1", "conv2"):
    put(f"encoder.{c}.weight", sd[c + ".weight"].numpy())
    put(f"encoder.{c}.bias", sd[c + ".bias"].numpy().reshape(-1, 1))
for k, v in sd.items():
    if k.startswith("enc."):
        put("encoder.blocks." + k[4:], v.numpy())
    elif k.startswith("dec."):
        put("decoder.blocks." + k[4:], v.numpy())
    elif k.startswith("ln_post."):
        put("encoder." + k, v.numpy())
    elif k.startswith("ln."):
        put("decoder." + k, v.numpy())
put("decoder.token_embedding.weight", full)
put("decoder.positional_embedding", sd["tpos"].numpy())
f.close()

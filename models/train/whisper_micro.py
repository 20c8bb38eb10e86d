"""A Whisper of 3.7 M parameters: tokens, log-mel, layers. Same graph as OpenAI's, so that its weights export to ggml.

Needs `multilingual.tiktoken` and `mel_filters.npz`, the assets inside the Python package openai-whisper, in the folder $ASSETS.
"""

import base64, math, os, struct
import numpy as np, torch, torch.nn as nn, torch.nn.functional as F, regex as re

ASSETS = os.environ.get("ASSETS", ".") + "/"
FILT = np.load(ASSETS + "mel_filters.npz")["mel_80"].astype(np.float32)
TOKS = [b""] * 50257
for l in open(ASSETS + "multilingual.tiktoken", "rb"):
    p = l.split()
    if len(p) == 2:
        TOKS[int(p[1])] = base64.b64decode(p[0])
RANK = {t: i for i, t in enumerate(TOKS) if t}
PAT = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")


def bpe(b):
    parts = [bytes([c]) for c in b]
    while len(parts) > 1:
        best = None
        for i in range(len(parts) - 1):
            k = RANK.get(parts[i] + parts[i + 1])
            if k is not None and (best is None or k < best[0]):
                best = (k, i)
        if best is None:
            break
        i = best[1]
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return [RANK[p] for p in parts]


_c = {}


def encode(s):
    out = []
    for w in PAT.findall(s):
        if w not in _c:
            _c[w] = bpe(w.encode())
        out += _c[w]
    return out


EOT, SOT, JA, TRANSCRIBE, PREV, NOSP, NOTS, TS0 = 50257, 50258, 50266, 50359, 50361, 50362, 50363, 50364
NV = 51865
WIN = torch.hann_window(400)
MF = torch.tensor(FILT)


def logmel(x):  # x [B,N] float -> [B,80,N/160]
    s = torch.stft(x, 400, 160, window=WIN, center=True, pad_mode="reflect", return_complex=True)[..., :-1].abs() ** 2
    m = torch.clamp(MF @ s, min=1e-10).log10()
    mx = m.amax(dim=(1, 2), keepdim=True)
    return (torch.maximum(m, mx - 8) + 4) / 4


def sinus(n, d):
    inc = math.log(10000) / (d // 2 - 1)
    inv = torch.exp(-inc * torch.arange(d // 2))
    t = torch.arange(n)[:, None] * inv[None]
    return torch.cat([t.sin(), t.cos()], 1)


class MHA(nn.Module):
    def __init__(s, d, h):
        super().__init__()
        s.h = h
        s.query = nn.Linear(d, d)
        s.key = nn.Linear(d, d, bias=False)
        s.value = nn.Linear(d, d)
        s.out = nn.Linear(d, d)

    def forward(s, x, kv, causal=False, mask=None):
        B, T, D = x.shape
        f = lambda y: y.view(B, -1, s.h, D // s.h).transpose(1, 2)
        o = F.scaled_dot_product_attention(f(s.query(x)), f(s.key(kv)), f(s.value(kv)), is_causal=causal)
        return s.out(o.transpose(1, 2).reshape(B, T, D))


class Block(nn.Module):
    def __init__(s, d, h, cross, p):
        super().__init__()
        s.attn = MHA(d, h)
        s.attn_ln = nn.LayerNorm(d)
        s.cross = cross
        if cross:
            s.cross_attn = MHA(d, h)
            s.cross_attn_ln = nn.LayerNorm(d)
        s.mlp = nn.Sequential(nn.Linear(d, 4 * d), nn.GELU(), nn.Linear(4 * d, d))
        s.mlp_ln = nn.LayerNorm(d)
        s.dp = nn.Dropout(p)

    def forward(s, x, xa=None):
        y = s.attn_ln(x)
        x = x + s.dp(s.attn(y, y, causal=s.cross))
        if s.cross:
            x = x + s.dp(s.cross_attn(s.cross_attn_ln(x), xa))
        return x + s.dp(s.mlp(s.mlp_ln(x)))


class Micro(nn.Module):
    def __init__(s, d, h, ne, nd, nv, nph, p=0.05):
        super().__init__()
        s.d = d
        s.h = h
        s.conv1 = nn.Conv1d(80, d, 3, padding=1)
        s.conv2 = nn.Conv1d(d, d, 3, stride=2, padding=1)
        s.register_buffer("pos", sinus(1500, d))
        s.enc = nn.ModuleList(Block(d, h, False, p) for _ in range(ne))
        s.ln_post = nn.LayerNorm(d)
        s.emb = nn.Embedding(nv, d)
        nn.init.normal_(s.emb.weight, std=d**-0.5)
        s.tpos = nn.Parameter(torch.randn(448, d) * 0.01)
        s.dec = nn.ModuleList(Block(d, h, True, p) for _ in range(nd))
        s.ln = nn.LayerNorm(d)
        s.ctc = nn.Linear(d, nph)

    def encode(s, mel):
        x = F.gelu(s.conv1(mel))
        x = F.gelu(s.conv2(x)).transpose(1, 2)
        x = x + s.pos[: x.shape[1]]
        for b in s.enc:
            x = b(x)
        return s.ln_post(x)

    def decode(s, t, xa):
        x = s.emb(t) + s.tpos[: t.shape[1]]
        for b in s.dec:
            x = b(x, xa)
        return s.ln(x) @ s.emb.weight.T

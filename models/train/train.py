"""Trains the lab model: STEPS=6000 LR=1.5e-3 python3 train.py, with data/*.pkl and eval/*.pkl in the current folder (see run.sh).

Joint loss: cross-entropy of the decoder over a compact vocabulary (the tokens the corpus can need, plus one row that stands for
all others) and CTC over phonemes on the encoder. Steps 0-2000 without, 2000-6000 with non-speech items and prefixes.
"""

import sys, os, glob, pickle, random, time, json, numpy as np, torch, torch.nn as nn, torch.nn.functional as F, math
from whisper_micro import *
from scipy.signal import butter, sosfilt, resample_poly

torch.set_num_threads(int(os.environ.get("TH", "1")))
D, H, NE, ND = int(os.environ.get("D", 192)), 3, 4, 2
H = D // 64
PH = "_ a i u e o A I U E O N cl pau k ky g gy s sh z j t ts ty ch d dy n ny h hy f b by p py m my y r ry w v kw gw".split()
PHI = {p: i for i, p in enumerate(PH)}


def load(fs):
    out = []
    for f in fs:
        try:
            out += pickle.load(open(f, "rb"))
        except Exception as e:
            print("skip", f, e)
    return out


# compact vocabulary: every token any label can need
from corpus import *


def build_vocab():
    r = random.Random(123)
    used = set(range(TS0, TS0 + 1501)) | {EOT, SOT, JA, TRANSCRIBE, PREV, NOTS}
    for _ in range(60000):
        used |= set(encode(utterance(r)[0]))
    for a in WARDS + PLACES + FAC + PROC + DEPT + SUR + ITEM + REL:
        used |= set(encode(a[0])) | set(encode(a[1]))
    for m in MORA + ["ン", "ッ", "ー", "・"]:
        used |= set(encode(m))
    for i in range(256):
        used |= set(encode(chr(i))) if i < 128 else set()
    return sorted(used)


VOCAB = os.path.join(os.path.dirname(os.path.abspath(__file__)), "vocab.json")
if os.path.exists(VOCAB):
    V = json.load(open(VOCAB))
else:
    V = build_vocab()
    json.dump(V, open(VOCAB, "w"))
if NOSP not in V:
    V = V + [NOSP]
CI = {t: i for i, t in enumerate(V)}
NC = len(V) + 1
UNUSED = NC - 1
LOGU = math.log(NV - len(V))
sos = butter(4, [300 / 8000, 3400 / 8000], "band", output="sos")


def ulaw(x):
    y = np.sign(x) * np.log1p(255 * np.abs(x)) / np.log(256)
    y = np.round(y * 127) / 127
    return np.sign(y) * (np.power(256, np.abs(y)) - 1) / 255


def aug(x, r):
    x = x.astype(np.float32) / 32768 * r.uniform(0.15, 1.4)
    x = np.clip(x, -1, 1)
    if r.random() < 0.5:
        x = x + np.random.randn(len(x)).astype(np.float32) * 10 ** r.uniform(-4.2, -2.0)
    if r.random() < 0.85:
        if r.random() < 0.7:
            x = sosfilt(sos, x)
        y = resample_poly(x, 1, 2)
        y = ulaw(np.clip(y, -1, 1))
        if r.random() < 0.2:
            for _ in range(r.randint(1, 4)):
                i = r.randrange(max(1, len(y) - 160))
                y[i : i + 160] = 0
        x = resample_poly(y, 2, 1)
    return x.astype(np.float32)


def nonspeech(r):
    n = r.randint(8000, 80000)
    t = np.arange(n) / 16000
    k = r.random()
    g = np.random.default_rng(r.randrange(1 << 30))
    x = np.zeros(n)
    if k < 0.3:
        x = g.normal(0, 1, n) * r.uniform(0.002, 0.1)
    elif k < 0.5:
        for f in r.choice([(400,), (400, 15.6), (350, 440), (1000,), (697, 1209), (770, 1336), (852, 1477), (941, 1209)]):
            x += np.sin(2 * np.pi * f * t)
        x *= ((t % r.choice([1.0, 3.0, 0.5])) < r.choice([0.25, 0.5, 1.0])) * r.uniform(0.05, 0.4)
    elif k < 0.8:
        i = 0
        while i < n:
            d = r.randint(2000, 9000)
            f = 220 * 2 ** (r.randint(0, 24) / 12)
            e = np.exp(-np.arange(min(d, n - i)) / r.uniform(1500, 6000))
            tt = np.arange(len(e)) / 16000
            for h in range(1, r.randint(2, 6)):
                x[i : i + len(e)] += e * np.sin(2 * np.pi * f * h * tt) / h
            i += d
        x *= r.uniform(0.05, 0.3)
    else:
        for _ in range(r.randint(1, 6)):
            i = r.randrange(n)
            m = min(n - i, r.randint(50, 3000))
            x[i : i + m] += g.normal(0, 1, m) * np.exp(-np.arange(m) / 300) * r.uniform(0.05, 0.5)
    return (np.clip(x, -1, 1) * 32000).astype(np.int16)


def batch(items, r, nts=None):
    xs = []
    toks = []
    phs = []
    for lab, ph, x in items:
        if nts is None and r.random() < 0.05:
            x = aug(nonspeech(r), r)
            xs.append(x)
            pre = [PREV] + [k for k in encode(utterance(r)[0])[:40] if k in CI] if r.random() < 0.2 else []
            ts = r.random() < 0.5
            seq = pre + [SOT, JA, TRANSCRIBE] + ([TS0] if ts else [NOTS]) + [EOT]
            toks.append(([CI[k] for k in seq], len(pre) + 3, True))
            phs.append([PHI["pau"]])
            continue
        lead = r.randint(0, 8000)
        x = np.concatenate([np.zeros(lead, np.int16), x, np.zeros(r.randint(0, 6400), np.int16)])
        x = aug(x, r)
        xs.append(x)
        b = round(lead / 320)
        e = min(1500, round(len(x) / 320))
        t = encode(lab)
        pre = []
        if r.random() < 0.2:
            pre = [PREV] + [k for k in encode(utterance(r)[0])[:40] if k in CI]
        ts = r.random() < 0.5 if nts is None else not nts
        seq = pre + [SOT, JA, TRANSCRIBE] + ([TS0 + b] + t + [TS0 + e] if ts else [NOTS] + t) + [EOT]
        toks.append(([CI[k] for k in seq], len(pre) + 3, False))
        phs.append([PHI[p] for p in ph.split() if p in PHI])
    n = max(map(len, xs))
    q = r.random()
    n += r.randint(0, 16000) if q < 0.85 else r.randint(16000, 6 * 16000)
    if q > 0.99:
        n = 30 * 16000
    n = min(-(-n // 320) * 320, 30 * 16000)
    X = np.zeros((len(xs), n), np.float32)
    L = []
    for i, x in enumerate(xs):
        X[i, : len(x)] = x
        L.append(len(x) // 320)
    with torch.no_grad():
        mel = logmel(torch.from_numpy(X))
    if r.random() < 0.5:
        for i in range(len(xs)):
            f = r.randint(0, 12)
            f0 = r.randint(0, 80 - f)
            mel[i, f0 : f0 + f] = mel[i].mean()
            w = r.randint(0, 12)
            w0 = r.randint(0, mel.shape[2] - w)
            mel[i, :, w0 : w0 + w] = mel[i].mean()
    T = max(len(t) for t, _, _ in toks)
    I = torch.zeros(len(xs), T - 1, dtype=torch.long)
    O = torch.full((len(xs), T - 1), -100)
    for i, (t, p, ns) in enumerate(toks):
        I[i, : len(t) - 1] = torch.tensor(t[:-1])
        O[i, p - 1 : len(t) - 1] = torch.tensor(t[p:])
        O[i, p - 3] = CI[NOSP] if ns else CI[JA]
        if ns:
            j = len(t) - 2 if t[-2] == CI[NOTS] else len(t) - 3
            if r.random() < 0.8:
                O[i, j] = CI[NOSP]
    PL = torch.tensor([len(p) for p in phs])
    PP = torch.zeros(len(xs), int(PL.max()), dtype=torch.long)
    for i, p in enumerate(phs):
        PP[i, : len(p)] = torch.tensor(p)
    return mel, I, O, torch.tensor(L).clamp(max=n // 320), PP, PL


def cer(a, b):
    d = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        p = d[:]
        d[0] = i
        for j, y in enumerate(b, 1):
            d[j] = min(p[j] + 1, d[j - 1] + 1, p[j - 1] + (x != y))
    return d[-1]


@torch.no_grad()
def greedy(m, mel, maxn=90):
    xa = m.encode(mel)
    B = mel.shape[0]
    t = torch.tensor([[CI[SOT], CI[JA], CI[TRANSCRIBE], CI[NOTS]]] * B)
    done = torch.zeros(B, dtype=torch.bool)
    for _ in range(maxn):
        lg = m.decode(t, xa)[:, -1]
        lg[:, UNUSED] = -1e9
        k = lg.argmax(-1)
        k[done] = CI[EOT]
        t = torch.cat([t, k[:, None]], 1)
        done |= k == CI[EOT]
        if done.all():
            break
    out = []
    for s in t[:, 4:].tolist():
        b = b""
        for i in s:
            k = V[i] if i < len(V) else EOT
            if k == EOT:
                break
            if k < EOT:
                b += TOKS[k]
        out.append(b.decode("utf8", "replace"))
    return out


def evaluate(m, items, show=3):
    m.eval()
    r = random.Random(5)
    e = n = 0
    for i in range(0, len(items), 16):
        it = items[i : i + 16]
        mel, *_ = batch(it, r, True)
        for h, (lab, _, _) in zip(greedy(m, mel), it):
            e += cer(lab, h)
            n += len(lab)
            if show:
                print("   ", lab, "|", h, flush=True)
                show -= 1
    m.train()
    return e / n


if __name__ == "__main__":
    r = random.Random(0)
    m = Micro(D, H, NE, ND, NC, len(PH))
    print("params", sum(p.numel() for p in m.parameters()), "vocab", NC)
    step = 0
    tot = float(os.environ.get("STEPS", 6000))
    LR = float(os.environ.get("LR", "1.5e-3"))
    opt = torch.optim.AdamW(m.parameters(), lr=LR, betas=(0.9, 0.98), weight_decay=0.02)
    ck = os.environ.get("CK", "ck.pt")
    if os.path.exists(ck):
        c = torch.load(ck)
        step = c["step"]
        w = c["m"]["emb.weight"]
        if w.shape[0] == NC - 1:
            c["m"]["emb.weight"] = torch.cat([w[:-1], w.mean(0, keepdim=True) + torch.randn(1, D) * 0.02, w[-1:]])
            m.load_state_dict(c["m"])
        else:
            m.load_state_dict(c["m"])
            opt.load_state_dict(c["o"])
        print("resumed", step)
    every = int(os.environ.get("EVERY", 500))
    ev1 = load(sorted(glob.glob("eval/9002_*.pkl")))[:96]
    pool = []
    seen = set()
    t0 = time.time()
    acc = [0, 0, 0]
    while step < tot:
        fs = sorted(glob.glob("data/*.pkl"))
        new = [f for f in fs if f not in seen]
        if new:
            pool += [x for x in load(new) if all(k in CI for k in encode(x[0]))]
            seen |= set(new)
            print("pool", len(pool), flush=True)
        idx = [r.randrange(len(pool)) for _ in range(32 * 16)]
        idx.sort(key=lambda i: len(pool[i][2]))
        bs = [idx[i : i + 32] for i in range(0, len(idx), 32)]
        r.shuffle(bs)
        for b in bs:
            mel, I, O, L, PP, PL = batch([pool[i] for i in b], r)
            for g in opt.param_groups:
                g["lr"] = LR * min(1, step / 500) * (0.5 * (1 + math.cos(math.pi * min(1, step / tot))) + 0.02)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                xa = m.encode(mel)
                lg = m.decode(I, xa)
                cl = m.ctc(xa)
            lg = lg.float()
            lg = torch.cat([lg[..., :-1], lg[..., -1:] + LOGU], -1)
            ce = F.cross_entropy(lg.reshape(-1, NC), O.reshape(-1), ignore_index=-100, label_smoothing=0.0)
            ctc = F.ctc_loss(cl.float().log_softmax(-1).transpose(0, 1), PP, L, PL, zero_infinity=True)
            w = 0.5 if step < 3000 else 0.2
            loss = ce + w * ctc
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(m.parameters(), 1.0)
            opt.step()
            step += 1
            acc[0] += ce.item()
            acc[1] += ctc.item()
            acc[2] += 1
            if step % 50 == 0:
                print(
                    f"{step} ce {acc[0]/acc[2]:.3f} ctc {acc[1]/acc[2]:.3f} {(time.time()-t0)/step:.3f}s/st {time.time()-t0:.0f}s",
                    flush=True,
                )
                acc = [0, 0, 0]
            if step % every == 0:
                print("eval CER", evaluate(m, ev1))
                torch.save({"m": m.state_dict(), "o": opt.state_dict(), "step": step}, ck)

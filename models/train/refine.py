"""Second phase: teaches the decoder of a trained model to spell what it does not know, while the encoder stays as it is.

STEPS=6000 LR=1e-3 python3 refine.py FROM.pt TO.pt, with DATA/*.pkl (synthesise.py --wide; DATA=data) and eval/*.pkl in the current folder.
The encoder hears the phonemes of words that it never met (a linear CTC layer on it errs in 2 % of them), so only the decoder is
trained: on encoded batches of which the last POOL are kept and used several times, a fresh one every FRESH steps.
"""

import sys, os, glob, random, time, math, torch, torch.nn as nn, torch.nn.functional as F
import train as T

torch.set_num_threads(int(os.environ.get("TH", "2")))
STEPS, LR = int(os.environ.get("STEPS", 6000)), float(os.environ.get("LR", "1e-3"))
POOL, FRESH, SIZE = int(os.environ.get("POOL", 160)), int(os.environ.get("FRESH", 3)), 32
NOISE = float(os.environ.get("NOISE", 0.08))  # share of earlier tokens that are wrong, so that one mistake does not lead to the next
TEXT = torch.tensor([token < T.EOT for token in T.V] + [False] * (T.NC - len(T.V)))


def encoded(model, buckets, r):
    """One batch of sentences of like length: encoder output and tokens."""
    mel, inputs, targets, *_ = T.batch(r.choice(buckets), r)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        return model.encode(mel).bfloat16(), inputs, targets


def mistaken(inputs):
    """Some of the text before each token is that of another place."""
    text = TEXT[inputs]
    known = inputs[text]
    if NOISE == 0 or len(known) == 0:
        return inputs
    other = known[torch.randint(len(known), inputs.shape)]
    return torch.where(text & (torch.rand(inputs.shape) < NOISE), other, inputs)


def buckets_of(items, r):
    r.shuffle(items)
    runs = []
    for start in range(0, len(items), SIZE * 16):
        run = sorted(items[start : start + SIZE * 16], key=lambda item: len(item[2]))
        runs += [run[i : i + SIZE] for i in range(0, len(run), SIZE)]
    return runs


def main():
    source, target = sys.argv[1:]
    r = random.Random(int(os.environ.get("SEED", 1)))
    model = T.Micro(T.D, T.H, T.NE, T.ND, T.NC, len(T.PH))
    model.load_state_dict(torch.load(source)["m"])
    heard = ("conv1", "conv2", "enc", "ln_post", "ctc")
    trained = [p for name, p in model.named_parameters() if name.split(".")[0] not in heard]
    opt = torch.optim.AdamW(trained, lr=LR, betas=(0.9, 0.98), weight_decay=0.02)
    check = T.load(sorted(glob.glob("eval/*.pkl")))[:128]
    items, seen, pool = [], set(), []
    since, total, count = time.time(), 0.0, 0
    for step in range(1, STEPS + 1):
        if step % 200 == 1:
            new = [f for f in sorted(glob.glob(os.environ.get("DATA", "data") + "/*.pkl")) if f not in seen]
            if new:
                seen |= set(new)
                items += [item for item in T.load(new) if all(k in T.CI for k in T.encode(item[0]))]
                print("utterances", len(items), flush=True)
            buckets = buckets_of(items, r)
        if step % FRESH == 1 or len(pool) < 8:
            pool.append(encoded(model, buckets, r))
            del pool[:-POOL]
        xa, inputs, targets = r.choice(pool) if step % FRESH else pool[-1]
        for group in opt.param_groups:
            group["lr"] = LR * min(1, step / 200) * (0.5 * (1 + math.cos(math.pi * step / STEPS)) + 0.01)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model.decode(mistaken(inputs), xa)
        logits = logits.float()
        logits = torch.cat([logits[..., :-1], logits[..., -1:] + T.LOGU], -1)
        loss = F.cross_entropy(logits.reshape(-1, T.NC), targets.reshape(-1), ignore_index=-100)
        opt.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        opt.step()
        total, count = total + loss.item(), count + 1
        if step % 50 == 0:
            print(f"{step} loss {total / count:.3f} {(time.time() - since) / step:.2f} s a step", flush=True)
            total, count = 0.0, 0
        if step % int(os.environ.get("EVERY", 500)) == 0 or step == STEPS:
            print("character errors", T.evaluate(model, check), flush=True)
            torch.save({"m": model.state_dict(), "step": step}, target)


if __name__ == "__main__":
    main()

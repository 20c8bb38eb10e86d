"""python3 import_ggml.py MODEL.bin CHECKPOINT: reads what export_ggml.py wrote, so that training goes on without the old checkpoint.

The CTC layer is not in the file and begins anew; tokens of vocab.json that the file does not know begin as unknown ones do.
"""

import struct, sys, numpy as np, torch
import train as T


def tensors(data):
    at = struct.calcsize("I11i")

    def take(form):
        nonlocal at
        values = struct.unpack_from(form, data, at)
        at += struct.calcsize(form)
        return values

    bands, bins = take("2i")
    at += bands * bins * 4
    for _ in range(take("i")[0]):
        (length,) = take("I")
        at += length
    found = {}
    while at < len(data):
        dimensions, length, half = take("3i")
        shape = [take("i")[0] for _ in range(dimensions)][::-1]
        name = data[at : at + length].decode()
        at += length
        kind, count = np.dtype(np.float16 if half else np.float32), int(np.prod(shape))
        found[name] = torch.from_numpy(np.frombuffer(data, kind, count, at).astype(np.float32).reshape(shape))
        at += count * kind.itemsize
    return found


def place(name):
    for ours, theirs in (("enc.", "encoder.blocks."), ("dec.", "decoder.blocks."), ("ln_post.", "encoder.ln_post."), ("ln.", "decoder.ln."), ("conv", "encoder.conv")):
        if name.startswith(ours):
            return theirs + name[len(ours) :]
    return {"tpos": "decoder.positional_embedding"}[name]


def main():
    found = tensors(open(sys.argv[1], "rb").read())
    model = T.Micro(T.D, T.H, T.NE, T.ND, T.NC, len(T.PH))
    state = model.state_dict()
    table = found["decoder.token_embedding.weight"]
    unknown = table[next(i for i in range(T.NV) if i not in T.CI)]
    rows = torch.cat([table[np.array(T.V)], unknown[None]])
    fresh = (rows == unknown).all(1)
    fresh[T.UNUSED] = False
    rows[fresh] += torch.randn(int(fresh.sum()), T.D) * 0.02
    for name, value in state.items():
        if name == "emb.weight":
            state[name] = rows
        elif name != "pos" and not name.startswith("ctc"):
            state[name] = found[place(name)].reshape(value.shape)
    model.load_state_dict(state)
    torch.save({"m": model.state_dict(), "step": 0}, sys.argv[2])


if __name__ == "__main__":
    main()

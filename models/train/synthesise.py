#!/usr/bin/env python3
"""Training audio: python3 synthesise.py SEED SHARDS FOLDER [--prefixes] [--wide]  →  FOLDER/SEED_n.pkl, 400 utterances each (or ITEMS).

An item is (written form, phonemes, 16 kHz int16). The voice of pyopenjtalk-plus is varied in rate, pitch and tract length
(resampling). With --prefixes, sentences are cut at phrase boundaries and lose their final fall, so that the model learns to
write what has been said so far instead of completing the sentence.
"""

import os, pickle, random, re, sys, warnings
from fractions import Fraction

warnings.filterwarnings("ignore")
import numpy as np
import pyopenjtalk
from scipy.signal import resample_poly

import corpus

BREAK = re.compile(r"(?<=[、。])|(?<=について)|(?<=の手続き)|(?<=ますので)|(?<=ですか)|(?<=お電話)|(?<=ありがとう)")


def prefix(rng, wide):
    pattern = rng.choice(corpus.T_OP + corpus.T_CU + (corpus.T_TALK if wide else []))
    parts = []
    for part in (p for p in re.split(r"(\{[^}]+\})", pattern) if p):
        parts += [part] if part.startswith("{") else [q for q in BREAK.split(part) if q]
    if len(parts) < 2:
        return None
    unknown = (0.15, corpus.MADE) if wide else ()
    filled = [corpus.fill(rng, p, None, *unknown) for p in parts[: rng.randint(1, len(parts) - 1)]]
    text, reading = "".join(f[0] for f in filled), "".join(f[1] for f in filled)
    return (text, reading) if len(text) >= 2 else None


def speak(reading, rng, cut):
    tract = rng.uniform(0.86, 1.14)
    wave, rate = pyopenjtalk.tts(reading, speed=rng.uniform(0.85, 1.3) * tract, half_tone=rng.uniform(-5, 4))
    ratio = Fraction(16000 * tract / rate).limit_denominator(60)
    wave = resample_poly(wave, ratio.numerator, ratio.denominator)
    if cut:
        loud = np.abs(wave) > 0.02 * np.abs(wave).max()
        wave = wave[: max(1600, len(wave) - np.argmax(loud[::-1]) - rng.randint(0, 960))]
    return (wave / (np.abs(wave).max() + 1e-6) * 20000).astype(np.int16)


def main():
    seed, shards, folder, prefixes = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], "--prefixes" in sys.argv
    wide = "--wide" in sys.argv
    rng = random.Random(seed)
    for shard in range(shards):
        items = []
        while len(items) < int(os.environ.get("ITEMS", 400)):
            pair = prefix(rng, wide) if prefixes else corpus.wide(rng) if wide else corpus.utterance(rng)
            if pair is None:
                continue
            text, reading = pair
            wave = speak(reading, rng, prefixes)
            if len(wave) <= 16000 * 11.5:
                items.append((text, pyopenjtalk.g2p(reading), wave))
        with open(f"{folder}/{seed}_{shard}.pkl", "wb") as f:
            pickle.dump(items, f)
        print(f"shard {shard}: {sum(len(i[2]) for i in items) / 16000:.0f} s of speech", flush=True)


if __name__ == "__main__":
    main()

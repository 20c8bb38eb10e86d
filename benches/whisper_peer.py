#!/usr/bin/env python3
"""Our recogniser beside whisper.cpp's own program, on the same files, model, threads and encoder windows; loading is left out of both.

    python3 benches/whisper_peer.py DIR [--model FILE] [--threads N] [--limit N] [--full]

DIR holds `utterances.jsonl` as for `kakehashi eval`. `whisper-cli` comes from the laboratory (tests/lab/setup.sh --root; its place may be given
by LAB_DIR), our program is built with `cargo build --release`. Printed: versions and processor features of both, character error rates, and
the ratio of decode times. Both sides decode greedily without a second try; a second run of whisper-cli has its own defaults (beam of 5).
With --full both hear the whole 30 s window.

The utterances are timed in blocks of one encoder window, ours and theirs in turns; of each block the fastest round counts. The interval is a
bootstrap over blocks, and the target is met only when its upper end is. whisper-cli begins each process cold, our recogniser warms up while it
loads: what the first file costs whisper-cli alone is taken off its time. Our times are whole milliseconds rounded down: half of one is added to
each. The second ratio also counts our resampling to 16 kHz and our voice detection, which whisper-cli's own times do not hold.
"""
import argparse
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import tempfile
import tomllib
import unicodedata
import wave

REPO = pathlib.Path(__file__).resolve().parent.parent
TIMES = re.compile(r"(mel|sample|encode|decode|batchd|prompt) time =\s*([\d.]+) ms")


def characters(text):
    return [c for c in unicodedata.normalize("NFKC", text) if c.isalnum() or c in "ー々〆〇"]


def distance(a, b):
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row[0] = row[:], i
        for j, y in enumerate(b, 1):
            row[j] = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (x != y))
    return row[-1]


def error_rate(said, heard):
    errors = sum(distance(characters(s), characters(heard[f])) for f, s in said.items())
    return 100 * errors / sum(len(characters(s)) for s in said.values())


def window(path, manifest, full):
    """The encoder window that our program uses for a file; see Manifest::window."""
    if full or "audio_ctx" not in manifest:
        return 0
    with wave.open(str(path)) as sound:
        samples = sound.getnframes() * 16_000 // sound.getframerate()
    ctx = manifest["audio_ctx"]
    wanted = -(-(-(-samples // 320) + ctx["margin"]) // ctx["bucket"]) * ctx["bucket"]
    return wanted if wanted < 1_500 else 0


def whisper_cli(groups, model, threads, options):
    """Texts by file name, decode milliseconds, what it says of itself."""
    heard, spent, about = {}, 0.0, ""
    for ctx, files in groups.items():
        command = [str(REPO / "tests/lab/whisper_cli.sh"), "-m", str(model), "-l", "ja", "-t", str(threads), "-nt", "-otxt", "-sns", *options]
        command += (["-ac", str(ctx)] if ctx else []) + [part for file in files for part in ("-f", str(file))]
        # its text may end inside a character
        run = subprocess.run(command, capture_output=True, text=True, errors="replace", check=True)
        spent += sum(float(ms) for _, ms in TIMES.findall(run.stderr))
        about = next((line.strip() for line in run.stderr.splitlines() if "system_info" in line), about)
        heard |= {file.name: pathlib.Path(f"{file}.txt").read_text(errors="replace") for file in files}
    return heard, spent, about


def ear_ms_per_second(folder):
    """Our resampling and voice detection, in milliseconds for each second of sound; `None` where the bench cannot be built."""
    wanted = {"KAKEHASHI_BENCH_PARTS": "ear", "KAKEHASHI_BENCH_SET": str(folder.resolve())}
    run = subprocess.run(["cargo", "bench", "--quiet", "--bench", "speech"], cwd=REPO, capture_output=True, text=True, env=os.environ | wanted)
    found = re.findall(r"^ear_\w+ ([\d.]+) ms", run.stdout, re.M)
    return sum(map(float, found)) if found else None


def interval(pairs):
    """95 % of the ratios of sums over resampled blocks."""
    rng = random.Random(2026)
    ratios = []
    for _ in range(10_000):
        drawn = rng.choices(pairs, k=len(pairs))
        ratios.append(sum(a for a, _ in drawn) / sum(b for _, b in drawn))
    ratios.sort()
    return ratios[250], ratios[9_749]


def seconds_of(path):
    with wave.open(str(path)) as sound:
        return sound.getnframes() / sound.getframerate()


class Block:
    """Some utterances of one encoder window, in a folder of their own."""

    def __init__(self, folder, window, files, said):
        self.window, self.files, self.folder = window, [], folder
        self.ours = self.theirs = float("inf")
        folder.mkdir()
        with open(folder / "utterances.jsonl", "w") as out:
            for file in files:
                shutil.copy(file, folder)
                self.files.append(folder / file.name)
                out.write(json.dumps({"file": file.name, "text": said[file.name]}, ensure_ascii=False) + "\n")

    def seconds(self):
        return sum(map(seconds_of, self.files))


GREEDY = ["-bs", "1", "-bo", "1", "-nf"]


def measure(blocks, first, args, program, model):
    """The fastest times of each block, in turns; the last report of ours and the greedy texts of theirs."""
    ours = [str(program), "eval", "DIR", "--model", str(model), "--threads", str(args.threads), "--plain", "--json", "--resamples", "1"]
    cold, heard, about = {}, {}, ""
    for turn in range(args.rounds):
        for window, file in first.items():
            _, spent, about = whisper_cli({window: [file]}, model, args.threads, GREEDY)
            cold[window] = min(spent, cold.get(window, spent))
        for block in blocks:
            command = [str(block.folder) if part == "DIR" else part for part in ours]

            def we():
                report = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
                block.ours = min(block.ours, report["decode_ms_without"] + 0.5 * len(block.files))

            def they():
                files = [first[block.window], *block.files]
                texts, spent, _ = whisper_cli({block.window: files}, model, args.threads, GREEDY)
                heard.update(texts)
                block.theirs = min(block.theirs, spent)

            for side in (we, they) if turn % 2 == 0 else (they, we):
                side()
    for block in blocks:
        block.theirs -= cold[block.window]
    return heard, about


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("dir", type=pathlib.Path)
    parser.add_argument("--model", type=pathlib.Path, default=REPO / "models/kakehashi-lab-ja.bin")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--limit", type=int, default=None)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--rounds", type=int, default=3, help="the fastest of so many runs of a block counts, taken in turns")
    parser.add_argument("--block", type=int, default=4, help="utterances of a block")
    args = parser.parse_args()
    program = pathlib.Path(os.environ.get("KAKEHASHI", REPO / "target/release/kakehashi"))
    listed = [json.loads(line) for line in (args.dir / "utterances.jsonl").read_text().splitlines() if line.strip()][: args.limit]
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        model = work / args.model.name
        shutil.copy(args.model, model)
        notes = args.model.with_suffix(".toml")
        manifest = tomllib.loads(notes.read_text()) if notes.exists() else {}
        ours_notes = notes.read_text() if notes.exists() else ""
        if args.full:
            ours_notes = re.sub(r"\[audio_ctx\][^\[]*", "", ours_notes)
        model.with_suffix(".toml").write_text(ours_notes)
        said, groups = {}, {}
        (work / "all").mkdir()
        with open(work / "all" / "utterances.jsonl", "w") as out:
            for one in listed:
                path = work / "all" / pathlib.Path(one["file"]).name
                shutil.copy(args.dir / one["file"], path)
                said[path.name] = one["text"]
                groups.setdefault(window(path, manifest, args.full), []).append(path)
                out.write(json.dumps({"file": path.name, "text": one["text"]}, ensure_ascii=False) + "\n")
        pieces = [(ctx, files[at : at + args.block]) for ctx, files in sorted(groups.items()) for at in range(0, len(files), args.block)]
        blocks = [Block(work / f"block{n}", ctx, files, said) for n, (ctx, files) in enumerate(pieces)]
        first = {}
        for ctx, files in groups.items():
            first[ctx] = work / f"first{ctx}.wav"
            shutil.copy(files[0], first[ctx])
        same, about = measure(blocks, first, args, program, model)
        whole = [str(program), "eval", str(work / "all"), "--model", str(model), "--threads", str(args.threads), "--plain", "--json", "--resamples", "1"]
        report = json.loads(subprocess.run(whole, capture_output=True, text=True, check=True).stdout)
        default, default_spent, _ = whisper_cli(groups, model, args.threads, [])
        ear = ear_ms_per_second(args.dir)
        pairs = [(block.ours, block.theirs) for block in blocks]
        with_ear = [(block.ours + (ear or 0) * block.seconds(), block.theirs) for block in blocks]
    our_rate = report["layers"][0]["cer"]["value"]
    same = {name: text for name, text in same.items() if name in said}
    lab = pathlib.Path(os.environ.get("LAB_DIR", REPO / ".lab")) / "root"
    package = subprocess.run(["chroot", lab, "dpkg-query", "-W", "-f", "${Version}", "whisper.cpp"], capture_output=True, text=True)
    windows = ", ".join(f"{ctx or 1500}: {len(files)}" for ctx, files in sorted(groups.items()))
    best_ours, best_theirs = (sum(side) for side in zip(*pairs))
    print(f"{len(said)} utterances in {len(blocks)} blocks; threads {args.threads}; encoder windows {windows}; fastest of {args.rounds}")
    print(f"ours         {report['engine']}")
    print(f"whisper-cli  {package.stdout or '?'}; {about}")
    print(f"{'':28}{'CER %':>8}{'decode ms':>12}")
    print(f"{'ours':28}{our_rate:8.2f}{best_ours:12.0f}")
    print(f"{'whisper-cli, same settings':28}{error_rate(said, same):8.2f}{best_theirs:12.0f}")
    print(f"{'whisper-cli, its defaults':28}{error_rate(said, default):8.2f}{default_spent:12.0f}")
    print(f"ours − theirs: {our_rate - error_rate(said, same):+.2f} pt (same settings), {our_rate - error_rate(said, default):+.2f} pt (defaults)")
    for what, measured in (("decoding", pairs), ("with our resampling and voice detection", with_ear)):
        if measured is with_ear and ear is None:
            print("our resampling and voice detection: not measured (cargo bench --bench speech does not run)")
            continue
        low, high = interval(measured)
        ratio = sum(a for a, _ in measured) / sum(b for _, b in measured)
        print(f"ours ÷ theirs, {what}: {ratio:.3f} [{low:.3f}, {high:.3f}] (target ≤ 1.00: {'met' if high <= 1.0 else 'not shown'})")


if __name__ == "__main__":
    main()

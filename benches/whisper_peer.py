#!/usr/bin/env python3
"""Our recogniser beside whisper.cpp's own program, on the same files, model, threads and encoder windows; loading is left out of both.

    python3 benches/whisper_peer.py DIR [--model FILE] [--threads N] [--limit N] [--full]

DIR holds `utterances.jsonl` as for `kakehashi eval`. `whisper-cli` comes from the laboratory (tests/lab/setup.sh --root; its place may be given
by LAB_DIR), our program is built with `cargo build --release`. Printed: versions and processor features of both, character error rates, and
the ratio of decode times. Both sides decode greedily without a second try; a second run of whisper-cli has its own defaults (beam of 5).
With --full both hear the whole 30 s window.
"""
import argparse
import json
import os
import pathlib
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
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        spent += sum(float(ms) for _, ms in TIMES.findall(run.stderr))
        about = next((line.strip() for line in run.stderr.splitlines() if "system_info" in line), about)
        heard |= {file.name: pathlib.Path(f"{file}.txt").read_text() for file in files}
    return heard, spent, about


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("dir", type=pathlib.Path)
    parser.add_argument("--model", type=pathlib.Path, default=REPO / "models/kakehashi-lab-ja.bin")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--limit", type=int, default=None)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--rounds", type=int, default=3, help="the fastest of so many runs counts, taken in turns")
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
        with open(work / "utterances.jsonl", "w") as out:
            for one in listed:
                path = work / pathlib.Path(one["file"]).name
                shutil.copy(args.dir / one["file"], path)
                said[path.name] = one["text"]
                groups.setdefault(window(path, manifest, args.full), []).append(path)
                out.write(json.dumps({"file": path.name, "text": one["text"]}, ensure_ascii=False) + "\n")
        ours = [str(program), "eval", str(work), "--model", str(model), "--threads", str(args.threads), "--plain", "--json", "--resamples", "1"]
        best_ours = best_theirs = float("inf")
        for _ in range(args.rounds):
            report = json.loads(subprocess.run(ours, capture_output=True, text=True, check=True).stdout)
            best_ours = min(best_ours, report["decode_ms_without"])
            same, spent, about = whisper_cli(groups, model, args.threads, ["-bs", "1", "-bo", "1", "-nf"])
            best_theirs = min(best_theirs, spent)
        default, default_spent, _ = whisper_cli(groups, model, args.threads, [])
    our_rate = report["layers"][0]["cer"]["value"]
    lab = pathlib.Path(os.environ.get("LAB_DIR", REPO / ".lab")) / "root"
    package = subprocess.run(["chroot", lab, "dpkg-query", "-W", "-f", "${Version}", "whisper.cpp"], capture_output=True, text=True)
    windows = ", ".join(f"{ctx or 1500}: {len(files)}" for ctx, files in sorted(groups.items()))
    print(f"{len(said)} utterances; threads {args.threads}; encoder windows {windows}; fastest of {args.rounds}")
    print(f"ours         {report['engine']}")
    print(f"whisper-cli  {package.stdout or '?'}; {about}")
    print(f"{'':28}{'CER %':>8}{'decode ms':>12}")
    print(f"{'ours':28}{our_rate:8.2f}{best_ours:12.0f}")
    print(f"{'whisper-cli, same settings':28}{error_rate(said, same):8.2f}{best_theirs:12.0f}")
    print(f"{'whisper-cli, its defaults':28}{error_rate(said, default):8.2f}{default_spent:12.0f}")
    print(f"ours − theirs: {our_rate - error_rate(said, same):+.2f} pt (same settings), {our_rate - error_rate(said, default):+.2f} pt (defaults)")
    print(f"ours ÷ theirs: {best_ours / best_theirs:.2f} (target ≤ 1.00)")


if __name__ == "__main__":
    main()

//! `kakehashi transcribe` as a user runs it: lines, JSON, exit codes, and errors that say where, what was expected and what to do.
#![cfg(feature = "whisper")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn transcribe(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kakehashi")).arg("transcribe").args(args).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Writes a WAV file of the sample call: `channels`, `rate` as told in its header, about `seconds` long.
fn wav(folder: &Path, name: &str, channels: u16, rate: u32, seconds: usize) -> PathBuf {
    let path = folder.join(name);
    let spec =
        hound::WavSpec { channels, sample_rate: rate, bits_per_sample: 16, sample_format: hound::SampleFormat::Int };
    let mut writer = hound::WavWriter::create(&path, spec).unwrap();
    let samples: Vec<i16> =
        hound::WavReader::open("samples/calls/call1.wav").unwrap().into_samples().map(Result::unwrap).collect();
    for frame in samples.chunks_exact(2).take(seconds * 8_000) {
        // the agent speaks first
        for channel in 0..channels {
            writer.write_sample(frame[usize::from(1 - channel.min(1))]).unwrap();
        }
    }
    writer.finalize().unwrap();
    path
}

#[test]
fn a_call_becomes_one_json_object_a_line_with_its_place_and_its_corrections() {
    let output = transcribe(&["--json", "--dictionary", "samples/dictionary.csv", "samples/calls/call1.wav"]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(said(&output), "", "nothing on standard error, least of all spoken text");
    let lines: Vec<serde_json::Value> = out(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.len() >= 9);
    for line in &lines {
        let keys: Vec<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys.len(), 7, "{keys:?}");
        assert_eq!(line["file"], "samples/calls/call1.wav");
        assert!(line["start"].as_f64().unwrap() < line["end"].as_f64().unwrap());
        assert!(line["corrections"].is_array() && line["text_raw"].is_string());
    }
    let text = |channel: u64| -> String {
        lines.iter().filter(|line| line["channel"] == channel).map(|line| line["text"].as_str().unwrap()).collect()
    };
    assert!(text(1).contains("お電話ありがとうございます") && text(0).contains("教えてください"));
    let starts: Vec<f64> = lines.iter().map(|line| line["start"].as_f64().unwrap()).collect();
    assert!(starts.is_sorted(), "in the order in which it was said");
}

#[test]
fn text_lines_name_the_file_only_when_there_are_several() {
    let folder = tempfile::tempdir().unwrap();
    let path = wav(folder.path(), "a.wav", 1, 8_000, 9);
    let one = transcribe(&[path.to_str().unwrap()]);
    assert!(one.status.success(), "{}", said(&one));
    assert!(
        out(&one).contains("お電話ありがとうございます") && !out(&one).contains("a.wav") && !out(&one).contains("[0]")
    );
    let two = transcribe(&[path.to_str().unwrap(), path.to_str().unwrap()]);
    assert!(out(&two).lines().count() >= 2 && out(&two).lines().all(|line| line.contains("a.wav")));
}

#[test]
fn sound_that_cannot_be_used_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let good = wav(folder.path(), "good.wav", 1, 8_000, 9);
    let whole = std::fs::read(&good).unwrap();
    let damaged = folder.path().join("damaged.wav");
    std::fs::write(&damaged, &whole[..whole.len() / 2]).unwrap();
    let text = folder.path().join("text.wav");
    std::fs::write(&text, "not a sound").unwrap();
    for (path, expected) in [
        (wav(folder.path(), "eleven.wav", 1, 11_025, 1), vec!["eleven.wav", "11025 Hz", "8,000 or 16,000 Hz", "sox "]),
        (wav(folder.path(), "four.wav", 4, 8_000, 1), vec!["four.wav", "4 channels", "sox "]),
        (damaged, vec!["damaged.wav", "damaged at 4.5 s", "sox "]),
        (text, vec!["text.wav", "no WAV file", "sox "]),
        (folder.path().join("none.wav"), vec!["none.wav", "Check the path"]),
    ] {
        let output = transcribe(&[good.to_str().unwrap(), path.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1), "{}", path.display());
        assert_eq!(out(&output), "");
        assert!(expected.iter().all(|part| said(&output).contains(part)), "{}", said(&output));
        assert_eq!(said(&output).lines().count(), 1, "{}", said(&output));
    }
}

#[test]
fn a_model_or_dictionary_that_cannot_be_used_is_an_error_and_wrong_usage_another() {
    let folder = tempfile::tempdir().unwrap();
    let good = wav(folder.path(), "good.wav", 1, 8_000, 1);
    let good = good.to_str().unwrap();
    let model = folder.path().join("m.bin");
    std::fs::write(&model, &std::fs::read("models/kakehashi-lab-ja.bin").unwrap()[..1_000_000]).unwrap();
    let manifest = folder.path().join("odd.toml");
    std::fs::write(&manifest, "[decode]\nbeam = 99\n").unwrap();
    std::fs::write(folder.path().join("odd.bin"), "").unwrap();
    let words = folder.path().join("d.csv");
    std::fs::write(&words, "surface,reading\n三国,\n").unwrap();
    for (args, expected) in [
        (["--model", model.to_str().unwrap(), good], vec!["m.bin", "ends at byte 1000000", "again"]),
        (["--model", folder.path().join("odd.bin").to_str().unwrap(), good], vec!["odd.toml", "decode.beam", "1–8"]),
        (["--model", "README.md", good], vec!["README.md", "begins with", "ggml"]),
        (["--dictionary", words.to_str().unwrap(), good], vec!["d.csv", "line 2"]),
        (["--language", "jp", good], vec!["\"jp\"", "ja"]),
    ] {
        let output = transcribe(&args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(expected.iter().all(|part| said(&output).contains(part)), "{args:?}: {}", said(&output));
    }
    assert_eq!(transcribe(&[]).status.code(), Some(2));
    assert_eq!(transcribe(&["--nonsense", good]).status.code(), Some(2));
}

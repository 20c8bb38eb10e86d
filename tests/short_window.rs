//! The short windows that the shipped manifest allows, beside the whole one: the error rate stays within the bound that the manifest states.
#![cfg(feature = "whisper")]

use std::path::Path;
use std::process::{Child, Command, Stdio};

use kakehashi::speech::manifest::Manifest;

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/kakehashi-lab-ja.bin");

/// `kakehashi eval` without a dictionary.
fn eval(model: &Path, utterances: &str) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kakehashi"));
    command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["eval", utterances, "--plain", "--json", "--model"])
        .arg(model);
    command.stdout(Stdio::piped()).spawn().unwrap()
}

/// Character error rate in per cent, and characters that were said.
fn rate(child: Child) -> (f64, u64) {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    (report["layers"][0]["cer"]["value"].as_f64().unwrap(), report["characters"].as_u64().unwrap())
}

#[test]
fn short_windows_cost_no_more_than_the_manifest_says() {
    let text = std::fs::read_to_string(Path::new(MODEL).with_extension("toml")).unwrap();
    let manifest = Manifest::parse(&text).unwrap();
    let window = manifest.audio_ctx.clone().expect("the shipped model has short windows");
    assert_eq!(window.measured, "samples/eval");
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole.bin");
    std::fs::copy(MODEL, &whole).unwrap();
    let manifest = Manifest { audio_ctx: None, ..manifest };
    std::fs::write(whole.with_extension("toml"), toml::to_string(&manifest).unwrap()).unwrap();
    let (short, whole) = (eval(Path::new(MODEL), &window.measured), eval(&whole, &window.measured));
    let ((short, characters), (whole, _)) = (rate(short), rate(whole));
    println!("{characters} characters: {short:.2} % with short windows, {whole:.2} % with the whole one");
    assert!(characters > 500 && whole < 50.0, "{characters} characters, {whole} %");
    assert!(short <= whole + f64::from(window.worse_by), "{short} % with short windows, {whole} % without");
}

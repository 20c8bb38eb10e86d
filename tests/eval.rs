//! `kakehashi eval` as people use it: figures by layer and size, hypotheses kept and tried again with other settings, utterances listed.
#![cfg(feature = "whisper")]

use std::path::Path;
use std::process::{Command, Output};

fn eval(folder: &Path, further: &[&str]) -> Output {
    let distractors = folder.join("distractors.csv");
    std::fs::write(
        &distractors,
        "surface,reading\n鶴が沢,ツルガサワ\n佐布里,ソウリ\n蒲江丸市尾浦,カマエマルイチビウラ\n",
    )
    .unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_kakehashi"));
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command.args(["eval", "samples/eval", "--model", "models/kakehashi-lab-ja.bin", "--limit", "6", "--jobs", "2"]);
    command.args(["--dictionary", "samples/dictionary.csv", "--sizes", "0,2", "--resamples", "20", "--distractors"]);
    command.arg(distractors).args(further).output().unwrap()
}

fn report(output: &Output) -> serde_json::Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn names(size: &serde_json::Value) -> Vec<&str> {
    size["layers"].as_array().unwrap().iter().map(|layer| layer["name"].as_str().unwrap()).collect()
}

#[test]
fn each_layer_is_measured_and_settings_are_tried_without_decoding_again() {
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("kept.jsonl");
    let kept_as = kept.to_str().unwrap();
    let first = report(&eval(folder.path(), &["--json", "--kept", kept_as]));
    let sizes = first["sizes"].as_array().unwrap();
    assert_eq!(sizes.iter().map(|size| size["distractors"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 2]);
    for size in sizes {
        assert_eq!(names(size), ["off", "bias", "correction", "all"]);
        assert_eq!(size["untouched"], size["untouched_identical"], "what is not touched stays as it was");
        assert!(size["heard_twice"].as_u64().unwrap() > 0);
        let rate = |layer: usize| size["layers"][layer]["cer"]["value"].as_f64().unwrap();
        assert!(rate(3) < rate(0), "the dictionary helps: {} and {}", rate(3), rate(0));
    }
    let decoded = std::fs::read(&kept).unwrap();
    assert!(!decoded.is_empty());
    let options = ["--json", "--kept", kept_as, "--set", "correct_distance=0.0", "--set", "bias_accept_nats=-1.0"];
    let strict = report(&eval(folder.path(), &options));
    assert!(std::fs::read(&kept).unwrap() == decoded, "nothing was decoded again");
    assert_eq!(strict["layers"], first["layers"]);
    let changed = |report: &serde_json::Value| report["sizes"][0]["layers"][3]["changed"]["value"].as_f64().unwrap();
    assert!(changed(&strict) < changed(&first), "{} and {}", changed(&strict), changed(&first));

    let shown = eval(folder.path(), &["--kept", kept_as, "--prompt", "--show", "errors", "--show", "misses"]);
    let (table, list) = (String::from_utf8_lossy(&shown.stdout), String::from_utf8_lossy(&shown.stderr));
    assert!(table.contains("all and prompt") && table.contains("2 distractors: "), "{table}");
    for part in ["  said ", "  off ", "  all ", "  second hearing "] {
        assert!(list.contains(part), "{part:?} in {list}");
    }
    let wrong = eval(folder.path(), &["--set", "correct_distnce=1"]);
    let told = String::from_utf8_lossy(&wrong.stderr);
    assert!(!wrong.status.success() && told.contains("--set correct_distnce=1"), "{told}");
}

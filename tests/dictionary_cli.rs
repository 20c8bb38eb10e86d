//! `kakehashi dictionary` as a user runs it: doubts by row, formats into each other, words tried on sound and text, a report from events.

use std::path::Path;
use std::process::{Command, Output};

fn dictionary(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kakehashi")).arg("dictionary").args(args).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn write(folder: &Path, name: &str, content: impl AsRef<[u8]>) -> String {
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn check_tells_every_doubt_and_fails_only_when_asked_or_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let list =
        write(folder.path(), "words.csv", "表記,読み,範囲\n立売堀,イタチボリ,\n立売堀,イタチボリ,\n津,ツ,区:北区\n");
    let output = dictionary(&["check", &list]);
    assert!(output.status.success(), "{}", said(&output));
    let told = out(&output);
    assert!(told.contains("words.csv, line 3: duplicate: 立売堀: the same word as in line 2"), "{told}");
    assert!(
        told.contains("line 4: no-effect") && told.contains("csv, 3 rows") && told.contains("2 words, 2 doubts"),
        "{told}"
    );
    assert_eq!(dictionary(&["check", "--strict", &list]).status.code(), Some(1));
    let json = dictionary(&["check", "--json", &list]);
    let first: serde_json::Value = serde_json::from_str(out(&json).lines().next().unwrap()).unwrap();
    assert_eq!((&first["line"], &first["kind"]), (&3.into(), &"duplicate".into()));

    let wrong = write(folder.path(), "wrong.csv", "表記,読み\n三国,みくに\n十三,十三\n野江,\n");
    let output = dictionary(&["check", &wrong]);
    assert_eq!(output.status.code(), Some(1));
    let told = said(&output);
    assert!(told.contains("wrong.csv, line 3, column 読み") && told.contains("line 4, column 読み"), "{told}");
    let none = dictionary(&["check"]);
    assert!(none.status.code() == Some(1) && said(&none).contains("expected files, or --config"), "{}", said(&none));
}

#[test]
fn check_knows_the_lines_of_a_configuration_and_its_sources() {
    let folder = tempfile::tempdir().unwrap();
    let list = write(
        folder.path(),
        "words.csv",
        "surface,reading,scope\n立売堀,イタチボリ,ward:西区\n我孫子,アビコ,ward:東区\n",
    );
    let postal = std::fs::canonicalize("tests/data/ken_all/KEN_ALL_OSAKA.CSV").unwrap();
    let config = write(
        folder.path(),
        "kakehashi.toml",
        format!(
            "[[site]]\nid = \"osaka\"\n[[line]]\nnumber = \"*\"\nwards = [\"西区\"]\n[dictionary]\nfiles = [\"{list}\"]\n\
             [[dictionary.source]]\npath = \"{}\"\nareas = [\"271063\"]\nwards_as_scope = true\n",
            postal.display()
        ),
    );
    let output = dictionary(&["check", "--config", &config]);
    assert!(output.status.success(), "{}", said(&output));
    let told = out(&output);
    assert!(told.contains("line 3: scope: 我孫子: no line of the configuration has the scope ward:東区"), "{told}");
    assert!(!told.contains("scope: 立売堀") && told.contains("ken-all"), "{told}");
    let bad = std::fs::read_to_string(&config).unwrap().replace("271063", "271064");
    let config = write(folder.path(), "bad.toml", bad);
    let output = dictionary(&["check", "--config", &config]);
    assert!(said(&output).contains("areas: \"271064\" is no area"), "{}", said(&output));
}

#[test]
fn lists_become_our_csv_and_leave_in_other_formats() {
    let folder = tempfile::tempdir().unwrap();
    let ime = "\u{feff}!Microsoft IME Dictionary Tool\r\n\r\nいたちぼり\t立売堀\t地名\r\nおせ\tお世話になります\t短縮よみ\r\n";
    let ime: Vec<u8> = ime.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let ime = write(folder.path(), "ime.txt", ime);
    let output = dictionary(&["import", &ime, "--scope", "区:西区"]);
    assert!(output.status.success());
    assert_eq!(out(&output), "surface,reading,class,scope,weight,aliases\n立売堀,イタチボリ,place,ward:西区,,\n");
    assert!(said(&output).contains("1 rows are left out, the first in line 4"), "{}", said(&output));

    let compiled = folder.path().join("words.kkdict");
    let compiled = compiled.to_str().unwrap();
    let postal = "tests/data/ken_all/KEN_ALL_OSAKA.CSV";
    let output = dictionary(&["export", postal, "--area", "大阪市西区", "--to", "compiled", "--out", compiled]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("rows are left out, the first in line"), "{}", said(&output));
    let again = dictionary(&["import", compiled]);
    assert!(out(&again).contains("立売堀,イタチボリ,place,,,"));
    let mut bytes = std::fs::read(compiled).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(compiled, bytes).unwrap();
    let output = dictionary(&["check", compiled]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("damaged (its checksum is wrong)"), "{}", said(&output));
    let output = dictionary(&["export", postal, "--to", "ken-all"]);
    assert!(said(&output).contains("is only read"), "{}", said(&output));
}

#[test]
fn a_text_shows_what_is_put_right() {
    let folder = tempfile::tempdir().unwrap();
    let list = write(folder.path(), "w.csv", "surface,reading,scope\n立売堀,イタチボリ,ward:西区\n出戸,デト,\n");
    let text = "イタチボリとデトです";
    let lines = |args: &[&str]| -> serde_json::Value {
        let output = dictionary(&[&["test", "--dictionary", &list, "--json", "--text", text], args].concat());
        assert!(output.status.success(), "{}", said(&output));
        serde_json::from_str(out(&output).trim()).unwrap()
    };
    let all = lines(&[]);
    assert_eq!(
        (all["text"].as_str(), all["corrections"][0]["from"].as_str()),
        (Some("立売堀と出戸です"), Some("イタチボリ"))
    );
    assert_eq!(all["words"], serde_json::json!(["立売堀", "出戸"]));
    assert_eq!(lines(&["--call", "ward:西区"])["text"], "立売堀と出戸です");
    assert_eq!(lines(&["--call", "ward:北区"])["text"], "イタチボリと出戸です");
    assert!(said(&dictionary(&["test", "--dictionary", &list])).contains("nothing to try"));
}

#[cfg(feature = "whisper")]
#[test]
fn a_recording_shows_which_words_were_preferred() {
    let output = dictionary(&["test", "--dictionary", "samples/dictionary.csv", "--json", "samples/calls/call1.wav"]);
    assert!(output.status.success(), "{}", said(&output));
    let trials: Vec<serde_json::Value> = out(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(trials.len() >= 9);
    let preferred: Vec<&serde_json::Value> =
        trials.iter().flat_map(|trial| trial["preferred"].as_array().unwrap()).collect();
    assert!(!preferred.is_empty(), "{trials:?}");
    for one in &preferred {
        assert!(one["nats"].as_f64().unwrap() > 0.0 && (0.0..=1.0).contains(&one["p"].as_f64().unwrap()));
    }
    let by_reading = |trial: &serde_json::Value| {
        let corrections = trial["corrections"].as_array().unwrap();
        let helped =
            |to: &serde_json::Value| trial["preferred"].as_array().unwrap().iter().any(|one| one["word"] == *to);
        corrections.iter().any(|one| helped(&one["to"]))
    };
    assert!(trials.iter().any(by_reading), "a name that the bias spelt out by its reading is told as well: {trials:?}");
    for trial in &trials {
        let words = trial["words"].as_array().unwrap();
        let explained =
            !trial["preferred"].as_array().unwrap().is_empty() || !trial["corrections"].as_array().unwrap().is_empty();
        let same = trial["heard"] == trial["text"];
        assert!(same || explained || words.is_empty(), "a text that changed says why: {trial}");
    }
}

#[test]
fn a_report_is_made_from_events() {
    let folder = tempfile::tempdir().unwrap();
    let list = write(folder.path(), "w.csv", "surface,reading\n立売堀,イタチボリ\n出戸,デト\n三国,ミクニ\n");
    let contact = |n: u8| format!("00000000-0000-7000-8000-0000000000{n:02}");
    let event = |n: u8, text: &str, confidence: f32, correction: &str| {
        let contact = contact(n / 10);
        format!(
            r#"{{"specversion":"1.0","id":"00000000-0000-5000-8000-0000000001{n:02}","source":"/site/osaka/node/n1","subject":"contact/{contact}","type":"kakehashi.transcript.final.v1","time":"2026-11-27T08:00:00Z","partitionkey":"{contact}","sequence":"{n}","datacontenttype":"application/json","data":{{"leg":"{contact}","utterance":"x/{n}","speaker":"caller","start":1795766400000000,"end":1795766401000000,"start_ms":0,"end_ms":1000,"text":"{text}","text_raw":"{text}","corrections":[{correction}],"confidence":{confidence},"model":"m","dictionary":"v1"}}}}"#
        )
    };
    let weak =
        |from: &str| format!(r#"{{"start":0,"end":2,"from":"{from}","to":"出戸","reading":"デト","distance":0.5}}"#);
    let events = [
        event(11, "立売堀のタカハタです", 0.9, ""),
        event(21, "タカハタの件です", 0.9, ""),
        event(22, "出戸のバス", 0.5, &weak("ゲト")),
        event(31, "出戸です", 0.4, &weak("デコ")),
    ];
    let events = write(folder.path(), "events.jsonl", events.join("\n"));
    let output = dictionary(&["report", "--dictionary", &list, "--events", &events, "--json"]);
    assert!(output.status.success(), "{}", said(&output));
    let found: serde_json::Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!((found["texts"].as_u64(), found["contacts"].as_u64()), (Some(4), Some(3)));
    assert_eq!(found["without_effect"], serde_json::json!(["三国"]));
    assert_eq!(found["doubtful"][0]["surface"], "出戸");
    assert_eq!(
        (found["candidates"][0]["heard"].as_str(), found["candidates"][0]["contacts"].as_u64()),
        (Some("タカハタ"), Some(2))
    );
    assert_eq!(found["misheard"], serde_json::json!([]));
    let corrected = |n: u8, before: &str, text: &str| {
        let contact = contact(n / 10);
        format!(
            r#"{{"specversion":"1.0","id":"00000000-0000-5000-8000-0000000002{n:02}","source":"/site/osaka/node/n1","subject":"contact/{contact}","type":"kakehashi.transcript.corrected.v1","time":"2026-11-27T08:00:00Z","partitionkey":"{contact}","sequence":"{n}","datacontenttype":"application/json","data":{{"leg":"{contact}","utterance":"x/{n}","revision":1,"speaker":"caller","start":1795766400000000,"before":"{before}","text":"{text}","from":"panel","agent":"op1"}}}}"#
        )
    };
    let lines = [corrected(11, "ミグニの高畑です", "三国の高幡です"), corrected(21, "ミグニです", "三国です")];
    let events = write(folder.path(), "corrected.jsonl", lines.join("\n"));
    let aliases = folder.path().join("aliases.csv");
    let output =
        dictionary(&["report", "--dictionary", &list, "--events", &events, "--aliases", aliases.to_str().unwrap()]);
    let told = out(&output);
    assert!(told.contains("ミグニ for 三国: 2 times in 2 contacts (alias)"), "{told}");
    assert!(told.contains("高畑 for 高幡: 1 times in 1 contacts (not in the dictionary)"), "{told}");
    // what an administrator approves is a list like any other, and makes the word
    let output =
        dictionary(&["test", "--dictionary", &list, "--dictionary", aliases.to_str().unwrap(), "--text", "ミグニです"]);
    assert!(out(&output).contains("三国です"), "{}", said(&output));
    let broken = write(folder.path(), "broken.jsonl", "{\"type\":\"山田\"}\n");
    let told = said(&dictionary(&["report", "--dictionary", &list, "--events", &broken]));
    assert!(told.contains("broken.jsonl, line 1") && !told.contains("山田"), "{told}");
}

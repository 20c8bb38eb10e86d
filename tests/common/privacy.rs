//! What must not stand in any log: who called, who answered, what was said.

use std::path::Path;

use serde_json::Value;

/// The caller of the sample call: 橋本 花子 in `samples/contacts.csv`.
pub(crate) const CALLER: &str = "0600001234";

/// Characters of spoken text in a row that must not be found.
const STRETCH: usize = 4;

/// Numbers and names of the samples, and every stretch of what is said in the sample call or stands in `texts`.
pub(crate) fn secrets(texts: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut secrets = vec![CALLER[1..].to_string(), "06-0000-1234".into(), "6-0000-1234".into()];
    for (file, column) in [("contacts.csv", 1), ("contacts.csv", 3), ("directory.csv", 2)] {
        let text = sample(file);
        let rows = text.lines().skip(1).filter_map(|row| row.split(',').nth(column));
        secrets.extend(rows.flat_map(str::split_whitespace).map(str::to_string));
    }
    let call: Value = serde_json::from_str(&sample("calls/call1.json")).unwrap();
    let said = call["utterances"].as_array().unwrap().iter().map(|one| one["text"].as_str().unwrap().to_string());
    for text in said.chain(texts) {
        let characters: Vec<char> = text.chars().collect();
        let stretches = characters.windows(STRETCH).map(|window| window.iter().collect::<String>());
        // digits alone stand in every log
        secrets.extend(stretches.filter(|stretch| !stretch.is_ascii()));
    }
    secrets.retain(|secret| !secret.is_empty());
    secrets.sort();
    secrets.dedup();
    secrets
}

fn sample(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("samples").join(name)).unwrap()
}

/// Fails when a line of the log holds one of them, in plain or as JSON and URLs write it.
pub(crate) fn assert_spotless(log: &str, secrets: &[String]) {
    assert!(log.contains("TRACE"), "the log is not at trace level: {log}");
    assert!(secrets.len() > 100, "there is something to look for");
    for secret in secrets {
        for form in [secret.clone(), in_json(secret), in_url(secret)] {
            let line = log.lines().find(|line| line.contains(&form));
            assert!(line.is_none(), "the log holds {form:?}: {line:?}");
        }
    }
}

fn in_json(text: &str) -> String {
    let unit = |unit: u16| if unit < 128 { char::from(unit as u8).into() } else { format!("\\u{unit:04x}") };
    text.encode_utf16().map(unit).collect()
}

fn in_url(text: &str) -> String {
    let byte = |byte: u8| if byte.is_ascii() { char::from(byte).into() } else { format!("%{byte:02X}") };
    text.bytes().map(byte).collect()
}

#[test]
fn a_name_in_a_log_is_found() {
    let all = secrets(Vec::new());
    assert_spotless("TRACE nothing of it", &all);
    for line in ["TRACE \\u6a4b\\u672c", "TRACE %E6%A9%8B%E6%9C%AC", "TRACE sip:+81600001234@x", "TRACE 電話ありがと"]
    {
        assert!(std::panic::catch_unwind(|| assert_spotless(line, &all)).is_err(), "{line}");
    }
}

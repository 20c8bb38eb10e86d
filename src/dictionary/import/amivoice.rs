//! Words of AmiVoice: `{"profilewords":[{"written","spoken","classname"}]}`, or `表記 よみ` and perhaps a class, joined by `|`.

use serde::Deserialize;

use super::ImportError;
use super::sink::{Draft, Names, Sink};

const NAMES: Names<'_> = Names { surface: "written", reading: "spoken", scope: "-", weight: "-", aliases: "-" };
/// Classes of AmiVoice and what they are to us; others are kept as they are called.
const CLASSES: &[(&str, &str)] = &[("地名", "place"), ("人名", "person"), ("固有名詞", ""), ("駅名", "place")];

/// AmiVoice's list, or the list alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum Profile {
    Whole { profilewords: Vec<Word> },
    Words(Vec<Word>),
}

#[derive(Deserialize)]
struct Word {
    #[serde(default)]
    written: String,
    #[serde(default)]
    spoken: String,
    #[serde(default)]
    classname: String,
}

/// Rows are numbered as words, from 1: JSON may stand in one line.
pub(super) fn read_json(text: &str, sink: &mut Sink<'_>) -> Result<(), ImportError> {
    let profile: Profile = match serde_json::from_str::<serde::de::IgnoredAny>(text) {
        Err(error) => return Err(sink.form(error.line() as u64, format!("not JSON: {error}. Export the words again"))),
        Ok(_) => serde_json::from_str(text).map_err(|_| {
            sink.form(1, "no list of words. Expected {\"profilewords\": [{\"written\": …, \"spoken\": …}]}")
        })?,
    };
    let (Profile::Whole { profilewords: words } | Profile::Words(words)) = profile;
    for (n, word) in words.iter().enumerate() {
        take(n as u64 + 1, &word.written, &word.spoken, &word.classname, sink)?;
    }
    Ok(())
}

/// Rows are numbered as words, from 1.
pub(super) fn read_inline(text: &str, sink: &mut Sink<'_>) -> Result<(), ImportError> {
    let words = text.split(['|', '\n']).map(str::trim).filter(|word| !word.is_empty());
    for (n, word) in words.enumerate() {
        let mut parts = word.split([' ', '\u{3000}']).filter(|part| !part.is_empty());
        let (written, spoken) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        take(n as u64 + 1, written, spoken, parts.next().unwrap_or_default(), sink)?;
    }
    Ok(())
}

fn take(number: u64, written: &str, spoken: &str, class: &str, sink: &mut Sink<'_>) -> Result<(), ImportError> {
    let class = CLASSES.iter().find(|(own, _)| *own == class).map_or(class, |(_, class)| class);
    let draft = Draft { line: number, surface: written, readings: vec![spoken], class, ..Draft::default() };
    sink.take(&draft, &NAMES)
}

#[cfg(test)]
mod tests {
    use super::super::tests::read_as;
    use super::super::{Format, ImportError};

    #[test]
    fn both_forms_are_read() {
        let json = r#"{"profilewords":[{"written":"十三","spoken":"じゅうそう","classname":"地名"},{"written":"三国","spoken":"みくに"}]}"#;
        for (text, format) in [
            (json, Format::AmivoiceJson),
            (
                json.strip_prefix(r#"{"profilewords":"#).and_then(|rest| rest.strip_suffix('}')).unwrap(),
                Format::AmivoiceJson,
            ),
            ("十三 じゅうそう 地名|三国 みくに", Format::Amivoice),
        ] {
            let imported = read_as(Format::Auto, text.as_bytes()).unwrap();
            assert_eq!(imported.files[0].1, format, "{text}");
            let words: Vec<_> =
                imported.rows.iter().map(|row| (row.entry.surface.as_str(), row.entry.class.as_str())).collect();
            assert_eq!(words, [("十三", "place"), ("三国", "")]);
        }
    }

    #[test]
    fn what_is_no_such_list_is_told() {
        let error = read_as(Format::Auto, b"{\"profilewords\":[{\n\"written\":}").unwrap_err();
        assert!(matches!(&error, ImportError::Form { line: 2, .. }), "{error}");
        let error = read_as(Format::Auto, br#"{"words":[]}"#).unwrap_err().to_string();
        assert!(error.contains("Expected {\"profilewords\""), "{error}");
        let error = read_as(Format::AmivoiceJson, br#"[{"written":"a"}]"#).unwrap_err().to_string();
        assert!(error.contains("line 1, column spoken: the row has no reading"), "{error}");
    }
}

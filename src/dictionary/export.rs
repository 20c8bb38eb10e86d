//! Entries into files that other programs read: our CSV, input methods, AmiVoice, MeCab, and the compiled form.
//!
//! Only our CSV and the compiled form keep everything. The others know one reading a row and neither scopes, weights nor aliases; a word with
//! several readings has several rows, and words that a format cannot hold are counted.

use super::compiled;
use super::entry::Entry;
use super::import::{Format, part_of_speech};

/// Longest reading and word that ATOK takes, in characters.
const ATOK_READING: usize = 32;
const ATOK_WORD: usize = 100;

/// A file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Its content.
    pub bytes: Vec<u8>,
    /// Rows that the format cannot hold.
    pub left_out: usize,
    /// Whether the words have something that the format does not keep (scopes, weights, aliases).
    pub lossy: bool,
}

/// There is no such file to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the format {} is only read. Expected csv, ms-ime, google, atok, amivoice-json, amivoice, mecab or compiled", .0.name())]
pub struct ReadOnly(pub Format);

/// Writes `entries` in `format`.
///
/// # Errors
/// [`ReadOnly`] for Japan Post's lists and `auto`.
pub fn export(entries: &[Entry], format: Format) -> Result<Exported, ReadOnly> {
    let whole = |bytes| Exported { bytes, left_out: 0, lossy: false };
    match format {
        Format::Csv => Ok(whole(csv_of(entries))),
        Format::Compiled => Ok(whole(compiled::write(entries))),
        Format::Auto | Format::KenAll | Format::UtfKenAll => Err(ReadOnly(format)),
        Format::MsIme | Format::Google | Format::Atok => Ok(ime(entries, format)),
        Format::AmivoiceJson | Format::Amivoice => Ok(amivoice(entries, format)),
        Format::Mecab => Ok(mecab(entries)),
    }
}

fn lossy(entries: &[Entry]) -> bool {
    entries.iter().any(|entry| !entry.scope.is_empty() || entry.weight != 1.0 || !entry.aliases.is_empty())
}

/// Every reading of every entry.
fn rows(entries: &[Entry]) -> impl Iterator<Item = (&Entry, &str)> {
    entries.iter().flat_map(|entry| entry.readings.iter().map(move |reading| (entry, reading.as_str())))
}

fn csv_of(entries: &[Entry]) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut rows = vec![["surface", "reading", "class", "scope", "weight", "aliases"].map(str::to_owned)];
    rows.extend(entries.iter().map(|entry| {
        let weight = if entry.weight == 1.0 { String::new() } else { entry.weight.to_string() };
        let (readings, aliases) = (entry.readings.join("|"), entry.aliases.join("|"));
        [entry.surface.clone(), readings, entry.class.clone(), entry.scope.clone(), weight, aliases]
    }));
    for row in rows {
        // writing into memory does not fail
        let _ = writer.write_record(row);
    }
    writer.into_inner().unwrap_or_default()
}

fn ime(entries: &[Entry], format: Format) -> Exported {
    let (head, mark) = match format {
        Format::MsIme => ("!Microsoft IME Dictionary Tool\r\n!Version:\r\n!Format:WORDLIST\r\n\r\n", ""),
        Format::Atok => ("!!ATOK_TANGO_TEXT_HEADER_1\r\n", "*"),
        _ => ("", ""),
    };
    let line_end = if format == Format::Google { "\n" } else { "\r\n" };
    let (mut text, mut left_out) = (head.to_owned(), 0);
    for (entry, reading) in rows(entries) {
        let long = format == Format::Atok
            && (reading.chars().nth(ATOK_READING).is_some() || entry.surface.chars().nth(ATOK_WORD).is_some());
        if long {
            left_out += 1;
            continue;
        }
        let speech = part_of_speech(format, &entry.class);
        let end = if format == Format::Atok { "" } else { "\t" };
        text.push_str(&format!("{}\t{}\t{speech}{mark}{end}{line_end}", hiragana(reading), entry.surface));
    }
    let bytes = match format {
        Format::Google => text.into_bytes(),
        _ => ["\u{feff}", &text].concat().encode_utf16().flat_map(u16::to_le_bytes).collect(),
    };
    Exported { bytes, left_out, lossy: lossy(entries) }
}

fn amivoice(entries: &[Entry], format: Format) -> Exported {
    let class = |class: &str| match class {
        "place" | "ward" => "地名",
        "person" => "人名",
        _ => "固有名詞",
    };
    if format == Format::AmivoiceJson {
        let words: Vec<serde_json::Value> = rows(entries)
            .map(|(entry, reading)| {
                serde_json::json!({"written": entry.surface, "spoken": hiragana(reading), "classname": class(&entry.class)})
            })
            .collect();
        let bytes = serde_json::to_vec_pretty(&serde_json::json!({ "profilewords": words })).unwrap_or_default();
        return Exported { bytes, left_out: 0, lossy: lossy(entries) };
    }
    let fits = |entry: &Entry| !entry.surface.contains(['|', ' ', '\u{3000}', ':']);
    let words: Vec<String> = rows(entries)
        .filter(|(entry, _)| fits(entry))
        .map(|(entry, reading)| format!("{} {} {}", entry.surface, hiragana(reading), class(&entry.class)))
        .collect();
    let left_out = rows(entries).count() - words.len();
    Exported { bytes: words.join("|").into_bytes(), left_out, lossy: lossy(entries) }
}

/// The 13 columns of IPADIC, with its context numbers of proper nouns, which MeCab and Lindera both read.
fn mecab(entries: &[Entry]) -> Exported {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for (entry, reading) in rows(entries) {
        let (context, second, third) = match entry.class.as_str() {
            "place" | "ward" => ("1293", "地域", "一般"),
            "person" => ("1289", "人名", "一般"),
            "organization" => ("1292", "組織", "*"),
            _ => ("1288", "一般", "*"),
        };
        let surface = entry.surface.as_str();
        let row =
            [surface, context, context, "5000", "名詞", "固有名詞", second, third, "*", "*", surface, reading, reading];
        let _ = writer.write_record(row);
    }
    Exported { bytes: writer.into_inner().unwrap_or_default(), left_out: 0, lossy: lossy(entries) }
}

/// Katakana as hiragana; ー, ヷ–ヺ and what is no katakana stay.
fn hiragana(kana: &str) -> String {
    let lower = |c: char| match c {
        'ァ'..='ヶ' => char::from_u32(c as u32 - 0x60).unwrap_or(c),
        other => other,
    };
    kana.chars().map(lower).collect()
}

#[cfg(test)]
mod tests {
    use super::super::import::{Source, import};
    use super::*;

    fn entries() -> Vec<Entry> {
        let entry = |surface: &str, readings: &[&str], class: &str| Entry {
            surface: surface.into(),
            readings: readings.iter().map(|kana| (*kana).to_owned()).collect(),
            class: class.into(),
            scope: String::new(),
            weight: 1.0,
            aliases: Vec::new(),
        };
        vec![
            entry("十三", &["ジュウソウ"], "place"),
            entry("立売堀", &["イタチボリ", "タチウリボリ"], "place"),
            entry("髙槻ＤＸ推進室", &["タカツキディーエックススイシンシツ"], "organization"),
            entry("水木\"茂\",", &["ミズキシゲル"], "person"),
        ]
    }

    fn back(format: Format, entries: &[Entry]) -> Vec<Entry> {
        let exported = export(entries, format).unwrap();
        assert_eq!((exported.left_out, exported.lossy), (0, false), "{format:?}");
        import(&[Source { name: format.name(), bytes: &exported.bytes }]).unwrap()
    }

    #[test]
    fn surfaces_and_readings_come_back_from_every_format() {
        let plain = |entries: Vec<Entry>| entries.into_iter().map(|e| (e.surface, e.readings)).collect::<Vec<_>>();
        for format in
            [Format::MsIme, Format::Google, Format::Atok, Format::AmivoiceJson, Format::Amivoice, Format::Mecab]
        {
            let again = back(format, &entries());
            assert_eq!(again[0].class, "place", "{format:?}");
            assert_eq!(plain(again), plain(entries()), "{format:?}");
        }
    }

    #[test]
    fn our_own_formats_keep_everything() {
        let mut all = entries();
        all[0].scope = "ward:淀川区|department:財政課".into();
        all[1].weight = 0.25;
        all[2].aliases = vec!["高槻DX".into(), "高月".into()];
        for format in [Format::Csv, Format::Compiled] {
            assert_eq!(back(format, &all), all, "{format:?}");
        }
        assert!(export(&all, Format::MsIme).unwrap().lossy);
    }

    #[test]
    fn what_a_format_cannot_hold_is_counted() {
        let long = Entry { readings: vec!["ア".repeat(33)], ..entries().remove(0) };
        assert_eq!(export(&[long], Format::Atok).unwrap().left_out, 1);
        let blank = Entry { surface: "区 役所".into(), ..entries().remove(0) };
        assert_eq!(export(&[blank], Format::Amivoice).unwrap().left_out, 1);
        assert_eq!(export(&[], Format::KenAll), Err(ReadOnly(Format::KenAll)));
    }
}

//! Which format a text is written in, by its first lines.

use super::{Format, ken_all, mecab, table};
use crate::dictionary::reading::to_katakana;

/// Lines that are looked at.
const LINES: usize = 20;

/// The format; [`Format::Csv`] for what is nothing else, so that the error names the columns that are missing.
pub(super) fn format(text: &str) -> Format {
    let start = text.trim_start();
    if start.starts_with('{') || start.starts_with('[') {
        return Format::AmivoiceJson;
    }
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).take(LINES).collect();
    let Some(first) = lines.first().copied() else { return Format::Csv };
    let upper = first.chars().take(16).collect::<String>().to_ascii_uppercase();
    if upper.starts_with("!!ATOK") || upper.starts_with("!!DICUT") {
        return Format::Atok;
    }
    if first.starts_with('!') {
        return Format::MsIme;
    }
    if table::is_header(first) {
        return Format::Csv;
    }
    if let Some(format) = ken_all::form(first) {
        return format;
    }
    let Some(row) = lines.iter().find(|line| !line.starts_with('#')) else { return Format::Csv };
    if mecab::is_row(row) {
        return Format::Mecab;
    }
    let fields: Vec<&str> = row.split('\t').collect();
    if fields.len() >= 2 && fields.first().is_some_and(|reading| to_katakana(reading).is_some()) {
        return Format::Google;
    }
    let word = row.split('|').next().unwrap_or_default().trim();
    let spoken = word.split([' ', '\u{3000}']).nth(1).unwrap_or_default();
    if !word.contains([',', '\t']) && to_katakana(spoken).is_some_and(|kana| !kana.is_empty()) {
        return Format::Amivoice;
    }
    Format::Csv
}

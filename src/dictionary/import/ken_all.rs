//! Japan Post's lists of postal codes, as places: KEN_ALL (Shift_JIS, half-width kana, a long row stands in several lines) and utf_ken_all.
//!
//! Columns, from 1: code of the municipality (5 digits), old code, postal code, kana of prefecture, municipality and town, then their names
//! (郵便番号データの説明, 日本郵便). What the town's column holds besides towns is removed: remarks in parentheses, 地割, 以下に掲載がない場合,
//! …の次に番地がくる場合, …一円 (but 一円 in 多賀町 is a town). Each town is a word once; municipalities, cities and wards are words too.

use std::collections::{HashMap, HashSet};

use unicode_normalization::UnicodeNormalization;

use super::sink::{Draft, NOT_KANA, Names, ONE_CHARACTER, Sink};
use super::{Format, ImportError};
use crate::dictionary::reading::to_katakana;

const NAMES: Names<'_> =
    Names { surface: "町域名 (9)", reading: "町域名カナ (6)", scope: "-", weight: "-", aliases: "-" };
const NO_TOWN: &str = "the row stands for no town of its own (以下に掲載がない場合, 次に番地がくる場合, 一円)";
const NUMBER: &str = "the reading has a number that is read in too many ways";
/// Columns that are needed.
const COLUMNS: usize = 9;
/// Most lines of one long row.
const MOST_LINES: u32 = 50;
/// Towns without a single small kana after which the list is taken for the edition in large kana.
const ALL_LARGE: usize = 200;

/// The format of a list whose first line is `line`; `None` when it is none of the two.
pub(super) fn form(line: &str) -> Option<Format> {
    let fields: Vec<&str> = line.split(',').map(|field| field.trim_matches(['"', ' '])).collect();
    let digits = |at: usize, count: usize| {
        fields.get(at).is_some_and(|field| field.len() == count && field.bytes().all(|byte| byte.is_ascii_digit()))
    };
    if fields.len() < COLUMNS || !digits(0, 5) || !digits(2, 7) {
        return None;
    }
    let half_width = fields.get(3).is_some_and(|kana| kana.chars().any(|c| matches!(c, 'ｦ'..='ﾟ')));
    Some(if half_width { Format::KenAll } else { Format::UtfKenAll })
}

/// A word that was found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Place {
    surface: String,
    readings: Vec<String>,
    class: &'static str,
    scope: String,
}

#[derive(Default)]
struct Found {
    /// In order, with their lines.
    places: Vec<(u64, Place)>,
    known: HashSet<Place>,
    /// Name and kana of the wanted municipalities, with their lines.
    municipalities: Vec<(u64, String, String)>,
    seen: HashSet<u32>,
    /// Kana of all wards of a city, wanted or not: what they share is the city's.
    cities: HashMap<String, HashSet<String>>,
    /// Towns by municipality, and buildings whose names stand behind that of their town.
    towns: HashSet<(u32, String, String)>,
    buildings: Vec<(u64, u32, String, String, String)>,
    small_kana: bool,
}

/// One row, as far as it matters.
struct Line<'r> {
    number: u64,
    code: u32,
    postal: &'r str,
    municipality: &'r str,
    municipality_kana: &'r str,
    town: &'r str,
    kana: &'r str,
}

pub(super) fn read(text: &str, sink: &mut Sink<'_>) -> Result<(), ImportError> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
    let mut found = Found::default();
    // a long row that is not at its end: municipality, postal code, first line, lines so far
    let mut open: Option<(u32, String, u64, u32)> = None;
    for record in reader.records() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                let line = error.position().map_or(0, csv::Position::line);
                return sink.wrong(line, "-", format!("not CSV: {error}"));
            }
        };
        let number = record.position().map_or(0, csv::Position::line);
        let field = |at: usize| record.get(at).unwrap_or_default().trim();
        let Some(code) = Some(field(0)).filter(|code| code.len() == 5).and_then(|code| code.parse().ok()) else {
            sink.wrong(number, "全国地方公共団体コード (1)", "expected five digits. Is this KEN_ALL or utf_ken_all?")?;
            continue;
        };
        let (prefecture, municipality) = (field(6), field(7));
        if record.len() < COLUMNS || municipality.is_empty() || field(8).is_empty() {
            sink.wrong(number, NAMES.surface, "a part of the address is missing. Fetch the list again")?;
            continue;
        }
        let line = Line {
            number,
            code,
            postal: field(2),
            municipality,
            municipality_kana: field(4),
            town: field(8),
            kana: field(5),
        };
        if let Some((city, _)) = ward_of(municipality) {
            found.cities.entry(city.to_owned()).or_default().insert(full_width(line.municipality_kana));
        }
        let areas = &sink.how().areas;
        if !areas.is_empty() && !areas.iter().any(|area| area.has(code, prefecture, municipality)) {
            continue;
        }
        if let Some((code, postal, first, lines)) = open.take() {
            if (code, postal.as_str()) != (line.code, line.postal) || lines >= MOST_LINES {
                let problem =
                    "the parenthesis of this row is not closed by the rows that follow it. Fetch the list again";
                sink.wrong(first, NAMES.surface, problem)?;
            } else {
                // the rest of a remark
                open = (!line.town.contains('）')).then_some((code, postal, first, lines + 1));
                continue;
            }
        }
        if line.town.matches('（').count() > line.town.matches('）').count() {
            open = Some((line.code, line.postal.to_owned(), number, 1));
        }
        found.row(&line, sink);
    }
    if let Some((_, _, first, _)) = open {
        sink.wrong(first, NAMES.surface, "the parenthesis of this row is not closed. Fetch the list again")?;
    }
    found.finish(sink)
}

impl Found {
    fn row(&mut self, line: &Line<'_>, sink: &mut Sink<'_>) {
        if self.seen.insert(line.code) {
            let (name, kana) = (line.municipality.to_owned(), full_width(line.municipality_kana));
            self.municipalities.push((line.number, name, kana));
        }
        let scope = match ward_of(line.municipality) {
            Some((_, ward)) if sink.how().wards_as_scope => format!("ward:{ward}"),
            _ => String::new(),
        };
        let Some((town, kana)) = town(line.town, &full_width(line.kana)) else {
            return sink.leave_out(line.number, NO_TOWN);
        };
        let remark = line.town.split_once('（').map_or("", |(_, remark)| remark);
        if remark.ends_with("階）") || remark.contains("階層不明") {
            if !self.buildings.iter().rev().take(200).any(|known| known.1 == line.code && known.2 == town) {
                self.buildings.push((line.number, line.code, town, kana, scope));
            }
            return;
        }
        self.towns.insert((line.code, town.clone(), kana.clone()));
        self.place(line.number, town, &kana, "place", scope, sink);
    }

    /// Takes a word whose kana may have digits.
    fn place(
        &mut self,
        line: u64,
        surface: String,
        kana: &str,
        class: &'static str,
        scope: String,
        sink: &mut Sink<'_>,
    ) {
        if surface.chars().nth(1).is_none() {
            return sink.leave_out(line, ONE_CHARACTER);
        }
        let readings = match spoken(kana) {
            Ok(readings) => readings,
            Err(why) => return sink.leave_out(line, why),
        };
        self.small_kana |= kana.contains(['ャ', 'ュ', 'ョ', 'ッ']);
        let place = Place { surface, readings, class, scope };
        if self.known.insert(place.clone()) {
            self.places.push((line, place));
        }
    }

    fn finish(mut self, sink: &mut Sink<'_>) -> Result<(), ImportError> {
        for (line, code, surface, kana, scope) in std::mem::take(&mut self.buildings) {
            let (surface, kana) = without_town(&self.towns, code, &surface, &kana);
            self.place(line, surface, &kana, "facility", scope, sink);
        }
        for (line, name, kana) in std::mem::take(&mut self.municipalities) {
            for (surface, kana, class) in parts(&name, &kana, &self.cities) {
                self.place(line, surface, &kana, class, String::new(), sink);
            }
        }
        if self.places.len() >= ALL_LARGE && !self.small_kana {
            let problem = "no reading of this list has small kana (キヨウ for キョウ): it is the edition in large kana (大書き). Fetch the one \
                           in small kana (小書き) or utf_ken_all";
            return Err(sink.form(1, problem));
        }
        for (line, place) in self.places {
            let readings = place.readings.iter().map(String::as_str).collect();
            let (class, scope) = (place.class, place.scope.as_str());
            let draft = Draft { line, surface: &place.surface, readings, class, scope, ..Draft::default() };
            sink.take(&draft, &NAMES)?;
        }
        Ok(())
    }
}

fn full_width(kana: &str) -> String {
    kana.nfkc().collect()
}

/// The town of a row without remarks, and its kana; `None` when the row names no town.
fn town(town: &str, kana: &str) -> Option<(String, String)> {
    let town = town.split('（').next().unwrap_or_default();
    let kana = kana.split('(').next().unwrap_or_default();
    if town == "以下に掲載がない場合" || (town.contains("の次に") && town.ends_with("場合")) {
        return None;
    }
    if town.strip_suffix("一円").is_some_and(|municipality| !municipality.is_empty()) {
        return None;
    }
    // 甲、乙: the second name is told without what it shares with the first
    let (town, kana) = (town.split('、').next().unwrap_or_default(), kana.split('、').next().unwrap_or_default());
    let (town, kana) = if town.contains("地割") {
        let digit = |c: char| c.is_ascii_digit() || matches!(c, '０'..='９');
        let (town, kana) = (town.split(digit).next().unwrap_or_default(), kana.split(digit).next().unwrap_or_default());
        match town.strip_suffix('第') {
            Some(town) => (town, kana.strip_suffix("ダイ").unwrap_or(kana)),
            None => (town, kana),
        }
    } else {
        (town, kana)
    };
    (!town.is_empty()).then(|| (town.to_owned(), kana.to_owned()))
}

/// The name of a building without that of its town, when the town is known.
fn without_town(towns: &HashSet<(u32, String, String)>, code: u32, surface: &str, kana: &str) -> (String, String) {
    let own = towns.iter().filter(|(of, ..)| *of == code);
    let fitting = own.filter(|(_, town, sound)| surface.starts_with(town.as_str()) && kana.starts_with(sound.as_str()));
    let longest = fitting.max_by_key(|(_, town, _)| town.len());
    let rest = longest
        .and_then(|(_, town, sound)| Some((surface.strip_prefix(town.as_str())?, kana.strip_prefix(sound.as_str())?)));
    match rest.filter(|(name, sound)| !name.is_empty() && !sound.is_empty()) {
        Some((name, sound)) => (name.to_owned(), sound.to_owned()),
        None => (surface.to_owned(), kana.to_owned()),
    }
}

/// City and ward of 大阪市北区; `None` for a municipality without wards.
fn ward_of(municipality: &str) -> Option<(&str, &str)> {
    let end = municipality.find('市')? + '市'.len_utf8();
    let (city, ward) = municipality.split_at_checked(end)?;
    (ward.ends_with('区') && ward.chars().count() > 1).then_some((city, ward))
}

/// What of the name of a municipality is said by itself, with its kana and class.
fn parts(name: &str, kana: &str, cities: &HashMap<String, HashSet<String>>) -> Vec<(String, String, &'static str)> {
    if let Some((city, ward)) = ward_of(name) {
        let wards = cities.get(city);
        let shared =
            wards.filter(|wards| wards.len() > 1).and_then(shared_city).filter(|shared| kana.starts_with(shared));
        if let Some(ward_kana) = shared.as_ref().and_then(|shared| kana.strip_prefix(shared.as_str())) {
            let city_kana = shared.clone().unwrap_or_default();
            return vec![(city.to_owned(), city_kana, "place"), (ward.to_owned(), ward_kana.to_owned(), "ward")];
        }
    }
    let county = name.split_once('郡').filter(|(county, town)| !county.is_empty() && town.ends_with(['町', '村']));
    if let (Some((_, town)), Some((_, town_kana))) = (county, kana.split_once("グン")) {
        return vec![(town.to_owned(), town_kana.to_owned(), "place")];
    }
    vec![(name.to_owned(), kana.to_owned(), "place")]
}

/// What the kana of all wards of a city begin with, as far as シ.
fn shared_city(wards: &HashSet<String>) -> Option<String> {
    let mut wards = wards.iter();
    let first: Vec<char> = wards.next()?.chars().collect();
    let shared = wards.fold(first.len(), |shared, ward| {
        shared.min(first.iter().zip(ward.chars()).take_while(|(a, b)| **a == *b).count())
    });
    let end = first.get(..shared)?.iter().rposition(|c| *c == 'シ')?;
    first.get(..=end).map(|city| city.iter().collect())
}

/// Most readings of a name with numbers.
const MOST_READINGS: usize = 8;

/// The readings of kana in which numbers may stand (キタ４ジョウニシ), or why there are none.
fn spoken(kana: &str) -> Result<Vec<String>, &'static str> {
    let mut readings = vec![String::new()];
    let mut rest = kana;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, from) = rest.split_at(start);
        let end = from.find(|c: char| !c.is_ascii_digit()).unwrap_or(from.len());
        let (number, after) = from.split_at(end);
        let ways = number.parse().ok().and_then(number_readings).ok_or(NUMBER)?;
        if readings.len() * ways.len() > MOST_READINGS {
            return Err(NUMBER);
        }
        let longer = readings.iter().flat_map(|so_far| ways.iter().map(move |way| [so_far, before, way].concat()));
        readings = longer.collect();
        rest = after;
    }
    readings.iter_mut().for_each(|reading| reading.push_str(rest));
    readings.iter().map(|reading| to_katakana(reading).filter(|kana| !kana.is_empty()).ok_or(NOT_KANA)).collect()
}

/// How 1–99 are said before a counter; 4, 7 and 9 have several ways.
fn number_readings(number: u32) -> Option<Vec<String>> {
    const ONES: [&[&str]; 10] = [
        &[""],
        &["イチ"],
        &["ニ"],
        &["サン"],
        &["ヨ", "ヨン", "シ"],
        &["ゴ"],
        &["ロク"],
        &["ナナ", "シチ"],
        &["ハチ"],
        &["ク", "キュウ"],
    ];
    const TENS: [&str; 10] = [
        "",
        "ジュウ",
        "ニジュウ",
        "サンジュウ",
        "ヨンジュウ",
        "ゴジュウ",
        "ロクジュウ",
        "ナナジュウ",
        "ハチジュウ",
        "キュウジュウ",
    ];
    let tens = TENS.get((number / 10) as usize).filter(|_| number > 0)?;
    Some(ONES.get((number % 10) as usize)?.iter().map(|ones| [tens, *ones].concat()).collect())
}

#[cfg(test)]
mod tests;

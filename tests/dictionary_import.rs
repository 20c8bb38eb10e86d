//! Word lists as other programs write them: real rows of Japan Post's lists (`tests/data/ken_all/make.py`), and every format through our CSV.

use std::collections::BTreeSet;

use kakehashi::dictionary::export::export;
use kakehashi::dictionary::import::{Area, FORMATS, import, read};
use kakehashi::dictionary::{Dictionary, Entry, Format, How, ImportError, Imported, Settings, Source};

fn file(name: &str) -> Vec<u8> {
    std::fs::read(format!("tests/data/ken_all/{name}")).unwrap()
}

fn postal(name: &str, how: &How) -> Imported {
    read(&[(Source { name, bytes: &file(name) }, how)]).unwrap()
}

fn areas(all: &[&str]) -> How {
    How { areas: all.iter().map(|area| Area::parse(area).unwrap()).collect(), ..How::default() }
}

fn words(imported: &Imported) -> BTreeSet<(String, Vec<String>, String)> {
    imported
        .rows
        .iter()
        .map(|row| (row.entry.surface.clone(), row.entry.readings.clone(), row.entry.class.clone()))
        .collect()
}

fn entry<'i>(imported: &'i Imported, surface: &str) -> Option<&'i Entry> {
    imported.rows.iter().map(|row| &row.entry).find(|entry| entry.surface == surface)
}

#[test]
fn the_towns_of_osaka_are_those_that_another_reader_finds() {
    let imported = postal("KEN_ALL_OSAKA.CSV", &How::default());
    assert_eq!(imported.files[0].1, Format::KenAll);
    let towns = file("osaka_towns.csv");
    let expected: BTreeSet<(String, String)> = csv::ReaderBuilder::new()
        .has_headers(false)
        .from_reader(towns.as_slice())
        .records()
        .map(|row| row.map(|row| (row[1].to_owned(), row[2].to_owned())).unwrap())
        .collect();
    let ours = |class: &'static str| {
        let of_class = imported.rows.iter().filter(move |row| row.entry.class == class);
        of_class.map(|row| (row.entry.surface.clone(), row.entry.readings[0].clone())).collect::<BTreeSet<_>>()
    };
    let (mut places, facilities) = (ours("place"), ours("facility"));
    assert!(places.remove(&("大阪市".to_owned(), "オオサカシ".to_owned())), "the city is a word too");
    // Japan Post has changed these readings between the two editions
    let changed = [("竹島", "タケシマ"), ("姫島", "ヒメシマ"), ("中島", "ナカシマ"), ("西島", "ニシシマ")];
    for (town, reading) in changed {
        assert!(places.remove(&(town.to_owned(), reading.to_owned())), "{town}");
    }
    let missing = expected.difference(&places).filter(|(town, _)| !changed.iter().any(|(own, _)| own == town));
    // the other reader keeps the town before the name of a building, and names with letters in their reading
    let missing: Vec<_> = missing
        .filter(|(town, _)| !facilities.iter().any(|(building, _)| town.ends_with(building.as_str())))
        .filter(|(town, _)| !town.contains(['Ａ', 'Ｊ']) && town.chars().count() > 1)
        .collect();
    assert!(missing.is_empty() && expected.len() > 500, "{missing:?} of {}", expected.len());
    let more: Vec<_> = places.difference(&expected).collect();
    assert!(more.is_empty(), "{more:?}");
    let wards: BTreeSet<&str> =
        imported.rows.iter().filter(|row| row.entry.class == "ward").map(|row| row.entry.surface.as_str()).collect();
    assert_eq!(wards.len(), 24);
    assert_eq!(entry(&imported, "住吉区").unwrap().readings, ["スミヨシク"], "the city's シ is not the ward's");
    assert_eq!(entry(&imported, "西中島").unwrap().readings, ["ニシナカジマ"]);
}

#[test]
fn one_ward_of_a_city_can_be_taken_and_its_places_can_be_its_own() {
    let how = How { wards_as_scope: true, ..areas(&["271276"]) };
    let kita = postal("KEN_ALL_OSAKA.CSV", &how);
    assert!(entry(&kita, "梅田").is_some() && entry(&kita, "我孫子").is_none());
    assert_eq!(entry(&kita, "梅田").unwrap().scope, "ward:北区");
    assert_eq!(
        (entry(&kita, "北区").unwrap().scope.as_str(), entry(&kita, "大阪市").unwrap().scope.as_str()),
        ("", "")
    );
    assert_eq!(
        words(&postal("KEN_ALL_OSAKA.CSV", &areas(&["大阪市北区"]))),
        words(&postal("KEN_ALL_OSAKA.CSV", &areas(&["27127"])))
    );
    assert!(postal("KEN_ALL_OSAKA.CSV", &areas(&["28"])).rows.is_empty());
    let whole = [areas(&["27"]), areas(&["271004"]), areas(&["大阪府"]), areas(&[])];
    let counts: Vec<usize> = whole.iter().map(|how| postal("KEN_ALL_OSAKA.CSV", how).rows.len()).collect();
    assert!(counts.windows(2).all(|pair| pair[0] == pair[1]), "{counts:?}");
}

#[test]
fn both_editions_give_the_same_words_and_nothing_of_their_remarks() {
    let (old, new) = (postal("KEN_ALL_ODD.CSV", &How::default()), postal("utf_ken_all_odd.csv", &How::default()));
    assert_eq!((old.files[0].1, new.files[0].1), (Format::KenAll, Format::UtfKenAll));
    assert_eq!(words(&old), words(&new));
    assert!(old.rows.len() > 200, "{}", old.rows.len());
    for row in &old.rows {
        let surface = &row.entry.surface;
        let remark = ["（", "）", "、", "～", "地割", "場合", "以下", "階", "０", "１", "「"]
            .iter()
            .find(|sign| surface.contains(**sign));
        assert!(remark.is_none(), "{surface} has {remark:?}");
    }
    for (surface, reading) in [
        ("大江", "オオエ"),
        ("犬落瀬", "イヌオトセ"),
        ("種市", "タネイチ"),
        ("穴明", "アナアケ"),
        ("一円", "イチエン"),
        ("アエル", "アエル"),
        ("ミッドランドスクエア", "ミッドランドスクエア"),
        ("利島村", "トシマムラ"),
        ("仁木町", "ニキチョウ"),
    ] {
        let found = entry(&old, surface).unwrap_or_else(|| panic!("{surface} is missing"));
        assert_eq!(found.readings, [reading]);
    }
    assert_eq!(
        entry(&old, "北四条西").unwrap().readings,
        ["キタヨジョウニシ", "キタヨンジョウニシ", "キタシジョウニシ"]
    );
    assert!(entry(&old, "利島村一円").is_none() && entry(&old, "乙").is_none());
    let why: Vec<&str> = old.left_out.iter().map(|left| left.why).collect();
    assert!(why.iter().any(|why| why.contains("以下に掲載がない場合")), "{why:?}");
}

#[test]
fn words_of_a_postal_list_put_right_what_was_heard() {
    let imported = postal("KEN_ALL_OSAKA.CSV", &How::default());
    let dictionary = Dictionary::of_entries(imported.into_entries(), &Settings::default());
    let heard = kakehashi::speech::Hypothesis {
        text: "イタチボリに住んでいます。".into(),
        confidence: 0.8,
        ..Default::default()
    };
    assert_eq!(dictionary.correct(&heard).text, "立売堀に住んでいます。");
}

#[test]
fn every_format_becomes_our_csv_and_comes_back() {
    let osaka = postal("KEN_ALL_OSAKA.CSV", &areas(&["27127", "27106"])).into_entries();
    let plain = |entries: &[Entry]| entries.iter().map(|e| (e.surface.clone(), e.readings.clone())).collect::<Vec<_>>();
    for (format, name) in FORMATS {
        let Ok(exported) = export(&osaka, format) else {
            assert!(matches!(format, Format::Auto | Format::KenAll | Format::UtfKenAll), "{name}");
            continue;
        };
        let imported = read(&[(Source { name, bytes: &exported.bytes }, &How::default())]).unwrap();
        assert_eq!(imported.files[0].1, format, "{name} is found by its content");
        let entries = imported.into_entries();
        assert_eq!(plain(&entries), plain(&osaka), "{name}");
        let as_csv = export(&entries, Format::Csv).unwrap().bytes;
        assert_eq!(import(&[Source { name: "again.csv", bytes: &as_csv }]).unwrap(), entries, "{name}");
    }
}

#[test]
fn a_format_that_was_asked_for_and_is_not_there_is_told() {
    let csv = b"surface,reading\n\xe4\xb8\x89\xe5\x9b\xbd,\xe3\x83\x9f\xe3\x82\xaf\xe3\x83\x8b\n";
    for (format, name) in FORMATS {
        let how = How { format, ..How::default() };
        let result = read(&[(Source { name: "words.csv", bytes: csv }, &how)]);
        let error = match (format, result) {
            (Format::Auto | Format::Csv, result) => {
                assert_eq!(result.unwrap().rows.len(), 1);
                continue;
            }
            (_, result) => result.err().unwrap_or_else(|| panic!("{name} was read")),
        };
        assert!(error.to_string().starts_with("words.csv"), "{name}: {error}");
    }
}

/// `KAKEHASHI_KEN_ALL=FOLDER cargo test --test dictionary_import -- --ignored` with the lists that make.py writes to FOLDER.
#[test]
#[ignore = "needs the whole lists of Japan Post"]
fn the_whole_lists_are_read_prefecture_by_prefecture() {
    let folder = std::env::var("KAKEHASHI_KEN_ALL")
        .expect("KAKEHASHI_KEN_ALL names the folder of KEN_ALL.CSV and utf_ken_all.csv");
    let lists = ["KEN_ALL.CSV", "utf_ken_all.csv"].map(|name| std::fs::read(format!("{folder}/{name}")).unwrap());
    let of = |list: usize, how: &How| read(&[(Source { name: "whole list", bytes: &lists[list] }, how)]);
    assert!(matches!(of(0, &How::default()), Err(ImportError::TooMany { .. })));
    let mut all = 0;
    for prefecture in 1..=47 {
        let how = areas(&[&format!("{prefecture:02}")]);
        let (old, new) = (of(0, &how).unwrap(), of(1, &how).unwrap());
        let (old_words, new_words) = (words(&old), words(&new));
        let different: Vec<_> = old_words.symmetric_difference(&new_words).take(20).collect();
        assert!(different.is_empty(), "prefecture {prefecture}: {different:?}");
        all += old.rows.len();
        let (rows, left) = (old.rows.len(), old.left_out.iter().map(|left| left.count).sum::<u64>());
        println!("{prefecture:02}: {rows} words, {left} rows left out");
    }
    println!("{all} words");
}

//! Rows of Japan Post's lists with everything that is not a town in them.

use super::super::{Area, How, Imported, Source, read};
use super::*;

fn words(rows: &[&str], how: &How) -> Result<Imported, ImportError> {
    let text = rows.join("\r\n");
    let (bytes, _, lossy) = encoding_rs::SHIFT_JIS.encode(&text);
    assert!(!lossy);
    read(&[(Source { name: "KEN_ALL.CSV", bytes: &bytes }, how)])
}

fn told(imported: &Imported) -> Vec<(&str, &str)> {
    imported.rows.iter().map(|row| (row.entry.surface.as_str(), row.entry.readings[0].as_str())).collect()
}

const KITA: &str =
    r#"27127,"530  ","5300001","ｵｵｻｶﾌ","ｵｵｻｶｼｷﾀｸ","ｳﾒﾀﾞ","大阪府","大阪市北区","梅田（１～３丁目）",1,0,1,0,0,0"#;
const NONE: &str = r#"27127,"530  ","5300000","ｵｵｻｶﾌ","ｵｵｻｶｼｷﾀｸ","ｲｶﾆｹｲｻｲｶﾞﾅｲﾊﾞｱｲ","大阪府","大阪市北区","以下に掲載がない場合",0,0,0,0,0,0"#;
const SUMIYOSHI: &str =
    r#"27120,"558  ","5580014","ｵｵｻｶﾌ","ｵｵｻｶｼｽﾐﾖｼｸ","ｱﾋﾞｺ","大阪府","大阪市住吉区","我孫子",0,0,1,0,0,0"#;

#[test]
fn towns_cities_and_wards_become_words() {
    let imported = words(&[NONE, KITA, SUMIYOSHI], &How::default()).unwrap();
    assert_eq!(imported.files[0].1, Format::KenAll);
    let expected = [
        ("梅田", "ウメダ"),
        ("我孫子", "アビコ"),
        ("大阪市", "オオサカシ"),
        ("北区", "キタク"),
        ("住吉区", "スミヨシク"),
    ];
    assert_eq!(told(&imported), expected);
    assert_eq!((imported.left_out[0].count, imported.left_out[0].first), (1, 1));
}

#[test]
fn only_the_wanted_area_is_taken_and_its_wards_may_be_scopes() {
    let how = How { areas: vec![Area::parse("27127").unwrap()], wards_as_scope: true, ..How::default() };
    let imported = words(&[NONE, KITA, SUMIYOSHI], &how).unwrap();
    assert_eq!(told(&imported), [("梅田", "ウメダ"), ("大阪市", "オオサカシ"), ("北区", "キタク")]);
    assert_eq!((imported.rows[0].entry.scope.as_str(), imported.rows[1].entry.scope.as_str()), ("ward:北区", ""));
}

#[test]
fn a_long_row_is_one_row() {
    let row = |town: &str, kana: &str| {
        format!(
            r#"01407,"04824","0482402","ﾎｯｶｲﾄﾞｳ","ﾖｲﾁｸﾞﾝﾆｷﾁｮｳ","{kana}","北海道","余市郡仁木町","{town}",1,0,1,0,0,0"#
        )
    };
    let rows = [
        row(
            "大江（１丁目、２丁目「６５１、６６２、６６８番地」以外、３丁目５、１",
            "ｵｵｴ(1ﾁｮｳﾒ､2ﾁｮｳﾒ<651､662､668ﾊﾞﾝﾁ>ｲｶﾞｲ､3ﾁｮｳﾒ5､1",
        ),
        row("３－４、２０、６７８、", "3-4､20､678､"),
        row("６８７番地）", "687ﾊﾞﾝﾁ)"),
        row("南町", "ﾐﾅﾐﾏﾁ"),
    ];
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    let imported = words(&rows, &How::default()).unwrap();
    assert_eq!(told(&imported), [("大江", "オオエ"), ("南町", "ミナミマチ"), ("仁木町", "ニキチョウ")]);
    let error = words(&rows[..2], &How::default()).unwrap_err().to_string();
    assert!(error.contains("line 1, column 町域名 (9): the parenthesis of this row is not closed"), "{error}");
    let error = words(&[rows[0], KITA], &How::default()).unwrap_err().to_string();
    assert!(error.contains("line 1, column 町域名 (9): the parenthesis"), "{error}");
}

#[test]
fn what_stands_beside_towns_is_removed() {
    let of = |name: &str, kana: &str| town(name, kana).map(|(town, kana)| format!("{town} {kana}"));
    for (name, kana, expected) in [
        ("一円", "イチエン", Some("一円 イチエン")),
        ("利島村一円", "トシマムライチエン", None),
        ("下田市の次に番地がくる場合", "シモダシノツギニバンチガクルバアイ", None),
        (
            "琴平町の次に１～４２６番地がくる場合（川東）",
            "コトヒラチョウノツギニ1-426バンチガクルバアイ(カワヒガシ)",
            None,
        ),
        (
            "種市第１５地割～第２１地割（鹿糠、小路合）",
            "タネイチダイ15チワリ-ダイ21チワリ(カヌカ、ショウジアイ)",
            Some("種市 タネイチ"),
        ),
        ("穴明２２地割、穴明２３地割", "アナアケ22チワリ、アナアケ23チワリ", Some("穴明 アナアケ")),
        ("飯村町西山、高山", "イムレチョウニシヤマ、タカヤマ", Some("飯村町西山 イムレチョウニシヤマ")),
        ("甲、乙（大木戸）", "コウ、オツ(オオキド)", Some("甲 コウ")),
    ] {
        assert_eq!(of(name, kana).as_deref(), expected, "{name}");
    }
}

#[test]
fn numbers_in_readings_are_said() {
    assert_eq!(spoken("キタ1ジョウニシ").unwrap(), ["キタイチジョウニシ"]);
    assert_eq!(
        spoken("キタ24ジョウ").unwrap(),
        ["キタニジュウヨジョウ", "キタニジュウヨンジョウ", "キタニジュウシジョウ"]
    );
    assert_eq!(spoken("トウ9ク").unwrap(), ["トウクク", "トウキュウク"]);
    assert!(spoken("ダイ100チワリ").is_err() && spoken("4-4-4").is_err() && spoken("タワーX").is_err());
}

#[test]
fn a_building_is_a_word_without_its_town() {
    let row = |town: &str, kana: &str| {
        format!(r#"04101,"980  ","9806101","ﾐﾔｷﾞｹﾝ","ｾﾝﾀﾞｲｼｱｵﾊﾞｸ","{kana}","宮城県","仙台市青葉区","{town}",0,0,0,0,0,0"#)
    };
    let rows = [
        row("中央（次のビルを除く）", "ﾁｭｳｵｳ(ﾂｷﾞﾉﾋﾞﾙｦﾉｿﾞｸ)"),
        row("中央アエル（地階・階層不明）", "ﾁｭｳｵｳｱｴﾙ(ﾁｶｲ･ｶｲｿｳﾌﾒｲ)"),
        row("中央アエル（１階）", "ﾁｭｳｵｳｱｴﾙ(1ｶｲ)"),
    ];
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    let imported = words(&rows, &How::default()).unwrap();
    // one ward alone does not tell where the city's kana end
    let expected = [("中央", "チュウオウ"), ("アエル", "アエル"), ("仙台市青葉区", "センダイシアオバク")];
    assert_eq!(told(&imported), expected);
    assert_eq!(imported.rows[1].entry.class, "facility");
}

#[test]
fn the_edition_in_large_kana_is_refused() {
    let rows: Vec<String> = (0..ALL_LARGE)
        .map(|n| {
            format!(r#"27127,"530  ","5300001","ｵｵｻｶﾌ","ｵｵｻｶｼｷﾀｸ","ﾎﾝﾁﾖｳ","大阪府","大阪市北区","本町{n}",1,0,1,0,0,0"#)
        })
        .collect();
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    let error = words(&rows, &How::default()).unwrap_err().to_string();
    assert!(error.contains("大書き") && error.contains("小書き"), "{error}");
}

//! Mutated texts through the spoken-number rules, the masks and the provisional form: none panics, places stay true, and no text takes
//! long. The cases are seeded, so a failing seed can be run again.

#[path = "common/cases.rs"]
mod cases;
#[path = "common/mutate.rs"]
mod mutate;

use cases::cases;
use kakehashi::transcript::mask::{Policy, mask};
use kakehashi::transcript::numbers::{edit, written};
use kakehashi::transcript::provisional;
use mutate::mutate;

const CASES: u64 = 100_000;

const TEXTS: [&str; 6] = [
    "番号は１２３４-五六七八、9018です。4111 1111 1111 1111",
    "マイナンバーはイチニーサンヨン、えーと、ゴーロクナナハチ、はい、キュウゼロイチハチです",
    "令和八年十一月二十七日の午後三時半、手数料は十二万三千四百円、三点五パーセント",
    "住所は三国二丁目十番五号、郵便番号は五三二の〇〇〇三、電話は〇六の一二三四の五六七八",
    "保険証の記号は12、番号は345678、口座番号は1234567です。一緒に四天王寺と八戸へ",
    "いちにさんよんごーろくななはちきゅうぜろ、三の二の一、二三日、第三条第二項、千二百三十四",
];

#[test]
fn mutated_texts_are_read_and_masked() {
    let all = cases(CASES);
    let (mut rewritten, mut masked) = (0_u64, 0_u64);
    for seed in 0..all {
        let sample = TEXTS[(seed % TEXTS.len() as u64) as usize];
        let text = String::from_utf8_lossy(&mutate(seed, sample.as_bytes())).into_owned();
        let signs = text.chars().count();
        let form = written(&text, &[]);
        rewritten += u64::from(!form.edits.is_empty());
        let ends = form.edits.iter().all(|edit| edit.start < edit.end && edit.end <= signs);
        assert!(ends && form.edits.windows(2).all(|two| two[0].end <= two[1].start), "seed {seed}");
        assert_eq!(edit::place(&form.edits, signs, true), form.text.chars().count(), "seed {seed}");
        let hidden = mask(&text, Policy::default());
        masked += u64::from(!hidden.spans.is_empty());
        assert!(hidden.spans.iter().all(|span| span.start < span.end && span.end <= signs), "seed {seed}");
        assert_eq!(hidden.text.contains('*'), text.contains('*') || !hidden.spans.is_empty(), "seed {seed}");
        if seed % 16 == 0 {
            let shown = provisional(&text);
            let last = shown.chars().rev().find(|sign| !sign.is_whitespace());
            assert!(!last.is_some_and(|sign| sign.is_ascii_digit()), "seed {seed}: {shown}");
        }
    }
    println!("{rewritten} rewritten, {masked} masked");
    assert!(rewritten > all / 4 && masked > all / 20);
}

#[test]
fn a_long_text_takes_no_longer_than_its_length_asks() {
    for piece in ["一", "イチ", "いち", "1、", "1234-", "千", "えーと", "ニ", "さん", "マイナンバー1", "三の"]
    {
        let text = piece.repeat(20_000 / piece.len());
        let _ = (written(&text, &[]), provisional(&text), mask(&text, Policy::default()));
    }
}

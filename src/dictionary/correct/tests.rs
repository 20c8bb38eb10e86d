//! What is replaced and what stays.

use super::*;
use crate::speech::Token;

fn corrector(words: &[(&str, &str)]) -> Corrector {
    let entries: Vec<Entry> = words
        .iter()
        .map(|(surface, reading)| Entry {
            surface: (*surface).into(),
            readings: vec![(*reading).into()],
            class: String::new(),
            scope: String::new(),
            weight: 1.0,
            aliases: Vec::new(),
        })
        .collect();
    Corrector::new(&entries, &Settings::default())
}

fn heard(text: &str, p: f32) -> Hypothesis {
    let tokens = text.chars().map(|c| Token { bytes: c.to_string().into_bytes(), p }).collect();
    Hypothesis { text: text.into(), tokens, confidence: p, ..Hypothesis::default() }
}

#[test]
fn a_name_as_heard_gets_its_spelling() {
    let corrector = corrector(&[("瑞光", "ズイコウ"), ("出戸", "デト")]);
    let corrected = corrector.correct(&heard("ズイコー行きのバスはありますか。", 0.9), None);
    assert_eq!(corrected.text, "瑞光行きのバスはありますか。");
    let only = &corrected.corrections[0];
    assert_eq!(
        (only.start, only.end, only.from.as_str(), only.to.as_str(), only.distance),
        (0, 2, "ズイコー", "瑞光", 0.0)
    );
    assert_eq!(corrector.correct(&heard("デトに住んでいます。", 0.9), None).text, "出戸に住んでいます。");
}

#[test]
fn a_small_mistake_in_a_long_name_is_forgiven() {
    let corrector = corrector(&[("中崎町", "ナカザキチョウ")]);
    assert_eq!(
        corrector.correct(&heard("ナカサキチョーの避難所", 0.9), None).text,
        "ナカサキチョーの避難所",
        "it was sure"
    );
    let corrected = corrector.correct(&heard("ナカサキチョーの避難所", 0.7), None);
    assert_eq!(corrected.text, "中崎町の避難所");
    assert!(corrected.corrections[0].distance > 0.0);
    assert_eq!(corrector.correct(&heard("ナガサキの避難所", 0.9), None).text, "ナガサキの避難所");
}

#[test]
fn ordinary_words_and_known_spellings_stay() {
    let corrector = corrector(&[("馬巣", "バス"), ("大野", "オオノ"), ("小野", "オノ"), ("公演", "コウエン")]);
    for text in ["バスはありますか", "大野です", "公園の街灯", "おおのさん"] {
        let hypothesis = heard(text, 0.3);
        assert_eq!(corrector.correct(&hypothesis, None).text, text);
    }
}

#[test]
fn kanji_of_the_same_sound_change_only_when_the_recogniser_was_unsure() {
    let corrector = corrector(&[("加島", "カシマ")]);
    assert_eq!(corrector.correct(&heard("鹿島に住んでいます", 0.4), None).text, "加島に住んでいます");
    assert_eq!(corrector.correct(&heard("鹿島に住んでいます", 0.97), None).text, "鹿島に住んでいます");
}

#[test]
fn the_municipality_writes_its_ga_in_one_way() {
    let corrector = corrector(&[("緑ケ丘", "ミドリガオカ"), ("緑が丘町", "ミドリガオカチョウ")]);
    let text = |text: &str| corrector.correct(&heard(text, 1.0), None).text;
    assert_eq!(text("緑が丘から緑ヶ丘町まで"), "緑ケ丘から緑が丘町まで");
}

#[test]
fn grammar_around_a_name_is_not_part_of_it() {
    let corrector =
        corrector(&[("高殿", "タカドノ"), ("秋野", "アキノ"), ("野秋", "ノアキ"), ("緑ケ丘", "ミドリノオカ")]);
    let text = |text: &str| corrector.correct(&heard(text, 0.5), None).text;
    assert_eq!(text("タカドの避難所"), "タカドの避難所", "the particle is not the name's last mora");
    assert_eq!(text("保育所のアキはありますか"), "保育所のアキはありますか");
    assert_eq!(text("タカドノの避難所"), "高殿の避難所");
    assert_eq!(text("ミドリのオカに"), "緑ケ丘に", "in the middle it is part of what was heard");
}

#[test]
fn positions_count_characters_of_the_corrected_text() {
    let corrector = corrector(&[("十三", "ジュウソウ"), ("三国", "ミクニ")]);
    let corrected = corrector.correct(&heard("ジュウソウからミクニに", 0.9), None);
    assert_eq!(corrected.text, "十三から三国に");
    let chars: Vec<char> = corrected.text.chars().collect();
    for correction in &corrected.corrections {
        assert_eq!(chars[correction.start..correction.end].iter().collect::<String>(), correction.to);
    }
}

/// Tokens of one character each, with the probabilities of `p`, the last of them for the rest.
fn told(text: &str, p: &[f32]) -> Hypothesis {
    let p = |index: usize| p.get(index).or(p.last()).copied().unwrap_or(1.0);
    let token = |(index, c): (usize, char)| Token { bytes: c.to_string().into_bytes(), p: p(index) };
    Hypothesis { text: text.into(), tokens: text.chars().enumerate().map(token).collect(), ..Hypothesis::default() }
}

#[test]
fn a_word_that_the_bias_found_is_taken_where_the_recogniser_finds_it_likely_too() {
    let corrector = corrector(&[("堂島", "ドウジマ"), ("歌島", "ウタジマ")]);
    let unsure = told("歌島の区役所", &[0.4, 0.6, 1.0]);
    let biased = told("ドウジマの区役所", &[0.1, 0.9, 0.9, 0.9, 1.0]);
    let corrected = corrector.correct(&unsure, Some(&biased));
    assert_eq!(corrected.text, "堂島の区役所");
    let only = &corrected.corrections[0];
    assert_eq!((only.start, only.end, only.from.as_str(), only.to.as_str()), (0, 2, "歌島", "堂島"));
    let far = told("ドウジマの区役所", &[0.001, 0.1, 0.1, 0.01, 1.0]);
    assert_eq!(corrector.correct(&unsure, Some(&far)).text, "歌島の区役所", "the recogniser does not hear that");
}

#[test]
fn what_is_outside_of_the_words_is_heard_without_the_dictionary() {
    let corrector = corrector(&[("堂島", "ドウジマ"), ("三国", "ミクニ")]);
    let plain = told("来月歌島に引っ越します。", &[0.5]);
    let same = |biased: &str| corrector.correct(&plain, Some(&told(biased, &[0.9]))).text;
    assert_eq!(same("今月ドウジマに住みます。"), "来月堂島に引っ越します。", "its other words are not taken");
    assert_eq!(same("来月ドウジマイに引っ越します。"), "来月堂島に引っ越します。", "a decoder that overshot");
    assert_eq!(same("来月ドウジマイキマスに引っ越します。"), "来月歌島に引っ越します。");
    assert_eq!(same("来月シンドウジマに引っ越します。"), "来月歌島に引っ越します。", "inside another word");
    assert_eq!(same("今日はドウジマへ行く"), "来月歌島に引っ越します。", "the two do not agree around it");
    assert_eq!(same(""), "来月歌島に引っ越します。");
}

#[test]
fn what_both_hearings_wrote_after_a_word_is_no_overshot() {
    let corrector = corrector(&[("高那", "タカナ")]);
    let plain = told("東淀川区タカナミ二丁目", &[0.5]);
    let biased = told("東淀川区タカナミ二丁目", &[0.9]);
    assert_eq!(corrector.correct(&plain, Some(&biased)).text, plain.text, "another name that begins so");
    let other = told("東淀川区タカデミ二丁目", &[0.5]);
    assert_eq!(corrector.correct(&other, Some(&biased)).text, "東淀川区高那二丁目");
}

#[test]
fn tokens_that_do_not_spell_the_text_do_no_harm() {
    let corrector = corrector(&[("加島", "カシマ")]);
    let hypothesis = Hypothesis {
        text: "鹿島".into(),
        tokens: vec![Token { bytes: vec![0xe9], p: 0.1 }],
        confidence: 0.99,
        ..Hypothesis::default()
    };
    assert_eq!(corrector.correct(&hypothesis, None).text, "鹿島");
}

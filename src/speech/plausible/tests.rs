//! Loops, inventions, and what people do say.

use super::*;

fn tokens(words: &[&str]) -> Vec<Token> {
    words.iter().map(|word| Token { bytes: word.as_bytes().to_vec(), p: 0.9 }).collect()
}

fn text(tokens: &[Token]) -> String {
    tokens.iter().map(|token| String::from_utf8_lossy(&token.bytes).into_owned()).collect()
}

/// A sentence of a person on the telephone.
const SPOKEN: Evidence =
    Evidence { seconds: 3.0, level_dbfs: -24.0, voiced_ms: 2_000.0, music: -5.0, clear_ms: 1_500.0 };
/// Hold music that came through the gate.
const MUSIC: Evidence = Evidence { music: 0.2, clear_ms: 60.0, ..SPOKEN };

fn hypothesis(text: &str, p: f32, no_speech: f32) -> Hypothesis {
    let tokens = vec![Token { bytes: text.into(), p }];
    Hypothesis { text: text.into(), tokens, confidence: p, no_speech, ..Hypothesis::default() }
}

fn doubt(text: &str, p: f32, no_speech: f32, evidence: Evidence) -> Option<Reason> {
    super::doubt(&hypothesis(text, p, no_speech), &evidence, &Decode::default(), &Reject::default())
}

#[test]
fn loops_go_and_what_people_repeat_stays() {
    let thanks = ["ご", "視聴"].repeat(9);
    assert_eq!(text(&without_loops(tokens(&thanks), 5)), "ご視聴");
    let yes = tokens(&["はい", "はい", "はい", "です"]);
    assert_eq!(without_loops(yes.clone(), 5), yes);
    assert_eq!(text(&without_loops(tokens(&["x", "あ", "あ", "あ", "あ", "あ", "あ", "y"]), 5)), "xあy");
    assert!(without_loops(Vec::new(), 5).is_empty());
}

#[test]
fn a_text_is_compared_with_its_time_and_with_the_doubt_of_the_model() {
    assert_eq!(doubt("はい、お願いします。", 0.9, 0.1, SPOKEN), None);
    let short = Evidence { seconds: 0.4, ..SPOKEN };
    assert_eq!(doubt("ご視聴ありがとうございました", 0.9, 0.1, short), Some(Reason::TooFast));
    assert_eq!(doubt("ありがとう", 0.2, 0.9, SPOKEN), Some(Reason::NoSpeech));
    assert_eq!(doubt("、。", 0.9, 0.1, SPOKEN), Some(Reason::NoWord));
    assert_eq!(doubt("♪〜", 0.9, 0.1, SPOKEN), Some(Reason::NoWord));
    assert_eq!(doubt("【音楽】（拍手）", 0.9, 0.1, SPOKEN), Some(Reason::NoWord));
    assert_eq!(doubt("", 0.0, 0.9, MUSIC).map(|_| ()), Some(()), "an empty token is no word");
    assert_eq!(super::doubt(&Hypothesis::default(), &MUSIC, &Decode::default(), &Reject::default()), None, "no text");
}

#[test]
fn thanks_at_the_end_of_a_call_stay_and_over_music_they_go() {
    for thanks in
        ["ありがとうございました。", "どうもありがとうございました。おやすみなさい。", "チャンネル登録お願いします"]
    {
        assert_eq!(doubt(thanks, 0.9, 0.1, SPOKEN), None, "{thanks}");
    }
    for invented in [
        "ご視聴ありがとうございました。",
        "ありがとうございました",
        "チャンネル登録よろしくお願いします。",
        "次の動画でお会いしましょう。",
        "字幕視聴ありがとうございました",
        "おやすみなさい。",
        "Thank you for watching!",
    ] {
        assert_eq!(doubt(invented, 0.95, 0.05, MUSIC), Some(Reason::StockPhrase), "{invented}");
        assert_eq!(doubt(invented, 0.3, 0.05, SPOKEN), Some(Reason::StockPhrase), "not sure of it: {invented}");
        assert_eq!(doubt(invented, 0.95, 0.5, SPOKEN), Some(Reason::StockPhrase), "perhaps nobody spoke: {invented}");
        let faint = Evidence { level_dbfs: -58.0, ..SPOKEN };
        assert_eq!(doubt(invented, 0.95, 0.05, faint), Some(Reason::StockPhrase), "hardly to be heard: {invented}");
    }
    let address = "住民票の写しを郵送してください。ありがとうございました。";
    assert_eq!(doubt(address, 0.95, 0.05, MUSIC), None, "there is more in it than thanks");
}

#[test]
fn over_music_only_a_text_that_the_model_is_sure_of_is_believed() {
    assert_eq!(doubt("区役所に行きたいのですが", 0.9, 0.1, MUSIC), None);
    assert_eq!(doubt("区役所に行きたいのですが", 0.5, 0.1, MUSIC), Some(Reason::Unsure));
    assert_eq!(doubt("区役所に行きたいのですが", 0.5, 0.1, SPOKEN), None);
    let loud_music = Evidence { music: 4.0, clear_ms: 0.0, ..SPOKEN };
    assert_eq!(doubt("区役所に行きたいのですが", 0.9, 0.1, loud_music), Some(Reason::NoVoice));
}

#[test]
fn a_text_that_says_the_same_again_and_again_goes_and_a_telephone_number_stays() {
    let long = Evidence { seconds: 14.0, ..SPOKEN };
    let again = "区役所です、".repeat(12);
    assert_eq!(doubt(&again, 0.9, 0.1, long), Some(Reason::Repetitive));
    assert_eq!(doubt("はいはいはいはい、わかりました。", 0.9, 0.1, long), None);
    assert_eq!(doubt("電話番号は06-1111-1111です。もう一度言います。06-1111-1111です。", 0.9, 0.1, long), None);
}

#[test]
fn every_reason_has_its_place_and_its_name() {
    for (place, reason) in Reason::ALL.into_iter().enumerate() {
        assert_eq!(reason.index(), place);
        assert_eq!(serde_json::to_value(reason).unwrap(), reason.name());
    }
}

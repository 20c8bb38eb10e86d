//! Tests of requests and answers without a server.

use super::*;
use crate::speech::Hypothesis;
use crate::speech::evidence::Evidence;
use crate::speech::manifest::Manifest;

/// What whisper-server 1.9.5 answered for the first utterance of the sample call (times and some words left out).
const WHISPER_SERVER: &str = r#"{"task":"transcribe","language":"japanese","duration":5.199999809265137,"text":"お電話ありがとうございます。大阪市\n","segments":[{"id":0,"text":"お電話ありがとうございます。大阪市","start":-1007.28,"end":30.0,"tokens":[6117,20545],"words":[{"word":"お","start":-1002.09,"end":-1002.09,"t_dtw":-1,"probability":0.9},{"word":"電","probability":0.8},{"word":"話","probability":0.7},{"word":"ありがとうございます","probability":0.6},{"word":"。","probability":0.5},{"word":"大","probability":0.4},{"word":"阪","probability":0.3},{"word":"市","probability":0.2}],"temperature":0.0,"avg_logprob":-0.018,"no_speech_prob":1.9e-05}],"detected_language":"japanese","detected_language_probability":1.0,"language_probabilities":{"ja":1.0}}"#;

fn answer(body: &str) -> Result<Hypothesis, Trouble> {
    read(
        body.as_bytes(),
        &Evidence { seconds: 5.0, level_dbfs: -20.0, voiced_ms: 4_000.0, music: -1.0, clear_ms: 4_000.0 },
        "m",
        &Manifest::default(),
    )
}

fn said(body: &str) -> Hypothesis {
    answer(body).unwrap()
}

fn pieces(hypothesis: &Hypothesis) -> Vec<(String, f32)> {
    hypothesis.tokens.iter().map(|token| (String::from_utf8(token.bytes.clone()).unwrap(), token.p)).collect()
}

#[test]
fn the_request_is_a_form_with_a_wave_file_that_an_independent_reader_takes() {
    let settings = Settings {
        url: "https://gpu.example.jp/v1/audio/transcriptions".into(),
        model: "large-v3-turbo".into(),
        fields: BTreeMap::from([("vad_filter".into(), "false".into())]),
        ..Settings::default()
    };
    let pcm: Vec<i16> = (0..8_000).map(|n| ((n as f32 * 0.1).sin() * 8_000.0) as i16).collect();
    let request =
        request(&settings, "ja", "区役所\r\n--b\r\nの件", &Sound { rate: 8_000, pcm: pcm.into() }, "b0undary");
    assert_eq!(request.content_type, "multipart/form-data; boundary=b0undary");
    let start = request.body.windows(4).position(|four| four == b"RIFF").unwrap();
    let head = String::from_utf8(request.body[..start].to_vec()).unwrap();
    for part in [
        "name=\"model\"\r\n\r\nlarge-v3-turbo\r\n",
        "name=\"language\"\r\n\r\nja\r\n",
        "name=\"response_format\"\r\n\r\nverbose_json\r\n",
        "name=\"temperature\"\r\n\r\n0\r\n",
        "name=\"timestamp_granularities[]\"\r\n\r\nword\r\n",
        "name=\"prompt\"\r\n\r\n区役所  --b  の件\r\n",
        "name=\"vad_filter\"\r\n\r\nfalse\r\n",
        "name=\"file\"; filename=\"speech.wav\"\r\nContent-Type: audio/wav\r\n\r\n",
    ] {
        assert!(head.contains(part), "{part} in {head}");
    }
    let end = request.body.len() - b"\r\n--b0undary--\r\n".len();
    assert_eq!(&request.body[end..], b"\r\n--b0undary--\r\n");
    let mut wave = hound::WavReader::new(&request.body[start..end]).unwrap();
    let spec = wave.spec();
    assert_eq!((spec.channels, spec.sample_rate, spec.bits_per_sample), (1, 16_000, 16));
    let heard: Vec<i16> = wave.samples().map(Result::unwrap).collect();
    assert_eq!(heard.len(), 16_000);
    let loudest = heard.iter().map(|sample| i32::from(*sample).abs()).max().unwrap();
    assert!((7_000..9_000).contains(&loudest), "{loudest}");
}

#[test]
fn what_is_not_wanted_is_not_sent() {
    let settings = Settings { format: Format::Json, ..Settings::default() };
    let request = request(&settings, "auto", "", &Sound { rate: 16_000, pcm: Arc::new([1, -1]) }, "b");
    let text = String::from_utf8_lossy(&request.body).into_owned();
    for absent in ["language", "prompt", "granularities"] {
        assert!(!text.contains(absent), "{absent}");
    }
    assert!(text.contains("\r\n\r\njson\r\n"));
    assert!(request.body.windows(4).any(|bytes| bytes == [1, 0, 0xff, 0xff]), "sound at 16 kHz is sent as it is");
}

#[test]
fn an_answer_of_whisper_server_gives_text_and_the_probability_of_each_word() {
    let hypothesis = said(WHISPER_SERVER);
    assert_eq!(hypothesis.text, "お電話ありがとうございます。大阪市");
    assert_eq!(pieces(&hypothesis)[3], ("ありがとうございます".into(), 0.6));
    assert_eq!(hypothesis.tokens.len(), 8);
    assert!((hypothesis.confidence - 0.55).abs() < 1e-3 && hypothesis.no_speech < 0.001);
    assert_eq!((hypothesis.bonuses, hypothesis.dictionary.as_str(), hypothesis.model.as_str()), (0, "", "m"));
}

#[test]
fn probabilities_come_from_what_there_is() {
    // OpenAI: words without probability, segments with a mean
    let openai = said(
        r#"{"text":" はい。お願いします。","words":[{"word":"はい","start":0.0,"end":0.4}],
            "segments":[{"text":" はい。","avg_logprob":-0.105,"no_speech_prob":0.2},
                        {"text":"お願いします。","avg_logprob":-0.693,"no_speech_prob":0.1,"words":null}]}"#,
    );
    assert_eq!(openai.text, "はい。お願いします。");
    assert_eq!(pieces(&openai).iter().map(|piece| piece.0.as_str()).collect::<Vec<_>>(), ["はい。", "お願いします。"]);
    assert!((openai.confidence - 0.7).abs() < 0.01 && (openai.no_speech - 0.1).abs() < 1e-6);
    // json with log-probabilities of tokens
    let tokens = said(
        r#"{"text":"区役所です","logprobs":[{"token":"区","logprob":-0.1,"bytes":[229]},{"token":"役所","logprob":-2.3},{"token":"です","logprob":0.0}]}"#,
    );
    let p: Vec<f32> = tokens.tokens.iter().map(|token| (token.p * 10.0).round()).collect();
    assert_eq!(p, [9.0, 1.0, 10.0]);
    // words at the top, as speaches has them
    let top = said(
        r#"{"text":"はい","segments":[{"text":"はい","avg_logprob":-0.1}],"words":[{"word":"はい","probability":0.25}]}"#,
    );
    assert_eq!(top.confidence, 0.25);
}

#[test]
fn a_server_that_tells_no_probability_is_unknown_not_sure() {
    let plain = said(r#"{"text":"三国に行きます"}"#);
    assert_eq!((plain.text.as_str(), plain.confidence), ("三国に行きます", 0.0));
    assert_eq!(pieces(&plain), [("三国に行きます".to_string(), 1.0)], "nothing is corrected because of low certainty");
    // segments of another kind than expected: the text still counts
    let odd = said(r#"{"text":"はい","segments":"none","words":7}"#);
    assert_eq!((odd.text.as_str(), odd.confidence), ("はい", 0.0));
}

#[test]
fn words_that_do_not_fit_the_text_still_leave_the_whole_text() {
    let half = said(
        r#"{"text":"伊藤です","segments":[{"text":"伊藤です","words":[{"word":"伊","probability":0.9},
            {"word":"\ufffd","probability":0.2},{"word":"\ufffd","probability":0.4},{"word":"です","probability":0.8}]}]}"#,
    );
    assert_eq!(half.text, "伊藤です");
    let got = pieces(&half);
    assert_eq!(got[1], ("藤".to_string(), 0.2), "what lies between has the least of those");
    let other = said(r#"{"text":"第二","words":[{"word":"2番","probability":0.5}]}"#);
    assert_eq!(pieces(&other), [("第二".to_string(), 0.5)]);
}

#[test]
fn nothing_said_and_nothing_believed_is_no_text() {
    for body in [
        r#"{"task":"transcribe","text":"","segments":[]}"#,
        r#"{"segments":[]}"#,
        r#"{"text":"、。"}"#,
        r#"{"text":"ご視聴ありがとうございました","segments":[{"text":"ご視聴ありがとうございました","avg_logprob":-1.6,"no_speech_prob":0.9}]}"#,
    ] {
        let hypothesis = said(body);
        assert!(hypothesis.text.is_empty() && hypothesis.tokens.is_empty(), "{body}");
    }
    let fast = format!(r#"{{"text":"{}"}}"#, "早口言葉".repeat(60));
    assert!(said(&fast).text.is_empty(), "nobody speaks that fast");
}

#[test]
fn what_is_no_answer_is_refused_and_nothing_of_it_is_quoted() {
    let long = format!(r#"{{"text":"{}"}}"#, "秘密の名前".repeat(2_000));
    let many = format!(r#"{{"text":"あ","words":[{}]}}"#, vec![r#"{"word":"秘密"}"#; 5_000].join(","));
    let huge = " ".repeat(MAX_ANSWER + 1);
    for body in
        ["", "秘密", "{\"error\":{\"message\":\"秘密\"}}", "[\"秘密\"]", "{\"text\":{\"秘密\":1}}", &long, &many, &huge]
    {
        match answer(body) {
            Err(Trouble::Refused(why)) => assert!(!why.contains("秘密"), "{why}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn statuses_say_whose_fault_it_was() {
    let wait = Some(Duration::from_secs(7));
    for status in [429, 503] {
        assert!(matches!(trouble(status, wait), Trouble::Later { wait: Some(_), .. }), "{status}");
    }
    for (status, key) in [(401, "key_file"), (403, "key_file"), (404, "url"), (405, "url"), (301, "url")] {
        assert!(trouble(status, None).to_string().contains(key), "{status}");
        assert!(matches!(trouble(status, None), Trouble::Later { .. }));
    }
    for status in [408, 500, 502, 504] {
        assert!(matches!(trouble(status, None), Trouble::Fault(_)), "{status}");
    }
    for status in [400, 413, 415, 422, 204] {
        assert!(matches!(trouble(status, None), Trouble::Refused(_)), "{status}");
    }
}

#[test]
fn settings_that_cannot_be_are_named() {
    let good = Settings { url: "https://gpu.example.jp:8443/v1/audio/transcriptions".into(), ..Settings::default() };
    assert_eq!(good.check(), Ok(()));
    assert_eq!(Settings { concurrency: 0, ..Settings::default() }.check(), Ok(()), "it is off");
    let fields = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
    for (key, wrong) in [
        ("url", Settings { url: "gpu:8000".into(), ..good.clone() }),
        ("url", Settings { url: "https:///x".into(), ..good.clone() }),
        ("url", Settings { url: "https://user:pw@gpu/x".into(), ..good.clone() }),
        ("timeout_ms", Settings { timeout_ms: 5, ..good.clone() }),
        ("concurrency", Settings { concurrency: 0, ..good.clone() }),
        ("model", Settings { model: "a\"b".into(), ..good.clone() }),
        ("fields", Settings { fields: fields("language", "en"), ..good.clone() }),
        ("fields", Settings { fields: fields("x\"", "1"), ..good.clone() }),
        ("fields", Settings { fields: fields("x", "1\r\n--b"), ..good.clone() }),
    ] {
        assert_eq!(wrong.check().unwrap_err().0, key);
    }
}

#[test]
fn voices_that_would_cross_a_network_in_the_clear_are_noticed() {
    let exposed = |url: &str| Settings { url: url.into(), ..Settings::default() }.is_exposed();
    assert!(exposed("http://gpu:8000/x") && exposed("http://192.0.2.9/x") && exposed("http://[2001:db8::1]:80/x"));
    assert!(!exposed("https://gpu/x") && !exposed("http://localhost:1/x") && !exposed("http://127.0.0.1:1/x"));
    assert!(!exposed("http://[::1]:8000/x") && !exposed(""));
}

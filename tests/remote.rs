//! A recogniser on another machine: a strict transcription server on loopback, with every fault that one may have.

#[path = "common/http.rs"]
mod http;
#[path = "common/pool.rs"]
mod pool;
#[path = "common/tls.rs"]
mod tls;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use http::{PATIENCE, Reply, Request, Server};
use kakehashi::bridge::Input;
use kakehashi::bridge::remote::Remote;
use kakehashi::bridge::workers::Workers;
use kakehashi::call::scope::Scopes;
use kakehashi::dictionary::{Dictionary, Entry, Settings as DictionarySettings};
use kakehashi::pbx::StreamId;
use kakehashi::speech::remote::{Settings as RemoteSettings, Sound, Trouble};
use kakehashi::speech::settings::Settings;
use kakehashi::speech::{Failure, Hypothesis, Job, JobKind};
use kakehashi::time::Mono;
use tokio::sync::mpsc;
use uuid::Uuid;

const PATH: &str = "/v1/audio/transcriptions";

/// The fields of a form, read as strictly as RFC 7578 allows; panics (and so answers nothing) when it is none.
struct Form {
    fields: Vec<(String, String)>,
    samples: Vec<i16>,
}

impl Form {
    fn read(request: &Request) -> Form {
        assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", PATH));
        let boundary = request.header("content-type").strip_prefix("multipart/form-data; boundary=").unwrap();
        assert!(boundary.len() <= 70 && boundary.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        let mut form = Form { fields: Vec::new(), samples: Vec::new() };
        let mut rest = request.body.strip_prefix(format!("--{boundary}\r\n").as_bytes()).expect("no preamble");
        let delimiter = format!("\r\n--{boundary}");
        loop {
            let end =
                rest.windows(delimiter.len()).position(|window| window == delimiter.as_bytes()).expect("a part ends");
            let (part, after) = rest.split_at(end);
            let split = part.windows(4).position(|four| four == b"\r\n\r\n").expect("a part has a head");
            let head = std::str::from_utf8(&part[..split]).unwrap();
            let name = head.split_once("form-data; name=\"").unwrap().1.split('"').next().unwrap().to_owned();
            let content = &part[split + 4..];
            if name == "file" {
                assert!(head.contains("filename=\"speech.wav\"") && head.contains("Content-Type: audio/wav"));
                let mut wave = hound::WavReader::new(content).unwrap();
                assert_eq!(
                    (wave.spec().channels, wave.spec().sample_rate, wave.spec().bits_per_sample),
                    (1, 16_000, 16)
                );
                form.samples = wave.samples().map(Result::unwrap).collect();
            } else {
                form.fields.push((name, String::from_utf8(content.to_vec()).unwrap()));
            }
            let after = &after[delimiter.len()..];
            match after.strip_prefix(b"--\r\n") {
                Some(b"") => return form,
                Some(_) => panic!("an epilogue"),
                None => rest = after.strip_prefix(b"\r\n").expect("a line end"),
            }
        }
    }

    fn field(&self, name: &str) -> &str {
        self.fields.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// The number that [`job`] hid in the length of the sound; `None` for a probe.
    fn number(&self) -> Option<u64> {
        self.samples.len().checked_sub(32_000).map(|longer| longer as u64 / 320)
    }
}

fn text_of(number: Option<u64>) -> String {
    number.map_or_else(String::new, |number| format!("発話{number}番です"))
}

/// A good answer to what was sent.
fn good(request: &Request) -> Reply {
    let text = text_of(Form::read(request).number());
    let segments = if text.is_empty() {
        String::new()
    } else {
        format!(r#"{{"text":"{text}","avg_logprob":-0.1,"no_speech_prob":0.01}}"#)
    };
    Reply::new(200, format!(r#"{{"task":"transcribe","text":"{text}","segments":[{segments}]}}"#))
}

/// A voice at 8 kHz whose length tells its number: two seconds and 20 ms for each.
fn job(id: u64, stream: u128) -> Job {
    // what is no voice is not believed, whatever the server writes
    let voice = include_bytes!("../samples/eval/utterances/00000.wav");
    let samples = voice[44..].as_chunks().0.iter().map(|pair| i16::from_le_bytes(*pair));
    let pcm = samples.cycle().take(16_000 + 160 * id as usize).collect::<Vec<_>>().into();
    let (kind, stream) = (JobKind::LiveFinal, StreamId(Uuid::from_u128(stream)));
    let (since, scopes) = (Mono(0), Scopes::default());
    Job { id, kind, stream, utterance: 0, rate: 8_000, pcm, scopes, since, deadline: None }
}

fn settings(url: String) -> Settings {
    let remote = RemoteSettings {
        url,
        model: "gpu-model".into(),
        timeout_ms: 5_000,
        concurrency: 3,
        ..RemoteSettings::default()
    };
    Settings { remote, workers: 1, ..Settings::default() }
}

async fn start(settings: &Settings) -> (Workers, mpsc::Receiver<Input>) {
    pool::start(settings, Arc::new(Dictionary::empty())).await
}

async fn outcomes(inputs: &mut mpsc::Receiver<Input>, count: usize) -> Vec<(u64, Result<Hypothesis, Failure>)> {
    pool::outcomes(inputs, count, PATIENCE).await
}

/// Submits `count` jobs of four streams and checks that each gets its own text, in the order of its stream.
async fn all_get_their_text(server: &Server, settings: &Settings, count: u64) {
    let (workers, mut inputs) = start(settings).await;
    assert!(workers.pids().is_empty(), "no model of this machine is loaded");
    for id in 0..count {
        workers.submit(job(id, u128::from(id % 4))).unwrap();
    }
    let got = outcomes(&mut inputs, count as usize).await;
    for stream in 0..4 {
        let ids: Vec<u64> = got.iter().map(|one| one.0).filter(|id| id % 4 == stream).collect();
        assert!(ids.is_sorted(), "stream {stream} came as {ids:?}");
    }
    for (id, result) in &got {
        let hypothesis = result.as_ref().unwrap();
        assert_eq!((hypothesis.text.as_str(), hypothesis.model.as_str()), (text_of(Some(*id)).as_str(), "gpu-model"));
        assert_eq!((hypothesis.bonuses, hypothesis.dictionary.as_str()), (0, ""), "nothing can be biased there");
    }
    let counters = workers.counters();
    assert_eq!((counters.decodes, counters.remote, counters.failures, counters.restarts), (count, count, 0, 0));
    assert!(server.most_at_once() <= settings.remote.concurrency.into());
    workers.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn utterances_become_text_with_the_key_shown_and_no_more_at_once_than_set() {
    let server = Server::start(|_, request| {
        let form = Form::read(request);
        assert_eq!(request.header("authorization"), "Bearer s3cret-key");
        assert_eq!((form.field("model"), form.field("language"), form.field("temperature")), ("gpu-model", "ja", "0"));
        assert_eq!(
            (form.field("response_format"), form.field("vad_filter"), form.field("prompt")),
            ("verbose_json", "false", "")
        );
        good(request)
    });
    let files = tls::Files::new();
    let mut settings = settings(server.url(PATH));
    settings.remote.key_file = files.write("key", "s3cret-key\n");
    settings.remote.fields.insert("vad_filter".into(), "false".into());
    all_get_their_text(&server, &settings, 20).await;
    let remote = Remote::new(&settings.remote, "ja").unwrap();
    assert!(!format!("{remote:?} {settings:?}").contains("s3cret"), "the key is shown nowhere");
    assert_eq!(server.requests().len(), 21, "each utterance once, and the probe at the start");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_busy_or_not_configured_yet_costs_no_text() {
    // busy with and without Retry-After, a wrong key, a missing endpoint: each a while after the other
    let server = Server::start(|number, request| match number {
        0 | 4 => Reply::new(503, "loading").with("Retry-After", "0"),
        2 | 3 => Reply::new(429, "").with("Retry-After", "0"),
        6 => Reply::new(401, "").with("Retry-After", "0"),
        8 => Reply::new(404, "").with("Retry-After", "0"),
        _ => good(request),
    });
    all_get_their_text(&server, &settings(server.url(PATH)), 12).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_later_finds_the_utterances_waiting() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let settings = settings(format!("http://127.0.0.1:{port}{PATH}"));
    let (workers, mut inputs) = start(&settings).await;
    for id in 0..4 {
        workers.submit(job(id, u128::from(id))).unwrap();
    }
    assert_eq!(workers.counters().load.running, 0, "nobody is asked who is not there");
    let server = Server::listen(port, None, |_, request| good(request));
    let got = outcomes(&mut inputs, 4).await;
    assert!(got.iter().all(|(id, result)| result.as_ref().unwrap().text == text_of(Some(*id))));
    assert_eq!(workers.counters().failures, 0);
    // and one that goes away in the middle
    drop(server);
    for id in 4..8 {
        workers.submit(job(id, u128::from(id))).unwrap();
    }
    while workers.counters().load.running > 0 || workers.counters().load.waiting < 4 {
        tokio::task::yield_now().await;
    }
    let _server = Server::listen(port, None, |_, request| good(request));
    let got = outcomes(&mut inputs, 4).await;
    assert!(got.iter().all(|(id, result)| result.as_ref().unwrap().text == text_of(Some(*id))));
    workers.stop().await;
}

/// What becomes of three utterances of one stream when the server answers the second as `fault` says, and the others well.
async fn with_fault(fault: fn() -> Reply) -> (HashMap<u64, Result<Hypothesis, Failure>>, usize) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let server = Server::start(move |_, request| match Form::read(request).number() {
        Some(1) => {
            count.fetch_add(1, Ordering::SeqCst);
            fault()
        }
        _ => good(request),
    });
    let mut settings = settings(server.url(PATH));
    settings.remote.timeout_ms = 400;
    let (workers, mut inputs) = start(&settings).await;
    for id in 0..3 {
        workers.submit(job(id, 1)).unwrap();
    }
    let got = outcomes(&mut inputs, 3).await;
    assert_eq!(got.iter().map(|one| one.0).collect::<Vec<_>>(), [0, 1, 2], "in their order");
    assert_eq!(workers.counters().failures, 1);
    workers.stop().await;
    (got.into_iter().collect(), asked.load(Ordering::SeqCst))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_utterance_that_the_server_cannot_take_is_tried_twice_told_as_failed_and_holds_up_no_other() {
    type Fault = fn() -> Reply;
    let faults: [(Fault, &str); 7] = [
        (Reply::hang, "no answer within 400 ms"),
        (|| Reply::new(500, "秘密"), "status 500"),
        (|| Reply::new(400, "秘密"), "status 400"),
        (|| Reply::new(413, ""), "status 413"),
        (|| Reply::new(200, "秘密"), "no JSON of this API"),
        (|| Reply::new(200, r#"{"text":"半分"}"#).cut_after(7), "connection broke"),
        (|| Reply { endless: true, ..Reply::new(200, vec![b' '; 65_536]) }, "more than 1048576 bytes"),
    ];
    for (fault, expected) in faults {
        let (got, asked) = with_fault(fault).await;
        let Err(Failure::Failed(reason)) = &got[&1] else { panic!("{expected}: {:?}", got[&1]) };
        assert!(reason.contains(expected) && !reason.contains("秘密"), "{expected}: {reason}");
        assert_eq!(asked, 2, "{expected}");
        assert!([0, 2].iter().all(|id| got[id].as_ref().unwrap().text == text_of(Some(*id))), "{expected}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_altogether_is_left_alone_and_loses_nothing_when_it_is_back() {
    let ill = Arc::new(AtomicBool::new(false));
    let state = ill.clone();
    let server =
        Server::start(move |_, request| if state.load(Ordering::SeqCst) { Reply::hang() } else { good(request) });
    let mut settings = settings(server.url(PATH));
    settings.remote.timeout_ms = 300;
    let (workers, mut inputs) = start(&settings).await;
    workers.submit(job(0, 0)).unwrap();
    assert!(outcomes(&mut inputs, 1).await[0].1.is_ok());
    ill.store(true, Ordering::SeqCst);
    for id in 1..10 {
        workers.submit(job(id, u128::from(id))).unwrap();
    }
    // three faults in a row (one for each slot) and it is left alone: nothing runs, all wait
    while workers.counters().load.waiting < 9 {
        tokio::task::yield_now().await;
    }
    ill.store(false, Ordering::SeqCst);
    let got = outcomes(&mut inputs, 9).await;
    assert!(got.iter().all(|(id, result)| result.as_ref().unwrap().text == text_of(Some(*id))), "{got:?}");
    workers.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stop_does_not_wait_for_a_server_that_hangs() {
    let server =
        Server::start(|_, request| if Form::read(request).number().is_some() { Reply::hang() } else { good(request) });
    let mut settings = settings(server.url(PATH));
    settings.remote.timeout_ms = 600_000;
    let (workers, _inputs) = start(&settings).await;
    workers.submit(job(0, 0)).unwrap();
    while workers.counters().load.running == 0 {
        tokio::task::yield_now().await;
    }
    tokio::time::timeout(PATIENCE, workers.stop()).await.expect("the stop ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_prompt_layer_a_server_that_was_not_sure_is_told_words_to_expect() {
    let entry = |surface: &str, reading: &str, weight: f32| Entry {
        surface: surface.into(),
        readings: vec![reading.into()],
        class: String::new(),
        scope: String::new(),
        weight,
        aliases: Vec::new(),
    };
    let words = vec![entry("三国本町", "ミクニホンマチ", 1.0), entry("住民票", "ジュウミンヒョウ", 1.5)];
    let alone = DictionarySettings { bias: false, correct: false, prompt: true, ..DictionarySettings::default() };
    let dictionary = Arc::new(Dictionary::of_entries(words, &alone));
    let server = Server::start(|_, request| {
        let form = Form::read(request);
        let (text, probability) = match (form.number(), form.field("prompt").is_empty()) {
            (None, _) => return good(request),
            (Some(3), true) => ("ミクニホンマチの図書館です", -0.01),
            (_, true) => ("ミグニホンマチの図書館です", -0.7),
            (Some(2), false) => ("住民票、三国本町の件です", -0.1), // it repeats the prompt
            (_, false) => ("三国本町の図書館です", -0.2),
        };
        let segment = format!(r#"{{"text":"{text}","avg_logprob":{probability},"no_speech_prob":0.01}}"#);
        Reply::new(200, format!(r#"{{"text":"{text}","segments":[{segment}]}}"#))
    });
    let settings = settings(format!("http://{}{PATH}", server.address));
    let (workers, mut inputs) = pool::start(&settings, Arc::clone(&dictionary)).await;
    for id in 1..=3 {
        workers.submit(job(id, u128::from(id))).unwrap();
    }
    workers.submit(Job { kind: JobKind::FirstPartial, ..job(4, 4) }).unwrap();
    let got: HashMap<u64, Hypothesis> =
        outcomes(&mut inputs, 4).await.into_iter().map(|(id, result)| (id, result.unwrap())).collect();
    workers.stop().await;
    let text = |id: u64| dictionary.correct(&got[&id]).text;
    assert_eq!(text(1), "三国本町の図書館です");
    assert_eq!(
        (got[&1].text.as_str(), got[&1].dictionary.as_str()),
        ("ミグニホンマチの図書館です", dictionary.version())
    );
    assert_eq!(text(2), "ミグニホンマチの図書館です", "a repeated prompt is no text");
    assert_eq!(text(3), "ミクニホンマチの図書館です");
    assert!(got[&3].biased.is_none() && got[&4].biased.is_none(), "neither what is sure nor a partial");
    let prompts: Vec<String> = server.requests().iter().map(|one| Form::read(one).field("prompt").to_owned()).collect();
    let told: Vec<&String> = prompts.iter().filter(|prompt| !prompt.is_empty()).collect();
    assert_eq!(told, ["住民票、三国本町の件です。"; 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn by_tls_only_with_an_authority_that_is_trusted() {
    let authority = tls::Authority::new();
    let files = tls::Files::new();
    let pair = authority.issue(&["127.0.0.1"]);
    let server = Server::start_tls(&pair.certificate, &pair.key, |_, request| good(request));
    let url = format!("https://{}{PATH}", server.address);
    let mut settings = settings(url);
    let sound = job(3, 0);
    let sound = Sound { rate: 8_000, pcm: sound.pcm };
    let untrusted = Remote::new(&settings.remote, "ja").unwrap().ask(&sound, "").await;
    assert!(
        matches!(&untrusted, Err(Trouble::Later { why, .. }) if why.contains("certificate") && why.contains("see ca")),
        "{untrusted:?}"
    );
    settings.remote.ca = files.write("ca.pem", &authority.pem());
    let trusted = Remote::new(&settings.remote, "ja").unwrap().ask(&sound, "区役所、三国の件").await.unwrap();
    assert_eq!(trusted.text, text_of(Some(3)));
    assert_eq!(Form::read(&server.requests()[0]).field("prompt"), "区役所、三国の件");
    for (key, wrong) in [
        ("key_file", RemoteSettings { key_file: files.path("absent"), ..settings.remote.clone() }),
        ("key_file", RemoteSettings { key_file: files.write("empty", "\n"), ..settings.remote.clone() }),
        ("key_file", RemoteSettings { key_file: files.write("odd", "a\u{7}b"), ..settings.remote.clone() }),
        ("ca", RemoteSettings { ca: files.write("no.pem", "nothing"), ..settings.remote.clone() }),
    ] {
        let said = Remote::new(&wrong, "ja").unwrap_err().to_string();
        assert!(said.contains(&format!("[speech.remote] {key}")) && said.contains("expected"), "{said}");
    }
}

#[test]
fn the_subcommands_use_the_server_and_check_asks_nobody() {
    use std::process::Command;
    let server = Server::start(|_, request| {
        Form::read(request);
        Reply::new(
            200,
            r#"{"text":"ミクニホンマチの件です","segments":[{"text":"ミクニホンマチの件です","avg_logprob":-0.1}]}"#,
        )
    });
    let files = tls::Files::new();
    let config =
        files.write("k.toml", &format!("[speech.remote]\nurl = \"{}\"\nmodel = \"gpu-model\"\n", server.url(PATH)));
    let run = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_kakehashi")).args(args).output().unwrap();
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        (output.status.success(), text)
    };
    let config = config.to_str().unwrap();
    let (good, said) = run(&["check", "--config", config]);
    assert!(good && said.contains("gpu-model by the server at") && server.requests().is_empty(), "{said}");
    let (good, said) =
        run(&["transcribe", "samples/calls/call1.wav", "--remote", config, "--dictionary", "samples/dictionary.csv"]);
    assert!(good && said.contains("三国本町の件です"), "corrected by its sound: {said}");
    assert!(server.requests().len() >= 9);
    let missing =
        files.write("m.toml", "[speech.remote]\nurl = \"https://gpu.example.test/x\"\nkey_file = \"/nowhere\"\n");
    let (good, said) = run(&["check", "--config", missing.to_str().unwrap()]);
    assert!(!good && said.contains("[speech.remote] key_file = \"/nowhere\""), "{said}");
    let exposed = files.write("e.toml", "[speech.remote]\nurl = \"http://gpu.example.test/x\"\n");
    let (good, said) = run(&["check", "--config", exposed.to_str().unwrap()]);
    assert!(good && said.contains("doubtful") && said.contains("unencrypted"), "{said}");
    let local = files.write("l.toml", "");
    let (good, said) = run(&["transcribe", "samples/calls/call1.wav", "--remote", local.to_str().unwrap()]);
    assert!(!good && said.contains("[speech.remote] url is empty"), "{said}");
}

#[cfg(feature = "whisper")]
mod fallback {
    use super::*;

    /// The first utterances of the agent in the sample call.
    fn spoken() -> Vec<Job> {
        let agent = pool::utterances().into_iter().filter(|one| one.0 == 1);
        let jobs = agent.enumerate().map(|(id, (_, said))| Job { id: id as u64, pcm: said.pcm, ..job(0, 1) });
        jobs.take(3).collect()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_local_model_takes_over_while_the_server_is_away_and_what_it_refuses() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut settings = settings(format!("http://127.0.0.1:{port}{PATH}"));
        settings.remote.fallback = true;
        let (workers, mut inputs) = start(&settings).await;
        assert_eq!(workers.pids().len(), 1, "the local model is loaded");
        for job in spoken() {
            workers.submit(job).unwrap();
        }
        let got = outcomes(&mut inputs, 3).await;
        assert_eq!(got.iter().map(|one| one.0).collect::<Vec<_>>(), [0, 1, 2]);
        let text: String = got.iter().map(|one| one.1.as_ref().unwrap().text.clone()).collect();
        assert!(text.contains("お電話ありがとうございます"), "{text}");
        assert!(got.iter().all(|one| one.1.as_ref().unwrap().model == "kakehashi-lab-ja"));
        assert_eq!(workers.counters().remote, 0);
        // the server comes: it gets the work, and what it refuses is recognised here
        let server = Server::listen(port, None, |_, request| {
            let form = Form::read(request);
            match form.samples.iter().all(|sample| *sample == 0) || form.number() == Some(7) {
                true => good(request),
                false => Reply::new(422, ""),
            }
        });
        while workers.counters().remote == 0 {
            workers.submit(job(7, 7)).unwrap();
            let (_, result) = outcomes(&mut inputs, 1).await.remove(0);
            let _ = result.unwrap(); // of the server, or of the model while the server is not noticed yet
        }
        let before = server.requests().len();
        for job in spoken() {
            workers.submit(job).unwrap();
        }
        let got = outcomes(&mut inputs, 3).await;
        let again: String = got.iter().map(|one| one.1.as_ref().unwrap().text.clone()).collect();
        assert_eq!(again, text);
        assert_eq!(server.requests().len() - before, 3, "each was offered to the server once");
        assert_eq!(workers.counters().failures, 0);
        workers.stop().await;
    }
}

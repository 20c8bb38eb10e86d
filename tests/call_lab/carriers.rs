//! AudioSocket and chan_websocket as what the parties' sound comes by, and as calls of their own: the same pipeline, judged as by RTP.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use kakehashi::call::ContactId;
use kakehashi::events::{CallEnded, Coverage, Data, EndReason};
use kakehashi::pbx::{KeyKind, Speaker};

use crate::bridge::{Bridge, config, config_in, exported_at, wait_for};
use crate::judge::{
    Evidence, MODEL_MEETS, OTHER_IS_FAR, OWN_CALL, QUEUE_CALL, Received, complete_document, gap_free, received, short,
    sum, texts_in,
};
use crate::lab::{Lab, lab, repository};
use crate::matrix::sound_of;
use crate::privacy::{assert_spotless, secrets};
use crate::receiver::{PATIENCE, Receiver};
use crate::sound::{compare, likeness, played, sent_as_ulaw};
use crate::text::{error_rate, error_rate_of_beginning, said_by};
use crate::whole::{CALL, who};

/// How long people talk, in seconds.
const TALK_S: &str = "20";

/// One way of the sound.
struct Way {
    media: &'static str,
    rate: u32,
    /// The connection of websocket_client.conf, where Asterisk connects.
    client: &'static str,
}

const AUDIOSOCKET_8: Way = Way { media: "audiosocket", rate: 8_000, client: "" };
const AUDIOSOCKET_16: Way = Way { media: "audiosocket", rate: 16_000, client: "" };
const WEBSOCKET_8: Way = Way { media: "websocket", rate: 8_000, client: "" };
const WEBSOCKET_16: Way = Way { media: "websocket", rate: 16_000, client: "kakehashi" };

/// The laboratory's configuration with this way, and doors for both protocols at these ports.
fn configured(plain: &str, way: &Way, ports: [u16; 2]) -> String {
    let Way { media, rate, client } = way;
    let ari = format!(
        "own_endpoints = [\"bridge\", \"127.0.0.1:19092\", \"kakehashi\"]\nmedia = \"{media}\"\nmedia_rate = {rate}\nmedia_client = \"{client}\""
    );
    let doors = format!(
        "[pbx.audiosocket]\nlisten = \"127.0.0.1:{}\"\npeers = [\"127.0.0.0/8\"]\n\
         [pbx.websocket]\nlisten = \"127.0.0.1:{}\"\npeers = [\"127.0.0.0/8\"]\n[pbx.sip]",
        ports[0], ports[1]
    );
    plain.replace("own_endpoints = [\"bridge\"]", &ari).replace("[pbx.sip]", &doors)
}

const PORTS: [u16; 2] = [19_092, 19_093];

/// Plays calls to a bridge of its own; gives what is left of as many contacts as `contacts`, by the line that was dialled.
fn record(
    contacts: usize,
    rate: u32,
    change: impl FnOnce(String) -> String,
    calls: impl FnOnce(&Path, &Receiver) -> Vec<Lab>,
) -> BTreeMap<String, Evidence> {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let receiver = Receiver::start(folder, &[]);
    std::fs::write(config_in(folder), change(config(folder, &receiver.url))).unwrap();
    let bridge = Bridge::again(folder);
    let mut calls = calls(folder, &receiver);
    let done = wait_for("the document of every call is complete", CALL, || {
        let events = received(&receiver.accepted());
        let all: BTreeMap<ContactId, String> = events.iter().filter_map(dialled).collect();
        let complete = all.keys().filter(|contact| complete_document(&events, **contact).is_some()).count();
        (complete >= contacts).then_some(all)
    });
    calls.iter_mut().for_each(|call| _ = call.went_well());
    let log = bridge.log();
    bridge.stop();
    let all = received(&receiver.accepted());
    assert_eq!(done.len(), contacts, "one call is one contact: {done:?}");
    assert_spotless(&log, &secrets(texts_in(&all)));
    let evidence = |(contact, called): (ContactId, String)| {
        let events = all.iter().filter(|one| one.event.contact == contact).cloned().collect();
        let sound = exported_at(rate_of(&called, rate), folder, &contact.to_string());
        let call = Evidence { contact, events, counts: receiver.counts(), sound, log: log.clone() };
        gap_free(&call.events).unwrap();
        assert_eq!(call.counts["refused"], 0);
        (called, call)
    };
    done.into_iter().map(evidence).collect()
}

/// The contact that an event of a ringing telephone is about, and the line that was dialled.
fn dialled(one: &Received) -> Option<(ContactId, String)> {
    match &one.event.data {
        Data::CallRinging(leg) => Some((one.event.contact, leg.called.clone())),
        _ => None,
    }
}

/// At which rate a line of the dialplan is heard; others as the taps.
fn rate_of(called: &str, taps: u32) -> u32 {
    match called {
        "7021" | "7023" | "7025" => 8_000,
        "7022" | "7024" => 16_000,
        _ => taps,
    }
}

/// What was heard, at 8 kHz: what is above 4 kHz the telephone never sent.
fn narrow(samples: &[i16], rate: u32) -> Vec<i16> {
    let chunk = rate as usize / 8_000;
    let mean = |few: &[i16]| (few.iter().map(|sample| i32::from(*sample)).sum::<i32>() / few.len() as i32) as i16;
    samples.chunks_exact(chunk).map(mean).collect()
}

/// Whether a channel is what was played there, exactly at 8 kHz, and not what was played on the other.
fn sounds_right(heard: &[i16], rate: u32, channel: usize) -> Result<(), String> {
    let (own, other) = (played(channel), played(1 - channel));
    let alike = [&own, &other].map(|played| likeness(&narrow(heard, rate), played));
    println!("channel {channel} at {rate} Hz: likeness {:.3}, of the other {:.3}", alike[0], alike[1]);
    if alike[0] < 0.9 || alike[1] > 0.6 {
        return Err(format!("sound: channel {channel}: {alike:?}"));
    }
    if rate == 8_000 {
        let compared = compare(heard, &own).ok_or("sound: not the beginning")?;
        println!("channel {channel}: {compared:?}");
        // on a starved machine Asterisk's own snoop leaves out a frame now and then, and puts silence in
        let right = compared.damaged == 0 && compared.exact > 700 && compared.dropped <= 15 && compared.missed <= 800;
        return right.then_some(()).ok_or(format!("sound: channel {channel}: {compared:?}"));
    }
    Ok(())
}

/// Whether a party's text is what that party said in this time, and not what the other did.
fn says_right(call: &Evidence, speaker: Speaker, other: Speaker) -> Result<(), String> {
    let heard = call.text(speaker);
    // the last utterance may be cut off by the end of the call
    let own = error_rate_of_beginning(&said_by(speaker, f64::INFINITY), &said_by(speaker, 18.0), &heard);
    let others = error_rate(&said_by(other, 18.0), &heard);
    println!("{speaker:?}: error rate {own:.3}, against the other party's text {others:.3}: {heard}");
    let right = own < MODEL_MEETS && others > OTHER_IS_FAR;
    right.then_some(()).ok_or(format!("texts: {speaker:?}: {own:.2}, {others:.2}"))
}

const BOTH: [(Speaker, Speaker); 2] = [(Speaker::Caller, Speaker::Agent), (Speaker::Agent, Speaker::Caller)];

/// Everything that says who is who.
fn speakers(call: &Evidence, rate: u32) -> Result<(), String> {
    let sound = call.sound.iter().enumerate().map(|(channel, heard)| sounds_right(heard, rate, channel));
    let texts = BOTH.map(|(speaker, other)| says_right(call, speaker, other));
    let problems: Vec<String> = sound.chain(texts).filter_map(Result::err).collect();
    if problems.is_empty() { Ok(()) } else { Err(problems.join("\n")) }
}

/// The coverage of each party; its parts sum up to the time between answer and end.
fn ledger(call: &Evidence) -> Vec<(Speaker, Coverage)> {
    let rows: Vec<(Speaker, Coverage)> =
        call.document().coverage.iter().map(|row| (row.speaker, row.coverage.clone())).collect();
    for (speaker, c) in &rows {
        println!("{speaker:?}: {c:?}");
        assert_eq!(sum(c), c.duration);
        assert_eq!((c.failed, c.pending, c.paused, c.excluded), (0, 0, 0, 0));
    }
    rows
}

/// A call of caller and agent by this way; judged but for who is who.
fn tapped(way: &Way, swapped: bool) -> Evidence {
    let call = |_: &Path, _: &Receiver| {
        let who = who();
        let mut command = vec!["call", "6001", "--who", &who, "--talk-s", TALK_S];
        command.extend(swapped.then_some("--swapped"));
        vec![lab(&command)]
    };
    let mut all = record(1, way.rate, |plain| configured(&plain, way, PORTS), call);
    let call = all.remove("6001").expect("the queue was called");
    assert_eq!(call.kinds(), QUEUE_CALL);
    for (_, c) in ledger(&call) {
        assert!(c.lost == 0 && c.unobserved < 1_500 && c.transcribed > 4_000, "{c:?}");
    }
    call
}

#[test]
#[ignore = "needs the lab: make lab"]
fn taps_by_audiosocket_at_8_khz_are_exact() {
    speakers(&tapped(&AUDIOSOCKET_8, false), 8_000).unwrap();
}

#[test]
#[ignore = "needs the lab: make lab"]
fn taps_by_audiosocket_at_16_khz() {
    speakers(&tapped(&AUDIOSOCKET_16, false), 16_000).unwrap();
}

#[test]
#[ignore = "needs the lab: make lab"]
fn taps_by_websocket_to_asterisk_at_8_khz_are_exact() {
    speakers(&tapped(&WEBSOCKET_8, false), 8_000).unwrap();
}

#[test]
#[ignore = "needs the lab: make lab"]
fn taps_by_websocket_from_asterisk_at_16_khz() {
    speakers(&tapped(&WEBSOCKET_16, false), 16_000).unwrap();
}

#[test]
#[ignore = "needs the lab: make lab"]
fn the_same_checks_fail_when_the_wiring_is_swapped() {
    for way in [AUDIOSOCKET_16, WEBSOCKET_8] {
        let problems = speakers(&tapped(&way, true), way.rate).unwrap_err();
        println!("{problems}");
        assert!(problems.contains("sound: channel 0") && problems.contains("texts: Caller"), "{problems}");
    }
}

/// Passes connections on until it is told to cut them: with a reset, as a firewall or a restart does. Its port is free when it is dropped.
struct Proxy {
    cut: Option<tokio::sync::watch::Sender<u32>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Proxy {
    /// From `listen` to `to`. Only connections that begin with `GET /media/` are cut where that is `media_only`.
    fn start(listen: &str, to: &'static str, media_only: bool) -> Proxy {
        let (cut, is_cut) = tokio::sync::watch::channel(0);
        let listener = std::net::TcpListener::bind(listen).unwrap();
        listener.set_nonblocking(true).unwrap();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let mut over = is_cut.clone();
                let over = async { while over.changed().await.is_ok() {} };
                tokio::pin!(over);
                loop {
                    tokio::select! {
                        Ok((near, _)) = listener.accept() => {
                            tokio::spawn(pass(near, to, is_cut.clone(), media_only));
                        }
                        () = &mut over => return,
                    }
                }
            });
        });
        Proxy { cut: Some(cut), thread: Some(thread) }
    }

    fn cut(&self) {
        self.cut.iter().for_each(|cut| cut.send_modify(|times| *times += 1));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut = None;
        self.thread.take().map(std::thread::JoinHandle::join);
    }
}

async fn pass(
    mut near: tokio::net::TcpStream,
    to: &'static str,
    mut cut: tokio::sync::watch::Receiver<u32>,
    media_only: bool,
) {
    let mut begins = [0; 11];
    let cuttable = !media_only || (near.peek(&mut begins).await.is_ok() && &begins == b"GET /media/");
    let Ok(mut far) = tokio::net::TcpStream::connect(to).await else { return };
    for stream in [&near, &far] {
        socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
        stream.set_nodelay(true).unwrap();
    }
    cut.borrow_and_update();
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {
            // an end in order stays one
            for stream in [&near, &far] {
                let _ = socket2::SockRef::from(stream).set_linger(None);
            }
        }
        _ = cut.changed(), if cuttable => {}
    }
}

/// Waits for the answer, lets people talk on for some seconds, cuts.
fn cut_after(receiver: &Receiver, seconds: u64, proxies: &[&Proxy]) {
    wait_for("the call is answered", PATIENCE, || {
        let events = received(&receiver.accepted());
        events.iter().any(|one| short(&one.event) == "call.answered").then_some(())
    });
    std::thread::sleep(Duration::from_secs(seconds));
    proxies.iter().for_each(|proxy| proxy.cut());
}

/// A call by this way whose media connections are cut after 8 s, between two utterances.
fn tapped_and_cut(way: &Way, url: Option<&str>, proxy: Proxy) {
    let change = |plain: String| {
        let config = configured(&plain, way, [19_094, 19_095]);
        let config = config.replace("[pbx.ari]", "[pbx.ari]\nrtp_host = \"127.0.0.2\"");
        match url {
            Some(url) => config.replace("127.0.0.1:18088", url),
            None => config,
        }
    };
    let call = |_: &Path, receiver: &Receiver| {
        let call = lab(&["call", "6001", "--who", &who(), "--talk-s", TALK_S]);
        cut_after(receiver, 8, &[&proxy]);
        vec![call]
    };
    let mut all = record(1, way.rate, change, call);
    let call = all.remove("6001").expect("the queue was called");
    let streams = call.events.iter().find_map(|one| match &one.event.data {
        Data::RecordingAvailable(recording) => Some(recording.streams.clone()),
        _ => None,
    });
    assert_eq!(streams.expect("it was recorded").len(), 4, "each party was heard on two streams");
    for (_, c) in ledger(&call) {
        let missed = c.lost + c.unobserved;
        assert!((500..5_000).contains(&missed), "what was not heard is said: {c:?}");
    }
    assert!(call.log.contains("the connection of a tap is gone"));
    // the agent's first two utterances lie before and behind the cut
    says_right(&call, Speaker::Agent, Speaker::Caller).unwrap();
    let heard = call.sound.each_ref().map(|channel| narrow(channel, way.rate));
    let (before, behind) = (..7 * 8_000, 13 * 8_000..18 * 8_000);
    for (span, agent) in [(&heard[1][before], &played(1)[before]), (&heard[1][behind.clone()], &played(1)[behind])] {
        let alike = likeness(span, agent);
        println!("likeness {alike:.3}");
        assert!(alike > 0.9, "{alike}");
    }
}

#[test]
#[ignore = "needs the lab: make lab"]
fn a_cut_audiosocket_is_made_anew_and_the_gap_is_said() {
    tapped_and_cut(&AUDIOSOCKET_8, None, Proxy::start("127.0.0.2:19094", "127.0.0.1:19094", false));
}

#[test]
#[ignore = "needs the lab: make lab"]
fn a_cut_websocket_is_made_anew_and_the_gap_is_said() {
    tapped_and_cut(&WEBSOCKET_8, Some("127.0.0.2:18089"), Proxy::start("127.0.0.2:18089", "127.0.0.1:18088", true));
}

#[test]
#[ignore = "needs the lab: make lab"]
fn a_cut_websocket_of_asterisk_s_own_is_made_anew_and_the_gap_is_said() {
    tapped_and_cut(&WEBSOCKET_16, None, Proxy::start("127.0.0.1:19093", "127.0.0.1:19095", false));
}

/// The lines of the dialplan that come by a media connection.
const LINES: [&str; 4] = ["7021", "7022", "7023", "7024"];

/// Calls all four lines at once, each with its own sound, and lets them talk so long.
fn four_calls(folder: &Path, talk_s: &str) -> (Vec<Vec<i16>>, Lab) {
    let sounds: Vec<_> = (0..LINES.len()).map(|at| sound_of(2 * at, folder)).collect();
    let calls: Vec<String> =
        LINES.iter().zip(&sounds).map(|(line, (wav, _))| format!("{line}={}", wav.display())).collect();
    let command: Vec<&str> =
        ["callers", "--talk-s", talk_s].into_iter().chain(calls.iter().map(String::as_str)).collect();
    (sounds.into_iter().map(|(_, samples)| samples).collect(), lab(&command))
}

/// Why the contact's leg and the contact ended.
fn ends(call: &Evidence) -> Vec<EndReason> {
    let ended = |one: &Received| match &one.event.data {
        Data::CallEnded(CallEnded { reason, .. }) => Some(*reason),
        _ => None,
    };
    call.events.iter().filter_map(ended).collect()
}

#[test]
#[ignore = "needs the lab: make lab"]
fn calls_of_the_dialplan_are_calls_with_caller_line_and_keys() {
    let mut sounds = Vec::new();
    let calls = |folder: &Path, _: &Receiver| {
        // nobody announced this one: it is refused, and not even a contact comes of it
        let unexpected = lab(&["caller", "7025", "--waits", "--talk-s", "1"]);
        let (played, calls) = four_calls(folder, "10");
        sounds = played;
        vec![unexpected, calls]
    };
    let all = record(LINES.len(), 8_000, |plain| configured(&plain, &AUDIOSOCKET_8, PORTS), calls);
    for (at, line) in LINES.iter().enumerate() {
        let call = &all[*line];
        println!("{line}: {:?}, {:?}", call.kinds(), ends(call));
        assert_eq!(call.kinds(), OWN_CALL);
        assert!(ends(call).iter().all(|reason| *reason != EndReason::Failed), "{:?}", ends(call));
        let ringing = call.events.iter().find_map(|one| match &one.event.data {
            Data::CallRinging(leg) => Some(leg),
            _ => None,
        });
        let ringing = ringing.unwrap();
        assert_eq!(ringing.caller.raw.as_deref(), Some("1001"));
        for kind in [KeyKind::Uniqueid, KeyKind::Linkedid] {
            assert!(ringing.keys.iter().any(|key| key.kind == kind), "{:?}", ringing.keys);
        }
        let rows = ledger(call);
        let (_, c) = rows.iter().find(|(speaker, _)| *speaker == Speaker::Caller).expect("the caller was heard");
        assert!(c.lost == 0 && c.unobserved < 1_000 && c.transcribed > 1_000 && c.duration > 8_000, "{c:?}");
        assert!(call.finals(Speaker::Agent).is_empty(), "the bridge itself says nothing");
        let [left, right] = &call.sound;
        assert!(right.iter().all(|sample| *sample == 0), "somebody is heard on the agent's channel");
        let rate = rate_of(line, 8_000);
        let alike: Vec<f64> = sounds.iter().map(|sound| likeness(&narrow(left, rate), sound)).collect();
        println!("  likeness with the four sounds {alike:.3?}");
        let others = alike.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, alike)| *alike);
        assert!(alike[at] > 0.9 && others.fold(0.0, f64::max) < 0.6, "{alike:?}");
        if rate == 8_000 {
            let compared = compare(left, &sent_as_ulaw(&sounds[at])).expect("the caller's sound");
            println!("  {compared:?}");
            assert!(compared.damaged == 0 && compared.exact > 250 && compared.dropped <= 5, "{compared:?}");
        }
    }
}

#[test]
#[ignore = "needs the lab: make lab"]
fn a_call_whose_connection_is_cut_ends_with_a_reason_and_keeps_what_was_heard() {
    let proxies = [("127.0.0.1:19092", "127.0.0.1:19094"), ("127.0.0.1:19093", "127.0.0.1:19095")]
        .map(|(at, to)| Proxy::start(at, to, false));
    let calls = |folder: &Path, receiver: &Receiver| {
        let (_, calls) = four_calls(folder, "10");
        cut_after(receiver, 5, &[&proxies[0], &proxies[1]]);
        vec![calls]
    };
    let all = record(LINES.len(), 8_000, |plain| configured(&plain, &AUDIOSOCKET_8, [19_094, 19_095]), calls);
    for line in LINES {
        let call = &all[line];
        println!("{line}: {:?} {:?}", ends(call), call.text(Speaker::Caller));
        assert!(ends(call).contains(&EndReason::Failed), "{:?}", ends(call));
        let rows = ledger(call);
        let (_, c) = rows.iter().find(|(speaker, _)| *speaker == Speaker::Caller).unwrap();
        assert!(c.transcribed > 500 && c.duration < 8_000, "{c:?}");
        assert!(!call.text(Speaker::Caller).is_empty(), "what was said before the cut is text");
    }
    assert!(all[LINES[0]].log.contains("the connection to Asterisk was lost"));
}

/// Asterisk dials a line of its dialplan for a caller who has no telephone.
fn originate(line: &str) {
    let program = format!(
        "import sys; sys.path.insert(0, 'tests/lab'); import lab; lab.ari('POST', '/channels', endpoint='Local/{line}@lab', \
         context='quiet', extension='s', priority=1, callerId='1001')"
    );
    let status = std::process::Command::new("python3").current_dir(repository()).args(["-c", &program]).status();
    assert!(status.unwrap().success());
}

/// AudioSocket() drops a call over which nothing is sent for 2 s: the bridge's silence keeps it. What stays away is lost, and moves nothing.
#[test]
#[ignore = "needs the lab: make lab"]
fn a_call_of_which_nothing_comes_for_a_while_lives_on_and_stays_in_true_time() {
    let lines = ["7021", "7023"];
    let calls = |_: &Path, _: &Receiver| {
        lines.iter().for_each(|line| originate(line));
        Vec::new()
    };
    let all = record(lines.len(), 8_000, |plain| configured(&plain, &AUDIOSOCKET_8, PORTS), calls);
    for line in lines {
        let call = &all[line];
        println!("{line}: {:?}", ends(call));
        assert!(ends(call).iter().all(|reason| *reason != EndReason::Failed));
        let (_, c) = ledger(call).into_iter().find(|(speaker, _)| *speaker == Speaker::Caller).unwrap();
        assert!(c.duration > 9_500 && (5_000..6_500).contains(&c.lost), "{c:?}");
        let loud = |from: usize, to: usize| {
            let heard = &call.sound[0][from * 8..(to * 8).min(call.sound[0].len())];
            heard.chunks(160).filter(|frame| frame.iter().any(|sample| sample.abs() > 1_000)).count() * 20
        };
        let [first, hole, second] = [(0, 2_500), (2_500, 7_500), (7_500, 10_500)].map(|(from, to)| loud(from, to));
        println!("  the tone is heard for {first} ms, {hole} ms and {second} ms");
        assert!(first.abs_diff(2_000) < 300 && hole == 0 && second.abs_diff(2_000) < 400, "{first} {hole} {second}");
    }
}

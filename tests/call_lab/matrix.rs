//! Every way that Asterisk has to send the bridge a call: {UDP, TCP, TLS} × {PCMU, PCMA, G.722, Opus} × {RTP, SDES, DTLS}, and with session
//! timers. Each call is judged by what the product leaves: the sound on each channel, the events at the CRM, the ledger.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kakehashi::call::ContactId;
use kakehashi::events::{Coverage, Data, EndReason};
use kakehashi::media::codec::{decode_alaw, encode_alaw};
use kakehashi::pbx::Speaker;
use serde_json::Value;

use crate::baresip::{Baresip, Way};
use crate::bridge::{Bridge, config, config_in, exported_at, wait_for};
use crate::judge::{Evidence, OWN_CALL, Received, complete_document, gap_free, received, sum};
use crate::lab::{certificate, finished, lab, repository};
use crate::receiver::{PATIENCE, Receiver};
use crate::sound::{compare, likeness, sent_as_ulaw, with_silence, write_wav};
use crate::whole::CALL;

const CARRIERS: [&str; 3] = ["UDP", "TCP", "TLS"];
const KEYINGS: [&str; 3] = ["RTP", "SDES", "DTLS"];
const CODECS: [Codec; 4] = [
    Codec { name: "PCMU", rate: 8_000, sound: Sound::Same(|sample| sample) },
    Codec { name: "PCMA", rate: 8_000, sound: Sound::Same(|sample| decode_alaw(encode_alaw(sample))) },
    Codec { name: "G.722", rate: 16_000, sound: Sound::Like },
    Codec { name: "Opus", rate: 16_000, sound: Sound::Like },
];

struct Codec {
    name: &'static str,
    /// Samples a second of what is recorded.
    rate: u32,
    sound: Sound,
}

/// What must be recorded of a sound that was played in G.711 µ-law.
enum Sound {
    /// Every sample, changed like this.
    Same(fn(i16) -> i16),
    /// The same wave, as near as the codec is.
    Like,
}

/// One way to send the bridge a call, and what the caller plays.
struct Cell {
    carrier: &'static str,
    keying: &'static str,
    number: String,
    wav: PathBuf,
    /// As it leaves the telephone.
    played: Vec<i16>,
}

/// All ways with the codec at this place, each with a sound of its own.
fn cells(codec: usize, folder: &Path) -> Vec<Cell> {
    let ways = (0..CARRIERS.len()).flat_map(|carrier| (0..KEYINGS.len()).map(move |keying| (carrier, keying)));
    ways.enumerate()
        .map(|(at, (carrier, keying))| {
            let (wav, samples) = sound_of(2 * at, folder);
            Cell {
                carrier: CARRIERS[carrier],
                keying: KEYINGS[keying],
                number: format!("75{}{}{}", carrier + 1, codec + 1, keying + 1),
                wav,
                played: sent_as_ulaw(&samples),
            }
        })
        .collect()
}

/// Two utterances, one after the other, as a file for the telephone.
pub(crate) fn sound_of(utterance: usize, folder: &Path) -> (PathBuf, Vec<i16>) {
    let read = |number: usize| -> Vec<i16> {
        let path = repository().join(format!("samples/eval/utterances/{number:05}.wav"));
        hound::WavReader::open(path).unwrap().samples::<i16>().map(Result::unwrap).collect()
    };
    let samples = [read(utterance), read(utterance + 1)].concat();
    let path = folder.join(format!("utterances-{utterance}.wav"));
    // baresip ends the call at the end of its file
    write_wav(&path, &with_silence(&samples));
    (path, samples)
}

/// The bridge's configuration: UDP, TCP and TLS on ports of their own, so that the port tells how a call came.
fn every_carrier(plain: &str) -> String {
    let ways =
        ["pcmu", "pcma", "g722", "opus"].map(|codec| ["rtp", "sdes", "dtls"].map(|keys| format!("\"{codec}-{keys}\"")));
    let own = ways.concat().join(", ");
    let sip = format!(
        "[sip]\nenabled = true\nlisten_udp = [\"127.0.0.1:15080\", \"127.0.0.1:15085\"]\nlisten_tcp = [\"127.0.0.1:15082\"]\n\
         listen_tls = [\"127.0.0.1:15081\"]\ntls_certificate = {:?}\ntls_key = {:?}\ntls_client_ca = {:?}",
        certificate("bridge.pem"),
        certificate("bridge.key"),
        certificate("authority.pem"),
    );
    plain
        .replace("own_endpoints = [\"bridge\"]", &format!("own_endpoints = [\"bridge-hold\", \"strict\", {own}]"))
        .replace("[sip]\nenabled = true", &sip)
}

/// Plays these calls, given as `lab.py` takes them, to a bridge of its own; gives what is left of the call to each number.
fn play(folder: &Path, call: &[&str], numbers: &[&str], rate: u32) -> Vec<Evidence> {
    record(folder, numbers, &vec![rate; numbers.len()], |config| config, || finished(lab(call)))
}

/// Makes calls to a bridge of its own; gives what is left of the call to each of `numbers`, heard at `rates`.
fn record(
    folder: &Path,
    numbers: &[&str],
    rates: &[u32],
    change: impl FnOnce(String) -> String,
    calls: impl FnOnce(),
) -> Vec<Evidence> {
    let receiver = Receiver::start(folder, &[]);
    std::fs::write(config_in(folder), change(every_carrier(&config(folder, &receiver.url)))).unwrap();
    let bridge = Bridge::again(folder);
    calls();
    let contacts = wait_for("the document of every call is complete", CALL, || {
        let events = received(&receiver.accepted());
        let contacts = numbers.iter().map(|number| contact_of(&events, number));
        contacts
            .map(|contact| contact.filter(|one| complete_document(&events, *one).is_some()))
            .collect::<Option<Vec<ContactId>>>()
    });
    let log = bridge.log();
    bridge.stop();
    let all = received(&receiver.accepted());
    let foreign = all.iter().find(|one| !contacts.contains(&one.event.contact));
    assert!(foreign.is_none(), "a call was seen twice: {foreign:?}");
    let evidence = |(contact, rate): (&ContactId, &u32)| Evidence {
        contact: *contact,
        events: all.iter().filter(|one| one.event.contact == *contact).cloned().collect(),
        counts: receiver.counts(),
        sound: exported_at(*rate, folder, &contact.to_string()).map(|channel| narrow(&channel, *rate)),
        log: log.clone(),
    };
    contacts.iter().zip(rates).map(evidence).collect()
}

/// The contact of the call that dialled `number`.
fn contact_of(events: &[Received], number: &str) -> Option<ContactId> {
    let rang = |one: &&Received| matches!(&one.event.data, Data::CallRinging(leg) if leg.called == number);
    events.iter().find(rang).map(|one| one.event.contact)
}

/// What was heard, at 8 kHz: what is above 4 kHz the telephone never sent.
fn narrow(samples: &[i16], rate: u32) -> Vec<i16> {
    let chunk = rate as usize / 8_000;
    let mean = |few: &[i16]| (few.iter().map(|sample| i32::from(*sample)).sum::<i32>() / few.len() as i32) as i16;
    samples.chunks_exact(chunk).map(mean).collect()
}

/// What the bridge noted at the end of the call's only stream.
fn stream_of(call: &Evidence) -> Value {
    let streams = call.events.iter().find_map(|one| match &one.event.data {
        Data::RecordingAvailable(recording) => Some(recording.streams.clone()),
        _ => None,
    });
    let streams = streams.expect("the call was recorded");
    let [stream] = streams.as_slice() else { panic!("one party is heard: {streams:?}") };
    assert_eq!(stream.speaker, Speaker::Caller);
    let lines = call.log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut fields = lines.map(|line| line["fields"].clone());
    let id = stream.stream.0.to_string();
    fields.find(|one| one["message"] == "a stream ended" && one["stream"] == id.as_str()).expect("the stream ended")
}

/// Plays and judges nine calls at once, all with the codec at this place.
fn every_way(codec: usize) {
    let folder = tempfile::tempdir().unwrap();
    let (codec, cells) = (&CODECS[codec], cells(codec, folder.path()));
    let calls: Vec<String> = cells.iter().map(|cell| format!("{}={}", cell.number, cell.wav.display())).collect();
    let command: Vec<&str> = ["callers", "--talk-s", "8"].into_iter().chain(calls.iter().map(String::as_str)).collect();
    let numbers: Vec<&str> = cells.iter().map(|cell| cell.number.as_str()).collect();
    let evidence = play(folder.path(), &command, &numbers, codec.rate);
    for (at, (cell, call)) in cells.iter().zip(&evidence).enumerate() {
        println!("{} {} {}", cell.carrier, codec.name, cell.keying);
        sequence(call);
        ledger(call, 8_000);
        // Asterisk sends before the handshake is over
        keys(cell.keying, &stream_of(call), if cell.keying == "DTLS" { 50 } else { 0 });
        let others = cells.iter().enumerate().filter(|(place, _)| *place != at).map(|(_, cell)| cell.played.as_slice());
        sound(codec, call, &cell.played, others);
    }
}

/// The caller on the left, exactly or as the codec lets her through, nobody else's call, and nobody on the right.
fn sound<'a>(codec: &Codec, call: &Evidence, played: &[i16], others: impl Iterator<Item = &'a [i16]>) {
    let [left, right] = &call.sound;
    assert!(right.iter().all(|sample| *sample == 0), "somebody is heard on the agent's channel");
    assert!(call.finals(Speaker::Agent).is_empty(), "the bridge itself says nothing");
    match codec.sound {
        Sound::Same(through) => {
            let played: Vec<i16> = played.iter().map(|sample| through(*sample)).collect();
            let found = compare(left, &played).expect("the caller's sound");
            println!("  {found:?}");
            assert!(found.damaged + found.dropped == 0 && found.exact > 300 && found.missed <= 8_000, "{found:?}");
        }
        Sound::Like => {
            let own = likeness(left, played);
            let foreign = others.map(|other| likeness(left, other)).fold(0.0, f64::max);
            println!("  likeness {own:.3}, of the other calls at most {foreign:.3}");
            assert!(own > 0.9 && foreign < 0.6, "{own} {foreign}");
        }
    }
}

/// Whether sound came encrypted as it was to; up to so many packets of the beginning may have come in clear, and are `refused`.
fn keys(keying: &str, stream: &Value, refused: u64) {
    let count = |name: &str| stream[name].as_u64().unwrap_or_else(|| panic!("no {name} in {stream}"));
    assert!(count("packets") > 300, "{stream}");
    for nothing in ["lost", "late", "malformed", "foreign", "replayed", "handshakes_failed"] {
        assert_eq!(count(nothing), 0, "{nothing}: {stream}");
    }
    assert!(count("unauthenticated") <= refused, "{stream}");
    let encrypted = if keying == "RTP" { 0 } else { count("packets") };
    assert!(count("encrypted") >= encrypted && (encrypted > 0 || count("encrypted") == 0), "{stream}");
}

/// Answered by the bridge, ended by the caller.
fn sequence(call: &Evidence) {
    gap_free(&call.events).unwrap();
    println!("  {:?}", call.kinds());
    // the leg ends, and with it the contact
    assert_eq!(call.kinds(), OWN_CALL);
    let reasons = call.events.iter().filter_map(|one| match &one.event.data {
        Data::CallEnded(end) => Some(end.reason),
        _ => None,
    });
    assert!(reasons.eq([EndReason::CallerHangup; 2]));
}

/// The parts sum up to the time between answer and end; at least `heard` milliseconds of it.
fn ledger(call: &Evidence, heard: u64) {
    let document = call.document();
    for row in &document.coverage {
        println!("  {:?} {:?}", row.speaker, row.coverage);
        assert_eq!(sum(&row.coverage), row.coverage.duration);
    }
    let caller: Vec<&Coverage> =
        document.coverage.iter().filter(|row| row.speaker == Speaker::Caller).map(|row| &row.coverage).collect();
    let [caller] = caller.as_slice() else { panic!("{:?}", document.coverage) };
    assert_eq!((caller.lost, caller.failed, caller.pending, caller.paused, caller.excluded), (0, 0, 0, 0, 0));
    assert!(caller.duration >= heard && caller.unobserved < 1_000 && caller.transcribed > 1_000, "{caller:?}");
}

#[test]
#[ignore = "needs the lab: make lab"]
fn pcmu_in_every_way() {
    every_way(0);
}

#[test]
#[ignore = "needs the lab: make lab"]
fn pcma_in_every_way() {
    every_way(1);
}

#[test]
#[ignore = "needs the lab: make lab"]
fn g722_in_every_way() {
    every_way(2);
}

#[test]
#[ignore = "needs the lab: make lab"]
fn opus_in_every_way() {
    every_way(3);
}

/// The exchange would end the call after 90 s if nobody refreshed the session.
#[test]
#[ignore = "needs the lab: make lab"]
fn a_call_with_session_timers_outlives_its_session() {
    let folder = tempfile::tempdir().unwrap();
    let (wav, samples) = sound_of(0, folder.path());
    let call = format!("7005={}", wav.display());
    let evidence = play(folder.path(), &["callers", "--talk-s", "100", &call], &["7005"], 8_000);
    sequence(&evidence[0]);
    ledger(&evidence[0], 99_000);
    sound(&CODECS[0], &evidence[0], &sent_as_ulaw(&samples), std::iter::empty());
}

/// The same from a telephone that has nothing in common with Asterisk, which must prove itself by digest, over every carrier.
#[test]
#[ignore = "needs the lab: make lab"]
fn baresip_calls_with_digest_in_every_codec_and_with_srtp() {
    // number, carrier, its port, codec, as baresip says it, keys, as baresip says it
    let ways = [
        ("7601", "udp", 15_080, 3, "opus/48000/2", "RTP", ""),
        ("7602", "tcp", 15_082, 0, "pcmu", "SDES", "srtp-mand"),
        ("7603", "tls", 15_081, 3, "opus/48000/2", "SDES", "srtp-mand"),
        ("7604", "tls", 15_081, 1, "pcma", "DTLS", "dtls_srtp"),
        ("7605", "tls", 15_081, 3, "opus/48000/2", "DTLS", "dtls_srtp"),
        ("7606", "udp", 15_080, 2, "g722", "SDES", "srtp-mand"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let sounds: Vec<(PathBuf, Vec<i16>)> = (0..ways.len()).map(|at| sound_of(2 * at, folder.path())).collect();
    let numbers = ways.map(|way| way.0);
    let rates = ways.map(|way| CODECS[way.3].rate);
    // this baresip gives up at a challenge that it does not know
    let challenged = |config: String| {
        config.replace("[pbx.sip]", "[pbx.sip]\nusername = \"second\"\npassword = \"lab-second\"\ndigests = [\"md5\"]")
    };
    let calls = || {
        let call = |at: usize, number: &str, password: &'static str| {
            let (_, carrier, port, _, codec, _, keys) = ways[at];
            let way = Way { carrier, codec, keys, proof: Some(("second", password)) };
            Baresip::calls(&way, number, port, &sounds[at].0, 28_500 + 20 * number[3..].parse::<u16>().unwrap())
        };
        let mut telephones: Vec<Baresip> = (0..ways.len()).map(|at| call(at, numbers[at], "lab-second")).collect();
        // not even a contact comes of this one
        let stranger = call(0, "7609", "wrong");
        for telephone in &telephones {
            wait_for("baresip's call is answered", PATIENCE, || {
                telephone.log().contains("Call established").then_some(())
            });
        }
        std::thread::sleep(Duration::from_secs(8));
        assert!(stranger.log().contains("401"), "{}", stranger.log());
        telephones.iter_mut().for_each(Baresip::hangs_up);
    };
    let evidence = record(folder.path(), &numbers, &rates, challenged, calls);
    for (at, (way, call)) in ways.iter().zip(&evidence).enumerate() {
        println!("{} {} {}", way.1, way.4, way.5);
        // its A-law rounds negative samples in a way of its own
        let by_likeness = Codec { sound: Sound::Like, ..CODECS[1] };
        let codec = if way.3 == 1 { &by_likeness } else { &CODECS[way.3] };
        sequence(call);
        ledger(call, 7_500);
        // baresip opens a way through a NAT by packets without sound, in clear; with DTLS it sends before the handshake is over
        let clear = BTreeMap::from([("RTP", 0), ("SDES", 5), ("DTLS", 50)]);
        keys(way.5, &stream_of(call), clear[way.5]);
        let played = if codec.name == "PCMU" { sent_as_ulaw(&sounds[at].1) } else { with_silence(&sounds[at].1) };
        let others = sounds.iter().enumerate().filter(|(place, _)| *place != at).map(|(_, sound)| sound.1.as_slice());
        sound(codec, call, &played, others);
    }
}

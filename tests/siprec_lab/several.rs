//! Several recording sessions of one call are one contact: the two calls of a Cisco fork, and two recorders beside each other.

use std::time::Duration;

use kakehashi::events::{Data, EndReason};
use kakehashi::pbx::Speaker;
use kakehashi::time::Wall;

use crate::recorder::{Session, record, voice};
use crate::sound::likeness;

#[test]
#[ignore = "needs the lab: make lab"]
fn the_two_calls_of_a_cisco_telephone_are_one_contact() {
    let folder = tempfile::tempdir().unwrap();
    let (agent, caller) = (voice(1), voice(0));
    let from = |end: &str| {
        format!(
            "\"Yamada\" <sip:2001@127.0.0.1;x-{end};x-refci=82731258;x-nearendclusterid=Osaka;x-nearenddevice=SEP189C5DB7C8AC;\
             x-nearendaddr=2001;x-farendrefci=82730980;x-farendclusterid=Osaka;x-farenddevice=GW;x-farendaddr=0663621234>"
        )
    };
    let (near, far) = (from("nearend"), from("farend"));
    let sessions = [
        Session { file: "cisco_bib", from: &near, voices: &[&agent], ..Session::default() },
        Session { file: "cisco_bib", from: &far, voices: &[&caller], ..Session::default() },
    ];
    let left = record(folder.path(), &sessions, 1).remove(0);
    assert_eq!(left.legs(), ["2001"]);
    assert_eq!(left.ended().caller.raw.as_deref(), Some("0663621234"));
    assert_eq!(left.ended().reason, EndReason::Hangup);
    println!("near end {:?}", left.says(Speaker::Agent, "2001", &agent).unwrap());
    println!("far end {:?}", left.says(Speaker::Caller, "2001", &caller).unwrap());
}

#[test]
#[ignore = "needs the lab: make lab"]
fn the_two_calls_of_a_cube_are_one_contact() {
    let folder = tempfile::tempdir().unwrap();
    let (agent, caller) = (voice(1), voice(0));
    let own = |first: &str, second: &str| {
        format!(
            "X-Cisco-Recording-Participant: sip:{first}@10.42.30.5;media-index=\"0\"\nX-Cisco-Recording-Participant: sip:{second}@10.42.30.6"
        )
    };
    let (near, far) = (own("2001", "0663621234"), own("0663621234", "2001"));
    let line = "m=audio @PORT1@ RTP/AVP 0 101 19\na=rtpmap:101 telephone-event/8000\na=rtpmap:19 CN/8000\na=sendonly";
    let values =
        |participants| [("PARTICIPANTS", participants), ("LINES", line), ("OK", "@OK1@"), ("PLAYS", "@PLAY:1@")];
    let (near, far) = (values(near.as_str()), values(far.as_str()));
    let sessions = [
        Session { file: "cisco_cube", voices: &[&agent], values: &near, ..Session::default() },
        Session { file: "cisco_cube", voices: &[&caller], values: &far, ..Session::default() },
    ];
    let left = record(folder.path(), &sessions, 1).remove(0);
    assert_eq!(left.legs(), ["2001"]);
    left.says(Speaker::Agent, "2001", &agent).unwrap();
    left.says(Speaker::Caller, "2001", &caller).unwrap();
}

#[test]
#[ignore = "needs the lab: make lab"]
fn two_recorders_of_one_session_are_one_contact_and_the_second_goes_on_when_the_first_ends() {
    let folder = tempfile::tempdir().unwrap();
    let (caller, agent) = (voice(0), voice(1));
    let voices = [&caller, &agent];
    let (short, long) = ([("DOCUMENT", "oracle"), ("TALK_MS", "5000")], [("DOCUMENT", "oracle"), ("TALK_MS", "10000")]);
    let both = || Session { file: "oracle", voices: &voices, together: true, ..Session::default() };
    let sessions = [
        Session { values: &short, seconds: 5, ..both() },
        Session { values: &long, seconds: 10, second: true, ..both() },
    ];
    let left = record(folder.path(), &sessions, 1).remove(0);
    assert_eq!(left.legs(), ["0661119999"], "one leg");
    assert_eq!(left.ended().reason, EndReason::Hangup);
    let streams = left.streams();
    let of = |speaker: Speaker| streams.iter().filter(|stream| stream.speaker == speaker).collect::<Vec<_>>();
    for (speaker, voice) in [(Speaker::Caller, &caller), (Speaker::Agent, &agent)] {
        let both = of(speaker);
        assert_eq!(both.len(), 2, "{streams:?}");
        let taken_over: Vec<_> = both.iter().filter(|stream| stream.from.is_some()).collect();
        assert_eq!(taken_over.len(), 1, "one takes the place of the other: {streams:?}");
        let side = usize::from(speaker == Speaker::Agent);
        let heard = &left.exported()[side];
        let (before, after) = (
            likeness(&heard[..4 * 8_000], &voice.played[..4 * 8_000]),
            likeness(&heard[5 * 8_000..], &voice.played[5 * 8_000..]),
        );
        println!("{speaker:?}: before {before:.3}, after {after:.3}");
        assert!(before > 0.9, "{before}: the sound is not doubled nor lost");
        assert!(after > 0.9, "{after}: it goes on with the second recorder");
    }
    // what both heard is text once: the finals of a speaker do not overlap
    for speaker in [Speaker::Caller, Speaker::Agent] {
        let mut spans: Vec<_> = left
            .events
            .iter()
            .filter_map(|event| match &event.data {
                Data::TranscriptFinal(text) if text.speaker == speaker => Some((text.start, text.end)),
                _ => None,
            })
            .collect();
        spans.sort();
        // where one takes over from the other, the end of a word may be in both
        let apart = |pair: &[(Wall, Wall)]| pair[0].1 <= pair[1].0 + Duration::from_millis(100);
        assert!(spans.windows(2).all(apart), "{speaker:?}: {spans:?}");
    }
}

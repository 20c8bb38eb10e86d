//! Each dialect: who is the caller and who the agent, and that each is heard on the own stream.

use kakehashi::events::{Data, EndReason};
use kakehashi::pbx::Speaker;

use crate::recorder::{Left, Session, record, voice};
use crate::sound::compare;

const CALLER: Speaker = Speaker::Caller;
const AGENT: Speaker = Speaker::Agent;

/// One call with a caller and an agent of this extension, as every dialect must look downstream.
fn is_one_call(left: &Left, number: &str, extension: &str) {
    let end = left.ended();
    assert_eq!(end.caller.raw.as_deref(), Some(number), "{:?}", end.caller);
    assert_eq!(left.legs(), [extension]);
    assert_eq!(end.reason, EndReason::Hangup, "a recorder is not told who hung up");
    let wanted = ["call.offered", "call.answered", "call.ended", "call.ended", "recording.available"];
    assert_eq!(left.kinds(), wanted);
}

/// Plays one session with a caller on the first stream and an agent on the second.
fn two_people(file: &str, values: &[(&str, &str)], extension: &str) -> Left {
    let folder = tempfile::tempdir().unwrap();
    let (caller, agent) = (voice(0), voice(1));
    let voices = [&caller, &agent];
    let mut all = record(folder.path(), &[Session { file, voices: &voices, values, ..Session::default() }], 1);
    let left = all.remove(0);
    println!("{file}: caller {:?}", left.says(CALLER, extension, &caller).unwrap());
    println!("{file}: agent {:?}", left.says(AGENT, extension, &agent).unwrap());
    let [on_left, on_right] = left.exported();
    assert!(compare(&on_left, &caller.played).is_some() && compare(&on_right, &agent.played).is_some(), "{file}");
    left
}

#[test]
#[ignore = "needs the lab: make lab"]
fn rfc_with_a_late_participant_a_third_stream_and_one_who_leaves() {
    let folder = tempfile::tempdir().unwrap();
    let (caller, agent, second) = (voice(0), voice(1), voice(2));
    let voices = [&caller, &agent, &second];
    let session = Session { file: "rfc", voices: &voices, seconds: 10, ..Session::default() };
    let left = record(folder.path(), &[session], 1).remove(0);
    let end = left.ended();
    assert_eq!(end.caller.number.as_deref(), Some("+81663621234"));
    assert_eq!(end.caller.display.as_deref(), Some("大阪 太郎"));
    assert_eq!(left.legs(), ["2001", "2002"]);
    assert_eq!(end.legs[0].reason, Some(EndReason::Transferred));
    assert_eq!(end.legs[1].reason, Some(EndReason::Hangup));
    for (speaker, extension, voice) in [(CALLER, "2001", &caller), (AGENT, "2001", &agent), (AGENT, "2002", &second)] {
        println!("rfc: {speaker:?} {extension} {:?}", left.says(speaker, extension, voice).unwrap());
    }
    assert!(left.stream(CALLER, "2002").is_ok(), "when the first agent leaves, the caller is with the second");
    let wanted = [
        "call.offered",
        "call.answered",
        "call.offered",
        // who comes to a caller gets what was said before
        "contact.handover",
        "call.answered",
        "call.ended",
        "call.ended",
        "call.ended",
        "recording.available",
    ];
    assert_eq!(left.kinds(), wanted);
}

#[test]
#[ignore = "needs the lab: make lab"]
fn avaya_starts_with_one_line_and_a_stand_in_and_adds_people_by_update() {
    let left = two_people("avaya", &[], "2001");
    is_one_call(&left, "0663621234", "2001");
}

#[test]
#[ignore = "needs the lab: make lab"]
fn metaswitch_mixes_both_on_one_line_which_is_nobodys_alone() {
    let folder = tempfile::tempdir().unwrap();
    let both = voice(0);
    let session = Session { file: "metaswitch", voices: &[&both], ..Session::default() };
    let left = record(folder.path(), &[session], 1).remove(0);
    is_one_call(&left, "0663621234", "0661111111");
    println!("metaswitch: {:?}", left.says(Speaker::Mixed, "0661111111", &both).unwrap());
    let [on_left, on_right] = left.exported();
    assert!(on_left == on_right && compare(&on_left, &both.played).is_some(), "a mixture is on both channels");
    let spoken = left.events.iter().filter_map(|event| match &event.data {
        Data::TranscriptFinal(text) => Some(text.speaker),
        _ => None,
    });
    assert!(spoken.clone().count() > 0 && spoken.clone().all(|speaker| speaker == Speaker::Mixed));
}

#[test]
#[ignore = "needs the lab: make lab"]
fn broadworks_pauses_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (agent, caller) = (voice(1), voice(0));
    let session = Session { file: "broadworks", voices: &[&agent, &caller], ..Session::default() };
    let left = record(folder.path(), &[session], 1).remove(0);
    assert_eq!(left.ended().caller.number.as_deref(), Some("+81663621234"));
    assert_eq!(left.ended().called, "+81661111111", "the dialled line is told");
    assert_eq!(left.legs(), ["0661111111"]);
    let wanted = [
        "call.offered",
        "call.answered",
        "recording.paused",
        "recording.resumed",
        "call.ended",
        "call.ended",
        "recording.available",
    ];
    assert_eq!(left.kinds(), wanted);
    for (speaker, voice) in [(CALLER, &caller), (AGENT, &agent)] {
        let sound = left.sound(&left.stream(speaker, "0661111111").unwrap());
        let heard = compare(&sound[..2 * 8_000], &voice.played).expect("the right person before the pause");
        assert!(heard.exact > 50 && heard.damaged == 0, "{heard:?}");
        // the sender starts up to 0.8 s after the call, so this is inside the pause
        let paused = &sound[3 * 8_000 + 1_600..4 * 8_000 + 1_600];
        assert!(paused.iter().all(|sample| *sample == 0), "nothing of the pause is on disk");
        assert!(sound[5 * 8_000 + 4_000..].iter().any(|sample| *sample != 0), "it goes on");
    }
}

#[test]
#[ignore = "needs the lab: make lab"]
fn webex_names_the_recorded_user_by_an_internal_name() {
    let left = two_people("webex", &[], "2002");
    is_one_call(&left, "0663621234", "2002");
    let keys = &left.ended().keys;
    assert!(keys.iter().any(|key| key.value == "0f5caed7c9f446dfbbd7fec8ada2666d"), "{keys:?}");
}

#[test]
#[ignore = "needs the lab: make lab"]
fn oracle_marks_the_calling_party_and_puts_the_agent_first() {
    let left = two_people("oracle", &[("DOCUMENT", "oracle"), ("TALK_MS", "8000")], "0661119999");
    is_one_call(&left, "0663621234", "0661119999");
}

#[test]
#[ignore = "needs the lab: make lab"]
fn a_cube_that_forks_one_call_has_a_line_for_each_party() {
    let participants = "X-Cisco-Recording-Participant: sip:0663621234@10.42.30.32;media-index=\"0\"\n\
                        X-Cisco-Recording-Participant: sip:2001@10.42.30.5;media-index=\"1\"";
    let line = |number: u16| {
        format!(
            "m=audio @PORT{number}@ RTP/AVP 0 101 19\na=rtpmap:101 telephone-event/8000\na=rtpmap:19 CN/8000\na=sendonly"
        )
    };
    let lines = format!("{}\n{}", line(1), line(2));
    let values = [("PARTICIPANTS", participants), ("LINES", &lines), ("OK", "@OK2@"), ("PLAYS", "@PLAY:1@\n@PLAY:2@")];
    let left = two_people("cisco_cube", &values, "2001");
    is_one_call(&left, "0663621234", "2001");
}

/// Who says what is wrong when the channels are swapped: the judge of all these tests must see it.
#[test]
#[ignore = "needs the lab: make lab"]
fn swapped_channels_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let (caller, agent) = (voice(0), voice(1));
    let values = [("DOCUMENT", "oracle"), ("TALK_MS", "8000")];
    let session = Session { file: "oracle", voices: &[&agent, &caller], values: &values, ..Session::default() };
    let left = record(folder.path(), &[session], 1).remove(0);
    for (speaker, voice, other) in [(CALLER, &caller, &agent), (AGENT, &agent, &caller)] {
        assert!(left.says(speaker, "0661119999", voice).is_err(), "the judge does not hear that channels are swapped");
        assert!(left.says(speaker, "0661119999", other).is_ok());
    }
}

#[test]
#[ignore = "needs the lab: make lab"]
fn broken_metadata_is_recorded_and_flagged() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (voice(0), voice(1));
    let session = Session { file: "broken", voices: &[&one, &other], ..Session::default() };
    let left = record(folder.path(), &[session], 1).remove(0);
    assert_eq!(left.legs(), ["recorder"], "the line of the recording session itself");
    let streams = left.streams();
    assert!(streams.len() == 2 && streams.iter().all(|stream| stream.speaker == Speaker::Other), "{streams:?}");
    for voice in [&one, &other] {
        let heard = streams.iter().filter_map(|stream| compare(&left.sound(stream), &voice.played));
        assert_eq!(heard.filter(|found| found.damaged == 0 && found.exact > 150).count(), 1, "each is kept whole");
    }
    assert!(left.log.contains("the metadata of a recording session cannot be read"), "the log says so");
}

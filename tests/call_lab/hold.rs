//! A telephone puts the call on hold, at the agent's end and at the caller's: what is told, heard and kept.

use kakehashi::events::Data;
use kakehashi::pbx::Speaker;
use kakehashi::time::Wall;

use crate::bridge::exported;
use crate::judge::sum;
use crate::sound::{compare, played};
use crate::transfer::{assert_heard_throughout, contact_of, kinds, run};

/// Seconds before, in and after the hold.
const TALK_S: f32 = 10.0;

/// Asterisk plays music to the caller, whom we go on hearing; of the agent there is nothing to hear, and none of the music.
#[test]
#[ignore = "needs the lab: make lab"]
fn an_agent_who_holds_is_silent_and_the_caller_is_heard_on() {
    let folder = tempfile::tempdir().unwrap();
    let events = run(folder.path(), "held_by_agent", TALK_S, 1, |config| config, || {});
    let contact = contact_of(&events, "6001");
    assert_eq!(
        kinds(&events, contact),
        [
            "call.queued",
            "call.offered",
            "call.ringing",
            "call.answered",
            "call.held",
            "call.resumed",
            "call.ended",
            "call.ended"
        ]
    );
    assert_heard_throughout(&events, contact, 1);
    let [left, right] = exported(folder.path(), &contact.to_string());
    let (caller, agent) =
        (compare(&left, &played(0)).expect("the caller"), compare(&right, &played(1)).expect("the agent"));
    println!("caller {caller:?}, agent {agent:?}");
    assert!(caller.damaged == 0 && caller.exact > 1_200, "{caller:?}");
    // 10 s of hold are 500 frames
    assert!(agent.damaged == 0 && agent.exact > 800 && (450..650).contains(&agent.inserted), "{agent:?}");
}

/// `hold_pauses`: what comes while the caller's telephone holds the bridge's own line, is not kept.
#[test]
#[ignore = "needs the lab: make lab"]
fn a_caller_who_holds_is_not_kept_where_the_exchange_is_set_so() {
    let folder = tempfile::tempdir().unwrap();
    let pauses = |config: String| {
        config
            .replace("own_endpoints = [\"bridge\"]", "own_endpoints = [\"bridge-hold\"]")
            .replace("[pbx.sip]", "[pbx.sip]\nhold_pauses = true")
    };
    let events = run(folder.path(), "held_by_caller", TALK_S, 1, pauses, || {});
    let contact = contact_of(&events, "7004");
    assert_eq!(
        kinds(&events, contact),
        ["call.offered", "call.ringing", "call.answered", "call.held", "call.resumed", "call.ended", "call.ended"]
    );
    let time = |wanted: &str| {
        let found = events.iter().find(|event| event.type_name() == format!("kakehashi.{wanted}.v1"));
        found.unwrap_or_else(|| panic!("no {wanted}")).time
    };
    let (from, to) = (time("recording.paused"), time("recording.resumed"));
    let lasted = to.since(from).as_millis() as u64;
    let document = events.iter().rev().find_map(|event| match &event.data {
        Data::TranscriptDocument(document) if document.complete => Some(document),
        _ => None,
    });
    let row = document.unwrap().coverage.iter().find(|row| row.speaker == Speaker::Caller).unwrap();
    let c = &row.coverage;
    println!("on hold for {lasted} ms: {c:?}");
    assert!(lasted > 9_000 && c.paused.abs_diff(lasted) <= 1, "{lasted} ms, {c:?}");
    assert_eq!((sum(c), c.lost, c.failed), (c.duration, 0, 0));

    let [left, right] = exported(folder.path(), &contact.to_string());
    assert!(right.iter().all(|sample| *sample == 0), "nobody is heard on the agent's channel");
    let origin = events.iter().find_map(|event| match &event.data {
        Data::RecordingAvailable(recording) => recording.streams.first().map(|stream| stream.origin),
        _ => None,
    });
    let sample = |at: Wall| (at.since(origin.unwrap()).as_micros() * 8_000 / 1_000_000) as usize;
    let (from, to) = (sample(from), sample(to));
    assert!(left[from + 8..to - 8].iter().all(|sample| *sample == 0), "sound of the hold is on disk");
    let (caller, resumed) = (played(0), to.saturating_sub(8_000));
    for (heard, played) in [(&left[..from], &caller[..]), (&left[to..], &caller[resumed..])] {
        let found = compare(heard, played).expect("the caller's sound");
        println!("{found:?}");
        assert!(found.damaged <= 2 && found.exact > 400, "{found:?}");
    }
}

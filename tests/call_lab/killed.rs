//! The bridge killed in mid-call, recognisers killed and stopped in mid-utterance: nothing is lost.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use kakehashi::call::ContactId;
use kakehashi::events::{Data, EndReason};
use kakehashi::pbx::Speaker;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::bridge::{Bridge, Stored, accepted_kinds, stored, used, wait_for};
use crate::judge::{Received, complete_document, gap_free, received, texts_in};
use crate::lab::{finished, lab};
use crate::privacy::{assert_spotless, secrets};
use crate::receiver::{PATIENCE, Receiver};
use crate::text::{error_rate, error_rate_of_beginning, said, said_by};
use crate::whole::{documented, play, undisturbed, who};

/// Where in the sample call the bridge is killed: the caller is in the middle of an utterance, four are over.
const KILLED_AT_S: f64 = 21.0;

fn of(events: &[Received], contact: ContactId) -> Vec<Received> {
    events.iter().filter(|received| received.event.contact == contact).cloned().collect()
}

#[test]
#[ignore = "needs the lab: make lab"]
fn a_bridge_killed_in_mid_call_with_the_receiver_down_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(folder.path(), &[]);
    let port = receiver.port();
    let bridge = Bridge::start(folder.path(), &receiver);
    drop(receiver);
    let call = lab(&["call", "6001", "--who", &who(), "--ring-s", "1", "--talk-s", "50"]);
    wait_for("the call is answered", PATIENCE, || {
        accepted_kinds(folder.path()).contains(&"kakehashi.call.answered.v1".into()).then_some(())
    });
    let answered = Instant::now();
    wait_for("two parties have said something", PATIENCE, || {
        let kinds = accepted_kinds(folder.path());
        (kinds.iter().filter(|kind| *kind == "kakehashi.transcript.final.v1").count() >= 2).then_some(())
    });
    // the telephones play the sample in real time
    let until = Duration::from_secs_f64(KILLED_AT_S);
    std::thread::sleep(until.saturating_sub(answered.elapsed()));
    let killed_at = answered.elapsed().as_secs_f64();
    bridge.kill();
    let before = stored(folder.path());
    assert!(before.iter().all(|row| row.status == "pending"), "the receiver was down");

    let receiver = Receiver::start(folder.path(), &["--port", &port]);
    let bridge = Bridge::again(folder.path());
    let first = ContactId(before.first().expect("events were accepted").contact.parse().unwrap());
    wait_for("the document of the first contact is complete", Duration::from_secs(180), || {
        complete_document(&received(&receiver.accepted()), first)
    });
    // what is left of the call is a contact of its own
    let second = documented(&receiver, &[first]);
    finished(call);
    let log = bridge.log();
    bridge.stop();
    let events = received(&receiver.accepted());
    assert_eq!(receiver.counts()["refused"], 0);
    arrived(&before, &receiver.accepted());
    for contact in [first, second] {
        gap_free(&of(&events, contact)).unwrap();
    }
    ended_by_restart(&of(&events, first));
    caught_up(&of(&events, first), killed_at);
    let rest = complete_document(&events, second).unwrap();
    assert!(rest.turns.iter().any(|turn| turn.text.is_some()), "the rest of the call is heard");
    assert_spotless(&log, &secrets(texts_in(&events)));
}

/// Everything accepted before the kill came with its id, its body unchanged, in order, and nothing came twice with different bodies.
fn arrived(before: &[Stored], accepted: &[Value]) {
    let mut bodies: HashMap<&str, &Value> = HashMap::new();
    for line in accepted {
        let known = bodies.insert(line["webhook_id"].as_str().unwrap(), &line["event"]);
        assert!(known.is_none_or(|known| *known == line["event"]), "one id with two bodies: {line}");
    }
    for row in before {
        let body =
            bodies.get(row.id.as_str()).unwrap_or_else(|| panic!("event {} was accepted and did not arrive", row.id));
        assert_eq!(**body, row.body);
        assert_eq!(row.body["sequence"].as_str().unwrap().parse::<u64>().unwrap(), row.sequence);
    }
    println!("{} events were accepted before the kill", before.len());
}

fn ended_by_restart(events: &[Received]) {
    let ends: Vec<EndReason> = events
        .iter()
        .filter_map(|received| match &received.event.data {
            Data::CallEnded(end) => Some(end.reason),
            _ => None,
        })
        .collect();
    assert_eq!(ends, [EndReason::BridgeRestart; 2], "the leg and the contact");
}

/// What was said up to the kill stands in the document, also what was being said when it came.
fn caught_up(events: &[Received], killed_at: f64) {
    let texts: Vec<_> = events
        .iter()
        .filter_map(|received| match &received.event.data {
            Data::TranscriptFinal(text) => Some(text),
            _ => None,
        })
        .collect();
    assert!(texts.iter().any(|text| text.caught_up) && texts.iter().any(|text| !text.caught_up));
    let document = complete_document(events, events[0].event.contact).unwrap();
    for speaker in [Speaker::Caller, Speaker::Agent] {
        let turns = document.turns.iter().filter(|turn| turn.speaker == speaker);
        let heard: String = turns.filter_map(|turn| turn.text.as_deref()).collect();
        // a second for what the telephone, Asterisk and the measurement of the time are apart
        let over = said().into_iter().filter(|one| one.speaker == speaker && one.end < killed_at - 1.0);
        let over: String = over.map(|one| one.text).collect();
        let rate = error_rate_of_beginning(&said_by(speaker, killed_at + 1.0), &over, &heard);
        println!("{speaker:?} up to {killed_at:.1} s: error rate {rate:.3}: {heard}");
        assert!(rate < crate::judge::MODEL_MEETS, "{speaker:?}: {heard}");
    }
    // the utterance that was cut
    let cut =
        said().into_iter().find(|one| one.start < killed_at - 1.0 && one.end > killed_at).expect("somebody spoke");
    let origin = events.iter().find(|received| received.event.type_name() == "kakehashi.call.answered.v1").unwrap();
    let last =
        document.turns.iter().filter(|turn| turn.speaker == cut.speaker && turn.text.is_some()).map(|t| t.end).max();
    let last = last.unwrap().since(origin.event.time).as_secs_f64();
    assert!(last > killed_at - 1.5, "the document ends at {last:.1} s, the bridge was killed at {killed_at:.1} s");
    for one in &document.coverage {
        assert_eq!(crate::judge::sum(&one.coverage), one.coverage.duration, "{one:?}");
        assert_eq!((one.coverage.lost, one.coverage.failed, one.coverage.pending), (0, 0, 0), "{one:?}");
    }
}

/// Waits until a recogniser is at work on an utterance.
fn at_work(bridge: &Bridge) -> i32 {
    let idle: HashMap<i32, u64> = bridge.workers().iter().filter_map(|pid| Some((*pid, used(*pid)?))).collect();
    wait_for("a recogniser works", PATIENCE, || {
        bridge
            .workers()
            .into_iter()
            .find(|pid| used(*pid).zip(idle.get(pid)).is_some_and(|(now, then)| now >= then + 5))
    })
}

fn finals(receiver: &Receiver) -> usize {
    let events = received(&receiver.accepted());
    events.iter().filter(|received| matches!(received.event.data, Data::TranscriptFinal(_))).count()
}

#[test]
#[ignore = "needs the lab: make lab"]
fn recognisers_killed_and_stopped_at_work_cost_no_packet_and_no_text() {
    let whole = undisturbed();
    let folder = tempfile::tempdir().unwrap();
    let mut hit = Vec::new();
    let call = play(folder.path(), |bridge, receiver| {
        let call = lab(&["call", "6001", "--who", &who()]);
        for signal in [Signal::SIGKILL, Signal::SIGSTOP] {
            // loaded and idle: the last utterance has its text
            let known = finals(receiver);
            wait_for("an utterance has its text", PATIENCE, || (finals(receiver) > known).then_some(()));
            let worker = at_work(bridge);
            kill(Pid::from_raw(worker), signal).unwrap();
            hit.push(worker);
        }
        wait_for("a recogniser that does not answer is replaced", PATIENCE, || {
            let workers = bridge.workers();
            (!workers.is_empty() && hit.iter().all(|pid| !workers.contains(pid))).then_some(())
        });
        call
    });
    assert!(hit[0] != hit[1]);
    gap_free(&call.events).unwrap();
    let document = call.document();
    for (one, other) in document.coverage.iter().zip(&whole.document().coverage) {
        let c = &one.coverage;
        println!("{:?}: {c:?}", one.speaker);
        assert_eq!(crate::judge::sum(c), c.duration);
        assert_eq!((c.lost, c.failed, c.pending), (0, 0, 0));
        assert!(c.transcribed + 1_000 > other.coverage.transcribed, "{c:?} against {:?}", other.coverage);
    }
    for speaker in [Speaker::Caller, Speaker::Agent] {
        let apart = error_rate(&whole.text(speaker), &call.text(speaker));
        let own = error_rate(&said_by(speaker, f64::INFINITY), &call.text(speaker));
        println!("{speaker:?}: error rate {own:.3}, from the undisturbed call {apart:.3}");
        assert!(own < crate::judge::MODEL_MEETS && apart < 0.2, "{}", call.text(speaker));
    }
}

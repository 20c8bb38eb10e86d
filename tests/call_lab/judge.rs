//! What a whole call left behind, and whether that is right.

use std::path::Path;

use kakehashi::call::ContactId;
use kakehashi::events::{
    CallEnded, Coverage, Data, EndReason, Event, LookUp, ScreenPop, TranscriptDocument, TranscriptFinal,
};
use kakehashi::pbx::Speaker;
use kakehashi::time::Wall;
use serde_json::Value;

use crate::bridge::{Bridge, exported};
use crate::privacy::{assert_spotless, secrets};
use crate::receiver::Receiver;
use crate::sound::{compare, played};
use crate::text::{error_rate, said_by};

/// The character error rate that the sample call must stay below (the shipped model makes 0.06).
pub(crate) const MODEL_MEETS: f64 = 0.15;
/// The text of the other party is at least so far from it.
pub(crate) const OTHER_IS_FAR: f64 = 0.70;

/// What comes of a call by the queue that is answered, and ended by its caller.
pub(crate) const QUEUE_CALL: [&str; 8] = [
    "call.queued",
    "call.offered",
    "call.ringing",
    "call.answered",
    "call.ended",
    "call.ended",
    "recording.available",
    "transcript.document",
];
/// What comes of a call to the bridge itself.
pub(crate) const OWN_CALL: [&str; 7] = [
    "call.offered",
    "call.ringing",
    "call.answered",
    "call.ended",
    "call.ended",
    "recording.available",
    "transcript.document",
];

/// An event as the receiver took it.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) at: Wall,
    pub(crate) event: Event,
}

/// Reads the receiver's lines. That `webhook-id` is the event's id is the receiver's own check.
pub(crate) fn received(lines: &[Value]) -> Vec<Received> {
    let read = |line: &Value| Received {
        at: Wall(line["received_us"].as_i64().unwrap()),
        event: Event::from_json(&line["event"].to_string()).unwrap_or_else(|error| panic!("{error}: {line}")),
    };
    lines.iter().map(read).collect()
}

/// The document of a contact with nothing pending or failed, if it has come.
pub(crate) fn complete_document(events: &[Received], contact: ContactId) -> Option<TranscriptDocument> {
    let of_contact = events.iter().rev().filter(|received| received.event.contact == contact);
    of_contact.map(|received| &received.event.data).find_map(|data| match data {
        Data::TranscriptDocument(document) if document.complete => Some(document.clone()),
        _ => None,
    })
}

/// A call that is over.
pub(crate) struct Evidence {
    /// The only contact.
    pub(crate) contact: ContactId,
    /// Its events in the receiver's order.
    pub(crate) events: Vec<Received>,
    /// The receiver's own counts.
    pub(crate) counts: Value,
    /// `kakehashi export`: left, right.
    pub(crate) sound: [Vec<i16>; 2],
    /// The bridge's log at trace level, that of its recognisers with it.
    pub(crate) log: String,
}

/// Stops the bridge after its only call and takes what is left of it.
pub(crate) fn gather(folder: &Path, bridge: Bridge, receiver: &Receiver, contact: ContactId) -> Evidence {
    let log = bridge.log();
    bridge.stop();
    let events = received(&receiver.accepted());
    let sound = exported(folder, &contact.to_string());
    let evidence = Evidence { contact, events, counts: receiver.counts(), sound, log };
    assert!(evidence.events.iter().all(|received| received.event.contact == contact), "one call is one contact");
    assert_spotless(&evidence.log, &secrets(texts_in(&evidence.events)));
    evidence
}

impl Evidence {
    /// The finals of one party.
    pub(crate) fn finals(&self, speaker: Speaker) -> Vec<&TranscriptFinal> {
        let finals = self.events.iter().filter_map(|received| match &received.event.data {
            Data::TranscriptFinal(text) if text.speaker == speaker => Some(text),
            _ => None,
        });
        finals.collect()
    }

    /// All that one party said, in order of time.
    pub(crate) fn text(&self, speaker: Speaker) -> String {
        let mut finals = self.finals(speaker);
        finals.sort_by_key(|text| text.start);
        finals.iter().map(|text| text.text.as_str()).collect()
    }

    /// The complete document.
    pub(crate) fn document(&self) -> TranscriptDocument {
        complete_document(&self.events, self.contact).expect("the call is over when its document is complete")
    }

    fn pops(&self) -> Vec<(&Received, &ScreenPop)> {
        let pops = self.events.iter().filter_map(|received| match &received.event.data {
            Data::ScreenPop(pop) => Some((received, pop)),
            _ => None,
        });
        pops.collect()
    }

    fn time_of(&self, kind: &str) -> Result<Wall, String> {
        let found = self.events.iter().find(|received| short(&received.event) == kind);
        found.map(|received| received.event.time).ok_or_else(|| format!("events: no {kind}"))
    }

    /// Types of the record events in order, without those that come whenever recognition is ready.
    pub(crate) fn kinds(&self) -> Vec<&'static str> {
        let record = self.events.iter().filter(|received| received.event.sequence.is_some());
        let kinds = record.map(|received| short(&received.event));
        kinds.filter(|kind| !["transcript.final", "transcript.delayed"].contains(kind)).collect()
    }
}

/// `call.answered` of `kakehashi.call.answered.v1`.
pub(crate) fn short(event: &Event) -> &'static str {
    event.type_name().trim_start_matches("kakehashi.").trim_end_matches(".v1")
}

/// Every recognised text, as recognised and as corrected.
pub(crate) fn texts_in(events: &[Received]) -> Vec<String> {
    let texts = events.iter().filter_map(|received| match &received.event.data {
        Data::TranscriptFinal(text) => Some([text.text.clone(), text.text_raw.clone()]),
        _ => None,
    });
    texts.flatten().collect()
}

/// Everything that the queue call must have left behind. The error names every part that is wrong, one a line.
pub(crate) fn check(call: &Evidence) -> Result<(), String> {
    let parts = [pops(call), sequence(call), texts(call), ledger(call), signatures(call), recording(call)];
    let problems: Vec<String> = parts.into_iter().filter_map(Result::err).collect();
    if problems.is_empty() { Ok(()) } else { Err(problems.join("\n")) }
}

fn pops(call: &Evidence) -> Result<(), String> {
    let answered = call.time_of("call.answered")?;
    let pops = call.pops();
    let (Some((first, pop)), Some((_, last))) = (pops.first(), pops.last()) else {
        return Err("pops: none".into());
    };
    let revisions: Vec<u32> = pops.iter().map(|(_, pop)| pop.revision).collect();
    demand(pop.revision == 0 && first.at < answered, || {
        format!("pops: revision {} came at {}, answered at {answered}", pop.revision, first.at)
    })?;
    demand(pops.iter().all(|(_, pop)| pop.agent.id.as_deref() == Some("op-yamada")), || {
        "pops: one is not addressed to op-yamada".into()
    })?;
    // what look-up has answered before the telephone rings stands in revision 0
    demand(pop.lookup == LookUp::Done || revisions == [0, 1], || format!("pops: revisions {revisions:?}"))?;
    demand(last.lookup == LookUp::Done && last.matches.iter().map(|found| found.id.as_str()).eq(["C-0001"]), || {
        format!("pops: look-up gave {:?} {} matches", last.lookup, last.matches.len())
    })
}

fn sequence(call: &Evidence) -> Result<(), String> {
    gap_free(&call.events)?;
    demand(call.kinds() == QUEUE_CALL, || format!("events: {:?} instead of {QUEUE_CALL:?}", call.kinds()))?;
    let ends: Vec<&CallEnded> = call.events.iter().filter_map(|received| ended(&received.event)).collect();
    demand(ends.iter().all(|end| end.reason == EndReason::CallerHangup), || "events: the caller hung up".into())
}

fn ended(event: &Event) -> Option<&CallEnded> {
    match &event.data {
        Data::CallEnded(end) => Some(end),
        _ => None,
    }
}

/// Whether the record events of one contact are there from 1, each once, in order, with the ids that belong to them.
pub(crate) fn gap_free(events: &[Received]) -> Result<(), String> {
    let record = events.iter().filter_map(|received| Some((received.event.sequence?, &received.event)));
    for ((sequence, event), wanted) in record.zip(1..) {
        demand(sequence == wanted, || format!("events: sequence {sequence} in the place of {wanted}"))?;
        demand(event.id == Event::record_id(event.contact, sequence, event.time), || {
            format!("events: {} has the id {}", event.type_name(), event.id)
        })?;
    }
    Ok(())
}

/// Each party's text is what that party said, and not what the other one said.
fn texts(call: &Evidence) -> Result<(), String> {
    for (speaker, other) in [(Speaker::Caller, Speaker::Agent), (Speaker::Agent, Speaker::Caller)] {
        let heard = call.text(speaker);
        let own = error_rate(&said_by(speaker, f64::INFINITY), &heard);
        let others = error_rate(&said_by(other, f64::INFINITY), &heard);
        println!("{speaker:?}: error rate {own:.3}, against the other party's text {others:.3}");
        demand(own < MODEL_MEETS && others > OTHER_IS_FAR, || {
            format!("texts: {speaker:?} has the error rate {own:.2}, against the other party's text {others:.2}")
        })?;
    }
    Ok(())
}

/// The parts sum to the time between answer and end, for both parties, and nothing was lost or failed.
fn ledger(call: &Evidence) -> Result<(), String> {
    let document = call.document();
    let leg = call.events.iter().rev().find_map(|received| ended(&received.event)).and_then(|end| end.legs.last());
    let leg = leg.ok_or("ledger: no leg")?;
    let (Some(answered), Some(ended)) = (leg.answered, leg.ended) else { return Err("ledger: no answer".into()) };
    let duration = ended.since(answered).as_millis() as i64;
    let speakers: Vec<Speaker> = document.coverage.iter().map(|one| one.speaker).collect();
    demand(speakers == [Speaker::Caller, Speaker::Agent], || format!("ledger: of {speakers:?}"))?;
    for one in &document.coverage {
        let c = &one.coverage;
        println!("{:?}: {c:?}", one.speaker);
        demand(sum(c) == c.duration && (c.duration as i64 - duration).abs() <= 1, || {
            format!("ledger: {:?} does not sum to {duration} ms: {c:?}", one.speaker)
        })?;
        demand(c.lost + c.failed + c.pending + c.paused + c.excluded == 0 && c.transcribed > 10_000, || {
            format!("ledger: {:?}: {c:?}", one.speaker)
        })?;
        // the sound begins with the answer and ends with the call
        demand(c.unobserved < 1_500, || format!("ledger: {:?} was not heard for {} ms", one.speaker, c.unobserved))?;
    }
    Ok(())
}

/// The sum of the parts of a coverage, in milliseconds.
pub(crate) fn sum(c: &Coverage) -> u64 {
    c.transcribed + c.silent + c.lost + c.paused + c.excluded + c.unobserved + c.pending + c.failed
}

fn signatures(call: &Evidence) -> Result<(), String> {
    let wanted = serde_json::json!({"accepted": call.events.len(), "failed_on_purpose": 0, "not_an_event": 0, "refused": 0, "repeated": 0});
    demand(call.counts == wanted, || format!("signatures: {}", call.counts))
}

/// Left is what the caller's telephone played, right what the agent's played, exactly.
fn recording(call: &Evidence) -> Result<(), String> {
    for (channel, heard) in call.sound.iter().enumerate() {
        let compared = compare(heard, &played(channel));
        println!("channel {channel}: {compared:?}");
        let compared = compared.ok_or_else(|| format!("recording: channel {channel} is not what was played there"))?;
        demand(compared.damaged == 0 && compared.exact >= 45 * 50 && compared.missed <= 800, || {
            format!("recording: channel {channel}: {compared:?}")
        })?;
        // on a starved machine Asterisk's own snoop leaves out a frame now and then, and puts silence in
        demand(compared.dropped <= 15 && compared.inserted <= 50, || {
            format!("recording: channel {channel}: {compared:?}")
        })?;
    }
    Ok(())
}

fn demand(holds: bool, problem: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(problem()) }
}

//! What a receiver was told of each call: its texts, its documents, whether anything is missing or out of order.
#![allow(dead_code)] // each test and bench uses its part

use std::collections::HashMap;
use std::time::Instant;

use kakehashi::call::ContactId;
use kakehashi::events::{Coverage, Data, Event, TranscriptDelayed, TranscriptDocument, TranscriptFinal};

/// One call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    /// In the order of arrival.
    pub(crate) finals: Vec<(Instant, TranscriptFinal)>,
    pub(crate) documents: Vec<TranscriptDocument>,
    pub(crate) delayed: Vec<TranscriptDelayed>,
    /// Of the record events.
    pub(crate) sequences: Vec<u64>,
}

/// The number from which a contact called, as soon as it is told.
pub(crate) fn numbers<'a>(events: impl Iterator<Item = &'a Event>) -> HashMap<ContactId, String> {
    let of = |event: &Event| match &event.data {
        Data::CallAnswered(leg) => Some((event.contact, leg.caller.number.clone()?)),
        _ => None,
    };
    events.filter_map(of).collect()
}

/// What was told of each call, by the number of its caller (`+81…`).
pub(crate) fn by_caller(arrived: &[(Instant, Event)]) -> HashMap<String, Told> {
    let numbers = numbers(arrived.iter().map(|(_, event)| event));
    let mut all: HashMap<String, Told> = HashMap::new();
    for (at, event) in arrived {
        let Some(number) = numbers.get(&event.contact) else { continue };
        let told = all.entry(number.clone()).or_default();
        told.sequences.extend(event.sequence);
        match &event.data {
            Data::TranscriptFinal(text) => told.finals.push((*at, text.clone())),
            Data::TranscriptDocument(document) => told.documents.push(document.clone()),
            Data::TranscriptDelayed(delayed) => told.delayed.push(delayed.clone()),
            _ => {}
        }
    }
    all
}

/// How a number is told that a caller has (national form, `0…`).
pub(crate) fn e164(number: &str) -> String {
    format!("+81{}", number.trim_start_matches('0'))
}

/// The parts of a ledger together.
pub(crate) fn sum(c: &Coverage) -> u64 {
    c.transcribed + c.silent + c.lost + c.paused + c.excluded + c.unobserved + c.pending + c.failed
}

impl Told {
    /// Whether there is a document without anything pending or failed.
    pub(crate) fn is_complete(&self) -> bool {
        self.documents.last().is_some_and(|document| document.complete)
    }

    /// Says what is wrong with the order of what came, or with the last document.
    pub(crate) fn check(&self) -> Result<&TranscriptDocument, String> {
        let wanted: Vec<u64> = (1..=self.sequences.len() as u64).collect();
        if self.sequences != wanted {
            return Err(format!("record events came as {:?}", self.sequences));
        }
        let mut last: HashMap<&str, u64> = HashMap::new();
        for (_, text) in &self.finals {
            let stream = text.utterance.split('/').next().unwrap_or_default();
            if last.insert(stream, text.start_ms).is_some_and(|before| before >= text.start_ms) {
                return Err(format!("the text from {} ms on came after a later one", text.start_ms));
            }
        }
        let document = self.documents.last().ok_or("no document")?;
        if !document.complete {
            return Err(format!("revision {} is not complete", document.revision));
        }
        for leg in &document.coverage {
            let c = &leg.coverage;
            if (c.lost, c.failed, c.pending) != (0, 0, 0) || sum(c) != c.duration {
                return Err(format!("{:?}: {c:?}", leg.speaker));
            }
        }
        let texts = document.turns.iter().filter(|turn| turn.text.is_some()).count();
        if texts != self.finals.len() {
            return Err(format!("{} texts came, {texts} are in the document", self.finals.len()));
        }
        Ok(document)
    }
}

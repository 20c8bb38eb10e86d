//! One call in virtual time: the real session, its records into the real outbox, its sound into real segments.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kakehashi::call::directory::Directory;
use kakehashi::call::line::Lines;
use kakehashi::dictionary::Dictionary;
use kakehashi::events::Event;
use kakehashi::media::segment::{Writer, silence_span};
use kakehashi::media::{Frame, StreamEvent, StreamEventKind, StreamSummary};
use kakehashi::outbox::store::Outbox;
use kakehashi::outbox::{Batch, ContactRow};
use kakehashi::pbx::{CallKey, EndCause, Fidelity, Identity, LegKey, PbxId, Signal, Speaker, StreamId};
use kakehashi::session::{Opening, Output, Session, Site};
use kakehashi::speech::{Hypothesis, SpeechEvent, SpeechEventKind, Utterance};
use kakehashi::time::{MediaTime, Mono, Now, Wall};
use uuid::Uuid;

use super::grammar::{Line, Who};
use super::mutate::Dice;

/// Samples a second: few, so that hours of calls are quickly searched.
const RATE: u32 = 400;
/// Samples of an utterance; a second.
const LENGTH: usize = 400;

/// One utterance: what was said, as which, with what sound.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) line: Line,
    /// As in the final.
    pub(crate) utterance: String,
    noise: Arc<[i16]>,
}

impl Said {
    /// Bytes from the middle of its sound, as they stand in a segment.
    pub(crate) fn middle(&self) -> Vec<u8> {
        self.noise[190..210].iter().flat_map(|sample| sample.to_le_bytes()).collect()
    }
}

pub(crate) struct Call {
    session: Session,
    now: Now,
    outbox: Outbox,
    audio: PathBuf,
    writers: HashMap<StreamId, Writer>,
    positions: HashMap<StreamId, u64>,
    counts: HashMap<StreamId, u32>,
    ids: [StreamId; 2],
    dice: Dice,
    events: Vec<Event>,
}

impl Call {
    pub(crate) fn new(folder: &Path, outbox: Outbox, n: u64, dice: Dice) -> Call {
        let now = Now { mono: Mono(0), wall: Wall(1_795_420_800_000_000) };
        let call = CallKey { pbx: PbxId("pbx".into()), key: format!("call-{n}") };
        let caller = Identity::default();
        let first = Signal::CallAppeared {
            caller: caller.clone(),
            called: "6001".into(),
            keys: Vec::new(),
            fidelity: Fidelity::Full,
        };
        let site = Site {
            id: "osaka".into(),
            source: "/site/osaka/node/n1".into(),
            directory: Arc::new(Directory::default()),
            dictionary: Arc::new(Dictionary::empty()),
            callers: Arc::default(),
            mask: Default::default(),
        };
        let line = Lines::default().policy("6001");
        let opening = Opening { call, salt: 0, caller: &caller, called: "6001", line, first: &first, before: None };
        let ids = [0, 1].map(|side| StreamId(Uuid::from_u128(u128::from(n) * 2 + side + 1)));
        let mut own = Call {
            session: Session::open(now, site, opening),
            now,
            outbox,
            audio: folder.join("audio"),
            writers: HashMap::new(),
            positions: HashMap::new(),
            counts: HashMap::new(),
            ids,
            dice,
            events: Vec::new(),
        };
        let leg = LegKey("a".into());
        own.signal(&Signal::LegAppeared { leg: leg.clone(), address: "2001".into(), queue: None });
        own.signal(&Signal::LegAnswered(leg.clone()));
        for (id, speaker) in ids.into_iter().zip([Speaker::Caller, Speaker::Agent]) {
            own.signal(&Signal::StreamAdded { leg: leg.clone(), stream: id, speaker });
            own.stream(id, StreamEventKind::First { origin: now, rate: RATE });
            own.writers.insert(id, Writer::new(&own.audio, id, now.wall, RATE, 10_000));
        }
        own
    }

    /// What is said, one after the other.
    pub(crate) fn talk(&mut self, lines: &[Line]) -> Vec<Said> {
        lines.iter().map(|line| self.say(line)).collect()
    }

    fn say(&mut self, line: &Line) -> Said {
        let id = self.ids[usize::from(line.who == Who::Agent)];
        // never silent, so that silence is told from it
        let noise: Arc<[i16]> = (0..LENGTH).map(|_| i16::try_from(1 + self.dice.below(20_000)).unwrap()).collect();
        self.write_until_now();
        let from = self.positions[&id];
        self.pass(1_000);
        self.write(id, &noise);
        let number = *self.counts.entry(id).and_modify(|count| *count += 1).or_insert(0);
        let at = |sample| MediaTime::of_sample(sample, RATE);
        let (start, end) = (at(from), at(from + LENGTH as u64));
        let utterance = Utterance { number, start, end, forced: false, rate: RATE, pcm: noise.clone() };
        let kind = SpeechEventKind::Ended(utterance);
        self.session.handle_speech(SpeechEvent { stream: id, at: self.now, kind }, false);
        self.pass(700);
        let hypothesis = Hypothesis { text: line.text.clone(), confidence: 0.9, ..Hypothesis::default() };
        self.session.handle_outcome(self.now, id, number, Ok(hypothesis));
        self.carry_out();
        Said { line: line.clone(), utterance: format!("{}/{}", id.0, start.0 / 1_000), noise }
    }

    pub(crate) fn hang_up(mut self) -> Vec<Event> {
        self.pass(300);
        self.signal(&Signal::CallEnded(EndCause::Normal));
        self.write_until_now();
        for id in self.ids {
            let samples = self.positions[&id];
            let summary = StreamSummary { samples, rate: RATE, ..StreamSummary::default() };
            self.stream(id, StreamEventKind::Closed(summary));
        }
        assert!(self.session.finished());
        self.events
    }

    fn pass(&mut self, millis: u64) {
        self.now = self.now.plus(Duration::from_millis(millis));
        while self.session.due().is_some_and(|due| due <= self.now.mono) {
            self.session.handle_timeout(self.now);
            self.carry_out();
        }
    }

    fn signal(&mut self, signal: &Signal) {
        self.session.handle_signal(self.now, signal);
        self.carry_out();
    }

    fn stream(&mut self, stream: StreamId, kind: StreamEventKind) {
        self.session.handle_stream(&StreamEvent { stream, at: self.now, kind });
        self.carry_out();
    }

    /// Faint noise up to now on both lines.
    fn write_until_now(&mut self) {
        let until = self.now.mono.0 / 1_000_000 * u64::from(RATE) / 1_000;
        for id in self.ids {
            let missing = until.saturating_sub(self.positions.get(&id).copied().unwrap_or(0));
            self.write(id, &vec![1; usize::try_from(missing).unwrap()]);
        }
    }

    fn write(&mut self, id: StreamId, samples: &[i16]) {
        for piece in samples.chunks(800) {
            let position = self.positions.entry(id).or_default();
            let frame = Frame { stream: id, position: *position, rate: RATE, samples: piece.to_vec() };
            *position += piece.len() as u64;
            self.writers.get_mut(&id).unwrap().write(&frame).unwrap();
        }
        self.positions.entry(id).or_default();
    }

    fn carry_out(&mut self) {
        let (mut records, mut silences) = (Vec::new(), Vec::new());
        while let Some(output) = self.session.poll() {
            match output {
                Output::Record(event) => records.push(event),
                Output::Silence { stream, from, to } => silences.push((stream, from, to)),
                _ => {}
            }
        }
        let contact = ContactRow {
            id: self.session.id(),
            site: "osaka".into(),
            call: self.session.contact().call.clone(),
            open: !self.session.finished(),
            state: self.session.state(),
        };
        self.events.extend(records.clone());
        self.outbox.submit(Batch { contact, keys: Vec::new(), events: records, deliver_text: true }).unwrap();
        for (stream, from, to) in silences {
            self.writers.get_mut(&stream).unwrap().end_file();
            silence_span(&self.audio, stream, from, to).unwrap();
            self.stream(stream, StreamEventKind::Silenced { from, to, done: true });
        }
    }
}

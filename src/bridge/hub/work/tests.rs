//! Four times what the workers can do, for ten minutes, in virtual time: real sessions, the real queue here and at the workers, played processes.

use std::collections::{BTreeMap, HashMap};
use std::sync::mpsc::Receiver;

use uuid::Uuid;

use super::*;
use crate::call::line::Lines;
use crate::events::{Data, Event, TranscriptDelayed};
use crate::media::{StreamEvent, StreamEventKind, StreamSummary};
use crate::pbx::{CallKey, EndCause, Fidelity, Identity, LegKey, PbxId, Signal, Speaker};
use crate::session::{Opening, Output, Session, Site};
use crate::speech::settings::Settings;
use crate::speech::{Hypothesis, Outcome, SpeechEvent, SpeechEventKind, Utterance};
use crate::time::{Now, Wall};

const RATE: u64 = 8_000;
const WORKERS: usize = 2;
/// Time that a worker needs for a second of sound, in milliseconds: two of them do 4 s of sound a second.
const COST_MS: u64 = 500;
/// Who speaks 4 s of every 10: 40 of them offer 16 s of sound a second.
const CALLS: usize = 40;
const SPEECH_MS: u64 = 4_000;
const CYCLE_MS: u64 = 10_000;
const OFFERED_MS: u64 = 600_000;
const STEP_MS: u64 = 50;

fn site() -> Site {
    let directory = "extension,agent,name,department,tier\n2001,op1,山田,窓口,2\n";
    Site {
        id: "osaka".into(),
        source: "/site/osaka/node/n1".into(),
        directory: Arc::new(crate::call::directory::Directory::parse("d", directory).unwrap()),
        dictionary: Arc::new(crate::dictionary::Dictionary::empty()),
        callers: Arc::default(),
        mask: crate::transcript::mask::Policy::default(),
    }
}

struct Call {
    session: Session,
    stream: StreamId,
    records: Vec<Event>,
    realtime: Vec<Event>,
    /// When the running utterance was copied last.
    copied: Option<u64>,
}

struct Stage {
    ms: u64,
    /// Until then people speak.
    until: u64,
    workers: Workers,
    work: Work,
    requests: Receiver<Request>,
    calls: Vec<Call>,
    /// Ends of running jobs: time and id.
    running: Vec<(u64, u64)>,
    most_waiting_seconds: f64,
    most_held: usize,
    most_behind: Duration,
    at_contact: HashMap<ContactId, usize>,
}

fn now(ms: u64) -> Now {
    Now { mono: Mono(ms * 1_000_000), wall: Wall(1_795_420_800_000_000 + ms as i64 * 1_000) }
}

fn silence(ms: u64) -> Arc<[i16]> {
    vec![0; (ms * RATE / 1_000) as usize].into()
}

impl Stage {
    fn new(settings: &Settings, recorded: bool, until: u64) -> Stage {
        let workers = Workers::played(settings, WORKERS);
        let (read_back, requests) = ReadBack::played();
        let mut stage = Stage {
            ms: 0,
            until,
            work: Work::new(Some(workers.clone()), read_back),
            workers,
            requests,
            calls: Vec::new(),
            running: Vec::new(),
            most_waiting_seconds: 0.0,
            most_held: 0,
            most_behind: Duration::ZERO,
            at_contact: HashMap::new(),
        };
        for n in 0..CALLS {
            stage.open(n, recorded);
        }
        stage
    }

    fn open(&mut self, n: usize, recorded: bool) {
        let caller = Identity::default();
        let (called, keys) = ("6001".to_string(), Vec::new());
        let first = Signal::CallAppeared { caller: caller.clone(), called, keys, fidelity: Fidelity::Full };
        let line = crate::call::line::Line { record: recorded, ..Lines::default().policy("6001") };
        let call = CallKey { pbx: PbxId("pbx".into()), key: n.to_string() };
        let opening = Opening { call, salt: 0, caller: &caller, called: "6001", line, first: &first, before: None };
        let mut session = Session::open(now(0), site(), opening);
        let (leg, stream) = (LegKey("1".into()), StreamId(Uuid::from_u128(n as u128 + 1)));
        for signal in [
            Signal::LegAppeared { leg: leg.clone(), address: "2001".into(), queue: None },
            Signal::LegAnswered(leg.clone()),
            Signal::StreamAdded { leg, stream, speaker: Speaker::Caller },
        ] {
            session.handle_signal(now(0), &signal);
        }
        let kind = StreamEventKind::First { origin: now(0), rate: 8_000 };
        session.handle_stream(&StreamEvent { stream, at: now(0), kind });
        self.at_contact.insert(session.id(), n);
        self.calls.push(Call { session, stream, records: Vec::new(), realtime: Vec::new(), copied: None });
    }

    /// Hands an input to a session and carries out what it asks for, as the hub does.
    fn with(&mut self, n: usize, input: impl FnOnce(&mut Session)) {
        let now = now(self.ms);
        let call = &mut self.calls[n];
        input(&mut call.session);
        let contact = call.session.id();
        let mut tasks = Vec::new();
        while let Some(output) = call.session.poll() {
            match output {
                Output::Record(event) => call.records.push(event),
                Output::Realtime(event) => call.realtime.push(event),
                Output::Recognize(task) => tasks.push(task),
                _ => {}
            }
        }
        tasks.into_iter().for_each(|task| self.work.add(now, contact, task));
        self.feed();
    }

    fn feed(&mut self) {
        for (owner, failure) in self.work.feed(now(self.ms)) {
            let (n, at) = (self.at_contact[&owner.contact], now(self.ms));
            self.calls[n].session.handle_outcome(at, owner.stream, owner.number, Err(failure));
        }
    }

    /// What the people say: call `n` begins later than the one before.
    fn speak(&mut self, n: usize) {
        let offset = n as u64 * CYCLE_MS / CALLS as u64;
        let Some(since) = self.ms.checked_sub(offset) else { return };
        let (number, into) = (since / CYCLE_MS, since % CYCLE_MS);
        let start = offset + number * CYCLE_MS;
        let said = |ms: u64| Utterance {
            number: number as u32,
            start: MediaTime(start * 1_000),
            end: MediaTime((start + ms) * 1_000),
            forced: false,
            rate: RATE as u32,
            pcm: silence(ms),
        };
        let (stream, at) = (self.calls[n].stream, now(self.ms));
        if into == SPEECH_MS {
            self.calls[n].copied = None;
            let kind = SpeechEventKind::Ended(said(SPEECH_MS));
            return self.with(n, |session| session.handle_speech(SpeechEvent { stream, at, kind }, false));
        }
        let Some(every) = self.workers.pace().get().filter(|_| into < SPEECH_MS) else { return };
        let wait = self.calls[n].copied.map_or(600, |copied| copied + every.as_millis() as u64);
        if into >= wait {
            self.calls[n].copied = Some(into);
            let kind = SpeechEventKind::Running(said(into));
            self.with(n, |session| session.handle_speech(SpeechEvent { stream, at, kind }, false));
        }
    }

    /// What the processes do.
    fn decode(&mut self) {
        let now = now(self.ms);
        while let Some(at) = self.running.iter().position(|(until, _)| *until <= self.ms) {
            let (_, id) = self.running.swap_remove(at);
            let wanted = self.workers.schedule(|schedule| schedule.done(now, id));
            let hypothesis = Hypothesis { text: "あいうえお、かきくけこ".into(), ..Hypothesis::default() };
            self.outcome(Outcome { id, result: if wanted { Ok(hypothesis) } else { Err(Failure::Withdrawn) } });
        }
        for (until, id) in &mut self.running {
            if self.workers.schedule(|schedule| schedule.is_withdrawn(*id)) {
                *until = (*until).min(self.ms + STEP_MS);
            }
        }
        while self.running.len() < WORKERS {
            let mut withdrawn = Vec::new();
            let attempt = self.workers.schedule(|schedule| schedule.take(now, &mut withdrawn));
            withdrawn.into_iter().for_each(|outcome| self.outcome(outcome));
            let Some(attempt) = attempt else { break };
            let cost = attempt.job.pcm.len() as u64 * COST_MS / RATE;
            self.running.push((self.ms + cost.max(1), attempt.job.id));
        }
    }

    fn outcome(&mut self, outcome: Outcome) {
        let at = now(self.ms);
        let Some(Owner { contact, stream, number, partial, .. }) = self.work.finished(outcome.id) else { return };
        let n = self.at_contact[&contact];
        match (partial, outcome.result) {
            (None, result) => self.with(n, |session| session.handle_outcome(at, stream, number, result)),
            (Some(end), Ok(heard)) => self.with(n, |session| session.handle_partial(at, stream, number, end, &heard)),
            (Some(_), Err(_)) => {}
        }
    }

    /// What the disk does.
    fn read(&mut self) {
        let Ok(Request::Utterance { id, from, to, .. }) = self.requests.try_recv() else { return };
        self.work.read_finished();
        assert!(self.work.sound(id, Some(silence((to - from) * 1_000 / RATE))).is_none());
        self.feed();
    }

    fn step(&mut self) {
        self.ms += STEP_MS;
        self.read();
        self.decode();
        for n in 0..CALLS {
            if self.ms <= self.until {
                self.speak(n);
            }
            if self.calls[n].session.due().is_some_and(|due| due <= now(self.ms).mono) {
                let at = now(self.ms);
                self.with(n, |session| session.handle_timeout(at));
            }
        }
        if self.work.due(now(self.ms).mono).is_some_and(|due| due <= now(self.ms).mono) {
            self.feed();
        }
        let load = self.workers.schedule(|schedule| (schedule.load(), schedule.behind(now(self.ms).mono)));
        self.most_waiting_seconds = self.most_waiting_seconds.max(load.0.waiting_seconds);
        self.most_behind = self.most_behind.max(load.1);
        self.most_held = self.most_held.max(self.work.held);
    }

    fn hang_up(&mut self, n: usize) {
        let (at, stream) = (now(self.ms), self.calls[n].stream);
        let summary = StreamSummary { samples: self.ms * RATE / 1_000, rate: RATE as u32, ..StreamSummary::default() };
        self.with(n, |session| session.handle_signal(at, &Signal::CallEnded(EndCause::Normal)));
        let kind = StreamEventKind::Closed(summary);
        self.with(n, |session| session.handle_stream(&StreamEvent { stream, at, kind }));
    }
}

fn delays(call: &Call) -> Vec<TranscriptDelayed> {
    let delay = |event: &Event| match &event.data {
        Data::TranscriptDelayed(delay) => Some(delay.clone()),
        _ => None,
    };
    call.records.iter().filter_map(delay).collect()
}

/// Starts of the finals in the order in which they were told.
fn finals(call: &Call) -> Vec<u64> {
    let start = |event: &Event| match &event.data {
        Data::TranscriptFinal(text) => Some(text.start_ms),
        _ => None,
    };
    call.records.iter().filter_map(start).collect()
}

#[test]
fn four_times_the_capacity_for_ten_minutes_loses_nothing_and_says_that_it_is_late() {
    let settings = Settings { queue_live_seconds: 240, ..Settings::default() };
    let mut stage = Stage::new(&settings, true, OFFERED_MS);
    while stage.ms < OFFERED_MS + SPEECH_MS {
        stage.step();
    }
    let during = stage.workers.counters().counts;
    let offered: usize = (0..CALLS).map(|n| said_of(n, OFFERED_MS).len()).sum();
    let told: usize = stage.calls.iter().map(|call| finals(call).len()).sum();
    assert!(told * 3 < offered, "{told} of {offered} in time: it was no overload");
    (0..CALLS).for_each(|n| stage.hang_up(n));
    let ended = stage.ms;
    while stage.calls.iter().any(|call| !call.session.finished()) {
        stage.step();
        assert!(stage.ms < ended + 3 * OFFERED_MS + 120_000, "not caught up");
    }
    for (n, call) in stage.calls.iter().enumerate() {
        assert_eq!(finals(call), said_of(n, OFFERED_MS), "call {n}: every utterance once, in order");
        let told = delays(call);
        assert!(told.len() >= 4 && told.iter().rev().skip(1).all(|one| one.waiting > 0), "{told:?}");
        assert!(told.windows(2).all(|pair| pair[1].waiting == 0 || pair[1].behind_ms >= 2 * pair[0].behind_ms));
        assert_eq!(told.last(), Some(&TranscriptDelayed { waiting: 0, behind_ms: 0 }), "it says that it has caught up");
        let Some(Data::TranscriptDocument(document)) = call.records.last().map(|event| &event.data) else { panic!() };
        assert!(document.complete && document.turns.len() == said_of(n, OFFERED_MS).len());
        let sequences: Vec<u64> = call.records.iter().filter_map(|event| event.sequence).collect();
        assert_eq!(sequences, (1..=sequences.len() as u64).collect::<Vec<u64>>());
        assert_eq!(erased(call), 0, "settled text was taken back");
    }
    let counts = stage.workers.counters().counts;
    // in the first seconds there was time for partials; then only finals were decoded
    assert!(counts.partials > 0 && counts.partials < 200 && during.partials == counts.partials, "{counts:?}");
    assert!(counts.longest_wait_ms > 60_000 && stage.most_behind.as_millis() > 60_000, "{counts:?}");
    assert!(stage.most_waiting_seconds < 250.0, "{} s of sound at the workers", stage.most_waiting_seconds);
    assert!(stage.most_held as u64 <= 60 * RATE, "{} samples in memory here", stage.most_held);
    assert!(stage.work.jobs.is_empty() && stage.work.live.is_empty() && stage.work.held == 0);
    assert!(stage.workers.pace().get().is_some(), "and there would be partials again");
}

/// Where the utterances of a call begin that end before `until`, in milliseconds.
fn said_of(n: usize, until: u64) -> Vec<u64> {
    let offset = n as u64 * CYCLE_MS / CALLS as u64;
    (0..).map(|number| offset + number * CYCLE_MS).take_while(|start| start + SPEECH_MS <= until).collect()
}

/// Settled characters that a later revision does not have.
fn erased(call: &Call) -> usize {
    let (mut shown, mut erased) = (BTreeMap::new(), 0);
    for event in &call.realtime {
        let Data::TranscriptPartial(partial) = &event.data else { continue };
        let before: String = shown.insert(partial.utterance.clone(), partial.stable.clone()).unwrap_or_default();
        erased += if partial.stable.starts_with(&before) { 0 } else { before.chars().count() };
    }
    erased
}

#[test]
fn of_a_line_that_is_not_recorded_what_has_no_place_in_memory_is_told_as_failed() {
    let settings = Settings { queue_live_seconds: 60, ..Settings::default() };
    let mut stage = Stage::new(&settings, false, OFFERED_MS / 2);
    while stage.ms < OFFERED_MS / 2 + SPEECH_MS {
        stage.step();
    }
    (0..CALLS).for_each(|n| stage.hang_up(n));
    while stage.calls.iter().any(|call| !call.session.finished()) {
        stage.step();
    }
    assert!(stage.most_held <= MOST_HELD);
    let (mut there, mut missing) = (0, 0);
    for call in &stage.calls {
        let Some(Data::TranscriptDocument(document)) = call.records.last().map(|event| &event.data) else { panic!() };
        there += document.turns.iter().filter(|turn| turn.text.is_some()).count();
        missing += document.turns.iter().filter(|turn| turn.text.is_none()).count();
        let n = call.stream.0.as_u128() as usize - 1;
        assert_eq!(document.turns.len(), said_of(n, OFFERED_MS / 2).len(), "each is there or said to be missing");
    }
    assert!(there > 300 && missing > 100, "{there} and {missing}");
}

#[test]
fn what_comes_while_the_utterance_before_is_read_back_from_disk_waits_behind_it() {
    let settings = Settings { queue_live_seconds: 1, ..Settings::default() };
    let workers = Workers::played(&settings, 1);
    let (read_back, requests) = ReadBack::played();
    let mut work = Work::new(Some(workers.clone()), read_back);
    let stream = StreamId(Uuid::from_u128(1));
    let add = |work: &mut Work, number: u32| {
        let (start, end) = (u64::from(number) * 2_000_000, u64::from(number + 1) * 2_000_000);
        let (start, end, pcm) = (MediaTime(start), MediaTime(end), silence(2_000));
        let utterance = Utterance { number, start, end, forced: false, rate: RATE as u32, pcm };
        let (kind, scopes) = (JobKind::LiveFinal, Scopes::default());
        work.add(now(0), ContactId(Uuid::nil()), Task { stream, number, kind, utterance, recorded: true, scopes });
        assert!(work.feed(now(0)).is_empty());
    };
    let take =
        || workers.schedule(|schedule| schedule.take(now(0), &mut Vec::new())).map(|attempt| attempt.job.utterance);
    let read = |work: &mut Work| {
        let Ok(Request::Utterance { id, .. }) = requests.try_recv() else { panic!("nothing is read") };
        work.read_finished();
        assert!(work.sound(id, Some(silence(2_000))).is_none() && work.feed(now(0)).is_empty());
    };
    add(&mut work, 0);
    add(&mut work, 1); // has no place
    assert_eq!(take(), Some(0));
    assert!(work.feed(now(0)).is_empty());
    add(&mut work, 2); // while 1 is read
    read(&mut work);
    for (done, next) in [(0, 1), (1, 2)] {
        assert!(workers.schedule(|schedule| schedule.done(now(0), done)));
        assert_eq!(take(), Some(next), "in the order in which they were said");
        assert!(work.feed(now(0)).is_empty());
        if next == 1 {
            read(&mut work);
        }
    }
}

//! Sessions in virtual time: scripted signals, streams and hypotheses in; events and work out.

use uuid::Uuid;

use super::*;
use crate::call::line::Lines;
use crate::call::pause::{Paused, Refused};
use crate::events::PausedSpan;
use crate::media::{StreamEvent, StreamEventKind, StreamSummary};
use crate::pbx::{EndCause, ExternalKey, Fidelity, KeyKind, LegKey, PbxId, Speaker};
use crate::speech::{Failure, Hypothesis, SpeechEvent, SpeechEventKind};
use crate::time::MediaTime;

mod correcting;
mod handover;
mod held;
mod partial;
mod words;

struct Stage {
    now: Now,
    session: Session,
    records: Vec<Event>,
    realtime: Vec<Event>,
    tasks: Vec<Task>,
    look_ups: Vec<String>,
    catch_ups: Vec<StreamId>,
    mutes: Vec<(StreamId, Wall, bool)>,
    silences: Vec<(StreamId, MediaTime, MediaTime)>,
    handed_over: Vec<(ContactId, Handover)>,
}

fn site() -> Site {
    let directory = "extension,agent,name,department,tier\n2001,op1,山田,窓口,2\n2002,op2,加藤,窓口,2\n";
    Site {
        id: "osaka".into(),
        source: "/site/osaka/node/n1".into(),
        directory: Arc::new(Directory::parse("d", directory).unwrap()),
        dictionary: Arc::new(Dictionary::empty()),
        callers: Arc::default(),
        mask: mask::Policy::default(),
    }
}

fn start() -> Now {
    Now { mono: Mono(0), wall: Wall(1_795_420_800_000_000) }
}

fn leg() -> LegKey {
    LegKey("agent-1".into())
}

impl Stage {
    fn new(number: Option<&str>, line: Line) -> Stage {
        let caller = Identity { number: number.map(str::to_string), ..Identity::default() };
        let first = Signal::CallAppeared {
            caller: caller.clone(),
            called: "6001".into(),
            keys: vec![ExternalKey { kind: KeyKind::Linkedid, value: "1.1".into() }],
            fidelity: Fidelity::Full,
        };
        let call = CallKey { pbx: PbxId("pbx1".into()), key: "1.1".into() };
        let opening = Opening { call, salt: 0, caller: &caller, called: "6001", line, first: &first, before: None };
        let session = Session::open(start(), site(), opening);
        let mut stage = Stage {
            now: start(),
            session,
            records: Vec::new(),
            realtime: Vec::new(),
            tasks: Vec::new(),
            look_ups: Vec::new(),
            catch_ups: Vec::new(),
            mutes: Vec::new(),
            silences: Vec::new(),
            handed_over: Vec::new(),
        };
        stage.drain();
        stage
    }

    fn drain(&mut self) {
        while let Some(output) = self.session.poll() {
            match output {
                Output::Record(event) => self.records.push(event),
                Output::Realtime(event) => self.realtime.push(event),
                Output::Recognize(task) => self.tasks.push(task),
                Output::LookUp(number) => self.look_ups.push(number),
                Output::HandOver { contact, packet } => self.handed_over.push((contact, *packet)),
                Output::CatchUp { stream, .. } => self.catch_ups.push(stream),
                Output::Mute { stream, at } => self.mutes.push((stream, at, true)),
                Output::Unmute { stream, at } => self.mutes.push((stream, at, false)),
                Output::Silence { stream, from, to } => self.silences.push((stream, from, to)),
                Output::Save => {}
            }
        }
    }

    fn after(&mut self, millis: u64) -> &mut Stage {
        self.now = self.now.plus(Duration::from_millis(millis));
        if self.session.due().is_some_and(|due| due <= self.now.mono) {
            self.session.handle_timeout(self.now);
            self.drain();
        }
        self
    }

    fn signal(&mut self, signal: Signal) -> &mut Stage {
        self.session.handle_signal(self.now, &signal);
        self.drain();
        self
    }

    fn ring(&mut self) -> &mut Stage {
        let appeared = Signal::LegAppeared { leg: leg(), address: "2001".into(), queue: Some("madoguchi".into()) };
        self.signal(appeared).signal(Signal::LegRinging(leg()))
    }

    fn stream(&mut self, id: StreamId, speaker: Speaker) -> &mut Stage {
        let origin = self.now;
        self.signal(Signal::StreamAdded { leg: leg(), stream: id, speaker });
        self.stream_event(id, StreamEventKind::First { origin, rate: 8_000 })
    }

    fn stream_event(&mut self, stream: StreamId, kind: StreamEventKind) -> &mut Stage {
        self.session.handle_stream(&StreamEvent { stream, at: self.now, kind });
        self.drain();
        self
    }

    fn close(&mut self, stream: StreamId, seconds: u64) -> &mut Stage {
        let summary = StreamSummary { samples: seconds * 8_000, rate: 8_000, ..StreamSummary::default() };
        self.stream_event(stream, StreamEventKind::Closed(summary))
    }

    fn speaks(&mut self, stream: StreamId, number: u32, from_ms: u64, to_ms: u64) -> &mut Stage {
        let utterance = Utterance {
            number,
            start: MediaTime(from_ms * 1_000),
            end: MediaTime(to_ms * 1_000),
            forced: false,
            rate: 8_000,
            pcm: Arc::from(vec![0i16; 8]),
        };
        let event = SpeechEvent { stream, at: self.now, kind: SpeechEventKind::Ended(utterance) };
        self.session.handle_speech(event, false);
        self.drain();
        self
    }

    fn heard(&mut self, stream: StreamId, number: u32, text: &str) -> &mut Stage {
        let hypothesis = Hypothesis { text: text.into(), confidence: 0.9, model: "m".into(), ..Hypothesis::default() };
        self.session.handle_outcome(self.now, stream, number, Ok(hypothesis));
        self.drain();
        self
    }

    fn silence_done(&mut self) -> &mut Stage {
        for (stream, from, to) in std::mem::take(&mut self.silences) {
            self.stream_event(stream, StreamEventKind::Silenced { from, to, done: true });
        }
        self
    }

    fn types(&self) -> Vec<&'static str> {
        self.records.iter().map(|event| event.type_name()).collect()
    }
}

fn id(n: u128) -> StreamId {
    StreamId(Uuid::from_u128(n))
}

fn open_line() -> Line {
    Lines::default().policy("6001")
}

#[test]
fn a_call_from_ring_to_document() {
    let mut stage = Stage::new(Some("0600001234"), open_line());
    assert_eq!(stage.look_ups, ["+81600001234"]);
    stage.signal(Signal::Queued { queue: "madoguchi".into() }).ring();
    stage.after(2_000).signal(Signal::LegAnswered(leg()));
    stage.stream(id(1), Speaker::Caller).stream(id(2), Speaker::Agent);
    stage.after(5_000).speaks(id(2), 0, 500, 3_000).speaks(id(1), 0, 3_500, 4_500);
    stage.heard(id(2), 0, "はい、窓口です。").heard(id(1), 0, "お願いします。");
    stage.after(5_000).signal(Signal::CallEnded(EndCause::Normal)).close(id(1), 10).close(id(2), 10);
    let names: Vec<&str> =
        stage.types().iter().map(|name| name.trim_start_matches("kakehashi.").trim_end_matches(".v1")).collect();
    assert_eq!(
        names,
        [
            "call.queued",
            "call.offered",
            "call.ringing",
            "call.answered",
            "transcript.final",
            "transcript.final",
            "call.ended",
            "call.ended",
            "recording.available",
            "transcript.document",
        ]
    );
    let sequences: Vec<u64> = stage.records.iter().filter_map(|event| event.sequence).collect();
    assert_eq!(sequences, (1..=10).collect::<Vec<u64>>());
    assert!(stage.session.finished());
    let Data::TranscriptDocument(document) = &stage.records[9].data else { panic!() };
    assert!(document.complete);
    assert_eq!(document.turns.iter().map(|turn| turn.speaker).collect::<Vec<_>>(), [Speaker::Agent, Speaker::Caller]);
    for leg in &document.coverage {
        let c = &leg.coverage;
        let sum = c.transcribed + c.silent + c.lost + c.paused + c.excluded + c.unobserved + c.pending + c.failed;
        assert_eq!((c.duration, sum), (10_000, 10_000), "{leg:?}");
    }
    assert_eq!(document.coverage[0].coverage.transcribed, 1_000);
    assert_eq!(document.coverage[1].coverage.transcribed, 2_500);
}

#[test]
fn the_pop_comes_at_ring_and_again_when_look_up_answers() {
    let mut stage = Stage::new(Some("0600001234"), open_line());
    stage.ring();
    let Data::ScreenPop(first) = &stage.realtime[0].data else { panic!() };
    assert_eq!((first.revision, first.lookup, first.agent.id.as_deref()), (0, LookUp::Pending, Some("op1")));
    let popid = first.popid;
    let who = Match { id: "C1".into(), name: "橋本".into(), ..Match::default() };
    let now = stage.now;
    stage.session.handle_look_up(now, "+81600001234", Some(vec![who]));
    stage.drain();
    let Data::ScreenPop(second) = &stage.realtime[1].data else { panic!() };
    assert_eq!((second.popid, second.revision, second.matches.len()), (popid, 1, 1));
    stage.session.handle_look_up(now, "+81699999999", Some(Vec::new()));
    stage.drain();
    assert_eq!(stage.realtime.len(), 2, "an answer to another question changes nothing");
}

#[test]
fn a_withheld_number_is_not_looked_up() {
    let mut stage = Stage::new(None, open_line());
    stage.ring();
    let Data::ScreenPop(pop) = &stage.realtime[0].data else { panic!() };
    assert_eq!(pop.lookup, LookUp::Skipped);
    assert!(stage.look_ups.is_empty());
}

#[test]
fn one_pop_per_telephone_withdrawn_when_another_answers() {
    let mut stage = Stage::new(Some("0600001234"), open_line());
    let second = LegKey("agent-2".into());
    stage.ring().signal(Signal::LegAppeared { leg: second.clone(), address: "2002".into(), queue: None });
    stage.signal(Signal::LegRinging(second.clone())).signal(Signal::LegRinging(second.clone()));
    assert_eq!(stage.realtime.len(), 2);
    stage.signal(Signal::LegAnswered(second)).signal(Signal::LegEnded(leg(), EndCause::AnsweredElsewhere));
    let Data::ScreenPopWithdrawn(gone) = &stage.realtime[2].data else { panic!() };
    assert_eq!(gone.agent.id.as_deref(), Some("op1"));
    assert_eq!(gone.reason, crate::events::WithdrawReason::AnsweredElsewhere);
}

#[test]
fn an_abandoned_call_has_no_document_and_ends() {
    let mut stage = Stage::new(Some("0600001234"), open_line());
    stage.ring().after(3_000).signal(Signal::CallEnded(EndCause::Normal));
    let types = stage.types();
    assert!(types.contains(&"kakehashi.call.abandoned.v1"));
    assert!(!types.iter().any(|name| name.contains("document")));
    assert!(stage.session.finished());
}

#[test]
fn missing_text_delays_the_document_and_then_a_revision_completes_it() {
    let mut stage = Stage::new(None, open_line());
    stage.ring().signal(Signal::LegAnswered(leg())).stream(id(1), Speaker::Caller);
    stage.after(4_000).speaks(id(1), 0, 100, 2_000);
    stage.after(16_000);
    assert!(stage.types().contains(&"kakehashi.transcript.delayed.v1"));
    stage.signal(Signal::CallEnded(EndCause::Normal)).close(id(1), 20);
    assert!(!stage.types().contains(&"kakehashi.transcript.document.v1"));
    stage.after(61_000);
    let Data::TranscriptDocument(first) = &stage.records.last().unwrap().data else { panic!() };
    assert_eq!((first.revision, first.complete, first.turns[0].text.as_deref()), (1, false, None));
    assert_eq!(first.coverage[0].coverage.pending, 1_900);
    stage.heard(id(1), 0, "はい");
    let Data::TranscriptDocument(second) = &stage.records.last().unwrap().data else { panic!() };
    assert_eq!((second.revision, second.complete, second.turns[0].text.as_deref()), (2, true, Some("はい")));
    assert!(stage.session.finished());
}

#[test]
fn a_failed_utterance_is_marked_and_nothing_waits_for_it() {
    let mut stage = Stage::new(None, open_line());
    stage.ring().signal(Signal::LegAnswered(leg())).stream(id(1), Speaker::Caller);
    stage.after(4_000).speaks(id(1), 0, 100, 2_000);
    let now = stage.now;
    stage.session.handle_outcome(now, id(1), 0, Err(Failure::Failed("x".into())));
    stage.signal(Signal::CallEnded(EndCause::Normal)).close(id(1), 4);
    let Data::TranscriptDocument(document) = &stage.records.last().unwrap().data else { panic!() };
    assert!(!document.complete);
    assert_eq!(document.coverage[0].coverage.failed, 1_900);
}

#[test]
fn after_a_restart_open_legs_end_and_the_sound_is_read_back() {
    let mut stage = Stage::new(None, open_line());
    stage.ring().signal(Signal::LegAnswered(leg())).stream(id(1), Speaker::Caller);
    stage.after(4_000).speaks(id(1), 0, 100, 2_000).heard(id(1), 0, "はい");
    let (state, events) = (stage.session.state(), stage.records.clone());
    let heard_until = stage.now.wall;
    let later = stage.now.plus(Duration::from_secs(3_600));
    let session = Session::resume(later, site(), &state, &events, Some(heard_until)).unwrap();
    stage.session = session;
    stage.now = later;
    stage.records.clear();
    stage.drain();
    assert_eq!(stage.catch_ups, [id(1)]);
    let Data::CallEnded(ended) = &stage.records[0].data else { panic!() };
    assert_eq!(ended.reason, EndReason::BridgeRestart);
    assert_eq!(stage.records[0].sequence, Some(events.len() as u64 + 1));
    stage.close(id(1), 4);
    let Data::TranscriptDocument(document) = &stage.records.last().unwrap().data else { panic!() };
    assert_eq!(document.turns.len(), 1);
    assert_eq!(document.coverage[0].coverage.duration, 4_000);
    assert_eq!(document.coverage[0].coverage.transcribed, 1_900);
}

#[test]
fn a_line_that_may_not_be_transcribed_is_excluded_in_the_ledger() {
    let mut stage = Stage::new(None, Line { transcribe: false, record: false, ..open_line() });
    stage.ring().signal(Signal::LegAnswered(leg())).after(7_000).signal(Signal::CallEnded(EndCause::Normal));
    let Data::TranscriptDocument(document) = &stage.records.last().unwrap().data else { panic!() };
    assert_eq!(document.coverage[0].coverage.excluded, 7_000);
    assert_eq!(document.coverage[0].coverage.duration, 7_000);
}

#[test]
fn the_record_says_why_somebody_was_not_heard() {
    let mut stage = Stage::new(None, open_line());
    let reason = "the sound is encrypted (SRTP)".to_string();
    stage.ring().signal(Signal::LegAnswered(leg()));
    stage.signal(Signal::StreamFailed { leg: leg(), speaker: Speaker::Agent, reason: reason.clone() });
    stage.after(7_000).signal(Signal::CallEnded(EndCause::Normal));
    let Data::TranscriptDocument(document) = &stage.records.last().unwrap().data else { panic!() };
    let told: Vec<_> =
        document.coverage.iter().map(|one| (one.speaker, one.coverage.unobserved, one.unheard.clone())).collect();
    assert_eq!(told, [(Speaker::Caller, 7_000, None), (Speaker::Agent, 7_000, Some(reason))]);
}

fn stream_began(stage: &Stage) -> Wall {
    stage.records.iter().find(|event| event.type_name() == "kakehashi.call.answered.v1").unwrap().time
}

fn talking() -> Stage {
    let mut stage = Stage::new(None, open_line());
    stage.ring().signal(Signal::LegAnswered(leg())).stream(id(1), Speaker::Caller).stream(id(2), Speaker::Agent);
    stage
}

impl Stage {
    fn pause(&mut self, scope: Scope) -> Paused {
        let now = self.now;
        let paused = self.session.pause(now, scope, Cause::Asked, Some(" カード番号 ")).unwrap();
        self.drain();
        paused
    }

    fn unpause(&mut self, scope: Scope) -> Paused {
        let now = self.now;
        let paused = self.session.unpause(now, scope, Cause::Asked, None).unwrap();
        self.drain();
        paused
    }

    fn document(&self) -> &crate::events::TranscriptDocument {
        match &self.records.last().unwrap().data {
            Data::TranscriptDocument(document) => document,
            other => panic!("{}", other.type_name()),
        }
    }
}

#[test]
fn a_paused_span_has_no_text_and_is_in_the_ledger_to_the_millisecond() {
    let mut stage = talking();
    stage.after(3_000).speaks(id(1), 0, 500, 2_000).heard(id(1), 0, "番号を申し上げます。");
    assert_eq!(stage.pause(Scope::Both), Paused { record: true, transcribe: true });
    let began = stage.now.wall;
    assert_eq!(stage.pause(Scope::Both), Paused { record: true, transcribe: true });
    stage.after(4_000).speaks(id(1), 1, 3_500, 6_500);
    assert_eq!(stage.tasks.len(), 1, "what was said in the pause goes to no recogniser");
    stage.unpause(Scope::Both);
    assert_eq!(stage.unpause(Scope::Both), Paused::default());
    stage.after(3_000).speaks(id(1), 2, 8_000, 9_500).heard(id(1), 2, "以上です。");
    stage.signal(Signal::CallEnded(EndCause::Normal)).close(id(1), 10).close(id(2), 10);
    let names = stage.types();
    let count = |name: &str| names.iter().filter(|own| own.contains(name)).count();
    assert_eq!((count("recording.paused"), count("recording.resumed")), (1, 1), "twice is once");
    let end = began + Duration::from_millis(4_000);
    let mutes = [(id(1), began, true), (id(2), began, true), (id(1), end, false), (id(2), end, false)];
    assert_eq!(stage.mutes, mutes);
    let document = stage.document();
    assert_eq!(document.pauses, [PausedSpan { scope: Scope::Both, from: began, to: end }]);
    assert_eq!(document.turns.len(), 2);
    for leg in &document.coverage {
        let c = &leg.coverage;
        let sum = c.transcribed + c.silent + c.lost + c.paused + c.excluded + c.unobserved + c.pending + c.failed;
        assert_eq!((c.duration, sum, c.paused), (10_000, 10_000, 4_000), "{leg:?}");
    }
    let event = stage.records.iter().find(|event| event.type_name() == "kakehashi.recording.paused.v1").unwrap();
    let Data::RecordingPaused(paused) = &event.data else { panic!() };
    assert_eq!((event.time, paused.reason.as_deref()), (began, Some("カード番号")));
    assert_eq!((paused.cause, paused.record_paused, paused.transcribe_paused), (Cause::Asked, true, true));
}

#[test]
fn an_utterance_across_a_pause_is_cut_where_it_began() {
    let mut stage = talking();
    let loud = |number, from: u64, to: u64| Utterance {
        number,
        start: MediaTime(from * 1_000),
        end: MediaTime(to * 1_000),
        forced: false,
        rate: 8_000,
        pcm: Arc::from(vec![9i16; ((to - from) * 8) as usize]),
    };
    stage.after(2_000).pause(Scope::Transcribe);
    stage.after(2_000).unpause(Scope::Transcribe);
    stage.after(6_000);
    let hear = |stage: &mut Stage, utterance| {
        let event = SpeechEvent { stream: id(1), at: stage.now, kind: SpeechEventKind::Ended(utterance) };
        stage.session.handle_speech(event, false);
        stage.drain();
        stage.tasks.last().unwrap().clone()
    };
    let before = hear(&mut stage, loud(0, 1_000, 3_000));
    assert_eq!((before.utterance.start, before.utterance.end), (MediaTime(1_000_000), MediaTime(2_000_000)));
    assert!(before.utterance.pcm.iter().all(|sample| *sample == 9) && before.utterance.pcm.len() == 8_000);
    assert!(!before.recorded, "the disk has more of it than may be recognised");
    let after = hear(&mut stage, loud(1, 3_000, 5_000));
    assert_eq!((after.utterance.start.0 / 1_000, after.utterance.end), (4_000, MediaTime(5_000_000)));
    let across = hear(&mut stage, loud(2, 1_500, 4_500));
    let silent = across.utterance.pcm.iter().filter(|sample| **sample == 0).count();
    assert_eq!((across.utterance.pcm.len(), silent / 8), (24_000, 2_000));
    let whole = hear(&mut stage, loud(3, 6_000, 7_000));
    assert!(whole.recorded && whole.utterance.pcm.len() == 8_000);
    assert_eq!(stage.mutes, [], "the sound is kept: only the text was paused");
}

#[test]
fn a_stream_that_begins_in_a_pause_is_not_written_either() {
    let mut stage = Stage::new(None, open_line());
    stage.ring().signal(Signal::LegAnswered(leg())).after(1_000).pause(Scope::Record);
    let began = stage.now.wall;
    stage.after(500).stream(id(1), Speaker::Caller);
    assert_eq!(stage.mutes, [(id(1), began, true)]);
    stage.after(2_000).speaks(id(1), 0, 100, 1_900);
    assert!(!stage.tasks[0].recorded, "its sound waits in memory: on disk is silence");
    stage.heard(id(1), 0, "はい").signal(Signal::CallEnded(EndCause::Normal)).close(id(1), 2);
    assert_eq!(stage.document().coverage[0].coverage.transcribed, 1_800, "the text goes on");
    assert_eq!(stage.document().pauses[0].scope, Scope::Record);
}

#[test]
fn the_pause_of_the_exchange_and_of_the_operator_do_not_end_each_other() {
    let mut stage = talking();
    stage.after(1_000).signal(Signal::KeepNothing(leg()));
    stage.after(1_000).pause(Scope::Both);
    stage.after(1_000).signal(Signal::KeepAgain(leg()));
    assert!(!stage.types().contains(&"kakehashi.recording.resumed.v1"));
    stage.after(1_000);
    assert_eq!(stage.unpause(Scope::Both), Paused::default());
    stage.after(1_000).signal(Signal::CallEnded(EndCause::Normal)).close(id(1), 5).close(id(2), 5);
    assert_eq!(stage.document().coverage[0].coverage.paused, 3_000);
    let now = stage.now;
    assert_eq!(stage.session.pause(now, Scope::Both, Cause::Asked, None), Err(Refused::Ended));
}

#[test]
fn a_pause_survives_a_kill_and_goes_on_in_the_contact_after_it() {
    let mut stage = talking();
    stage.after(1_000).speaks(id(1), 0, 100, 900).heard(id(1), 0, "はい");
    stage.after(1_000).pause(Scope::Both);
    stage.after(2_000);
    let (state, events) = (stage.session.state(), stage.records.clone());
    let open = State::parse(&state).unwrap().cut_off().unwrap();
    let later = stage.now.plus(Duration::from_secs(5));
    let until = stream_began(&stage) + Duration::from_secs(4);
    let mut before = Session::resume(later, site(), &state, &events, Some(until)).unwrap();
    // what was said in the pause and is on disk (transcription alone was paused, or the pause came too late for the disk)
    let pcm: Arc<[i16]> = Arc::from(vec![9i16; 8_000]);
    let (start, end) = (MediaTime(2_500_000), MediaTime(3_500_000));
    let utterance = Utterance { number: 1, start, end, forced: false, rate: 8_000, pcm };
    before.handle_speech(SpeechEvent { stream: id(1), at: later, kind: SpeechEventKind::Ended(utterance) }, true);
    assert!(!std::iter::from_fn(|| before.poll()).any(|output| matches!(output, Output::Recognize(_))));
    assert!(State::parse(&before.state()).unwrap().cut_off().is_some(), "and again, after another kill");

    let first = Signal::CallAppeared {
        caller: Identity::default(),
        called: "6001".into(),
        keys: Vec::new(),
        fidelity: Fidelity::Full,
    };
    let call = CallKey { pbx: PbxId("pbx1".into()), key: "1.1".into() };
    let caller = Identity::default();
    let before = Some(open);
    let opening = Opening { call, salt: 7, caller: &caller, called: "6001", line: open_line(), first: &first, before };
    stage.session = Session::open(later, site(), opening);
    stage.now = later;
    stage.records.clear();
    stage.drain();
    let Data::RecordingPaused(told) = &stage.records[0].data else { panic!("{:?}", stage.types()) };
    assert_eq!((told.reason.as_deref(), told.record_paused), (Some("bridge_restart"), true));
    stage.mutes.clear();
    stage.ring().signal(Signal::LegAnswered(leg())).stream(id(3), Speaker::Caller);
    assert_eq!(stage.mutes, [(id(3), later.wall, true)]);
    stage.after(2_000).unpause(Scope::Both);
    stage.after(1_000).signal(Signal::CallEnded(EndCause::Normal)).close(id(3), 3);
    assert_eq!(stage.document().coverage[0].coverage.paused, 2_000);
}

#[test]
fn a_line_that_is_recorded_only_shows_its_pauses_and_excludes_the_rest() {
    let mut stage = Stage::new(None, Line { transcribe: false, ..open_line() });
    stage.ring().signal(Signal::LegAnswered(leg())).stream(id(1), Speaker::Caller);
    stage.after(1_000).pause(Scope::Both);
    stage.after(2_000).unpause(Scope::Both);
    stage.after(1_000).signal(Signal::CallEnded(EndCause::Normal)).close(id(1), 4);
    let coverage = &stage.document().coverage[0].coverage;
    assert_eq!((coverage.duration, coverage.paused, coverage.excluded), (4_000, 2_000, 2_000));
}

#[test]
fn what_is_sent_of_a_line_that_sends_no_texts_has_no_gap() {
    let mut stage = Stage::new(None, Line { deliver: false, ..open_line() });
    stage.ring().signal(Signal::LegAnswered(leg())).stream(id(1), Speaker::Caller);
    stage.after(3_000).speaks(id(1), 0, 100, 1_000).heard(id(1), 0, "はい");
    stage.after(1_000).signal(Signal::LegHeld(leg())).signal(Signal::LegResumed(leg()));
    let (state, events) = (stage.session.state(), stage.records.clone());
    let later = stage.now.plus(Duration::from_secs(60));
    stage.session = Session::resume(later, site(), &state, &events, None).unwrap();
    stage.now = later;
    stage.drain();
    stage.close(id(1), 4);
    assert!(stage.session.finished());
    let (texts, sent): (Vec<&Event>, Vec<&Event>) = stage.records.iter().partition(|e| e.data.carries_text());
    assert_eq!((texts.len(), texts.iter().filter_map(|event| event.sequence).count()), (2, 0));
    let sequences: Vec<u64> = sent.iter().filter_map(|event| event.sequence).collect();
    assert_eq!(sequences, (1..=sent.len() as u64).collect::<Vec<u64>>());
    let ids: std::collections::HashSet<Uuid> = stage.records.iter().map(|event| event.id).collect();
    assert_eq!(ids.len(), stage.records.len(), "no id is there twice");
}

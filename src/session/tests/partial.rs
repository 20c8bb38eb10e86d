//! The text of running utterances, hang-ups in mid-word and text that is late, in virtual time.

use super::*;
use crate::events::{Class, TranscriptDelayed, TranscriptPartial};

impl Stage {
    /// So much of utterance `number` was said until now.
    fn goes_on(&mut self, stream: StreamId, number: u32, from_ms: u64, to_ms: u64) -> &mut Stage {
        let utterance =
            Utterance { pcm: Arc::from(vec![0i16; ((to_ms - from_ms) * 8) as usize]), ..said(number, from_ms, to_ms) };
        let event = SpeechEvent { stream, at: self.now, kind: SpeechEventKind::Running(utterance) };
        self.session.handle_speech(event, false);
        self.drain();
        self
    }

    fn read(&mut self, stream: StreamId, number: u32, to_ms: u64, text: &str) -> &mut Stage {
        let hypothesis = Hypothesis { text: text.into(), ..Hypothesis::default() };
        self.session.handle_partial(self.now, stream, number, MediaTime(to_ms * 1_000), &hypothesis);
        self.drain();
        self
    }

    fn partials(&self) -> Vec<&TranscriptPartial> {
        self.realtime.iter().filter_map(of).collect()
    }

    fn delays(&self) -> Vec<TranscriptDelayed> {
        let delay = |event: &Event| match &event.data {
            Data::TranscriptDelayed(delay) => Some(delay.clone()),
            _ => None,
        };
        self.records.iter().filter_map(delay).collect()
    }

    fn finals(&self) -> Vec<(String, String)> {
        let text = |event: &Event| match &event.data {
            Data::TranscriptFinal(text) => Some((text.utterance.clone(), text.text.clone())),
            _ => None,
        };
        self.records.iter().filter_map(text).collect()
    }
}

fn of(event: &Event) -> Option<&TranscriptPartial> {
    match &event.data {
        Data::TranscriptPartial(partial) => Some(partial),
        _ => None,
    }
}

fn said(number: u32, from_ms: u64, to_ms: u64) -> Utterance {
    Utterance {
        number,
        start: MediaTime(from_ms * 1_000),
        end: MediaTime(to_ms * 1_000),
        forced: false,
        rate: 8_000,
        pcm: Arc::from(vec![0i16; 8]),
    }
}

fn in_call() -> Stage {
    let mut stage = Stage::new(None, open_line());
    stage.ring().signal(Signal::LegAnswered(leg())).stream(id(1), Speaker::Caller).stream(id(2), Speaker::Agent);
    stage
}

#[test]
fn a_running_utterance_is_shown_as_it_grows_and_its_final_takes_its_place() {
    let mut stage = in_call();
    stage.after(1_500).goes_on(id(1), 0, 400, 1_400).read(id(1), 0, 1_400, "転入届");
    stage.after(600).goes_on(id(1), 0, 400, 2_000).read(id(1), 0, 2_000, "転入届の件");
    stage.after(600).goes_on(id(1), 0, 400, 2_600).read(id(1), 0, 2_600, "転入届の件でおたずね");
    let kinds: Vec<JobKind> = stage.tasks.iter().map(|task| task.kind).collect();
    assert_eq!(kinds, [JobKind::FirstPartial, JobKind::Refresh, JobKind::Refresh]);
    let shown: Vec<(u32, &str, &str)> =
        stage.partials().iter().map(|one| (one.revision, one.stable.as_str(), one.tail.as_str())).collect();
    assert_eq!(shown, [(1, "", "転入届"), (2, "転入届", "の件"), (3, "転入届の件", "でおたずね")]);
    let event = &stage.realtime[0];
    assert_eq!((event.data.class(), event.sequence), (Class::Realtime, None), "never a record");
    assert!(event.expires.unwrap() > event.time);
    assert!(Event::from_json(&event.to_json()).unwrap() == *event);
    stage.after(900).speaks(id(1), 0, 400, 2_700).heard(id(1), 0, "転入届の件でお尋ねします。");
    let (utterance, _) = &stage.finals()[0];
    assert!(stage.partials().iter().all(|one| one.utterance == *utterance), "the same name");
    // what was decoded at the same time comes too late
    stage.read(id(1), 0, 2_700, "転入届の件でお尋ねします").goes_on(id(1), 0, 400, 2_700);
    assert_eq!((stage.partials().len(), stage.tasks.len()), (3, 4), "nothing comes after the final");
}

#[test]
fn what_comes_out_of_order_or_twice_is_not_shown_again() {
    let mut stage = in_call();
    stage.after(3_000).goes_on(id(1), 0, 0, 1_000).goes_on(id(1), 0, 0, 2_000);
    stage.read(id(1), 0, 2_000, "はい、そうです").read(id(1), 0, 1_000, "はい").read(id(1), 0, 2_000, "はい");
    stage.read(id(1), 0, 2_600, "はい、そうです");
    let shown: Vec<&str> = stage.partials().iter().map(|one| one.tail.as_str()).collect();
    assert_eq!(shown, ["はい、そうです", "す"], "{:?}", stage.partials());
    stage.read(id(1), 9, 5_000, "だれ").read(id(7), 0, 5_000, "だれ");
    assert_eq!(stage.partials().len(), 2, "of nothing that runs");
}

#[test]
fn text_that_turned_out_to_be_none_is_taken_away() {
    for failed in [false, true] {
        let mut stage = in_call();
        stage.after(2_000).goes_on(id(1), 0, 0, 1_500).read(id(1), 0, 1_500, "あの").speaks(id(1), 0, 0, 1_600);
        if failed {
            let now = stage.now;
            stage.session.handle_outcome(now, id(1), 0, Err(Failure::Failed("x".into())));
            stage.drain();
        } else {
            stage.heard(id(1), 0, "");
        }
        let last = *stage.partials().last().unwrap();
        assert_eq!((last.revision, last.stable.as_str(), last.tail.as_str(), last.withdrawn), (2, "", "", true));
        assert!(stage.finals().is_empty());
        stage.read(id(1), 0, 1_600, "あの");
        assert_eq!(stage.partials().len(), 2);
    }
    let mut stage = in_call();
    stage.after(2_000).goes_on(id(1), 0, 0, 1_500).read(id(1), 0, 1_500, "あの").close(id(1), 2);
    assert!(stage.partials().last().unwrap().withdrawn, "the stream ended without an utterance");
}

#[test]
fn while_transcription_is_paused_nothing_is_read() {
    let mut stage = in_call();
    stage.after(2_000);
    let now = stage.now;
    stage.session.pause(now, Scope::Transcribe, Cause::Asked, None).unwrap();
    stage.drain();
    stage.after(500).goes_on(id(1), 0, 1_000, 2_500);
    assert!(stage.tasks.is_empty());
}

#[test]
fn numbers_are_masked_in_what_is_shown_and_held_back_while_they_go_on() {
    let mut stage = in_call();
    let whole: Vec<char> = "個人番号は123456789018です。よろしいですか".chars().collect();
    stage.after(20_000);
    for n in 1..=whole.len() {
        let (text, to_ms): (String, u64) = (whole.iter().take(n).collect(), n as u64 * 400);
        stage.goes_on(id(1), 0, 0, to_ms).read(id(1), 0, to_ms, &text);
    }
    let shown: Vec<String> = stage.realtime.iter().map(Event::to_json).collect();
    let digits = |one: &&TranscriptPartial| (one.stable.clone() + &one.tail).chars().any(|sign| sign.is_ascii_digit());
    assert_eq!(stage.partials().into_iter().filter(digits).count(), 0);
    assert!(shown.iter().all(|json| !json.contains("1234")) && shown.last().unwrap().contains("************です"));
}

#[test]
fn the_last_words_before_a_hang_up_are_in_the_document() {
    for cut_ms in (0..100).map(|n| 900 + n * 37) {
        let mut stage = in_call();
        stage.after(1_000).speaks(id(2), 0, 0, 800).heard(id(2), 0, "窓口です。");
        for to_ms in (700..cut_ms).step_by(600) {
            stage.goes_on(id(1), 0, 0, to_ms).read(id(1), 0, to_ms, "ありがとうございま");
        }
        // the caller hangs up in the middle of a word; the exchange tells it before, or after, the media are closed
        let cut = |stage: &mut Stage| {
            stage.speaks(id(1), 0, 0, cut_ms).close(id(1), 5).close(id(2), 5);
        };
        if cut_ms % 2 == 0 {
            stage.signal(Signal::CallEnded(EndCause::Normal));
            cut(&mut stage);
        } else {
            cut(&mut stage);
            stage.signal(Signal::CallEnded(EndCause::Normal));
        }
        assert!(!stage.types().contains(&"kakehashi.transcript.document.v1"), "the document waits for it");
        stage.read(id(1), 0, cut_ms, "ありがとうございまし").after(3_000).heard(id(1), 0, "ありがとうございまし");
        let Data::TranscriptDocument(document) = &stage.records.last().unwrap().data else { panic!() };
        assert_eq!(document.turns.last().unwrap().text.as_deref(), Some("ありがとうございまし"));
        assert!(document.complete && stage.session.finished());
        assert_eq!(document.coverage[0].coverage.transcribed, cut_ms.min(document.coverage[0].coverage.duration));
    }
}

#[test]
fn text_that_is_late_is_told_again_when_it_is_much_later_and_when_it_has_caught_up() {
    let mut stage = in_call();
    stage.after(2_000);
    for number in 0..3 {
        stage.speaks(id(1), number, u64::from(number) * 500, u64::from(number) * 500 + 400);
    }
    for _ in 0..130 {
        stage.after(1_000);
    }
    let told: Vec<(u32, u64)> = stage.delays().iter().map(|one| (one.waiting, one.behind_ms)).collect();
    assert_eq!(told, [(3, 15_000), (3, 30_000), (3, 60_000), (3, 120_000)]);
    stage.heard(id(1), 0, "一").heard(id(1), 1, "二");
    assert_eq!(stage.delays().len(), 4, "one still waits");
    stage.heard(id(1), 2, "三");
    assert_eq!(stage.delays().last().unwrap(), &TranscriptDelayed { waiting: 0, behind_ms: 0 });
    stage.after(30_000).speaks(id(1), 3, 9_000, 9_500).after(14_000).heard(id(1), 3, "四");
    assert_eq!(stage.delays().len(), 5, "it is late no more");
    stage.speaks(id(1), 4, 9_600, 9_900).after(15_000);
    assert_eq!(stage.delays().last().unwrap().behind_ms, 15_000, "and is told when it is again");
}

//! Numbers over several utterances: what is held, until when, in which order, and what becomes of the sound.

use super::*;
use crate::call::secret::{Class, Classes, Masking};
use crate::speech::SpeechEventKind;

const CALLER: u128 = 1;
const AGENT: u128 = 2;

/// A call that both hear, at second 0 of their streams.
fn talking() -> Stage {
    talking_on(open_line())
}

fn talking_on(line: Line) -> Stage {
    let mut stage = Stage::new(None, line);
    stage.ring().signal(Signal::LegAnswered(leg()));
    stage.stream(id(CALLER), Speaker::Caller).stream(id(AGENT), Speaker::Agent);
    stage.records.clear();
    stage
}

impl Stage {
    /// Somebody says something that takes a second; its text comes half a second later.
    fn says(&mut self, stream: u128, number: u32, text: &str) -> &mut Stage {
        let from = self.position();
        self.after(1_000).speaks(id(stream), number, from, from + 1_000).after(500).heard(id(stream), number, text)
    }

    fn position(&self) -> u64 {
        let since = self.now.wall.since(start().wall);
        u64::try_from(since.as_millis()).unwrap()
    }

    fn texts(&self) -> Vec<&str> {
        let text = |event: &'_ Event| match &event.data {
            Data::TranscriptFinal(text) => Some(text.text.clone()),
            _ => None,
        };
        self.records.iter().filter_map(text).map(|text| &*Box::leak(text.into_boxed_str())).collect()
    }

    fn hang_up(&mut self) -> &mut Stage {
        let seconds = self.position() / 1_000;
        self.signal(Signal::CallEnded(EndCause::Normal)).close(id(CALLER), seconds).close(id(AGENT), seconds)
    }
}

#[test]
fn a_text_without_digits_is_told_at_once() {
    let mut stage = talking();
    stage.says(CALLER, 0, "一緒に三国へ行きます").says(AGENT, 0, "5人ですね");
    assert_eq!(stage.texts(), ["一緒に三国へ行きます", "5人ですね"]);
}

#[test]
fn a_number_over_several_turns_is_masked_in_all_of_them_and_in_the_sound() {
    let mut stage = talking();
    stage.says(CALLER, 0, "番号は1234").says(AGENT, 0, "はい").says(CALLER, 1, "5678").says(AGENT, 1, "はい、5678");
    assert_eq!(stage.texts(), ["はい"], "what has digits waits");
    stage.says(CALLER, 2, "9018です");
    assert_eq!(stage.texts(), ["はい"], "the agent may go on");
    stage.says(AGENT, 2, "9018ですね、確認します");
    let wanted = ["はい", "番号は****", "****", "はい、****", "****です", "****ですね、確認します"];
    assert_eq!(stage.texts(), wanted);
    let streams: Vec<StreamId> = stage.silences.iter().map(|(stream, _, _)| *stream).collect();
    assert_eq!(streams, [id(CALLER), id(CALLER), id(AGENT), id(CALLER), id(AGENT)]);
    let (_, from, to) = stage.silences[1];
    assert_eq!((from, to), (MediaTime(2_700_000), MediaTime(4_300_000)), "the whole utterance and 300 ms around it");
}

#[test]
fn the_texts_of_one_stream_keep_their_order() {
    let mut stage = talking();
    stage.says(CALLER, 0, "1234").says(CALLER, 1, "はい").says(CALLER, 2, "えーと");
    assert!(stage.texts().is_empty(), "fillers end no number");
    stage.says(AGENT, 0, "ゆっくりで結構です");
    assert_eq!(stage.texts(), ["ゆっくりで結構です"], "another stream does not wait");
    stage.says(CALLER, 3, "やっぱり分かりません");
    assert_eq!(stage.texts()[1..], ["1234", "はい", "えーと", "やっぱり分かりません"]);
    let sequences: Vec<u64> = stage.records.iter().filter_map(|event| event.sequence).collect();
    assert!(sequences.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{sequences:?}");
}

#[test]
fn digits_wait_fifteen_seconds_for_more() {
    let mut stage = talking();
    stage.says(CALLER, 0, "受付の1234").after(14_900);
    assert!(stage.texts().is_empty());
    assert!(stage.session.due().is_some_and(|due| due > stage.now.mono));
    stage.after(200);
    assert_eq!(stage.texts(), ["受付の1234"]);
    assert_eq!(stage.silences, [], "a short number that nobody asked for is none");
}

#[test]
fn what_is_being_said_or_recognised_is_waited_for() {
    let mut stage = talking();
    stage.says(CALLER, 0, "1234");
    let from = stage.after(10_000).position();
    let started = SpeechEventKind::Started { utterance: 1, start: MediaTime(from * 1_000) };
    let event = SpeechEvent { stream: id(CALLER), at: stage.now, kind: started };
    stage.session.handle_speech(event, false);
    stage.after(9_000).speaks(id(CALLER), 1, from, from + 9_000).after(8_000);
    assert!(stage.texts().is_empty(), "it began within 15 s");
    stage.heard(id(CALLER), 1, "5678の9018です");
    assert_eq!(stage.texts(), ["****", "****の****です"]);
}

#[test]
fn nothing_waits_longer_than_a_minute() {
    let mut stage = talking();
    stage.says(CALLER, 0, "1234");
    for number in 1..7 {
        stage.after(8_000).says(CALLER, number, "はい");
    }
    assert!(stage.texts().is_empty());
    stage.after(3_100);
    assert_eq!(stage.texts().len(), 7, "{:?}", stage.texts());
}

#[test]
fn a_number_that_was_asked_for_is_masked_also_when_it_breaks_off() {
    let mut stage = talking();
    stage.says(AGENT, 0, "マイナンバーをお願いします").says(CALLER, 0, "1234").says(CALLER, 1, "5678").after(16_000);
    assert_eq!(stage.texts(), ["マイナンバーをお願いします", "****", "****"]);
    // what comes much later is still a part of it
    let mut stage = talking();
    stage.says(AGENT, 0, "個人番号を教えてください").says(CALLER, 0, "123456789012です");
    assert_eq!(stage.texts()[1], "************です", "the check digit is wrong");
    stage.says(AGENT, 1, "お電話番号は").says(CALLER, 1, "090-1234-5678です");
    assert_eq!(stage.texts()[3], "090-1234-5678です");
}

#[test]
fn a_number_that_is_repeated_later_is_known_again() {
    let mut stage = talking();
    stage.says(CALLER, 0, "123456789018です").says(AGENT, 0, "お待ちください");
    stage.after(120_000).says(AGENT, 1, "先ほどの5678の番号は");
    assert_eq!(stage.texts(), ["************です", "お待ちください", "先ほどの****の番号は"]);
}

#[test]
fn the_answer_waits_for_what_was_asked_before_it() {
    let mut stage = talking();
    let from = stage.position();
    stage.after(1_000).speaks(id(AGENT), 0, from, from + 1_000);
    stage.after(1_000).speaks(id(CALLER), 0, from + 1_000, from + 2_000);
    stage.heard(id(CALLER), 0, "1234567です");
    assert!(stage.texts().is_empty(), "the agent's question is still being recognised");
    stage.heard(id(AGENT), 0, "口座番号をお願いします");
    stage.after(16_000);
    assert_eq!(stage.texts(), ["口座番号をお願いします", "*******です"]);
}

#[test]
fn hanging_up_ends_a_number_and_the_document_has_no_digit_of_it() {
    let mut stage = talking();
    stage.says(CALLER, 0, "1234").says(CALLER, 1, "5678").says(CALLER, 2, "9018").hang_up();
    assert_eq!(stage.texts(), ["****", "****", "****"]);
    let Data::TranscriptDocument(document) = &stage.records.last().unwrap().data else { panic!() };
    let texts: Vec<_> = document.turns.iter().filter_map(|turn| turn.text.as_deref()).collect();
    assert_eq!((texts, document.complete), (vec!["****"; 3], true));
    let coverage = &document.coverage[0].coverage;
    assert_eq!((coverage.transcribed, coverage.pending), (3_000, 0));
}

#[test]
fn the_contact_stays_open_until_the_disk_is_silent() {
    let mut stage = talking();
    stage.says(CALLER, 0, "123456789018です").hang_up();
    assert!(!stage.session.finished());
    let documents = stage.types().iter().filter(|name| name.contains("document")).count();
    let (stream, from, to) = stage.silences[0];
    stage.stream_event(stream, StreamEventKind::Silenced { from, to, done: false });
    stage.silences.clear();
    stage.after(10_100);
    assert_eq!(stage.silences, [(stream, from, to)], "it is tried again");
    stage.silence_done();
    assert!(stage.session.finished());
    assert_eq!(stage.types().iter().filter(|name| name.contains("document")).count(), documents);
}

#[test]
fn a_restart_silences_again_and_recognises_what_was_held() {
    let mut stage = talking();
    stage.says(CALLER, 0, "123456789018です").says(CALLER, 1, "はい").says(CALLER, 2, "4111");
    let (state, events) = (stage.session.state(), stage.records.clone());
    assert!(!state.contains("4111") && !events.iter().any(|event| event.to_json().contains("4111")));
    let (silenced, heard_until) = (stage.silences[0], stage.now.wall);
    let later = stage.now.plus(Duration::from_secs(60));
    stage.session = Session::resume(later, site(), &state, &events, Some(heard_until)).unwrap();
    (stage.now, stage.silences) = (later, Vec::new());
    stage.records.clear();
    stage.drain();
    assert_eq!(stage.silences, [silenced], "the bridge may have been killed before it was written");
    assert_eq!(stage.catch_ups, [id(CALLER), id(AGENT)]);
    stage.speaks(id(CALLER), 0, 3_000, 4_000).speaks(id(CALLER), 1, 5_000, 6_000);
    stage.heard(id(CALLER), 0, "4111 1111").heard(id(CALLER), 1, "1111 1111");
    assert!(stage.texts().is_empty());
    stage.close(id(CALLER), 6).close(id(AGENT), 6);
    assert_eq!(stage.texts(), ["**** ****", "**** ****"]);
    assert_eq!(stage.silences.len(), 3);
    stage.silence_done();
    assert!(stage.session.finished());
}

#[test]
fn a_line_has_its_own_classes() {
    let none = Line { mask: Masking::Own(Classes::NONE), ..open_line() };
    let mut stage = talking_on(none);
    stage.says(CALLER, 0, "123456789018");
    assert_eq!(stage.texts(), ["123456789018"], "nothing is masked, so nothing waits");
    let telephone = Line { mask: Masking::Own([Class::Telephone].into_iter().collect()), ..open_line() };
    let mut stage = talking_on(telephone);
    stage.says(CALLER, 0, "123456789018です").says(CALLER, 1, "090の1234の5678です");
    assert_eq!(stage.texts(), ["123456789018です", "***の****の****です"]);
}

#[test]
fn a_mixture_and_a_spare_stream_are_silenced_too() {
    let mut stage = talking();
    let (now, origin) = (stage.now, stage.now.plus(Duration::from_millis(200)));
    stage.session.add_spare(now, &leg(), id(3), Speaker::Caller);
    stage.stream_event(id(3), StreamEventKind::First { origin, rate: 8_000 });
    stage.says(CALLER, 0, "123456789018です");
    let wanted = [(id(1), MediaTime(0), MediaTime(1_300_000)), (id(3), MediaTime(0), MediaTime(1_100_000))];
    assert_eq!(stage.silences, wanted);
}

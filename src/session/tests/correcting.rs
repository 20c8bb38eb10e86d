//! Texts that a person puts right: in the call, after it, and long after it.

use super::*;
use crate::call::correction::{Corrected, Correction, MOST, Refused};
use crate::events::TranscriptCorrected;

fn asked(utterance: &str, text: &str) -> Correction {
    let (utterance, text, from) = (utterance.into(), text.into(), "panel".into());
    Correction { utterance, text, revision: None, from, agent: Some("op1".into()) }
}

fn utterance(stream: u128, ms: u64) -> String {
    format!("{}/{ms}", id(stream).0)
}

impl Stage {
    fn put_right(&mut self, asked: &Correction) -> Result<Corrected, Refused> {
        let done = self.session.put_right(self.now, asked);
        self.drain();
        done
    }

    fn corrected(&self) -> Vec<&TranscriptCorrected> {
        let all = self.records.iter().filter_map(|event| match &event.data {
            Data::TranscriptCorrected(text) => Some(text),
            _ => None,
        });
        all.collect()
    }

    /// The texts of the newest document.
    fn documented(&self) -> Vec<(&str, Option<u32>)> {
        let document = self.records.iter().rev().find_map(|event| match &event.data {
            Data::TranscriptDocument(document) => Some(document),
            _ => None,
        });
        let turns = document.expect("a document").turns.iter();
        turns.map(|turn| (turn.text.as_deref().unwrap_or("-"), turn.corrected)).collect()
    }

    fn over(&mut self) -> &mut Stage {
        let hung_up = Signal::LegEnded(leg(), EndCause::Normal);
        self.signal(hung_up).signal(Signal::CallEnded(EndCause::Normal)).close(id(1), 30).close(id(2), 30);
        self.silence_done();
        self
    }

    /// The session as it is taken up from the store for a correction.
    fn reopened(&self) -> Session {
        Session::reopen(self.now, site(), &self.session.state(), &self.records).unwrap()
    }
}

fn two_turns(line: Line) -> Stage {
    let mut stage = Stage::new(None, line);
    stage.ring().signal(Signal::LegAnswered(leg())).stream(id(1), Speaker::Caller).stream(id(2), Speaker::Agent);
    stage.after(3_000);
    stage.speaks(id(1), 0, 0, 1_000).heard(id(1), 0, "ミクニにスンデいます");
    stage.speaks(id(2), 0, 1_500, 2_500).heard(id(2), 0, "はい");
    stage
}

#[test]
fn a_correction_is_an_event_of_its_own_and_the_document_has_it() {
    let mut stage = two_turns(open_line());
    let own = utterance(1, 0);
    let done = stage.put_right(&asked(&own, "三国に住んでいます")).unwrap();
    assert_eq!(done, Corrected { revision: 1, text: "三国に住んでいます".into() });
    let told = stage.corrected()[0].clone();
    assert_eq!((told.before.as_str(), told.text.as_str()), ("ミクニにスンデいます", "三国に住んでいます"));
    assert_eq!((told.revision, told.from.as_str(), told.agent.as_deref()), (1, "panel", Some("op1")));
    assert_eq!((told.utterance.as_str(), told.speaker), (own.as_str(), Speaker::Caller));
    // the same again is no news; another one is the next revision, unless it was made of an older text
    assert_eq!(stage.put_right(&asked(&own, "三国に住んでいます")).unwrap().revision, 1);
    let late = Correction { revision: Some(0), ..asked(&own, "御国") };
    assert_eq!(stage.put_right(&late), Err(Refused::Changed(1)));
    let next = Correction { revision: Some(1), ..asked(&own, "三国本町に住んでいます") };
    assert_eq!(stage.put_right(&next).unwrap().revision, 2);
    assert_eq!(stage.corrected().len(), 2);
    assert_eq!(stage.put_right(&asked("none/0", "x")), Err(Refused::NoUtterance));
    stage.over();
    assert_eq!(stage.documented(), [("三国本町に住んでいます", Some(2)), ("はい", None)]);
    assert!(stage.session.finished());
}

#[test]
fn a_correction_long_after_the_end_goes_on_with_sequence_and_revisions() {
    let mut stage = two_turns(open_line());
    stage.put_right(&asked(&utterance(1, 0), "三国に住んでいます")).unwrap();
    stage.over();
    assert!(stage.session.finished());
    for n in 2..4_u32 {
        let before = stage.records.len();
        stage.session = stage.reopened();
        stage.after(86_400_000);
        let done = stage.put_right(&asked(&utterance(1, 0), &format!("三国に{n}年住んでいます"))).unwrap();
        assert_eq!(done.revision, n);
        assert!(stage.session.finished(), "it is left again at once");
        let told: Vec<_> = stage.records[before..].iter().map(Event::type_name).collect();
        assert_eq!(told, ["kakehashi.transcript.corrected.v1", "kakehashi.transcript.document.v1"]);
    }
    assert_eq!(stage.documented()[0], ("三国に3年住んでいます", Some(3)));
    let sequences: Vec<u64> = stage.records.iter().filter_map(|event| event.sequence).collect();
    assert_eq!(sequences, (1..=sequences.len() as u64).collect::<Vec<_>>(), "without a gap");
    let documents = stage.records.iter().filter_map(|event| match &event.data {
        Data::TranscriptDocument(document) => Some((document.revision, document.coverage.clone(), document.complete)),
        _ => None,
    });
    let documents: Vec<_> = documents.collect();
    assert_eq!(documents.iter().map(|(revision, ..)| *revision).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(documents.iter().all(|(_, coverage, complete)| *coverage == documents[0].1 && *complete));
}

#[test]
fn over_a_restart_in_the_call_the_corrected_text_stays() {
    let mut stage = two_turns(open_line());
    stage.put_right(&asked(&utterance(1, 0), "三国に住んでいます")).unwrap();
    let (state, events) = (stage.session.state(), stage.records.clone());
    let later = stage.now.plus(Duration::from_secs(5));
    stage.session = Session::resume(later, site(), &state, &events, Some(later.wall)).unwrap();
    stage.now = later;
    stage.drain();
    stage.close(id(1), 3).close(id(2), 3);
    assert_eq!(stage.documented()[0], ("三国に住んでいます", Some(1)));
    assert_eq!(stage.put_right(&asked(&utterance(1, 0), "三国です")).unwrap().revision, 2);
}

#[test]
fn whoever_takes_over_reads_the_corrected_text() {
    let mut stage = two_turns(open_line());
    stage.signal(Signal::Transferred { leg: leg(), kind: TransferKind::Blind, to: Some("3001".into()) });
    stage.signal(Signal::LegAppeared { leg: LegKey("agent-3".into()), address: "3001".into(), queue: None });
    stage.signal(Signal::LegEnded(leg(), EndCause::Transferred)).after(3_000);
    stage.put_right(&asked(&utterance(1, 0), "三国に住んでいます")).unwrap();
    stage.after(3_000);
    let packets = stage.records.iter().filter_map(|event| match &event.data {
        Data::ContactHandover(packet) => Some(packet.turns[0].text.clone()),
        _ => None,
    });
    let texts: Vec<_> = packets.flatten().collect();
    assert_eq!(texts.last().map(String::as_str), Some("三国に住んでいます"));
}

#[test]
fn no_masked_digit_comes_back_and_a_number_that_nobody_had_found_becomes_silent() {
    let mut stage = two_turns(open_line());
    stage.speaks(id(1), 1, 4_000, 6_000).heard(id(1), 1, "番号は123456789018です");
    stage.speaks(id(1), 2, 90_000, 95_000).heard(id(1), 2, "カードは良い一位一の件です");
    stage.after(130_000);
    let silences = stage.silences.len();
    assert!(silences > 0, "the number is silent");
    let done = stage.put_right(&asked(&utterance(1, 4_000), "個人番号は123456789018です")).unwrap();
    assert_eq!(done.text, "個人番号は************です");
    assert_eq!(stage.silences.len(), silences, "it was silent already");
    stage.silence_done().over();
    assert!(stage.session.finished());
    stage.session = stage.reopened();
    let done = stage.put_right(&asked(&utterance(1, 90_000), "カードは4111111111111111の件です")).unwrap();
    assert_eq!(done.text, "カードは****************の件です");
    let own: Vec<_> = stage.silences.iter().filter(|(stream, ..)| *stream == id(1)).collect();
    assert_eq!(own.len(), 1);
    assert!(own[0].1 <= MediaTime(90_000_000) && own[0].2 >= MediaTime(95_000_000), "{own:?}");
    assert!(!stage.session.finished(), "not before the disk has it");
    assert!(stage.silence_done().session.finished());
    assert!(stage.records.iter().all(|event| !event.to_json().contains("12345678901")));
    assert!(stage.records.iter().all(|event| !event.to_json().contains("411111")));
}

#[test]
fn what_a_line_keeps_here_stays_here_and_leaves_no_gap() {
    let line = Line { deliver: false, ..open_line() };
    let mut stage = two_turns(line);
    stage.put_right(&asked(&utterance(1, 0), "三国に住んでいます")).unwrap();
    let event = stage.records.iter().find(|event| matches!(event.data, Data::TranscriptCorrected(_))).unwrap();
    assert_eq!(event.sequence, None);
    assert!(event.data.carries_text());
}

#[test]
fn corrections_are_bounded() {
    let mut stage = two_turns(open_line());
    for n in 0..MOST {
        stage.put_right(&asked(&utterance(1, 0), ["三国です", "御国です"][n % 2])).unwrap();
    }
    assert_eq!(stage.put_right(&asked(&utterance(1, 0), "もう一度")), Err(Refused::Full));
}

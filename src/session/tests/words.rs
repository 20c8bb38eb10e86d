//! Which words a contact's texts are made with.

use super::*;
use crate::dictionary::{Entry, Settings};
use crate::events::TranscriptFinal;

fn dictionary(words: &[(&str, &str, &str)]) -> Arc<Dictionary> {
    let entry = |(surface, reading, scope): &(&str, &str, &str)| Entry {
        surface: (*surface).into(),
        readings: vec![(*reading).into()],
        class: String::new(),
        scope: (*scope).into(),
        weight: 1.0,
        aliases: Vec::new(),
    };
    let calls = [Scopes::of_call("osaka", &line(&["東淀川区"])), Scopes::of_call("osaka", &line(&[]))];
    Arc::new(Dictionary::of_entries(words.iter().map(entry).collect(), &Settings::default()).prepared(&calls))
}

fn line(wards: &[&str]) -> Line {
    Line { wards: wards.iter().map(|ward| (*ward).to_owned()).collect(), ..open_line() }
}

fn talking(line: Line, dictionary: &Arc<Dictionary>) -> Stage {
    let mut stage = Stage::new(None, line);
    stage.session.reload(Site { dictionary: Arc::clone(dictionary), ..site() });
    stage.ring().signal(Signal::LegAnswered(leg()));
    stage.stream(id(1), Speaker::Caller);
    stage
}

/// The text of an utterance that was decoded with `version`.
fn text(stage: &mut Stage, number: u32, version: &str) -> TranscriptFinal {
    let from = 1_000 * u64::from(number);
    stage.after(1_000).speaks(id(1), number, from, from + 900);
    let hypothesis = Hypothesis {
        text: "ズイコウとデト".into(),
        confidence: 0.9,
        dictionary: version.into(),
        ..Hypothesis::default()
    };
    stage.session.handle_outcome(stage.now, id(1), number, Ok(hypothesis));
    stage.drain();
    match &stage.records.last().unwrap().data {
        Data::TranscriptFinal(text) => text.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_line_says_which_words_apply_and_the_job_carries_it() {
    let words = dictionary(&[("瑞光", "ズイコウ", "ward:東淀川区"), ("出戸", "デト", "")]);
    let ward = line(&["東淀川区"]);
    let mut here = talking(ward.clone(), &words);
    let mut elsewhere = talking(line(&[]), &words);
    let version = |line: &Line| words.on(&Scopes::of_call("osaka", line)).version().to_owned();
    let said = text(&mut here, 0, &version(&ward));
    assert_eq!((said.text.as_str(), said.dictionary), ("瑞光と出戸", version(&ward)));
    let said = text(&mut elsewhere, 0, &version(&line(&[])));
    assert_eq!((said.text.as_str(), said.dictionary), ("ズイコウと出戸", version(&line(&[]))));
    assert_eq!(here.tasks[0].scopes, Scopes::of_call("osaka", &ward));
    assert_ne!(version(&ward), version(&line(&[])));
}

#[test]
fn a_text_is_put_right_by_the_version_that_it_was_decoded_with() {
    let versions: Vec<Arc<Dictionary>> =
        ["瑞光", "随光", "水光", "翠光"].map(|surface| dictionary(&[(surface, "ズイコウ", "")])).into();
    let mut stage = talking(line(&[]), &versions[0]);
    for newer in &versions[1..] {
        stage.session.reload(Site { dictionary: Arc::clone(newer), ..site() });
    }
    let reloaded_without_change = Arc::clone(&versions[3]);
    stage.session.reload(Site { dictionary: reloaded_without_change, ..site() });
    for (number, (of, expected)) in
        [(3, "翠光とデト"), (2, "水光とデト"), (1, "随光とデト"), (0, "ズイコウとデト")].into_iter().enumerate()
    {
        let version = versions[of].version();
        let said = text(&mut stage, number as u32, version);
        assert_eq!((said.text.as_str(), said.dictionary.as_str()), (expected, version));
    }
    let said = text(&mut stage, 4, "");
    assert_eq!(
        (said.text.as_str(), said.dictionary.as_str()),
        ("翠光とデト", versions[3].version()),
        "decoded without help"
    );
}

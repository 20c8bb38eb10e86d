//! From hypotheses to what is stored: the text of one utterance, and the document of a contact.
//!
//! `compose` is the one place where a hypothesis and its corrections become the text of record: what is hidden there is stored nowhere. What is to
//! be hidden, `together` says of all utterances that belong together. `provisional` is the one place where they become text that is only shown.

pub mod document;
pub(crate) mod ending;
pub mod mask;
pub mod numbers;
mod provisional;
pub mod rewrite;
pub mod together;

pub use provisional::provisional;

use numbers::{Edit, edit};
use together::Hidden;

use crate::call::LegId;
use crate::call::secret::Classes;
use crate::dictionary::{Corrected, Dictionary};
use crate::events::TranscriptFinal;
use crate::pbx::{Speaker, StreamId};
use crate::speech::Hypothesis;
use crate::time::{MediaTime, Wall};

/// What is known of an utterance besides its text.
#[derive(Clone, Debug, PartialEq)]
pub struct Spoken {
    /// The leg during which it was said.
    pub leg: LegId,
    /// The stream it was heard on.
    pub stream: StreamId,
    /// Who said it.
    pub speaker: Speaker,
    /// Wall time of the first sample of the stream.
    pub origin: Wall,
    /// Where it begins in the stream.
    pub start: MediaTime,
    /// Where it ends.
    pub end: MediaTime,
    /// Audio inside it that never came.
    pub gaps: Vec<(MediaTime, MediaTime)>,
    /// It was recognised from disk.
    pub caught_up: bool,
}

/// The final of one utterance: its numbers in their written form, without what is `hidden`.
pub fn compose(
    spoken: &Spoken,
    hypothesis: &Hypothesis,
    corrected: &Corrected,
    hidden: &Hidden,
    dictionary: &Dictionary,
    classes: Classes,
) -> TranscriptFinal {
    let (raw, signs): (Vec<char>, Vec<char>) = (hypothesis.text.chars().collect(), corrected.text.chars().collect());
    let (raw_stars, stars) = mask::both(&raw, &hidden.raw, &signs, &hidden.text);
    let edits = with_written(corrected, dictionary, &stars);
    let text = edit::apply(&signs, &edits);
    let corrected = mask::corrections(corrected, &text, &stars, &edits, classes);
    TranscriptFinal {
        leg: spoken.leg,
        utterance: utterance_id(spoken.stream, spoken.start),
        speaker: spoken.speaker,
        start: spoken.origin + spoken.start.duration(),
        end: spoken.origin + spoken.end.duration(),
        start_ms: spoken.start.0 / 1_000,
        end_ms: spoken.end.0 / 1_000,
        text: corrected.text,
        text_raw: edit::apply(&raw, &raw_stars),
        corrections: corrected.corrections,
        confidence: hypothesis.confidence,
        gaps: spoken.gaps.iter().map(|(from, to)| (from.0 / 1_000, to.0 / 1_000)).collect(),
        model: hypothesis.model.clone(),
        dictionary: hypothesis.dictionary.clone(),
        caught_up: spoken.caught_up,
    }
}

/// The stars, and what becomes a written number; what the dictionary put there, and its names, stay as they are.
fn with_written(corrected: &Corrected, dictionary: &Dictionary, stars: &[Edit]) -> Vec<Edit> {
    let mut kept = numbers::names(&corrected.text, dictionary);
    kept.extend(corrected.corrections.iter().map(|one| (one.start, one.end)));
    let mut edits = stars.to_vec();
    let written = numbers::written(&corrected.text, &kept).edits;
    edits.extend(written.into_iter().filter(|edit| !stars.iter().any(|star| star.touches(edit.start, edit.end))));
    edit::in_order(edits)
}

/// Names an utterance within its contact: `<stream>/<start in milliseconds>`, the same when it is recognised again from disk.
pub fn utterance_id(stream: StreamId, start: MediaTime) -> String {
    format!("{}/{}", stream.0, start.0 / 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_given_on_both_clocks() {
        let spoken = Spoken {
            leg: LegId(uuid::Uuid::nil()),
            stream: StreamId(uuid::Uuid::nil()),
            speaker: Speaker::Caller,
            origin: Wall(10_000_000),
            start: MediaTime(2_500_000),
            end: MediaTime(4_000_000),
            gaps: vec![(MediaTime(3_000_000), MediaTime(3_020_000))],
            caught_up: true,
        };
        let hypothesis = Hypothesis { text: "ミクニです".into(), ..Hypothesis::default() };
        let corrected = Corrected { text: "三国です".into(), corrections: Vec::new() };
        let (hidden, classes) = (Hidden::default(), Classes::default());
        let composed = compose(&spoken, &hypothesis, &corrected, &hidden, &Dictionary::empty(), classes);
        assert_eq!((composed.start, composed.end_ms), (Wall(12_500_000), 4_000));
        assert_eq!((composed.text.as_str(), composed.text_raw.as_str()), ("三国です", "ミクニです"));
        assert_eq!(composed.gaps, [(3_000, 3_020)]);
        assert_eq!(composed.utterance, "00000000-0000-0000-0000-000000000000/2500");
        assert!(composed.caught_up);
    }
}

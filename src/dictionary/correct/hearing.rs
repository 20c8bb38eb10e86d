//! What a second hearing with the bias found, and whether it is taken into the text of the first.

use super::{Candidate, Corrector, MAX_CHARS};
use crate::dictionary::reading::is_katakana;
use crate::dictionary::second::{Told, places, stretch};
use crate::dictionary::spelling::Spelling;

/// A word of three morae that the bias found may be this many nats less likely, a longer one as many more for each further mora.
const NATS_PER_MORA: f32 = 2.0;
/// The same for a word that was found in its official spelling, at most.
const KNOWN_SPELLING: f32 = 1.0;
/// Katakana that may follow a word in the text with bias: the decoder overshot.
const MOST_BEYOND: usize = 2;

impl Corrector {
    /// Words that were heard with the bias, where they stand in the text without it, if the recogniser finds them about as likely there.
    pub(super) fn by_bias(&self, plain: &Told, biased: &Told) -> Vec<Candidate> {
        if biased.chars.len() > MAX_CHARS {
            return Vec::new();
        }
        // where both hearings agree, what only sounds nearly like a word is left to the correction of the text
        let nearly = self.correct && plain.chars != biased.chars;
        let mut heard: Vec<Candidate> = Vec::new();
        for (from, to, Spelling { target, official }) in self.spellings.find(&biased.chars) {
            if official && let Some(known) = self.targets.get(target) {
                heard.push(Candidate {
                    from,
                    to,
                    target,
                    distance: 0.0,
                    score: known.morae as f32 + 0.1 * known.weight,
                });
            }
        }
        let katakana = |from: usize, to: usize| {
            biased.chars.get(from..to).is_some_and(|span| span.iter().all(|&c| is_katakana(c)))
        };
        let spelling = |at: usize| katakana(at, at + 1);
        let spelt_out = self.sounding(&biased.chars, 1, &spelling).into_iter().filter(|candidate| {
            let cut = candidate.from.checked_sub(1).is_some_and(|before| katakana(before, candidate.from));
            katakana(candidate.from, candidate.to) && !cut && (nearly || candidate.distance == 0.0)
        });
        heard.extend(spelt_out);
        let places = places(&plain.chars, &biased.chars);
        heard.into_iter().filter_map(|candidate| self.accepted(candidate, plain, biased, &places)).collect()
    }

    /// A word heard with the bias as a candidate of the plain text; `None` when it has no place there or is too unlikely.
    fn accepted(&self, heard: Candidate, plain: &Told, biased: &Told, places: &[Option<usize>]) -> Option<Candidate> {
        let target = self.targets.get(heard.target).filter(|target| target.morae >= 3)?;
        let beyond = biased.chars.get(heard.to..)?.iter().take_while(|&&c| is_katakana(c)).count();
        let spelt_out = biased.chars.get(heard.from..heard.to)?.iter().all(|&c| is_katakana(c));
        let beyond = if spelt_out { beyond } else { 0 };
        let (from, to) = stretch(places, plain.chars.len(), heard.from, heard.to + beyond)?;
        let written = plain.chars.get(from..to)?;
        // where both hearings wrote it, more was said than the word
        let goes_on = beyond > 0 && biased.chars.get(heard.from..heard.to + beyond) == Some(written);
        if beyond > MOST_BEYOND || goes_on || target.surface.chars().eq(written.iter().copied()) {
            return None;
        }
        let gained = biased.likelihood(heard.from, heard.to + beyond) - plain.likelihood(from, to);
        let score = heard.score - beyond as f32;
        // a short word is found by chance, and a spelling that the recogniser knows needs no help
        let most = if spelt_out { self.accept } else { KNOWN_SPELLING };
        let accept = most.min(NATS_PER_MORA * (target.morae as f32 - 2.0));
        (gained - 2.0 * heard.distance >= -accept).then_some(Candidate { from, to, score, ..heard })
    }
}

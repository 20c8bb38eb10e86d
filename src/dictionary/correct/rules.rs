//! Which spans may become a word of the same sound: names as heard, and what the recogniser itself was not sure of.

use super::{Candidate, Corrector};
use crate::dictionary::lexicon;
use crate::dictionary::reading::{is_kanji, is_katakana};
use crate::speech::Token;

/// A spelling of one sound must be this much likelier than not; see `Corrector::allowed`.
const UNSURE_FAR: f32 = 0.75;
/// The same for a spelling that is a word by itself: another one of the same sound must be much likelier.
const UNSURE_WORD: f32 = 0.6;

impl Corrector {
    /// Whether a span may be replaced.
    pub(super) fn allowed(
        &self,
        candidate: &Candidate,
        text: &[char],
        sure: &[f32],
        protected: &[(usize, usize)],
    ) -> bool {
        let (from, to) = (candidate.from, candidate.to);
        let (Some(span), Some(target)) = (text.get(from..to), self.targets.get(candidate.target)) else { return false };
        if protected.iter().any(|&(start, end)| start < to && from < end) {
            return false;
        }
        let written: String = span.iter().collect();
        if written == target.surface || lexicon::is_common(&written) {
            return false;
        }
        let run = |c: Option<&char>| c.is_some_and(|&c| is_katakana(c));
        let cut_left = run(span.first()) && run(from.checked_sub(1).and_then(|before| text.get(before)));
        let cut_right = run(span.last()) && run(text.get(to));
        let exact = candidate.distance == 0.0;
        let least = sure.get(from..to).unwrap_or_default().iter().copied().fold(1.0, f32::min);
        if span.iter().all(|&c| is_katakana(c)) {
            if cut_left || cut_right {
                let one_side = cut_left != cut_right && !in_common_run(text, from, to);
                return exact && one_side && target.morae >= 3 + 2 * left_over(text, from, to);
            }
            return if exact { target.morae >= 2 } else { target.morae >= 4 && least < self.below };
        }
        if cut_left || cut_right {
            return false;
        }
        let heard = span.iter().filter(|&&c| is_katakana(c)).count() * 2 >= span.len();
        // grammar is not part of a name, unless the name has it too
        let grammar = |c: &char| matches!(c, 'ぁ'..='ゖ') && !target.surface.contains(*c);
        if span.first().is_some_and(grammar) || span.last().is_some_and(grammar) {
            return false;
        }
        if exact && heard {
            return target.morae >= 3;
        }
        if span.iter().any(grammar) {
            return false;
        }
        let kanji = span.iter().any(|&c| is_kanji(c));
        if lexicon::is_word(&written) && !(exact && least < self.below * UNSURE_WORD) {
            return false;
        }
        match (exact, kanji) {
            (true, true) => target.morae >= 3 && least < self.below,
            (true, false) => target.morae >= 5 && least < self.below,
            (false, _) => target.morae >= 5 && kanji && least < self.below * UNSURE_FAR,
        }
    }
}

/// Katakana around a span that would be left over.
fn left_over(text: &[char], from: usize, to: usize) -> usize {
    let run = |c: &&char| is_katakana(**c);
    text.get(..from).unwrap_or_default().iter().rev().take_while(run).count()
        + text.get(to..).unwrap_or_default().iter().take_while(run).count()
}

/// Whether the katakana run around a span is an ordinary word by itself.
fn in_common_run(text: &[char], from: usize, to: usize) -> bool {
    let start = text[..from].iter().rposition(|&c| !is_katakana(c)).map_or(0, |at| at + 1);
    let end = text[to..].iter().position(|&c| !is_katakana(c)).map_or(text.len(), |at| to + at);
    lexicon::is_common(&text[start..end].iter().collect::<String>())
}

/// The recogniser's probability at each character: the least of the tokens that it is made of.
pub(super) fn certainty(text: &str, chars: &[char], tokens: &[Token], otherwise: f32) -> Vec<f32> {
    let bytes: Vec<(u8, f32)> =
        tokens.iter().flat_map(|token| token.bytes.iter().map(|&byte| (byte, token.p))).collect();
    let plain: Vec<u8> = bytes.iter().map(|&(byte, _)| byte).collect();
    let skip = plain.windows(text.len().max(1)).position(|window| window == text.as_bytes());
    let Some(skip) = skip else { return vec![otherwise; chars.len()] };
    let mut at = skip;
    chars
        .iter()
        .map(|c| {
            let end = at + c.len_utf8();
            let least = bytes.get(at..end).unwrap_or_default().iter().map(|&(_, p)| p).fold(1.0, f32::min);
            at = end;
            least
        })
        .collect()
}

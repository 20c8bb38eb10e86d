//! Where two texts differ, sign by sign: what a person changed.

use std::ops::Range;

/// Pairs of signs that are compared at most; texts that differ in more are one change.
const MOST: usize = 4_000_000;

/// One stretch that was changed, in Unicode scalar values; one side may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// In the text before.
    pub(crate) from: Range<usize>,
    /// In the text after.
    pub(crate) to: Range<usize>,
}

/// The changes in order; between two of them at least one sign stayed (a longest common subsequence).
pub(crate) fn changes(before: &[char], after: &[char]) -> Vec<Change> {
    let head = before.iter().zip(after).take_while(|(one, other)| one == other).count();
    let (left, right) = (before.get(head..).unwrap_or_default(), after.get(head..).unwrap_or_default());
    let tail = left.iter().rev().zip(right.iter().rev()).take_while(|(one, other)| one == other).count();
    let left = left.get(..left.len() - tail).unwrap_or_default();
    let right = right.get(..right.len() - tail).unwrap_or_default();
    if left.is_empty() && right.is_empty() {
        return Vec::new();
    }
    if left.len().saturating_mul(right.len()) > MOST {
        return vec![Change { from: head..head + left.len(), to: head..head + right.len() }];
    }
    between(left, right, head)
}

fn between(left: &[char], right: &[char], head: usize) -> Vec<Change> {
    let width = right.len() + 1;
    // how many signs the rests of both texts have in common
    let mut common = vec![0_u32; (left.len() + 1) * width];
    let at = |common: &[u32], i: usize, j: usize| common.get(i * width + j).copied().unwrap_or(0);
    for (i, one) in left.iter().enumerate().rev() {
        for (j, other) in right.iter().enumerate().rev() {
            let best = match one == other {
                true => at(&common, i + 1, j + 1) + 1,
                false => at(&common, i + 1, j).max(at(&common, i, j + 1)),
            };
            if let Some(place) = common.get_mut(i * width + j) {
                *place = best;
            }
        }
    }
    let (mut all, mut i, mut j) = (Vec::<Change>::new(), 0, 0);
    while i < left.len() || j < right.len() {
        let (was, is) = (i, j);
        while i < left.len() || j < right.len() {
            if i < left.len() && left.get(i) == right.get(j) {
                break;
            }
            match i < left.len() && (j >= right.len() || at(&common, i + 1, j) >= at(&common, i, j + 1)) {
                true => i += 1,
                false => j += 1,
            }
        }
        if (was, is) != (i, j) {
            all.push(Change { from: head + was..head + i, to: head + is..head + j });
        }
        while i < left.len() && left.get(i) == right.get(j) {
            (i, j) = (i + 1, j + 1);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(before: &str, after: &str) -> Vec<(String, String)> {
        let (before, after): (Vec<char>, Vec<char>) = (before.chars().collect(), after.chars().collect());
        let text = |signs: &[char], range: Range<usize>| signs[range].iter().collect::<String>();
        changes(&before, &after)
            .into_iter()
            .map(|change| (text(&before, change.from), text(&after, change.to)))
            .collect()
    }

    fn pair(from: &str, to: &str) -> (String, String) {
        (from.into(), to.into())
    }

    #[test]
    fn what_was_changed_is_told_in_order() {
        assert_eq!(read("ズイコオ行きのバス", "瑞光行きのバス"), [pair("ズイコオ", "瑞光")]);
        assert_eq!(read("三国の瑞光", "御国の水光です"), [pair("三", "御"), pair("瑞", "水"), pair("", "です")]);
        assert_eq!(read("はいはい", "はい"), [pair("はい", "")]);
        assert_eq!(read("", "はい"), [pair("", "はい")]);
        assert_eq!(read("はい", "はい"), []);
        assert_eq!(read("", ""), []);
    }

    #[test]
    fn taken_together_the_changes_make_one_text_of_the_other() {
        let words = ["三国", "の", "瑞光", "へ", "****", "12", "はい", "、"];
        let mut state = 7_u32;
        let mut next = |most: usize| {
            state = state.wrapping_mul(1_103_515_245).wrapping_add(12_345);
            (state >> 16) as usize % most
        };
        for _ in 0..500 {
            let mut text = || (0..next(12)).map(|_| words[next(8)]).collect::<String>().chars().collect::<Vec<_>>();
            let (before, after) = (text(), text());
            let (mut made, mut at) = (Vec::new(), 0);
            for Change { from, to } in changes(&before, &after) {
                made.extend_from_slice(&before[at..from.start]);
                assert_eq!(made.len(), to.start);
                made.extend_from_slice(&after[to]);
                at = from.end;
            }
            made.extend_from_slice(&before[at..]);
            assert_eq!(made, after);
        }
    }

    #[test]
    fn very_long_texts_are_one_change() {
        let (before, after) = (vec!['あ'; 3_000], vec!['い'; 3_000]);
        assert_eq!(changes(&before, &after), [Change { from: 0..3_000, to: 0..3_000 }]);
    }
}

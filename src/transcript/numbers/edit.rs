//! Changes of a text that know where each sign went.

/// Replaces a stretch of a text, in Unicode scalar values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// Its first sign.
    pub start: usize,
    /// Behind its last sign.
    pub end: usize,
    /// What stands there instead.
    pub with: String,
}

impl Edit {
    /// Whether it changes something between two places.
    pub fn touches(&self, start: usize, end: usize) -> bool {
        self.start < end && start < self.end
    }
}

/// Edits in order, of which none reaches into another; where two do, the one that begins first counts.
pub(crate) fn in_order(mut edits: Vec<Edit>) -> Vec<Edit> {
    edits.sort_by_key(|edit| (edit.start, edit.end));
    let mut end = 0;
    edits.retain(|edit| {
        let keeps = edit.start >= end && edit.start < edit.end;
        end = if keeps { edit.end } else { end };
        keeps
    });
    edits
}

/// The text with its edits made; they are in order and apart.
pub fn apply(signs: &[char], edits: &[Edit]) -> String {
    let (mut text, mut at) = (String::new(), 0);
    for edit in edits {
        text.extend(signs.get(at..edit.start).unwrap_or_default());
        text.push_str(&edit.with);
        at = edit.end;
    }
    text.extend(signs.get(at..).unwrap_or_default());
    text
}

/// Where a place of the text is after the edits. A place inside an edit is at its beginning, or with `behind` at its end.
pub fn place(edits: &[Edit], at: usize, behind: bool) -> usize {
    let (mut grown, mut shrunk) = (0, 0);
    for edit in edits {
        if edit.end <= at {
            grown += edit.with.chars().count();
            shrunk += edit.end - edit.start;
        } else if edit.start < at {
            return edit.start + grown - shrunk + if behind { edit.with.chars().count() } else { 0 };
        }
    }
    at + grown - shrunk
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_found_again() {
        let signs: Vec<char> = "二千円と八つと三国".chars().collect();
        let edits = in_order(vec![
            Edit { start: 4, end: 5, with: "88".into() },
            Edit { start: 0, end: 2, with: "2000".into() },
        ]);
        assert_eq!(apply(&signs, &edits), "2000円と88つと三国");
        assert_eq!((place(&edits, 0, false), place(&edits, 2, true), place(&edits, 7, false)), (0, 4, 10));
        assert_eq!((place(&edits, 1, false), place(&edits, 1, true)), (0, 4));
    }

    #[test]
    fn of_two_that_overlap_the_first_counts() {
        let edit = |start, end| Edit { start, end, with: String::new() };
        assert_eq!(in_order(vec![edit(2, 5), edit(0, 3), edit(5, 6)]), [edit(0, 3), edit(5, 6)]);
    }
}

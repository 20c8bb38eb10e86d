//! Which text of a list stands at a place: looked up by its first sign, because it is asked at every place of every text.

use std::collections::HashMap;

/// The texts of a list by their first signs.
#[derive(Debug)]
pub(crate) struct Listed {
    /// Index in the list and signs, in order of the list.
    by_first: HashMap<char, Vec<(usize, Vec<char>)>>,
}

impl Listed {
    /// Of a list; none of its texts is empty.
    pub(crate) fn of<'t>(texts: impl IntoIterator<Item = &'t str>) -> Listed {
        let mut by_first: HashMap<char, Vec<(usize, Vec<char>)>> = HashMap::new();
        for (index, text) in texts.into_iter().enumerate() {
            if let Some(first) = text.chars().next() {
                by_first.entry(first).or_default().push((index, text.chars().collect()));
            }
        }
        Listed { by_first }
    }

    /// The texts that `signs` begins with, in order of the list: index and length of each.
    pub(crate) fn all<'l>(&'l self, signs: &'l [char]) -> impl Iterator<Item = (usize, usize)> + 'l {
        let same = signs.first().and_then(|first| self.by_first.get(first)).into_iter().flatten();
        same.filter(move |(_, text)| signs.starts_with(text)).map(|(index, text)| (*index, text.len()))
    }

    /// The first of them in the list.
    pub(crate) fn first(&self, signs: &[char]) -> Option<(usize, usize)> {
        self.all(signs).next()
    }

    /// The longest of them.
    pub(crate) fn longest(&self, signs: &[char]) -> Option<(usize, usize)> {
        self.all(signs).max_by_key(|(_, length)| *length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_the_longest_of_those_that_begin_alike_are_found() {
        let listed = Listed::of(["年", "か月", "年度", "月"]);
        let signs: Vec<char> = "年度の".chars().collect();
        assert_eq!((listed.first(&signs), listed.longest(&signs)), (Some((0, 1)), Some((2, 2))));
        assert_eq!(listed.all(&signs).collect::<Vec<_>>(), [(0, 1), (2, 2)]);
        assert_eq!((listed.first(&['か']), listed.first(&['か', '月']), listed.first(&[])), (None, Some((1, 2)), None));
    }
}

//! What `like` finds: words, not parts of them.
//! Latin letters and digits are found by the whole word only; Japanese by any two characters or more of it, and by one character only where it
//! stands alone (the service's help on keywords: キーワード入力時の注意事項).

/// Whether every word of the keyword is in the text.
pub(crate) fn found(text: &str, keyword: &str) -> bool {
    let there = words(text);
    let sought = words(keyword);
    !sought.is_empty() && sought.iter().all(|word| there.iter().any(|other| matches(other, word)))
}

fn matches(word: &str, sought: &str) -> bool {
    let part = sought.chars().count() >= 2 && !is_latin(sought) && word.contains(sought);
    word == sought || part
}

fn is_latin(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_alphanumeric())
}

/// Runs of Latin letters and digits, and runs of other letters; signs and spaces part them.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut last = None;
    for c in text.chars().flat_map(char::to_lowercase) {
        let class = c.is_alphanumeric().then_some(c.is_ascii_alphanumeric());
        match (class, words.last_mut()) {
            (None, _) => {}
            (Some(_), Some(word)) if class == last => word.push(c),
            (Some(_), _) => words.push(c.to_string()),
        }
        last = class;
    }
    words
}

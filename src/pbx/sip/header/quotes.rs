//! Quoted strings inside values of headers (RFC 3261 §25.1 `quoted-string`).

/// The first `wanted` outside quotes; the outer `None` when a quote is not closed.
pub(super) fn find(text: &str, wanted: char) -> Option<Option<usize>> {
    let (mut found, mut quoted, mut escaped) = (None, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if c == wanted && !quoted && found.is_none() => found = Some(at),
            _ => {}
        }
    }
    (!quoted).then_some(found)
}

/// A quoted string without its quotes and escapes; other text as it is. `None` when the quotes do not match.
pub(super) fn unquote(text: &str) -> Option<String> {
    let Some(rest) = text.strip_prefix('"') else {
        return (!text.contains('"')).then(|| text.to_string());
    };
    let mut plain = String::new();
    let mut escaped = false;
    let mut chars = rest.chars();
    for c in chars.by_ref() {
        match c {
            _ if escaped => {
                plain.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return chars.as_str().trim().is_empty().then_some(plain),
            _ => plain.push(c),
        }
    }
    None
}

//! Why a caller's number is missing, as Japanese carriers write it; every driver asks here.

use super::Withheld;

/// The four reasons that Japanese carriers send as display names (TTC JJ-90.30; TS 24.008 cause of no CLI), by prefix.
pub(crate) fn withheld(text: &str) -> Option<Withheld> {
    let text = text.trim().to_ascii_lowercase();
    if text.starts_with("anonymous") || text.starts_with("restricted") || text.starts_with("private") {
        Some(Withheld::Refused)
    } else if text.starts_with("coin line") || text.starts_with("payphone") {
        Some(Withheld::Payphone)
    } else if text.starts_with("interaction with other service") {
        Some(Withheld::ServiceConflict)
    } else if text.starts_with("unavailable") {
        Some(Withheld::Unavailable)
    } else {
        None
    }
}

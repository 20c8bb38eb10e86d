//! One word of the municipality: how it is written, how it is spoken, what it is.

use serde::{Deserialize, Serialize};

/// A word as imported.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The official spelling, as typed (髙 and 高 are different words).
    pub surface: String,
    /// Readings in full-width katakana, the usual one first; never empty.
    pub readings: Vec<String>,
    /// What it is, for example `place`, `facility`, `procedure`; empty when the file does not say.
    pub class: String,
    /// Where it applies, as [`crate::call::scope::Scopes`] writes it (`ward:北区|department:保険年金課`); empty means everywhere.
    pub scope: String,
    /// How strongly it is preferred, 0–2; 1 is normal, 0 switches bias off for it.
    pub weight: f32,
    /// Spellings that the recogniser is known to write instead; they become `surface`.
    pub aliases: Vec<String>,
}

/// Longest surface, reading or alias, in characters.
pub(super) const MAX_CHARS: usize = 100;
/// Most readings or aliases of one entry.
pub(super) const MAX_VARIANTS: usize = 16;

/// Whether a text of an entry may be as it is, or what is wrong with it and what to do.
pub(super) fn limited(text: &str) -> Result<(), String> {
    if text.chars().nth(MAX_CHARS).is_some() {
        return Err(format!("longer than {MAX_CHARS} characters. Register the part that is said"));
    }
    if text.chars().any(char::is_control) {
        return Err("a control character. Remove it".into());
    }
    Ok(())
}

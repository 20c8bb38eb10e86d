//! The compiled form of a dictionary: entries that were checked once, with a checksum; for delivery to sites and to worker processes.
//!
//! Head: 8 bytes that name the format (and show whether a transfer touched line ends), its version, the number of entries, the SHA-256 of the
//! body. Body: the fields of each entry, texts with their length before them, numbers in little-endian order. What is read is checked like
//! any other file: a body with a good checksum that breaks the rules for entries is refused too.

use sha2::{Digest, Sha256};

use super::entry::{Entry, MAX_VARIANTS, limited};
use super::import::MAX_ROWS;
use super::reading;
use crate::call::scope::Scopes;

/// The first bytes of a compiled dictionary.
const MAGIC: &[u8; 8] = b"KKDICT\r\n";
/// Version of the format.
pub const VERSION: u16 = 1;

/// Why a compiled dictionary cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompiledError {
    /// It begins with something else.
    #[error("not a compiled dictionary; expected a file that `kakehashi dictionary export --to compiled` wrote")]
    Foreign,
    /// It has another version.
    #[error(
        "a compiled dictionary of version {found}; this program reads version {VERSION}. Compile the original files again"
    )]
    Version {
        /// Its version.
        found: u16,
    },
    /// It is cut off or changed.
    #[error("a compiled dictionary that is damaged ({what}). Copy it again, or compile the original files again")]
    Damaged {
        /// What shows it.
        what: &'static str,
    },
}

/// Whether `bytes` begin like a compiled dictionary.
pub fn is_compiled(bytes: &[u8]) -> bool {
    bytes.starts_with(b"KKDICT")
}

/// The compiled form of `entries`.
pub fn write(entries: &[Entry]) -> Vec<u8> {
    let mut body = Vec::new();
    for entry in entries {
        text(&mut body, &entry.surface);
        texts(&mut body, &entry.readings);
        text(&mut body, &entry.class);
        text(&mut body, &entry.scope);
        body.extend(entry.weight.to_le_bytes());
        texts(&mut body, &entry.aliases);
    }
    let mut out = MAGIC.to_vec();
    out.extend(VERSION.to_le_bytes());
    out.extend(u32::try_from(entries.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(&Sha256::digest(&body));
    out.append(&mut body);
    out
}

fn text(out: &mut Vec<u8>, text: &str) {
    // longer texts are no entries of ours: they would be refused when they are read
    out.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn texts(out: &mut Vec<u8>, all: &[String]) {
    out.push(u8::try_from(all.len()).unwrap_or(u8::MAX));
    all.iter().for_each(|one| text(out, one));
}

/// The entries of a compiled dictionary.
///
/// # Errors
/// [`CompiledError`] when it is something else, of another version, or not as it was written.
pub fn read(bytes: &[u8]) -> Result<Vec<Entry>, CompiledError> {
    let damaged = |what| CompiledError::Damaged { what };
    if !is_compiled(bytes) {
        return Err(CompiledError::Foreign);
    }
    let rest = bytes.strip_prefix(MAGIC).ok_or(damaged("its line ends were changed, as a text transfer does"))?;
    let mut reader = Reader { rest };
    let cut = damaged("it is cut off");
    let found = reader.array().map(u16::from_le_bytes).ok_or_else(|| cut.clone())?;
    if found != VERSION {
        return Err(CompiledError::Version { found });
    }
    let count = reader.array().map(u32::from_le_bytes).ok_or_else(|| cut.clone())? as usize;
    let sum: [u8; 32] = reader.array().ok_or(cut)?;
    if Sha256::digest(reader.rest).as_slice() != sum {
        return Err(damaged("its checksum is wrong"));
    }
    if count > MAX_ROWS {
        return Err(damaged("it has more words than can be loaded"));
    }
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        let entry = reader.entry().filter(good).ok_or(damaged("an entry breaks the rules"))?;
        entries.push(entry);
    }
    if reader.rest.is_empty() { Ok(entries) } else { Err(damaged("there is something after the last entry")) }
}

/// Whether an entry is one that an import could have made.
fn good(entry: &Entry) -> bool {
    let short = |text: &str| limited(text).is_ok();
    let spoken = |kana: &String| {
        short(kana) && !reading::morae(kana).is_empty() && reading::to_katakana(kana).as_ref() == Some(kana)
    };
    let scope = Scopes::parse(&entry.scope).is_ok_and(|scopes| scopes.to_string() == entry.scope);
    !entry.surface.trim().is_empty()
        && short(&entry.surface)
        && short(&entry.class)
        && scope
        && (0.0..=2.0).contains(&entry.weight)
        && (1..=MAX_VARIANTS).contains(&entry.readings.len())
        && entry.readings.iter().all(spoken)
        && entry.aliases.len() <= MAX_VARIANTS
        && entry.aliases.iter().all(|alias| !alias.is_empty() && short(alias))
}

/// Takes fields off the front; `None` when there is too little left.
struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*head)
    }

    fn text(&mut self) -> Option<String> {
        let length = usize::from(u16::from_le_bytes(self.array()?));
        let (head, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(std::str::from_utf8(head).ok()?.to_owned())
    }

    fn texts(&mut self) -> Option<Vec<String>> {
        let [count] = self.array()?;
        (0..count).map(|_| self.text()).collect()
    }

    fn entry(&mut self) -> Option<Entry> {
        Some(Entry {
            surface: self.text()?,
            readings: self.texts()?,
            class: self.text()?,
            scope: self.text()?,
            weight: f32::from_le_bytes(self.array()?),
            aliases: self.texts()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Vec<Entry> {
        let entry = |surface: &str, reading: &str, scope: &str| Entry {
            surface: surface.into(),
            readings: vec![reading.into(), "ヨミ".into()],
            class: "place".into(),
            scope: scope.into(),
            weight: 1.5,
            aliases: vec!["別".into()],
        };
        vec![entry("十三", "ジュウソウ", ""), entry("髙槻①", "タカツキ", "ward:北区|department:課")]
    }

    #[test]
    fn what_was_written_is_read() {
        assert_eq!(read(&write(&entries())), Ok(entries()));
        assert_eq!(read(&write(&[])), Ok(Vec::new()));
    }

    #[test]
    fn another_version_and_a_foreign_file_are_told_apart() {
        let mut other = write(&entries());
        other[8] = 2;
        assert_eq!(read(&other), Err(CompiledError::Version { found: 2 }));
        assert!(read(&other).unwrap_err().to_string().contains("version 2; this program reads version 1"));
        assert_eq!(read(b"surface,reading\n"), Err(CompiledError::Foreign));
        let text_mode = [b"KKDICT\n".as_slice(), &write(&entries())[8..]].concat();
        assert!(read(&text_mode).unwrap_err().to_string().contains("line ends"));
    }

    #[test]
    fn every_changed_byte_and_every_cut_is_noticed() {
        let whole = write(&entries());
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 0x20;
            assert!(read(&changed).is_err(), "byte {at}");
            assert!(read(&whole[..at]).is_err(), "cut at {at}");
        }
        assert!(read(&[whole, vec![0]].concat()).is_err());
    }

    #[test]
    fn an_entry_that_no_import_makes_is_refused_in_spite_of_its_checksum() {
        for wrong in [
            Entry { readings: vec!["三国".into()], ..entries().remove(0) },
            Entry { readings: Vec::new(), ..entries().remove(0) },
            Entry { weight: f32::NAN, ..entries().remove(0) },
            Entry { scope: "町:北".into(), ..entries().remove(0) },
            Entry { surface: " ".into(), ..entries().remove(0) },
            Entry { surface: "長".repeat(101), ..entries().remove(0) },
        ] {
            assert_eq!(read(&write(&[wrong])), Err(CompiledError::Damaged { what: "an entry breaks the rules" }));
        }
    }
}

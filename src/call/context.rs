//! What is known before the call: why somebody calls, told by a portal, a first-tier bot or a chat, and where it waits for the call.
//!
//! A context belongs to a caller's number, to a token that the call brings along, or to a running contact. Each source has one of its own for
//! each of these: what it posts again replaces what it said before ([`Post::merge`]: is merged with it), never what another source said.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::ContactId;
use crate::events::NAMESPACE;
use crate::time::Wall;

mod read;
mod waiting;

pub use read::{Post, PostBody, Wrong, read};
pub use waiting::Waiting;

/// The most contexts that one contact keeps, one of a source.
pub const MOST_OF_CONTACT: usize = 4;
/// The source of what is posted with the panel's own token; it may take back what others posted.
pub const PANEL: &str = "panel";
/// Client keys that are remembered of one context.
const KEYS: usize = 8;

/// `[context]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How long a context waits for its call when its source does not say, in seconds.
    pub expires_s: u64,
    /// The longest that a source may ask for, in seconds.
    pub max_expires_s: u64,
    /// Contexts that wait at once; more are answered 503.
    pub max_waiting: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { expires_s: 900, max_expires_s: 86_400, max_waiting: 10_000 }
    }
}

impl Settings {
    /// Refuses values that no context could live with.
    ///
    /// # Errors
    /// The key, and what is expected.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        const YEAR: u64 = 366 * 86_400;
        if !(1..=YEAR).contains(&self.max_expires_s) {
            return Err(("max_expires_s", format!("{}: expected 1 to {YEAR} seconds", self.max_expires_s)));
        }
        if !(1..=self.max_expires_s).contains(&self.expires_s) {
            return Err((
                "expires_s",
                format!("{}: expected 1 to max_expires_s ({})", self.expires_s, self.max_expires_s),
            ));
        }
        Ok(())
    }
}

/// What a source knows; every part may be absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Known {
    /// Why the citizen calls, in a few words.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// The page of the portal that she came from.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub page: Option<Page>,
    /// Address of the chat before the call.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub chat: Option<String>,
    /// The citizen as the source names her: an opaque reference, never a name or a My Number.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub citizen: Option<String>,
    /// What was asked and answered before, in order.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub slots: Vec<Slot>,
}

/// A page of a portal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Page {
    /// Its address, http or https.
    pub url: String,
    /// Its title.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub title: Option<String>,
}

/// One answer that was collected before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Slot {
    /// What was asked.
    pub key: String,
    /// What was answered.
    pub value: String,
}

impl Known {
    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        *self == Known::default()
    }

    /// Bytes of all of it as JSON.
    fn bytes(&self) -> usize {
        serde_json::to_vec(self).map_or(usize::MAX, |text| text.len())
    }

    /// Changes every text that people wrote or said; addresses and the reference stay as they are.
    pub fn map_texts(mut self, change: impl Fn(&str) -> String) -> Self {
        self.reason = self.reason.map(|text| change(&text));
        self.page = self.page.map(|page| Page { title: page.title.map(|text| change(&text)), ..page });
        for slot in &mut self.slots {
            slot.value = change(&slot.value);
        }
        self
    }

    /// What is given replaces what was there; slots by their key, and one without a value goes.
    fn merged_into(self, before: &Known) -> Known {
        let mut slots = before.slots.clone();
        for slot in self.slots {
            match slots.iter_mut().find(|known| known.key == slot.key) {
                Some(known) => known.value = slot.value,
                None => slots.push(slot),
            }
        }
        slots.retain(|slot| !slot.value.is_empty());
        Known {
            reason: self.reason.or_else(|| before.reason.clone()),
            page: self.page.or_else(|| before.page.clone()),
            chat: self.chat.or_else(|| before.chat.clone()),
            citizen: self.citizen.or_else(|| before.citizen.clone()),
            slots,
        }
    }
}

/// What a context belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", content = "value", rename_all = "lowercase")]
pub enum Target {
    /// The caller's number, E.164.
    Number(String),
    /// An opaque string that the call brings along.
    Token(String),
    /// A running contact.
    Contact(ContactId),
}

impl Target {
    /// How a contact was found by it.
    pub fn by(&self) -> By {
        match self {
            Target::Number(_) => By::Number,
            Target::Token(_) => By::Token,
            Target::Contact(_) => By::Contact,
        }
    }
}

/// How a context found its contact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// The caller's number.
    Number,
    /// A token that the call brought along.
    Token,
    /// The source named the contact.
    Contact,
}

/// A context as it was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posted {
    /// The same for everything that one source posts for one target.
    pub id: Uuid,
    /// Counts what the source posted for this target, from 1.
    pub version: u32,
    /// Who posted it: a `[[panel.client]]`, or `panel`.
    pub from: String,
    /// When.
    pub posted: Wall,
    /// Until when it waits for a call.
    pub expires: Wall,
    /// What it belongs to.
    pub target: Target,
    /// What is known.
    pub known: Known,
    /// The last client keys with a hash of what was posted with them.
    #[serde(default)]
    keys: Vec<(String, String)>,
}

/// What a source asks.
#[derive(Clone, Debug)]
pub enum Wish {
    /// Keep it for its call, or attach it to its contact.
    Post(Box<Post>),
    /// Take it back.
    Delete(Uuid),
}

/// What became of a post.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fresh {
    /// It is the first of this source for this target.
    New,
    /// It replaced, or was merged with, what the source posted before.
    Changed,
    /// It was there already, by its client key.
    Repeated,
}

/// Why a post was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No site has this id, or there are several and none was named.
    Site,
    /// No running contact has this id.
    Unknown,
    /// The client key was used for something else.
    KeyReused,
    /// As many contexts wait as may, or the contact has as many as it may have.
    Full,
    /// Merged with what was there it would be too large.
    TooMuch,
}

/// What a source is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The context.
    pub id: Uuid,
    /// Its version.
    pub version: u32,
    /// Until when it waits.
    pub expires: Wall,
    /// What became of the post.
    pub fresh: Fresh,
    /// Running contacts that have it now.
    pub attached: Vec<ContactId>,
}

impl Posted {
    /// Takes what a source posts for a target of which it may have posted something `before`.
    ///
    /// # Errors
    /// [`Refused::KeyReused`] and [`Refused::TooMuch`].
    pub fn accept(
        now: Wall,
        site: &str,
        from: &str,
        post: Post,
        before: Option<&Posted>,
        settings: &Settings,
    ) -> Result<(Posted, Fresh), Refused> {
        let digest = post.digest();
        let known_key = |key: &String| before.and_then(|posted| posted.keys.iter().find(|(used, _)| used == key));
        match post.key.as_ref().and_then(known_key) {
            Some((_, used)) if *used != digest => return Err(Refused::KeyReused),
            Some(_) => {
                let repeated = before.cloned();
                return repeated.map(|posted| (posted, Fresh::Repeated)).ok_or(Refused::KeyReused);
            }
            None => {}
        }
        let mut keys = before.map(|posted| posted.keys.clone()).unwrap_or_default();
        if let Some(key) = post.key {
            keys.push((key, digest));
        }
        keys.drain(..keys.len().saturating_sub(KEYS));
        let seconds = post.expires_in_s.unwrap_or(settings.expires_s).min(settings.max_expires_s);
        let known = match before {
            Some(posted) if post.merge => post.known.merged_into(&posted.known),
            _ => post.known.merged_into(&Known::default()),
        };
        if known.slots.len() > read::SLOTS || known.bytes() > read::MOST_BYTES {
            return Err(Refused::TooMuch);
        }
        let posted = Posted {
            id: id_of(site, from, &post.target),
            version: before.map_or(0, |posted| posted.version).saturating_add(1),
            from: from.into(),
            posted: now,
            expires: now + std::time::Duration::from_secs(seconds),
            target: post.target,
            known,
            keys,
        };
        Ok((posted, if before.is_some() { Fresh::Changed } else { Fresh::New }))
    }
}

/// The id of what one source says about one target.
pub fn id_of(site: &str, from: &str, target: &Target) -> Uuid {
    let (kind, value) = match target {
        Target::Number(number) => ("number", number.clone()),
        Target::Token(token) => ("token", token.clone()),
        Target::Contact(contact) => ("contact", contact.to_string()),
    };
    Uuid::new_v5(&NAMESPACE, format!("context\0{site}\0{from}\0{kind}\0{value}").as_bytes())
}

impl Post {
    fn digest(&self) -> String {
        let text =
            serde_json::to_string(&(&self.target, &self.known, self.expires_in_s, self.merge)).unwrap_or_default();
        Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests;

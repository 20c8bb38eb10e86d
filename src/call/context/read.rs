//! A context as JSON: read by hand, so that what is wrong is told by the name of its field.

use schemars::JsonSchema;
use serde_json::{Map, Value};

use super::{Known, Page, Settings, Slot, Target};
use crate::call::ContactId;
use crate::call::number::Number;

/// Most bytes of all texts of one context together.
pub(super) const MOST_BYTES: usize = 8 * 1024;
/// Most slots.
pub(super) const SLOTS: usize = 32;
/// Most characters of each text.
const REASON: usize = 500;
const TITLE: usize = 200;
const ADDRESS: usize = 2_000;
const CITIZEN: usize = 128;
const SLOT_KEY: usize = 64;
const SLOT_VALUE: usize = 500;
const TOKEN: usize = 256;
const NAME: usize = 64;

/// What a source posts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post {
    /// The site; needed where there are several.
    pub site: Option<String>,
    /// What it belongs to.
    pub target: Target,
    /// How long it waits for its call, in seconds.
    pub expires_in_s: Option<u64>,
    /// Keep what the source said before and is not said again.
    pub merge: bool,
    /// The source's own key: a post that is repeated with it changes nothing.
    pub key: Option<String>,
    /// What is known.
    pub known: Known,
}

/// A post as it is written; [`read`] reads it.
#[derive(JsonSchema)]
#[schemars(rename = "ContextPost", deny_unknown_fields)]
#[schemars(extend("oneOf" = [{"required": ["number"]}, {"required": ["token"]}, {"required": ["contact"]}]))]
#[schemars(extend("examples" = [{
    "number": "06-6208-8181",
    "expires_in_s": 1_800,
    "context": {"reason": "住民票の写し", "citizen": "ref-0815", "slots": {"通数": "2通", "続柄": "本人"}},
}]))]
#[expect(dead_code, reason = "describes what `read` takes")]
pub struct PostBody {
    /// The caller's number, in any usual form.
    #[schemars(length(min = 1, max = NAME))]
    number: Option<String>,
    /// What the call brings along, byte for byte.
    #[schemars(length(min = 1, max = TOKEN))]
    token: Option<String>,
    /// The id of a running contact.
    contact: Option<uuid::Uuid>,
    /// `[[site]] id`; may be left out where there is only one.
    #[schemars(length(min = 1, max = NAME))]
    site: Option<String>,
    /// How long it waits for its call, in seconds, up to `[context] max_expires_s`.
    #[schemars(range(min = 1))]
    expires_in_s: Option<u64>,
    /// What is not said again stays.
    merge: Option<bool>,
    /// The source's own key: the same post again with it changes nothing.
    #[schemars(length(min = 1, max = CITIZEN))]
    key: Option<String>,
    /// What is known; 8 KiB at most.
    context: KnownBody,
}

/// What is known, at least one of its parts.
#[derive(JsonSchema)]
#[schemars(rename = "ContextKnown", deny_unknown_fields, extend("minProperties" = 1))]
#[expect(dead_code, reason = "describes what `read` takes")]
struct KnownBody {
    /// Why the citizen calls, in a few words.
    #[schemars(length(min = 1, max = REASON))]
    reason: Option<String>,
    /// The page that they came from.
    page: Option<PageBody>,
    /// Where what was written before can be read.
    #[schemars(length(max = ADDRESS), regex(pattern = "^[Hh][Tt][Tt][Pp][Ss]?://[^/?#@]+"))]
    chat: Option<String>,
    /// An opaque reference; never a name or a My Number.
    #[schemars(length(min = 1, max = CITIZEN))]
    citizen: Option<String>,
    /// Answers that were collected before: an object, or a list where the order matters; at most 32.
    slots: Option<SlotsBody>,
}

/// A page of a portal.
#[derive(JsonSchema)]
#[schemars(rename = "ContextPage", deny_unknown_fields)]
#[expect(dead_code, reason = "describes what `read` takes")]
struct PageBody {
    /// Its address.
    #[schemars(length(max = ADDRESS), regex(pattern = "^[Hh][Tt][Tt][Pp][Ss]?://[^/?#@]+"))]
    url: String,
    /// Its title.
    #[schemars(length(min = 1, max = TITLE))]
    title: Option<String>,
}

/// Answers that were collected before.
#[derive(JsonSchema)]
#[schemars(rename = "ContextSlots", untagged)]
#[expect(dead_code, reason = "describes what `read` takes")]
enum SlotsBody {
    /// By key.
    Object(std::collections::BTreeMap<String, SlotValue>),
    /// In order.
    List(Vec<SlotBody>),
}

/// One answer.
#[derive(JsonSchema)]
#[schemars(rename = "ContextSlot", deny_unknown_fields)]
#[expect(dead_code, reason = "describes what `read` takes")]
struct SlotBody {
    /// What was asked.
    #[schemars(length(min = 1, max = SLOT_KEY))]
    key: String,
    /// What was answered.
    value: Option<SlotValue>,
}

/// A text of at most 500 characters, or what is taken as it is written; empty or `null` takes the slot away (with `merge`).
#[derive(JsonSchema)]
#[schemars(rename = "ContextValue", untagged)]
#[expect(dead_code, reason = "describes what `read` takes")]
enum SlotValue {
    Text(#[schemars(length(max = SLOT_VALUE))] String),
    Number(f64),
    Truth(bool),
    Nothing(()),
}

/// What is wrong with a post, without what was in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The field, for example `context.slots[2].value`; empty for the whole.
    pub field: String,
    /// What was expected.
    pub problem: String,
}

fn wrong<T>(field: &str, problem: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong { field: field.into(), problem: problem.into() })
}

/// Reads the body of a post.
///
/// # Errors
/// The first field that is wrong, and what is expected.
pub fn read(body: &[u8], settings: &Settings) -> Result<Post, Wrong> {
    let Ok(value) = serde_json::from_slice::<Value>(body) else { return wrong("", "expected a JSON object in UTF-8") };
    let mut all = Fields::of("", value)?;
    let site = all.text("site", NAME)?;
    let target = target(&mut all)?;
    let expires_in_s = match all.take("expires_in_s") {
        None => None,
        Some(value) => match value.as_u64().filter(|seconds| (1..=settings.max_expires_s).contains(seconds)) {
            Some(seconds) => Some(seconds),
            None => {
                return wrong("expires_in_s", format!("expected whole seconds from 1 to {}", settings.max_expires_s));
            }
        },
    };
    let merge = match all.take("merge") {
        None => false,
        Some(Value::Bool(merge)) => merge,
        Some(_) => return wrong("merge", "expected true or false"),
    };
    let key = all.text("key", CITIZEN)?;
    let Some(context) = all.take("context") else {
        return wrong("context", "is missing; expected what is known, an object");
    };
    all.end()?;
    let known = known(Fields::of("context", context)?, merge)?;
    Ok(Post { site, target, expires_in_s, merge, key, known })
}

fn target(all: &mut Fields) -> Result<Target, Wrong> {
    let (number, token, contact) = (all.text("number", NAME)?, all.text("token", TOKEN)?, all.text("contact", NAME)?);
    match (number, token, contact) {
        (Some(number), None, None) => match Number::parse(&number).e164() {
            Some(e164) => Ok(Target::Number(e164.into())),
            None => wrong("number", "is no number of the plan; expected one like 06-6208-8181, 090… or +81…"),
        },
        (None, Some(token), None) => Ok(Target::Token(token)),
        (None, None, Some(contact)) => match contact.parse() {
            Ok(id) => Ok(Target::Contact(ContactId(id))),
            Err(_) => wrong("contact", "is no UUID; expected the id of GET /v1/contacts"),
        },
        (None, None, None) => wrong("number", "expected one of number, token and contact"),
        _ => wrong("number", "expected only one of number, token and contact"),
    }
}

fn known(mut fields: Fields, merge: bool) -> Result<Known, Wrong> {
    let reason = fields.text("reason", REASON)?;
    let citizen = fields.text("citizen", CITIZEN)?;
    let chat = fields.address("chat")?;
    let page = match fields.take("page") {
        None => None,
        Some(page) => {
            let mut page = Fields::of("context.page", page)?;
            let Some(url) = page.address("url")? else { return wrong("context.page.url", "is missing") };
            let title = page.text("title", TITLE)?;
            page.end()?;
            Some(Page { url, title })
        }
    };
    let slots = slots(&mut fields, merge)?;
    fields.end()?;
    let known = Known { reason, page, chat, citizen, slots };
    if known.is_empty() {
        return wrong("context", "is empty; expected at least one of reason, page, chat, citizen and slots");
    }
    let bytes = known.bytes();
    if bytes > MOST_BYTES {
        return wrong("context", format!("has {bytes} bytes; expected at most {MOST_BYTES}"));
    }
    Ok(known)
}

/// An object of texts, or a list of `{key, value}` where the order matters.
fn slots(fields: &mut Fields, merge: bool) -> Result<Vec<Slot>, Wrong> {
    let mut slots: Vec<Slot> = Vec::new();
    match fields.take("slots") {
        None => {}
        Some(Value::Object(map)) => {
            for (n, (key, value)) in map.into_iter().enumerate() {
                // the key may be anything: the field is named by its place
                let place = format!("context.slots[{n}]");
                let value = plain(&format!("{place}.value"), &value, SLOT_VALUE, true)?;
                slots.push(Slot { key: plain(&format!("{place}.key"), &Value::String(key), SLOT_KEY, false)?, value });
                too_many(slots.len())?;
            }
        }
        Some(Value::Array(list)) => {
            for (n, one) in list.into_iter().enumerate() {
                let place = format!("context.slots[{n}]");
                let mut one = Fields::of(&place, one)?;
                let Some(key) = one.text("key", SLOT_KEY)? else { return wrong(&format!("{place}.key"), "is missing") };
                let value = one.take("value").unwrap_or(Value::Null);
                let value = plain(&format!("{place}.value"), &value, SLOT_VALUE, true)?;
                one.end()?;
                if slots.iter().any(|slot| slot.key == key) {
                    return wrong(&format!("{place}.key"), "is there twice; expected a key of its own");
                }
                slots.push(Slot { key, value });
                too_many(slots.len())?;
            }
        }
        Some(_) => return wrong("context.slots", "expected an object of texts, or a list of {key, value}"),
    }
    if let Some(n) = slots.iter().position(|slot| slot.value.is_empty() && !merge) {
        return wrong(&format!("context.slots[{n}].value"), "is empty; only with merge does that mean to take it away");
    }
    Ok(slots)
}

fn too_many(count: usize) -> Result<(), Wrong> {
    if count > SLOTS { wrong("context.slots", format!("expected at most {SLOTS}")) } else { Ok(()) }
}

/// A text without control characters; numbers and truth values are taken as they are written.
fn plain(field: &str, value: &Value, most: usize, may_be_empty: bool) -> Result<String, Wrong> {
    let text = match value {
        Value::String(text) => text.trim().to_string(),
        Value::Null if may_be_empty => String::new(),
        Value::Number(number) => number.to_string(),
        Value::Bool(value) => value.to_string(),
        _ => return wrong(field, "expected a text"),
    };
    if text.is_empty() && !may_be_empty {
        return wrong(field, "is empty; leave it out, or give a text");
    }
    if text.chars().count() > most {
        return wrong(field, format!("is too long; expected at most {most} characters"));
    }
    if text.chars().any(|sign| sign.is_control() && sign != '\n' && sign != '\t') {
        return wrong(field, "has control characters; expected plain text");
    }
    Ok(text)
}

/// The fields of one object; what is left at the end was not expected.
struct Fields {
    path: String,
    map: Map<String, Value>,
}

impl Fields {
    fn of(path: &str, value: Value) -> Result<Fields, Wrong> {
        match value {
            Value::Object(map) => Ok(Fields { path: path.into(), map }),
            _ => wrong(path, "expected a JSON object"),
        }
    }

    fn place(&self, name: &str) -> String {
        if self.path.is_empty() { name.into() } else { format!("{}.{name}", self.path) }
    }

    /// `null` is as good as absent.
    fn take(&mut self, name: &str) -> Option<Value> {
        self.map.remove(name).filter(|value| !value.is_null())
    }

    fn text(&mut self, name: &str, most: usize) -> Result<Option<String>, Wrong> {
        let place = self.place(name);
        match self.take(name) {
            None => Ok(None),
            Some(value @ Value::String(_)) => plain(&place, &value, most, false).map(Some),
            Some(_) => wrong(&place, "expected a text"),
        }
    }

    /// A web address: http or https with a host, nothing that could be taken for anything else.
    fn address(&mut self, name: &str) -> Result<Option<String>, Wrong> {
        let Some(text) = self.text(name, ADDRESS)? else { return Ok(None) };
        let lower = text.to_ascii_lowercase();
        let rest = lower.strip_prefix("https://").or_else(|| lower.strip_prefix("http://"));
        let host = rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
        if host.is_some_and(|host| !host.is_empty() && !host.contains('@')) && !text.chars().any(char::is_whitespace) {
            return Ok(Some(text));
        }
        wrong(&self.place(name), "expected an address that begins with https:// or http:// and names a host")
    }

    fn end(self) -> Result<(), Wrong> {
        match self.map.keys().next() {
            None => Ok(()),
            // the name is the sender's own word, so it is told back; it is kept short
            Some(name) => {
                let name: String = name.chars().filter(|sign| !sign.is_control()).take(NAME).collect();
                wrong(&self.place(&name), "is no field of a context")
            }
        }
    }
}

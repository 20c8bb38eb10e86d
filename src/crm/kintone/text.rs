//! What is written into kintone for people to read.

use super::form::STATES;
use super::talk::Peer;
use super::who::People;
use crate::call::ContactId;
use crate::call::number::Number;
use crate::crm::text::{clean, clock, day_and_time, leg_text, reason, strftime, unlinkable};
use crate::events::{Agent, CallEnded, Caller, TranscriptDocument};
use crate::time::Wall;

pub(super) use crate::crm::text::{number, transcript};

/// The most of a transcript that goes into a field, in characters: no limit is documented, and a list of records is to stay readable.
pub(super) const LONGEST_TRANSCRIPT: usize = 50_000;

/// As kintone wants a time.
pub(super) fn utc(time: Wall) -> String {
    strftime(time, 0, "%Y-%m-%dT%H:%M:%SZ")
}

/// How far a call is.
pub(super) fn state(is_over: bool, was_answered: bool) -> &'static str {
    let [running, done, unanswered] = STATES;
    match (is_over, was_answered) {
        (false, _) => running,
        (true, true) => done,
        (true, false) => unanswered,
    }
}

/// The caller's number as it is searched for: digits only; empty where there is none.
pub(super) fn digits(caller: &Caller) -> String {
    let Some(number) = caller.number.as_deref().map(Number::parse) else { return String::new() };
    number.national().chars().filter(char::is_ascii_digit).collect()
}

/// The number that says who calls; `None` where it does not.
pub(super) fn linkable_number(caller: &Caller) -> Option<Number> {
    let number = caller.number.as_deref().filter(|_| unlinkable(caller).is_none())?;
    Some(Number::parse(number))
}

pub(super) fn agent_name(agent: &Agent) -> String {
    clean(agent.name.as_deref().unwrap_or(&agent.extension))
}

/// Who it may be: each contact with the address of its page, or why nobody is named.
pub(super) fn who(peer: &Peer, caller: &Caller, people: &People) -> String {
    let mut lines: Vec<String> = unlinkable(caller).map(String::from).into_iter().collect();
    let app = peer.settings.contacts.app;
    lines.extend(people.all.iter().map(|person| format!("{} {}", person.name, peer.page(app, &person.id))));
    if people.more {
        lines.push("ほか".into());
    }
    clean(&lines.join("\n"))
}

/// The call's course leg by leg.
pub(super) fn course(ended: &CallEnded, at: Wall) -> String {
    let mut lines = vec![format!("{} 着信（{}）", day_and_time(ended.started), ended.called)];
    lines.extend(ended.legs.iter().map(leg_text));
    lines.push(format!("{} 終了（{}）", clock(at), reason(ended.reason)));
    clean(&lines.join("\n"))
}

/// The name of our file at a record; others may be beside it.
pub(super) fn file_name(contact: ContactId) -> String {
    let id: String = contact.to_string().chars().take(8).collect();
    format!("書き起こし-{id}.txt")
}

/// The transcript as far as it goes into a field; `has_file`: the whole is beside it.
pub(super) fn transcript_in_field(document: &TranscriptDocument, has_file: bool) -> String {
    let whole = transcript(document);
    if whole.chars().nth(LONGEST_TRANSCRIPT).is_none() {
        return whole;
    }
    let mut text: String = whole.chars().take(LONGEST_TRANSCRIPT).collect();
    // whole lines, unless one alone is longer than all that
    if let Some(end) = text.rfind('\n').filter(|end| *end > 0) {
        text.truncate(end + 1);
    }
    text + if has_file {
        "※ 長いため、続きは添付ファイルにあります。\n"
    } else {
        "※ 長いため、続きはここにありません。\n"
    }
}

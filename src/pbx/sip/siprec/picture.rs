//! People, lines and calls of a recording session brought together: what the hub should know of each call now.

use std::collections::BTreeMap;

use crate::pbx::{ExternalKey, Identity, KeyKind, Speaker, StreamId};

use super::super::identity;
use super::roles::{Person, Role, roles};
use super::{Book, Metadata, Participant};

/// Shortest session id that can be taken for unique in a site; RFC 7865 §6.10 has 24 characters.
const ID_MIN: usize = 16;
/// Longest address of a leg.
const ADDRESS_MAX: usize = 64;

/// One media line that is heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Line {
    /// Its stream.
    pub(in super::super) stream: StreamId,
    /// Place among the media lines.
    pub(in super::super) index: usize,
    /// `a=label`.
    pub(in super::super) label: Option<String>,
    /// Nothing comes now (`a=inactive`).
    pub(in super::super) silent: bool,
}

/// What the site knows beyond the metadata.
pub(in super::super) struct Rules<'a> {
    /// Whether an extension is in the site's directory.
    pub(in super::super) is_agent: &'a dyn Fn(&str) -> bool,
    /// Of people of whom nothing tells, the first is the agent.
    pub(in super::super) agent_first: bool,
}

/// One call as it should be known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Picture {
    /// The communication session; `None`: none is told.
    pub(in super::super) session: Option<String>,
    /// Who calls.
    pub(in super::super) caller: Option<Identity>,
    /// The dialled line.
    pub(in super::super) called: Option<String>,
    /// Identifiers elsewhere.
    pub(in super::super) keys: Vec<ExternalKey>,
    /// Participant and address of every agent.
    pub(in super::super) legs: Vec<(String, String)>,
    /// Who is heard, and on whose leg when it is an agent's.
    pub(in super::super) streams: Vec<(StreamId, Speaker, Option<String>)>,
    /// Roles by participant, to be remembered.
    pub(super) roles: BTreeMap<String, Role>,
    /// Every line is silent.
    pub(in super::super) paused: bool,
    /// Some are.
    pub(in super::super) held: bool,
}

/// The name of a line that has no label, where headers count lines.
pub(super) fn line_label(index: usize) -> String {
    format!("media-index {index}")
}

/// Every call of the recording session that is not over. `before` holds what was remembered of each.
pub(in super::super) fn pictures(
    book: &Book,
    lines: &[Line],
    rules: &Rules<'_>,
    before: impl Fn(Option<&str>) -> BTreeMap<String, Role>,
) -> Vec<Picture> {
    let known = book.known();
    let open: Vec<&str> = known.sessions.iter().filter(|own| !own.over).map(|own| own.id.as_str()).collect();
    let mut pictures: Vec<Picture> = match (known.sessions.is_empty(), open.as_slice()) {
        (true, _) => vec![Picture::default()],
        (false, open) => {
            let of = |id: &&str| Picture { session: Some((*id).to_string()), ..Picture::default() };
            open.iter().map(of).collect()
        }
    };
    for picture in &mut pictures {
        let before = before(picture.session.as_deref());
        let first = open.first().copied() == picture.session.as_deref();
        let own: Vec<&Line> =
            lines.iter().filter(|line| is_of(known, line, picture.session.as_deref(), first)).collect();
        fill(picture, known, &own, rules, &before);
    }
    pictures
}

/// Whether a line belongs to a session: its stream says so, or who sends it; what nobody claims belongs to the first.
fn is_of(known: &Metadata, line: &Line, session: Option<&str>, first: bool) -> bool {
    let stream = stream_of(known, line);
    let told = stream.and_then(|stream| stream.session.as_deref());
    let sender = stream.and_then(|stream| senders(known, &stream.id, None).into_iter().next());
    let by_sender = sender.and_then(|person| {
        let presence = known.present.iter().find(|own| own.participant == person.id && !own.over);
        presence.map(|presence| presence.session.as_str())
    });
    let listed = |id: &&str| known.sessions.iter().any(|own| own.id == *id);
    match told.filter(listed).or(by_sender.filter(listed)) {
        Some(of) => Some(of) == session,
        None => first,
    }
}

fn stream_of<'a>(known: &'a Metadata, line: &Line) -> Option<&'a super::Stream> {
    let index = line_label(line.index);
    let of = |label: &str| known.streams.iter().find(|stream| stream.label.as_deref() == Some(label));
    line.label.as_deref().and_then(of).or_else(|| of(&index))
}

/// Who sends a stream (in this session).
fn senders<'a>(known: &'a Metadata, stream: &str, session: Option<&str>) -> Vec<&'a Participant> {
    let sends = |person: &&Participant| {
        let sending = known.sending.iter().find(|own| own.participant == person.id);
        sending.is_some_and(|own| own.send.iter().any(|sent| sent == stream)) && is_present(known, person, session)
    };
    known.participants.iter().filter(sends).collect()
}

fn is_present(known: &Metadata, person: &Participant, session: Option<&str>) -> bool {
    let mut told = known.present.iter().filter(|own| own.participant == person.id).peekable();
    if told.peek().is_none() {
        // a recorder that tells nobody's presence tells that of one session
        return known.present.is_empty() || known.sessions.len() <= 1;
    }
    told.any(|own| !own.over && session.is_none_or(|session| own.session == session || known.sessions.len() <= 1))
}

fn fill(picture: &mut Picture, known: &Metadata, lines: &[&Line], rules: &Rules<'_>, before: &BTreeMap<String, Role>) {
    let session = picture.session.clone();
    let session = session.as_deref();
    let present: Vec<&Participant> = known.participants.iter().filter(|own| is_present(known, own, session)).collect();
    // who neither sends nor receives, where others do, stands for nobody yet
    let takes_part = |own: &&&Participant| {
        let sending = known.sending.iter().find(|sending| sending.participant == own.id);
        let empty = sending.is_none_or(|sending| sending.send.is_empty() && sending.recv.is_empty());
        !empty || person(own).extension(rules).is_some() || before.contains_key(&own.id)
    };
    let any = known.sending.iter().any(|own| !own.send.is_empty() || !own.recv.is_empty());
    let people: Vec<&Participant> = present.iter().filter(|own| !any || takes_part(own)).copied().collect();
    let hints = known.hints_of(session);
    let persons: Vec<Person> = people.iter().map(|own| person(own)).collect();
    let told = roles(&persons, &hints, rules, before);
    for ((participant, person), role) in people.iter().zip(&persons).zip(&told) {
        let Some(role) = *role else { continue };
        picture.roles.insert(participant.id.clone(), role);
        match role {
            Role::Caller => {
                let aor = participant.aors.first().map(String::as_str).unwrap_or_default();
                picture.caller = Some(identity::of_aor(aor, participant.name.as_deref()));
            }
            Role::Agent => picture.legs.push((participant.id.clone(), address(person, &hints, rules))),
            Role::Third => {}
        }
    }
    let called = hints.called.as_deref().filter(|_| hints.incoming != Some(false));
    let called = called.and_then(identity::user_of).map(|user| bounded(&user));
    picture.called = called.or_else(|| picture.legs.first().map(|(_, address)| address.clone()));
    picture.keys = keys(known, session, &hints);
    picture.streams = lines.iter().map(|line| who(known, line, session, picture)).collect();
    picture.paused = !lines.is_empty() && lines.iter().all(|line| line.silent);
    picture.held = !picture.paused && lines.iter().any(|line| line.silent);
}

/// Who is heard on a line.
fn who(known: &Metadata, line: &Line, session: Option<&str>, picture: &Picture) -> (StreamId, Speaker, Option<String>) {
    let other = (line.stream, Speaker::Other, None);
    let Some(stream) = stream_of(known, line) else { return other };
    let senders = senders(known, &stream.id, session);
    match senders.as_slice() {
        _ if stream.mixed => (line.stream, Speaker::Mixed, None),
        [] => other,
        [one] => match picture.roles.get(&one.id) {
            Some(Role::Caller) => (line.stream, Speaker::Caller, None),
            Some(Role::Agent) => (line.stream, Speaker::Agent, Some(one.id.clone())),
            Some(Role::Third) | None => other,
        },
        _ => (line.stream, Speaker::Mixed, None),
    }
}

fn keys(known: &Metadata, session: Option<&str>, hints: &super::Hints) -> Vec<ExternalKey> {
    let mut keys = Vec::new();
    if let Some(value) = session.filter(|id| id.len() >= ID_MIN) {
        keys.push(ExternalKey { kind: KeyKind::SiprecSession, value: value.into() });
    }
    let ids = known.sessions.iter().filter(|own| Some(own.id.as_str()) == session);
    for text in ids.flat_map(|own| &own.sip_session_ids) {
        for value in identity::session_ids(text) {
            keys.push(ExternalKey { kind: KeyKind::SessionId, value });
        }
    }
    let call_id = hints.call_id.clone().filter(|id| id.len() >= ID_MIN);
    keys.extend(call_id.map(|value| ExternalKey { kind: KeyKind::CallId, value }));
    keys
}

fn person(participant: &Participant) -> Person {
    let users = participant.aors.iter().filter_map(|aor| identity::user_of(aor)).collect();
    let address = |aor: &String| {
        let address = aor.split_once(':').map_or(aor.as_str(), |(_, rest)| rest);
        address.split(';').next().unwrap_or_default().trim_matches(['<', '>', ' ']).to_ascii_lowercase()
    };
    let addresses = participant.aors.iter().map(address).collect();
    Person { id: participant.id.clone(), users, addresses, calling: participant.calling }
}

/// The extension of an agent: as the directory has it, else what the vendor gives as the recorded user's number, else the address.
fn address(person: &Person, hints: &super::Hints, rules: &Rules<'_>) -> String {
    if let Some(extension) = person.extension(rules) {
        return bounded(extension);
    }
    let side = match hints.incoming {
        Some(true) => hints.called.as_deref(),
        Some(false) => hints.calling.as_deref(),
        None => None,
    };
    let side = side.and_then(identity::user_of).filter(|user| (rules.is_agent)(user));
    bounded(&side.or_else(|| person.users.first().cloned()).unwrap_or_default())
}

fn bounded(text: &str) -> String {
    text.chars().take(ADDRESS_MAX).collect()
}

//! A dialog-info document element by element: what each adds to the [`Document`].

use quick_xml::events::BytesStart;

use super::{DEPTH_MAX, DIALOGS_MAX, Dialog, Direction, Document, ELEMENTS_MAX, Error, Reason, State, TEXT_MAX};
use crate::pbx::sip::xml::attributes;

/// Where in the document the reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Root,
    Dialog,
    State,
    Local,
    LocalTarget,
    Remote,
    RemoteIdentity,
    Other,
}

/// What was read of a document so far.
#[derive(Default)]
pub(super) struct Reading {
    document: Option<Document>,
    places: Vec<Place>,
    elements: usize,
    text: String,
    complete: bool,
}

impl Reading {
    pub(super) fn open(&mut self, tag: &BytesStart<'_>, ours: bool) -> Result<(), Error> {
        self.elements += 1;
        if self.elements > ELEMENTS_MAX || self.places.len() >= DEPTH_MAX {
            return Err(Error::TooLarge);
        }
        if self.complete {
            return Err(Error::Syntax);
        }
        let place = match self.places.last() {
            None => Place::Root,
            Some(parent) if ours => child(*parent, tag.local_name().as_ref()),
            Some(_) => Place::Other,
        };
        self.text.clear();
        let attributes = attributes(tag)?;
        let cut = |value: &String| value.chars().take(TEXT_MAX).collect::<String>();
        let get = |name: &str| attributes.iter().find(|(own, _)| own == name).map(|(_, value)| cut(value));
        match place {
            Place::Root => {
                let known = ours && <_ as AsRef<str>>::as_ref(&tag.local_name()) == "dialog-info";
                let version = get("version").and_then(|text| text.trim().parse().ok());
                let full = match get("state").as_deref().map(str::trim) {
                    Some("full") => Some(true),
                    Some("partial") => Some(false),
                    _ => None,
                };
                let (Some(version), Some(full), true) = (version, full, known) else {
                    return Err(Error::NotDialogInfo);
                };
                let entity = get("entity").unwrap_or_default();
                self.document = Some(Document { version, full, entity, dialogs: Vec::new() });
            }
            Place::Dialog => {
                let dialog = Dialog {
                    id: get("id").unwrap_or_default(),
                    call_id: get("call-id").filter(|id| !id.is_empty()),
                    local_tag: get("local-tag").filter(|tag| !tag.is_empty()),
                    remote_tag: get("remote-tag").filter(|tag| !tag.is_empty()),
                    direction: get("direction").as_deref().and_then(direction),
                    ..Dialog::default()
                };
                let dialogs = self.document.as_mut().map(|document| &mut document.dialogs);
                let Some(dialogs) = dialogs.filter(|dialogs| dialogs.len() < DIALOGS_MAX) else {
                    return Err(Error::TooLarge);
                };
                dialogs.push(dialog);
            }
            Place::State => {
                let event = get("event").as_deref().and_then(reason);
                let code = get("code").and_then(|code| code.trim().parse().ok());
                if let Some(dialog) = self.dialog() {
                    (dialog.event, dialog.code) = (event, code);
                }
            }
            Place::RemoteIdentity => {
                let display = get("display").map(|name| name.trim().to_string()).filter(|name| !name.is_empty());
                if let Some(dialog) = self.dialog() {
                    dialog.remote.display = display;
                }
            }
            Place::Other if self.places.last() == Some(&Place::LocalTarget) => {
                // RFC 4235 §4.2.1; written `pname`/`pval`, by some with `name`/`value`
                let name = get("pname").or_else(|| get("name")).unwrap_or_default();
                let value = get("pval").or_else(|| get("pvalue")).or_else(|| get("value")).unwrap_or_default();
                if let Some(dialog) = self.dialog().filter(|_| name.eq_ignore_ascii_case("+sip.rendering")) {
                    dialog.held = value.trim_matches('"').eq_ignore_ascii_case("no");
                }
            }
            _ => {}
        }
        self.places.push(place);
        Ok(())
    }

    pub(super) fn close(&mut self) {
        let text = std::mem::take(&mut self.text).trim().to_string();
        let place = self.places.pop();
        self.complete = self.places.is_empty();
        let Some(dialog) = self.dialog() else { return };
        match place {
            Some(Place::State) => dialog.state = state(&text),
            Some(Place::RemoteIdentity) if !text.is_empty() => dialog.remote.identity = Some(text),
            _ => {}
        }
    }

    pub(super) fn text(&mut self, piece: &str) {
        if matches!(self.places.last(), Some(Place::State | Place::RemoteIdentity)) {
            let room = TEXT_MAX.saturating_sub(self.text.chars().count());
            self.text.extend(piece.chars().take(room));
        }
    }

    fn dialog(&mut self) -> Option<&mut Dialog> {
        self.document.as_mut()?.dialogs.last_mut()
    }

    pub(super) fn finish(self) -> Result<Document, Error> {
        match self.document {
            Some(document) if self.complete => Ok(document),
            Some(_) => Err(Error::Syntax),
            None => Err(Error::NotDialogInfo),
        }
    }
}

fn child(parent: Place, name: &str) -> Place {
    match (parent, name) {
        (Place::Root, "dialog") => Place::Dialog,
        (Place::Dialog, "state") => Place::State,
        (Place::Dialog, "local") => Place::Local,
        (Place::Dialog, "remote") => Place::Remote,
        (Place::Local, "target") => Place::LocalTarget,
        (Place::Remote, "identity") => Place::RemoteIdentity,
        _ => Place::Other,
    }
}

fn direction(text: &str) -> Option<Direction> {
    match text.trim() {
        "recipient" => Some(Direction::Recipient),
        "initiator" => Some(Direction::Initiator),
        _ => None,
    }
}

fn state(text: &str) -> State {
    match text {
        "early" => State::Early,
        "confirmed" => State::Confirmed,
        "terminated" => State::Terminated,
        _ => State::Begun,
    }
}

fn reason(text: &str) -> Option<Reason> {
    match text.trim() {
        "cancelled" => Some(Reason::Cancelled),
        "rejected" => Some(Reason::Rejected),
        "replaced" => Some(Reason::Replaced),
        "local-bye" => Some(Reason::LocalBye),
        "remote-bye" => Some(Reason::RemoteBye),
        "error" => Some(Reason::Error),
        "timeout" => Some(Reason::Timeout),
        _ => None,
    }
}

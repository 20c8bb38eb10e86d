//! dialog-info documents (RFC 4235): what an exchange tells of the calls of one extension.
//!
//! Read with namespaces, without DTD, and without entities other than the five of XML. Limits: [`BYTES_MAX`], [`DEPTH_MAX`],
//! [`ELEMENTS_MAX`], [`DIALOGS_MAX`]; longer texts are cut off.

use encoding_rs::{EUC_JP, Encoding, SHIFT_JIS};
use quick_xml::NsReader;
use quick_xml::escape::unescape;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::ResolveResult;

use super::message::decode;

mod book;

pub use book::{Applied, Book, Calls};

/// Bytes of a document.
pub const BYTES_MAX: usize = 65_536;
/// Elements inside one another.
pub const DEPTH_MAX: usize = 16;
/// Elements of a document.
pub const ELEMENTS_MAX: usize = 2_048;
/// Dialogs of a document.
pub const DIALOGS_MAX: usize = 64;
/// Characters of one text or attribute.
const TEXT_MAX: usize = 512;
/// Attributes of one element that are looked at.
const ATTRIBUTES_MAX: usize = 32;
const NAMESPACE: &str = "urn:ietf:params:xml:ns:dialog-info";

/// Why a document cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Beyond a limit.
    #[error("larger, deeper or longer than is read")]
    TooLarge,
    /// Broken syntax, an unknown entity, or the end is missing.
    #[error("not well-formed XML")]
    Syntax,
    /// It has a DTD.
    #[error("it has a document type definition")]
    Dtd,
    /// Well-formed, but something else.
    #[error("no dialog-info with version and state")]
    NotDialogInfo,
}

/// A whole document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// Rises by one with every document of a subscription.
    pub version: u32,
    /// All dialogs are in it; otherwise only those that changed.
    pub full: bool,
    /// Whose dialogs they are.
    pub entity: String,
    /// The dialogs.
    pub dialogs: Vec<Dialog>,
}

/// One dialog of the extension.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dialog {
    /// Its name among the dialogs of the entity.
    pub id: String,
    /// Call-ID, when it is told.
    pub call_id: Option<String>,
    /// Tag of the extension.
    pub local_tag: Option<String>,
    /// Tag of the other side.
    pub remote_tag: Option<String>,
    /// Who called whom, when it is told.
    pub direction: Option<Direction>,
    /// How far it is.
    pub state: State,
    /// Why it got there.
    pub event: Option<Reason>,
    /// The status code that did it.
    pub code: Option<u16>,
    /// The other side.
    pub remote: Party,
    /// The extension does not send (`+sip.rendering=no`): it has put the other side on hold.
    pub held: bool,
}

/// Who called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The extension was called.
    Recipient,
    /// The extension called.
    Initiator,
}

/// How far a dialog is (RFC 4235 §3.7.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// `trying`, `proceeding`, or nothing that we know.
    #[default]
    Begun,
    /// It rings.
    Early,
    /// It was answered.
    Confirmed,
    /// It is over.
    Terminated,
}

/// Why a dialog is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// `cancelled`.
    Cancelled,
    /// `rejected`.
    Rejected,
    /// `replaced`.
    Replaced,
    /// `local-bye`: the extension hung up.
    LocalBye,
    /// `remote-bye`: the other side hung up.
    RemoteBye,
    /// `error`.
    Error,
    /// `timeout`.
    Timeout,
}

/// One side of a dialog.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Party {
    /// The URI of its identity.
    pub identity: Option<String>,
    /// Its display name.
    pub display: Option<String>,
}

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

impl Document {
    /// Reads a document; `charset` is what Content-Type says, which the XML declaration overrides.
    ///
    /// # Errors
    /// It is beyond a limit, not well-formed, has a DTD or is something else.
    pub fn parse(body: &[u8], charset: Option<&str>) -> Result<Document, Error> {
        if body.len() > BYTES_MAX {
            return Err(Error::TooLarge);
        }
        let text = text_of(body, charset);
        let mut reading = Reading::default();
        let mut reader = NsReader::from_str(text.trim_start_matches('\u{feff}').trim_start());
        loop {
            let (namespace, event) = reader.read_resolved_event().map_err(|_| Error::Syntax)?;
            let ours = match namespace {
                ResolveResult::Bound(name) => name.0 == NAMESPACE,
                ResolveResult::Unbound => true,
                ResolveResult::Unknown(_) => return Err(Error::Syntax),
            };
            match event {
                Event::Start(tag) => reading.open(&tag, ours)?,
                Event::Empty(tag) => {
                    reading.open(&tag, ours)?;
                    reading.close();
                }
                Event::End(_) => reading.close(),
                Event::Text(piece) => reading.text(&piece.xml10_content()),
                Event::CData(piece) => reading.text(&piece.xml10_content()),
                Event::GeneralRef(name) => {
                    let plain =
                        unescape(&format!("&{};", &*name.xml10_content())).map_err(|_| Error::Syntax)?.into_owned();
                    reading.text(&plain);
                }
                Event::DocType(_) => return Err(Error::Dtd),
                Event::Eof => return reading.finish(),
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            }
        }
    }
}

#[derive(Default)]
struct Reading {
    document: Option<Document>,
    places: Vec<Place>,
    elements: usize,
    text: String,
    complete: bool,
}

impl Reading {
    fn open(&mut self, tag: &BytesStart<'_>, ours: bool) -> Result<(), Error> {
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
        let get = |name: &str| attributes.iter().find(|(own, _)| own == name).map(|(_, value)| value.clone());
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

    fn close(&mut self) {
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

    fn text(&mut self, piece: &str) {
        if matches!(self.places.last(), Some(Place::State | Place::RemoteIdentity)) {
            let room = TEXT_MAX.saturating_sub(self.text.chars().count());
            self.text.extend(piece.chars().take(room));
        }
    }

    fn dialog(&mut self) -> Option<&mut Dialog> {
        self.document.as_mut()?.dialogs.last_mut()
    }

    fn finish(self) -> Result<Document, Error> {
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

fn attributes(tag: &BytesStart<'_>) -> Result<Vec<(String, String)>, Error> {
    let mut all = Vec::new();
    for attribute in tag.attributes().with_checks(false).take(ATTRIBUTES_MAX) {
        let attribute = attribute.map_err(|_| Error::Syntax)?;
        let value = unescape(&attribute.value).map_err(|_| Error::Syntax)?;
        let name: &str = attribute.key.as_ref();
        all.push((name.to_string(), value.chars().take(TEXT_MAX).collect()));
    }
    Ok(all)
}

/// The document in Unicode: as its declaration says, else as the header says, else as headers are read.
fn text_of(body: &[u8], charset: Option<&str>) -> String {
    let head = String::from_utf8_lossy(body.get(..body.len().min(128)).unwrap_or_default()).into_owned();
    let declared = head.split_once("?>").and_then(|(declaration, _)| declaration.split_once("encoding="));
    let declared = declared.and_then(|(_, rest)| rest.get(1..)?.split(['"', '\'']).next());
    let named = declared.or(charset).and_then(|label| Encoding::for_label(label.as_bytes()));
    match named.filter(|encoding| [SHIFT_JIS, EUC_JP].contains(encoding)) {
        Some(encoding) => encoding.decode_without_bom_handling(body).0.into_owned(),
        None => decode(body).into_owned(),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4235 §6.1, a message of the flow, with a namespace prefix and what may stand around it.
    const FULL: &str = r#"<?xml version="1.0"?>
<d:dialog-info xmlns:d="urn:ietf:params:xml:ns:dialog-info" xmlns:x="urn:other" version="2" state="full" entity="sip:2001@example.com">
  <!-- a comment --><x:state>terminated</x:state>
  <d:dialog id="as7d900as8" call-id="a84b4c76e66710" local-tag="1928301774" remote-tag="456887766" direction="recipient">
    <x:state>terminated</x:state>
    <d:state event="remote-bye" code="200">confirmed</d:state>
    <d:local><d:target uri="sip:2001@192.0.2.4"><d:param pname="+sip.rendering" pval="no"/></d:target></d:local>
    <d:remote><d:identity display="橋本 &amp; &#x5B50;">sip:06&#54;3621234@example.com</d:identity><d:target uri="sip:x@y"/></d:remote>
  </d:dialog>
</d:dialog-info>"#;

    fn parse(text: &str) -> Result<Document, Error> {
        Document::parse(text.as_bytes(), None)
    }

    #[test]
    fn a_document_with_everything() {
        let document = parse(FULL).unwrap();
        assert_eq!((document.version, document.full, document.entity.as_str()), (2, true, "sip:2001@example.com"));
        let expected = Dialog {
            id: "as7d900as8".into(),
            call_id: Some("a84b4c76e66710".into()),
            local_tag: Some("1928301774".into()),
            remote_tag: Some("456887766".into()),
            direction: Some(Direction::Recipient),
            state: State::Confirmed,
            event: Some(Reason::RemoteBye),
            code: Some(200),
            remote: Party { identity: Some("sip:0663621234@example.com".into()), display: Some("橋本 & 子".into()) },
            held: true,
        };
        assert_eq!(document.dialogs, [expected]);
        assert_eq!(parse(&FULL.replace("d:", "").replace(":d=", "=")).unwrap(), document, "the default namespace");
    }

    #[test]
    fn other_charsets_by_declaration_by_header_and_by_guess() {
        let text = FULL.replace("<?xml version=\"1.0\"?>", "<?xml version='1.0' encoding='Shift_JIS'?>");
        let cp932 = SHIFT_JIS.encode(&text).0;
        let display = |document: Document| document.dialogs[0].remote.display.clone().unwrap();
        assert_eq!(display(Document::parse(&cp932, None).unwrap()), "橋本 & 子");
        let euc = EUC_JP.encode(FULL).0;
        assert_eq!(display(Document::parse(&euc, Some("EUC-JP")).unwrap()), "橋本 & 子");
        let guessed = SHIFT_JIS.encode(FULL).0;
        assert_eq!(display(Document::parse(&guessed, None).unwrap()), "橋本 & 子");
    }

    #[test]
    fn what_is_hostile_or_something_else_is_refused() {
        let head = "<dialog-info xmlns=\"urn:ietf:params:xml:ns:dialog-info\" version=\"0\" state=\"full\">";
        let whole = |inside: &str| parse(&format!("{head}{inside}</dialog-info>"));
        assert_eq!(whole("").unwrap().dialogs, []);
        assert_eq!(parse(&format!("<!DOCTYPE x [<!ENTITY a \"b\">]>{head}</dialog-info>")), Err(Error::Dtd));
        assert_eq!(whole("<dialog id=\"&a;\"/>"), Err(Error::Syntax));
        assert_eq!(whole("<dialog><state>&bomb;</state></dialog>"), Err(Error::Syntax));
        assert_eq!(whole("<n:dialog/>"), Err(Error::Syntax));
        assert_eq!(whole(&"<dialog/>".repeat(DIALOGS_MAX + 1)), Err(Error::TooLarge));
        assert_eq!(whole(&"<x/>".repeat(ELEMENTS_MAX + 1)), Err(Error::TooLarge));
        assert_eq!(whole(&"<x>".repeat(DEPTH_MAX)), Err(Error::TooLarge));
        assert_eq!(whole(&" ".repeat(BYTES_MAX)), Err(Error::TooLarge));
        assert_eq!(parse(head), Err(Error::Syntax));
        for other in
            ["", "text", "<presence/>", "<dialog-info version='1'/>", "<dialog-info state='full' version='-1'/>"]
        {
            assert_eq!(parse(other), Err(Error::NotDialogInfo), "{other}");
        }
        let other = head.replace("dialog-info\" v", "pidf\" v");
        assert_eq!(parse(&format!("{other}</dialog-info>")), Err(Error::NotDialogInfo));
        let long = whole(&format!("<dialog id=\"{}\"/>", "9".repeat(9_000))).unwrap();
        assert_eq!(long.dialogs[0].id.len(), TEXT_MAX);
    }
}

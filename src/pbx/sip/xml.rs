//! XML documents in SIP bodies, element by element: with namespaces, without DTD, and without entities other than the five of XML. Nothing is
//! fetched or expanded.

use encoding_rs::{EUC_JP, Encoding, SHIFT_JIS};
use quick_xml::NsReader;
use quick_xml::escape::unescape;
use quick_xml::events::attributes::{AttrError, Attribute};
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::ResolveResult;

use super::message::decode;

/// Attributes of one element that are looked at.
const ATTRIBUTES_MAX: usize = 32;

/// Why a document cannot be read further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Broken syntax, or an unknown entity.
    Syntax,
    /// It has a document type definition.
    Dtd,
}

/// The namespace of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Namespace<'a> {
    /// None is declared.
    None,
    /// This one.
    Bound(&'a str),
    /// Its prefix was not declared.
    Undeclared,
}

/// What follows in the document.
#[derive(Debug)]
pub(super) enum Piece<'a> {
    /// An element begins.
    Open(&'a BytesStart<'a>, Namespace<'a>),
    /// The innermost element ends.
    Close,
    /// Text of the innermost element; one text may come in several pieces.
    Text(&'a str),
}

/// Reads a document to its end, or until `take` gives `false`; `charset` is what Content-Type says, which the XML declaration overrides.
pub(super) fn read<E: From<Fault>>(
    body: &[u8],
    charset: Option<&str>,
    mut take: impl FnMut(Piece<'_>) -> Result<bool, E>,
) -> Result<(), E> {
    let text = text_of(body, charset);
    let mut reader = NsReader::from_str(text.trim_start_matches('\u{feff}').trim_start());
    loop {
        let (resolved, event) = reader.read_resolved_event().map_err(|_| Fault::Syntax)?;
        let namespace = match &resolved {
            ResolveResult::Bound(name) => Namespace::Bound(name.0),
            ResolveResult::Unbound => Namespace::None,
            ResolveResult::Unknown(_) => Namespace::Undeclared,
        };
        let goes_on = match event {
            Event::Start(tag) => take(Piece::Open(&tag, namespace))?,
            Event::Empty(tag) => take(Piece::Open(&tag, namespace))? && take(Piece::Close)?,
            Event::End(_) => take(Piece::Close)?,
            Event::Text(piece) => take(Piece::Text(&piece.xml10_content()))?,
            Event::CData(piece) => take(Piece::Text(&piece.xml10_content()))?,
            Event::GeneralRef(name) => {
                let plain = format!("&{};", &*name.xml10_content());
                take(Piece::Text(&unescape(&plain).map_err(|_| Fault::Syntax)?))?
            }
            Event::DocType(_) => return Err(Fault::Dtd.into()),
            Event::Eof => false,
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => true,
        };
        if !goes_on {
            return Ok(());
        }
    }
}

/// The attributes of an element: name as written, and value.
pub(super) fn attributes(tag: &BytesStart<'_>) -> Result<Vec<(String, String)>, Fault> {
    let read = |attribute: Result<Attribute<'_>, AttrError>| {
        let attribute = attribute.map_err(|_| Fault::Syntax)?;
        let value = unescape(&attribute.value).map_err(|_| Fault::Syntax)?;
        let name: &str = attribute.key.as_ref();
        Ok((name.to_string(), value.into_owned()))
    };
    tag.attributes().with_checks(false).take(ATTRIBUTES_MAX).map(read).collect()
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

//! ARI's JSON (Asterisk 20 and newer): events and lists, read with tolerance and limits.
//!
//! Unknown events and fields are ignored, absent or mistyped ones are empty; only what is not JSON, has no `type` or lacks the id it
//! is about is refused. Texts are cut at [`TEXT_MAX`] bytes, an id above [`ID_MAX`] is refused, a list ends after [`LIST_MAX`] entries.

use serde_json::Value;

/// Longest id that is taken, in bytes (Asterisk's own limit is 149).
pub const ID_MAX: usize = 200;
/// Longest text that is kept, in bytes.
pub const TEXT_MAX: usize = 512;
/// Most entries of a list that are read.
pub const LIST_MAX: usize = 20_000;

/// Why an ARI message could not be used. Carries no content of the message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not JSON.
    #[error(
        "ARI message of {bytes} bytes is not JSON (line {line}, column {column}); is a proxy between Asterisk and the bridge?"
    )]
    Syntax {
        /// Size of the message.
        bytes: usize,
        /// Line of the error.
        line: usize,
        /// Column of the error.
        column: usize,
    },
    /// A field that everything hangs on is absent, empty or too long.
    #[error("ARI message lacks a usable `{field}` (a text of 1 to {ID_MAX} bytes)")]
    Field {
        /// The field.
        field: &'static str,
    },
}

/// A channel as ARI shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Channel {
    /// Unique id.
    pub id: String,
    /// Name, for example `PJSIP/2001-0000001a`.
    pub name: String,
    /// What it does.
    pub state: State,
    /// SIP Call-ID of a PJSIP channel; empty before the dialog exists.
    pub protocol_id: String,
    /// The channel's own number.
    pub number: String,
    /// The channel's own name.
    pub display: String,
    /// Extension of the dialplan.
    pub exten: String,
    /// Application that runs.
    pub app: String,
    /// Its arguments.
    pub app_data: String,
    /// Address and port of an external-media channel at Asterisk (`UNICASTRTP_LOCAL_ADDRESS`, `UNICASTRTP_LOCAL_PORT`).
    pub media_source: Option<(String, u16)>,
    /// Id under which we connect to a channel of chan_websocket (`MEDIA_WEBSOCKET_CONNECTION_ID`); empty: none.
    pub media_connection: String,
}

/// States of a channel that matter here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Made, nothing sent yet, or a state that does not matter here.
    #[default]
    Down,
    /// An incoming call that is not answered.
    Ring,
    /// An outgoing call whose far end rings.
    Ringing,
    /// Answered.
    Up,
}

/// A bridge with its members' ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bridge {
    /// Unique id.
    pub id: String,
    /// Ids of the channels in it.
    pub channels: Vec<String>,
    /// It is a parking place.
    pub parking: bool,
}

/// An attended transfer that was carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// The transferrer's channel with the caller.
    pub first: Channel,
    /// The transferrer's channel of the consultation.
    pub second: Channel,
    /// The consultation was answered, so that its other party is connected with the caller; else that telephone still rings.
    pub bridged: bool,
}

/// One channel dials another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dial {
    /// Who dials; absent for an originated call.
    pub caller: Option<Channel>,
    /// Who is dialled.
    pub peer: Channel,
    /// Empty at the start, then `RINGING`, `ANSWER`, `BUSY`, …
    pub status: String,
    /// What was dialled, for example `PJSIP/2001`.
    pub dialstring: String,
    /// The peer sent the call elsewhere (SIP 302).
    pub forwarded: bool,
}

/// One event, as far as it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A channel was made.
    Created(Channel),
    /// A channel changed in some way (state, dialplan, connected line, …).
    Changed(Channel),
    /// A channel's number changed; presentation as in Q.951 (bits 6–7: 0 allowed, 1 restricted, 2 unavailable).
    CallerId(Channel, u8),
    /// A channel is gone; cause of Q.850.
    Destroyed(Channel, u16),
    /// The far end of a channel hung up (not Asterisk itself, which asks softly).
    HangupRequest(Channel),
    /// A channel dials another one.
    Dial(Box<Dial>),
    /// A channel entered a bridge.
    Entered(Bridge, Channel),
    /// A channel left a bridge.
    Left(Bridge, Channel),
    /// A bridge is gone.
    BridgeDestroyed(Bridge),
    /// A channel put the other side on hold.
    Hold(Channel),
    /// The hold ended.
    Unhold(Channel),
    /// A digit was pressed.
    Digit(Channel, char),
    /// A channel passes the other party on to an extension.
    BlindTransfer(Channel, String),
    /// A channel joined the parties of two calls.
    AttendedTransfer(Box<Transfer>),
    /// A parking place was taken: its number.
    SlotTaken(String),
    /// A channel of ours entered the Stasis application.
    StasisStart(Channel),
    /// Another program took over the application's name.
    Replaced,
    /// Anything else.
    Other,
}

impl Event {
    /// Reads one text message of the event socket.
    ///
    /// # Errors
    /// What is not JSON, has no `type`, or lacks the channel or bridge that its type promises.
    pub fn parse(text: &str) -> Result<Event, Error> {
        let value = json(text)?;
        let kind = value.get("type").and_then(Value::as_str).ok_or(Error::Field { field: "type" })?;
        let channel = || Channel::read(value.get("channel"), "channel.id");
        let bridge = || Bridge::read(value.get("bridge"), "bridge.id");
        Ok(match kind {
            "ChannelCreated" => Event::Created(channel()?),
            "ChannelStateChange" | "ChannelDialplan" | "ChannelConnectedLine" => Event::Changed(channel()?),
            "ChannelCallerId" => Event::CallerId(channel()?, number(&value, "caller_presentation")),
            "ChannelDestroyed" => Event::Destroyed(channel()?, number(&value, "cause")),
            "ChannelHangupRequest" if value.get("soft").and_then(Value::as_bool) == Some(true) => {
                Event::Changed(channel()?)
            }
            "ChannelHangupRequest" => Event::HangupRequest(channel()?),
            "Dial" => Event::Dial(Box::new(Dial {
                caller: Channel::read(value.get("caller"), "caller.id").ok(),
                peer: Channel::read(value.get("peer"), "peer.id")?,
                status: string(&value, "dialstatus"),
                dialstring: string(&value, "dialstring"),
                forwarded: !string(&value, "forward").is_empty(),
            })),
            "ChannelEnteredBridge" => Event::Entered(bridge()?, channel()?),
            "ChannelLeftBridge" => Event::Left(bridge()?, channel()?),
            "BridgeDestroyed" => Event::BridgeDestroyed(bridge()?),
            "ChannelHold" => Event::Hold(channel()?),
            "ChannelUnhold" => Event::Unhold(channel()?),
            "ChannelDtmfReceived" => match string(&value, "digit").chars().next() {
                Some(digit @ ('0'..='9' | '*' | '#' | 'A'..='D')) => Event::Digit(channel()?, digit),
                _ => Event::Other,
            },
            "BridgeBlindTransfer" if string(&value, "result") == "Success" => {
                Event::BlindTransfer(channel()?, string(&value, "exten"))
            }
            "BridgeAttendedTransfer" if string(&value, "result") == "Success" => {
                Event::AttendedTransfer(Box::new(Transfer {
                    first: Channel::read(value.get("transferer_first_leg"), "transferer_first_leg.id")?,
                    second: Channel::read(value.get("transferer_second_leg"), "transferer_second_leg.id")?,
                    bridged: string(&value, "destination_type") != "application",
                }))
            }
            "DeviceStateChanged" => slot(&value).map_or(Event::Other, Event::SlotTaken),
            "StasisStart" => Event::StasisStart(channel()?),
            "ApplicationReplaced" => Event::Replaced,
            _ => Event::Other,
        })
    }
}

impl Channel {
    /// Reads the answer to `GET /channels` (or of one channel).
    ///
    /// # Errors
    /// What is not JSON. Entries without a usable id are left out.
    pub fn parse_list(text: &str) -> Result<Vec<Channel>, Error> {
        Ok(list(&json(text)?).iter().take(LIST_MAX).filter_map(|entry| Channel::read(Some(entry), "id").ok()).collect())
    }

    /// Technology of the name: `PJSIP`, `Local`, …
    pub fn technology(&self) -> &str {
        self.name.split_once('/').map_or("", |(technology, _)| technology)
    }

    fn read(value: Option<&Value>, field: &'static str) -> Result<Channel, Error> {
        let value = value.ok_or(Error::Field { field })?;
        let part = |outer: &str, inner: &str| value.get(outer).map(|outer| string(outer, inner)).unwrap_or_default();
        let state = match value.get("state").and_then(Value::as_str) {
            Some("Ring") => State::Ring,
            Some("Ringing") => State::Ringing,
            Some("Up") => State::Up,
            _ => State::Down,
        };
        let port = part("channelvars", "UNICASTRTP_LOCAL_PORT").parse().ok().filter(|port| *port != 0);
        let address = part("channelvars", "UNICASTRTP_LOCAL_ADDRESS");
        Ok(Channel {
            id: id(value, field)?,
            name: string(value, "name"),
            state,
            protocol_id: string(value, "protocol_id"),
            number: part("caller", "number"),
            display: part("caller", "name"),
            exten: part("dialplan", "exten"),
            app: part("dialplan", "app_name"),
            app_data: part("dialplan", "app_data"),
            media_source: port.map(|port| (address, port)),
            media_connection: part("channelvars", "MEDIA_WEBSOCKET_CONNECTION_ID"),
        })
    }
}

impl Bridge {
    /// Reads the answer to `GET /bridges`.
    ///
    /// # Errors
    /// What is not JSON. Entries without a usable id are left out.
    pub fn parse_list(text: &str) -> Result<Vec<Bridge>, Error> {
        Ok(list(&json(text)?).iter().take(LIST_MAX).filter_map(|entry| Bridge::read(Some(entry), "id").ok()).collect())
    }

    fn read(value: Option<&Value>, field: &'static str) -> Result<Bridge, Error> {
        let value = value.ok_or(Error::Field { field })?;
        let members = value.get("channels").and_then(Value::as_array).map_or(&[] as &[Value], Vec::as_slice);
        let usable = |member: &&str| !member.is_empty() && member.len() <= ID_MAX;
        let channels =
            members.iter().take(LIST_MAX).filter_map(Value::as_str).filter(usable).map(String::from).collect();
        Ok(Bridge { id: id(value, field)?, channels, parking: string(value, "bridge_class") == "parking" })
    }
}

/// Reads the answer to `GET …/variable`; empty when it has none.
///
/// # Errors
/// What is not JSON.
pub fn parse_variable(text: &str) -> Result<String, Error> {
    Ok(string(&json(text)?, "value"))
}

/// The device `park:701@parkedcalls` in use: parking place 701 was taken.
fn slot(value: &Value) -> Option<String> {
    let device = value.get("device_state")?;
    let taken = string(device, "state") == "INUSE";
    let name = string(device, "name");
    let (slot, _) = name.strip_prefix("park:").or_else(|| name.strip_prefix("Park:"))?.split_once('@')?;
    taken.then(|| slot.to_string())
}

fn json(text: &str) -> Result<Value, Error> {
    let refused = |e: serde_json::Error| Error::Syntax { bytes: text.len(), line: e.line(), column: e.column() };
    serde_json::from_str(text).map_err(refused)
}

fn list(value: &Value) -> &[Value] {
    match value {
        Value::Array(entries) => entries,
        one => std::slice::from_ref(one),
    }
}

fn id(value: &Value, field: &'static str) -> Result<String, Error> {
    let id = value.get("id").and_then(Value::as_str).filter(|id| !id.is_empty() && id.len() <= ID_MAX);
    id.map(String::from).ok_or(Error::Field { field })
}

fn string(value: &Value, field: &str) -> String {
    let text = value.get(field).and_then(Value::as_str).unwrap_or_default();
    let mut end = text.len().min(TEXT_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().into()
}

fn number<N: TryFrom<u64> + Default>(value: &Value, field: &str) -> N {
    value.get(field).and_then(Value::as_u64).and_then(|n| N::try_from(n).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_null_and_mistyped_fields_are_empty() {
        let text = r#"{"type":"ChannelCreated","channel":{"id":"1.2","name":7,"caller":null,"dialplan":[],"state":"Odd","new":{}}}"#;
        let channel = Channel { id: "1.2".into(), ..Channel::default() };
        assert_eq!(Event::parse(text), Ok(Event::Created(channel)));
    }

    #[test]
    fn what_cannot_be_used_says_which_field() {
        assert_eq!(Event::parse(r#"{"type":"StasisStart"}"#), Err(Error::Field { field: "channel.id" }));
        assert_eq!(Event::parse(r#"{"a":1}"#), Err(Error::Field { field: "type" }));
        let long = format!(r#"{{"type":"ChannelHold","channel":{{"id":"{}"}}}}"#, "x".repeat(ID_MAX + 1));
        assert_eq!(Event::parse(&long), Err(Error::Field { field: "channel.id" }));
        assert!(matches!(Event::parse("{"), Err(Error::Syntax { bytes: 1, line: 1, .. })));
    }

    #[test]
    fn unknown_events_are_ignored_and_long_texts_cut_at_a_character() {
        assert_eq!(Event::parse(r#"{"type":"Brand New"}"#), Ok(Event::Other));
        let text = format!(r#"{{"value":"{}"}}"#, "あ".repeat(400));
        assert_eq!(parse_variable(&text).unwrap().len(), TEXT_MAX - TEXT_MAX % 3);
    }
}

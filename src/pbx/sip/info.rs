//! INFO inside a call: digits as older exchanges send them. Packages of RFC 6086 are none of ours.

use crate::pbx::{Signal, Speaker};
use crate::time::Now;

use super::header::split_params;
use super::message::{Message, decode};
use super::request::Request;
use super::transaction::Key;
use super::uas::Uas;

const ACCEPT: &str = "application/dtmf-relay, application/dtmf";

impl Uas {
    /// 200 for a digit and for an INFO without content, 469 for a package (RFC 6086 §4.2.2), 415 for anything else.
    pub(super) fn info(&mut self, key: &Key, request: &Request, tag: &str, now: Now) {
        let message = &request.message;
        if message.count("Info-Package") > 0 {
            let mut answer = request.answer(469, tag);
            answer.push("Recv-Info", "");
            return self.respond(key, &answer, now);
        }
        let kind = message.text("Content-Type").unwrap_or_default().into_owned();
        let kind = split_params(&kind).map(|(kind, _)| kind.to_ascii_lowercase()).unwrap_or_default();
        if !message.body.is_empty() && !ACCEPT.split(", ").any(|own| own == kind) {
            let mut answer = request.answer(415, tag);
            answer.push("Accept", ACCEPT);
            return self.respond(key, &answer, now);
        }
        self.respond(key, &request.answer(200, tag), now);
        // in a recording session nobody knows who pressed it
        let Some(call) = self.calls.get(tag).filter(|call| call.recording.is_none()) else { return };
        let pressed = digit(message).map(|digit| Signal::Digit { speaker: Speaker::Caller, digit });
        let pressed = pressed.map(|signal| call.observed(signal, now));
        self.out.extend(pressed);
    }
}

/// `Signal=5` among other lines, or the digit alone. A flash (16) is no digit.
fn digit(message: &Message) -> Option<char> {
    let text = decode(message.body.get(..message.body.len().min(256))?);
    let mut values = text.lines().filter_map(|line| {
        let (name, value) = line.split_once('=')?;
        name.trim().eq_ignore_ascii_case("signal").then(|| value.trim().to_string())
    });
    let value = values.next().unwrap_or_else(|| text.trim().to_string());
    match value.to_ascii_uppercase().as_str() {
        "10" => Some('*'),
        "11" => Some('#'),
        "12" => Some('A'),
        "13" => Some('B'),
        "14" => Some('C'),
        "15" => Some('D'),
        one => one.chars().next().filter(|c| one.len() == 1 && (c.is_ascii_digit() || "*#ABCD".contains(*c))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::Start;
    use super::*;

    #[test]
    fn digits_are_read_in_every_form_that_is_sent() {
        let of = |body: &str| {
            let mut message = Message::new(Start::Request { method: "INFO".into(), uri: "sip:a".into() });
            message.body = body.into();
            digit(&message)
        };
        assert_eq!(of("Signal=5\r\nDuration=160\r\n"), Some('5'));
        assert_eq!(of("Duration=160\nsignal = *\n"), Some('*'));
        assert_eq!(of("#"), Some('#'));
        assert_eq!(of("Signal=11\r\n"), Some('#'));
        assert_eq!(of("d"), Some('D'));
        assert_eq!((of("Signal=16"), of(""), of("99"), of("é")), (None, None, None, None));
    }
}

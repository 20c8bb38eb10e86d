//! Who calls, as Asterisk tells it: number, name, presentation, and the Japanese reasons for a missing number.

use crate::pbx::identity::{bounded_display, bounded_number, withheld as reason};
use crate::pbx::{DivertReason, Diverted, EndCause, Identity, Withheld};

use super::event::Channel;

/// Whether the caller's number may be shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Presentation {
    /// Not known yet; the number is kept back.
    #[default]
    Unknown,
    /// May be shown.
    Allowed,
    /// The caller refused (184, Privacy).
    Restricted,
    /// The network had none.
    Unavailable,
}

impl Presentation {
    /// Of `CALLERID(num-pres)`.
    pub(super) fn of_name(name: &str) -> Presentation {
        match name.split('_').next() {
            Some("allowed") => Presentation::Allowed,
            Some("prohib") => Presentation::Restricted,
            Some("unavailable") => Presentation::Unavailable,
            _ => Presentation::Unknown,
        }
    }

    /// Of the octet in `ChannelCallerId` (Q.951: bits 6 and 7).
    pub(super) fn of_octet(octet: u8) -> Presentation {
        match octet & 0x60 {
            0x00 => Presentation::Allowed,
            0x20 => Presentation::Restricted,
            _ => Presentation::Unavailable,
        }
    }
}

/// The caller's identity; a number that may not be shown goes no further than here.
pub(super) fn identity(channel: &Channel, presentation: Presentation, diverted: Option<&Diverted>) -> Identity {
    let said = reason(&channel.display);
    let anonymous = channel.number.is_empty() || reason(&channel.number).is_some();
    let withheld = match presentation {
        Presentation::Allowed | Presentation::Unknown if !anonymous => None,
        Presentation::Unavailable => Some(said.unwrap_or(Withheld::Unavailable)),
        Presentation::Restricted => Some(said.unwrap_or(Withheld::Refused)),
        _ => said.or_else(|| reason(&channel.number)),
    };
    let shown = presentation == Presentation::Allowed && !anonymous;
    let number = bounded_number(&channel.number).filter(|_| shown);
    let display = bounded_display(&channel.display, number.as_deref()).filter(|_| shown);
    Identity { number, display, withheld, diverted: diverted.cloned(), ..Identity::default() }
}

/// Asks for a channel's redirection in one request: reason, presentation of the first and of the last number, these numbers. The numbers are
/// the peer's own words and come last.
pub(super) const REDIRECTING: &str = "EVAL(${REDIRECTING(reason)};${REDIRECTING(orig-num-pres)};${REDIRECTING(from-num-pres)};\
    ${REDIRECTING(orig-num)};${REDIRECTING(from-num)})";

/// The answer to [`REDIRECTING`]; `None` for a call that was not diverted. A number that may not be shown goes no further than here.
pub(super) fn diverted(answer: &str) -> Option<Diverted> {
    let mut parts = answer.splitn(5, ';');
    let mut part = || parts.next();
    let (reason, first_shown, last_shown, first, last) = (part()?, part()?, part()?, part()?, part()?);
    let (shown, number) = if first.is_empty() { (last_shown, last) } else { (first_shown, first) };
    let reason = match reason {
        "" | "unknown" => None,
        "unconditional" => Some(DivertReason::Unconditional),
        "cfb" => Some(DivertReason::Busy),
        "cfnr" => Some(DivertReason::NoAnswer),
        "out_of_order" => Some(DivertReason::Unavailable),
        "deflection" => Some(DivertReason::Deflection),
        _ => Some(DivertReason::Other),
    };
    let number = bounded_number(number);
    if number.is_none() && reason.is_none() {
        return None;
    }
    let number = number.filter(|_| Presentation::of_name(shown) == Presentation::Allowed);
    Some(Diverted { number, reason })
}

/// The device or extension that a dialled channel stands for: the number dialled through a line (`06…@trunk`), else the endpoint.
pub(super) fn address(channel: &Channel, dialstring: &str) -> String {
    let dialled = dialstring.rsplit('/').next().unwrap_or_default();
    if let Some((number, _)) = dialled.split_once('@')
        && !number.is_empty()
        && number.bytes().all(|b| b.is_ascii_digit() || b"+*#".contains(&b))
    {
        return number.into();
    }
    endpoint(channel).into()
}

/// `PJSIP/2001-0000001a` → `2001`; `AudioSocket/HOST:PORT-UUID` → `HOST:PORT`; `WebSocket/NAME/0x7f…` → `NAME`.
pub(super) fn endpoint(channel: &Channel) -> &str {
    match channel.name.split_once('/') {
        Some(("AudioSocket", rest)) => return rest.get(..rest.len().saturating_sub(37)).unwrap_or(rest),
        Some(("WebSocket", rest)) => return rest.split('/').next().unwrap_or_default(),
        _ => {}
    }
    let device = channel.name.rsplit('/').next().unwrap_or_default();
    device.rsplit_once('-').map_or(device, |(endpoint, _)| endpoint)
}

/// The cause of Q.850 §2.2.7, as far as it tells something.
pub(super) fn cause(q850: u16) -> Option<EndCause> {
    match q850 {
        16 | 31 | 0 => None,
        17 => Some(EndCause::Busy),
        18..=20 => Some(EndCause::NoAnswer),
        21 => Some(EndCause::Rejected),
        26 => Some(EndCause::AnsweredElsewhere),
        _ => Some(EndCause::Failed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(number: &str, display: &str) -> Channel {
        Channel { number: number.into(), display: display.into(), ..Channel::default() }
    }

    #[test]
    fn a_restricted_number_is_not_passed_on() {
        let of = identity(&channel("0663621234", "Anonymous"), Presentation::Restricted, None);
        assert_eq!(of, Identity { withheld: Some(Withheld::Refused), ..Identity::default() });
        assert_eq!(identity(&channel("0663621234", "橋本"), Presentation::Unknown, None), Identity::default());
    }

    #[test]
    fn the_four_reasons_are_told_apart() {
        let reason = |display| identity(&channel("anonymous", display), Presentation::Allowed, None).withheld;
        assert_eq!(reason("Anonymous"), Some(Withheld::Refused));
        assert_eq!(reason("Coin line/payphone"), Some(Withheld::Payphone));
        assert_eq!(reason("Interaction with other service"), Some(Withheld::ServiceConflict));
        assert_eq!(reason("Unavailable"), Some(Withheld::Unavailable));
        let shown = identity(&channel("0663621234", "橋本"), Presentation::Allowed, None);
        assert_eq!(
            (shown.number.as_deref(), shown.display.as_deref(), shown.withheld),
            (Some("0663621234"), Some("橋本"), None)
        );
    }

    #[test]
    fn a_diversion_is_the_first_line_that_was_dialled_unless_it_is_private() {
        let allowed = "allowed_not_screened";
        let told =
            |reason: &str, first: &str, last: &str| diverted(&format!("{reason};{allowed};{allowed};{first};{last}"));
        let number = |number: &str, reason| Some(Diverted { number: Some(number.into()), reason });
        assert_eq!(told("unknown", "", ""), None);
        assert_eq!(told("cfb", "", "0663621234"), number("0663621234", Some(DivertReason::Busy)));
        assert_eq!(told("cfnr", "0662011111", "0663621234"), number("0662011111", Some(DivertReason::NoAnswer)));
        assert_eq!(told("unknown", "", "0663621234"), number("0663621234", None));
        assert_eq!(told("time_of_day", "", ""), Some(Diverted { number: None, reason: Some(DivertReason::Other) }));
        let private = diverted("unconditional;allowed;prohib_not_screened;;0663621234");
        assert_eq!(private, Some(Diverted { number: None, reason: Some(DivertReason::Unconditional) }));
        for broken in ["", "1795424000.1", ";;", "cfb;;;"] {
            assert_eq!(diverted(broken), None, "{broken}");
        }
    }

    #[test]
    fn the_address_is_the_device_or_the_number_dialled_through_a_line() {
        let named = |name: &str| Channel { name: name.into(), ..Channel::default() };
        assert_eq!(address(&named("PJSIP/2001-0000001a"), "PJSIP/2001"), "2001");
        assert_eq!(address(&named("PJSIP/soudan-shitsu-0000001a"), "PJSIP/soudan-shitsu"), "soudan-shitsu");
        assert_eq!(address(&named("PJSIP/2001-0000001a"), "PJSIP/2001/sip:2001@127.0.0.1:5060"), "2001");
        assert_eq!(address(&named("PJSIP/hikari-0000001a"), "PJSIP/0663621234@hikari"), "0663621234");
        assert_eq!(
            endpoint(&named("AudioSocket/127.0.0.1:9092-40325ec2-5efd-4bd3-805f-53576e581d13")),
            "127.0.0.1:9092"
        );
        assert_eq!(endpoint(&named("AudioSocket/あ")), "");
        assert_eq!(endpoint(&named("WebSocket/kakehashi/0x7f01")), "kakehashi");
    }
}

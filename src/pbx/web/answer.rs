//! The answer to an offer (RFC 8829 §5.3.1), and the offer in our own words for the media stack, which so never reads what a stranger wrote.

use std::fmt::Write as _;

use super::offer::{Audio, Credentials, Line, MID_EXTENSION, Offer};
use crate::pbx::sip::sdp::{Codec, Format};

/// Our end of the transport, as the media stack made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// Credentials of our ICE agent.
    pub ice: Credentials,
    /// SHA-256 fingerprint of our certificate, colon-separated.
    pub fingerprint: String,
    /// Where it receives: values of `candidate` attributes (RFC 8839 §5.1).
    pub candidates: Vec<String>,
}

/// The answer: taken lines are received, the others rejected; it is ICE lite and the passive end of DTLS.
pub fn answer(offer: &Offer, local: &Local, session: u64) -> String {
    let mids: Vec<&str> = offer.audio().filter_map(|(line, _)| line.mid.as_deref()).collect();
    let mut text = format!("v=0\r\no=- {session} 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n");
    put(&mut text, format_args!("a=group:BUNDLE {}\r\na=ice-lite\r\n", mids.join(" ")));
    for line in &offer.lines {
        let Some(audio) = &line.audio else {
            reject(&mut text, line);
            continue;
        };
        put(&mut text, format_args!("m=audio 9 {} {}\r\nc=IN IP4 0.0.0.0\r\n", line.protocol, numbers(&audio.formats)));
        put(&mut text, format_args!("a=mid:{}\r\n", line.mid.as_deref().unwrap_or_default()));
        put(&mut text, format_args!("a=ice-ufrag:{}\r\na=ice-pwd:{}\r\n", local.ice.fragment, local.ice.password));
        put(&mut text, format_args!("a=fingerprint:sha-256 {}\r\na=setup:passive\r\n", local.fingerprint));
        put_media(&mut text, audio, "recvonly");
        // once would do in a bundle (RFC 9143 §7.1.3), but there are clients that look at the last line only
        for candidate in &local.candidates {
            put(&mut text, format_args!("a=candidate:{candidate}\r\n"));
        }
        text.push_str("a=end-of-candidates\r\n");
    }
    text
}

/// The taken lines of an offer in our words; line `n` has the MediaStreamTrack `t<n>`. Other credentials restart ICE.
pub fn restated(offer: &Offer, ice: &Credentials, version: u32) -> String {
    let count = offer.audio().count();
    let mids: Vec<String> = (0..count).map(|n| n.to_string()).collect();
    let mut text = format!("v=0\r\no=- 1 {version} IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n");
    put(&mut text, format_args!("a=group:BUNDLE {}\r\n", mids.join(" ")));
    for (n, (line, audio)) in offer.audio().enumerate() {
        put(&mut text, format_args!("m=audio 9 {} {}\r\nc=IN IP4 0.0.0.0\r\n", line.protocol, numbers(&audio.formats)));
        put(&mut text, format_args!("a=mid:{n}\r\na=ice-ufrag:{}\r\na=ice-pwd:{}\r\n", ice.fragment, ice.password));
        let fingerprint = &offer.fingerprint;
        put(&mut text, format_args!("a=fingerprint:{} {}\r\n", fingerprint.hash, fingerprint.value));
        put(&mut text, format_args!("a=setup:actpass\r\na=msid:s{n} t{n}\r\n"));
        put_media(&mut text, audio, "sendonly");
        if let Some(ssrc) = audio.ssrc {
            put(&mut text, format_args!("a=ssrc:{ssrc} cname:c\r\n"));
        }
    }
    text
}

fn put(text: &mut String, part: std::fmt::Arguments<'_>) {
    // writing to a string cannot fail
    let _ = text.write_fmt(part);
}

fn numbers(formats: &[Format]) -> String {
    formats.iter().map(|format| format.number.to_string()).collect::<Vec<_>>().join(" ")
}

/// RFC 3264 §6: port 0, and the formats are of no meaning.
fn reject(text: &mut String, line: &Line) {
    put(
        text,
        format_args!("m={} 0 {} {}\r\nc=IN IP4 0.0.0.0\r\na=inactive\r\n", line.media, line.protocol, line.format),
    );
    if let Some(mid) = &line.mid {
        put(text, format_args!("a=mid:{mid}\r\n"));
    }
}

fn put_media(text: &mut String, audio: &Audio, direction: &str) {
    put(text, format_args!("a=rtcp-mux\r\na={direction}\r\n"));
    if let Some(number) = audio.extension {
        put(text, format_args!("a=extmap:{number} {MID_EXTENSION}\r\n"));
    }
    for format in &audio.formats {
        let (number, name) = (format.number, name(*format));
        put(text, format_args!("a=rtpmap:{number} {name}\r\n"));
        if let Some(parameters) = parameters(format.codec) {
            put(text, format_args!("a=fmtp:{number} {parameters}\r\n"));
        }
    }
}

/// As `rtpmap` wants it.
pub fn name(format: Format) -> String {
    match format.codec {
        Codec::Pcmu => "PCMU/8000".into(),
        Codec::Pcma => "PCMA/8000".into(),
        Codec::G722 => "G722/8000".into(),
        Codec::Opus => "opus/48000/2".into(),
        Codec::TelephoneEvent => format!("telephone-event/{}", format.clock),
        Codec::ComfortNoise => "CN/8000".into(),
    }
}

/// As `fmtp` wants them: error correction of Opus is welcome; all events are (RFC 4733 §2.4.1).
pub fn parameters(codec: Codec) -> Option<&'static str> {
    match codec {
        Codec::Opus => Some("minptime=10;useinbandfec=1"),
        Codec::TelephoneEvent => Some("0-15"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHROMIUM: &str = include_str!("../../../tests/data/web/chromium_two_tracks.sdp");

    fn local() -> Local {
        Local {
            ice: Credentials { fragment: "ours".into(), password: "p".repeat(24) },
            fingerprint: "AA:BB".into(),
            candidates: vec!["1 1 udp 2130706431 192.0.2.1 42000 typ host".into()],
        }
    }

    #[test]
    fn an_answer_has_a_line_for_each_of_the_offer_and_rejects_video_with_port_0() {
        let video = "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:v\r\na=sendonly\r\n";
        let at = CHROMIUM.find("m=audio").unwrap();
        let text = format!("{}{video}{}", &CHROMIUM[..at], &CHROMIUM[at..]);
        let offer = Offer::read(text.as_bytes(), 2).unwrap();
        let answer = answer(&offer, &local(), 7);
        let lines: Vec<&str> = answer.lines().filter(|line| line.starts_with("m=")).collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0], "m=video 0 UDP/TLS/RTP/SAVPF 96");
        assert!(lines[1].starts_with("m=audio 9 UDP/TLS/RTP/SAVPF "));
        assert!(answer.contains("a=group:BUNDLE 0 1\r\n"), "a rejected line is in no group");
        assert_eq!(answer.matches("a=candidate:").count(), 2, "on every line that is taken");
        assert_eq!(answer.matches("a=setup:passive").count(), 2);
        assert_eq!(answer.matches("a=recvonly").count(), 2);
        assert!(answer.contains("a=ice-lite\r\n") && answer.contains("a=extmap:4 "));
        assert!(answer.contains("a=rtpmap:126 telephone-event/8000\r\na=fmtp:126 0-15\r\n"));
    }

    #[test]
    fn the_restated_offer_can_be_read_again_and_says_the_same() {
        let offer = Offer::read(CHROMIUM.as_bytes(), 2).unwrap();
        let again = Offer::read(restated(&offer, &offer.ice, 1).as_bytes(), 2).unwrap();
        let said = |offer: &Offer| -> Vec<_> {
            offer.audio().map(|(_, a)| (a.formats.clone(), a.ssrc, a.extension)).collect()
        };
        assert_eq!(said(&offer), said(&again));
        assert_eq!((&offer.ice, &offer.fingerprint), (&again.ice, &again.fingerprint));
    }
}

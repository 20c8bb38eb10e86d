//! Writes a capture file of calls that speak: SIP over UDP and RTP both ways, in the order of time.

use std::path::Path;
use std::time::Duration;

use crate::pcap::{Capture, EXCHANGE, TRUNK, sdp};

/// Calls that are set up one after the other, 5 ms each, speak for `seconds` and end together. Gives the packets of sound.
pub(crate) fn write(path: &Path, calls: u64, seconds: u64) -> u64 {
    let mut file = Capture::create(path);
    for call in 0..calls {
        for (n, (from_trunk, text)) in set_up(call).iter().enumerate() {
            file.sip(Duration::from_millis(call * 5 + n as u64), *from_trunk, text);
        }
    }
    let begin = Duration::from_millis(calls * 5 + 100);
    let frames = seconds * 50;
    for n in 0..frames {
        for call in 0..calls {
            // spread over the 20 ms, as they come from telephones
            let at = begin + Duration::from_millis(20) * n as u32 + Duration::from_micros(call * 20_000 / calls);
            for from_trunk in [true, false] {
                rtp(&mut file, at, from_trunk, call, n);
            }
        }
    }
    let end = begin + Duration::from_millis(20) * frames as u32 + Duration::from_millis(300);
    for call in 0..calls {
        for (n, (from_trunk, text)) in hang_up(call).iter().enumerate() {
            file.sip(end + Duration::from_millis(call * 5 + n as u64), *from_trunk, text);
        }
    }
    file.finish();
    frames * calls * 2
}

/// RTP ports of the trunk and of the exchange for a call.
fn ports(call: u64) -> (u16, u16) {
    let offset = u16::try_from(call * 2).unwrap();
    (20_000 + offset, 30_000 + offset)
}

fn message(first: &str, call: u64, cseq: &str, to_tag: bool, body: &str) -> String {
    let (tag, kind) =
        (if to_tag { ";tag=b" } else { "" }, if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" });
    let method = cseq.split(' ').nth(1).unwrap();
    format!(
        "{first}\r\nVia: SIP/2.0/UDP {TRUNK};branch=z9hG4bK{method}{call}\r\nMax-Forwards: 70\r\nFrom: <sip:045{call:07}@{TRUNK}>;tag=a{call}\r\n\
         To: <sip:2001@{EXCHANGE}>{tag}\r\nCall-ID: capture{call}\r\nCSeq: {cseq}\r\nContact: <sip:x@{TRUNK}>\r\n{kind}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn set_up(call: u64) -> [(bool, String); 4] {
    let (theirs, ours) = ports(call);
    let invite = format!("INVITE sip:2001@{EXCHANGE} SIP/2.0");
    [
        (true, message(&invite, call, "1 INVITE", false, &sdp(TRUNK, theirs))),
        (false, message("SIP/2.0 180 Ringing", call, "1 INVITE", true, "")),
        (false, message("SIP/2.0 200 OK", call, "1 INVITE", true, &sdp(EXCHANGE, ours))),
        (true, message(&format!("ACK sip:2001@{EXCHANGE} SIP/2.0"), call, "1 ACK", true, "")),
    ]
}

fn hang_up(call: u64) -> [(bool, String); 2] {
    [
        (true, message(&format!("BYE sip:2001@{EXCHANGE} SIP/2.0"), call, "2 BYE", true, "")),
        (false, message("SIP/2.0 200 OK", call, "2 BYE", true, "")),
    ]
}

fn rtp(file: &mut Capture, at: Duration, from_trunk: bool, call: u64, n: u64) {
    let (theirs, ours) = ports(call);
    let mut packet = vec![0x80, 0];
    packet.extend((n as u16).to_be_bytes());
    packet.extend((n as u32 * 160).to_be_bytes());
    packet.extend((call as u32 * 2 + u32::from(from_trunk) + 1).to_be_bytes());
    packet.extend([0x55; 160]);
    file.udp(at, from_trunk, if from_trunk { (theirs, ours) } else { (ours, theirs) }, &packet);
}

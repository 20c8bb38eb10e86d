//! Writes a capture file of calls that speak: Ethernet, IPv4, SIP over UDP and RTP both ways, in the order of time (pcap, libpcap's format 2.4).

use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use etherparse::PacketBuilder;

/// A trunk calls the exchange.
const TRUNK: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The exchange.
pub(crate) const EXCHANGE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);

/// Calls that are set up one after the other, 5 ms each, speak for `seconds` and end together. Gives the packets of sound.
pub(crate) fn write(path: &Path, calls: u64, seconds: u64) -> u64 {
    let mut file = Capture { file: BufWriter::new(File::create(path).unwrap()) };
    // magic of microseconds, version, zone, accuracy, longest packet, Ethernet
    file.words(&[0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 1]);
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
                file.rtp(at, from_trunk, call, n);
            }
        }
    }
    let end = begin + Duration::from_millis(20) * frames as u32 + Duration::from_millis(300);
    for call in 0..calls {
        for (n, (from_trunk, text)) in hang_up(call).iter().enumerate() {
            file.sip(end + Duration::from_millis(call * 5 + n as u64), *from_trunk, text);
        }
    }
    file.file.flush().unwrap();
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

fn sdp(host: Ipv4Addr, port: u16) -> String {
    format!("v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n")
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

struct Capture {
    file: BufWriter<File>,
}

impl Capture {
    fn words(&mut self, words: &[u32]) {
        for word in words {
            self.file.write_all(&word.to_le_bytes()).unwrap();
        }
    }

    fn sip(&mut self, at: Duration, from_trunk: bool, text: &str) {
        self.udp(at, from_trunk, (5_060, 5_060), text.as_bytes());
    }

    fn rtp(&mut self, at: Duration, from_trunk: bool, call: u64, n: u64) {
        let (theirs, ours) = ports(call);
        let mut packet = vec![0x80, 0];
        packet.extend((n as u16).to_be_bytes());
        packet.extend((n as u32 * 160).to_be_bytes());
        packet.extend((call as u32 * 2 + u32::from(from_trunk) + 1).to_be_bytes());
        packet.extend([0x55; 160]);
        self.udp(at, from_trunk, if from_trunk { (theirs, ours) } else { (ours, theirs) }, &packet);
    }

    fn udp(&mut self, at: Duration, from_trunk: bool, (from, to): (u16, u16), payload: &[u8]) {
        let (source, target) = if from_trunk { (TRUNK, EXCHANGE) } else { (EXCHANGE, TRUNK) };
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(source.octets(), target.octets(), 64).udp(from, to);
        let mut frame = Vec::with_capacity(builder.size(payload.len()));
        builder.write(&mut frame, payload).unwrap();
        let length = u32::try_from(frame.len()).unwrap();
        // 2026-11-24, as any day would do
        self.words(&[1_795_478_400 + at.as_secs() as u32, at.subsec_micros(), length, length]);
        self.file.write_all(&frame).unwrap();
    }
}

//! Writes a capture file of calls between a trunk and an exchange: Ethernet, IPv4, UDP (pcap, libpcap's format 2.4).
#![allow(dead_code)] // each test and bench uses its part

use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use etherparse::PacketBuilder;

/// A trunk calls the exchange.
pub(crate) const TRUNK: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(crate) const EXCHANGE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
/// When the capture was taken: 2026-11-24, as any day would do.
const TAKEN: u64 = 1_795_478_400;

pub(crate) struct Capture(BufWriter<File>);

impl Capture {
    pub(crate) fn create(path: &Path) -> Capture {
        let mut file = Capture(BufWriter::new(File::create(path).unwrap()));
        // magic of microseconds, version, zone, accuracy, longest packet, Ethernet
        file.words(&[0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 1]);
        file
    }

    fn words(&mut self, words: &[u32]) {
        words.iter().for_each(|word| self.0.write_all(&word.to_le_bytes()).unwrap());
    }

    pub(crate) fn sip(&mut self, at: Duration, from_trunk: bool, text: &str) {
        self.udp(at, from_trunk, (5_060, 5_060), text.as_bytes());
    }

    /// A packet from one of the two to the other, and their ports.
    pub(crate) fn udp(&mut self, at: Duration, from_trunk: bool, (from, to): (u16, u16), payload: &[u8]) {
        let (source, target) = if from_trunk { (TRUNK, EXCHANGE) } else { (EXCHANGE, TRUNK) };
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(source.octets(), target.octets(), 64).udp(from, to);
        let mut frame = Vec::with_capacity(builder.size(payload.len()));
        builder.write(&mut frame, payload).unwrap();
        let length = u32::try_from(frame.len()).unwrap();
        self.words(&[(TAKEN + at.as_secs()) as u32, at.subsec_micros(), length, length]);
        self.0.write_all(&frame).unwrap();
    }

    pub(crate) fn finish(mut self) {
        self.0.flush().unwrap();
    }
}

/// Where one of the two wants its sound.
pub(crate) fn sdp(host: Ipv4Addr, port: u16) -> String {
    format!("v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n")
}

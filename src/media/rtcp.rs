//! RTCP of a stream that is only received (RFC 3550 §6): the sender's reports read, reception reports with our name written.

use std::time::Duration;

use crate::time::{Mono, Now, Wall};

/// Packet types (RFC 3550 §12.1).
const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const DESCRIPTION: u8 = 202;
const BYE: u8 = 203;
/// Compound packets hold no more than this; the rest is not looked at.
const PACKETS_MOST: usize = 32;
/// Seconds from 1900 to 1970, for NTP timestamps.
const NTP_1970: u64 = 2_208_988_800;

/// Whether a datagram on a shared port is RTCP (RFC 5761 §4).
pub fn is_rtcp(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| first >> 6 == 2)
        && datagram.get(1).is_some_and(|kind| (192..=223).contains(kind))
}

/// What was received of one source (RFC 3550 A.3 and A.8).
#[derive(Clone, Debug)]
struct Reception {
    ssrc: u32,
    base: u16,
    highest: u32,
    received: u32,
    expected_before: u32,
    received_before: u32,
    /// In RTP clock units, times 16.
    jitter: u32,
    transit: Option<u32>,
    /// Middle of the NTP timestamp of the last sender report, and when it came.
    report: Option<(u32, Mono)>,
}

/// Reads and writes the RTCP of one stream.
#[derive(Debug)]
pub struct Rtcp {
    own: u32,
    name: String,
    interval: Duration,
    random: u64,
    due: Option<Mono>,
    reception: Option<Reception>,
    /// Sender reports of sources that sent no packet yet are not kept.
    reports_read: u64,
    byes: u64,
}

impl Rtcp {
    /// `seed` makes our SSRC, our name (RFC 7022) and the times of the reports; `interval` is their mean distance, zero: none are sent.
    pub fn new(seed: u128, interval: Duration) -> Self {
        let own = (seed >> 64) as u32 ^ seed as u32;
        let name = format!("{:016x}", (seed >> 64) as u64 ^ seed as u64);
        let random = seed as u64 | 1;
        Self { own, name, interval, random, due: None, reception: None, reports_read: 0, byes: 0 }
    }

    /// Counts an RTP packet.
    pub fn count(&mut self, now: Mono, ssrc: u32, sequence: u16, timestamp: u32, clock: u32) {
        if self.own == ssrc {
            // Two may not have the same number (RFC 3550 §8.2); a receiver gives way.
            self.own = self.own.wrapping_add(0x9e37_79b9);
        }
        let fresh = Reception {
            ssrc,
            base: sequence,
            highest: u32::from(sequence),
            received: 0,
            expected_before: 0,
            received_before: 0,
            jitter: 0,
            transit: None,
            report: None,
        };
        let reception = match &mut self.reception {
            Some(reception) if reception.ssrc == ssrc => reception,
            other => other.insert(fresh),
        };
        let step = sequence.wrapping_sub(reception.highest as u16);
        if step < 0x8000 {
            reception.highest = reception.highest.wrapping_add(u32::from(step));
        }
        reception.received = reception.received.wrapping_add(1);
        let arrived = (u128::from(now.0) * u128::from(clock) / 1_000_000_000) as u32;
        let transit = arrived.wrapping_sub(timestamp);
        if let Some(before) = reception.transit.replace(transit) {
            let difference = (transit.wrapping_sub(before) as i32).unsigned_abs().min(clock);
            reception.jitter = reception.jitter.saturating_add(difference).saturating_sub((reception.jitter + 8) >> 4);
        }
        if self.due.is_none() && !self.interval.is_zero() {
            self.due = Some(now + self.pause() / 2);
        }
    }

    /// Takes a compound packet; `false` when it is none.
    pub fn handle(&mut self, now: Mono, mut compound: &[u8]) -> bool {
        let mut packets = 0;
        while let &[first, kind, high, low, ..] = compound {
            let length = 4 * (usize::from(u16::from_be_bytes([high, low])) + 1);
            let Some((packet, rest)) = compound.split_at_checked(length).filter(|_| first >> 6 == 2) else { break };
            let word = |at: usize| packet.get(at..at + 4).and_then(|four| four.try_into().ok()).map(u32::from_be_bytes);
            match kind {
                SENDER_REPORT => {
                    if let (Some(ssrc), Some(seconds), Some(fraction)) = (word(4), word(8), word(12))
                        && let Some(reception) = self.reception.as_mut().filter(|reception| reception.ssrc == ssrc)
                    {
                        reception.report = Some(((seconds << 16) | (fraction >> 16), now));
                    }
                    self.reports_read += 1;
                }
                // A goodbye alone ends nothing: the call does, or silence.
                BYE => self.byes += 1,
                _ => {}
            }
            packets += 1;
            compound = rest;
            if packets == PACKETS_MOST {
                break;
            }
        }
        packets > 0
    }

    /// Sender reports that came.
    pub fn reports_read(&self) -> u64 {
        self.reports_read
    }

    /// Goodbyes that came.
    pub fn byes(&self) -> u64 {
        self.byes
    }

    /// When [`Rtcp::report`] wants to be called.
    pub fn due(&self) -> Option<Mono> {
        self.due
    }

    /// The compound packet that is due, if it is: a receiver report and our name.
    pub fn report(&mut self, now: Now) -> Option<Vec<u8>> {
        if self.due.is_none_or(|due| due > now.mono) {
            return None;
        }
        self.due = Some(now.mono + self.pause());
        let mut bytes = match &mut self.reception {
            Some(reception) => {
                let mut bytes = header(1, RECEIVER_REPORT, 7);
                bytes.extend(self.own.to_be_bytes());
                reception.write(now.mono, &mut bytes);
                bytes
            }
            None => [header(0, RECEIVER_REPORT, 1), self.own.to_be_bytes().to_vec()].concat(),
        };
        self.describe(&mut bytes);
        Some(bytes)
    }

    /// SDES with CNAME (RFC 3550 §6.5.1): padded by one to four zeros to whole words.
    fn describe(&self, bytes: &mut Vec<u8>) {
        let mut chunk = self.own.to_be_bytes().to_vec();
        chunk.extend([1, self.name.len() as u8]);
        chunk.extend(self.name.bytes());
        chunk.resize((chunk.len() / 4 + 1) * 4, 0);
        bytes.extend(header(1, DESCRIPTION, (chunk.len() / 4) as u16));
        bytes.extend(chunk);
    }

    /// Half to one and a half of the interval, corrected for what that does to the mean (RFC 3550 §6.3.1).
    fn pause(&mut self) -> Duration {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let share = 0.5 + (self.random >> 11) as f64 / (1u64 << 53) as f64;
        self.interval.mul_f64(share / 1.218_28)
    }
}

impl Reception {
    /// The report block (RFC 3550 §6.4.1).
    fn write(&mut self, now: Mono, bytes: &mut Vec<u8>) {
        let expected = self.highest.wrapping_sub(u32::from(self.base)).wrapping_add(1);
        let lost = (i64::from(expected) - i64::from(self.received)).clamp(-0x80_0000, 0x7f_ffff);
        let (of, got) = (expected.wrapping_sub(self.expected_before), self.received.wrapping_sub(self.received_before));
        let fraction = if of == 0 { 0 } else { u64::from(of.saturating_sub(got)) * 256 / u64::from(of) };
        (self.expected_before, self.received_before) = (expected, self.received);
        bytes.extend(self.ssrc.to_be_bytes());
        let lost = (lost as u32) & 0xff_ffff;
        bytes.extend(((fraction.min(255) as u32) << 24 | lost).to_be_bytes());
        bytes.extend(self.highest.to_be_bytes());
        bytes.extend((self.jitter >> 4).to_be_bytes());
        let (middle, since) = self.report.map_or((0, 0), |(middle, at)| {
            (middle, u32::try_from(now.since(at).as_nanos() * 65_536 / 1_000_000_000).unwrap_or(u32::MAX))
        });
        bytes.extend(middle.to_be_bytes());
        bytes.extend(since.to_be_bytes());
    }
}

fn header(count: u8, kind: u8, words: u16) -> Vec<u8> {
    let [high, low] = words.to_be_bytes();
    vec![0x80 | count, kind, high, low]
}

/// The NTP timestamp of a wall time (RFC 3550 §4), for whoever writes sender reports.
pub fn ntp(wall: Wall) -> u64 {
    let micros = u64::try_from(wall.0).unwrap_or(0);
    let fraction = (u128::from(micros % 1_000_000) << 32) / 1_000_000;
    ((micros / 1_000_000 + NTP_1970) << 32) | fraction as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::marshal::Unmarshal;

    fn at(ms: u64) -> Now {
        Now::default().plus(Duration::from_millis(ms))
    }

    fn rtcp() -> Rtcp {
        Rtcp::new(0x1234_5678_9abc_def0_0fed_cba9_8765_4321, Duration::from_secs(5))
    }

    fn block(bytes: &[u8]) -> (u8, u32, u32, u32, u32, u32) {
        let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        (bytes[12], word(12) & 0xff_ffff, word(16), word(20), word(24), word(28))
    }

    /// Reports up to `ms`, by a driver that keeps the time.
    fn run(rtcp: &mut Rtcp, from: u64, to: u64) -> Vec<(u64, Vec<u8>)> {
        (from..to).filter_map(|ms| Some((ms, rtcp.report(at(ms))?))).collect()
    }

    #[test]
    fn reports_come_about_every_five_seconds_and_say_what_was_lost() {
        let mut rtcp = rtcp();
        let mut reports = Vec::new();
        for n in 0..3_000u64 {
            // every tenth is lost; numbers and timestamps wrap
            if n % 10 != 9 {
                let (sequence, timestamp) = (65_000u16.wrapping_add(n as u16), (n as u32 * 160).wrapping_sub(9_000));
                rtcp.count(at(n * 20).mono, 7, sequence, timestamp, 8_000);
            }
            reports.extend(run(&mut rtcp, n * 20, n * 20 + 20));
        }
        assert!((9..=18).contains(&reports.len()), "{} reports in a minute", reports.len());
        let gaps: Vec<u64> = reports.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
        assert!(gaps.iter().all(|gap| (2_000..=6_200).contains(gap)), "{gaps:?}");
        let (ms, last) = reports.last().unwrap();
        let (fraction, lost, highest, jitter, lsr, dlsr) = block(last);
        assert!((22..=29).contains(&fraction), "a tenth of 256: {fraction}");
        let sent = ms / 20 + 1;
        assert!((sent / 10 - 1..=sent / 10 + 1).contains(&u64::from(lost)), "{lost} of {sent}");
        assert!(highest > 65_536 && jitter == 0 && (lsr, dlsr) == (0, 0));
    }

    #[test]
    fn a_report_is_read_by_another_implementation() {
        let mut rtcp = rtcp();
        rtcp.count(at(0).mono, 7, 1, 0, 8_000);
        let (_, report) = run(&mut rtcp, 0, 6_000).remove(0);
        let mut rest = bytes::Bytes::from(report);
        let packets = rtcp_parser::packet::unmarshal(&mut rest).unwrap();
        assert_eq!(packets.len(), 2);
        let name = packets[1].as_any().downcast_ref::<rtcp_parser::source_description::SourceDescription>().unwrap();
        assert_eq!(name.chunks[0].items[0].text.as_ref(), rtcp.name.as_bytes());
        let _ = rtcp_parser::header::Header::unmarshal(&mut bytes::Bytes::from_static(&[0x80, 201, 0, 1])).unwrap();
    }

    #[test]
    fn a_sender_report_is_answered_with_its_time() {
        let mut rtcp = rtcp();
        rtcp.count(at(0).mono, 7, 1, 0, 8_000);
        let wall = Wall(1_795_424_000_500_000);
        let mut report = vec![0x80, SENDER_REPORT, 0, 6];
        report.extend(7u32.to_be_bytes());
        report.extend(ntp(wall).to_be_bytes());
        report.extend([0; 12]);
        report.extend([0x81, BYE, 0, 1, 0, 0, 0, 7]);
        assert!(rtcp.handle(at(100).mono, &report));
        let (ms, bytes) = run(&mut rtcp, 100, 6_000).remove(0);
        let (.., lsr, dlsr) = block(&bytes);
        assert_eq!(lsr & 0xffff, 0x8000, "half a second");
        assert_eq!(u64::from(dlsr) * 1_000 / 65_536, ms - 100 - 1);
        assert_eq!((rtcp.reports_read(), rtcp.byes()), (1, 1));
    }

    #[test]
    fn jitter_is_that_of_the_rfc() {
        let mut rtcp = rtcp();
        // Alternately 0 and 10 ms late: |D| is 80 ticks each time, and the mean goes there.
        for n in 0..200u64 {
            rtcp.count(at(n * 20 + 10 * (n % 2)).mono, 7, n as u16, n as u32 * 160, 8_000);
        }
        let (.., jitter, _, _) = block(&run(&mut rtcp, 4_000, 10_000)[0].1);
        assert!((75..=80).contains(&jitter), "{jitter}");
    }

    #[test]
    fn what_is_no_rtcp_changes_nothing() {
        let mut rtcp = rtcp();
        for bytes in [&[][..], &[0x80], &[0x80, 200, 0, 9, 0, 0, 0, 0], &[0x00, 200, 0, 0]] {
            assert!(!rtcp.handle(at(0).mono, bytes), "{bytes:?}");
        }
        assert!(is_rtcp(&[0x80, 200]) && !is_rtcp(&[0x80, 0]) && !is_rtcp(&[22, 200]) && !is_rtcp(&[]));
        assert_eq!(rtcp.report(at(100_000)), None, "nothing was heard: nothing is reported");
    }
}

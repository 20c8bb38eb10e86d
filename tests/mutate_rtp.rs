//! Seeded damage to RTP packets and segment files: no panic, bounded memory, one line per failing seed.
#[path = "common/cases.rs"]
mod cases;

use std::io::Cursor;
use std::net::SocketAddr;
use std::time::Duration;

use cases::cases;
use kakehashi::media::segment::{Segment, Writer, folder};
use kakehashi::media::settings::Settings;
use kakehashi::media::stream::Stream;
use kakehashi::media::{Codec, Frame, Payload};
use kakehashi::pbx::StreamId;
use kakehashi::time::{Now, Wall};
use uuid::Uuid;

const CASES: u64 = 100_000;

/// Repeatable numbers (xorshift64*).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) % bound.max(1)
    }

    /// One to eight changes: flipped bits, other bytes, pieces cut out, doubled or appended.
    fn damage(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.roll(8) {
            let length = bytes.len() as u64;
            let at = self.roll(length) as usize;
            match self.roll(6) {
                0 if !bytes.is_empty() => bytes[at] ^= 1 << self.roll(8),
                1 if !bytes.is_empty() => bytes[at] = [0, 1, 0x7f, 0x80, 0xbe, 0xde, 0xff][self.roll(7) as usize],
                2 => bytes.truncate(at),
                3 => bytes.extend((0..self.roll(40)).map(|n| n as u8)),
                4 => {
                    let piece = bytes[at..bytes.len().min(at + 16)].to_vec();
                    bytes.splice(at..at, piece);
                }
                _ if !bytes.is_empty() => {
                    // The head: version, flags, numbers.
                    let at = (self.roll(16) as usize).min(bytes.len() - 1);
                    bytes[at] = self.roll(256) as u8;
                }
                _ => {}
            }
        }
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let header = |first: u8, kind: u8| vec![first, kind, 0, 1, 0, 0, 0, 160, 0, 0, 0, 7];
    let with = |mut head: Vec<u8>, rest: &[u8]| {
        head.extend(rest);
        head
    };
    vec![
        with(header(0x80, 0), &[0xff; 160]),
        with(header(0x80, 8), &[0xd5; 80]),
        with(header(0x80, 13), &[60]),
        with(header(0x80, 101), &[5, 0x8a, 3, 32]),
        with(header(0x80, 111), &[0x08, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        with(header(0xb2, 0), &[0, 0, 0, 1, 0, 0, 0, 2, 0xbe, 0xde, 0, 1, 0x10, 9, 0, 0, 1, 2, 3, 4, 4]),
        with(header(0x90, 0), &[0xbe, 0xde, 0, 1, 0x1f, 0, 0, 0]),
        with(header(0x90, 0), &[0x10, 0, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
    ]
}

#[test]
fn damaged_packets_never_panic_and_never_grow_memory() {
    let all = cases(CASES);
    let payloads = [
        (0, Codec::Pcmu),
        (8, Codec::Pcma),
        (9, Codec::G722),
        (13, Codec::ComfortNoise),
        (101, Codec::TelephoneEvent),
        #[cfg(feature = "opus")]
        (111, Codec::Opus),
    ]
    .map(|(number, codec)| Payload { number, codec });
    let from: SocketAddr = ([127, 0, 0, 1], 4_000).into();
    let seeds = seeds();
    let (mut taken, mut refused) = (0, 0);
    for run in 0..20u64 {
        let mut stream = Stream::new(Now::default(), StreamId(Uuid::nil()), payloads.to_vec(), &Settings::default());
        let mut samples = 0;
        for case in 0..all / 20 {
            let mut dice = Dice((run * all + case + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let mut bytes = seeds[dice.roll(seeds.len() as u64) as usize].clone();
            dice.damage(&mut bytes);
            let now = Now::default().plus(Duration::from_millis(case * 5));
            stream.handle_packet(now, from, &bytes);
            stream.handle_timeout(now);
            while let Some(frame) = stream.take(1) {
                assert!(frame.samples.len() <= 16_000);
                samples += frame.samples.len() as u64;
            }
            assert!(stream.take_events().len() <= 4_096);
        }
        let summary = stream.finish();
        taken += summary.packets;
        refused += summary.malformed + summary.strange;
        let elapsed_s = all / 20 * 5 / 1_000;
        assert!(samples < (elapsed_s + 60) * 16_000, "run {run}: {samples} samples in {elapsed_s} s");
    }
    assert_eq!(taken + refused, all, "every packet is counted");
    assert!(taken > all / 20 && refused > all / 20, "both ways were taken: {taken} {refused}");
}

#[test]
fn damaged_segments_never_panic() {
    let all = cases(CASES);
    let audio = tempfile::tempdir().unwrap();
    let stream = StreamId(Uuid::from_u128(7));
    let mut writer = Writer::new(audio.path(), stream, Wall(0), 8_000, 10_000);
    for n in 0..5u64 {
        let frame = Frame { stream, position: n * 100, rate: 8_000, samples: vec![n as i16; 100] };
        writer.write(&frame).unwrap();
    }
    let whole = std::fs::read(folder(audio.path(), stream).join("000000.seg")).unwrap();
    let (mut opened, mut full) = (0u64, 0u64);
    for case in 0..all {
        let mut dice = Dice((case + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut bytes = whole.clone();
        dice.damage(&mut bytes);
        let Ok(mut segment) = Segment::read(Cursor::new(bytes), Some(stream)) else { continue };
        opened += 1;
        let mut blocks = 0;
        while let Some((_, samples)) = segment.next_block() {
            assert!(samples.len() <= 100, "seed {case}: more than was written");
            blocks += 1;
        }
        full += u64::from(blocks == 5);
    }
    assert!(opened > all / 10 && full < opened, "damage reached the blocks: {opened} {full}");
}

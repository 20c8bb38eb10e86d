//! A whole stream, packets in and PCM and events out, in virtual time.

use super::*;
use crate::media::Source;
use crate::media::codec::decode_ulaw;
use crate::media::secure::Sender;
use crate::pbx::sip::keying::{Keying, Path};
use crate::pbx::sip::sdes::{Key, Suite};
use crate::time::MediaTime;
use uuid::Uuid;

const PAYLOADS: [Payload; 3] = [
    Payload { number: 0, codec: Codec::Pcmu },
    Payload { number: 101, codec: Codec::TelephoneEvent },
    Payload { number: 13, codec: Codec::ComfortNoise },
];

fn at(ms: u64) -> Now {
    Now::default().plus(Duration::from_millis(ms))
}

fn from(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn packet(payload_type: u8, seq: u16, ts: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80, payload_type];
    bytes.extend(seq.to_be_bytes());
    bytes.extend(ts.to_be_bytes());
    bytes.extend(7u32.to_be_bytes());
    bytes.extend(payload);
    bytes
}

fn stream() -> Stream {
    Stream::new(at(0), StreamId(Uuid::nil()), PAYLOADS.to_vec(), &Settings::default())
}

#[test]
fn injected_packets_never_reach_the_sound() {
    let mut stream = stream();
    stream.handle_packet(at(0), from(4_000), &packet(0, 1, 0, &[0xff; 160]));
    for n in 0..1_000u16 {
        stream.handle_packet(at(1), from(6_666), &packet(0, 2 + n, 160 * u32::from(n), &[0x00; 160]));
    }
    stream.handle_packet(at(20), from(4_000), &packet(0, 2, 160, &[0xff; 160]));
    let frame = stream.take(1).unwrap();
    assert_eq!(frame.samples.len(), 320);
    assert!(frame.samples.iter().all(|sample| *sample == 0));
    assert_eq!(stream.finish().foreign, 1_000);
}

#[test]
fn strange_sources_from_the_right_address_are_refused_while_the_right_one_speaks() {
    let mut stream = stream();
    for ms in 0..3_000u64 {
        if ms % 20 == 0 {
            let n = (ms / 20) as u16;
            stream.handle_packet(at(ms), from(4_000), &packet(0, n, 160 * u32::from(n), &[0xff; 160]));
        }
        let mut strange = packet(0, ms as u16, 160 * ms as u32, &[0x00; 160]);
        strange[11] = if ms % 2 == 0 { 66 } else { ms as u8 | 0x80 };
        stream.handle_packet(at(ms), from(4_000), &strange);
        stream.handle_timeout(at(ms));
    }
    let mut heard = 0;
    let summary = stream.finish();
    while let Some(frame) = stream.take(1) {
        assert!(frame.samples.iter().all(|sample| *sample == 0));
        heard += frame.samples.len();
    }
    assert_eq!((heard, summary.packets, summary.strange), (150 * 160, 150, 3_000));
}

#[test]
fn a_source_that_follows_another_is_heard_whole() {
    let mut stream = stream();
    for n in 0..50u16 {
        stream.handle_packet(at(20 * u64::from(n)), from(4_000), &packet(0, n, 160 * u32::from(n), &[0xff; 160]));
    }
    for n in 50..100u16 {
        let mut other = packet(0, 9_000 + n, 77 + 160 * u32::from(n), &[0x00; 160]);
        other[11] = 9;
        stream.handle_packet(at(20 * u64::from(n)), from(4_000), &other);
        stream.handle_timeout(at(20 * u64::from(n)));
    }
    let summary = stream.finish();
    assert_eq!((summary.samples, summary.packets, summary.strange, summary.lost), (100 * 160, 100, 0, 0));
}

#[test]
fn an_expected_source_is_the_only_one_even_before_the_first_packet() {
    let mut stream = stream();
    stream.expect_source(from(4_000));
    stream.handle_packet(at(0), from(6_666), &packet(0, 1, 0, &[0; 160]));
    assert!(stream.take(1).is_none());
    stream.handle_packet(at(0), from(4_000), &packet(0, 1, 0, &[0; 160]));
    assert!(stream.take(1).is_some());
}

#[test]
fn a_short_stream_from_another_port_of_the_told_address_is_heard_whole_at_its_true_time() {
    let mut stream = stream();
    stream.set_source(Source::Near(from(4_000)));
    for n in 0..20u16 {
        let now = at(100 + 20 * u64::from(n));
        stream.handle_packet(now, from(5_000), &packet(0, n, 160 * u32::from(n), &[0x55; 160]));
        stream.handle_timeout(now);
    }
    assert_eq!(stream.origin(), None, "the told port may still speak");
    let summary = stream.finish();
    assert_eq!((summary.samples, summary.packets, summary.foreign, summary.lost), (20 * 160, 20, 0, 0));
    assert_eq!(stream.take_events(), [StreamEventKind::First { origin: at(100), rate: 8_000 }]);
}

#[test]
fn a_sender_on_another_port_that_is_believed_late_keeps_its_true_time() {
    let mut stream = stream();
    stream.set_source(Source::Near(from(4_000)));
    for n in 0..50u16 {
        let now = at(100 + 20 * u64::from(n));
        stream.handle_packet(now, from(5_000), &packet(0, n, 160 * u32::from(n), &[0x55; 160]));
        stream.handle_timeout(now);
    }
    assert_eq!(stream.origin(), Some(at(100)));
    let summary = stream.finish();
    assert_eq!((summary.samples, summary.packets, summary.foreign, summary.lost), (50 * 160, 50, 0, 0));
    assert_eq!(stream.take_events(), [StreamEventKind::First { origin: at(100), rate: 8_000 }]);
}

/// 20 ms of each: the first `early` packets come before the keys, at 20 ms each.
fn told_late(before: Source, after: Source, early: u16) -> (Stream, StreamSummary) {
    let suite = Suite::AesCm128Sha1Tag80;
    let key = |seed: u8| {
        let material: Vec<u8> = (0..30).map(|n| n ^ seed).collect();
        Key::new(suite, &material).unwrap()
    };
    let mut sender = Sender::new(&key(1)).unwrap();
    let mut stream = stream();
    stream.set_path(at(0), before, &Path { keying: Keying::Offered, ..Path::default() }, None);
    for n in 0..200u16 {
        let now = at(20 * u64::from(n));
        if n == early {
            let keying = Keying::Sdes { theirs: vec![key(1)], ours: key(2) };
            stream.set_path(now, after, &Path { keying, ..Path::default() }, None);
        }
        let bytes = sender.protect(&packet(0, n, 160 * u32::from(n), &[n as u8; 160])).unwrap();
        stream.handle_packet(now, from(4_000), &bytes);
        // in the clear, and from elsewhere
        stream.handle_packet(now, from(6_666), &packet(0, n, 160 * u32::from(n), &[0x00; 160]));
        stream.handle_timeout(now);
    }
    let summary = stream.finish();
    (stream, summary)
}

#[test]
fn packets_that_come_before_their_keys_are_heard_in_order_when_the_keys_are_told() {
    let near = Source::Near(from(4_000));
    for (before, after) in [(Source::Untold, near), (Source::First, Source::First), (near, near)] {
        let (mut stream, summary) = told_late(before, after, 50);
        assert_eq!((summary.packets, summary.encrypted, summary.lost), (200, 200, 0), "{before:?} {summary:?}");
        let refused = summary.foreign + summary.unauthenticated + summary.replayed;
        assert_eq!(refused, 200, "{before:?} {summary:?}");
        let mut heard = Vec::new();
        while let Some(frame) = stream.take(1) {
            heard.extend(frame.samples);
        }
        let said: Vec<i16> = (0..200u8).flat_map(|n| [decode_ulaw(n); 160]).collect();
        assert!(heard == said, "{before:?}");
        assert_eq!(stream.origin(), Some(at(0)), "at their true time");
    }
}

#[test]
fn packets_that_wait_for_their_keys_are_bounded_and_never_heard_without() {
    let near = Source::Near(from(4_000));
    let (_, summary) = told_late(Source::Untold, near, 150);
    assert_eq!((summary.packets, summary.lost), (64 + 50, 150 - 64), "{summary:?}");
    let (mut stream, summary) = told_late(Source::Untold, near, 200);
    assert!(stream.take(1).is_none(), "{summary:?}");
    assert_eq!((summary.packets, summary.foreign), (0, 400), "{summary:?}");
}

#[test]
fn what_another_port_injected_before_the_told_one_spoke_is_never_heard() {
    let mut stream = stream();
    stream.set_source(Source::Near(from(4_000)));
    stream.handle_packet(at(0), from(6_666), &packet(0, 900, 0, &[0x00; 160]));
    stream.handle_packet(at(20), from(4_000), &packet(0, 1, 0, &[0xff; 160]));
    stream.handle_packet(at(40), from(6_666), &packet(0, 901, 160, &[0x00; 160]));
    let summary = stream.finish();
    assert_eq!((summary.samples, summary.packets, summary.foreign), (160, 1, 2));
    assert!(stream.take(1).unwrap().samples.iter().all(|sample| *sample == 0));
}

#[test]
fn digits_and_comfort_noise_take_their_time_without_being_loss() {
    let mut stream = stream();
    stream.handle_packet(at(0), from(4_000), &packet(0, 1, 0, &[0xff; 160]));
    for (n, flags) in [(2u16, 10u8), (3, 10), (4, 0x8a), (5, 0x8a), (6, 0x8a)] {
        stream.handle_packet(at(20 * u64::from(n)), from(4_000), &packet(101, n, 160, &[7, flags, 1, 64]));
    }
    stream.handle_packet(at(130), from(4_000), &packet(13, 7, 960, &[60]));
    stream.handle_packet(at(200), from(4_000), &packet(0, 8, 1_600, &[0xff; 160]));
    assert_eq!(stream.take(1).unwrap().samples.len(), 1_760);
    let events = stream.take_events();
    let digits: Vec<&StreamEventKind> =
        events.iter().filter(|event| matches!(event, StreamEventKind::Digit { .. })).collect();
    assert_eq!(digits, [&StreamEventKind::Digit { digit: '7', start: MediaTime(20_000), millis: 40 }]);
    assert!(!events.iter().any(|event| matches!(event, StreamEventKind::Gap { .. })));
    let summary = stream.finish();
    assert_eq!((summary.samples, summary.lost, summary.gap_samples), (1_760, 0, 0));
}

#[test]
fn a_quiet_stream_is_reported_once_and_stays_open() {
    let mut stream = stream();
    stream.handle_packet(at(0), from(4_000), &packet(0, 1, 0, &[0xff; 160]));
    stream.handle_timeout(at(10_000));
    stream.handle_timeout(at(20_000));
    let timeouts = stream.take_events().into_iter().filter(|event| *event == StreamEventKind::Timeout).count();
    assert_eq!(timeouts, 1);
    stream.handle_packet(at(30_000), from(4_000), &packet(0, 2, 240_000, &[0xff; 160]));
    let mut length = 0;
    while let Some(frame) = stream.take(1) {
        assert_eq!(frame.position, length);
        assert!(frame.samples.len() <= 8_000, "a frame is a second at most");
        length += frame.samples.len() as u64;
    }
    assert_eq!(length, 240_160);
}

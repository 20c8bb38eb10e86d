//! A sender behind a NAT: it speaks from another port than was told, beside attackers on its own address. Virtual time.

use std::net::SocketAddr;
use std::time::Duration;

use kakehashi::media::codec::decode_ulaw;
use kakehashi::media::settings::Settings;
use kakehashi::media::stream::Stream;
use kakehashi::media::{Codec, Payload, Source, StreamSummary};
use kakehashi::pbx::StreamId;
use kakehashi::time::Now;
use uuid::Uuid;

/// The attackers begin first.
const SPEAKER_BEGINS_MS: u64 = 100;
/// Packets of 20 ms that the speaker sends.
const SPOKEN: u16 = 100;

fn at(ms: u64) -> Now {
    Now::default().plus(Duration::from_millis(ms))
}

fn peer(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], port))
}

fn packet(first: u8, second: u8, n: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first, second];
    bytes.extend(n.to_be_bytes());
    bytes.extend((u32::from(n) * 160).to_be_bytes());
    bytes.extend(7u32.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// What an attacker sends in one millisecond, and from which port.
type Attacker = fn(u64) -> Option<(u16, Vec<u8>)>;

fn rtp(n: u16) -> Vec<u8> {
    packet(0x80, 0, n, &[0x00; 160])
}

const ATTACKERS: [(&str, Attacker); 9] = [
    ("noise", |ms| Some((6_001, vec![ms as u8 | 0x40; 172]))),
    ("another version", |ms| Some((6_002, packet(0x40, 0, ms as u16, &[0x00; 160])))),
    ("a type that was not negotiated", |ms| Some((6_003, packet(0x80, 8, ms as u16, &[0x00; 160])))),
    ("reports", |_| Some((6_004, packet(0x80, 200, 6, &[0x00; 16])))),
    ("padding that lies", |ms| Some((6_005, packet(0xa0, 0, ms as u16, &[0xff; 160])))),
    ("numbers without order", |ms| Some((6_006, rtp((ms * 7_919) as u16)))),
    ("the same number", |_| Some((6_007, rtp(7)))),
    ("a port for each packet", |ms| Some((10_000 + ms as u16, rtp(ms as u16)))),
    // in sequence for 150 ms, then a rest of 450 ms
    ("who stops", |ms| (ms % 600 < 150).then(|| (6_008, rtp(ms as u16)))),
];

/// The speaker and these attackers, 1,000 packets a second each; what the stream heard, and how many packets attacked.
fn attacked(attackers: &[Attacker]) -> (Vec<i16>, Vec<i16>, StreamSummary, Option<Now>, u64) {
    let payloads = vec![Payload { number: 0, codec: Codec::Pcmu }];
    let mut stream = Stream::new(at(0), StreamId(Uuid::nil()), payloads, &Settings::default());
    stream.set_source(Source::Near(peer(4_000)));
    let (mut said, mut heard, mut sent) = (Vec::new(), Vec::new(), 0);
    for ms in 0..SPEAKER_BEGINS_MS + 20 * u64::from(SPOKEN) {
        for (port, datagram) in attackers.iter().filter_map(|attacker| attacker(ms)) {
            stream.handle_packet(at(ms), peer(port), &datagram);
            sent += 1;
        }
        if ms >= SPEAKER_BEGINS_MS && ms % 20 == 0 {
            let n = ((ms - SPEAKER_BEGINS_MS) / 20) as u16;
            let payload: Vec<u8> = (0..160u16).map(|i| (i * 31 + n) as u8).collect();
            said.extend(payload.iter().map(|byte| decode_ulaw(*byte)));
            stream.handle_packet(at(ms), peer(5_000), &packet(0x80, 0, 65_500u16.wrapping_add(n), &payload));
        }
        stream.handle_timeout(at(ms));
    }
    let (summary, origin) = (stream.finish(), stream.origin());
    while let Some(frame) = stream.take(1) {
        heard.extend(frame.samples);
    }
    (said, heard, summary, origin, sent)
}

fn is_heard_whole(name: &str, attackers: &[Attacker]) {
    let (said, heard, summary, origin, sent) = attacked(attackers);
    assert_eq!((summary.packets, summary.foreign, summary.malformed), (u64::from(SPOKEN), sent, 0), "{name}");
    assert_eq!(origin, Some(at(SPEAKER_BEGINS_MS)), "{name}");
    assert!(heard == said, "{name}: {} samples of {}", heard.len(), said.len());
}

#[test]
fn a_speaker_behind_a_nat_is_heard_whole_beside_each_kind_of_attacker() {
    is_heard_whole("nobody", &[]);
    for (name, attacker) in ATTACKERS {
        is_heard_whole(name, &[attacker]);
    }
}

#[test]
fn a_speaker_behind_a_nat_is_heard_whole_beside_all_attackers_at_once() {
    is_heard_whole("all", &ATTACKERS.map(|(_, attacker)| attacker));
}

#[test]
fn what_keeps_a_nat_open_costs_its_sender_nothing() {
    // RFC 6263 §4: an empty datagram, RTP without a payload, a type that was not negotiated, RTCP, STUN
    let kept: [Attacker; 5] = [
        |ms| (ms % 150 == 10).then(|| (5_000, Vec::new())),
        |ms| (ms % 150 == 20).then(|| (5_000, packet(0x80, 127, 0, &[]))),
        |ms| (ms % 150 == 30).then(|| (5_000, packet(0x40, 0, 0, &[]))),
        |ms| (ms % 150 == 40).then(|| (5_000, packet(0x80, 200, 6, &[0x00; 16]))),
        |ms| (ms % 150 == 50).then(|| (5_000, [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[0; 12]].concat())),
    ];
    let (said, heard, summary, ..) = attacked(&kept);
    assert!(heard == said, "{summary:?}");
}

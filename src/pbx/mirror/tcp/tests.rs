//! Connections as mirrors see them: cut, out of order, twice, with holes.

use super::*;

const ONE: &str =
    "OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bKx\r\nCSeq: 1 OPTIONS\r\nContent-Length: 4\r\n\r\nbody";

fn ends() -> (SocketAddr, SocketAddr) {
    ("192.0.2.1:5060".parse().unwrap(), "192.0.2.2:40000".parse().unwrap())
}

/// Plays segments `(at, bytes)` one millisecond apart; sequence numbers begin at `base`. Messages, holes.
fn play(base: u32, begin: bool, segments: &[(usize, &[u8])]) -> (Vec<Message>, u64) {
    let mut flows = Flows::new(Limits::of(65_535));
    let (source, target) = ends();
    let (mut messages, mut holes) = (Vec::new(), 0);
    if begin {
        let syn = Segment { sequence: base.wrapping_sub(1), begins: true, ends: false, bytes: &[] };
        flows.take(source, target, syn, Mono(0));
    }
    for (n, (at, bytes)) in segments.iter().enumerate() {
        let sequence = base.wrapping_add(*at as u32);
        let segment = Segment { sequence, begins: false, ends: false, bytes };
        let brought = flows.take(source, target, segment, Mono(n as u64 * 1_000_000));
        messages.extend(brought.messages);
        holes += brought.holes;
    }
    (messages, holes)
}

#[test]
fn two_messages_are_read_however_they_are_cut() {
    let both = ONE.repeat(2).into_bytes();
    for cut in 1..both.len() {
        let (head, tail) = both.split_at(cut);
        for base in [1_000, u32::MAX - 40] {
            assert_eq!(play(base, true, &[(0, head), (cut, tail)]).0.len(), 2, "cut at {cut}");
            assert_eq!(play(base, true, &[(cut, tail), (0, head)]).0.len(), 2, "out of order, cut at {cut}");
            assert_eq!(
                play(base, true, &[(0, head), (0, head), (0, &both), (cut, tail)]).0.len(),
                2,
                "again, cut at {cut}"
            );
        }
    }
    let bytes: Vec<(usize, &[u8])> = both.chunks(1).enumerate().collect();
    assert_eq!(play(7, true, &bytes).0.len(), 2, "byte by byte");
}

#[test]
fn a_connection_is_taken_up_where_a_message_begins() {
    let both = ONE.repeat(2).into_bytes();
    let (head, tail) = both.split_at(ONE.len());
    assert_eq!(play(0, false, &[(10, &head[10..]), (ONE.len(), tail)]).0.len(), 1);
}

#[test]
fn a_hole_costs_the_message_in_it_and_no_more() {
    let all = ONE.repeat(3).into_bytes();
    let mut flows = Flows::new(Limits::of(65_535));
    let (source, target) = ends();
    let segment =
        |at: usize, to: usize| Segment { sequence: at as u32, begins: false, ends: false, bytes: &all[at..to] };
    let length = ONE.len();
    assert_eq!(flows.take(source, target, segment(0, 20), Mono(0)).messages.len(), 0);
    assert_eq!(
        flows.take(source, target, segment(length, 2 * length), Mono(1)).messages.len(),
        0,
        "waits for a repetition"
    );
    let later = Mono(1) + HOLE;
    let brought = flows.take(source, target, segment(2 * length, 3 * length), later);
    assert_eq!((brought.messages.len(), brought.holes), (2, 1));
}

#[test]
fn tls_is_seen_once_and_never_read() {
    let mut flows = Flows::new(Limits::of(65_535));
    let (source, target) = ends();
    let mut told = 0;
    for n in 0..5 {
        let segment = Segment { sequence: n * 8, begins: false, ends: false, bytes: &[0x16, 3, 1, 0, 3, 1, 2, 3] };
        told += u32::from(flows.take(source, target, segment, Mono(0)).encrypted);
    }
    assert_eq!(told, 1);
}

#[test]
fn connections_and_what_waits_in_them_are_bounded() {
    let mut flows = Flows::new(Limits::of(65_535));
    let (_, target) = ends();
    for n in 0..20_000_u32 {
        let source = SocketAddr::from(([10, 0, (n >> 8) as u8, n as u8], 5060));
        let segment = Segment { sequence: 0, begins: false, ends: false, bytes: b"OPTIONS sip:a SIP/2.0\r\n" };
        flows.take(source, target, segment, Mono(0));
    }
    assert_eq!(flows.len(), FLOWS_MAX);
    let source = SocketAddr::from(([10, 0, 0, 1], 5060));
    for n in 1..10_000_u32 {
        let segment = Segment { sequence: 100 + n * 1_000, begins: false, ends: false, bytes: &[b'x'; 900] };
        flows.take(source, target, segment, Mono(0));
        let flow = flows.flows.get(&(source, target)).unwrap();
        assert!(flow.waiting.len() <= WAITING_MAX && flow.waiting_bytes <= WAITING_BYTES_MAX);
    }
}

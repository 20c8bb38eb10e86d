//! The arithmetic of the benches of delivery: what they print is only as good as it.

#[path = "../benches/outbox/figures.rs"]
mod figures;
#[path = "../benches/delivery/receiver.rs"]
mod receiver;
#[path = "../benches/link/wire.rs"]
mod wire;

use figures::{Spread, percentile, ratios};
use wire::{Bytes, Wire, segments};

#[test]
fn a_percentile_is_one_of_the_values() {
    let values: Vec<u32> = (1..=101).collect();
    assert_eq!([0.0, 0.5, 0.99, 1.0].map(|share| percentile(&values, share)), [1, 51, 100, 101].map(Some));
    assert_eq!(percentile(&[7], 0.99), Some(7));
    assert_eq!(percentile::<u32>(&[], 0.5), None);
}

#[test]
fn rounds_are_told_by_their_median_and_ratios_are_of_the_same_round() {
    assert_eq!(Spread::of(&[30.0, 10.0, 20.0]), Some(Spread { median: 20.0, least: 10.0, most: 30.0 }));
    assert_eq!(Spread::of(&[4.0, 1.0]).unwrap().median, 2.5);
    assert_eq!(Spread::of(&[]), None);
    // a peer that did nothing in a round, or was left out, has no ratio
    assert_eq!(ratios(&[10.0, 30.0, 5.0], &[5.0, 10.0, 0.0]), [2.0, 3.0]);
    assert!(ratios(&[10.0], &[]).is_empty());
}

#[test]
fn what_is_on_the_wire_is_never_less_than_what_went() {
    assert_eq!([1, 1_448, 1_449, 4_000].map(segments), [1, 1, 2, 3]);
    let one = Bytes { payload: 4_000, segments: 3, connections: 1 };
    // three segments, three acknowledgements, three to open and four to close
    assert_eq!(one.on_the_wire(), 4_000 + 6 * 52 + (60 + 60 + 52) + 4 * 52);
    assert_eq!((one - Bytes { payload: 1_000, segments: 1, connections: 1 }).on_the_wire(), 3_000 + 4 * 52);
}

#[test]
fn a_request_ends_where_its_length_says() {
    let request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcPOST";
    assert_eq!(receiver::length(request), Some(request.len() - 4));
    assert_eq!(receiver::length(b"GET / HTTP/1.1\r\n\r\n"), Some(18));
    assert_eq!(receiver::length(b"POST / HTTP/1.1\r\nContent-Length: 3\r\n"), None);
}

/// Requests through the wire to the receiver and their answers: as many bytes are counted as went both ways.
#[tokio::test]
async fn the_wire_counts_every_byte_of_both_directions() {
    use std::sync::Arc;
    use std::sync::atomic::Ordering;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Arc::<receiver::Seen>::default();
    tokio::spawn(receiver::serve(listener, receiver::Manner::default(), Arc::clone(&seen)));
    let wire = Wire::to(port).await;
    let (mut sent, mut came) = (0, 0);
    for _ in 0..2 {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", wire.port)).await.unwrap();
        for size in [0, 10, 200_000] {
            let request = format!("POST /hook HTTP/1.1\r\ncontent-length: {size}\r\n\r\n{}", "x".repeat(size));
            stream.write_all(request.as_bytes()).await.unwrap();
            sent += request.len();
        }
        stream.shutdown().await.unwrap();
        let mut answers = Vec::new();
        stream.read_to_end(&mut answers).await.unwrap();
        came += answers.len();
    }
    assert_eq!(seen.requests.load(Ordering::SeqCst), 6);
    let bytes = wire.bytes();
    assert_eq!((bytes.payload, bytes.connections), ((sent + came) as u64, 2));
    assert!(bytes.segments >= segments(sent as u64));
}

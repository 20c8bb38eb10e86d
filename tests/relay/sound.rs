//! Recordings go over the link behind everything else, to the last byte; those of lines that keep their texts stay.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kakehashi::crm::relay::Settings as Relay;
use kakehashi::events::{Data, Event, RecordedStream, RecordingAvailable};
use kakehashi::media::Frame;
use kakehashi::media::segment::{Writer, folder, scan};
use kakehashi::outbox::Batch;
use kakehashi::pbx::{Speaker, StreamId};
use kakehashi::time::Wall;
use uuid::Uuid;

use crate::budget::document;
use crate::ends::{Near, PATIENCE, Place, batch, connect, contact, local, seen};
use crate::hook::Hook;
use crate::mutate::Dice;
use crate::proxy::Proxy;

const RATE: u32 = 8_000;
const SECONDS: u64 = 7;

/// A stream of noise in segments of half a second: each goes in the life of one link.
fn record(audio: &Path, stream: StreamId) {
    let mut writer = Writer::new(audio, stream, Wall(1_795_420_800_000_000), RATE, 500);
    let mut dice = Dice(stream.0.as_u128() as u64);
    for quarter in 0..SECONDS * 4 {
        let samples = (0..RATE / 4).map(|_| dice.roll() as i16).collect();
        writer.write(&Frame { stream, position: quarter * u64::from(RATE / 4), rate: RATE, samples }).unwrap();
    }
}

/// A complete contact with a recording; its line may let no text leave.
fn recorded(number: u64, leaves: bool) -> (Batch, [StreamId; 2]) {
    let streams = [1, 2].map(|side| StreamId(Uuid::from_u128(u128::from(number) * 10 + side)));
    let of = |stream| RecordedStream {
        stream,
        leg: kakehashi::call::LegId(Uuid::nil()),
        speaker: Speaker::Caller,
        origin: Wall(1_795_420_800_000_000),
        samples: SECONDS * u64::from(RATE),
        rate: RATE,
        from: None,
        to: None,
        spare: false,
    };
    let mut whole = document(number, 100);
    whole.contact.open = false;
    whole.deliver_text = leaves;
    let mut told = batch(number, 1, 1).events.remove(0);
    told.data = Data::RecordingAvailable(RecordingAvailable { streams: streams.map(of).into(), pauses: Vec::new() });
    let own = contact(number);
    let event = &mut whole.events[0];
    (event.sequence, event.id) = if leaves {
        (Some(2), Event::record_id(own, 2, event.time))
    } else {
        (None, Event::kept_id(own, 1, event.time))
    };
    whole.events.insert(0, told);
    (whole, streams)
}

fn bytes(audio: &Path, stream: StreamId) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(folder(audio, stream)).into_iter().flatten().flatten();
    let named = entries.map(|entry| (entry.file_name().into_string().unwrap(), entry.path()));
    let mut all: Vec<_> = named.map(|(name, path)| (name, std::fs::read(path).unwrap_or_default())).collect();
    all.sort();
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn recordings_arrive_to_the_last_byte_over_a_link_that_is_cut() {
    let (place, hook, port) = (Place::new(), Arc::new(Hook::listen(0)), crate::ends::port());
    let proxy = Proxy::start(local(port), 25, 5).await;
    let mut far = place.relay(&format!("listen = \"127.0.0.1:{port}\""), hook.port);
    let relay = Relay { sound: true, ..connect(proxy.port) };
    let near = Near::start(&place.path("near"), place.endpoint(relay));
    let deadline = Instant::now() + PATIENCE;
    while near.outbox.noted("sound relay").unwrap().is_none() {
        assert!(Instant::now() < deadline, "recordings are not looked for");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (own, other) = (place.path("near/audio"), place.path("far/audio"));
    let (staying, stays) = recorded(1, false);
    let (leaving, leaves) = recorded(2, true);
    stays.iter().chain(&leaves).for_each(|stream| record(&own, *stream));
    near.outbox.submit(staying).unwrap();
    let accepted = near.accept(vec![leaving]).await;
    // a relay that is killed meanwhile
    while bytes(&other, leaves[0]).is_empty() {
        assert!(Instant::now() < deadline, "nothing came");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    far = tokio::task::spawn_blocking(move || far.kill_and_start()).await.unwrap();
    let whole = |stream: &StreamId| {
        let arrived = bytes(&other, *stream);
        let segments: Vec<_> = arrived.into_iter().filter(|(name, _)| name.ends_with(".seg")).collect();
        segments == bytes(&own, *stream)
    };
    while !leaves.iter().all(whole) {
        assert!(Instant::now() < deadline, "not all came");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(stays.iter().all(|stream| bytes(&other, *stream).is_empty()), "its line keeps what was said");
    assert_eq!(scan(&other, leaves[1]).unwrap().unwrap().samples, SECONDS * u64::from(RATE));
    seen(&hook, |events| events.len() >= 3).await;
    let of_it: Vec<_> = hook.arrived().into_iter().map(|(_, event)| event.id).collect();
    assert!(accepted.iter().all(|entry| of_it.contains(&entry.id)));
    assert!(far.runs());
    println!(
        "{} bytes of sound in {} segments over {} links: {} bytes",
        leaves.iter().flat_map(|stream| bytes(&own, *stream)).map(|(_, bytes)| bytes.len()).sum::<usize>(),
        leaves.iter().map(|stream| bytes(&own, *stream).len()).sum::<usize>(),
        proxy.connections(),
        proxy.bytes()
    );
}

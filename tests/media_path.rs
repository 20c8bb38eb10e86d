//! Real UDP on loopback through the real media threads: sound bit-exact on disk and at the listener, whatever the network does.

use std::net::UdpSocket;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use kakehashi::bridge::media::{Error, MediaHandle, Shift, spawn};
use kakehashi::media::codec::{decode_alaw, decode_ulaw, encode_alaw, encode_ulaw};
use kakehashi::media::segment::{folder, read_range, scan};
use kakehashi::media::settings::Settings;
use kakehashi::media::{Codec, Fed, Heard, OpenStream, Payload, Source, StreamEventKind, StreamSummary};
use kakehashi::pbx::StreamId;
use kakehashi::pbx::sip::keying::Path;
use uuid::Uuid;

/// Longest wait for the threads; only a failing test waits that long.
const PATIENCE: Duration = Duration::from_secs(20);

fn settings(first_port: u16) -> Settings {
    Settings { first_port, last_port: first_port + 39, threads: 2, poll_interval_ms: 5, ..Settings::default() }
}

fn open(media: &MediaHandle, id: u128, codec: Codec, record: bool) -> (StreamId, UdpSocket) {
    let stream = StreamId(Uuid::from_u128(id));
    let number = if codec == Codec::Pcma { 8 } else { 0 };
    let request = OpenStream {
        stream,
        payloads: vec![Payload { number, codec }],
        record,
        transcribe: true,
        source: Source::First,
        path: Path::default(),
    };
    let port = media.open(request).unwrap();
    assert_eq!(port % 2, 0, "RTP ports are even");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(("127.0.0.1", port)).unwrap();
    (stream, socket)
}

fn packet(payload_type: u8, seq: u16, ts: u32, ssrc: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80, payload_type];
    bytes.extend(seq.to_be_bytes());
    bytes.extend(ts.to_be_bytes());
    bytes.extend(ssrc.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Sound with every level in it, repeatable.
fn sound(seed: u32, samples: usize) -> Vec<i16> {
    let mut x = seed | 1;
    (0..samples)
        .map(|_| {
            x ^= x << 13;
            x ^= x >> 17;
            x ^= x << 5;
            x as i16
        })
        .collect()
}

/// What one stream gave the listener.
#[derive(Default)]
struct Listened {
    pcm: Vec<i16>,
    events: Vec<StreamEventKind>,
    closed: Option<StreamSummary>,
}

/// Reads until all `streams` are closed.
fn listen<const N: usize>(heard: &Receiver<Heard>, streams: [StreamId; N]) -> [Listened; N] {
    let mut all: [Listened; N] = std::array::from_fn(|_| Listened::default());
    let place = |stream| streams.iter().position(|id| *id == stream).unwrap();
    while all.iter().any(|one| one.closed.is_none()) {
        match heard.recv_timeout(PATIENCE).expect("the media threads went quiet") {
            Heard::Pcm(frame) => {
                let one = &mut all[place(frame.stream)];
                assert!(one.closed.is_none(), "PCM after Closed");
                assert_eq!(frame.position, one.pcm.len() as u64, "frames follow each other");
                one.pcm.extend(frame.samples);
            }
            Heard::Event(event) => {
                let one = &mut all[place(event.stream)];
                assert!(one.closed.is_none(), "an event after Closed");
                if let StreamEventKind::Closed(summary) = &event.kind {
                    one.closed = Some(summary.clone());
                }
                one.events.push(event.kind);
            }
        }
    }
    all
}

/// Waits until the threads have taken `packets` in all.
fn settle(media: &MediaHandle, packets: u64) {
    let taken = || media.stats().packets.load(std::sync::atomic::Ordering::Relaxed);
    let mut left = 4_000;
    while taken() < packets {
        left -= 1;
        assert!(left > 0, "{} of {packets} packets were taken", taken());
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn both_parties_are_bit_exact_after_g711_at_the_listener_and_on_disk() {
    let data = tempfile::tempdir().unwrap();
    let (sender, heard) = sync_channel(4_096);
    let media = spawn(&settings(23_000), data.path(), sender).unwrap();
    let (caller, to_caller) = open(&media, 1, Codec::Pcmu, true);
    let (agent, to_agent) = open(&media, 2, Codec::Pcma, true);
    let (left, right) = (sound(1, 160 * 600), sound(2, 160 * 600));
    // 12 s; sequence numbers and timestamps wrap on the way.
    for n in 0..600usize {
        let at = n * 160..(n + 1) * 160;
        let (seq, ts) = (65_500u16.wrapping_add(n as u16), (u32::MAX - 20_000).wrapping_add(n as u32 * 160));
        let ulaw: Vec<u8> = left[at.clone()].iter().map(|s| encode_ulaw(*s)).collect();
        let alaw: Vec<u8> = right[at].iter().map(|s| encode_alaw(*s)).collect();
        to_caller.send(&packet(0, seq, ts, 7, &ulaw)).unwrap();
        to_agent.send(&packet(8, seq, ts, 9, &alaw)).unwrap();
        if n % 50 == 49 {
            settle(&media, 2 * (n as u64 + 1));
        }
    }
    media.close(caller);
    media.close(agent);
    let [one, two] = listen(&heard, [caller, agent]);
    let left: Vec<i16> = left.iter().map(|s| decode_ulaw(encode_ulaw(*s))).collect();
    let right: Vec<i16> = right.iter().map(|s| decode_alaw(encode_alaw(*s))).collect();
    let audio = data.path().join("audio");
    for (listened, stream, want) in [(&one, caller, &left), (&two, agent, &right)] {
        assert!(listened.pcm == *want, "the listener's sound differs");
        assert!(read_range(&audio, stream, 0, want.len() as u64).unwrap() == *want, "the sound on disk differs");
        let extent = scan(&audio, stream).unwrap().unwrap();
        assert_eq!((extent.samples, extent.rate, extent.damaged), (want.len() as u64, 8_000, 0));
        let summary = listened.closed.clone().unwrap();
        let want = StreamSummary { samples: want.len() as u64, rate: 8_000, packets: 600, ..StreamSummary::default() };
        assert_eq!(summary, want);
        assert!(matches!(listened.events[0], StreamEventKind::First { rate: 8_000, .. }));
    }
}

#[test]
fn loss_reorder_repeats_and_a_foreign_sender_leave_true_time_and_honest_counts() {
    let data = tempfile::tempdir().unwrap();
    let (sender, heard) = sync_channel(4_096);
    let media = spawn(&settings(23_100), data.path(), sender).unwrap();
    let (stream, socket) = open(&media, 3, Codec::Pcmu, true);
    let samples = sound(3, 160 * 200);
    let send = |socket: &UdpSocket, n: usize| {
        let ulaw: Vec<u8> = samples[n * 160..(n + 1) * 160].iter().map(|s| encode_ulaw(*s)).collect();
        socket.send(&packet(0, n as u16, n as u32 * 160, 7, &ulaw)).unwrap();
    };
    send(&socket, 0);
    settle(&media, 1);
    let foreign = UdpSocket::bind("127.0.0.1:0").unwrap();
    foreign.connect(socket.peer_addr().unwrap()).unwrap();
    let mut sent = 1;
    for pair in 0..99usize {
        let (a, b) = (1 + 2 * pair, 2 + 2 * pair);
        foreign.send(&packet(0, b as u16, b as u32 * 160, 7, &[0x00; 160])).unwrap();
        send(&socket, b);
        sent += 2;
        if pair % 10 != 5 {
            send(&socket, a);
            send(&socket, a);
            sent += 2;
        }
        settle(&media, sent);
    }
    media.close(stream);
    let [one] = listen(&heard, [stream]);
    let mut want: Vec<i16> = samples[..199 * 160].iter().map(|s| decode_ulaw(encode_ulaw(*s))).collect();
    let lost: Vec<usize> = (0..99).filter(|pair| pair % 10 == 5).map(|pair| 1 + 2 * pair).collect();
    for n in &lost {
        want[n * 160..(n + 1) * 160].fill(0);
    }
    assert!(one.pcm == want, "every sample is where it was spoken");
    let summary = one.closed.unwrap();
    assert_eq!(summary.lost, lost.len() as u64);
    assert_eq!(summary.gap_samples, lost.len() as u64 * 160);
    assert_eq!(summary.foreign, 99);
    assert_eq!(summary.duplicates, 99 - lost.len() as u64);
    let gaps = one.events.iter().filter(|event| matches!(event, StreamEventKind::Gap { .. })).count();
    assert_eq!(gaps, lost.len());
}

#[test]
fn a_listener_that_stands_still_costs_no_event_and_no_sound_on_disk() {
    let data = tempfile::tempdir().unwrap();
    let (sender, heard) = sync_channel(1);
    let media = spawn(&settings(23_200), data.path(), sender).unwrap();
    let (stream, socket) = open(&media, 4, Codec::Pcmu, true);
    for n in 0..300u16 {
        socket.send(&packet(0, n, u32::from(n) * 160, 7, &[0x10; 160])).unwrap();
        if n % 50 == 49 {
            settle(&media, u64::from(n) + 1);
        }
    }
    media.close(stream);
    let mut kinds = Vec::new();
    while !matches!(kinds.last(), Some(StreamEventKind::Closed(_))) {
        if let Heard::Event(event) = heard.recv_timeout(PATIENCE).expect("Closed always comes") {
            kinds.push(event.kind);
        }
    }
    assert!(matches!(kinds[0], StreamEventKind::First { .. }));
    assert!(
        media.stats().frames_dropped.load(std::sync::atomic::Ordering::Relaxed) > 0,
        "nothing was dropped: no test"
    );
    assert_eq!(scan(&data.path().join("audio"), stream).unwrap().unwrap().samples, 300 * 160);
}

#[test]
fn what_may_be_transcribed_but_not_recorded_leaves_nothing_on_disk() {
    let data = tempfile::tempdir().unwrap();
    let (sender, heard) = sync_channel(64);
    let media = spawn(&settings(23_300), data.path(), sender).unwrap();
    let (stream, socket) = open(&media, 5, Codec::Pcmu, false);
    for n in 0..50u16 {
        socket.send(&packet(0, n, u32::from(n) * 160, 7, &[0x10; 160])).unwrap();
    }
    settle(&media, 50);
    media.close(stream);
    let [one] = listen(&heard, [stream]);
    assert_eq!(one.pcm.len(), 50 * 160);
    assert!(!folder(&data.path().join("audio"), stream).exists());
}

#[test]
fn a_full_range_says_so_and_a_closed_stream_gives_its_ports_back() {
    let data = tempfile::tempdir().unwrap();
    let (sender, heard) = sync_channel(64);
    let settings = Settings { last_port: 23_403, port_rest_ms: 0, ..settings(23_400) };
    let media = spawn(&settings, data.path(), sender).unwrap();
    let (first, _) = open(&media, 6, Codec::Pcmu, true);
    let (second, _) = open(&media, 7, Codec::Pcmu, true);
    let third = OpenStream {
        stream: StreamId(Uuid::from_u128(8)),
        payloads: vec![],
        record: true,
        transcribe: true,
        source: Source::First,
        path: Path::default(),
    };
    let error = media.open(third.clone()).unwrap_err();
    assert!(matches!(error, Error::NoPort { used: 2, .. }), "{error}");
    media.close(first);
    media.close(second);
    listen(&heard, [first, second]);
    assert!(media.open(third).is_ok());
    let port = media.open(OpenStream {
        stream: StreamId(Uuid::from_u128(9)),
        payloads: vec![],
        record: true,
        transcribe: true,
        source: Source::First,
        path: Path::default(),
    });
    assert_eq!(port.map(|port| port % 2).unwrap_or(9), 0);
}

/// The pause begins 2 s into the sound and is told when 6 s are on disk; it ends at 8 s.
#[test]
fn a_paused_span_is_silence_on_disk_also_where_it_was_written_already_and_sound_at_the_listener() {
    let data = tempfile::tempdir().unwrap();
    let (sender, heard) = sync_channel(4_096);
    let media = spawn(&Settings { segment_ms: 1_000, ..settings(23_200) }, data.path(), sender).unwrap();
    let (stream, to_stream) = open(&media, 6, Codec::Pcmu, true);
    let sound = sound(6, 160 * 500);
    let send = |packets: std::ops::Range<usize>, more: u64| {
        for n in packets {
            let ulaw: Vec<u8> = sound[n * 160..(n + 1) * 160].iter().map(|s| encode_ulaw(*s)).collect();
            to_stream.send(&packet(0, n as u16, n as u32 * 160, 7, &ulaw)).unwrap();
            if n % 50 == 49 {
                settle(&media, n as u64 + 1 + more);
            }
        }
    };
    send(0..300, 0);
    let Ok(Heard::Event(first)) = heard.recv_timeout(PATIENCE) else { panic!("the first packet is an event") };
    let StreamEventKind::First { origin, .. } = first.kind else { panic!("{first:?}") };
    media.mute(stream, origin.wall + Duration::from_secs(2));
    media.mute(stream, origin.wall + Duration::from_secs(3));
    send(300..400, 0);
    media.unmute(stream, origin.wall + Duration::from_secs(8));
    // what is read after this is read after the command
    to_stream.send(b"no packet").unwrap();
    settle(&media, 401);
    send(400..500, 1);
    media.close(stream);
    let [listened] = listen(&heard, [stream]);
    let mut want: Vec<i16> = sound.iter().map(|s| decode_ulaw(encode_ulaw(*s))).collect();
    assert!(listened.pcm == want, "the listener hears on: what may be recognised is the session's business");
    want[16_000..64_000].fill(0);
    let audio = data.path().join("audio");
    let disk = read_range(&audio, stream, 0, 80_000).unwrap();
    let wrong = disk.iter().zip(&want).position(|(one, other)| one != other);
    assert_eq!(wrong, None, "the first sample that is not as it should be");
    assert_eq!(scan(&audio, stream).unwrap().unwrap().damaged, 0);
    let left = std::fs::read_dir(folder(&audio, stream)).unwrap().flatten();
    assert!(left.into_iter().all(|entry| entry.path().extension().is_some_and(|e| e == "seg")), "nothing is left over");
}

/// Streams that a driver feeds have no port; what they give is the same, on the wall clock that the driver says.
#[test]
fn fed_streams_are_bit_exact_in_both_rates_and_carry_their_own_clock() {
    let data = tempfile::tempdir().unwrap();
    let (sender, heard) = sync_channel(4_096);
    let media = spawn(&settings(23_200), data.path(), sender).unwrap();
    let hour = 3_600_000_000;
    let from = "192.0.2.1:4000".parse().unwrap();
    let made = [(Codec::L16, 8_000, 160), (Codec::L16Wide, 16_000, 320)].map(|(codec, rate, length)| {
        let stream = StreamId(Uuid::from_u128(u128::from(rate)));
        let request = OpenStream {
            stream,
            payloads: vec![Payload { number: 96, codec }],
            record: true,
            transcribe: true,
            source: Source::First,
            path: Path::default(),
        };
        media.open_fed(request, Shift(-hour)).unwrap();
        let pcm = sound(rate, length * 50);
        for (n, part) in pcm.chunks(length).enumerate() {
            let payload: Vec<u8> = part.iter().flat_map(|sample| sample.to_be_bytes()).collect();
            let datagram = packet(96, n as u16, (n * length) as u32, 7, &payload).into();
            assert!(media.feed(Fed { stream, at: kakehashi::bridge::now(), from, datagram }));
        }
        media.close(stream);
        (stream, rate, pcm)
    });
    let before = kakehashi::bridge::now().wall.0;
    let heard = listen(&heard, [made[0].0, made[1].0]);
    for ((stream, rate, pcm), heard) in made.iter().zip(heard) {
        assert!(heard.pcm == *pcm, "{rate} Hz");
        assert!(
            read_range(data.path().join("audio").as_path(), *stream, 0, pcm.len() as u64).unwrap() == *pcm,
            "{rate} Hz on disk"
        );
        let Some(StreamEventKind::First { origin, rate: told }) = heard.events.first() else { panic!("no beginning") };
        assert_eq!(told, rate);
        assert!((origin.wall.0 + hour - before).abs() < hour / 2, "the driver's clock");
        let closed = heard.closed.unwrap();
        assert_eq!((closed.packets, closed.lost, closed.malformed), (50, 0, 0));
    }
}

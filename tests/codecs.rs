//! Wideband codecs through a whole stream: every sample at its place, losses as gaps of their own length, sound close to what was said.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use audio_codec::Encoder;
use audio_codec::g722::G722Encoder;
use kakehashi::media::settings::Settings;
use kakehashi::media::stream::Stream;
use kakehashi::media::{Codec, Payload, StreamEventKind, StreamSummary};
use kakehashi::pbx::StreamId;
use kakehashi::time::Now;
use uuid::Uuid;

/// Speech-like sound of 16 kHz: a gliding voice with overtones in syllables of 360 ms, two a second. Without the rests an encoder takes it
/// for noise, and repeats none of it in the next packet.
fn sound(samples: usize) -> Vec<i16> {
    let mut phase = 0.0f64;
    let at = |n: usize| {
        let t = n as f64 / 16_000.0;
        phase += std::f64::consts::TAU * (150.0 + 40.0 * (t * 3.0).sin()) / 16_000.0;
        let voice: f64 = (1..24).map(|k| (phase * f64::from(k)).sin() / f64::from(k)).sum();
        let syllable = ((t % 0.5) / 0.36 * std::f64::consts::PI).sin().max(0.0);
        (voice * 8_000.0 * syllable) as i16
    };
    (0..samples).map(at).collect()
}

struct Line {
    stream: Stream,
    pcm: Vec<i16>,
    events: Vec<StreamEventKind>,
    sequence: u16,
}

impl Line {
    fn new(codec: Codec) -> Line {
        let payloads = vec![Payload { number: 96, codec }, Payload { number: 0, codec: Codec::Pcmu }];
        let stream = Stream::new(Now::default(), StreamId(Uuid::nil()), payloads, &Settings::default());
        Line { stream, pcm: Vec::new(), events: Vec::new(), sequence: 65_000 }
    }

    fn packet(&mut self, ms: u64, number: u8, timestamp: u32, payload: &[u8], is_lost: bool) {
        let mut bytes = vec![0x80, number];
        bytes.extend(self.sequence.to_be_bytes());
        bytes.extend(timestamp.to_be_bytes());
        bytes.extend(7u32.to_be_bytes());
        bytes.extend(payload);
        self.sequence = self.sequence.wrapping_add(1);
        let now = Now::default().plus(Duration::from_millis(ms));
        if !is_lost {
            self.stream.handle_packet(now, SocketAddr::from(([127, 0, 0, 1], 4_000)), &bytes);
        }
        self.stream.handle_timeout(now);
    }

    fn finish(mut self) -> (Vec<i16>, Vec<StreamEventKind>, StreamSummary) {
        let summary = self.stream.finish();
        while let Some(frame) = self.stream.take(1) {
            self.pcm.extend(frame.samples);
        }
        self.events.extend(self.stream.take_events());
        (self.pcm, self.events, summary)
    }
}

fn gaps(events: &[StreamEventKind], rate: u64) -> Vec<(u64, u64)> {
    let sample = |micros: u64| micros * rate / 1_000_000;
    let gap = |event: &StreamEventKind| match event {
        StreamEventKind::Gap { from, to } => Some((sample(from.0), sample(to.0))),
        _ => None,
    };
    events.iter().filter_map(gap).collect()
}

/// The codec's delay: where what was heard is most like what was said (normalised cross-correlation), up to `most` samples.
fn delay(said: &[i16], heard: &[i16], most: usize) -> usize {
    let likeness = |delay: usize| {
        let (mut both, mut power) = (0.0, 1.0);
        for (a, b) in said.iter().zip(heard.get(delay..).unwrap_or_default()) {
            let (a, b) = (f64::from(*a), f64::from(*b));
            both += a * b;
            power += b * b;
        }
        both / power.sqrt()
    };
    (0..=most).max_by(|a, b| likeness(*a).total_cmp(&likeness(*b))).unwrap_or(0)
}

/// Signal to noise in dB.
fn snr(said: &[i16], heard: &[i16]) -> f64 {
    let (mut signal, mut noise) = (0.0, 1.0);
    for (a, b) in said.iter().zip(heard) {
        let (a, b) = (f64::from(*a), f64::from(*b));
        signal += a * a;
        noise += (a - b) * (a - b);
    }
    10.0 * f64::log10(signal / noise)
}

#[test]
fn g722_counts_eight_thousand_and_gives_sixteen_thousand() {
    let said = sound(16_000 * 4);
    for ptime in [10usize, 20, 30, 60] {
        let (mut line, mut encoder) = (Line::new(Codec::G722), G722Encoder::new());
        for (n, piece) in said.chunks(16 * ptime).enumerate() {
            let payload = encoder.encode(piece);
            assert_eq!(payload.len(), piece.len() / 2);
            let timestamp = u32::MAX - 5_000;
            let timestamp = timestamp.wrapping_add((n * ptime * 8) as u32);
            line.packet((n * ptime) as u64, 96, timestamp, &payload, n == 20);
        }
        let (pcm, events, summary) = line.finish();
        let samples = 16 * ptime as u64;
        assert_eq!(pcm.len(), said.len());
        assert_eq!((summary.rate, summary.lost, summary.gap_samples), (16_000, 1, samples));
        assert_eq!(gaps(&events, 16_000), [(20 * samples, 21 * samples)]);
        let before = 20 * samples as usize;
        let late = delay(&said[..before - 64], &pcm[..before], 40);
        let quality = snr(&said[..before - 64], &pcm[late..before]);
        // measured: 14.1 to 14.6 dB, 22 or 23 samples late (the two filters of 24 taps)
        assert!(quality > 13.0, "{ptime} ms: {quality:.1} dB");
        assert!((20..=24).contains(&late), "{ptime} ms: {late} samples");
    }
}

/// Speech at three levels, tones of both sub-bands, a sweep, noise up to full scale: coded and decoded by FFmpeg, and by libg722 to 8 kHz
/// (`tests/data/g722/make.sh`).
#[test]
fn g722_of_other_makers_is_decoded_to_the_same_samples() {
    let read = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/g722").join(name);
        std::fs::read(path).unwrap()
    };
    let coded = read("sound.g722");
    for (name, rate, samples) in [("sound.s16le", 16_000, 34_560), ("narrow.s16le", 8_000, 17_280)] {
        let want: Vec<i16> = read(name).chunks_exact(2).map(|two| i16::from_le_bytes([two[0], two[1]])).collect();
        assert_eq!(want.len(), samples);
        let mut line = Line::new(Codec::G722);
        if rate == 8_000 {
            // G.711 first: the stream stays at 8 kHz
            line.packet(0, 0, 0, &[0xff; 160], false);
        }
        for (n, payload) in (1u32..).zip(coded.chunks(160)) {
            line.packet(20 * u64::from(n), 96, 160 * n, payload, false);
        }
        let (pcm, _, summary) = line.finish();
        let pcm = &pcm[pcm.len() - want.len()..];
        assert_eq!((summary.rate, summary.lost), (rate, 0));
        let differ = pcm.iter().zip(&want).filter(|(one, other)| one != other).count();
        assert_eq!(differ, 0, "samples that differ from {name}");
    }
}

#[test]
fn packets_out_of_order_are_decoded_in_order() {
    let said = sound(16_000);
    let decode = |swapped: bool| {
        let (mut line, mut encoder) = (Line::new(Codec::G722), G722Encoder::new());
        let mut payloads: Vec<(usize, Vec<u8>)> =
            said.chunks(320).map(|piece| encoder.encode(piece)).enumerate().collect();
        if swapped {
            payloads.chunks_mut(5).for_each(<[_]>::reverse);
            // the first packet sets the time
            payloads[..5].reverse();
        }
        for (at, (n, payload)) in payloads.iter().enumerate() {
            line.sequence = 100 + *n as u16;
            line.packet(20 * at as u64, 96, 160 * *n as u32, payload, false);
        }
        line.finish().0
    };
    assert!(decode(true) == decode(false));
}

#[test]
fn a_change_to_g711_keeps_the_rate_and_the_time() {
    let (mut line, mut encoder) = (Line::new(Codec::G722), G722Encoder::new());
    let said = sound(16_000);
    for (n, piece) in said.chunks(320).enumerate() {
        line.packet(20 * n as u64, 96, 160 * n as u32, &encoder.encode(piece), false);
    }
    for n in 50..100u32 {
        line.packet(20 * u64::from(n), 0, 160 * n, &[0x55; 160], false);
    }
    let (pcm, events, summary) = line.finish();
    assert_eq!((pcm.len(), summary.rate, summary.lost), (32_000, 16_000, 0));
    assert!(gaps(&events, 16_000).is_empty());
}

#[cfg(feature = "opus")]
mod with_opus {
    use super::*;

    fn encoder() -> opus::Encoder {
        let mut encoder = opus::Encoder::new(16_000, opus::Channels::Mono, opus::Application::Voip).unwrap();
        encoder.set_bitrate(opus::Bitrate::Bits(32_000)).unwrap();
        encoder.set_inband_fec(true).unwrap();
        encoder.set_packet_loss_perc(20).unwrap();
        encoder
    }

    #[test]
    fn opus_is_close_to_what_was_said_and_what_was_lost_is_mended_and_still_a_gap() {
        let said = sound(16_000 * 4);
        let run = |lost: bool| {
            let (mut line, mut encoder) = (Line::new(Codec::Opus), encoder());
            for (n, piece) in said.chunks(320).enumerate() {
                let payload = encoder.encode_vec(piece, 400).unwrap();
                line.packet(20 * n as u64, 96, 960 * n as u32, &payload, lost && n % 25 == 10);
            }
            line.finish()
        };
        let (whole, _, summary) = run(false);
        assert_eq!((whole.len(), summary.rate, summary.lost), (said.len(), 16_000, 0));
        let late = delay(&said[..63_000], &whole, 400);
        let quality = snr(&said[..63_000], &whole[late..]);
        // measured: 5.9 dB, 103 samples late; libopus shapes speech for the ear, not for the wave
        assert!(quality > 5.0, "{quality:.1} dB");
        assert!((96..=112).contains(&late), "{late} samples");
        let (mended, events, summary) = run(true);
        assert_eq!((mended.len(), summary.lost, summary.gap_samples), (said.len(), 8, 8 * 320));
        let holes: Vec<(u64, u64)> = (0..8).map(|k| ((25 * k + 10) * 320, (25 * k + 11) * 320)).collect();
        assert_eq!(gaps(&events, 16_000), holes);
        for (from, to) in holes.into_iter().map(|(from, to)| (from as usize, to as usize)) {
            let hole = snr(&whole[from..to], &mended[from..to]);
            // measured: 16.9 to 21.9 dB, and 22.1 to 27.3 dB from the second packet after it
            assert!(hole > 14.0, "the next packet tells what was lost at {from}: {hole:.1} dB");
            let after = snr(&whole[to + 320..to + 1_600], &mended[to + 320..to + 1_600]);
            assert!(after > 20.0, "the decoder goes on as if nothing was lost: {after:.1} dB");
        }
    }

    #[test]
    fn discontinuous_transmission_is_silence_and_no_loss() {
        let (mut line, mut encoder) = (Line::new(Codec::Opus), encoder());
        let said = sound(16_000);
        for (n, piece) in said.chunks(320).enumerate() {
            line.packet(20 * n as u64, 96, 960 * n as u32, &encoder.encode_vec(piece, 400).unwrap(), false);
        }
        // a second is not sent
        for (n, piece) in said.chunks(320).enumerate().map(|(n, piece)| (n + 100, piece)) {
            line.packet(20 * n as u64, 96, 960 * n as u32, &encoder.encode_vec(piece, 400).unwrap(), false);
        }
        let (pcm, events, summary) = line.finish();
        assert_eq!((pcm.len(), summary.lost, summary.gap_samples), (48_000, 0, 0));
        assert!(gaps(&events, 16_000).is_empty());
        assert!(pcm[17_000..31_000].iter().all(|sample| *sample == 0));
    }
}

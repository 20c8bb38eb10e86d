//! What the sound of the calls takes when it is sent itself: two streams, a packet every 20 ms, in G.711 and in Opus.

use opus::{Application, Bitrate, Channels, Encoder};

use crate::scene::Track;
use crate::talk::FRAME;
use crate::wire::RTP_HEADERS;

/// Bytes of each stream with the headers of IPv4, UDP and RTP: a byte a sample.
pub(crate) fn g711(lines: &[Track]) -> u64 {
    let packet = |length: usize| length as u64 + RTP_HEADERS;
    lines.iter().flat_map(frames).map(|frame| packet(frame.len())).sum()
}

/// The same by libopus for speech at so many bits a second (variable bit rate, its default); `pauses`: silence is not sent (DTX).
pub(crate) fn opus(lines: &[Track], bits: i32, pauses: bool) -> u64 {
    let of_line = |line: &Track| {
        let mut encoder = Encoder::new(8_000, Channels::Mono, Application::Voip).unwrap();
        encoder.set_bitrate(Bitrate::Bits(bits)).unwrap();
        encoder.set_dtx(pauses).unwrap();
        let sizes = frames(line).map(|mut frame| {
            frame.resize(FRAME, 0);
            encoder.encode_vec(&frame, 1_500).unwrap().len() as u64
        });
        // RFC 6716 §2.1.9, and libopus: a packet of two bytes or less needs not be sent
        sizes.filter(|size| !pauses || *size > 2).map(|size| size + RTP_HEADERS).sum::<u64>()
    };
    lines.iter().map(of_line).sum()
}

fn frames(line: &Track) -> impl Iterator<Item = Vec<i16>> {
    (0..line.length.div_ceil(FRAME)).map(|n| line.samples(n * FRAME, (n + 1) * FRAME))
}

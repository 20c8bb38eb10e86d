//! A telephone line: sound is coded, sent as RTP through the media stage in virtual time, cut into utterances and recognised.

use std::net::SocketAddr;
use std::time::Duration;

use audio_codec::Encoder;
use audio_codec::g722::G722Encoder;
use kakehashi::media::codec::{encode_alaw, encode_ulaw};
use kakehashi::media::resample::Upsampler;
use kakehashi::media::settings::Settings as Media;
use kakehashi::media::stream::Stream;
use kakehashi::media::{Codec, Payload};
use kakehashi::pbx::StreamId;
use kakehashi::speech::endpoint::Endpointer;
use kakehashi::speech::settings::Settings;
use kakehashi::speech::{SpeechEventKind, Utterance};
use kakehashi::time::Now;
use uuid::Uuid;

use crate::sounds::Seed;

/// Sends 8 kHz sound through a codec, of which `loss` (0–1) of the packets never arrive, and gives the utterances that are found in it.
pub(crate) fn heard(sound: &[i16], codec: Codec, loss: f32, settings: &Settings) -> Vec<Utterance> {
    let payloads = vec![Payload { number: 96, codec }];
    let mut stream = Stream::new(Now::default(), StreamId(Uuid::nil()), payloads, &Media::default());
    let mut seed = Seed::new(sound.len() as u64);
    let mut ear: Option<Endpointer> = None;
    let mut events = Vec::new();
    for (n, payload) in coded(sound, codec).iter().enumerate() {
        let mut bytes = vec![0x80, 96];
        bytes.extend((n as u16).to_be_bytes());
        bytes.extend((n as u32 * 160).to_be_bytes());
        bytes.extend(7u32.to_be_bytes());
        bytes.extend(payload);
        let now = Now::default().plus(Duration::from_millis(n as u64 * 20));
        if seed.part() >= loss {
            stream.handle_packet(now, SocketAddr::from(([127, 0, 0, 1], 4_000)), &bytes);
        }
        stream.handle_timeout(now);
        listen(&mut stream, settings, &mut ear, &mut events);
    }
    stream.finish();
    listen(&mut stream, settings, &mut ear, &mut events);
    if let Some(ear) = &mut ear {
        ear.finish(&mut events);
    }
    let ended = |event| match event {
        SpeechEventKind::Ended(utterance) => Some(utterance),
        _ => None,
    };
    events.into_iter().filter_map(ended).collect()
}

fn listen(stream: &mut Stream, settings: &Settings, ear: &mut Option<Endpointer>, events: &mut Vec<SpeechEventKind>) {
    while let Some(frame) = stream.take(1) {
        let ear = ear.get_or_insert_with(|| Endpointer::new(settings, frame.rate));
        ear.push(frame.position, &frame.samples, events);
    }
}

/// Packets of 20 ms.
fn coded(sound: &[i16], codec: Codec) -> Vec<Vec<u8>> {
    match codec {
        Codec::Pcma => sound.chunks_exact(160).map(|piece| piece.iter().map(|s| encode_alaw(*s)).collect()).collect(),
        Codec::G722 => {
            let mut wide = Vec::new();
            Upsampler::new().push(sound, &mut wide);
            let wide: Vec<i16> =
                wide.iter().map(|sample| (sample * 32_767.0).clamp(-32_768.0, 32_767.0) as i16).collect();
            let mut encoder = G722Encoder::new();
            wide.chunks_exact(320).map(|piece| encoder.encode(piece)).collect()
        }
        _ => sound.chunks_exact(160).map(|piece| piece.iter().map(|s| encode_ulaw(*s)).collect()).collect(),
    }
}

/// The sound of an utterance as recognisers want it.
pub(crate) fn at_16_khz(utterance: &Utterance) -> Vec<f32> {
    let mut pcm = Vec::new();
    match utterance.rate {
        8_000 => Upsampler::new().push(&utterance.pcm, &mut pcm),
        _ => pcm.extend(utterance.pcm.iter().map(|sample| f32::from(*sample) / 32_768.0)),
    }
    pcm
}

/// Its length in seconds.
pub(crate) fn length(utterance: &Utterance) -> f32 {
    utterance.pcm.len() as f32 / utterance.rate as f32
}

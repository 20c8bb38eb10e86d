//! `kakehashi export CONTACT`: a contact's recording as one stereo WAV file, caller left, agent right.

use std::path::{Path, PathBuf};

use hound::{SampleFormat, WavSpec, WavWriter};

use crate::call::ContactId;
use crate::events::{Data, Event, RecordedStream};
use crate::media::segment::{SegmentError, read_range, scan};
use crate::outbox::store::Outbox;
use crate::pbx::Speaker;
use crate::time::Wall;

/// Write a contact's recording as one stereo WAV file: caller left, agent right.
#[derive(Clone, Debug, clap::Args)]
pub struct ExportArgs {
    /// The contact whose recording is wanted.
    pub contact: uuid::Uuid,
    /// WAV file to write; `<contact>.wav` in this folder when left out.
    #[arg(long, short, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Configuration file (it names the data folder).
    #[arg(long, short, value_name = "FILE")]
    pub config: PathBuf,
}

/// Runs the subcommand.
///
/// # Errors
/// When there is no such contact, nothing is on disk, or the file cannot be written.
pub fn run(args: &ExportArgs) -> super::Result {
    let config = super::load_config(&args.config)?;
    let endpoints: Vec<String> = config.endpoint.iter().map(|endpoint| endpoint.id.clone()).collect();
    let outbox = Outbox::open_beside(&config.node.data_dir, &config.outbox, &endpoints)?;
    let events = outbox.events_of(ContactId(args.contact))?;
    if events.is_empty() {
        return Err(format!("{}: no such contact in {}", args.contact, config.node.data_dir.display()).into());
    }
    let streams: Vec<RecordedStream> = events.into_iter().filter_map(recorded).flatten().collect();
    let out = args.out.clone().unwrap_or_else(|| format!("{}.wav", args.contact).into());
    let done = export(&config.node.data_dir.join("audio"), &streams, &out)?;
    let seconds = done.samples as f64 / f64::from(done.rate.max(1));
    println!("{}: {seconds:.1} s, {} Hz, caller left, agent right, from {}", out.display(), done.rate, done.origin);
    if done.damaged > 0 {
        eprintln!("{} segment files have a damaged part, which is silence in the file", done.damaged);
    }
    Ok(())
}

fn recorded(event: Event) -> Option<Vec<RecordedStream>> {
    match event.data {
        Data::RecordingAvailable(recording) => Some(recording.streams),
        _ => None,
    }
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Wall time of the first sample of the file.
    pub origin: Wall,
    /// Samples a second.
    pub rate: u32,
    /// Samples in each channel.
    pub samples: u64,
    /// Segment files with a damaged part, which is silence in the WAV file.
    pub damaged: u32,
}

/// Why nothing could be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// No stream of the contact is on disk.
    #[error(
        "{audio}: no sound of this contact is there; expected the folders of its {streams} streams. Was the line recorded, or the recording deleted?"
    )]
    Nothing {
        /// Folder of all recordings.
        audio: PathBuf,
        /// Streams that were looked for.
        streams: usize,
    },
    /// A recording could not be read.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// The streams are too far apart for one file.
    #[error("{out}: the recording is {hours} hours long; a WAV file of two channels holds {most} at this rate")]
    TooLong {
        /// The WAV file.
        out: PathBuf,
        /// Its length.
        hours: u64,
        /// What fits.
        most: u64,
    },
    /// The WAV file could not be written.
    #[error("{out}: {source}; free space, correct the permissions or choose another file with --out")]
    Write {
        /// The WAV file.
        out: PathBuf,
        /// Why.
        source: hound::Error,
    },
}

/// A stream on disk with its place in the WAV file.
struct Track {
    stream: crate::pbx::StreamId,
    speaker: Speaker,
    rate: u32,
    /// First sample's place, in samples of the WAV file.
    start: u64,
    /// Samples on disk.
    samples: u64,
    /// The part that is this speaker's, in samples of the WAV file.
    own: (u64, u64),
}

impl Track {
    /// Whether it is heard on the channel of `speaker`: a mixture only where nobody is heard apart, who is neither on both.
    fn is_on(&self, speaker: Speaker, apart: bool) -> bool {
        match self.speaker {
            Speaker::Caller | Speaker::Agent => self.speaker == speaker,
            Speaker::Mixed => !apart,
            Speaker::Other => true,
        }
    }

    fn end(&self, rate: u32) -> u64 {
        self.start + self.samples * u64::from(rate) / u64::from(self.rate.max(1))
    }
}

/// Bytes of sound that a WAV file can count (32-bit sizes).
const WAV_BYTES: u64 = 0xffff_ff00;

/// Writes the streams that are on disk below `audio_dir` as one WAV file: caller left, agent right, placed by the wall time of their first
/// samples. Who is neither, or not told, is on both; a mixture is on both where nobody is heard apart, and left out otherwise, as is what a
/// second recorder brought. What was not recorded is silence; a speaker with several streams (transfers) has them one after the other, mixed where they overlap.
/// The rate is the highest of the streams; 8 kHz streams beside 16 kHz ones have each sample doubled.
///
/// # Errors
/// When no stream is on disk, one cannot be read, or the file cannot be written.
pub fn export(audio_dir: &Path, streams: &[RecordedStream], out: &Path) -> Result<Exported, ExportError> {
    let mut damaged = 0;
    let mut found = Vec::new();
    for recorded in streams.iter().filter(|recorded| !recorded.spare) {
        if let Some(extent) = scan(audio_dir, recorded.stream)? {
            damaged += extent.damaged;
            found.push((recorded, extent));
        }
    }
    let nothing = || ExportError::Nothing { audio: audio_dir.into(), streams: streams.len() };
    let origin = found.iter().map(|(_, extent)| extent.origin).min().ok_or_else(nothing)?;
    let rate = found.iter().map(|(_, extent)| extent.rate).max().ok_or_else(nothing)?;
    let tracks: Vec<Track> = found
        .iter()
        .map(|(recorded, extent)| {
            let place = |at: crate::time::Wall| (at.since(origin).as_micros() * u128::from(rate) / 1_000_000) as u64;
            Track {
                stream: recorded.stream,
                speaker: recorded.speaker,
                rate: extent.rate,
                start: place(extent.origin),
                samples: extent.samples,
                own: (recorded.from.map_or(0, place), recorded.to.map_or(u64::MAX, place)),
            }
        })
        .collect();
    let samples = tracks.iter().map(|track| track.end(rate)).max().unwrap_or(0);
    if samples > WAV_BYTES / 4 {
        let hour = u64::from(rate) * 3_600;
        return Err(ExportError::TooLong { out: out.into(), hours: samples / hour, most: WAV_BYTES / 4 / hour });
    }
    write_wav(audio_dir, &tracks, rate, samples, out)?;
    Ok(Exported { origin, rate, samples, damaged })
}

fn write_wav(audio: &Path, tracks: &[Track], rate: u32, samples: u64, out: &Path) -> Result<(), ExportError> {
    let refused = |source| ExportError::Write { out: out.into(), source };
    let spec = WavSpec { channels: 2, sample_rate: rate, bits_per_sample: 16, sample_format: SampleFormat::Int };
    let mut wav = WavWriter::create(out, spec).map_err(refused)?;
    // Ten seconds at a time: an hour of sound is never in memory.
    let step = u64::from(rate) * 10;
    let mut from = 0;
    while from < samples {
        let to = (from + step).min(samples);
        let left = channel(audio, tracks, Speaker::Caller, rate, from, to)?;
        let right = channel(audio, tracks, Speaker::Agent, rate, from, to)?;
        for (left, right) in left.iter().zip(&right) {
            wav.write_sample(*left).map_err(refused)?;
            wav.write_sample(*right).map_err(refused)?;
        }
        from = to;
    }
    wav.finalize().map_err(refused)
}

/// Samples `from`..`to` of one channel.
fn channel(
    audio: &Path,
    tracks: &[Track],
    speaker: Speaker,
    rate: u32,
    from: u64,
    to: u64,
) -> Result<Vec<i16>, SegmentError> {
    let mut mixed = vec![0i16; (to - from) as usize];
    let apart = tracks.iter().any(|track| matches!(track.speaker, Speaker::Caller | Speaker::Agent));
    for track in tracks.iter().filter(|track| track.is_on(speaker, apart)) {
        if track.start >= to || track.end(rate) <= from {
            continue;
        }
        let times = u64::from((rate / track.rate.max(1)).max(1));
        let at = |place: u64| place.saturating_sub(track.start) / times;
        let first = at(from);
        let sound = read_range(audio, track.stream, first, at(to) + 1)?;
        for (place, sum) in (from..to).zip(mixed.iter_mut()) {
            if place < track.own.0 || place >= track.own.1 {
                continue;
            }
            let Some(inside) = place.checked_sub(track.start) else { continue };
            let sample = sound.get((inside / times - first) as usize).copied().unwrap_or(0);
            *sum = sum.saturating_add(sample);
        }
    }
    Ok(mixed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::RecordedStream;
    use crate::media::Frame;
    use crate::media::segment::Writer;
    use crate::pbx::StreamId;
    use uuid::Uuid;

    fn record(audio: &Path, id: u128, speaker: Speaker, origin: Wall, rate: u32, samples: &[i16]) -> RecordedStream {
        let stream = StreamId(Uuid::from_u128(id));
        let mut writer = Writer::new(audio, stream, origin, rate, 10_000);
        for (n, piece) in samples.chunks(800).enumerate() {
            let frame = Frame { stream, position: n as u64 * 800, rate, samples: piece.to_vec() };
            writer.write(&frame).unwrap();
        }
        let leg = crate::call::LegId(Uuid::nil());
        let (samples, from, to, spare) = (samples.len() as u64, None, None, false);
        RecordedStream { stream, leg, speaker, origin, samples, rate, from, to, spare }
    }

    fn channels(path: &Path) -> (Vec<i16>, Vec<i16>) {
        let all: Vec<i16> = hound::WavReader::open(path).unwrap().into_samples().map(Result::unwrap).collect();
        (all.iter().step_by(2).copied().collect(), all.iter().skip(1).step_by(2).copied().collect())
    }

    #[test]
    fn caller_is_left_agent_is_right_placed_by_their_origins() {
        let folder = tempfile::tempdir().unwrap();
        let caller: Vec<i16> = (1..=100_000).map(|n| (n % 30_000) as i16).collect();
        let agent: Vec<i16> = (1..=20_000).map(|n| -((n % 30_000) as i16)).collect();
        let streams = [
            record(folder.path(), 1, Speaker::Caller, Wall(1_000_000), 8_000, &caller),
            record(folder.path(), 2, Speaker::Agent, Wall(3_500_000), 8_000, &agent),
        ];
        let out = folder.path().join("out.wav");
        let done = export(folder.path(), &streams, &out).unwrap();
        assert_eq!(done, Exported { origin: Wall(1_000_000), rate: 8_000, samples: 100_000, damaged: 0 });
        let (left, right) = channels(&out);
        assert_eq!(left, caller);
        assert!(right[..20_000].iter().all(|sample| *sample == 0));
        assert_eq!(right[20_000..40_000], agent);
        assert!(right[40_000..].iter().all(|sample| *sample == 0));
    }

    #[test]
    fn streams_of_two_rates_keep_their_time() {
        let folder = tempfile::tempdir().unwrap();
        let streams = [
            record(folder.path(), 1, Speaker::Caller, Wall(0), 8_000, &[5; 4_000]),
            record(folder.path(), 2, Speaker::Agent, Wall(0), 16_000, &[7; 8_000]),
        ];
        let out = folder.path().join("out.wav");
        assert_eq!(export(folder.path(), &streams, &out).unwrap().samples, 8_000);
        let (left, right) = channels(&out);
        assert_eq!((left, right), (vec![5; 8_000], vec![7; 8_000]));
    }

    #[test]
    fn a_contact_without_sound_and_a_folder_that_is_not_there_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let error = export(folder.path(), &[], &folder.path().join("out.wav")).unwrap_err();
        assert!(matches!(error, ExportError::Nothing { .. }), "{error}");
        let streams = [record(folder.path(), 1, Speaker::Caller, Wall(0), 8_000, &[5; 80])];
        let error = export(folder.path(), &streams, &folder.path().join("no/out.wav")).unwrap_err();
        assert!(error.to_string().contains("no/out.wav"), "{error}");
    }
}

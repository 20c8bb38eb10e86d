//! Recordings on disk: append-only segments of one stream that survive a kill, and the way back to PCM.
//!
//! `<audio>/<stream uuid>/000000.seg`, `000001.seg`, …: a 64-byte header (magic `KKSG`, version, stream, first sample, rate, key id, wall time of sample 0
//! of the stream, CRC) and blocks of `count u32 | crc u32 | count × i16`, all little-endian. A torn last block is left out when read.

use std::fs::{self, File};
use std::io::{BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use uuid::Uuid;

use super::Frame;
use crate::pbx::StreamId;
use crate::time::{MediaTime, Wall};

const MAGIC: [u8; 4] = *b"KKSG";
const VERSION: u16 = 1;
const HEADER: usize = 64;
/// Largest block that is read, in samples; a larger count is damage.
const MOST_SAMPLES: u32 = 16_000 * 60;

/// Why a segment could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// The file system refused.
    #[error("{path}: {source}; free space or correct the permissions of the data folder")]
    Io {
        /// File or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not a segment of this version, or its header is damaged.
    #[error("{path}: {problem}; expected a segment of version 1 written by kakehashi")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: &'static str,
    },
}

/// Writes the segments of one stream.
#[derive(Debug)]
pub struct Writer {
    folder: PathBuf,
    stream: StreamId,
    origin: Wall,
    rate: u32,
    /// Samples in one file.
    limit: u64,
    open: Option<Open>,
    number: u32,
}

#[derive(Debug)]
struct Open {
    file: File,
    path: PathBuf,
    first: u64,
}

impl Writer {
    /// A writer below `audio`; `segment_ms` is the length of one file, 10 s at most. Nothing is written before the first frame.
    pub fn new(audio: &Path, stream: StreamId, origin: Wall, rate: u32, segment_ms: u32) -> Self {
        let limit = u64::from(rate) * u64::from(segment_ms.clamp(100, 10_000)) / 1_000;
        Self { folder: folder(audio, stream), stream, origin, rate, limit, open: None, number: 0 }
    }

    /// Appends a frame.
    ///
    /// # Errors
    /// When the file system refuses, for example because it is full; the next frame starts a new file.
    pub fn write(&mut self, frame: &Frame) -> Result<(), SegmentError> {
        if self.open.as_ref().is_some_and(|open| frame.position >= open.first + self.limit) {
            self.open = None;
        }
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.next_file(frame.position)?,
        };
        let block = block(&frame.samples);
        open.file.write_all(&block).map_err(|source| SegmentError::Io { path: open.path.clone(), source })?;
        self.open = Some(open);
        Ok(())
    }

    /// Ends the file that is being written; the next frame begins a new one.
    pub fn end_file(&mut self) {
        self.open = None;
    }

    fn next_file(&mut self, first: u64) -> Result<Open, SegmentError> {
        let refused = |path: &Path| {
            let path = path.to_path_buf();
            move |source| SegmentError::Io { path, source }
        };
        fs::create_dir_all(&self.folder).map_err(refused(&self.folder))?;
        loop {
            let path = self.folder.join(format!("{:06}.seg", self.number));
            self.number += 1;
            match File::options().write(true).create_new(true).open(&path) {
                Ok(mut file) => {
                    let header = self.header(first);
                    file.write_all(&header).map_err(refused(&path))?;
                    return Ok(Open { file, path, first });
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && self.number < 1_000_000 => {}
                Err(error) => return Err(refused(&path)(error)),
            }
        }
    }

    fn header(&self, first: u64) -> [u8; HEADER] {
        let mut bytes = Vec::with_capacity(HEADER);
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend([0, 0]);
        bytes.extend(self.stream.0.as_bytes());
        bytes.extend(first.to_le_bytes());
        bytes.extend(self.rate.to_le_bytes());
        bytes.extend(0u32.to_le_bytes()); // key id: not encrypted
        bytes.extend(self.origin.0.to_le_bytes());
        bytes.resize(HEADER - 4, 0);
        let crc = crc32fast::hash(&bytes);
        bytes.extend(crc.to_le_bytes());
        bytes.try_into().unwrap_or([0; HEADER])
    }
}

fn block(samples: &[i16]) -> Vec<u8> {
    let mut data = Vec::with_capacity(8 + samples.len() * 2);
    data.extend((samples.len() as u32).to_le_bytes());
    data.extend([0; 4]);
    data.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    let crc = crc32fast::hash(data.get(8..).unwrap_or_default()).to_le_bytes();
    data[4..8].copy_from_slice(&crc);
    data
}

/// The folder of a stream's segments.
pub fn folder(audio: &Path, stream: StreamId) -> PathBuf {
    audio.join(stream.0.to_string())
}

/// What a folder of segments holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// End of the last sample.
    pub samples: u64,
    /// Samples a second.
    pub rate: u32,
    /// Wall time of sample 0.
    pub origin: Wall,
    /// Files with a torn or damaged block, whose rest was left out.
    pub damaged: u32,
}

/// Measures what is on disk of a stream; `None` when nothing is.
///
/// # Errors
/// When the folder cannot be read.
pub fn scan(audio: &Path, stream: StreamId) -> Result<Option<Extent>, SegmentError> {
    let mut extent: Option<Extent> = None;
    for path in files(&folder(audio, stream))? {
        let Ok(mut segment) = Segment::open(&path, Some(stream)) else {
            if let Some(extent) = &mut extent {
                extent.damaged += 1;
            }
            continue;
        };
        let known = extent.get_or_insert(Extent { rate: segment.rate, origin: segment.origin, ..Extent::default() });
        while let Some((first, samples)) = segment.next_block() {
            known.samples = known.samples.max(first + samples.len() as u64);
        }
        known.damaged += u32::from(segment.damaged);
    }
    Ok(extent)
}

/// The samples `from`..`to` of a stream; what is not on disk is silence.
///
/// # Errors
/// When the folder cannot be read. A damaged file gives what can be read of it.
pub fn read_range(audio: &Path, stream: StreamId, from: u64, to: u64) -> Result<Vec<i16>, SegmentError> {
    let mut out = vec![0; usize::try_from(to.saturating_sub(from)).unwrap_or(0)];
    let paths = files(&folder(audio, stream))?;
    let mut segments = paths.iter().filter_map(|path| Segment::open(path, Some(stream)).ok()).peekable();
    while let Some(mut segment) = segments.next() {
        if segment.position >= to {
            break;
        }
        if segments.peek().is_some_and(|next| next.position <= from) {
            continue;
        }
        while let Some((first, samples)) = segment.next_block() {
            place(&mut out, from, first, &samples);
        }
    }
    Ok(out)
}

/// Writes silence over `from`..`to` of a stream; see [`silence`].
///
/// # Errors
/// When a file cannot be read or written.
pub fn silence_span(audio: &Path, stream: StreamId, from: MediaTime, to: MediaTime) -> Result<(), SegmentError> {
    let first = files(&folder(audio, stream))?.iter().find_map(|path| Segment::open(path, Some(stream)).ok());
    let Some(first) = first else { return Ok(()) };
    silence(audio, stream, from.to_sample(first.rate), to.to_sample(first.rate))
}

/// Writes silence over the samples `from`..`to` of a stream. Each file is replaced as a whole, so that a kill leaves the old or the new one, and
/// the old one's blocks are overwritten before they are given back; a file that is being written must be ended before ([`Writer::end_file`]).
/// One thread at a time replaces files.
///
/// # Errors
/// When a file cannot be read or written.
pub fn silence(audio: &Path, stream: StreamId, from: u64, to: u64) -> Result<(), SegmentError> {
    static REPLACING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = REPLACING.lock().unwrap_or_else(PoisonError::into_inner);
    let paths = files(&folder(audio, stream))?;
    let open = |path: &PathBuf| Segment::open(path, Some(stream)).ok().map(|segment| (path.clone(), segment));
    let mut segments = paths.iter().filter_map(open).peekable();
    while let Some((path, segment)) = segments.next() {
        let ends_before = segments.peek().is_some_and(|(_, next)| next.position <= from);
        if segment.position < to && !ends_before {
            silence_file(&path, segment, from, to).map_err(|source| SegmentError::Io { path, source })?;
        }
    }
    Ok(())
}

fn silence_file(path: &Path, mut segment: Segment, from: u64, to: u64) -> std::io::Result<()> {
    let mut bytes = vec![0; HEADER];
    File::open(path)?.read_exact(&mut bytes)?;
    let mut changed = false;
    while let Some((first, mut samples)) = segment.next_block() {
        let part = |at: u64| usize::try_from(at.saturating_sub(first)).unwrap_or(usize::MAX).min(samples.len());
        let (start, end) = (part(from), part(to));
        if let Some(muted) = samples.get_mut(start..end).filter(|muted| muted.iter().any(|sample| *sample != 0)) {
            muted.fill(0);
            changed = true;
        }
        bytes.extend(block(&samples));
    }
    if changed { replace(path, &bytes) } else { Ok(()) }
}

/// Puts other bytes in place of a file. Where there is no room for a second one, it is written over.
fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let old = File::options().write(true).open(path)?;
    let fresh = path.with_extension("new");
    let written = File::create(&fresh).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    match written.and_then(|()| fs::rename(&fresh, path)) {
        // nobody can open it any more, and its blocks hold nothing when they are given to another file
        Ok(()) => old.write_all_at(bytes, 0).and_then(|()| old.sync_data()),
        Err(_) => {
            let _ = fs::remove_file(&fresh);
            old.write_all_at(bytes, 0)?;
            old.set_len(bytes.len() as u64)?;
            old.sync_all()
        }
    }
}

/// Copies `samples`, which begin at `first`, to where they belong in `out`, which begins at `from`.
fn place(out: &mut [i16], from: u64, first: u64, samples: &[i16]) {
    let skip = from.saturating_sub(first) as usize;
    let at = first.saturating_sub(from) as usize;
    let (Some(source), Some(target)) = (samples.get(skip..), out.get_mut(at..)) else { return };
    let length = source.len().min(target.len());
    target[..length].copy_from_slice(&source[..length]);
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, SegmentError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(SegmentError::Io { path: folder.into(), source }),
    };
    let mut paths: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "seg"))
        .collect();
    paths.sort();
    Ok(paths)
}

/// Reads one file block by block.
#[derive(Debug)]
pub struct Segment<R = BufReader<File>> {
    reader: R,
    /// Position of the next block in the stream.
    position: u64,
    /// Samples a second.
    pub rate: u32,
    /// Wall time of the stream's sample 0.
    pub origin: Wall,
    damaged: bool,
}

impl Segment {
    /// Opens a file; with `stream`, it must be of that stream.
    ///
    /// # Errors
    /// When it cannot be read or its header is not one of ours.
    pub fn open(path: &Path, stream: Option<StreamId>) -> Result<Segment, SegmentError> {
        let file = File::open(path).map_err(|source| SegmentError::Io { path: path.into(), source })?;
        Segment::read(BufReader::new(file), stream)
            .map_err(|problem| SegmentError::Format { path: path.into(), problem })
    }
}

impl<R: Read> Segment<R> {
    /// Reads the header of a segment.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(mut reader: R, stream: Option<StreamId>) -> Result<Segment<R>, &'static str> {
        let mut header = [0; HEADER];
        reader.read_exact(&mut header).map_err(|_| "shorter than a header")?;
        let word = |at: usize| header.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes);
        if header[..4] != MAGIC {
            return Err("not a segment");
        }
        if header[4..6] != VERSION.to_le_bytes() {
            return Err("another version");
        }
        if (word(56) >> 32) as u32 != crc32fast::hash(&header[..HEADER - 4]) {
            return Err("damaged header");
        }
        let id = Uuid::from_slice(&header[8..24]).map_err(|_| "damaged header")?;
        if stream.is_some_and(|stream| stream.0 != id) {
            return Err("of another stream");
        }
        let (rate, key) = (word(32) as u32, (word(32) >> 32) as u32);
        if key != 0 {
            return Err("encrypted with a key that is not here");
        }
        if !(1..=192_000).contains(&rate) {
            return Err("a sample rate that cannot be");
        }
        Ok(Segment { reader, position: word(24), rate, origin: Wall(word(40) as i64), damaged: false })
    }

    /// The next whole block: position of its first sample, and its samples.
    pub fn next_block(&mut self) -> Option<(u64, Vec<i16>)> {
        let mut head = [0; 8];
        let got = (&mut self.reader).take(8).read(&mut head).ok().filter(|got| *got > 0)?;
        if got < 8 && self.reader.read_exact(head.get_mut(got..).unwrap_or_default()).is_err() {
            self.damaged = true;
            return None;
        }
        let count = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
        let crc = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        if count > MOST_SAMPLES {
            self.damaged = true;
            return None;
        }
        let mut data = Vec::new();
        let length = u64::from(count) * 2;
        let read = (&mut self.reader).take(length).read_to_end(&mut data).unwrap_or(0);
        if read as u64 != length || crc32fast::hash(&data) != crc {
            self.damaged = true;
            return None;
        }
        let samples = data.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect();
        let first = self.position;
        self.position = self.position.saturating_add(u64::from(count));
        Some((first, samples))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(audio: &Path, samples: &[i16]) -> StreamId {
        let stream = StreamId(Uuid::from_u128(7));
        let mut writer = Writer::new(audio, stream, Wall(5_000_000), 8_000, 1_000);
        for (n, piece) in samples.chunks(800).enumerate() {
            let frame = Frame { stream, position: n as u64 * 800, rate: 8_000, samples: piece.to_vec() };
            writer.write(&frame).unwrap();
        }
        stream
    }

    #[test]
    fn what_was_written_is_read_back_over_several_files() {
        let audio = tempfile::tempdir().unwrap();
        let samples: Vec<i16> = (0..20_000).map(|n| n as i16).collect();
        let stream = write(audio.path(), &samples);
        assert_eq!(files(&folder(audio.path(), stream)).unwrap().len(), 3);
        let extent = scan(audio.path(), stream).unwrap().unwrap();
        assert_eq!(extent, Extent { samples: 20_000, rate: 8_000, origin: Wall(5_000_000), damaged: 0 });
        assert_eq!(read_range(audio.path(), stream, 7_000, 17_000).unwrap(), samples[7_000..17_000]);
        let beyond = read_range(audio.path(), stream, 19_990, 20_010).unwrap();
        assert_eq!((beyond.len(), beyond[19]), (20, 0));
    }

    #[test]
    fn a_torn_tail_loses_only_its_own_block() {
        let audio = tempfile::tempdir().unwrap();
        let samples: Vec<i16> = (0..4_000).map(|n| n as i16 + 1).collect();
        let stream = write(audio.path(), &samples);
        let path = folder(audio.path(), stream).join("000000.seg");
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
        let extent = scan(audio.path(), stream).unwrap().unwrap();
        assert_eq!((extent.samples, extent.damaged), (3_200, 1));
        let read = read_range(audio.path(), stream, 0, 4_000).unwrap();
        assert_eq!((&read[..3_200], read[3_200]), (&samples[..3_200], 0));
    }

    #[test]
    fn a_flipped_bit_is_seen() {
        let audio = tempfile::tempdir().unwrap();
        let stream = write(audio.path(), &[5; 800]);
        let path = folder(audio.path(), stream).join("000000.seg");
        let mut bytes = fs::read(&path).unwrap();
        bytes[100] ^= 4;
        fs::write(&path, &bytes).unwrap();
        assert_eq!(scan(audio.path(), stream).unwrap().unwrap().damaged, 1);
        bytes[100] ^= 4;
        bytes[30] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert_eq!(scan(audio.path(), stream).unwrap(), None, "a damaged header hides the file");
    }

    #[test]
    fn silence_is_written_over_several_files_and_nothing_else_changes() {
        let audio = tempfile::tempdir().unwrap();
        let samples: Vec<i16> = (0..20_000).map(|n| 1 + n as i16 % 9_000).collect();
        let stream = write(audio.path(), &samples);
        silence(audio.path(), stream, 7_100, 17_300).unwrap();
        let after = read_range(audio.path(), stream, 0, 20_000).unwrap();
        assert_eq!((&after[..7_100], &after[17_300..]), (&samples[..7_100], &samples[17_300..]));
        assert!(after[7_100..17_300].iter().all(|sample| *sample == 0));
        assert_eq!(scan(audio.path(), stream).unwrap().unwrap().damaged, 0);
        silence(audio.path(), stream, 30_000, 40_000).unwrap();
        assert_eq!(read_range(audio.path(), stream, 0, 20_000).unwrap(), after);
    }

    #[test]
    fn a_second_writer_never_overwrites() {
        let audio = tempfile::tempdir().unwrap();
        let stream = write(audio.path(), &[1; 800]);
        write(audio.path(), &[2; 800]);
        assert_eq!(files(&folder(audio.path(), stream)).unwrap().len(), 2);
    }
}

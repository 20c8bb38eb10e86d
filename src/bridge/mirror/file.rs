//! Capture files: frames with their times, of pcap and pcapng.

use std::io::Read;

use pcap_parser::traits::PcapReaderIterator;
use pcap_parser::{Block, PcapBlockOwned, PcapError, create_reader};

use crate::pbx::mirror::Link;
use crate::time::Wall;

/// What is read at once, in bytes; more where a block is larger.
const BUFFER: usize = 32 << 10;
/// Largest block of a file, in bytes.
const BLOCK_MAX: usize = 1 << 20;
/// Interfaces of one section.
const INTERFACES_MAX: usize = 256;

/// Why a capture cannot be read (on).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// Something else.
    #[error("neither pcap nor pcapng; expected a capture of tcpdump, dumpcap or Wireshark")]
    NoCapture,
    /// A block is malformed or too large.
    #[error("a block of it is malformed or larger than 1 MiB; what came before it was read")]
    Block,
    /// The system does not give its bytes.
    #[error("the system does not give its bytes")]
    Read,
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// How it begins; `None`: frames of this kind are not read.
    pub link: Option<Link>,
    /// When it was captured.
    pub at: Wall,
    /// As far as it was captured.
    pub bytes: Vec<u8>,
}

/// What a pcapng file says of an interface.
#[derive(Clone, Copy, Debug)]
struct Interface {
    link: Option<Link>,
    /// Units a second.
    resolution: u64,
    /// Seconds.
    offset: i64,
}

/// A file that is read frame by frame.
pub struct Capture<'a> {
    reader: Box<dyn PcapReaderIterator + Send + 'a>,
    /// How much is read at once.
    buffer: usize,
    interfaces: Vec<Interface>,
    /// Of a pcap file: its kind of frames, and whether its times are nanoseconds.
    legacy: (Option<Link>, bool),
}

/// What one step gave.
enum Step {
    Frame(Frame),
    Nothing,
    More,
    /// The block does not fit.
    Larger,
    End,
}

impl<'a> Capture<'a> {
    /// Reads the beginning.
    ///
    /// # Errors
    /// When it is no capture.
    pub fn new(bytes: impl Read + Send + 'a) -> Result<Capture<'a>, Wrong> {
        let reader = create_reader(BUFFER, bytes).map_err(|error| match error {
            PcapError::ReadError => Wrong::Read,
            _ => Wrong::NoCapture,
        })?;
        Ok(Capture { reader, buffer: BUFFER, interfaces: Vec::new(), legacy: (None, false) })
    }

    /// The next frame; `None` at the end. A file that was cut off ends where it was cut.
    ///
    /// # Errors
    /// When it cannot be read on.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, Wrong> {
        let mut idle = 0;
        loop {
            match self.step()? {
                Step::Frame(frame) => return Ok(Some(frame)),
                Step::Nothing => idle = 0,
                Step::End => return Ok(None),
                Step::Larger => {
                    self.buffer *= 2;
                    if self.buffer > BLOCK_MAX || !self.reader.grow(self.buffer) {
                        return Err(Wrong::Block);
                    }
                }
                Step::More => {
                    let before = self.reader.data().len();
                    self.reader.refill().map_err(|_| Wrong::Read)?;
                    idle = if self.reader.data().len() > before { 0 } else { idle + 1 };
                    if idle > 2 {
                        return Ok(None);
                    }
                }
            }
        }
    }

    fn step(&mut self) -> Result<Step, Wrong> {
        let (length, step) = match self.reader.next() {
            Ok((0, _)) => return Err(Wrong::Block),
            Ok((length, block)) => (length, read(&block, &mut self.interfaces, &mut self.legacy)),
            Err(PcapError::Eof | PcapError::UnexpectedEof) => return Ok(Step::End),
            Err(PcapError::Incomplete(_)) => return Ok(Step::More),
            Err(PcapError::BufferTooSmall) => return Ok(Step::Larger),
            Err(PcapError::ReadError) => return Err(Wrong::Read),
            Err(_) => return Err(Wrong::Block),
        };
        self.reader.consume(length);
        Ok(step)
    }
}

fn read(block: &PcapBlockOwned<'_>, interfaces: &mut Vec<Interface>, legacy: &mut (Option<Link>, bool)) -> Step {
    match block {
        PcapBlockOwned::LegacyHeader(header) => {
            *legacy = (Link::of_number(header.network.0), header.is_nanosecond_precision());
            Step::Nothing
        }
        PcapBlockOwned::Legacy(frame) => {
            let micros = i64::from(frame.ts_usec) / if legacy.1 { 1_000 } else { 1 };
            let at = Wall(i64::from(frame.ts_sec) * 1_000_000 + micros);
            Step::Frame(Frame { link: legacy.0, at, bytes: frame.data.to_vec() })
        }
        PcapBlockOwned::NG(Block::SectionHeader(_)) => {
            interfaces.clear();
            Step::Nothing
        }
        PcapBlockOwned::NG(Block::InterfaceDescription(own)) => {
            if interfaces.len() < INTERFACES_MAX {
                let resolution = own.ts_resolution().unwrap_or(1_000_000).max(1);
                interfaces.push(Interface {
                    link: Link::of_number(own.linktype.0),
                    resolution,
                    offset: own.ts_offset(),
                });
            }
            Step::Nothing
        }
        PcapBlockOwned::NG(Block::EnhancedPacket(frame)) => {
            let own = usize::try_from(frame.if_id).ok().and_then(|number| interfaces.get(number));
            let Some(own) = own else { return Step::Nothing };
            let units = (u64::from(frame.ts_high) << 32) | u64::from(frame.ts_low);
            let micros = u128::from(units) * 1_000_000 / u128::from(own.resolution);
            let at = i64::try_from(micros).unwrap_or(i64::MAX).saturating_add(own.offset.saturating_mul(1_000_000));
            let length = usize::try_from(frame.caplen).unwrap_or(usize::MAX).min(frame.data.len());
            let bytes = frame.data.get(..length).unwrap_or_default().to_vec();
            Step::Frame(Frame { link: own.link, at: Wall(at), bytes })
        }
        // a simple packet has no time, and the rest is not about packets
        PcapBlockOwned::NG(_) => Step::Nothing,
    }
}

impl std::fmt::Debug for Capture<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Capture").field("interfaces", &self.interfaces).finish_non_exhaustive()
    }
}

//! The mirror as a machine: frames and time in, outputs out, everything bounded and counted.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use super::call::Call;
use super::dialog::{Dialog, DialogId, Side};
use super::frame::{Carried, Frames, Link, Packet, Seen};
use super::relay::Relay;
use super::settings::Settings;
use super::tcp::{Flows, is_start};
use crate::pbx::sip::keying::Path;
use crate::pbx::sip::sdp::Format;
use crate::pbx::sip::wire::{Limits, read_datagram};
use crate::pbx::{Observed, PbxId, Signal, StreamId, Wanted};
use crate::time::{Mono, Now};

/// Largest SIP message, in bytes.
const MESSAGE_MAX: usize = 65_535;
/// How often time passes for calls.
const TICK: Duration = Duration::from_millis(100);

/// What the mirror found, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Tell the hub.
    Signal(Observed),
    /// Open a stream that is fed.
    Open {
        /// The stream.
        stream: StreamId,
        /// Payload types.
        formats: Vec<Format>,
        /// Where its packets come from.
        path: Path,
        /// Policy of the dialled line.
        wanted: Wanted,
    },
    /// Other payload types.
    Payloads(StreamId, Vec<Format>),
    /// The packets come from elsewhere.
    Path(StreamId, Path),
    /// A datagram of a stream.
    Fed {
        /// The stream.
        stream: StreamId,
        /// Its sender.
        from: SocketAddr,
        /// RTP.
        datagram: Bytes,
    },
    /// Close the stream.
    Close(StreamId),
}

/// What was seen, and what could not be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames.
    pub frames: u64,
    /// Frames that do not parse or were cut off by the capture.
    pub unreadable: u64,
    /// IP fragments that overlap or found no room.
    pub fragments_refused: u64,
    /// SIP messages of the exchange.
    pub messages: u64,
    /// SIP messages that could not be read.
    pub messages_bad: u64,
    /// SIP messages of which neither end, or both ends are the exchange.
    pub messages_foreign: u64,
    /// Messages inside dialogs whose beginning was not seen.
    pub dialogs_unknown: u64,
    /// Holes in TCP connections that were never filled.
    pub tcp_holes: u64,
    /// Connections for which there was no room.
    pub tcp_refused: u64,
    /// Connections of SIP over TLS.
    pub sip_encrypted: u64,
    /// Calls for which there was no room.
    pub calls_refused: u64,
    /// Calls that the exchange refused before anybody was called.
    pub calls_unanswered: u64,
    /// RTP packets of streams.
    pub rtp: u64,
    /// Streams that are encrypted.
    pub streams_encrypted: u64,
    /// Packets that look like RTP of the exchange and that no signalling announced.
    pub rtp_unannounced: u64,
    /// Dialogs that were joined by their Call-ID or Session-ID.
    pub joined_by_id: u64,
    /// Dialogs that were joined by the caller's number.
    pub joined_by_number: u64,
    /// Dialogs that were joined by their sound.
    pub joined_by_sound: u64,
    /// Telephones that were called and could be joined to no call from outside.
    pub not_joined: u64,
}

/// Gives what a dialled line allows.
pub(super) type Policy = Box<dyn Fn(&str) -> Wanted + Send + Sync>;

/// One exchange as its mirror shows it.
pub struct Mirror {
    pub(super) pbx: PbxId,
    pub(super) settings: Settings,
    pub(super) policy: Policy,
    frames: Frames,
    flows: Flows,
    pub(super) dialogs: HashMap<DialogId, Dialog>,
    pub(super) by_call_id: HashMap<String, Vec<DialogId>>,
    pub(super) next_dialog: DialogId,
    pub(super) calls: HashMap<u64, Call>,
    pub(super) next_call: u64,
    pub(super) next_stream: u64,
    /// Who hears what is sent there.
    pub(super) routes: HashMap<SocketAddr, Vec<(DialogId, Side)>>,
    pub(super) relay: Relay,
    /// Registered contacts (`user@host:port`) and the extension behind each.
    pub(super) registered: HashMap<String, String>,
    /// REGISTER requests whose answer is awaited: Call-ID → contact and extension.
    pub(super) registering: HashMap<String, (String, String)>,
    pub(super) counters: Counters,
    tick: Option<Mono>,
    pub(super) out: VecDeque<Output>,
}

impl Mirror {
    /// Nothing was seen yet. `policy` tells what a dialled line allows.
    pub fn new(pbx: PbxId, settings: Settings, policy: Policy) -> Mirror {
        Mirror {
            pbx,
            settings,
            policy,
            frames: Frames::default(),
            flows: Flows::new(Limits::of(MESSAGE_MAX)),
            dialogs: HashMap::new(),
            by_call_id: HashMap::new(),
            next_dialog: 0,
            calls: HashMap::new(),
            next_call: 0,
            next_stream: 0,
            routes: HashMap::new(),
            relay: Relay::default(),
            registered: HashMap::new(),
            registering: HashMap::new(),
            counters: Counters::default(),
            tick: None,
            out: VecDeque::new(),
        }
    }

    /// Takes one frame as it was captured.
    pub fn handle_frame(&mut self, link: Link, bytes: &[u8], now: Now) {
        self.counters.frames += 1;
        let mut frames = std::mem::take(&mut self.frames);
        let seen = frames.read(link, bytes, now.mono, &mut |packet| self.packet(packet, now));
        self.frames = frames;
        match seen {
            Seen::Unreadable => self.counters.unreadable += 1,
            Seen::Overlap => self.counters.fragments_refused += 1,
            Seen::Packet | Seen::Other | Seen::Fragment => {}
        }
        if self.tick.is_none() && !self.dialogs.is_empty() {
            self.tick = Some(now.mono + TICK);
        }
    }

    /// When [`Mirror::handle_timeout`] wants to be called.
    pub fn due(&self) -> Option<Mono> {
        self.tick
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Now) {
        if self.tick.is_none_or(|tick| tick > now.mono) {
            return;
        }
        self.pass_time(now);
        self.tick = (!self.dialogs.is_empty()).then(|| now.mono + TICK);
    }

    /// The capture ends, or the bridge does: every call is lost from sight.
    pub fn handle_end(&mut self, now: Now) {
        self.lose_all(now);
        self.tick = None;
    }

    /// The next thing that was found.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// What was counted so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Calls that are observed now.
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    /// Dialogs and connections that are remembered now.
    pub fn remembered(&self) -> (usize, usize) {
        (self.dialogs.len(), self.flows.len())
    }

    fn packet(&mut self, packet: Packet<'_>, now: Now) {
        let Packet { source, target, carried } = packet;
        let on = |ports: &[u16]| ports.contains(&source.port()) || ports.contains(&target.port());
        match carried {
            Carried::Udp(bytes) if on(&self.settings.sip_ports) => match read_datagram(bytes, &Limits::of(MESSAGE_MAX))
            {
                Ok(Some(message)) => self.message(source, target, message, now),
                Ok(None) => {}
                // sound may use a port of SIP, too
                Err(_) if is_start(bytes) => self.counters.messages_bad += 1,
                Err(_) => self.sound(source, target, bytes, now),
            },
            Carried::Udp(bytes) => self.sound(source, target, bytes, now),
            Carried::Tcp(segment) if on(&self.settings.sip_ports) => {
                let brought = self.flows.take(source, target, segment, now.mono);
                self.counters.messages_bad += brought.bad;
                self.counters.tcp_holes += brought.holes;
                self.counters.sip_encrypted += u64::from(brought.encrypted);
                self.counters.tcp_refused += u64::from(brought.refused);
                for message in brought.messages {
                    self.message(source, target, message, now);
                }
            }
            Carried::Tcp(segment) => {
                // one a connection: both directions begin with SYN, and the exchange's end has the port of TLS
                let begins = segment.begins && self.settings.tls_ports.contains(&target.port());
                self.counters.sip_encrypted += u64::from(begins);
            }
        }
    }

    /// Whether signalling of this address is the exchange's.
    pub(super) fn is_exchange(&self, address: SocketAddr) -> bool {
        self.settings.networks.iter().any(|place| place.has(address))
    }

    /// Whether a line to the outside is there.
    pub(super) fn is_line(&self, address: SocketAddr) -> bool {
        self.settings.lines.iter().any(|place| place.has(address))
    }

    /// Tells the hub of a call.
    pub(super) fn tell(&mut self, call: u64, signal: Signal, at: Now) {
        let Some(key) = self.calls.get(&call).map(|call| call.key.clone()) else { return };
        self.out.push_back(Output::Signal(Observed { call: key, at, signal }));
    }
}

impl std::fmt::Debug for Mirror {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mirror").field("pbx", &self.pbx).field("counters", &self.counters).finish_non_exhaustive()
    }
}

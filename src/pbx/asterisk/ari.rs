//! The state machine of one Asterisk: ARI events and answers in; signals, requests and wishes for media out. Sans-IO.
//!
//! Drive it so: one `handle_*`, then [`Ari::poll_output`] until `None`, then wait for input or for [`Ari::poll_timeout`].
//!
//! A call appears when a channel that came in from outside enters a queue or dials somebody. Calls to an endpoint of
//! `own_endpoints` are the SIP driver's. Queues inside grow with the number of channels at Asterisk, which is capped.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::pbx::{CallKey, Observed, PbxId, Signal, StreamId, Wanted};
use crate::time::{Mono, Now};

use super::event::{self, Channel, Event};
use super::observe::Call;
use super::passing::Slot;
use super::request::{Answer, Method, Request, RequestId};
use super::resync::Resync;
use super::settings::Settings;
use super::tap::Tap;
use super::world::{ByKey, World};

/// Requests that may wait for their answer; more are dropped and answered as failed.
const REQUESTS_MAX: usize = 20_000;
/// Events that are used; Asterisk is asked to send no others.
const EVENTS: [&str; 20] = [
    "ChannelCreated",
    "ChannelStateChange",
    "ChannelDialplan",
    "ChannelConnectedLine",
    "ChannelCallerId",
    "ChannelDestroyed",
    "ChannelHangupRequest",
    "Dial",
    "ChannelEnteredBridge",
    "ChannelLeftBridge",
    "BridgeDestroyed",
    "ChannelHold",
    "ChannelUnhold",
    "ChannelDtmfReceived",
    "StasisStart",
    "StasisEnd",
    "ApplicationReplaced",
    "BridgeBlindTransfer",
    "BridgeAttendedTransfer",
    "DeviceStateChanged",
];

/// What the machine wants done, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Tell the hub.
    Signal(Observed),
    /// Send to ARI and give the answer to [`Ari::handle_answer`].
    Request(Request),
    /// Open a stream and give the port at which Asterisk reaches it to [`Ari::handle_opened`]: by RTP its own (PCMU, payload type 0), else
    /// that of the listener (0 where we connect).
    Open {
        /// The stream.
        stream: StreamId,
        /// Policy of the dialled line.
        wanted: Wanted,
        /// The name under which Asterisk connects; empty: it does not.
        name: String,
    },
    /// Connect to Asterisk's chan_websocket for a stream.
    Connect {
        /// The stream.
        stream: StreamId,
        /// The last part of the path.
        connection: String,
    },
    /// The only source that may send to the stream.
    Expect {
        /// The stream.
        stream: StreamId,
        /// Address as Asterisk gave it, and port.
        source: (String, u16),
    },
    /// Close the stream.
    Close(StreamId),
    /// Another program uses the same application name: events no longer come here.
    Replaced,
}

/// Why a request was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// `CALLERID(num-pres)` of the caller of this call.
    Presentation(String),
    /// From where this call was diverted.
    Diversion(String),
    /// What does the caller of this call bring along?
    Token(String),
    /// `CHANNEL(linkedid)` of this channel, listed after a connection.
    Linkedid(String),
    Channels,
    Bridges,
    Tap(StreamId, super::tap::Step),
    /// Nobody waits for the answer.
    Nothing,
}

/// One Asterisk.
pub struct Ari {
    pub(super) pbx: PbxId,
    pub(super) settings: Settings,
    pub(super) policy: Box<dyn Fn(&str) -> Wanted + Send + Sync>,
    pub(super) world: World,
    pub(super) calls: ByKey<Call>,
    pub(super) taps: BTreeMap<StreamId, Tap>,
    pub(super) slot: Option<Slot>,
    pub(super) epoch: u32,
    pub(super) connected: bool,
    pub(super) resync: Option<Resync>,
    pub(super) requests: BTreeMap<RequestId, Purpose>,
    next_request: u64,
    pub(super) next_stream: u64,
    pub(super) secret: Uuid,
    pub(super) out: VecDeque<Output>,
}

impl Ari {
    /// A machine for one Asterisk; `policy` is asked with the dialled line before any media is opened.
    pub fn new(pbx: PbxId, settings: Settings, policy: Box<dyn Fn(&str) -> Wanted + Send + Sync>) -> Self {
        Self {
            pbx,
            settings,
            policy,
            world: World::default(),
            calls: BTreeMap::new(),
            taps: BTreeMap::new(),
            slot: None,
            epoch: 0,
            connected: false,
            resync: None,
            requests: BTreeMap::new(),
            next_request: 0,
            next_stream: 0,
            secret: Uuid::nil(),
            out: VecDeque::new(),
        }
    }

    /// What the names of AudioSocket connections are made of, so that nobody can guess one.
    pub fn set_secret(&mut self, secret: Uuid) {
        self.secret = secret;
    }

    /// The event socket is open: asks for what was missed.
    pub fn handle_connected(&mut self, _now: Now) {
        self.connected = true;
        self.epoch += 1;
        self.resync = Some(Resync::default());
        let allowed: Vec<Value> = EVENTS.iter().map(|name| json!({ "type": name })).collect();
        let filter = format!("/applications/{}/eventFilter", super::request::segment(&self.settings.app));
        self.request(Purpose::Nothing, Method::Put, filter, vec![], Some(json!({ "allowed": allowed })));
        self.request(Purpose::Channels, Method::Get, "/channels".into(), vec![], None);
        self.request(Purpose::Bridges, Method::Get, "/bridges".into(), vec![], None);
    }

    /// The event socket is lost. Calls stay as they are until the next connection shows what became of them.
    pub fn handle_disconnected(&mut self, now: Now) {
        self.connected = false;
        self.resync = None;
        self.abandon_unfinished_taps(now);
    }

    /// One text message of the event socket.
    ///
    /// # Errors
    /// A message that cannot be used; the machine is unchanged by it.
    pub fn handle_event(&mut self, text: &str, now: Now) -> Result<(), event::Error> {
        let event = Event::parse(text)?;
        match event {
            Event::Created(channel) | Event::Changed(channel) => self.channel(&channel, now),
            Event::CallerId(channel, presentation) => self.caller_id(&channel, presentation, now),
            Event::Destroyed(channel, cause) => self.destroyed(&channel.id, Some(cause), now),
            Event::HangupRequest(channel) => self.hangup_request(&channel, now),
            Event::Dial(dial) => self.dial(&dial, now),
            Event::Entered(bridge, channel) => {
                self.channel(&channel, now);
                for id in bridge.channels.iter().filter(|id| **id != channel.id) {
                    self.world.enter(&bridge, id);
                }
                self.world.enter(&bridge, &channel.id);
                self.joins(&channel.id, now);
            }
            Event::Left(bridge, channel) => {
                let before = self.world.connected(&channel.id);
                self.world.leave_bridge(&bridge.id, &channel.id);
                self.channel(&channel, now);
                self.rejoin(&before, now);
            }
            Event::BridgeDestroyed(bridge) => self.world.remove_bridge(&bridge.id),
            Event::Hold(channel) => self.hold(&channel, true, now),
            Event::Unhold(channel) => self.hold(&channel, false, now),
            Event::Digit(channel, digit) => self.digit(&channel, digit, now),
            Event::BlindTransfer(channel, exten) => self.blind_transfer(&channel, &exten, now),
            Event::AttendedTransfer(transfer) => self.attended_transfer(&transfer, now),
            Event::SlotTaken(number) => self.slot_taken(&number, now),
            Event::StasisStart(channel) => self.tap_arrived(&channel.id),
            Event::Replaced => self.out.push_back(Output::Replaced),
            Event::Other => {}
        }
        Ok(())
    }

    /// The answer to a request; an unknown id is ignored.
    pub fn handle_answer(&mut self, id: RequestId, answer: &Answer, now: Now) {
        match self.requests.remove(&id) {
            Some(Purpose::Presentation(key)) => self.presentation_answered(&key, answer, now),
            Some(Purpose::Token(key)) => self.token_answered(&key, answer, now),
            Some(Purpose::Diversion(key)) => self.diversion_answered(&key, answer, now),
            Some(Purpose::Linkedid(channel)) => self.linkedid_answered(&channel, answer, now),
            Some(Purpose::Channels) => self.channels_listed(answer, now),
            Some(Purpose::Bridges) => self.bridges_listed(answer, now),
            Some(Purpose::Tap(stream, step)) => self.tap_answered(stream, step, answer, now),
            Some(Purpose::Nothing) | None => {}
        }
    }

    /// The media stage opened a stream on this local port, or says why it could not (no personal data).
    pub fn handle_opened(&mut self, stream: StreamId, port: Result<u16, String>, now: Now) {
        self.tap_opened(stream, port, now);
    }

    /// The connection that carried a stream is gone, for this reason (no personal data).
    pub fn handle_cut(&mut self, stream: StreamId, reason: String, now: Now) {
        self.tap_cut(stream, reason, now);
    }

    /// Time passed; call at or after [`Ari::poll_timeout`].
    pub fn handle_timeout(&mut self, now: Now) {
        self.calls_timeout(now);
        self.taps_timeout(now);
    }

    /// The bridge stops: removes what was added to Asterisk. Calls are told nothing more.
    pub fn handle_stop(&mut self, now: Now) {
        self.close_all_taps(now);
        self.connected = false;
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When [`Ari::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Mono> {
        let calls = self.calls.values().filter_map(Call::deadline);
        let taps = self.taps.values().filter_map(Tap::deadline);
        calls.chain(taps).min()
    }

    /// Calls that are followed.
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    /// Requests that wait for an answer.
    pub fn requests_under_way(&self) -> usize {
        self.requests.len()
    }

    /// Streams that are open or being opened.
    pub fn streams(&self) -> usize {
        self.taps.len()
    }

    pub(super) fn request(
        &mut self,
        purpose: Purpose,
        method: Method,
        path: String,
        query: Vec<(&'static str, String)>,
        body: Option<Value>,
    ) {
        let id = RequestId(self.next_request);
        self.next_request += 1;
        if self.requests.len() >= REQUESTS_MAX {
            return;
        }
        self.requests.insert(id, purpose);
        self.out.push_back(Output::Request(Request { id, method, path, query, body }));
    }

    pub(super) fn signal(&mut self, key: &str, signal: Signal, at: Now) {
        let call = CallKey { pbx: self.pbx.clone(), key: key.into() };
        self.out.push_back(Output::Signal(Observed { call, at, signal }));
    }

    pub(super) fn is_own(&self, id: &str) -> bool {
        id.strip_prefix(self.settings.app.as_str()).is_some_and(|rest| rest.starts_with('.'))
    }

    /// Re-examines who hears whom around one channel.
    pub(super) fn joins(&mut self, id: &str, now: Now) {
        let around = self.world.connected(id);
        self.rejoin(&around, now);
    }

    /// Re-examines the calls of these channels.
    pub(super) fn rejoin(&mut self, channels: &BTreeSet<String>, now: Now) {
        let keys: BTreeSet<String> = channels.iter().filter_map(|id| self.key_of(id)).collect();
        for key in keys {
            self.settle(&key, now);
        }
    }
}

/// A span after `now`.
pub(super) fn after(now: Now, millis: u64) -> Mono {
    now.mono + Duration::from_millis(millis)
}

/// Whether a channel was made by a dial of Asterisk's, by the application that such channels show.
pub(super) fn is_dialled(channel: &Channel) -> bool {
    matches!(channel.app.as_str(), "AppDial" | "AppQueue" | "AppDial2")
}

//! The user agent server: messages of the exchanges in; signals, answers and wishes for media out. Sans-IO.
//!
//! Drive it so: one `handle_*`, then [`Uas::poll_output`] until `None`, then wait for input or for [`Uas::poll_timeout`].
//!
//! Bounds: calls by `max_calls`, transactions by `max_transactions` and for each machine by half of that, requests of our own by two for each
//! call; what is beyond them is answered 503 or dropped and counted. Beyond them only what is new is turned away: a call that was taken can
//! always go on and end. What comes from an address that no exchange has is counted and gets nothing.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::events::NAMESPACE;
use crate::pbx::{Identity, Observed, PbxId, Speaker, StreamId};
use crate::time::{Mono, Now};

use super::account::{Accounts, Note, RouteId};
use super::calls::Calls;
use super::diverted;
use super::flow::{Flow, Transport, return_address};
use super::header::Via;
use super::identity;
use super::keying::{Fingerprint, Path, Terms};
use super::message::{Message, Start};
use super::rate::Rates;
use super::refresh::Ack;
use super::replaces::Ended;
use super::request::{self, Request, stamp_via};
use super::sdp::Format;
use super::settings::{First, PeerSettings, Settings};
use super::transaction::{Client, Key, Servers, Times};
use super::wire::{self, Bad, Limits};

mod incoming;

/// Policy of a dialled line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Keep the sound on disk.
    pub record: bool,
    /// Turn it into text.
    pub transcribe: bool,
    /// How long it rings before it is answered, in milliseconds.
    pub answer_after_ms: u64,
}

/// What the machine wants done, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Tell the hub.
    Signal(Observed),
    /// Send these bytes.
    Send(Flow, Vec<u8>),
    /// Open a stream and give its port to [`Uas::handle_opened`].
    Open {
        /// The stream.
        stream: StreamId,
        /// Payload types, best first.
        formats: Vec<Format>,
        /// Where its packets come from and how they are protected.
        path: Path,
        /// Policy of the dialled line.
        policy: Policy,
    },
    /// Other payload types for a stream.
    Payloads(StreamId, Vec<Format>),
    /// A stream comes from elsewhere, or under other keys.
    Path(StreamId, Path),
    /// Close the stream.
    Close(StreamId),
    /// Find where a server of an exchange is reached and give it to [`Uas::handle_route`].
    Route {
        /// Names the search.
        route: RouteId,
        /// Address or name.
        host: String,
        /// Its port.
        port: u16,
        /// What is to be sent on.
        transport: Transport,
    },
    /// Tell the log.
    Note(PbxId, Note),
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages from addresses of no exchange; not answered.
    pub untrusted: u64,
    /// Messages that could not be used.
    pub malformed: u64,
    /// Requests taken, without retransmissions.
    pub requests: u64,
    /// Answers to nothing that was asked.
    pub stray: u64,
    /// Calls that got their 180.
    pub calls: u64,
    /// Requests answered 503.
    pub refused: u64,
    /// Of these: because `max_calls` calls ran.
    pub refused_calls: u64,
    /// Of these: because `max_transactions` transactions (or their bytes) were remembered.
    pub refused_transactions: u64,
    /// Of these: because the hub was behind.
    pub refused_overloaded: u64,
    /// Provisional answers that were acknowledged (PRACK).
    pub acknowledged: u64,
    /// Session refreshes of ours that were answered with 2xx.
    pub refreshed: u64,
    /// Requests of addresses that asked too much, not answered.
    pub flooded: u64,
    /// Descriptions whose media keys came over a transport that everybody on the way can read (RFC 4568 §9).
    pub keys_in_the_clear: u64,
    /// Requests answered 401, whatever the reason.
    pub challenged: u64,
    /// Of these: with a wrong user or password.
    pub wrong_password: u64,
    /// Of these: with a proof that was used before.
    pub replayed: u64,
    /// Recording sessions that were taken.
    pub recordings: u64,
    /// Metadata that could not be read; the sound of its calls is kept all the same.
    pub metadata_broken: u64,
    /// Updates of metadata that referred to what was never told.
    pub metadata_lacking: u64,
    /// Snapshots of metadata that were asked for.
    pub snapshots: u64,
}

/// What one of our own requests is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Bye,
    /// Whether the peer still has this call.
    Probe(String),
    /// All metadata of this recording session.
    Snapshot {
        tag: String,
        invite: bool,
    },
    /// The session timer of this call.
    Refresh {
        tag: String,
        invite: bool,
    },
    /// Our registration number so much.
    Register(usize),
    /// Watch and extension number so much, in the dialog of this notifier (empty: none yet).
    Subscribe(usize, usize, String),
}

/// Whether an extension is in the directory of an exchange's site.
pub type Agents = Box<dyn Fn(&PbxId, &str) -> bool + Send + Sync>;

/// The server of all exchanges that call by SIP.
pub struct Uas {
    pub(super) settings: Settings,
    peers: Vec<(ipnet::IpNet, PbxId)>,
    /// How each exchange's word on caller and called line is taken.
    exchanges: BTreeMap<PbxId, PeerSettings>,
    pub(super) policy: Box<dyn Fn(&str) -> Policy + Send + Sync>,
    pub(super) agents: Agents,
    pub(super) secret: [u8; 32],
    pub(super) accounts: Accounts,
    pub(super) counter: u64,
    pub(super) times: Times,
    pub(super) servers: Servers,
    rates: Rates,
    /// By the branch of our INVITE.
    pub(super) acks: BTreeMap<String, Ack>,
    pub(super) clients: BTreeMap<String, (Client, Purpose)>,
    pub(super) calls: Calls,
    pub(super) ended: Ended,
    stopping: bool,
    draining: bool,
    overloaded: bool,
    /// Of our certificate for DTLS.
    fingerprint: Option<Fingerprint>,
    pub(super) counters: Counters,
    pub(super) out: VecDeque<Output>,
}

impl Uas {
    /// A server; `policy` is asked with the dialled line, `secret` makes tags and branches unguessable.
    pub fn new(
        settings: Settings,
        peers: &[(PbxId, PeerSettings)],
        policy: Box<dyn Fn(&str) -> Policy + Send + Sync>,
        secret: [u8; 32],
    ) -> Self {
        let accounts = Accounts::new(peers, &secret);
        let networks = peers.iter().flat_map(|(pbx, own)| own.peers.iter().map(|net| (*net, pbx.clone())));
        let mut networks: Vec<(ipnet::IpNet, PbxId)> = networks.collect();
        networks.sort_by_key(|(net, _)| std::cmp::Reverse(net.prefix_len()));
        let times = Times { t1: Duration::from_millis(u64::from(settings.t1_ms.max(1))) };
        let rates = Rates::new(settings.max_requests_per_s, settings.request_burst);
        let servers = usize::try_from(settings.max_transactions).unwrap_or(usize::MAX);
        Self {
            settings,
            peers: networks,
            exchanges: peers.iter().cloned().collect(),
            policy,
            agents: Box::new(|_, _| false),
            secret,
            accounts,
            counter: 0,
            times,
            servers: Servers::new(times, servers),
            rates,
            clients: BTreeMap::new(),
            acks: BTreeMap::new(),
            calls: Calls::default(),
            ended: Ended::default(),
            stopping: false,
            draining: false,
            overloaded: false,
            fingerprint: None,
            counters: Counters::default(),
            out: VecDeque::new(),
        }
    }

    /// The exchange that an address belongs to.
    pub fn pbx_of(&self, address: IpAddr) -> Option<&PbxId> {
        let address = address.to_canonical();
        self.peers.iter().find(|(net, _)| net.contains(&address)).map(|(_, pbx)| pbx)
    }

    /// Whether what this exchange tells is believed.
    pub(super) fn trusts(&self, pbx: &PbxId) -> bool {
        self.exchanges.get(pbx).is_some_and(|own| own.trust_identity)
    }

    /// Who calls, as far as the exchange is believed.
    pub(super) fn caller(&self, pbx: &PbxId, invite: &Request) -> Identity {
        identity::caller(invite, self.trusts(pbx))
    }

    /// The called line, where the exchange writes it.
    pub(super) fn called(&self, pbx: &PbxId, invite: &Request) -> String {
        let own = self.exchanges.get(pbx);
        diverted::called(invite, own.map_or(&[], |own| &own.called_from), own.is_some_and(|own| own.trust_identity))
    }

    /// Whether a hold by this exchange pauses what is kept.
    pub(super) fn hold_pauses(&self, pbx: &PbxId) -> bool {
        self.exchanges.get(pbx).is_some_and(|own| own.hold_pauses)
    }

    /// Of people in a recording session of this exchange of whom nothing tells, the first is the agent.
    pub(super) fn agent_first(&self, pbx: &PbxId) -> bool {
        self.exchanges.get(pbx).is_some_and(|own| own.recorded_first == First::Agent)
    }

    /// How much of a message is to be read.
    pub fn limits(&self) -> Limits {
        Limits::of(usize::try_from(self.settings.message_max_bytes).unwrap_or(usize::MAX))
    }

    /// One datagram.
    pub fn handle_datagram(&mut self, flow: Flow, bytes: &[u8], now: Now) {
        if self.pbx_of(flow.peer.ip()).is_none() {
            self.counters.untrusted += 1;
            return;
        }
        match wire::read_datagram(bytes, &self.limits()) {
            Ok(Some(message)) => self.handle_message(flow, message, now),
            Ok(None) => {}
            Err(bad) => self.handle_bad(flow, bad),
        }
    }

    /// One message that was read (from a stream).
    pub fn handle_message(&mut self, flow: Flow, message: Message, now: Now) {
        let Some(pbx) = self.pbx_of(flow.peer.ip()).cloned() else {
            self.counters.untrusted += 1;
            return;
        };
        match message.start {
            Start::Request { .. } => self.handle_request(&pbx, flow, message, now),
            Start::Response { code, .. } => self.handle_response(code, &message, flow, now),
        }
    }

    /// One message that could not be read; it is answered when it is a request with a Via (where that is unreadable too: to the source).
    pub fn handle_bad(&mut self, flow: Flow, bad: Bad) {
        self.counters.malformed += 1;
        let Some(mut message) = bad.message.filter(|_| self.pbx_of(flow.peer.ip()).is_some()) else { return };
        let asks = matches!(&message.start, Start::Request { method, .. } if method != "ACK");
        let Some(via) = message.list("Via").into_iter().next().filter(|_| asks) else { return };
        stamp_via(&mut message, flow.peer);
        let tag = self.token();
        let answer = request::answer(&message, bad.status, bad.reason, &tag);
        let to = Via::parse(&via).map_or(flow, |via| Flow { peer: return_address(&via, flow), ..flow });
        self.out.push_back(Output::Send(to, wire::write(&answer)));
    }

    /// The media stage opened a stream on this local port, or says why it could not (no personal data).
    pub fn handle_opened(&mut self, stream: StreamId, port: Result<u16, String>, now: Now) {
        self.stream_opened(stream, port, now);
    }

    /// The hub cannot keep up (or can again): new calls are answered 503 meanwhile.
    pub fn set_overloaded(&mut self, overloaded: bool) {
        self.overloaded = overloaded;
    }

    /// The certificate that the media stage shows in DTLS handshakes; without one, DTLS is not taken.
    pub fn set_fingerprint(&mut self, fingerprint: Fingerprint) {
        self.fingerprint = Some(fingerprint);
    }

    /// Who is known as an agent; without it nobody is.
    pub fn set_agents(&mut self, agents: Agents) {
        self.agents = agents;
    }

    /// Time passed; call at or after [`Uas::poll_timeout`].
    pub fn handle_timeout(&mut self, now: Now) {
        for (flow, bytes) in self.servers.handle_timeout(now) {
            self.out.push_back(Output::Send(flow, bytes));
        }
        let due: Vec<String> =
            self.clients.iter().filter(|(_, (c, _))| c.deadline() <= now.mono).map(|(b, _)| b.clone()).collect();
        for branch in due {
            let Some((client, _)) = self.clients.get_mut(&branch) else { continue };
            if client.is_over(now) {
                if let Some((_, purpose)) = self.clients.remove(&branch) {
                    self.account_answered(&purpose, None, now);
                    self.answered(purpose, None, now);
                }
            } else if let Some((flow, bytes)) = client.again(self.times, now) {
                self.out.push_back(Output::Send(flow, bytes));
            }
        }
        self.acks.retain(|_, ack| ack.until > now.mono);
        self.calls_timeout(now);
        self.accounts_timeout(now);
    }

    /// The bridge is about to stop: what runs goes on, new calls and those who ask whether there could be some (OPTIONS, RFC 3261 §11.2) are
    /// answered 503, so that the exchange goes elsewhere.
    pub fn handle_drain(&mut self) {
        self.draining = true;
    }

    /// Whether a request begins a call that is not taken any more; one that takes a running call's place (RFC 3891) is.
    pub(super) fn declines(&self, request: &Request) -> bool {
        self.stopping || self.draining && request.message.count("Replaces") == 0
    }

    /// The bridge stops: rings no longer (503, so that the exchange goes elsewhere), hangs up what runs (BYE), takes nothing new. As in
    /// the other drivers calls are told nothing more than the end of their streams: they end with the bridge.
    pub fn handle_stop(&mut self, now: Now) {
        self.stopping = true;
        self.stop_calls(now);
        self.stop_accounts(now);
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        let next = self.out.pop_front();
        if next.is_none() {
            self.calls.settle();
        }
        next
    }

    /// When [`Uas::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Mono> {
        let calls = self.calls.deadline().into_iter();
        let clients = self.clients.values().map(|(client, _)| client.deadline());
        let acks = self.acks.values().map(|ack| ack.until);
        let timeouts = self.servers.poll_timeout().into_iter().chain(self.accounts.deadline());
        calls.chain(clients).chain(acks).chain(timeouts).min()
    }

    /// Calls that exist.
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    /// Transactions of the peers.
    pub fn transactions(&self) -> usize {
        self.servers.len()
    }

    /// Our own requests that wait for an answer.
    pub fn requests_under_way(&self) -> usize {
        self.clients.len()
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The same for the same request.
    pub(super) fn stateless_tag(&self, key: &Key) -> String {
        let digest = Sha256::new().chain_update(self.secret).chain_update(key.bytes()).finalize();
        digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
    }

    /// An unguessable token that never comes twice.
    pub(super) fn token(&mut self) -> String {
        self.counter += 1;
        let digest = Sha256::new().chain_update(self.secret).chain_update(self.counter.to_be_bytes()).finalize();
        digest.iter().take(10).map(|byte| format!("{byte:02x}")).collect()
    }

    /// What media we agree to with `peer`, and the secret of a call's keys.
    pub(super) fn terms(&mut self, peer: IpAddr) -> Terms {
        self.counter += 1;
        let secret = Sha256::new().chain_update(b"media").chain_update(self.secret);
        Terms {
            encryption: self.settings.media_encryption,
            best_effort: self.settings.best_effort_srtp,
            sha1: self.settings.sha1_fingerprints,
            fingerprint: self.fingerprint.clone(),
            codecs: self.settings.codecs.clone(),
            peer,
            secret: secret.chain_update(self.counter.to_be_bytes()).finalize().into(),
            made: 0,
        }
    }

    /// Counts keys that anybody on the way could read.
    pub(super) fn count_keys(&mut self, has_sdes: bool, flow: Flow) {
        let is_open = matches!(flow.transport, Transport::Udp | Transport::Tcp);
        self.counters.keys_in_the_clear += u64::from(has_sdes && is_open);
    }

    pub(super) fn new_stream(&mut self, pbx: &PbxId, leg: &str, speaker: Speaker, now: Now) -> StreamId {
        self.counter += 1;
        let name = format!("{}|{leg}|{speaker:?}|{}|{}", pbx.0, now.wall.0, self.counter);
        StreamId(Uuid::new_v5(&NAMESPACE, name.as_bytes()))
    }
}

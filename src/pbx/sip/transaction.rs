//! Transactions (RFC 3261 §17 with RFC 6026): answers repeated, retransmissions absorbed, our own requests repeated. Virtual time.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::time::{Mono, Now};

use super::auth::Attempt;
use super::flow::{Flow, Transport};
use super::rate::machine;
use super::request::Request;

/// RFC 3261 §17.1.1.1.
const T2: Duration = Duration::from_secs(4);
/// RFC 3261 §17.1.2.2.
const T4: Duration = Duration::from_secs(5);

/// Names a server transaction (RFC 3261 §17.2.3); an ACK or CANCEL finds the INVITE's by [`Key::of_invite`].
/// A digest, so that a peer's long branches take no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(u128);

impl Key {
    /// The transaction of a request.
    pub fn of(request: &Request) -> Key {
        Key::with_method(request, &request.method)
    }

    /// The INVITE transaction that an ACK or CANCEL is about.
    pub fn of_invite(request: &Request) -> Key {
        Key::with_method(request, "INVITE")
    }

    /// For a digest of it.
    pub(super) fn bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    fn with_method(request: &Request, method: &str) -> Key {
        let via = &request.via;
        let sent_by = format!("{}:{}", via.host.to_ascii_lowercase(), via.port.unwrap_or_default());
        match via.branch().strip_prefix("z9hG4bK").filter(|rest| !rest.is_empty()) {
            Some(branch) => digest(&[branch, &sent_by, method]),
            None => {
                let from = request.from.tag().unwrap_or_default();
                let number = request.cseq.number.to_string();
                digest(&["", via.branch(), from, &request.call_id, &number, &sent_by, method])
            }
        }
    }
}

/// Timers of a site.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// T1.
    pub t1: Duration,
}

impl Times {
    /// The next interval of a retransmission.
    pub fn next(self, interval: Duration) -> Duration {
        (interval * 2).min(T2.max(self.t1))
    }

    /// 64·T1.
    pub fn limit(self) -> Duration {
        self.t1 * 64
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No final answer yet.
    Open,
    /// A final answer was given, an ACK is awaited (INVITE, 300–699).
    Completed { resend: Option<(Mono, Duration)>, until: Mono },
    /// Nothing but retransmissions is expected (acknowledged, 2xx given, or not an INVITE).
    Over { until: Mono, accepted: bool },
}

#[derive(Clone, Debug)]
struct Server {
    flow: Flow,
    invite: bool,
    state: State,
    /// Last answer; none of a 2xx to INVITE, which its dialog repeats (RFC 6026 §7.1).
    answer: Box<[u8]>,
    /// For requests outside of dialogs.
    origin: Option<Key>,
}

/// What a retransmission finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// A new request.
    New,
    /// Seen before; the last answer, if there is one, goes out again.
    Seen(Option<(Flow, Vec<u8>)>),
}

/// How many transactions there are, and bytes of answers in them.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    transactions: usize,
    bytes: usize,
}

impl Held {
    /// Whether there is no room for one more within these bounds.
    fn fills(self, transactions: usize, bytes: usize) -> bool {
        self.transactions >= transactions || self.bytes >= bytes
    }
}

/// All server transactions; at most as many as were asked for, with [`Servers::BYTES_MAX`] of answers, of which one machine
/// fills half with what it begins: that leaves room for the calls of others, and for its own.
///
/// Over UDP one is remembered for 64·T1 after its answer (32 s, RFC 3261 §17.2.2 and RFC 6026 §7.1), so that a call that is set up and
/// hung up takes two of them for that long: the table, and not the processor, is the limit where it is small.
#[derive(Debug)]
pub struct Servers {
    times: Times,
    max: usize,
    held: Held,
    /// Of each machine that has some.
    shares: HashMap<IpAddr, Held>,
    all: HashMap<Key, Server>,
    due: BTreeSet<(Mono, Key)>,
    /// Call-ID, From tag and CSeq → the transaction that brought them first (merged requests, RFC 3261 §8.2.2.2).
    origins: HashMap<Key, Key>,
}

impl Servers {
    /// Bytes of answers beyond which there is no room for more transactions.
    pub const BYTES_MAX: usize = 64 << 20;

    /// None yet, and never more than `max`.
    pub fn new(times: Times, max: usize) -> Self {
        let (shares, all, due, origins) = (HashMap::new(), HashMap::new(), BTreeSet::new(), HashMap::new());
        Self { times, max, held: Held::default(), shares, all, due, origins }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// What is known of a request.
    pub fn repeat(&self, key: &Key) -> Repeat {
        match self.all.get(key) {
            None => Repeat::New,
            Some(server) => {
                let again = !server.answer.is_empty();
                Repeat::Seen(again.then(|| (server.flow, server.answer.to_vec())))
            }
        }
    }

    /// Whether the same request came before by another way.
    pub fn is_merged(&self, request: &Request) -> bool {
        request.to.tag().is_none() && self.origins.get(&origin(request)).is_some_and(|key| *key != Key::of(request))
    }

    fn is_full(&self) -> bool {
        self.held.fills(self.max, Self::BYTES_MAX)
    }

    /// Whether the machine of this address has its half, so that what it begins newly is to be turned away.
    pub fn is_full_of(&self, address: IpAddr) -> bool {
        self.shares.get(&machine(address)).is_some_and(|own| own.fills(self.max / 2, Self::BYTES_MAX / 2))
    }

    /// Opens a transaction; when the table is full, in the place of the answered one whose time is over first. False when none was answered.
    pub fn open(&mut self, key: &Key, request: &Request, flow: Flow) -> bool {
        while self.is_full() {
            let Some((_, first)) = self.due.pop_first() else { return false };
            if !self.is_open(&first) {
                self.remove(&first);
            }
        }
        let origin = request.to.tag().is_none().then(|| origin(request));
        if let Some(origin) = origin {
            self.origins.entry(origin).or_insert(*key);
        }
        let invite = request.method == "INVITE";
        self.all.insert(*key, Server { flow, invite, state: State::Open, answer: Box::default(), origin });
        self.count(flow, |held| held.transactions += 1);
        true
    }

    fn count(&mut self, flow: Flow, change: impl Fn(&mut Held)) {
        change(&mut self.held);
        let machine = machine(flow.peer.ip());
        let own = self.shares.entry(machine).or_default();
        change(own);
        if own.transactions == 0 {
            self.shares.remove(&machine);
        }
    }

    /// Whether a final answer is still to be given.
    pub fn is_open(&self, key: &Key) -> bool {
        self.all.get(key).is_some_and(|server| server.state == State::Open)
    }

    /// An answer was given; gives the flow to send it on. `None` when there is no such open transaction.
    pub fn answered(&mut self, key: &Key, code: u16, bytes: &[u8], now: Now) -> Option<Flow> {
        let times = self.times;
        let server = self.all.get_mut(key).filter(|server| server.state == State::Open)?;
        let accepted = server.invite && (200..300).contains(&code);
        let kept = if accepted { &[] } else { bytes };
        let before = std::mem::replace(&mut server.answer, kept.into()).len();
        let kept = server.answer.len();
        let flow = server.flow;
        let datagram = flow.transport == Transport::Udp;
        let limit = now.mono + times.limit();
        server.state = match (code, server.invite) {
            (..200, _) => State::Open,
            (..300, true) => State::Over { until: limit, accepted: true },
            (_, true) => {
                let resend = datagram.then(|| (now.mono + times.t1, times.t1));
                State::Completed { resend, until: limit }
            }
            (_, false) => State::Over { until: if datagram { limit } else { now.mono }, accepted: false },
        };
        self.count(flow, |held| held.bytes = held.bytes.saturating_sub(before) + kept);
        self.schedule(key);
        Some(flow)
    }

    /// An ACK came for this INVITE transaction; true when it was for an answer other than 2xx and is thereby done with.
    pub fn acknowledged(&mut self, key: &Key, now: Now) -> bool {
        let Some(server) = self.all.get_mut(key) else { return false };
        match server.state {
            State::Completed { .. } => {
                let rest = if server.flow.transport == Transport::Udp { T4 } else { Duration::ZERO };
                server.state = State::Over { until: now.mono + rest, accepted: false };
                self.schedule(key);
                true
            }
            State::Over { accepted, .. } => !accepted,
            State::Open => true,
        }
    }

    /// Answers that are due again.
    pub fn handle_timeout(&mut self, now: Now) -> Vec<(Flow, Vec<u8>)> {
        let mut again = Vec::new();
        while let Some((at, key)) = self.due.first().copied().filter(|(at, _)| *at <= now.mono) {
            self.due.remove(&(at, key));
            let Some(server) = self.all.get_mut(&key) else { continue };
            match &mut server.state {
                State::Completed { resend: Some((next, interval)), until } if *until > now.mono => {
                    if *next <= now.mono {
                        again.push((server.flow, server.answer.to_vec()));
                        *interval = self.times.next(*interval);
                        *next = now.mono + *interval;
                    }
                    self.schedule(&key);
                }
                State::Completed { until, .. } | State::Over { until, .. } if *until <= now.mono => self.remove(&key),
                _ => self.schedule(&key),
            }
        }
        again
    }

    /// When [`Servers::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Mono> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Forgets an INVITE that will never be answered (its call is gone).
    pub fn remove(&mut self, key: &Key) {
        let Some(server) = self.all.remove(key) else { return };
        self.count(server.flow, |held| {
            held.transactions = held.transactions.saturating_sub(1);
            held.bytes = held.bytes.saturating_sub(server.answer.len());
        });
        if let Some(origin) = server.origin.filter(|origin| self.origins.get(origin) == Some(key)) {
            self.origins.remove(&origin);
        }
    }

    /// One entry a change: an entry that comes too early looks at the state and enters itself again.
    fn schedule(&mut self, key: &Key) {
        let at = match self.all.get(key).map(|server| server.state) {
            Some(State::Completed { resend: Some((next, _)), until }) => next.min(until),
            Some(State::Completed { until, .. } | State::Over { until, .. }) => until,
            Some(State::Open) | None => return,
        };
        self.due.insert((at, *key));
    }
}

fn origin(request: &Request) -> Key {
    let (from, number) = (request.from.tag().unwrap_or_default(), request.cseq.number.to_string());
    digest(&[&request.call_id, from, &number, &request.cseq.method])
}

fn digest(parts: &[&str]) -> Key {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let bytes = hash.finalize();
    Key(bytes.iter().take(16).fold(0, |sum, byte| (sum << 8) | u128::from(*byte)))
}

/// How long a re-INVITE of ours may stay without a final answer once a provisional one came.
const PROCEEDING: Duration = Duration::from_secs(180);

/// One request of ours (RFC 3261 §17.1.1, §17.1.2).
#[derive(Clone, Debug)]
pub struct Client {
    flow: Flow,
    bytes: Vec<u8>,
    invite: bool,
    resend: Option<(Mono, Duration)>,
    until: Mono,
    /// Which challenges to it were answered.
    pub(super) attempt: Attempt,
}

impl Client {
    /// A request that was just sent.
    pub fn new(flow: Flow, bytes: Vec<u8>, times: Times, now: Now) -> Client {
        let resend = (flow.transport == Transport::Udp).then(|| (now.mono + times.t1, times.t1));
        let invite = bytes.starts_with(b"INVITE ");
        Client { flow, bytes, invite, resend, until: now.mono + times.limit(), attempt: Attempt::default() }
    }

    /// Where it was sent.
    pub fn flow(&self) -> Flow {
        self.flow
    }

    /// The request.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether its final answer wants an ACK.
    pub fn is_invite(&self) -> bool {
        self.invite
    }

    /// A provisional answer came: an INVITE is repeated no longer, anything else every T2.
    pub fn provisional(&mut self, now: Now) {
        if self.invite {
            self.resend = None;
            self.until = now.mono + PROCEEDING;
        } else if let Some((_, interval)) = &mut self.resend {
            *interval = T2;
        }
    }

    /// When something is due.
    pub fn deadline(&self) -> Mono {
        self.resend.map_or(self.until, |(next, _)| next.min(self.until))
    }

    /// Whether no answer came in time.
    pub fn is_over(&self, now: Now) -> bool {
        self.until <= now.mono
    }

    /// The request, when it is due again.
    pub fn again(&mut self, times: Times, now: Now) -> Option<(Flow, Vec<u8>)> {
        let (next, interval) = self.resend.filter(|(next, _)| *next <= now.mono)?;
        let interval = if self.invite { interval * 2 } else { times.next(interval) };
        self.resend = Some((next.max(now.mono) + interval, interval));
        Some((self.flow, self.bytes.clone()))
    }
}

//! What binds an exchange and us: its proof by digest and ours, our registration at it, the extensions that it tells of.

use std::collections::BTreeMap;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::pbx::PbxId;
use crate::time::{Mono, Now};

use super::auth;
use super::flow::{Flow, Transport};
use super::header::{CSeq, NameAddr, Via, print_contact, print_cseq, print_via, split_params};
use super::message::{Header, Message};
use super::register::{self, Registration, State};
use super::request::Request;
use super::settings::{OwnTransport, PeerSettings};
use super::siprec;
use super::subscribe::{self, Watch, describe};
use super::transaction::Key;
use super::uas::{Output, Purpose, Uas};
use super::wire::{self, Limits, read_datagram};

/// How long a nonce of ours may be used.
const NONCE_VALID: Duration = Duration::from_secs(300);

/// Names the search for an address ([`Output::Route`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RouteId(u32);

/// What a log should hold of registrations and watched extensions (which are named by their place in the list, from 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// About our registration.
    Register(register::Told),
    /// About one watched extension.
    Watch(usize, subscribe::Told),
    /// The server's address is in no network of the exchange.
    OutsidePeers,
    /// The metadata of a recording session cannot be read (the reason has nothing of what is in it); its sound is kept.
    Metadata(siprec::Error),
}

/// Of every exchange: how it proves itself, how we do, and what we are there.
pub(super) struct Accounts {
    servers: BTreeMap<PbxId, auth::Server>,
    clients: BTreeMap<PbxId, auth::Client>,
    registrations: Vec<(PbxId, Registration)>,
    watches: Vec<(PbxId, Watch)>,
}

impl Accounts {
    /// Settings whose host cannot be one are left out; the edge refuses them before.
    pub(super) fn new(peers: &[(PbxId, PeerSettings)], secret: &[u8; 32]) -> Accounts {
        let mut accounts = Accounts {
            servers: BTreeMap::new(),
            clients: BTreeMap::new(),
            registrations: Vec::new(),
            watches: Vec::new(),
        };
        let derived = |label: &str, pbx: &PbxId| -> [u8; 32] {
            Sha256::new().chain_update(secret).chain_update(label).chain_update(&pbx.0).finalize().into()
        };
        for (pbx, own) in peers {
            if !own.username.is_empty() {
                let (secret, valid) = (derived("nonce", pbx), NONCE_VALID);
                let server = auth::Server::new(&own.realm, &own.username, &own.password, &own.digests, secret, valid);
                accounts.servers.insert(pbx.clone(), server);
            }
            if let Some(register) = &own.register {
                let user = if register.username.is_empty() { &register.user } else { &register.username };
                let client = auth::Client::new(user, &register.password, &register.realm);
                accounts.clients.insert(pbx.clone(), client);
                let token: String =
                    derived("register", pbx).iter().take(10).map(|byte| format!("{byte:02x}")).collect();
                let registration = Registration::new(register.clone(), &token);
                accounts.registrations.extend(registration.map(|registration| (pbx.clone(), registration)));
            } else if !own.username.is_empty() {
                accounts.clients.insert(pbx.clone(), auth::Client::new(&own.username, &own.password, ""));
            }
            if let Some(watch) = &own.watch {
                let mut watch = watch.clone();
                if watch.server.is_empty() {
                    watch.server = own.register.as_ref().map(|own| own.registrar.clone()).unwrap_or_default();
                }
                let user = own.register.as_ref().map_or("kakehashi", |own| own.user.as_str());
                accounts.watches.extend(Watch::new(pbx, watch, user).map(|watch| (pbx.clone(), watch)));
            }
        }
        accounts
    }

    /// Whether a NOTIFY belongs to a subscription of ours.
    pub(super) fn is_subscribed(&self, request: &Request) -> bool {
        self.watches.iter().any(|(_, own)| own.is_subscribed(request))
    }

    pub(super) fn deadline(&self) -> Option<Mono> {
        let registrations = self.registrations.iter().filter_map(|(_, own)| own.deadline());
        registrations.chain(self.watches.iter().filter_map(|(_, own)| own.deadline())).min()
    }
}

impl Uas {
    /// Whether the exchange need not prove more; otherwise it is asked to. Nothing is remembered of a request without proof: it opens no
    /// transaction, and a repetition gets the same tag (RFC 3261 §8.2.7).
    pub(super) fn is_proven(&mut self, pbx: &PbxId, request: &Request, back: Flow, now: Now) -> bool {
        let tag = self.stateless_tag(&Key::of(request));
        let Some(server) = self.accounts.servers.get_mut(pbx) else { return true };
        let verdict = server.check(request, now);
        let answer = match verdict {
            auth::Verdict::Proven => return true,
            auth::Verdict::OtherUri => request.answer(400, &tag),
            _ => {
                let mut answer = request.answer(401, &tag);
                let stale = matches!(verdict, auth::Verdict::Stale | auth::Verdict::Replayed);
                server.challenge(&mut answer, stale, now);
                self.counters.challenged += 1;
                answer
            }
        };
        self.counters.wrong_password += u64::from(verdict == auth::Verdict::Wrong);
        self.counters.replayed += u64::from(verdict == auth::Verdict::Replayed);
        self.out.push_back(Output::Send(back, wire::write(&answer)));
        false
    }

    /// A request of ours with the proof that its exchange asked for before.
    pub(super) fn authorized(&mut self, message: &Message, flow: Flow) -> Message {
        let mut message = message.clone();
        let cnonce = self.token();
        if let Some(client) = self.client_of(flow) {
            client.authorize(&mut message, cnonce);
        }
        message
    }

    /// Sends one of our requests again with the proof that a 401 or 407 asks for (RFC 3261 §22.2); false: there is nothing more to try.
    pub(super) fn prove(&mut self, code: u16, branch: &str, answer: &Message, now: Now) -> bool {
        let Some((client, purpose)) = self.clients.get(branch) else { return false };
        let flow = client.flow();
        let (bytes, purpose, mut attempt) = (client.bytes().to_vec(), purpose.clone(), client.attempt.clone());
        let Some(auth) = self.client_of(flow) else { return false };
        if !matches!(code, 401 | 407) {
            auth.handle_accepted(answer);
            return false;
        }
        let tried = auth.handle_challenge(answer, &mut attempt);
        let Some(Ok(message)) = tried.ok().map(|()| read_datagram(&bytes, &Limits::of(1 << 20))) else { return false };
        let Some((message, next)) = message.and_then(|message| self.again(message, &purpose)) else { return false };
        if let Some((old, _)) = self.clients.remove(branch).filter(|(old, _)| old.is_invite()) {
            self.acknowledge_answer(branch, &old, answer, now);
        }
        self.ask(&message, next.clone(), flow, purpose, now);
        if let Some((client, _)) = self.clients.get_mut(&next) {
            client.attempt = attempt;
        }
        true
    }

    fn client_of(&mut self, flow: Flow) -> Option<&mut auth::Client> {
        let pbx = self.pbx_of(flow.peer.ip())?.clone();
        self.accounts.clients.get_mut(&pbx)
    }

    /// The same request as a new one: another branch, the next CSeq of its dialog.
    fn again(&mut self, mut message: Message, purpose: &Purpose) -> Option<(Message, String)> {
        let branch = format!("z9hG4bK{}", self.token());
        let via = Via::parse(&message.list("Via").into_iter().next()?)?;
        let cseq = CSeq::parse(&message.text("CSeq")?)?;
        let from = NameAddr::parse(&message.text("From")?)?;
        let next = match purpose {
            Purpose::Register(at) => self.accounts.registrations.get_mut(*at).map(|(_, own)| own.next_cseq()),
            Purpose::Subscribe(at, which, fork) => {
                self.accounts.watches.get_mut(*at).and_then(|(_, own)| own.next_cseq(*which, fork))
            }
            _ => from.tag().and_then(|tag| self.calls.get_mut(tag)).map(|call| call.dialog.next_cseq()),
        };
        let number = next.unwrap_or(cseq.number + 1);
        for header in &mut message.headers {
            if header.name.eq_ignore_ascii_case("Via") {
                let printed = print_via(&via.transport, &via.host, via.port.unwrap_or(5060), &branch);
                header.value = printed.into_bytes();
            } else if header.name.eq_ignore_ascii_case("CSeq") {
                header.value = print_cseq(number, &cseq.method).into_bytes();
            }
        }
        Some((message, branch))
    }

    /// Where the exchange's server may be reached (with our own address there), best first, as [`Output::Route`] asked; none: nowhere.
    pub fn handle_route(&mut self, route: RouteId, flows: &[Flow], now: Now) {
        let at = usize::try_from(route.0 / 2).unwrap_or(usize::MAX);
        let registers = route.0.is_multiple_of(2);
        let pbx = match registers {
            true => self.accounts.registrations.get(at).map(|(pbx, _)| pbx.clone()),
            false => self.accounts.watches.get(at).map(|(pbx, _)| pbx.clone()),
        };
        let Some(pbx) = pbx else { return };
        let own = |flow: &&Flow| self.pbx_of(flow.peer.ip()) == Some(&pbx);
        let trusted: Vec<Flow> = flows.iter().filter(own).copied().collect();
        if trusted.is_empty() && !flows.is_empty() {
            self.out.push_back(Output::Note(pbx, Note::OutsidePeers));
        }
        if registers {
            if let Some((_, own)) = self.accounts.registrations.get_mut(at) {
                own.handle_route(&trusted, now);
            }
        } else if let Some((_, own)) = self.accounts.watches.get_mut(at) {
            own.handle_route(&trusted, now);
        }
        self.drive_accounts(now);
    }

    /// A connection is gone.
    pub fn handle_lost(&mut self, channel: u64, now: Now) {
        self.accounts.registrations.iter_mut().for_each(|(_, own)| own.handle_lost(channel, now));
        self.accounts.watches.iter_mut().for_each(|(_, own)| own.handle_lost(channel));
    }

    /// Exchanges that we are registered at now.
    pub fn registered(&self) -> usize {
        self.accounts.registrations.iter().filter(|(_, own)| own.state() == State::Registered).count()
    }

    /// Extensions that are being told of now.
    pub fn watched(&self) -> usize {
        self.accounts.watches.iter().map(|(_, own)| own.watched()).sum()
    }

    /// Calls of watched extensions that run.
    pub fn watched_calls(&self) -> usize {
        self.accounts.watches.iter().map(|(_, own)| own.calls()).sum()
    }

    pub(super) fn accounts_timeout(&mut self, now: Now) {
        for (_, own) in &mut self.accounts.watches {
            self.out.extend(own.handle_timeout(now).into_iter().map(Output::Signal));
        }
        self.drive_accounts(now);
    }

    pub(super) fn stop_accounts(&mut self, now: Now) {
        self.accounts.registrations.iter_mut().for_each(|(_, own)| own.handle_stop());
        self.accounts.watches.iter_mut().for_each(|(_, own)| own.handle_stop(now));
        self.drive_accounts(now);
    }

    /// A REGISTER or SUBSCRIBE of ours was answered, or not in time (`None`).
    pub(super) fn account_answered(&mut self, purpose: &Purpose, answer: Option<(u16, &Message, Flow)>, now: Now) {
        match purpose {
            Purpose::Register(at) => {
                let advertised = self.settings.advertised.trim().to_string();
                let Some((pbx, own)) = self.accounts.registrations.get_mut(*at) else { return };
                let told = match answer {
                    Some((code, message, flow)) => own.handle_answer(code, message, flow, &advertised, now),
                    None => own.handle_silence(now),
                };
                self.out.extend(told.map(|told| Output::Note(pbx.clone(), Note::Register(told))));
            }
            Purpose::Subscribe(at, which, fork) => {
                let limit = self.times.limit();
                let Some((pbx, own)) = self.accounts.watches.get_mut(*at) else { return };
                let answer = answer.map(|(code, message, _)| (code, message));
                let (signals, told) = own.handle_answer(*which, fork, answer, limit, now);
                self.out.extend(signals.into_iter().map(Output::Signal));
                self.out.extend(told.map(|told| Output::Note(pbx.clone(), Note::Watch(which + 1, told))));
            }
            _ => return,
        }
        self.drive_accounts(now);
    }

    /// NOTIFY (RFC 6665 §4.1.3): of a subscription of ours, or 481.
    pub(super) fn notify(&mut self, pbx: &PbxId, key: &Key, request: &Request, flow: Flow, tag: &str, now: Now) {
        let event = request.message.text("Event").unwrap_or_default();
        let is_event = split_params(&event).is_some_and(|(event, _)| event.eq_ignore_ascii_case(subscribe::EVENT));
        if !is_event {
            let mut answer = request.answer(489, tag);
            answer.push("Allow-Events", subscribe::EVENT);
            return self.respond(key, &answer, now);
        }
        let content = request.message.text("Content-Type").unwrap_or_default();
        let content = split_params(&content).map(|(content, _)| content.to_ascii_lowercase()).unwrap_or_default();
        if !request.message.body.is_empty() && content != subscribe::CONTENT {
            let mut answer = request.answer(415, tag);
            answer.push("Accept", subscribe::CONTENT);
            return self.respond(key, &answer, now);
        }
        let watches = self.accounts.watches.iter_mut().filter(|(own, _)| own == pbx);
        let notified = watches.into_iter().find_map(|(_, own)| own.handle_notify(request, flow, now));
        let Some((which, notified)) = notified else {
            return self.respond(key, &request.answer(481, tag), now);
        };
        self.counters.malformed += u64::from(notified.malformed);
        self.respond(key, &request.answer(notified.code, tag), now);
        self.out.extend(notified.signals.into_iter().map(Output::Signal));
        self.out.extend(notified.told.map(|told| Output::Note(pbx.clone(), Note::Watch(which + 1, told))));
        self.drive_accounts(now);
    }

    /// Does what the registrations and subscriptions want.
    fn drive_accounts(&mut self, now: Now) {
        let mut registrations = std::mem::take(&mut self.accounts.registrations);
        for (at, (_, own)) in registrations.iter_mut().enumerate() {
            let advertised = self.settings.advertised.trim().to_string();
            while let Some(wish) = own.poll(&advertised, now) {
                match wish {
                    register::Wish::Route => self.route(2 * at, own.target()),
                    register::Wish::Send(message, flow) => self.send_own(message, flow, Purpose::Register(at), now),
                    register::Wish::Ping(flow) => self.out.push_back(Output::Send(flow, b"\r\n\r\n".to_vec())),
                }
            }
        }
        self.accounts.registrations = registrations;
        let mut watches = std::mem::take(&mut self.accounts.watches);
        for (at, (_, own)) in watches.iter_mut().enumerate() {
            loop {
                let token = self.token();
                match own.poll(&token, now) {
                    None => break,
                    Some(subscribe::Wish::Route) => self.route(2 * at + 1, own.target()),
                    Some(subscribe::Wish::Begin(which, mut message, flow)) => {
                        message.push("Contact", self.contact_of(own.user(), flow));
                        self.send_own(message, flow, Purpose::Subscribe(at, which, String::new()), now);
                    }
                    Some(subscribe::Wish::Again(which, fork, expires)) => {
                        self.subscribe_again(own, at, which, &fork, expires, now);
                    }
                }
            }
        }
        self.accounts.watches = watches;
    }

    /// SUBSCRIBE inside the dialog of a notifier.
    fn subscribe_again(&mut self, own: &mut Watch, at: usize, which: usize, fork: &str, expires: u32, now: Now) {
        let branch = format!("z9hG4bK{}", self.token());
        let user = own.user().to_string();
        let Some(dialog) = own.dialog(which, fork) else { return };
        let host = self.host(dialog.flow());
        let (mut message, flow) = dialog.request("SUBSCRIBE", &branch, &host, |ip| self.pbx_of(ip).is_some());
        message.push("Contact", self.contact_of(&user, flow));
        describe(&mut message, expires);
        self.ask(&message, branch, flow, Purpose::Subscribe(at, which, fork.into()), now);
    }

    /// Sends a request outside a dialog, with a Via of ours.
    fn send_own(&mut self, mut message: Message, flow: Flow, purpose: Purpose, now: Now) {
        let branch = format!("z9hG4bK{}", self.token());
        let via = print_via(flow.transport.name(), &self.host(flow), flow.local.port(), &branch);
        message.headers.insert(0, Header { name: "Via".into(), value: via.into_bytes() });
        self.ask(&message, branch, flow, purpose, now);
    }

    fn contact_of(&self, user: &str, flow: Flow) -> String {
        print_contact(user, &self.host(flow), flow.local.port(), flow.transport.name())
    }

    fn route(&mut self, id: usize, target: (&str, u16, OwnTransport)) {
        let (host, port, transport) = target;
        let transport = match transport {
            OwnTransport::Udp => Transport::Udp,
            OwnTransport::Tcp => Transport::Tcp,
            OwnTransport::Tls => Transport::Tls,
        };
        let route = RouteId(u32::try_from(id).unwrap_or(u32::MAX));
        self.out.push_back(Output::Route { route, host: host.into(), port, transport });
    }
}

#[cfg(test)]
mod tests;

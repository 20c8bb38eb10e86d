//! What binds an exchange and us: its proof by digest, and ours.

use std::collections::BTreeMap;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::pbx::PbxId;
use crate::time::Now;

use super::auth;
use super::flow::Flow;
use super::header::{CSeq, NameAddr, Via, print_cseq, print_via};
use super::message::Message;
use super::request::Request;
use super::settings::PeerSettings;
use super::transaction::Key;
use super::uas::{Output, Uas};
use super::wire::{self, Limits, read_datagram};

/// How long a nonce of ours may be used.
const NONCE_VALID: Duration = Duration::from_secs(300);

/// Of every exchange: how it proves itself, and how we do.
pub(super) struct Accounts {
    servers: BTreeMap<PbxId, auth::Server>,
    clients: BTreeMap<PbxId, auth::Client>,
}

impl Accounts {
    pub(super) fn new(peers: &[(PbxId, PeerSettings)], secret: &[u8; 32]) -> Accounts {
        let mut accounts = Accounts { servers: BTreeMap::new(), clients: BTreeMap::new() };
        for (pbx, own) in peers.iter().filter(|(_, own)| !own.username.is_empty()) {
            let secret = Sha256::new().chain_update(secret).chain_update(b"nonce").chain_update(&pbx.0).finalize();
            let server = auth::Server::new(&own.realm, &own.username, &own.password, secret.into(), NONCE_VALID);
            accounts.servers.insert(pbx.clone(), server);
            accounts.clients.insert(pbx.clone(), auth::Client::new(&own.username, &own.password, ""));
        }
        accounts
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
        let Some((message, next)) = message.and_then(|message| self.again(message)) else { return false };
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
    fn again(&mut self, mut message: Message) -> Option<(Message, String)> {
        let branch = format!("z9hG4bK{}", self.token());
        let via = Via::parse(&message.list("Via").into_iter().next()?)?;
        let cseq = CSeq::parse(&message.text("CSeq")?)?;
        let from = NameAddr::parse(&message.text("From")?)?;
        let dialog = from.tag().and_then(|tag| self.calls.get_mut(tag)).map(|call| &mut call.dialog);
        let number = dialog.map_or(cseq.number + 1, super::dialog::Dialog::next_cseq);
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
}

#[cfg(test)]
mod tests;

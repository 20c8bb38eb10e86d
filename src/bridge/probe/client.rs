//! Questions by SIP that make no call: OPTIONS, REGISTER, SUBSCRIBE.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::link::Link;
use super::{SipPlan, Stop, User, random};
use crate::pbx::sip::auth::{Attempt, Client};
use crate::pbx::sip::dialog_info::Document;
use crate::pbx::sip::header::{NameAddr, print_cseq, print_via};
use crate::pbx::sip::message::{Message, Start};
use crate::probe::facts::{DialogEvents, Failure, Options, Register, Way};
use crate::probe::request::{self, Ends, Names};

/// Time for the first answer to OPTIONS.
const OPTIONS: Duration = Duration::from_secs(3);
/// Time for another answer.
const ANSWER: Duration = Duration::from_secs(4);
/// How often the round trip is measured.
const ROUNDS: u32 = 5;
/// Requests with a proof that are tried: a realm, a proxy before it, a nonce that went stale.
const ATTEMPTS: u32 = 4;
/// Expires of our registration and subscription, in seconds: short, should it not be taken back.
const EXPIRES: u32 = 60;

/// The two ends of a conversation.
pub(super) fn ends(way: Way, link: &Link, sip: &SipPlan, user: &str) -> Ends {
    let port = if way == Way::Tls { sip.tls_port } else { sip.port };
    let usual = if way == Way::Tls { 5_061 } else { 5_060 };
    Ends {
        way,
        host: link.local.ip().to_string(),
        port: link.local.port(),
        domain: sip.host.clone(),
        domain_port: Some(port).filter(|port| *port != usual),
        user: user.into(),
    }
}

/// Names for a new dialog or request.
pub(super) fn names() -> Names {
    Names { call_id: random(16), tag: random(6) }
}

/// A branch (RFC 3261 §8.1.1.7).
pub(super) fn branch() -> String {
    format!("z9hG4bK{}", random(8))
}

/// Asks OPTIONS over UDP or TCP.
pub(super) async fn options(way: Way, peer: SocketAddr, sip: &SipPlan, stop: &Stop) -> Result<Options, Failure> {
    let mut link = Link::open(way, peer, stop).await?;
    options_on(&mut link, way, sip).await
}

/// Asks OPTIONS on a conversation that is open, several times for the round trip.
pub(super) async fn options_on(link: &mut Link, way: Way, sip: &SipPlan) -> Result<Options, Failure> {
    let ends = ends(way, link, sip, "kakehashi-probe");
    let names = names();
    let began = Instant::now();
    let mut rtt_us = Vec::new();
    let mut last = None;
    for round in 1..=ROUNDS {
        let message = request::options(&ends, &names, round, &branch());
        let asked = Instant::now();
        match link.ask(&message, OPTIONS, |_| {}).await {
            Ok(answer) => {
                rtt_us.push(asked.elapsed().as_micros() as u64);
                last = Some(answer);
            }
            Err(failure) if last.is_none() => return Err(failure),
            Err(_) => break,
        }
        if began.elapsed() > OPTIONS {
            break;
        }
    }
    rtt_us.sort_unstable();
    let answer = last.ok_or(Failure::Silent(OPTIONS.as_millis() as u64))?;
    request::read_options(&answer, rtt_us)
}

/// A user of the exchange on one conversation: asks, and answers challenges.
pub(super) struct Account {
    /// The conversation.
    pub(super) link: Link,
    /// Both ends.
    pub(super) ends: Ends,
    proof: Option<Client>,
    /// The first challenge.
    pub(super) challenge: Option<Message>,
}

impl Account {
    /// Opens a conversation for a user, or for nobody in particular.
    pub(super) async fn open(
        way: Way,
        peer: SocketAddr,
        sip: &SipPlan,
        user: Option<&User>,
        stop: &Stop,
    ) -> Result<Account, Failure> {
        Ok(Account::over(Link::open(way, peer, stop).await?, way, sip, user))
    }

    /// The same on a conversation that is open.
    pub(super) fn over(link: Link, way: Way, sip: &SipPlan, user: Option<&User>) -> Account {
        let ends = ends(way, &link, sip, user.map_or("kakehashi-probe", |user| &user.name));
        let proof = user.map(|user| Client::new(&user.username, &user.password, ""));
        Account { link, ends, proof, challenge: None }
    }

    /// Sends a request and gives its final answer; challenges are answered. A refused INVITE is acknowledged.
    pub(super) async fn ask(
        &mut self,
        message: &mut Message,
        limit: Duration,
        mut provisional: impl FnMut(&Message),
    ) -> Result<Message, Failure> {
        let mut attempt = Attempt::default();
        for _ in 0..ATTEMPTS {
            let answer = self.link.ask(message, limit, &mut provisional).await?;
            let code = code(&answer);
            if code >= 300 {
                self.acknowledge(message, &answer).await?;
            }
            if !matches!(code, 401 | 407) {
                return Ok(answer);
            }
            let Some(proof) = &mut self.proof else { return Ok(answer) };
            self.challenge.get_or_insert_with(|| answer.clone());
            if proof.handle_challenge(&answer, &mut attempt).is_err() {
                return Ok(answer);
            }
            again(message, &self.ends);
            proof.authorize(message, random(8));
        }
        Err(Failure::Garbage("one challenge after the other"))
    }

    /// ACK to a refusal belongs to the transaction (RFC 3261 §17.1.1.3).
    pub(super) async fn acknowledge(&mut self, request: &Message, answer: &Message) -> Result<(), Failure> {
        let Start::Request { method, uri } = &request.start else { return Ok(()) };
        if method != "INVITE" {
            return Ok(());
        }
        let mut ack = Message::new(Start::Request { method: "ACK".into(), uri: uri.clone() });
        for name in ["Via", "Max-Forwards", "From", "Call-ID"] {
            ack.push(name, request.raw(name).next().unwrap_or_default());
        }
        ack.push("To", answer.raw("To").next().unwrap_or_default());
        ack.push("CSeq", print_cseq(cseq(request), "ACK"));
        self.link.send(&ack).await
    }
}

/// The status of a response; 0 for a request.
pub(super) fn code(answer: &Message) -> u16 {
    match answer.start {
        Start::Response { code, .. } => code,
        Start::Request { .. } => 0,
    }
}

/// The refusal as a failure.
pub(super) fn refusal(answer: &Message) -> Failure {
    request::status(answer)
        .map_or(Failure::Garbage("a request instead of a response"), |(code, reason)| Failure::Status(code, reason))
}

/// The number of a request's CSeq.
pub(super) fn cseq(message: &Message) -> u32 {
    message.text("CSeq").and_then(|text| text.split_whitespace().next()?.parse().ok()).unwrap_or(1)
}

/// Makes the next transaction of a request: CSeq and branch.
fn again(message: &mut Message, ends: &Ends) {
    let Start::Request { method, .. } = &message.start else { return };
    let (number, method) = (cseq(message) + 1, method.clone());
    for header in &mut message.headers {
        if header.name == "CSeq" {
            header.value = print_cseq(number, &method).into_bytes();
        } else if header.name == "Via" {
            header.value = print_via(ends.way.name(), &ends.host, ends.port, &branch()).into_bytes();
        }
    }
}

/// Asks what is registered (RFC 3261 §10.2.3), which takes the same proof; where nothing is, registers for a moment and takes it back.
pub(super) async fn register(account: &mut Account) -> Result<Register, Failure> {
    let names = names();
    let mut query = request::request(&account.ends, "REGISTER", None, &names, 1, &branch());
    query.headers.retain(|header| header.name != "Contact");
    let answer = account.ask(&mut query, ANSWER, |_| {}).await?;
    if !(200..300).contains(&code(&answer)) {
        return Err(refusal(&answer));
    }
    let mut register = request::read_challenge(account.challenge.as_ref());
    register.others = answer.list("Contact").len();
    if register.others > 0 {
        return Ok(register);
    }
    let mut message = request::request(&account.ends, "REGISTER", None, &names, cseq(&query) + 1, &branch());
    message.push("Expires", EXPIRES.to_string());
    let answer = account.ask(&mut message, ANSWER, |_| {}).await?;
    if !(200..300).contains(&code(&answer)) {
        return Err(refusal(&answer));
    }
    register.expires_s = request::granted(&answer, &account.ends).unwrap_or(EXPIRES);
    account.link.closing = true;
    let mut back = request::request(&account.ends, "REGISTER", None, &names, cseq(&message) + 1, &branch());
    back.push("Expires", "0");
    register.removed = matches!(account.ask(&mut back, ANSWER, |_| {}).await, Ok(answer) if code(&answer) == 200);
    account.link.closing = false;
    Ok(register)
}

/// Subscribes to an extension's dialogs (RFC 4235), reads the first document, and ends the subscription.
pub(super) async fn subscribe(account: &mut Account, extension: &str) -> Result<DialogEvents, Failure> {
    let names = names();
    let mut message = request::request(&account.ends, "SUBSCRIBE", Some(extension), &names, 1, &branch());
    message.push("Event", "dialog");
    message.push("Accept", "application/dialog-info+xml");
    message.push("Expires", EXPIRES.to_string());
    let answer = account.ask(&mut message, ANSWER, |_| {}).await?;
    if !(200..300).contains(&code(&answer)) {
        return Err(refusal(&answer));
    }
    let mut events = DialogEvents { expires_s: expires(&answer).unwrap_or(0), ..DialogEvents::default() };
    let found = document(account, &names).await;
    if let Some(to) = answer.text("To").and_then(|to| NameAddr::parse(&to)?.tag().map(|_| to.into_owned())) {
        let mut end =
            request::request(&account.ends, "SUBSCRIBE", Some(extension), &names, cseq(&message) + 1, &branch());
        for header in end.headers.iter_mut().filter(|header| header.name == "To") {
            header.value = to.clone().into_bytes();
        }
        end.push("Event", "dialog");
        end.push("Expires", "0");
        let _ = account.ask(&mut end, ANSWER, |_| {}).await;
    }
    let document = found?;
    events.state = if document.full { "full" } else { "partial" }.into();
    events.dialogs = document.dialogs.len();
    events.call_ids = document.dialogs.iter().any(|dialog| dialog.call_id.is_some());
    events.identity = document.dialogs.iter().any(|dialog| dialog.remote.identity.is_some());
    Ok(events)
}

/// Waits for the NOTIFY of a subscription.
async fn document(account: &mut Account, names: &Names) -> Result<Document, Failure> {
    let until = Instant::now() + ANSWER;
    loop {
        let message = match account.link.requests.pop_front() {
            Some(message) => message,
            None => account.link.receive(until).await?.ok_or(Failure::Silent(ANSWER.as_millis() as u64))?,
        };
        let Start::Request { method, .. } = &message.start else { continue };
        let ours = message.text("Call-ID").is_some_and(|id| id == names.call_id.as_str());
        if method != "NOTIFY" || !ours {
            account.link.reply(&message, if method == "OPTIONS" { 200 } else { 481 }, "Not Here").await?;
            continue;
        }
        account.link.reply(&message, 200, "OK").await?;
        if !message.body.is_empty() {
            return Document::parse(&message.body, None).map_err(|_| Failure::Garbage("NOTIFY without dialog-info"));
        }
    }
}

fn expires(answer: &Message) -> Option<u32> {
    answer.text("Expires")?.trim().parse().ok()
}

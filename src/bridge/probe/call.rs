//! Calls that the probe places: one offer each, what came of it, and the sound of it where that is wanted. Each ends at once.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::client::{Account, branch, code, cseq, names, refusal};
use super::ear::Ear;
use super::random;
use crate::pbx::sip::message::{Message, Start};
use crate::pbx::sip::sdes::{Key, Suite};
use crate::probe::dialog::{Dialog, Media, cancel, is_success, timer};
use crate::probe::facts::{Answered, Failure, Offered, Way};
use crate::probe::request::{self, Offer};
use crate::probe::sound::Voice;

/// Time for the end of a call.
const END: Duration = Duration::from_secs(2);

/// What is placed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    /// Whom.
    pub(super) number: &'a str,
    /// With which offer.
    pub(super) offered: Offered,
    /// How long an answer may take.
    pub(super) patience: Duration,
    /// How long it is listened to; zero: not at all.
    pub(super) talk: Duration,
    /// What the probe says meanwhile, in Hz; 0: silence.
    pub(super) hz: u32,
}

/// Places a call and ends it. `call_id` is told before anything is sent.
pub(super) async fn place(
    account: &mut Account,
    call: Call<'_>,
    call_id: impl FnOnce(&str),
) -> Result<Answered, Failure> {
    let own = account.link.local.ip();
    let mut ear = Ear::open(own).await?;
    let names = names();
    call_id(&names.call_id);
    let mut invite = request::request(&account.ends, "INVITE", Some(call.number), &names, 1, &branch());
    invite.push("Allow", request::ALLOW);
    invite.push("Supported", "timer");
    invite.push("Session-Expires", "1800");
    invite.push("Content-Type", "application/sdp");
    let key = key().ok_or_else(|| Failure::Own("no key for SRTP".into()))?;
    let fingerprint = fingerprint();
    let host = own.to_string();
    let session = u64::from_str_radix(&random(4), 16).unwrap_or(1);
    let offer =
        Offer { offered: call.offered, host: &host, port: ear.port, session, key: &key, fingerprint: &fingerprint };
    invite.body = offer.body();
    let asked = Instant::now();
    let mut early: Option<(Message, Duration)> = None;
    let answer = account
        .ask(&mut invite, call.patience, |message| {
            if !message.body.is_empty() && early.is_none() {
                early = Some((message.clone(), asked.elapsed()));
            }
        })
        .await;
    match answer {
        Ok(answer) if is_success(&answer) => {
            let after = asked.elapsed();
            let mut dialog =
                Dialog::of_answer(&invite, &answer, cseq(&invite)).ok_or(Failure::Garbage("2xx without Contact"))?;
            account.link.send(&dialog.ack(&account.ends, &branch())).await?;
            let answered = read(&answer, account.ends.way, call.offered, after);
            let mut over = false;
            let answered = match answered {
                Ok(mut answered) if !call.talk.is_zero() && answered.accepted => {
                    let sdes = call.offered == Offered::Sdes;
                    if !sdes || encrypt(&answer, &key, &mut ear) {
                        over = listen(account, &answer, call, &mut ear).await;
                        answered.sound = ear.measured();
                    }
                    answered.secured = sdes.then(|| ear.secured.clone());
                    Ok(answered)
                }
                other => other,
            };
            if !over {
                account.link.closing = true;
                let bye = dialog.request(&account.ends, "BYE", &branch());
                let _ = account.link.ask(&bye, END, |_| {}).await;
                account.link.closing = false;
            }
            answered
        }
        Ok(answer) => Err(refusal(&answer)),
        Err(failure) => {
            abandon(account, &invite).await;
            match early {
                Some((answer, after)) => read(&answer, account.ends.way, call.offered, after),
                None => Err(failure),
            }
        }
    }
}

/// Takes an INVITE back that has no final answer; should it have been answered meanwhile, the call is ended.
async fn abandon(account: &mut Account, invite: &Message) {
    account.link.closing = true;
    if let Some(message) = cancel(invite) {
        let _ = account.link.ask(&message, END, |_| {}).await;
        let until = Instant::now() + END;
        while let Ok(Some(message)) = account.link.receive(until).await {
            let final_one = matches!(message.start, Start::Response { code: 200.., .. });
            let ours = message.text("CSeq").is_some_and(|cseq| cseq.ends_with("INVITE"));
            if !(final_one && ours) {
                continue;
            }
            if let Some(mut dialog) = Dialog::of_answer(invite, &message, cseq(invite)).filter(|_| is_success(&message))
            {
                let _ = account.link.send(&dialog.ack(&account.ends, &branch())).await;
                let bye = dialog.request(&account.ends, "BYE", &branch());
                let _ = account.link.ask(&bye, END, |_| {}).await;
            } else {
                let _ = account.acknowledge(invite, &message).await;
            }
            break;
        }
    }
    account.link.closing = false;
}

fn read(answer: &Message, way: Way, offered: Offered, after: Duration) -> Result<Answered, Failure> {
    let media = Media::read(&answer.body).ok_or(Failure::Garbage("an answer without audio line"))?;
    Ok(Answered {
        way,
        status: code(answer),
        line: media.line(),
        accepted: media.takes(offered),
        after_ms: after.as_millis() as u64,
        timer: timer(answer),
        ..Answered::default()
    })
}

/// Whether the answer has keys for the sound of the other side.
fn encrypt(answer: &Message, ours: &Key, ear: &mut Ear) -> bool {
    let crypto = Media::read(&answer.body).and_then(|media| media.crypto);
    // the answer repeats the number of the line that it takes (RFC 4568 §5.1.2)
    crypto.filter(|crypto| crypto.tag == 1).is_some_and(|crypto| ear.encrypt(&crypto.keys, ours))
}

/// Listens, and speaks so that firewalls and symmetric RTP find the way back; true when the other side hung up.
async fn listen(account: &mut Account, answer: &Message, call: Call<'_>, ear: &mut Ear) -> bool {
    let Some(media) = Media::read(&answer.body) else { return false };
    if let Ok(ip) = media.address.parse() {
        let ssrc = u32::from_str_radix(&random(4), 16).unwrap_or(1);
        ear.voice = Some((Voice::new(call.hz, ssrc), SocketAddr::new(ip, media.port)));
    }
    let until = Instant::now() + call.talk;
    let talk = ear.talk(call.talk);
    tokio::pin!(talk);
    loop {
        let message = tokio::select! {
            () = &mut talk => return false,
            message = account.link.receive(until) => message,
        };
        let Ok(Some(message)) = message else { return false };
        let Start::Request { method, .. } = &message.start else { continue };
        let (code, reason) = match method.as_str() {
            "ACK" => continue,
            "INVITE" | "UPDATE" => (488, "Not Acceptable Here"),
            _ => (200, "OK"),
        };
        let over = method == "BYE";
        if account.link.reply(&message, code, reason).await.is_err() || over {
            return over;
        }
    }
}

/// Key and salt of AES_CM_128 (RFC 4568 §6.1), good for one call; `None` without randomness.
fn key() -> Option<Key> {
    let suite = Suite::AesCm128Sha1Tag80;
    let mut bytes = vec![0; suite.key_length() + suite.salt_length()];
    getrandom::fill(&mut bytes).ok()?;
    Key::new(suite, &bytes)
}

/// A fingerprint that nobody has: the call ends before DTLS begins.
fn fingerprint() -> String {
    let hex = random(32).to_ascii_uppercase();
    hex.as_bytes().chunks(2).map(|pair| String::from_utf8_lossy(pair).into_owned()).collect::<Vec<_>>().join(":")
}

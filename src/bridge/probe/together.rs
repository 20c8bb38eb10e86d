//! One call with the probe at both ends: it calls the bridge's own number, takes the call itself, and watches it by ARI where that is
//! open. Or a person calls while the probe waits.

use std::net::IpAddr;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::ari::Session;
use super::both::Made;
use super::call::{Call, place};
use super::called::{Listener, Taken};
use super::client::Account;
use super::{Peer, Plan, Stop};
use crate::pbx::asterisk::event::{Channel, Event, State};
use crate::pbx::asterisk::request::{Method, segment};
use crate::probe::Text;
use crate::probe::facts::{CallEvents, Facts, Failure, Offered, Tried};
use crate::probe::sound::TONES;

/// Time for the call to come back to the probe.
const ARRIVE: Duration = Duration::from_secs(8);
/// How long the calling end stays: longer than the called one, which hangs up.
const TALK: Duration = Duration::from_millis(5_500);
/// Time for late events.
const LATE: Duration = Duration::from_millis(500);
/// Time for removing what was made.
const REMOVE: Duration = Duration::from_secs(4);

/// Places the call, or waits for it.
pub(super) async fn test(
    plan: &Plan,
    peer: Option<Peer>,
    session: &mut Option<Session>,
    facts: &mut Facts,
    stop: &Stop,
) {
    let Some(at) = plan.listen else {
        let why = Text::new(
            "--listen ADDR:PORT を与える（PBX が橋を呼ぶ番地）",
            "give --listen ADDR:PORT, where the exchange calls the bridge",
        );
        facts.called = Tried::Skipped(why);
        return;
    };
    let mut allowed: Vec<IpAddr> = peer.iter().map(|peer| peer.at.ip().to_canonical()).collect();
    allowed.extend(session.iter().map(|session| session.client.host.to_canonical()));
    let listener = match Listener::open(at, allowed).await {
        Ok(listener) => listener,
        Err(failure) => {
            facts.called = Tried::Failed(failure);
            return;
        }
    };
    let mut own_call_id = String::new();
    let taken = match (&plan.own_number, &plan.sip, peer, plan.wait_call) {
        (Some(number), Some(sip), Some(peer), _) => {
            let began = Instant::now();
            let calling = async {
                let mut account = Account::open(peer.way, peer.at, sip, plan.user.as_ref(), stop).await?;
                let call = Call { number, offered: Offered::Pcmu, patience: ARRIVE, talk: TALK, hz: TONES[0] };
                place(&mut account, call, |id| own_call_id = id.into()).await
            };
            let (placed, taken) = tokio::join!(calling, listener.take(began + ARRIVE, stop));
            match (taken, placed) {
                (Ok(mut taken), _) => {
                    taken.called.after_ms = Some(taken.at.saturating_duration_since(began).as_millis() as u64);
                    Ok(taken)
                }
                // the refusal says more than the silence
                (Err(_), Err(failure)) => Err(failure),
                (Err(failure), Ok(_)) => Err(failure),
            }
        }
        (Some(number), ..) if session.is_some() => by_ari(plan, number, session.as_ref(), listener, facts, stop).await,
        (_, _, _, Some(wait)) => listener.take(Instant::now() + wait, stop).await,
        _ => Err(Failure::Own("nobody can place the call: give --sip or --ari".into())),
    };
    match taken {
        Ok(taken) => {
            if let Some(session) = session {
                facts.ari.call = Tried::Got(watched(session, &taken, &own_call_id).await);
            }
            facts.called = Tried::Got(taken.called);
        }
        Err(Failure::Silent(_)) => {
            let ms = plan.wait_call.filter(|_| plan.own_number.is_none()).unwrap_or(ARRIVE).as_millis() as u64;
            facts.called = Tried::Failed(Failure::Silent(ms));
        }
        Err(failure) => facts.called = Tried::Failed(failure),
    }
}

/// Lets the exchange itself dial the number.
async fn by_ari(
    plan: &Plan,
    number: &str,
    session: Option<&Session>,
    listener: Listener,
    facts: &mut Facts,
    stop: &Stop,
) -> Result<Taken, Failure> {
    let Some(Session { client, .. }) = session else { return Err(Failure::Own("no ARI".into())) };
    let context = plan.context.as_deref().unwrap_or("default");
    let id = format!("{}.own", client.settings.app);
    let path = format!("/channels/{}", segment(&id));
    let query = vec![
        ("endpoint", format!("Local/{number}@{context}/n")),
        ("app", client.settings.app.clone()),
        ("channelId", id.clone()),
        ("callerId", "\"kakehashi probe\" <0000000000>".into()),
    ];
    let mut made = Made::default();
    let began = Instant::now();
    let asked = client.make(&mut made, "/channels", query, path.clone()).await;
    let taken = match asked {
        Ok(_) => {
            let play = async {
                // silence carries no packets: a tone of the exchange's own shows whether sound arrives
                tokio::time::sleep(Duration::from_secs(1)).await;
                let tone = vec![("media", "tone:dial".to_string())];
                client.ask(Method::Post, &format!("{path}/play"), tone).await
            };
            tokio::join!(listener.take(began + ARRIVE, stop), play).0
        }
        Err(failure) => Err(failure),
    };
    let left = timeout(REMOVE, made.remove(client)).await.unwrap_or_else(|_| made.paths());
    facts.ari.left_behind.extend(left);
    taken.map(|mut taken| {
        taken.called.after_ms = Some(taken.at.saturating_duration_since(began).as_millis() as u64);
        taken
    })
}

/// What ARI told of this call, and of no other: its channels are known by their Call-IDs.
async fn watched(session: &mut Session, taken: &Taken, own_call_id: &str) -> CallEvents {
    let watcher = &mut session.watcher;
    // everything that came lies in `past` after this
    let _ = watcher.wait(Instant::now() + LATE, |_| false).await;
    let mut events = CallEvents::default();
    let called = |channel: &Channel| channel.protocol_id == taken.call_id;
    let ours = |channel: &Channel| called(channel) || (!own_call_id.is_empty() && channel.protocol_id == own_call_id);
    for (at, event) in &watcher.past {
        match event {
            Event::Changed(channel) | Event::Created(channel) if called(channel) && channel.state == State::Ringing => {
                events.ring_ms.get_or_insert(at.saturating_duration_since(taken.rang).as_millis() as u64);
                events.ringing = true;
            }
            Event::Changed(channel) if called(channel) && channel.state == State::Up => events.answered = true,
            Event::Hold(channel) if called(channel) => events.hold = true,
            Event::Digit(channel, _) if called(channel) => events.digit = true,
            _ => {}
        }
        match event {
            Event::Created(channel) | Event::Changed(channel) | Event::CallerId(channel, _) if ours(channel) => {
                events.number |= !channel.number.is_empty();
            }
            Event::Dial(dial) if ours(&dial.peer) => {
                events.number |= dial.caller.as_ref().is_some_and(|caller| !caller.number.is_empty());
                events.ringing |= dial.status == "RINGING";
            }
            _ => {}
        }
    }
    events
}

//! Both parties' sound by ARI, as the bridge takes it, without calling anybody: two channels of external media are the parties, each
//! says a tone of its own, a snoop and a further channel of external media bring each one's sound back.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::time::Instant;

use super::ari::Client;
use super::ear::{Ear, talk_all};
use super::events::Watcher;
use super::random;
use crate::pbx::asterisk::event::{Channel, Event};
use crate::pbx::asterisk::request::{Method, segment};
use crate::pbx::sip::header::bracketed;
use crate::probe::facts::{Ari, BothMedia, Failure, Socket, Tried};
use crate::probe::sound::{TONES, Voice};

/// Time for an event after its request.
const EVENT: Duration = Duration::from_secs(2);
/// How long both parties speak.
const TALK: Duration = Duration::from_millis(2_500);
/// How often the way of an event is measured.
const ROUNDS: u32 = 5;
/// The number that a channel of ours is given for a moment; nobody has it.
const NUMBER: &str = "0000000000";

/// What was made on the exchange.
#[derive(Default)]
pub(super) struct Made(Vec<String>);

impl Made {
    /// What was not removed yet.
    pub(super) fn paths(&self) -> Vec<String> {
        self.0.clone()
    }

    /// Removes everything, the last first; gives what could not be removed.
    pub(super) async fn remove(&mut self, client: &Client) -> Vec<String> {
        let mut left = Vec::new();
        while let Some(path) = self.0.pop() {
            match client.ask(Method::Delete, &path, vec![]).await {
                Ok(_) | Err(Failure::Status(404, _)) => {}
                Err(_) => left.push(path),
            }
        }
        left
    }
}

/// Tests the event socket and both parties' sound.
pub(super) async fn test(client: &Client, watcher: &mut Watcher, made: &mut Made, ari: &mut Ari) {
    let mut both = BothMedia::default();
    let mut socket = Socket::default();
    let began = Instant::now();
    match parties(client, watcher, made, &mut socket).await {
        Ok(mut parties) => {
            caller_id(client, watcher, &parties[0].id, &mut socket).await;
            if let Err(failure) = hear(client, watcher, made, &mut parties, &mut both, began).await {
                both.refused.push(failure.text().en);
            }
            ari.media = Tried::Got(both);
        }
        Err(failure) => ari.media = Tried::Failed(failure),
    }
    socket.latency_us.sort_unstable();
    ari.socket = Tried::Got(socket);
}

struct Party {
    id: String,
    ear: Ear,
}

/// Makes one channel of external media that sends to `port`; gives its id and the address that it receives at.
async fn media(
    client: &Client,
    watcher: &mut Watcher,
    made: &mut Made,
    name: &str,
    port: u16,
    socket: Option<&mut Socket>,
) -> Result<(String, Option<SocketAddr>), Failure> {
    let settings = &client.settings;
    let id = format!("{}.{name}", settings.app);
    let host = format!("{}:{}", bracketed(&settings.rtp_host), port);
    let query = vec![
        ("app", settings.app.clone()),
        ("channelId", id.clone()),
        ("external_host", host),
        ("format", "ulaw".into()),
    ];
    let asked = Instant::now();
    let body = client.make(made, "/channels/externalMedia", query, format!("/channels/{}", segment(&id))).await?;
    if let Some(socket) = socket {
        let is_it = |event: &Event| matches!(event, Event::Created(channel) if channel.id == id);
        if let Some((at, _)) = watcher.wait(asked + EVENT, is_it).await {
            socket.all = true;
            socket.latency_us.push(at.saturating_duration_since(asked).as_micros() as u64);
        }
    }
    entered(watcher, &id).await?;
    let channel = Channel::parse_list(&body).ok().and_then(|list| list.into_iter().next());
    let place = channel.and_then(|channel| channel.media_source);
    let place = place.and_then(|(address, port)| Some(SocketAddr::new(address.parse::<IpAddr>().ok()?, port)));
    Ok((id, place))
}

/// Waits until a channel of ours is in the application.
async fn entered(watcher: &mut Watcher, id: &str) -> Result<(), Failure> {
    let is_it = |event: &Event| matches!(event, Event::StasisStart(channel) if channel.id == id);
    match watcher.wait(Instant::now() + EVENT, is_it).await {
        Some(_) => Ok(()),
        None => Err(Failure::Garbage("a channel was made, but no StasisStart came for it")),
    }
}

async fn parties(
    client: &Client,
    watcher: &mut Watcher,
    made: &mut Made,
    socket: &mut Socket,
) -> Result<[Party; 2], Failure> {
    let own = client.own;
    let mut parties = Vec::new();
    for (name, hz) in ["party-a", "party-b"].into_iter().zip(TONES) {
        let mut ear = Ear::open(own).await?;
        let (id, place) = media(client, watcher, made, name, ear.port, Some(socket)).await?;
        let place = place.map(|at| if at.ip().is_unspecified() { SocketAddr::new(client.host, at.port()) } else { at });
        let ssrc = u32::from_str_radix(&random(4), 16).unwrap_or(1);
        ear.voice = place.map(|place| (Voice::new(hz, ssrc), place));
        parties.push(Party { id, ear });
    }
    let no_parties = |_| Failure::Own("no two parties".into());
    parties.try_into().map_err(no_parties)
}

/// Gives a channel of ours a number, and looks for it in the events.
async fn caller_id(client: &Client, watcher: &mut Watcher, id: &str, socket: &mut Socket) {
    let path = format!("/channels/{}/variable", segment(id));
    let set = |name: &str, value: String| {
        client.ask(Method::Post, &path, vec![("variable", name.to_string()), ("value", value)])
    };
    for round in 0..ROUNDS {
        let restricted = round + 1 == ROUNDS;
        if restricted && set("CALLERID(num-pres)", "prohib".into()).await.is_err() {
            return;
        }
        let number = format!("{NUMBER}{round}");
        let asked = Instant::now();
        if set("CALLERID(num)", number.clone()).await.is_err() {
            return;
        }
        let is_it = |event: &Event| matches!(event, Event::CallerId(channel, _) if channel.id == id && channel.number == number);
        let Some((at, event)) = watcher.wait(asked + EVENT, is_it).await else { return };
        socket.caller_id = true;
        socket.latency_us.push(at.saturating_duration_since(asked).as_micros() as u64);
        // Q.951: bits 6 and 7 are 01 for a restricted number
        socket.presentation |= restricted && matches!(event, Event::CallerId(_, bits) if bits & 0x60 == 0x20);
    }
}

/// Joins the parties, taps each, and lets both speak.
async fn hear(
    client: &Client,
    watcher: &mut Watcher,
    made: &mut Made,
    parties: &mut [Party; 2],
    both: &mut BothMedia,
    began: Instant,
) -> Result<(), Failure> {
    let [first, second] = parties;
    join(client, made, "call", [&first.id, &second.id]).await?;
    let mut taps = Vec::new();
    for (name, party) in [("a", first.id.clone()), ("b", second.id.clone())] {
        let ear = Ear::open(client.own).await?;
        let (media, _) = media(client, watcher, made, &format!("media-{name}"), ear.port, None).await?;
        let snoop = format!("{}.snoop-{name}", client.settings.app);
        let query = vec![("app", client.settings.app.clone()), ("spy", "in".into()), ("snoopId", snoop.clone())];
        let path = format!("/channels/{}/snoop", segment(&party));
        client.make(made, &path, query, format!("/channels/{}", segment(&snoop))).await?;
        entered(watcher, &snoop).await?;
        join(client, made, &format!("tap-{name}"), [&snoop, &media]).await?;
        taps.push(ear);
    }
    let [a, b] = taps.as_mut_slice() else { return Err(Failure::Own("no two taps".into())) };
    talk_all(&mut [&mut first.ear, &mut second.ear, a, b], TALK).await;
    for (at, (ear, (own, other))) in [a, b].into_iter().zip([(TONES[0], TONES[1]), (TONES[1], TONES[0])]).enumerate() {
        both.sound[at] = ear.measured();
        both.apart[at] = ear.meter.holds_only(own, other);
        both.first_ms[at] = ear.first.map(|first| first.saturating_duration_since(began).as_millis() as u64);
        both.source = ear.source.map(|source| source.ip().to_string()).or(both.source.take());
    }
    Ok(())
}

async fn join(client: &Client, made: &mut Made, name: &str, channels: [&String; 2]) -> Result<(), Failure> {
    let id = format!("{}.{name}", client.settings.app);
    let path = format!("/bridges/{}", segment(&id));
    client.make(made, "/bridges", vec![("type", "mixing".into()), ("bridgeId", id)], path.clone()).await?;
    for channel in channels {
        client.ask(Method::Post, &format!("{path}/addChannel"), vec![("channel", channel.clone())]).await?;
    }
    Ok(())
}

impl Client {
    /// Makes something; `remove` is the path that removes it, noted before anything is sent.
    pub(super) async fn make(
        &self,
        made: &mut Made,
        path: &str,
        query: Vec<(&'static str, String)>,
        remove: String,
    ) -> Result<String, Failure> {
        made.0.push(remove);
        self.ask(Method::Post, path, query).await.map_err(|failure| match failure {
            Failure::Status(code, reason) => {
                let what = path.rsplit('/').next().unwrap_or_default();
                Failure::Status(code, format!("{reason} (POST …/{what})"))
            }
            other => other,
        })
    }
}

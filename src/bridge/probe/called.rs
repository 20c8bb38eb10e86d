//! One call that the exchange sends to the probe: taken, read, listened to, held for a moment, ended.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpListener, UdpSocket};
use tokio::time::{Instant, sleep, timeout_at};

use super::client::branch;
use super::ear::Ear;
use super::link::{Link, reason};
use super::{Stop, random};
use crate::pbx::sip::header::Uri;
use crate::pbx::sip::message::{Message, Start};
use crate::pbx::sip::request::answer;
use crate::pbx::sip::wire::{Limits, read_datagram, write};
use crate::probe::dialog::{Dialog, Media, accept, hold, is_success, read_called};
use crate::probe::facts::{Called, Failure, Way};
use crate::probe::request::{self, Ends};
use crate::probe::sound::{TONES, Voice};

/// How long it rings, so that ringing can be seen by ARI.
const RING: Duration = Duration::from_millis(400);
/// How long it is listened to.
const TALK: Duration = Duration::from_millis(2_300);
/// How long a hold lasts.
const HOLD: Duration = Duration::from_millis(400);
/// Time for ACK, and for the end.
const ANSWER: Duration = Duration::from_secs(4);
/// The digit that is pressed.
const DIGIT: u8 = 5;

/// Waits for the exchange's call.
pub(super) struct Listener {
    udp: UdpSocket,
    tcp: Option<TcpListener>,
    at: SocketAddr,
    allowed: Vec<IpAddr>,
}

/// What came of the call.
pub(super) struct Taken {
    /// For the report.
    pub(super) called: Called,
    /// Call-ID of the exchange's leg.
    pub(super) call_id: String,
    /// When it came.
    pub(super) at: Instant,
    /// When ringing was told.
    pub(super) rang: Instant,
}

impl Listener {
    /// Listens on UDP, and on TCP where that is free; only `allowed` addresses are heard, all when there are none.
    pub(super) async fn open(at: SocketAddr, allowed: Vec<IpAddr>) -> Result<Listener, Failure> {
        let udp = UdpSocket::bind(at)
            .await
            .map_err(|error| Failure::Own(format!("--listen {at}: {}; is a bridge running there?", reason(&error))))?;
        Ok(Listener { udp, tcp: TcpListener::bind(at).await.ok(), at, allowed })
    }

    /// Waits until `until` for an INVITE, and takes the call.
    pub(super) async fn take(self, until: Instant, stop: &Stop) -> Result<Taken, Failure> {
        let mut stop_now = stop.clone();
        let (mut link, way) = tokio::select! {
            found = timeout_at(until, self.call(stop)) => found.map_err(|_| Failure::Silent(0))??,
            () = super::link::stopped(&mut stop_now) => return Err(Failure::Own("stopped".into())),
        };
        let at = Instant::now();
        let invite = loop {
            let message = match link.requests.pop_front() {
                Some(message) => message,
                None => link.receive(until).await?.ok_or(Failure::Silent(0))?,
            };
            match &message.start {
                Start::Request { method, .. } if method == "INVITE" => break message,
                Start::Request { method, .. } if method == "OPTIONS" => link.reply(&message, 200, "OK").await?,
                Start::Request { .. } | Start::Response { .. } => {}
            }
        };
        talk(link, way, invite, at).await
    }

    /// The conversation on which a call comes.
    async fn call(self, stop: &Stop) -> Result<(Link, Way), Failure> {
        let Listener { udp, tcp, at, allowed } = self;
        let is_allowed = |from: IpAddr| allowed.is_empty() || allowed.contains(&from.to_canonical());
        let connection = async {
            loop {
                match &tcp {
                    None => std::future::pending().await,
                    Some(tcp) => match tcp.accept().await {
                        Ok((stream, from)) if is_allowed(from.ip()) => return stream,
                        Ok(_) | Err(_) => sleep(Duration::from_millis(10)).await,
                    },
                }
            }
        };
        let datagram = async {
            let mut buffer = vec![0; 65_535];
            loop {
                let (size, from) = udp.recv_from(&mut buffer).await.map_err(|e| Failure::Connection(reason(&e)))?;
                let bytes = buffer.get(..size).unwrap_or_default();
                let Ok(Some(message)) = read_datagram(bytes, &Limits::of(65_535)) else { continue };
                let Start::Request { method, .. } = &message.start else { continue };
                match method.as_str() {
                    _ if !is_allowed(from.ip()) => {}
                    "INVITE" => return Ok((message, from)),
                    "OPTIONS" => {
                        let _ = udp.send_to(&write(&answer(&message, 200, "OK", "probe")), from).await;
                    }
                    _ => {}
                }
            }
        };
        let (message, from) = tokio::select! {
            stream = connection => {
                let local = stream.local_addr().unwrap_or(at);
                return Ok((Link::over(Box::new(stream), local, stop), Way::Tcp));
            }
            found = datagram => found?,
        };
        udp.connect(from).await.map_err(|error| Failure::Connection(reason(&error)))?;
        let mut link = Link::datagrams(udp, stop)?;
        link.keep(message);
        Ok((link, Way::Udp))
    }
}

async fn talk(mut link: Link, way: Way, invite: Message, at: Instant) -> Result<Taken, Failure> {
    let mut called = read_called(&invite, way.name());
    let call_id = invite.text("Call-ID").unwrap_or_default().into_owned();
    let user = match &invite.start {
        Start::Request { uri, .. } => Uri::parse(uri).and_then(|uri| uri.user).unwrap_or_default(),
        Start::Response { .. } => String::new(),
    };
    let (host, port) = (link.local.ip().to_string(), link.local.port());
    let ends = Ends { way, host, port, domain: String::new(), domain_port: None, user };
    let tag = random(6);
    let mut ringing = answer(&invite, 180, "Ringing", &tag);
    ringing.push("Contact", ends.contact());
    link.send(&ringing).await?;
    let rang = Instant::now();
    sleep(RING).await;
    let mut ear = Ear::open(link.local.ip()).await?;
    let Some((ok, media)) = accept(&invite, &ends, &tag, ear.port).filter(|_| called.keys.is_none()) else {
        // encrypted, without G.711 or without offer: what was offered is known, and that is all
        link.reply(&invite, 488, "Not Acceptable Here").await?;
        acknowledged(&mut link, None).await;
        return Ok(Taken { called, call_id, at, rang });
    };
    link.send(&ok).await?;
    link.closing = true;
    if acknowledged(&mut link, Some(&ok)).await {
        hear(&mut ear, &media, &mut called).await;
        end(&mut link, &ends, &invite, &tag, &ok, &mut ear, &media).await;
    }
    Ok(Taken { called, call_id, at, rang })
}

/// Waits for ACK; an answer over UDP is repeated until then (RFC 3261 §13.3.1.4).
async fn acknowledged(link: &mut Link, repeated: Option<&Message>) -> bool {
    let until = Instant::now() + ANSWER;
    let mut pause = Duration::from_millis(500);
    while Instant::now() < until {
        match link.receive((Instant::now() + pause).min(until)).await {
            Ok(Some(message)) => match &message.start {
                Start::Request { method, .. } if method == "ACK" => return true,
                _ => link.keep(message),
            },
            Ok(None) => {
                if let Some(message) = repeated
                    && link.send(message).await.is_err()
                {
                    return false;
                }
                pause *= 2;
            }
            Err(_) => return false,
        }
    }
    false
}

async fn hear(ear: &mut Ear, media: &Media, called: &mut Called) {
    ear.payloads = vec![0, 8];
    let said = media.address.parse::<IpAddr>().ok();
    if let Some(ip) = said {
        let ssrc = u32::from_str_radix(&random(4), 16).unwrap_or(1);
        let hz = if media.formats.contains(&0) { TONES[1] } else { 0 };
        ear.voice = Some((Voice::new(hz, ssrc), SocketAddr::new(ip, media.port)));
    }
    ear.talk(TALK).await;
    called.sound = ear.measured();
    called.source_as_said = said.is_some() && ear.source.map(|source| source.ip()) == said;
}

/// Presses a digit, holds for a moment, and hangs up unless the other side did.
async fn end(link: &mut Link, ends: &Ends, invite: &Message, tag: &str, ok: &Message, ear: &mut Ear, media: &Media) {
    let Some(mut dialog) = Dialog::of_request(invite, tag) else { return };
    if let (Some(events), Some((mut voice, target))) = (media.events, ear.voice.clone()) {
        ear.send(&voice.digit(DIGIT, events), target).await;
    }
    let mut again = dialog.request(ends, "INVITE", &branch());
    again.push("Allow", request::ALLOW);
    again.push("Content-Type", "application/sdp");
    again.body = hold(ok);
    if let Ok(answer) = link.ask(&again, ANSWER, |_| {}).await
        && is_success(&answer)
    {
        let _ = link.send(&dialog.ack(ends, &branch())).await;
        sleep(HOLD).await;
    }
    let hung_up = |link: &Link| {
        let is_bye = |message: &Message| matches!(&message.start, Start::Request { method, .. } if method == "BYE");
        link.requests.iter().find(|message| is_bye(message)).cloned()
    };
    match hung_up(link) {
        Some(bye) => {
            let _ = link.reply(&bye, 200, "OK").await;
        }
        None => {
            let bye = dialog.request(ends, "BYE", &branch());
            let _ = link.ask(&bye, ANSWER, |_| {}).await;
        }
    }
}

//! The exchange of the demo: calls the bridge over real SIP and plays both parties of a recorded call as real RTP, on loopback.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::media::codec::encode_ulaw;
use crate::pbx::sip::header::{print_contact, print_cseq, print_via};
use crate::pbx::sip::message::{Message, Start};
use crate::pbx::sip::wire::{Limits, read_datagram, write};

/// Samples of one packet: 20 ms at 8 kHz.
const FRAME: usize = 160;
/// RFC 3261 T1: a request without an answer is sent again after this.
const T1: Duration = Duration::from_millis(500);
/// A call that is not answered by then went wrong.
const PATIENCE: Duration = Duration::from_secs(30);

/// A call to play.
pub(super) struct Call {
    /// Number of the caller.
    pub(super) from: String,
    /// Extension that is called.
    pub(super) to: String,
    /// Caller, agent; 8 kHz.
    pub(super) sound: [Vec<i16>; 2],
}

/// Why the call could not be played.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("the demo's exchange: {0}")]
    Io(#[from] std::io::Error),
    #[error("the bridge did not answer {0} within 30 s")]
    NoAnswer(&'static str),
    #[error("the bridge refused the call with {0}")]
    Refused(u16),
    #[error("the bridge's answer cannot be used: {0}")]
    Answer(&'static str),
}

/// Makes the call, plays it to its end, and hangs up.
pub(super) async fn play(bridge: SocketAddr, call: &Call) -> Result<(), Error> {
    let local = (Ipv4Addr::LOCALHOST, 0);
    let sip = UdpSocket::bind(local).await?;
    sip.connect(bridge).await?;
    let parties = [UdpSocket::bind(local).await?, UdpSocket::bind(local).await?];
    let ports = [parties[0].local_addr()?.port(), parties[1].local_addr()?.port()];
    let mut dialog = Dialog::new(sip, bridge, call)?;
    let answer = dialog.invite(&offer(ports)).await?;
    let to = media_ports(&answer)?;
    dialog.ack().await?;
    for (party, port) in parties.iter().zip(to) {
        party.connect(SocketAddr::new(bridge.ip(), port)).await?;
    }
    speak(&parties, &call.sound).await?;
    dialog.bye().await
}

/// Two audio lines: the caller first, the agent second, as a recording leg has them.
fn offer(ports: [u16; 2]) -> String {
    let line = |port| format!("m=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=ptime:20\r\na=sendonly\r\n");
    format!(
        "v=0\r\no=demo 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n{}{}",
        line(ports[0]),
        line(ports[1])
    )
}

fn media_ports(answer: &Message) -> Result<[u16; 2], Error> {
    let body = String::from_utf8_lossy(&answer.body);
    let lines = body.lines().filter_map(|line| line.strip_prefix("m=audio "));
    let ports: Vec<u16> = lines.filter_map(|line| line.split(' ').next()?.parse().ok()).filter(|p| *p != 0).collect();
    ports.try_into().map_err(|_| Error::Answer("expected two audio lines"))
}

/// Plays both parties in step, 20 ms at a time, as telephones do.
async fn speak(parties: &[UdpSocket; 2], sound: &[Vec<i16>; 2]) -> Result<(), Error> {
    let frames = sound.iter().map(|samples| samples.len().div_ceil(FRAME)).max().unwrap_or(0);
    let mut clock = interval(Duration::from_millis(20));
    clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for frame in 0..frames {
        clock.tick().await;
        for (index, (party, samples)) in parties.iter().zip(sound).enumerate() {
            let from = (frame * FRAME).min(samples.len());
            let piece = &samples[from..(from + FRAME).min(samples.len())];
            if !piece.is_empty() {
                party.send(&packet(frame, index as u32 + 1, piece)).await?;
            }
        }
    }
    Ok(())
}

/// An RTP packet of PCMU (RFC 3550 §5.1).
fn packet(frame: usize, ssrc: u32, samples: &[i16]) -> Vec<u8> {
    let mut bytes = vec![0x80, if frame == 0 { 0x80 } else { 0 }];
    bytes.extend((frame as u16).to_be_bytes());
    bytes.extend(((frame * FRAME) as u32).to_be_bytes());
    bytes.extend(ssrc.to_be_bytes());
    bytes.extend(samples.iter().map(|sample| encode_ulaw(*sample)));
    bytes
}

/// The calling side of one dialog, as much of it as the demo needs.
struct Dialog {
    socket: UdpSocket,
    local: SocketAddr,
    target: String,
    from: String,
    to: String,
    call_id: String,
    branch: u32,
}

impl Dialog {
    fn new(socket: UdpSocket, bridge: SocketAddr, call: &Call) -> Result<Dialog, Error> {
        let local = socket.local_addr()?;
        let id = uuid::Uuid::now_v7();
        Ok(Dialog {
            target: format!("sip:{}@{bridge}", call.to),
            from: format!("<sip:{}@{local}>;tag={}", call.from, id.as_u128() as u32),
            to: format!("<sip:{}@{bridge}>", call.to),
            call_id: format!("{id}@{}", local.ip()),
            socket,
            local,
            branch: 0,
        })
    }

    async fn invite(&mut self, offer: &str) -> Result<Message, Error> {
        let mut request = self.request("INVITE", 1);
        request.push("Contact", print_contact("exchange", &self.local.ip().to_string(), self.local.port(), "UDP"));
        request.push("Content-Type", "application/sdp");
        request.body = offer.as_bytes().to_vec();
        let answer = self.ask(&request, "INVITE").await?;
        if let Some(to) = answer.text("To") {
            self.to = to.into_owned();
        }
        if let Some(contact) = answer.text("Contact") {
            self.target = contact.trim_start_matches('<').split('>').next().unwrap_or_default().to_string();
        }
        Ok(answer)
    }

    async fn ack(&mut self) -> Result<(), Error> {
        let request = self.request("ACK", 1);
        self.socket.send(&write(&request)).await?;
        Ok(())
    }

    async fn bye(&mut self) -> Result<(), Error> {
        let request = self.request("BYE", 2);
        self.ask(&request, "BYE").await.map(|_| ())
    }

    fn request(&mut self, method: &str, cseq: u32) -> Message {
        self.branch += 1;
        let branch = format!("z9hG4bK-demo-{}", self.branch);
        let mut message = Message::new(Start::Request { method: method.into(), uri: self.target.clone() });
        message.push("Via", print_via("UDP", &self.local.ip().to_string(), self.local.port(), &branch));
        message.push("Max-Forwards", "70");
        message.push("From", self.from.clone());
        message.push("To", self.to.clone());
        message.push("Call-ID", self.call_id.clone());
        message.push("CSeq", print_cseq(cseq, method));
        message
    }

    /// Sends a request until something comes back, and waits for the final answer.
    async fn ask(&self, request: &Message, name: &'static str) -> Result<Message, Error> {
        let bytes = write(request);
        let deadline = Instant::now() + PATIENCE;
        let (mut buffer, mut wait) = (vec![0; 65_535], T1);
        self.socket.send(&bytes).await?;
        while Instant::now() < deadline {
            let Ok(received) = timeout(wait, self.socket.recv(&mut buffer)).await else {
                self.socket.send(&bytes).await?;
                wait *= 2;
                continue;
            };
            let Ok(Some(message)) = read_datagram(&buffer[..received?], &Limits::of(65_535)) else { continue };
            let Start::Response { code, .. } = message.start else { continue };
            match code {
                ..200 => wait = PATIENCE,
                200..300 => return Ok(message),
                _ => return Err(Error::Refused(code)),
            }
        }
        Err(Error::NoAnswer(name))
    }
}

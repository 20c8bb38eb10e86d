//! RTP and SRTP at the probe: sockets that listen, count and, where asked, speak.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::UdpSocket;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

use super::link::reason;
use crate::media::secure::{Refusal, Secure, Sender};
use crate::pbx::sip::sdes::Key;
use crate::probe::facts::{Failure, Secured};
use crate::probe::sound::{Measured, Meter, Voice};
use crate::time::Mono;

/// Time of one packet.
const PACKET: Duration = Duration::from_millis(20);
/// Datagrams that are looked at of one talk; more are a flood.
const DATAGRAMS_MAX: u32 = 2_000;

/// One RTP port.
pub(super) struct Ear {
    socket: UdpSocket,
    /// Its port.
    pub(super) port: u16,
    /// Payload types that count.
    pub(super) payloads: Vec<u8>,
    /// What it says, and to whom.
    pub(super) voice: Option<(Voice, SocketAddr)>,
    /// Keys of both sides, where the sound is encrypted.
    secure: Option<(Secure, Sender)>,
    /// What became of encrypted packets.
    pub(super) secured: Secured,
    /// What was heard.
    pub(super) meter: Meter,
    /// Where it came from.
    pub(super) source: Option<SocketAddr>,
    /// When the first packet came.
    pub(super) first: Option<Instant>,
    origin: Instant,
    seen: u32,
}

impl Ear {
    /// Opens a port of the family of `own`.
    pub(super) async fn open(own: IpAddr) -> Result<Ear, Failure> {
        let any: IpAddr = if own.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
        let wrong = |error: std::io::Error| Failure::Own(format!("no RTP port: {}", reason(&error)));
        let socket = UdpSocket::bind((any, 0)).await.map_err(wrong)?;
        let port = socket.local_addr().map_err(wrong)?.port();
        let origin = Instant::now();
        Ok(Ear {
            socket,
            port,
            payloads: vec![0],
            voice: None,
            secure: None,
            secured: Secured::default(),
            meter: Meter::default(),
            source: None,
            first: None,
            origin,
            seen: 0,
        })
    }

    /// From now on nothing is taken but what the keys of the other side protect, and what is said is protected with `ours`. False: the keys
    /// are of no use.
    pub(super) fn encrypt(&mut self, theirs: &[Key], ours: &Key) -> bool {
        self.secure = Secure::new(theirs, ours).zip(Sender::new(ours));
        self.secured.suite = theirs.first().map_or("", |key| key.suite.name());
        self.secure.is_some()
    }

    /// What was heard, when anything was.
    pub(super) fn measured(&self) -> Option<Measured> {
        self.meter.measured()
    }

    /// Speaks and listens for a while.
    pub(super) async fn talk(&mut self, span: Duration) {
        let until = Instant::now() + span;
        let mut tick = interval(PACKET);
        tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut buffer = [0; 2_048];
        loop {
            tokio::select! {
                _ = tick.tick() => {
                    if Instant::now() >= until {
                        return;
                    }
                    if let Some((voice, target)) = &mut self.voice {
                        let packet = voice.next_packet();
                        let packet = match &mut self.secure {
                            Some((_, sender)) => sender.protect(&packet),
                            None => Some(packet),
                        };
                        // a refused packet shows as silence
                        let _ = self.socket.send_to(&packet.unwrap_or_default(), *target).await;
                    }
                }
                read = timeout_at(until, self.socket.recv_from(&mut buffer)) => match read {
                    Err(_) => return,
                    Ok(Err(_)) => {}
                    Ok(Ok((size, from))) => self.heard(buffer.get(..size).unwrap_or_default(), from),
                },
            }
        }
    }

    /// Sends packets that were made outside, a packet time apart.
    pub(super) async fn send(&mut self, packets: &[Vec<u8>], target: SocketAddr) {
        for packet in packets {
            let _ = self.socket.send_to(packet, target).await;
            tokio::time::sleep(PACKET).await;
        }
    }

    fn heard(&mut self, bytes: &[u8], from: SocketAddr) {
        self.seen = self.seen.saturating_add(1);
        let at = self.origin.elapsed().as_micros() as u64;
        if self.seen <= DATAGRAMS_MAX && self.takes(bytes, at) {
            self.first.get_or_insert_with(Instant::now);
            self.source = Some(from);
        }
    }
}

impl Ear {
    /// Counts a packet; false when it is no sound for us.
    fn takes(&mut self, bytes: &[u8], at_us: u64) -> bool {
        let Some((secure, _)) = &mut self.secure else { return self.meter.push(bytes, &self.payloads, at_us) };
        match secure.open_rtp(Mono(at_us.saturating_mul(1_000)), bytes) {
            Ok(packet) => {
                self.secured.opened += 1;
                self.meter.push(&packet, &self.payloads, at_us)
            }
            Err(Refusal::Replayed) => {
                self.secured.replayed += 1;
                false
            }
            Err(Refusal::Unauthenticated | Refusal::Expired) => {
                self.secured.refused += 1;
                false
            }
        }
    }
}

/// All of them at once.
pub(super) async fn talk_all(ears: &mut [&mut Ear], span: Duration) {
    join_all(ears.iter_mut().map(|ear| ear.talk(span))).await;
}

//! One media peer by the `webrtc` crate, and the only file that knows it: an offer in our words in, our end of the transport and RTP out.
//!
//! ICE lite, one UDP socket, DTLS server, receive only. The crate's own channels are bounded (256 events a track); ours is too, and a packet
//! that finds it full is dropped and counted. The crate sends receiver reports; what the peer reports is of no use to a receiver. A panic of
//! the crate happens on a task of its own and is seen as the end of the peer's events, or as silence.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use rtc::ice::mdns::MulticastDnsMode;
use rtc::peer_connection::configuration::RTCConfigurationBuilder;
use rtc::peer_connection::configuration::interceptor_registry::configure_rtcp_reports;
use rtc::peer_connection::configuration::media_engine::MediaEngine;
use rtc::peer_connection::configuration::setting_engine::SettingEngineBuilder;
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::peer_connection::transport::RTCDtlsRole;
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodec, RTCRtpCodecParameters, RTCRtpHeaderExtensionCapability, RtpCodecKind,
};
use rtc::shared::marshal::Marshal as _;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::watch;
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceGatheringState, RTCPeerConnectionState,
    Registry,
};

use crate::pbx::sip::sdp::Codec;
use crate::pbx::web::answer::{Local, name, parameters};
use crate::pbx::web::offer::{Credentials, MID_EXTENSION};
use crate::pbx::web::{Negotiation, Why};

/// Events that wait for the call's task: 2.5 s of two tracks.
const EVENTS: usize = 256;
/// How long the crate may take to answer an offer; it waits for nobody then.
const ANSWER: Duration = Duration::from_secs(5);

/// What a peer tells.
#[derive(Debug)]
pub(super) enum Event {
    /// ICE and DTLS are done.
    Connected,
    /// RTP of the audio line `track`, decrypted.
    Rtp {
        /// From 0.
        track: usize,
        /// The packet.
        datagram: Bytes,
    },
    /// It is over.
    Ended(Why),
}

/// A running peer.
pub(super) struct Peer {
    connection: Arc<dyn PeerConnection>,
    gathered: watch::Receiver<u64>,
    /// Where it receives.
    local: SocketAddr,
    dropped: Arc<AtomicU64>,
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer").field("local", &self.local).finish_non_exhaustive()
    }
}

impl Peer {
    /// Opens a peer at an address and answers the offer. A panic of the crate is [`Why::Panic`].
    pub(super) async fn answer(
        local: SocketAddr,
        asked: Negotiation,
    ) -> Result<(Peer, Local, mpsc::Receiver<Event>), Why> {
        // on a task of its own, so that a panic ends it and nothing else
        let task = tokio::spawn(async move {
            let (events, told) = mpsc::channel(EVENTS);
            let opened = tokio::time::timeout(ANSWER, Peer::open(local, &asked, events)).await;
            let peer = opened.map_err(|_| Why::Setup)?.map_err(|_| Why::Setup)?;
            match peer.negotiate(asked.offer).await {
                Ok(local) => Ok((peer, local, told)),
                Err(why) => {
                    peer.close().await;
                    Err(why)
                }
            }
        });
        joined(task).await
    }

    async fn open(
        local: SocketAddr,
        asked: &Negotiation,
        events: mpsc::Sender<Event>,
    ) -> Result<Peer, webrtc::error::Error> {
        let mut engine = MediaEngine::default();
        for format in asked.formats.iter().flatten() {
            let named = name(*format);
            let channels = if format.codec == Codec::Opus { 2 } else { 1 };
            let rtp_codec = RTCRtpCodec {
                mime_type: format!("audio/{}", named.split('/').next().unwrap_or_default()),
                clock_rate: format.clock,
                channels: if format.codec == Codec::TelephoneEvent { 0 } else { channels },
                sdp_fmtp_line: parameters(format.codec).unwrap_or_default().into(),
                rtcp_feedback: Vec::new(),
            };
            let codec = RTCRtpCodecParameters { rtp_codec, payload_type: format.number };
            engine.register_codec(codec, RtpCodecKind::Audio)?;
        }
        let mid = RTCRtpHeaderExtensionCapability { uri: MID_EXTENSION.into() };
        engine.register_header_extension(mid, RtpCodecKind::Audio, None)?;
        let settings = SettingEngineBuilder::new()
            .with_lite(true)
            // a lite agent asks for no names, and each peer would listen to the network's multicast
            .with_multicast_dns_mode(MulticastDnsMode::Disabled)
            .with_answering_dtls_role(RTCDtlsRole::Server)
            .with_include_loopback_candidate(local.ip().is_loopback())
            .build();
        let (gathering, gathered) = watch::channel(0);
        let dropped = Arc::new(AtomicU64::new(0));
        let handler = Handler { events, gathering, sources: asked.sources.clone(), dropped: Arc::clone(&dropped) };
        let connection = PeerConnectionBuilder::new()
            .with_configuration(RTCConfigurationBuilder::new().build())
            .with_media_engine(engine)
            .with_interceptor_registry(configure_rtcp_reports(Registry::new()))
            .with_setting_engine(settings)
            .with_handler(Arc::new(handler))
            .with_udp_addrs(vec![local])
            .build()
            .await?;
        Ok(Peer { connection: Arc::new(connection), gathered, local, dropped })
    }

    /// Answers an offer, the first or one that restarts ICE, and gives our end of the transport.
    pub(super) async fn negotiate(&self, offer: String) -> Result<Local, Why> {
        let connection = Arc::clone(&self.connection);
        let (mut gathered, local) = (self.gathered.clone(), self.local);
        let work = async move {
            gathered.mark_unchanged();
            let failed = |_| Why::Setup;
            let offer = RTCSessionDescription::offer(offer).map_err(failed)?;
            connection.set_remote_description(offer).await.map_err(failed)?;
            let answer = connection.create_answer(None).await.map_err(failed)?;
            connection.set_local_description(answer).await.map_err(failed)?;
            // there is one host candidate, which is known: only the first gathering has to be through
            if *gathered.borrow_and_update() == 0 {
                gathered.changed().await.map_err(|_| Why::Setup)?;
            }
            let answer = connection.local_description().await.ok_or(Why::Setup)?;
            read(&answer.sdp, local).ok_or(Why::Setup)
        };
        joined(tokio::spawn(async move { tokio::time::timeout(ANSWER, work).await.unwrap_or(Err(Why::Setup)) })).await
    }

    /// Packets that were dropped because the call's task was behind.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Closes the connection; its socket is free afterwards.
    pub(super) async fn close(&self) {
        let connection = Arc::clone(&self.connection);
        // fails only when it is closed already
        let _ = joined(tokio::spawn(async move { connection.close().await.map_err(|_| Why::Closed) })).await;
    }
}

async fn joined<T>(task: tokio::task::JoinHandle<Result<T, Why>>) -> Result<T, Why> {
    task.await.unwrap_or(Err(Why::Panic))
}

/// Our end of the transport as the crate wrote it.
fn read(sdp: &str, local: SocketAddr) -> Option<Local> {
    let find = |name: &str| sdp.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_string());
    let ice = Credentials { fragment: find("a=ice-ufrag:")?, password: find("a=ice-pwd:")? };
    let fingerprint = find("a=fingerprint:sha-256 ")?.to_ascii_uppercase();
    // RFC 8445 §5.1.2.1: type preference of a host 126, the only local preference, component 1
    let candidate = format!("1 1 udp 2130706431 {} {} typ host", local.ip(), local.port());
    Some(Local { ice, fingerprint, candidates: vec![candidate] })
}

/// What the crate tells; called on its driver's task, so nothing here waits.
struct Handler {
    events: mpsc::Sender<Event>,
    gathering: watch::Sender<u64>,
    sources: Vec<Option<u32>>,
    dropped: Arc<AtomicU64>,
}

type Done<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

impl PeerConnectionEventHandler for Handler {
    fn on_ice_gathering_state_change<'a, 'b>(&'a self, state: RTCIceGatheringState) -> Done<'b>
    where
        'a: 'b,
        Self: 'b,
    {
        if state == RTCIceGatheringState::Complete {
            self.gathering.send_modify(|count| *count += 1);
        }
        Box::pin(std::future::ready(()))
    }

    fn on_connection_state_change<'a, 'b>(&'a self, state: RTCPeerConnectionState) -> Done<'b>
    where
        'a: 'b,
        Self: 'b,
    {
        let event = match state {
            RTCPeerConnectionState::Connected => Some(Event::Connected),
            RTCPeerConnectionState::Failed => Some(Event::Ended(Why::Consent)),
            RTCPeerConnectionState::Closed => Some(Event::Ended(Why::Closed)),
            _ => None,
        };
        let events = self.events.clone();
        Box::pin(async move {
            // the call's task takes events all the time; where it does not, the call's own timers end it
            if let Some(event) = event {
                let _ = events.try_send(event);
            }
        })
    }

    fn on_track<'a, 'b>(&'a self, track: Arc<dyn TrackRemote>) -> Done<'b>
    where
        'a: 'b,
        Self: 'b,
    {
        let (events, sources, dropped) = (self.events.clone(), self.sources.clone(), Arc::clone(&self.dropped));
        Box::pin(async move {
            tokio::spawn(pump(track, events, sources, dropped));
        })
    }
}

/// Hands on the packets of one track until the peer ends.
async fn pump(
    track: Arc<dyn TrackRemote>,
    events: mpsc::Sender<Event>,
    sources: Vec<Option<u32>>,
    dropped: Arc<AtomicU64>,
) {
    // `t<n>` as the restated offer names it
    let own = track.track_id().await.strip_prefix('t').and_then(|number| number.parse::<usize>().ok());
    while let Some(event) = track.poll().await {
        let TrackRemoteEvent::OnRtpPacket(packet) = event else { continue };
        let by_source = sources.iter().position(|source| *source == Some(packet.header.ssrc));
        let Some(track) = by_source.or(own).filter(|track| *track < sources.len()) else { continue };
        let Ok(datagram) = packet.marshal() else { continue };
        match events.try_send(Event::Rtp { track, datagram: datagram.freeze() }) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => _ = dropped.fetch_add(1, Ordering::Relaxed),
            Err(TrySendError::Closed(_)) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pbx::sip::sdp::Format;
    use crate::pbx::web::SessionId;

    const PCMU: Format = Format { number: 0, codec: Codec::Pcmu, clock: 8_000 };

    fn asked(offer: &str) -> Negotiation {
        Negotiation {
            session: SessionId(uuid::Uuid::nil()),
            offer: offer.into(),
            formats: vec![vec![PCMU]],
            extensions: vec![None],
            sources: vec![None],
        }
    }

    fn free() -> SocketAddr {
        std::net::UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_panic_of_the_media_stack_ends_one_negotiation_with_a_reason() {
        let task = tokio::spawn(async { if true { panic!("as the media stack might") } else { Ok(()) } });
        assert_eq!(joined(task).await, Err(Why::Panic));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_the_stack_cannot_answer_is_refused_and_its_port_is_free_again() {
        let local = free();
        for offer in ["", "v=0", "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\n"]
        {
            let refused = Peer::answer(local, asked(offer)).await.map(|(_, local, _)| local);
            assert_eq!(refused, Err(Why::Setup), "{offer}");
        }
        let mut tries = 0;
        while std::net::UdpSocket::bind(local).is_err() {
            tries += 1;
            assert!(tries < 500, "the port is still taken");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_an_error() {
        let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let refused = Peer::answer(taken.local_addr().unwrap(), asked("")).await.map(|_| ());
        assert_eq!(refused, Err(Why::Setup));
    }
}

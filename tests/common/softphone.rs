//! A softphone that sends two audio tracks by WHIP: the `webrtc` crate as a full ICE agent and DTLS client.
#![allow(dead_code)] // each test binary uses its part

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::media_engine::MediaEngine;
use rtc::peer_connection::configuration::setting_engine::SettingEngineBuilder;
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::rtp_transceiver::RTCRtpTransceiverDirection;
use rtc::rtp_transceiver::RTCRtpTransceiverInit;
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters, RtpCodecKind,
};
use tokio::sync::watch;
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceGatheringState, RTCPeerConnectionState,
};

/// Longest wait for anything; only a failing test waits that long.
const PATIENCE: Duration = Duration::from_secs(30);

/// Sources of the two tracks.
const SSRC: [u32; 2] = [0x1111_0001, 0x2222_0002];

struct Handler {
    gathered: watch::Sender<bool>,
    state: watch::Sender<RTCPeerConnectionState>,
}

type Done<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

impl PeerConnectionEventHandler for Handler {
    fn on_ice_gathering_state_change<'a, 'b>(&'a self, state: RTCIceGatheringState) -> Done<'b>
    where
        'a: 'b,
        Self: 'b,
    {
        self.gathered.send_replace(state == RTCIceGatheringState::Complete);
        Box::pin(std::future::ready(()))
    }

    fn on_connection_state_change<'a, 'b>(&'a self, state: RTCPeerConnectionState) -> Done<'b>
    where
        'a: 'b,
        Self: 'b,
    {
        self.state.send_replace(state);
        Box::pin(std::future::ready(()))
    }
}

/// A softphone with its tracks; all of it is PCMU.
pub(crate) struct Softphone {
    pub(crate) connection: Arc<dyn PeerConnection>,
    tracks: Vec<Arc<TrackLocalStaticRTP>>,
    gathered: watch::Receiver<bool>,
    state: watch::Receiver<RTCPeerConnectionState>,
    sequence: u16,
}

impl Softphone {
    /// With as many tracks; `streams` are the names of their MediaStreams.
    pub(crate) async fn new(streams: &[&str]) -> Softphone {
        let codec = RTCRtpCodec {
            mime_type: "audio/PCMU".into(),
            clock_rate: 8_000,
            channels: 1,
            sdp_fmtp_line: String::new(),
            rtcp_feedback: Vec::new(),
        };
        let mut engine = MediaEngine::default();
        let parameters = RTCRtpCodecParameters { rtp_codec: codec.clone(), payload_type: 0 };
        engine.register_codec(parameters, RtpCodecKind::Audio).unwrap();
        let (gathered_by, gathered) = watch::channel(false);
        let (state_by, state) = watch::channel(RTCPeerConnectionState::New);
        let local: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let connection = PeerConnectionBuilder::new()
            .with_media_engine(engine)
            .with_setting_engine(SettingEngineBuilder::new().with_include_loopback_candidate(true).build())
            .with_handler(Arc::new(Handler { gathered: gathered_by, state: state_by }))
            .with_udp_addrs(vec![local])
            .build()
            .await
            .unwrap();
        let mut phone =
            Softphone { connection: Arc::new(connection), tracks: Vec::new(), gathered, state, sequence: 0 };
        for (n, stream) in streams.iter().enumerate() {
            let coding = RTCRtpEncodingParameters {
                rtp_coding_parameters: RTCRtpCodingParameters { ssrc: Some(SSRC[n]), ..Default::default() },
                codec: codec.clone(),
                ..Default::default()
            };
            let track = MediaStreamTrack::new(
                (*stream).into(),
                format!("track{n}"),
                format!("label{n}"),
                RtpCodecKind::Audio,
                vec![coding],
            );
            let track = Arc::new(TrackLocalStaticRTP::new(track));
            let sends = RTCRtpTransceiverInit { direction: RTCRtpTransceiverDirection::Sendonly, ..Default::default() };
            let local: Arc<dyn TrackLocal> = Arc::clone(&track) as Arc<dyn TrackLocal>;
            phone.connection.add_transceiver_from_track(local, Some(sends)).await.unwrap();
            phone.tracks.push(track);
        }
        phone
    }

    /// The offer with all candidates.
    pub(crate) async fn offer(&mut self) -> String {
        let offer = self.connection.create_offer(None).await.unwrap();
        self.connection.set_local_description(offer).await.unwrap();
        tokio::time::timeout(PATIENCE, self.gathered.wait_for(|done| *done)).await.unwrap().unwrap();
        self.connection.local_description().await.unwrap().sdp
    }

    pub(crate) async fn accept(&self, answer: &str) {
        let answer = RTCSessionDescription::answer(answer.to_string()).unwrap();
        self.connection.set_remote_description(answer).await.unwrap();
    }

    pub(crate) async fn connected(&mut self) {
        let connected = self.state.wait_for(|state| *state == RTCPeerConnectionState::Connected);
        tokio::time::timeout(PATIENCE, connected).await.expect("a connection").unwrap();
    }

    /// 20 ms on each track, with 160 bytes of G.711 each.
    pub(crate) async fn say(&mut self, payloads: &[Vec<u8>]) {
        self.sequence = self.sequence.wrapping_add(1);
        for (n, (track, payload)) in self.tracks.iter().zip(payloads).enumerate() {
            let header = rtp::header::Header {
                version: 2,
                payload_type: 0,
                sequence_number: self.sequence,
                timestamp: u32::from(self.sequence) * 160,
                ssrc: SSRC[n],
                ..Default::default()
            };
            let packet = rtp::packet::Packet { header, payload: payload.clone().into() };
            track.write_rtp(packet).await.unwrap();
        }
    }
}

//! Which ports the media threads use: pairs of a range, one after the other, each with a rest after its stream.

use std::collections::{HashMap, VecDeque};
use std::net::UdpSocket;
use std::time::Duration;

use super::Error;
use crate::media::settings::Settings;
use crate::pbx::StreamId;
use crate::time::Mono;

/// Which ports are taken, and which rest.
#[derive(Debug, Default)]
pub(super) struct Ports {
    next: u16,
    open: HashMap<StreamId, u16>,
    resting: VecDeque<(u16, Mono)>,
}

impl Ports {
    /// None is taken; the range begins at `first`.
    pub(super) fn new(first: u16) -> Self {
        Self { next: first, ..Self::default() }
    }

    /// Binds the next free pair for a stream: sockets of RTP and RTCP, and the port of RTP.
    pub(super) fn bind(
        &mut self,
        now: Mono,
        stream: StreamId,
        settings: &Settings,
    ) -> Result<(UdpSocket, UdpSocket, u16), Error> {
        let rest = Duration::from_millis(u64::from(settings.port_rest_ms));
        while self.resting.front().is_some_and(|(_, since)| *since + rest <= now) {
            self.resting.pop_front();
        }
        let pairs = (settings.last_port - settings.first_port).div_ceil(2);
        for _ in 0..=pairs {
            let port = self.advance(settings);
            if self.open.values().any(|open| *open == port) || self.resting.iter().any(|(rests, _)| *rests == port) {
                continue;
            }
            let pair = UdpSocket::bind((settings.bind, port)).and_then(|rtp| {
                let rtcp = UdpSocket::bind((settings.bind, port + 1))?;
                rtp.set_nonblocking(true)?;
                rtcp.set_nonblocking(true)?;
                Ok((rtp, rtcp))
            });
            if let Ok((rtp, rtcp)) = pair {
                self.open.insert(stream, port);
                return Ok((rtp, rtcp, port));
            }
        }
        let used = self.open.len();
        Err(Error::NoPort { bind: settings.bind, first: settings.first_port, last: settings.last_port, used })
    }

    /// The stream is over; its ports rest.
    pub(super) fn release(&mut self, now: Mono, stream: StreamId) {
        if let Some(port) = self.open.remove(&stream) {
            self.resting.push_back((port, now));
        }
    }

    /// The next even port of the range, round and round.
    fn advance(&mut self, settings: &Settings) -> u16 {
        let first = settings.first_port.saturating_add(settings.first_port % 2);
        let port = if self.next < first || self.next >= settings.last_port { first } else { self.next };
        self.next = port.saturating_add(2);
        port
    }
}

//! Registrations and watched extensions at the edge: names become addresses, and the log hears how it goes.

use std::net::SocketAddr;

use tokio::net::lookup_host;
use tracing::{info, warn};

use super::socket::{Sockets, route_to};
use super::{Driver, Event};
use crate::pbx::PbxId;
use crate::pbx::sip::{Flow, Note, RouteId, Transport, register, subscribe};

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;
/// No connection has this number: one is opened.
const NONE: u64 = u64::MAX;

impl Driver {
    /// Looks a server up; the answer comes as an event. Names by A and AAAA only: an exchange in the same building has no SRV records.
    pub(super) fn look_up(&self, route: RouteId, host: String, port: u16, transport: Transport) {
        let events = self.events.clone();
        tokio::spawn(async move {
            let found = lookup_host((host, port)).await;
            let found: Vec<SocketAddr> = found.map(|all| all.take(ADDRESSES_MAX).collect()).unwrap_or_default();
            if found.is_empty() {
                warn!(
                    "a registrar or server of [pbx.sip] has no address: check its name, and the name service of this machine"
                );
            }
            let _ = events.send(Event::Found(route, transport, found)).await;
        });
    }
}

/// How each address is reached from here; none where no socket of ours fits it.
pub(super) fn flows(sockets: &Sockets, transport: Transport, found: &[SocketAddr]) -> Vec<Flow> {
    let flow = |peer: &SocketAddr| {
        let (channel, bound) = match transport {
            Transport::Udp => sockets.number_for(*peer)?,
            Transport::Tcp => (NONE, *sockets.tcp.first()?),
            Transport::Tls => (NONE, *sockets.tls.first()?),
        };
        let ip = if bound.ip().is_unspecified() { route_to(peer.ip()).ok()? } else { bound.ip() };
        Some(Flow { transport, local: SocketAddr::new(ip, bound.port()), peer: *peer, channel })
    };
    found.iter().filter_map(flow).collect()
}

/// What a person should know.
pub(super) fn log(pbx: &PbxId, note: Note) {
    let pbx = &pbx.0;
    match note {
        Note::Metadata(error) => warn!(
            pbx,
            %error,
            "the metadata of a recording session cannot be read: its sound is kept in a contact of its own, without names; compare docs/siprec.md with what the exchange sends"
        ),
        Note::OutsidePeers => warn!(
            pbx,
            "the server of [pbx.sip.register] or [pbx.sip.watch] is at an address outside `peers`: nothing is sent there; add its network"
        ),
        Note::Register(register::Told::Registered(seconds)) => info!(pbx, seconds, "registered at the exchange"),
        Note::Register(register::Told::Refused(status)) => warn!(
            pbx,
            status,
            "the exchange refuses our registration; compare `user`, `username` and `password` of [pbx.sip.register] with the exchange's \
             extension, which must allow registration; tried again in half an hour, or at the next start"
        ),
        Note::Register(register::Told::Failed(status)) => warn!(
            pbx,
            status,
            "registering failed; tried again after a pause. Without a status nobody answered: check `registrar`, `transport` and the firewall"
        ),
        Note::Watch(place, subscribe::Told::Watching) => info!(pbx, place, "the exchange tells of a watched extension"),
        Note::Watch(place, subscribe::Told::Refused(status, for_good)) => warn!(
            pbx,
            place,
            status,
            for_good,
            "the exchange does not tell of this extension of [pbx.sip.watch] (counted from 1): it needs dialog events (489: it has none), at \
             Asterisk a hint in the dialplan; tried again in half an hour unless it was refused for good, or at the next start"
        ),
        Note::Watch(place, subscribe::Told::Failed(status)) => {
            warn!(pbx, place, status, "watching an extension failed; tried again after a pause");
        }
    }
}

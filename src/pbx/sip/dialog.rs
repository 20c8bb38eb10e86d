//! A dialog (RFC 3261 §12) on the called side: identity, sequence numbers, route set, remote target.

use std::net::{IpAddr, SocketAddr};

use super::flow::{Flow, Transport};
use super::header::{NameAddr, Uri, print_cseq, print_via};
use super::message::{Message, Start};
use super::request::Request;

/// One dialog, early or confirmed.
#[derive(Clone, Debug)]
pub struct Dialog {
    /// Call-ID.
    pub call_id: String,
    /// Our tag.
    pub local_tag: String,
    /// The peer's tag; empty for a caller of RFC 2543.
    pub remote_tag: String,
    /// To of the INVITE with our tag: From of our requests.
    local: Vec<u8>,
    /// From of the INVITE: To of our requests.
    remote: Vec<u8>,
    /// Contact of the peer as written, for Request-URIs.
    target: String,
    /// Record-Route of the INVITE, in its order.
    routes: Vec<String>,
    /// Begun by TLS with a `sips:` URI: our Contact is one too (RFC 3261 §12.1.1), and nothing of the dialog comes by anything else.
    pub secure: bool,
    local_cseq: u32,
    /// The highest CSeq of the peer so far.
    remote_cseq: u32,
    /// How the peer is reached when it does not say so.
    flow: Flow,
}

impl Dialog {
    /// The dialog that our answer with `local_tag` creates.
    pub fn of_invite(invite: &Request, local_tag: &str, flow: Flow) -> Dialog {
        let answer = invite.answer(180, local_tag);
        let raw = |name| answer.raw(name).next().unwrap_or_default().to_vec();
        let target = contact(&invite.message).unwrap_or_else(|| invite.from.uri_text.clone());
        Dialog {
            call_id: invite.call_id.clone(),
            local_tag: local_tag.into(),
            remote_tag: invite.from.tag().unwrap_or_default().into(),
            local: raw("To"),
            remote: raw("From"),
            target,
            routes: invite.message.list("Record-Route"),
            secure: flow.transport.is_secure() && names_sips(invite),
            local_cseq: 0,
            remote_cseq: invite.cseq.number,
            flow,
        }
    }

    /// Whether a request inside a dialog belongs to this one (RFC 3261 §12.2.2).
    pub fn matches(&self, request: &Request) -> bool {
        request.to.tag() == Some(&self.local_tag)
            && request.call_id == self.call_id
            && request.from.tag().unwrap_or_default() == self.remote_tag
    }

    /// Whether a request that came on `flow` comes as the dialog promises (RFC 3261 §26.2.2: TLS on every hop).
    pub fn protects(&self, flow: Flow) -> bool {
        !self.secure || flow.transport.is_secure()
    }

    /// Takes the CSeq of a request; false when it is lower than one before (or the same).
    pub fn advance(&mut self, number: u32) -> bool {
        let newer = number > self.remote_cseq;
        self.remote_cseq = self.remote_cseq.max(number);
        newer
    }

    /// The number of a request that is sent again with another (RFC 3261 §22.2).
    pub fn next_cseq(&mut self) -> u32 {
        self.local_cseq += 1;
        self.local_cseq
    }

    /// How the peer is reached when it does not say so.
    pub fn flow(&self) -> Flow {
        self.flow
    }

    /// No request of the peer was taken yet.
    pub fn forget_remote_cseq(&mut self) {
        self.remote_cseq = 0;
    }

    /// A target refresh (RFC 3261 §12.2.2).
    pub fn refresh(&mut self, request: &Request, flow: Flow) {
        self.retarget(&request.message);
        self.flow = flow;
    }

    /// The Contact of a target refresh, or of the 2xx to ours.
    pub fn retarget(&mut self, message: &Message) {
        if let Some(target) = contact(message) {
            self.target = target;
        }
    }

    /// Our next request. Gives the request and the place it goes to; `trusted` says whether an address is the exchange's own: what a
    /// Contact or Route names elsewhere is reached by the way its last message came.
    pub fn request(
        &mut self,
        method: &str,
        branch: &str,
        host: &str,
        trusted: impl Fn(IpAddr) -> bool,
    ) -> (Message, Flow) {
        let cseq = self.next_cseq();
        let mut routes = self.routes.clone();
        let mut uri = self.target.clone();
        let mut next = Uri::parse(&uri);
        if let Some((first, rest)) = self.routes.split_first() {
            let hop = NameAddr::parse(first);
            next = hop.as_ref().map(|hop| hop.uri.clone());
            if let Some(hop) = hop.filter(|hop| hop.uri.param("lr").is_none()) {
                // A strict router wants itself as Request-URI and the target at the end (RFC 3261 §12.2.1.1).
                routes = rest.to_vec();
                routes.push(format!("<{uri}>"));
                uri = hop.uri_text;
            }
        }
        let flow = self.flow_to(next, trusted);
        let mut message = Message::new(Start::Request { method: method.into(), uri });
        message.push("Via", print_via(flow.transport.name(), host, flow.local.port(), branch));
        message.push("Max-Forwards", "70");
        for route in routes {
            message.push("Route", route);
        }
        message.push("From", self.local.clone());
        message.push("To", self.remote.clone());
        message.push("Call-ID", self.call_id.clone());
        message.push("CSeq", print_cseq(cseq, method));
        (message, flow)
    }

    fn flow_to(&self, next: Option<Uri>, trusted: impl Fn(IpAddr) -> bool) -> Flow {
        let address = next.and_then(|uri| {
            let own = self.flow.transport;
            let wanted = uri.param("transport").unwrap_or("udp");
            let named = wanted.eq_ignore_ascii_case(own.name());
            let same = match own {
                Transport::Udp => named,
                Transport::Tcp => true,
                // a port of another transport speaks no TLS
                Transport::Tls => named || uri.scheme == "sips" || uri.port.is_none(),
            };
            let ip = uri.ip().filter(|ip| same && trusted(*ip))?;
            let ip = match (ip, self.flow.peer.ip()) {
                // a socket for both families takes IPv4 in this form only
                (IpAddr::V4(ip), IpAddr::V6(_)) => IpAddr::V6(ip.to_ipv6_mapped()),
                (ip, _) => ip,
            };
            Some(SocketAddr::new(ip, uri.port.unwrap_or(own.default_port())))
        });
        match address {
            Some(peer) => Flow { peer, ..self.flow },
            None => self.flow,
        }
    }
}

/// Whether an INVITE wants a `sips:` Contact (RFC 3261 §12.1.1): its Request-URI is one, or its first Record-Route, or without one its Contact.
fn names_sips(invite: &Request) -> bool {
    let is_sips = |uri: Option<Uri>| uri.is_some_and(|uri| uri.scheme == "sips");
    let route = invite.message.list("Record-Route").into_iter().next();
    invite.uri.scheme == "sips"
        || match route {
            Some(route) => is_sips(NameAddr::parse(&route).map(|route| route.uri)),
            None => is_sips(contact(&invite.message).and_then(|contact| Uri::parse(&contact))),
        }
}

/// The first Contact, as written.
pub(super) fn contact(message: &Message) -> Option<String> {
    let first = message.list("Contact").into_iter().next()?;
    let contact = NameAddr::parse(&first).filter(|contact| matches!(contact.uri.scheme.as_str(), "sip" | "sips"))?;
    Some(contact.uri_text)
}

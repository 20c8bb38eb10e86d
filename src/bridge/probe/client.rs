//! Questions by SIP that make no call.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::link::Link;
use super::{SipPlan, Stop, random};
use crate::probe::facts::{Failure, Options, Way};
use crate::probe::request::{self, Ends, Names};

/// Time for the first answer to OPTIONS.
const OPTIONS: Duration = Duration::from_secs(3);
/// How often the round trip is measured.
const ROUNDS: u32 = 5;

/// The two ends of a conversation.
pub(super) fn ends(way: Way, link: &Link, sip: &SipPlan, user: &str) -> Ends {
    let port = if way == Way::Tls { sip.tls_port } else { sip.port };
    let usual = if way == Way::Tls { 5_061 } else { 5_060 };
    Ends {
        way,
        host: link.local.ip().to_string(),
        port: link.local.port(),
        domain: sip.host.clone(),
        domain_port: Some(port).filter(|port| *port != usual),
        user: user.into(),
    }
}

/// Names for a new dialog or request.
pub(super) fn names() -> Names {
    Names { call_id: random(16), tag: random(6) }
}

/// A branch (RFC 3261 §8.1.1.7).
pub(super) fn branch() -> String {
    format!("z9hG4bK{}", random(8))
}

/// Asks OPTIONS over UDP or TCP.
pub(super) async fn options(way: Way, peer: SocketAddr, sip: &SipPlan, stop: &Stop) -> Result<Options, Failure> {
    let mut link = Link::open(way, peer, stop).await?;
    options_on(&mut link, way, sip).await
}

/// Asks OPTIONS on a conversation that is open, several times for the round trip.
pub(super) async fn options_on(link: &mut Link, way: Way, sip: &SipPlan) -> Result<Options, Failure> {
    let ends = ends(way, link, sip, "kakehashi-probe");
    let names = names();
    let mut rtt_us = Vec::new();
    let mut last = None;
    for round in 1..=ROUNDS {
        let message = request::options(&ends, &names, round, &branch());
        let asked = Instant::now();
        match link.ask(&message, OPTIONS, |_| {}).await {
            Ok(answer) => {
                rtt_us.push(asked.elapsed().as_micros() as u64);
                last = Some(answer);
            }
            Err(failure) if last.is_none() => return Err(failure),
            Err(_) => break,
        }
    }
    rtt_us.sort_unstable();
    let answer = last.ok_or(Failure::Silent(OPTIONS.as_millis() as u64))?;
    request::read_options(&answer, rtt_us)
}

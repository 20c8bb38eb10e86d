//! `kakehashi probe` at the edge: asks an exchange by SIP and by ARI, each step with its own time limit, and gathers
//! [`crate::probe::facts::Facts`]. Nothing on the exchange is changed; what is made for a test is removed again.

mod ari;
mod both;
mod client;
mod ear;
mod events;
mod link;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::pbx::asterisk;
use crate::probe::facts::{Facts, Failure, Tried, Way};

/// Time for the name of the exchange to be resolved.
const RESOLVE: Duration = Duration::from_secs(3);

/// Where SIP is asked.
#[derive(Clone, Debug)]
pub struct SipPlan {
    /// Name or address.
    pub host: String,
    /// Port of UDP and TCP.
    pub port: u16,
    /// Port of TLS.
    pub tls_port: u16,
}

/// What is to be looked at.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// SIP, when given.
    pub sip: Option<SipPlan>,
    /// User and password for SIP.
    pub user: Option<(String, String)>,
    /// ARI, when given; `rtp_host` may be empty.
    pub ari: Option<asterisk::Settings>,
    /// A number that answers by itself.
    pub test_number: Option<String>,
    /// A number that rings the bridge.
    pub own_number: Option<String>,
    /// An extension whose dialogs are subscribed to.
    pub watch: Option<String>,
    /// Where the exchange sends the bridge's calls to.
    pub listen: Option<SocketAddr>,
    /// Wait this long for a person to call.
    pub wait_call: Option<Duration>,
    /// Certificate authorities for TLS (PEM).
    pub ca_file: Option<PathBuf>,
}

impl Plan {
    /// Whether any call is placed.
    pub fn places_calls(&self) -> bool {
        self.sip.is_some() && (self.test_number.is_some() || self.own_number.is_some())
    }
}

/// Tells the steps that the user stopped the probe, so that each ends what it began.
pub type Stop = watch::Receiver<bool>;

/// Looks at the exchange. Ends within about a minute (without `wait_call`), and early, but in order, once `stop` holds true.
pub async fn run(plan: &Plan, stop: Stop) -> Facts {
    let mut facts = Facts::default();
    let by_sip = async {
        match &plan.sip {
            Some(sip) => look_by_sip(plan, sip, &stop).await,
            None => Facts::default(),
        }
    };
    let by_ari = async {
        match &plan.ari {
            Some(settings) => ari::look(settings, &stop).await,
            None => Default::default(),
        }
    };
    let (sip, (ari, _session)) = tokio::join!(by_sip, by_ari);
    facts.clone_from(&sip);
    facts.ari = ari;
    facts
}

async fn look_by_sip(_plan: &Plan, sip: &SipPlan, stop: &Stop) -> Facts {
    let mut facts = Facts::default();
    let (v4, v6) = match resolve(&sip.host).await {
        Ok(found) => found,
        Err(failure) => {
            facts.options = [0; 3].map(|_| Tried::Failed(failure.clone()));
            return facts;
        }
    };
    let first = v4.or(v6).unwrap_or(IpAddr::from([127, 0, 0, 1]));
    let at = |port| SocketAddr::new(first, port);
    let ipv6 = async {
        match v6 {
            Some(address) => client::options(Way::Udp, SocketAddr::new(address, sip.port), sip, stop).await.into(),
            None => Tried::Skipped(crate::probe::Text::new("名前に IPv6 の番地が無い", "the name has no IPv6 address")),
        }
    };
    let (udp, tcp, ipv6) = tokio::join!(
        client::options(Way::Udp, at(sip.port), sip, stop),
        client::options(Way::Tcp, at(sip.port), sip, stop),
        ipv6,
    );
    facts.options = [udp.into(), tcp.into(), Tried::Not];
    facts.ipv6 = ipv6;
    facts
}

/// The first IPv4 and the first IPv6 address of a name.
async fn resolve(host: &str) -> Result<(Option<IpAddr>, Option<IpAddr>), Failure> {
    let wrong = |reason: String| Failure::Connection(format!("{host}: {reason}"));
    let found = timeout(RESOLVE, lookup_host((host, 0))).await.map_err(|_| Failure::Silent(3_000))?;
    let found: Vec<IpAddr> = found.map_err(|error| wrong(error.to_string()))?.take(64).map(|at| at.ip()).collect();
    let (v4, v6) = (found.iter().find(|ip| ip.is_ipv4()), found.iter().find(|ip| ip.is_ipv6()));
    if found.is_empty() {
        return Err(wrong("no address".into()));
    }
    Ok((v4.copied(), v6.copied()))
}

/// An unguessable name.
fn random(length: usize) -> String {
    let mut bytes = vec![0_u8; length];
    // without randomness the name is only guessable, which a probe survives
    let _ = getrandom::fill(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

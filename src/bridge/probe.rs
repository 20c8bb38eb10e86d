//! `kakehashi probe` at the edge: asks an exchange by SIP and by ARI, each step with its own time limit, and gathers
//! [`crate::probe::facts::Facts`]. Nothing on the exchange is changed; what is made for a test is removed again.

mod ari;
mod both;
mod call;
mod called;
mod client;
mod ear;
mod events;
mod link;
mod tls;
mod together;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::pbx::asterisk;
use crate::probe::Text;
use crate::probe::facts::{self, Facts, Failure, Offered, Tried, Way};

/// Time for the name of the exchange to be resolved.
const RESOLVE: Duration = Duration::from_secs(3);
/// No further registration, subscription or test call is begun after this; each ends within its own limits.
const DIALOGS: Duration = Duration::from_secs(24);
/// How long the test number may ring.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the test number is listened to.
const TALK: Duration = Duration::from_secs(2);

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

/// An extension with its password; cannot be printed.
#[derive(Clone, Default)]
pub struct User {
    /// The extension.
    pub name: String,
    /// User of the digest.
    pub username: String,
    /// Password of the digest.
    pub password: String,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("User")
    }
}

/// What is to be looked at.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// SIP, when given.
    pub sip: Option<SipPlan>,
    /// Who the probe is for SIP.
    pub user: Option<User>,
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
    /// Context of the dialplan in which ARI dials the own number, when SIP is not given.
    pub context: Option<String>,
    /// Wait this long for a person to call.
    pub wait_call: Option<Duration>,
    /// Certificate authorities for TLS (PEM).
    pub ca_file: Option<PathBuf>,
    /// Our certificate and its key for TLS (PEM).
    pub certificate: Option<(PathBuf, PathBuf)>,
}

impl Plan {
    /// Whether any call is placed.
    pub fn places_calls(&self) -> bool {
        self.own_number.is_some() || (self.sip.is_some() && self.test_number.is_some())
    }
}

/// Tells the steps that the user stopped the probe, so that each ends what it began.
pub type Stop = watch::Receiver<bool>;

/// Looks at the exchange. Ends within about a minute (without `wait_call`), and early, but in order, once `stop` holds true.
pub async fn run(plan: &Plan, stop: Stop) -> Facts {
    let by_sip = async {
        match &plan.sip {
            Some(sip) => look_by_sip(plan, sip, &stop).await,
            None => (Facts::default(), None),
        }
    };
    let by_ari = async {
        match &plan.ari {
            Some(settings) => ari::look(settings, &stop).await,
            None => Default::default(),
        }
    };
    let ((mut facts, peer), (ari, mut session)) = tokio::join!(by_sip, by_ari);
    facts.ari = ari;
    if plan.own_number.is_some() || plan.wait_call.is_some() {
        together::test(plan, peer, &mut session, &mut facts, &stop).await;
    }
    if let Some(session) = session {
        session.watcher.close().await;
    }
    facts
}

/// Asks by SIP; gives the address that answered as well.
async fn look_by_sip(plan: &Plan, sip: &SipPlan, stop: &Stop) -> (Facts, Option<Peer>) {
    let mut facts = Facts::default();
    let (v4, v6) = match resolve(&sip.host).await {
        Ok(found) => found,
        Err(failure) => {
            facts.options = [0; 3].map(|_| Tried::Failed(failure.clone()));
            return (facts, None);
        }
    };
    let first = v4.or(v6).unwrap_or(IpAddr::from([127, 0, 0, 1]));
    let at = |port| SocketAddr::new(first, port);
    let own = plan.certificate.as_ref().map(|(certificate, key)| (certificate.as_path(), key.as_path()));
    let files = tls::Files { ca: plan.ca_file.as_deref(), own };
    let ipv6 = async {
        match v6 {
            Some(address) => client::options(Way::Udp, SocketAddr::new(address, sip.port), sip, stop).await.into(),
            None => Tried::Skipped(Text::new("名前に IPv6 の番地が無い", "the name has no IPv6 address")),
        }
    };
    let (udp, tcp, (tls, certificate), ipv6) = tokio::join!(
        client::options(Way::Udp, at(sip.port), sip, stop),
        client::options(Way::Tcp, at(sip.port), sip, stop),
        tls::options(at(sip.tls_port), sip, files, stop),
        ipv6,
    );
    let way = if udp.is_err() && tcp.is_ok() { Way::Tcp } else { Way::Udp };
    let answers = udp.is_ok() || tcp.is_ok();
    facts.options = [udp.into(), tcp.into(), tls];
    facts.tls = certificate;
    facts.ipv6 = ipv6;
    let peer = Peer { way, at: at(sip.port) };
    if answers {
        let secure = facts.options(Way::Tls).got().map(|_| (at(sip.tls_port), files));
        ask_more(plan, sip, peer, secure, &mut facts, stop).await;
    }
    (facts, answers.then_some(peer))
}

/// Where the exchange answered.
#[derive(Clone, Copy, Debug)]
struct Peer {
    way: Way,
    at: SocketAddr,
}

/// Registration, subscription and test calls, one after the other: an extension may be allowed one call only.
/// `secure`: where it speaks TLS, when it does.
async fn ask_more(
    plan: &Plan,
    sip: &SipPlan,
    peer: Peer,
    secure: Option<(SocketAddr, tls::Files<'_>)>,
    facts: &mut Facts,
    stop: &Stop,
) {
    let until = Instant::now() + DIALOGS;
    let account = || client::Account::open(peer.way, peer.at, sip, plan.user.as_ref(), stop);
    if plan.user.is_some() {
        facts.register = match account().await {
            Ok(mut account) => client::register(&mut account).await.into(),
            Err(failure) => Tried::Failed(failure),
        };
    }
    if let Some(extension) = &plan.watch {
        facts.dialog = match account().await {
            Ok(mut account) => client::subscribe(&mut account, extension).await.into(),
            Err(failure) => Tried::Failed(failure),
        };
    }
    let Some(number) = &plan.test_number else { return };
    for (offered, result) in Offered::ALL.into_iter().zip(&mut facts.calls) {
        if *stop.borrow() || Instant::now() > until {
            *result = Tried::Skipped(Text::new("時間切れまたは中断で未実施", "not reached: out of time, or stopped"));
            continue;
        }
        let talk = if matches!(offered, Offered::Pcmu | Offered::Sdes) { TALK } else { Duration::ZERO };
        let call = call::Call { number, offered, patience: PATIENCE, talk, hz: 0 };
        let mut not_by_tls = None;
        if let Some((at, files)) = secure.filter(|_| offered == Offered::Sdes) {
            let by_tls = async {
                let (link, _) = tls::open(at, sip, files, stop).await?;
                let mut account = client::Account::over(link, Way::Tls, sip, plan.user.as_ref());
                call::place(&mut account, call, |_| {}).await
            };
            match by_tls.await {
                Ok(answered) => {
                    *result = Tried::Got(answered);
                    continue;
                }
                Err(failure) => not_by_tls = Some(failure),
            }
        }
        let placed = async { call::place(&mut account().await?, call, |_| {}).await };
        *result = placed.await.map(|answered| facts::Answered { not_by_tls, ..answered }).into();
    }
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

//! The link between two outboxes: `open` makes it, `near` sends on it, `far` takes from it, `sound` goes beside the events; and `kakehashi relay`, whose outbox is the far one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

mod far;
pub(super) mod near;
mod open;
pub(super) mod sound;
mod tally;
#[cfg(feature = "web")]
pub mod tell;
mod tls;

pub use far::Figures;
pub(super) use tls::{Files, Tls};

use far::Taker;
use near::{Near, Order, State, Tell};
use open::Opener;
use tally::Tally;

use super::deliver::{self, Deliverer};
use crate::config::relay::RelayConfig;
use crate::outbox::relay::frame::Role;
use crate::outbox::relay::settings::{Settings, Way};
use crate::outbox::store::Outbox;

/// What deliveries in flight get at least to land when the relay is stopped.
const LANDING: Duration = Duration::from_secs(2);

/// Why a relay cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A certificate or key.
    #[error(transparent)]
    Tls(#[from] super::sip::TlsError),
    /// The address where the other end opens the link, or metrics are asked.
    #[error("{key} = \"{address}\": {source}; choose an address of this machine and a free port")]
    Listen {
        /// Section and key.
        key: &'static str,
        /// The address.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// The outbox.
    #[error(transparent)]
    Outbox(#[from] crate::outbox::store::Error),
    /// An endpoint.
    #[error(transparent)]
    Deliver(#[from] deliver::Error),
}

/// What the near end is made of.
pub(super) struct Needs {
    pub(super) way: Way,
    pub(super) tls: Arc<Tls>,
    pub(super) outbox: Outbox,
    pub(super) key: String,
    pub(super) state: Arc<State>,
    pub(super) tell: Tell,
    pub(super) patience: Duration,
    pub(super) orders: mpsc::Receiver<Order>,
}

/// Starts the near end.
///
/// # Errors
/// When the address is not to be had.
pub(super) fn spawn_near(needs: Needs) -> std::io::Result<()> {
    let tally = Arc::<Tally>::default();
    let keepalive = needs.way.keepalive;
    let opener = Opener::new(Role::Near, needs.way, needs.tls, Arc::clone(&tally))?;
    let near = Near {
        opener,
        orders: needs.orders,
        state: needs.state,
        tally,
        seen: (0, 0),
        outbox: needs.outbox,
        key: needs.key,
        tell: needs.tell,
        keepalive,
        patience: needs.patience,
        told_dry: i64::MIN,
    };
    tokio::spawn(near.run());
    Ok(())
}

/// A running relay.
pub struct Relay {
    outbox: Outbox,
    deliverer: Deliverer,
    taker: Arc<Taker>,
    tls: Arc<Tls>,
    link: Option<SocketAddr>,
    stop: oneshot::Sender<()>,
    drain: Duration,
}

/// Checks what a relay's configuration names; starts nothing.
///
/// # Errors
/// The first thing that cannot be used.
pub fn check(config: &RelayConfig) -> Result<(), Error> {
    Tls::load(files(&config.relay))?;
    Ok(deliver::check(&config.endpoint)?)
}

fn files(settings: &Settings) -> Files {
    Files {
        section: "[relay]".into(),
        certificate: ("certificate_file", settings.certificate_file.clone()),
        key: ("key_file", settings.key_file.clone()),
        authority: ("ca_file", settings.ca_file.clone()),
        peer: settings.peer.clone(),
    }
}

/// Starts a relay.
///
/// # Errors
/// When a part cannot start.
pub fn start(config: &RelayConfig, way: Way) -> Result<Relay, Error> {
    let tls = Arc::new(Tls::load(files(&config.relay))?);
    let receivers = deliver::receivers(&config.endpoint)?;
    let (outbox, committed) = Outbox::open(&config.node.data_dir, &config.outbox, receivers)?;
    let (deliverer, _) = deliver::spawn(outbox.clone(), committed, &config.endpoint, &config.outbox, |_| {})?;
    let taker = Arc::new(Taker::new(outbox.clone(), deliverer.clone()));
    let keepalive = way.keepalive;
    let opener = Opener::new(Role::Far, way, Arc::clone(&tls), Arc::default());
    let opener = opener.map_err(|source| Error::Listen {
        key: "[relay] listen",
        address: config.relay.listen.clone(),
        source,
    })?;
    let link = opener.address();
    let (stop, stopped) = oneshot::channel();
    tokio::spawn(far::run(opener, Arc::clone(&taker), keepalive, stopped));
    let drain = Duration::from_millis(config.node.drain_ms).max(LANDING);
    Ok(Relay { outbox, deliverer, taker, tls, link, stop, drain })
}

impl Relay {
    /// Where the bridge opens the link; `None` where the relay does.
    pub fn link(&self) -> Option<SocketAddr> {
        self.link
    }

    /// The relay's outbox.
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Tells whether there is a link.
    pub fn is_up(&self) -> Box<dyn Fn() -> bool + Send + Sync> {
        let taker = Arc::clone(&self.taker);
        Box::new(move || taker.figures().up)
    }

    /// Reads certificates and the endpoints' files again.
    pub fn reload(&self) {
        if let Err(error) = self.tls.reload() {
            tracing::error!(%error, "the link's certificates stay as they were");
        }
        self.deliverer.reload();
    }

    /// What `/metrics` tells.
    pub fn metrics(&self) -> Box<dyn Fn() -> String + Send + Sync> {
        let (outbox, deliverer, taker) = (self.outbox.clone(), self.deliverer.clone(), Arc::clone(&self.taker));
        Box::new(move || {
            super::metrics::text(&super::metrics::of_relay(taker.figures(), &deliverer.figures(), &outbox))
        })
    }

    /// Takes nothing more, and lets what is in flight land; what waits is on disk for the next start.
    pub async fn stop(self) {
        let _ = self.stop.send(());
        let _ = tokio::time::timeout(self.drain, self.deliverer.end()).await;
    }
}

//! Sends events to the endpoints, and asks them who is calling. `dispatch` sends the record, `realtime` the pops; `carry` leads their
//! exchanges, over a wire: `http`, whose connections `client` makes, `nats`, or `relay`.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use uuid::Uuid;

#[cfg(feature = "web")]
mod administer;
mod carry;
mod client;
mod counts;
mod dispatch;
mod http;
mod nats;
mod realtime;
mod recent;
mod relay;

pub use carry::Link;
pub use client::Error as ConnectionError;
#[cfg(feature = "telemetry")]
pub(super) use client::{client as connect, why};
pub use counts::{Figures, Health};
pub use relay::Error as LinkError;

use carry::{Start, Target, Way, Wire};
pub(super) use dispatch::chance;
use dispatch::{Dispatcher, Order, Tuning};
use http::Http;
use recent::Recent;
use relay::Relay;

use super::now;
use super::telemetry::Telemetry;
use crate::call::number::Number;
use crate::crm;
use crate::crm::settings::{Endpoint, Secret};
use crate::events::{Event, Match};
use crate::outbox::budget::{date_of, day_of};
use crate::outbox::settings::Settings;
use crate::outbox::store::{Committed, Outbox, Receiver, Traffic, TrafficDay};
use crate::time::Wall;

/// Realtime events that wait for a place to fly; the newest is dropped when it is full (a pop that late is of no use).
const REALTIME: usize = 1_024;

/// Why delivery could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A secret file cannot be read.
    #[error(
        "[[endpoint]] id = \"{endpoint}\", secret_file = \"{file}\": {source}; expected a readable file with a secret a line"
    )]
    SecretFile {
        /// The endpoint.
        endpoint: String,
        /// The file.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// A secret or a setting of an endpoint is missing or malformed.
    #[error(transparent)]
    Connector(#[from] crm::Error),
    /// The address is none.
    #[error("[[endpoint]] id = \"{endpoint}\": url: {problem}; expected http://host[:port]/path or https://…")]
    Url {
        /// The endpoint.
        endpoint: String,
        /// What is wrong.
        problem: String,
    },
    /// A setting of its connection is wrong.
    #[error(transparent)]
    Connection(#[from] client::Error),
    /// The link to a relay cannot be.
    #[error(transparent)]
    Link(#[from] relay::Error),
    /// A setting of its connection to NATS is wrong.
    #[error(transparent)]
    Nats(#[from] super::nats::Error),
    /// The outbox cannot be read.
    #[error(transparent)]
    Outbox(#[from] crate::outbox::store::Error),
}

/// Sends realtime events and asks who is calling; cheap to clone.
#[derive(Clone)]
pub struct Deliverer {
    realtime: mpsc::Sender<Event>,
    targets: Arc<[Arc<Target>]>,
    orders: mpsc::Sender<Order>,
    outbox: Outbox,
    recent: Arc<Recent>,
}

impl Deliverer {
    /// Sends a realtime event now; tells `false` when too many wait and it was dropped.
    pub fn realtime(&self, event: Event) -> bool {
        self.realtime.try_send(event).is_ok()
    }

    /// The event as JSON, as it is sent with its data; `None` when there is none, it is a text that its line keeps here, or a realtime event that has
    /// expired.
    ///
    /// # Errors
    /// When the outbox cannot be read.
    pub fn event(&self, id: Uuid) -> Result<Option<String>, crate::outbox::store::Error> {
        if let Some(recent) = self.recent.find(id, now().wall) {
            return Ok(Some(recent));
        }
        let stored = self.outbox.event(&id.to_string())?;
        Ok(stored.filter(|body| Event::from_json(body).is_ok_and(|event| event.sequence.is_some())))
    }

    /// Tells every attempt of a delivery as a span; the first time counts.
    pub fn tell_spans(&self, telemetry: &Telemetry) {
        self.targets.iter().for_each(|target| drop(target.telemetry.set(telemetry.clone())));
    }

    /// Asks an endpoint's CRM who has a number; `None` when it cannot be asked or did not answer. Give it up by dropping it.
    pub async fn look_up(&self, endpoint: usize, number: &Number) -> Option<Vec<Match>> {
        let target = self.targets.get(endpoint)?;
        let way = target.way();
        let problem = match target.carry_live(&way, way.connector.look_up(number)?).await {
            Some(Ok(Ok(matches))) => return Some(matches),
            Some(Ok(Err(answer))) => answer.to_string(),
            Some(Err(problem)) => problem,
            None => "its requests of the day are used up".into(),
        };
        tracing::warn!(endpoint = target.id, problem, "nobody could be looked up");
        None
    }

    /// Sends nothing new of the record, and waits for what is in flight; what waits is on disk for the next start. Give it up by dropping it.
    pub async fn end(&self) {
        let (done, ended) = oneshot::channel();
        if self.orders.send(Order::End(done)).await.is_ok() {
            let _ = ended.await;
        }
        let wires = self.targets.iter().map(|target| Arc::clone(&target.way().wire));
        futures_util::future::join_all(wires.map(|wire| async move { wire.end().await })).await;
    }

    /// Reads the files of the endpoints again: secrets, certificates, authorities, proxies' passwords. What is wrong is told, and stays as it was.
    pub fn reload(&self) {
        self.targets.iter().for_each(|target| read_again(target));
    }

    /// Makes what changed endpoints need, and changes nothing yet; endpoints that are not there are left out.
    ///
    /// # Errors
    /// The first endpoint that cannot be used.
    pub fn prepare(&self, endpoints: &[Endpoint]) -> Result<Prepared, Error> {
        let mut prepared = Vec::new();
        for target in self.targets.iter() {
            let wanted = endpoints.iter().find(|endpoint| endpoint.id == target.id);
            let known = target.way();
            let changed = wanted.filter(|wanted| **wanted != known.endpoint && !known.is_kept());
            prepared.push(changed.map(way).transpose()?);
        }
        Ok(Prepared(prepared))
    }

    /// Takes what was prepared, for every attempt that begins from now on.
    pub async fn apply(&self, prepared: Prepared, settings: &Settings) {
        for (target, way) in self.targets.iter().zip(prepared.0) {
            way.into_iter().for_each(|way| target.take(way));
        }
        let caps = self.targets.iter().map(|target| target.way().at_once()).collect();
        let tuning = Tuning { schedule: settings.retry_schedule_ms.clone().into(), limits: settings.limits(), caps };
        // when nobody takes it nothing is delivered any more
        let _ = self.orders.send(Order::Tune(tuning)).await;
    }

    /// What is counted for each endpoint.
    pub fn figures(&self) -> Vec<Figures> {
        self.targets
            .iter()
            .map(|target| Figures { link: target.way().wire.link(), ..target.counts.figures(&target.id) })
            .collect()
    }
}

/// Endpoints that are reached otherwise from [`Deliverer::apply`] on.
pub struct Prepared(Vec<Option<Way>>);

/// What the outbox is opened for.
///
/// # Errors
/// The first endpoint that cannot be used.
pub fn receivers(endpoints: &[Endpoint]) -> Result<Vec<Receiver>, Error> {
    let mut receivers = Vec::new();
    for endpoint in endpoints {
        let connector = crm::connector(endpoint, &secrets(endpoint)?)?;
        receivers.push(Receiver { name: endpoint.id.clone(), takes: Arc::new(move |data| connector.takes(data)) });
    }
    Ok(receivers)
}

/// Checks the endpoints' addresses, secrets and connections; connects to none.
///
/// # Errors
/// The first that cannot be used.
pub fn check(endpoints: &[Endpoint]) -> Result<(), Error> {
    endpoints.iter().try_for_each(|endpoint| way(endpoint).map(|_| ()))
}

fn way(endpoint: &Endpoint) -> Result<Way, Error> {
    let secrets = secrets(endpoint)?;
    let connector = crm::connector(endpoint, &secrets)?;
    Ok(Way { endpoint: endpoint.clone(), connector, secrets, wire: wire(endpoint)? })
}

/// `traffic`: that of the last days.
fn target(endpoint: &Endpoint, traffic: &[TrafficDay]) -> Result<Target, Error> {
    let (way, now) = (way(endpoint)?, now().wall);
    let used = used(endpoint, way.connector.declares().day_begins, traffic, now).requests;
    Ok(Target::new(way, used, now))
}

/// Reads an endpoint's files again.
fn read_again(target: &Target) {
    let known = target.way();
    known.wire.reload();
    if known.is_kept() {
        return;
    }
    let fresh = secrets(&known.endpoint).and_then(|secrets| {
        if secrets == known.secrets {
            return Ok(None);
        }
        Ok(Some((crm::connector(&known.endpoint, &secrets)?, secrets)))
    });
    match fresh {
        Ok(None) => {}
        Ok(Some((connector, secrets))) => {
            let (endpoint, wire) = (known.endpoint.clone(), Arc::clone(&known.wire));
            target.take_instead(&known, Way { endpoint, secrets, connector, wire });
            tracing::info!(endpoint = target.id, "the secrets were read again");
        }
        Err(error) => tracing::error!(%error, "the secrets stay as they were"),
    }
}

/// What has gone over an endpoint's link today.
fn used(endpoint: &Endpoint, day_begins: Duration, traffic: &[TrafficDay], now: Wall) -> Traffic {
    let today = date_of(day_of(now, day_begins));
    let of_it = traffic.iter().filter(|day| day.endpoint == endpoint.id && day.day == today);
    of_it.fold(Traffic::default(), |sums, day| sums + day.traffic)
}

/// What its `url` is spoken to by.
fn wire(endpoint: &Endpoint) -> Result<Arc<dyn Wire>, Error> {
    if let Some(settings) = &endpoint.relay {
        return Ok(Arc::new(Relay::new(endpoint, settings)?));
    }
    if endpoint.nats.is_some() {
        return Ok(Arc::new(nats::Nats::new(endpoint)?));
    }
    let wrong = |problem: String| Error::Url { endpoint: endpoint.id.clone(), problem };
    let url = reqwest::Url::parse(&endpoint.url).map_err(|error| wrong(error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong(format!("scheme `{}`", url.scheme())));
    }
    Ok(Arc::new(Http::new(endpoint, url)?))
}

fn secrets(endpoint: &Endpoint) -> Result<Vec<Secret>, Error> {
    let mut secrets = endpoint.secrets.clone();
    if !endpoint.secret_file.as_os_str().is_empty() {
        let text = std::fs::read_to_string(&endpoint.secret_file).map_err(|source| Error::SecretFile {
            endpoint: endpoint.id.clone(),
            file: endpoint.secret_file.display().to_string(),
            source,
        })?;
        secrets.extend(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(|line| Secret(line.into())));
    }
    Ok(secrets)
}

/// Starts delivery of what is committed and what was left from before. `shown` sees every committed event first.
///
/// # Errors
/// When an endpoint cannot be used or the outbox cannot be read.
pub fn spawn(
    outbox: Outbox,
    committed: mpsc::Receiver<Committed>,
    endpoints: &[Endpoint],
    settings: &Settings,
    shown: impl Fn(&Event) + Send + 'static,
) -> Result<(Deliverer, JoinHandle<()>), Error> {
    // some endpoint's day may be that of yesterday still
    let traffic = outbox.traffic(day_of(now().wall, Duration::ZERO) - 1)?;
    let mut targets = Vec::new();
    for endpoint in endpoints {
        let target = Arc::new(target(endpoint, &traffic)?);
        let counted = Arc::downgrade(&target);
        let tell = Box::new(move |whom, traffic| {
            counted.upgrade().map(|target| target.counts.traffic(whom, traffic)).is_some()
        });
        let way = target.way();
        let today = used(endpoint, way.connector.declares().day_begins, &traffic, now().wall);
        way.wire.start(Start { outbox: &outbox, today, tell })?;
        targets.push(target);
    }
    let (orders, obeyed) = mpsc::channel(1);
    let (dispatcher, returns) = Dispatcher::new(outbox.clone(), targets.clone(), settings, obeyed)?;
    let (realtime, pops) = mpsc::channel(REALTIME);
    let recent = Arc::new(Recent::default());
    tokio::spawn(realtime::send_realtime(pops, targets.clone(), recent.clone(), settings.deliveries_at_once.max(1)));
    let running = tokio::spawn(dispatcher.run(committed, returns, shown));
    Ok((Deliverer { realtime, targets: targets.into(), orders, outbox, recent }, running))
}

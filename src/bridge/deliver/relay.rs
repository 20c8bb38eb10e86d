//! Events over the link to a relay in another network: one link for each endpoint, which `bridge::relay` keeps up.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use super::carry::{Count, Link, Start, Wire};
use crate::bridge::now;
use crate::bridge::relay::near::{Order, State, Told};
use crate::bridge::relay::sound::Courier;
use crate::bridge::relay::{Files, Needs, Tls, spawn_near};
use crate::bridge::sip::TlsError;
use crate::crm::relay::{Settings, SettingsError, path};
use crate::crm::settings::Endpoint;
use crate::crm::{Request, Response};
use crate::outbox::relay::meter::{Lease, Limits, Meter, Wait};
use crate::outbox::relay::settings::Way;
use crate::outbox::relay::{Class, pack, status};
use crate::outbox::store::Traffic;

/// Orders on their way to the link.
const ORDERS: usize = 64;

/// The link to one relay.
pub(super) struct Relay {
    id: String,
    way: Way,
    limits: Limits,
    tls: Arc<Tls>,
    patience: Duration,
    sound: bool,
    running: OnceLock<(mpsc::Sender<Order>, Arc<State>)>,
}

/// Why there can be no link.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A certificate or key.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The address where the relay opens it.
    #[error(
        "[[endpoint]] id = \"{endpoint}\": relay.listen = \"{address}\": {source}; choose an address of this machine and a free port"
    )]
    Listen {
        /// The endpoint.
        endpoint: String,
        /// The address.
        address: String,
        /// Why.
        source: std::io::Error,
    },
}

impl Relay {
    /// Opens nothing yet.
    pub(super) fn new(endpoint: &Endpoint, settings: &Settings) -> Result<Relay, Error> {
        let wrong = |(key, problem): (&str, String)| SettingsError {
            endpoint: endpoint.id.clone(),
            key: format!("relay.{key}"),
            problem,
        };
        let way = settings.way().map_err(wrong)?;
        let file = |key: &'static str, path: &PathBuf| (key, path.clone());
        let tls = Tls::load(Files {
            section: format!("[[endpoint]] id = \"{}\":", endpoint.id),
            certificate: file("client_cert_file", &endpoint.client_cert_file),
            key: file("client_key_file", &endpoint.client_key_file),
            authority: file("ca_file", &endpoint.ca_file),
            peer: way.peer.clone(),
        })?;
        Ok(Relay {
            id: endpoint.id.clone(),
            limits: settings.limits().map_err(wrong)?,
            way,
            sound: settings.sound,
            tls: Arc::new(tls),
            patience: Duration::from_millis(endpoint.timeout_ms.max(1)),
            running: OnceLock::new(),
        })
    }

    async fn carry(&self, request: Request, count: Count<'_>) -> Result<Response, String> {
        let none = || "there is no link to the relay".to_string();
        let (orders, state) = self.running.get().ok_or_else(none)?;
        let class = Class::ALL.into_iter().find(|class| path(*class) == request.path).unwrap_or(Class::Record);
        if !state.is_up() {
            return state.rests(class).map(|wait| waits(Wait::Day(wait))).ok_or_else(none);
        }
        let packed = match tokio::task::spawn_blocking(move || pack::pack(class, &request.body)).await {
            Ok(Ok(packed)) => packed,
            Ok(Err(error)) => return Ok(response(status::TOO_LONG, error.to_string())),
            Err(_) => return Err("it could not be packed".into()),
        };
        count(Traffic { requests: 1, ..Traffic::default() });
        let (answer, told) = oneshot::channel();
        orders.send(Order::Carry { class, packed, answer }).await.map_err(|_| none())?;
        match told.await {
            Ok(Told::Answer(status, why)) => Ok(response(status, why)),
            Ok(Told::Waits(wait)) => Ok(waits(wait)),
            Err(_) => Err("the link was cut before the relay answered".into()),
        }
    }
}

fn response(status: u16, why: String) -> Response {
    Response { status, retry_after: None, load: None, body: why.into_bytes() }
}

fn waits(wait: Wait) -> Response {
    let (status, wait, why) = match wait {
        Wait::Day(wait) => (status::USED_UP, wait, "the link's bytes of the day are used up"),
        Wait::Night(wait) => (status::NOT_YET, wait, "it waits for the night"),
    };
    Response { retry_after: Some((wait.as_secs() + 1).to_string()), ..response(status, why.into()) }
}

impl Wire for Relay {
    fn send<'a>(&'a self, request: Request, count: Count<'a>) -> BoxFuture<'a, Result<Response, String>> {
        Box::pin(self.carry(request, count))
    }

    fn reload(&self) {
        if let Err(error) = self.tls.reload() {
            tracing::error!(%error, "the link's certificates stay as they were");
        }
    }

    fn start(&self, start: Start<'_>) -> Result<(), super::Error> {
        let key = format!("link {}", self.id);
        let noted = start.outbox.noted(&key)?.map_or(0, |text| Lease::used(&text, now().wall));
        let used = noted.max(start.today.bytes_out + start.today.bytes_in);
        let state = Arc::new(State::new(Meter::new(self.limits, used, now())));
        let (orders, taken) = mpsc::channel(ORDERS);
        let spawned = spawn_near(Needs {
            way: self.way.clone(),
            tls: Arc::clone(&self.tls),
            outbox: start.outbox.clone(),
            key,
            state: Arc::clone(&state),
            tell: start.tell,
            patience: self.patience,
            orders: taken,
        });
        spawned.map_err(|source| Error::Listen {
            endpoint: self.id.clone(),
            address: format!("{:?}", self.way.opens),
            source,
        })?;
        if self.sound {
            let own = format!("sound {}", self.id);
            tokio::spawn(Courier::new(start.outbox.clone(), own, orders.downgrade()).run());
        }
        let _ = self.running.set((orders, state));
        Ok(())
    }

    fn link(&self) -> Option<Link> {
        self.running.get().map(|(_, state)| Link { up: state.is_up(), left: state.left() })
    }

    fn end(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let (ended, wait) = oneshot::channel();
            let Some((orders, _)) = self.running.get() else { return };
            if orders.send(Order::End(ended)).await.is_ok() {
                let _ = wait.await;
            }
        })
    }
}

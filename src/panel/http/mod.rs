//! The panel's web server: the embedded page, the live feed and the API.

mod annotate;
mod api;
mod context;
mod control;
mod correct;
mod deliveries;
mod events;
mod guard;
mod handle;
mod openapi;
mod patient;
pub(crate) mod routes;
pub(crate) mod server;
mod stream;
mod web_calls;

pub use control::{Control, Controller, Pause, Stored};
pub use deliveries::{Deliveries, Endpoint, EndpointState, SinceStart};
pub use events::Events;
pub use handle::FeedHandle;
pub use openapi::document as openapi;
pub use web_calls::{OpenedCall, Opener, WebCall, WebCallRefused};

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use self::guard::Guard;
use self::routes::Shared;
use self::server::Server;
use super::settings::Token;
use super::{Error, Settings};
use crate::time::Wall;

/// The running panel; it ends with `close` or when this is dropped.
#[derive(Debug)]
pub struct PanelHandle {
    /// Where it listens, with the port that the system chose for port 0.
    pub local_addr: SocketAddr,
    ready: Ready,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// Writes the metrics, in the text format of Prometheus.
pub type Metrics = Box<dyn Fn() -> String + Send + Sync>;

/// Says on `/readyz` whether the bridge can take calls.
#[derive(Clone)]
pub struct Ready(Arc<Shared>);

impl Ready {
    /// `true`: `/readyz` answers 200, else 503. A panel starts not ready.
    pub fn set(&self, ready: bool) {
        self.0.ready.store(ready, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Ready {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Ready").field(&self.0.ready).finish()
    }
}

impl PanelHandle {
    /// For whoever knows when the bridge is ready.
    pub fn ready(&self) -> Ready {
        self.ready.clone()
    }

    /// What `/metrics` answers from now on; it is asked at each request. The first one counts.
    pub fn tell_metrics(&self, metrics: Metrics) {
        let _ = self.ready.0.metrics.set(metrics);
    }

    /// Who answers `GET /v1/events/{id}` from now on. The first one counts.
    pub fn tell_events(&self, events: Events) {
        let _ = self.ready.0.events.set(events);
    }

    /// Who answers `/v1/deliveries`, `/v1/endpoints` and `/v1/traffic` from now on. The first one counts.
    pub fn tell_deliveries(&self, deliveries: Arc<dyn Deliveries>) {
        let _ = self.ready.0.deliveries.set(deliveries);
    }

    /// Reads who may be let in by these settings, and changes nothing yet: tokens, clients and what they may do, host names, sign-in.
    ///
    /// # Errors
    /// [`Error`] names the key.
    pub async fn prepare(&self, settings: &Settings) -> Result<Admission, Error> {
        settings.check()?;
        Ok(Admission(Secrets::read(settings).await?.guard(settings, self.local_addr)))
    }

    /// Lets in whom it says from the next request on. Operators stay signed in while the panel's token is the same; live feeds go on.
    pub fn admit(&self, Admission(fresh): Admission) {
        let mut guard = self.ready.0.guard.write().unwrap_or_else(PoisonError::into_inner);
        fresh.keep_sessions_of(&guard);
        *guard = Arc::new(fresh);
    }

    /// Stops listening and ends all connections; browsers connect again by themselves.
    pub async fn close(self) {
        self.stop.send_replace(true);
        // a panic of the accept loop has been reported by the runtime
        let _ = self.task.await;
    }
}

/// Starts the panel. `controller` carries out what is asked of contacts; without one the panel only shows.
///
/// # Errors
/// [`Error`] names the key or the address and what to do: no token on an open address, port in use, unreadable token file.
pub async fn spawn(settings: Settings, feed: FeedHandle, controller: Option<Controller>) -> Result<PanelHandle, Error> {
    spawn_with(settings, Default::default(), feed, controller, None).await
}

/// The same, with limits of contexts and somebody who opens web calls (`POST /v1/web-calls`).
///
/// # Errors
/// As [`spawn`].
pub async fn spawn_with(
    settings: Settings,
    limits: crate::call::context::Settings,
    feed: FeedHandle,
    controller: Option<Controller>,
    opener: Option<Opener>,
) -> Result<PanelHandle, Error> {
    settings.check()?;
    let secrets = Secrets::read(&settings).await?;
    let listen = settings.listen;
    let listener = TcpListener::bind(listen).await.map_err(|source| Error::Listen { listen, source })?;
    let local_addr = listener.local_addr().map_err(|source| Error::Listen { listen, source })?;
    let shared = Arc::new(Shared {
        feed,
        controller,
        opener,
        guard: RwLock::new(Arc::new(secrets.guard(&settings, local_addr))),
        ready: AtomicBool::new(false),
        metrics: OnceLock::new(),
        events: OnceLock::new(),
        deliveries: OnceLock::new(),
        clients: Arc::new(Semaphore::new(settings.max_clients)),
        keep_alive: Duration::from_millis(settings.keep_alive_ms),
        body_timeout: Duration::from_millis(settings.header_timeout_ms),
        context: limits,
    });
    let ready = Ready(Arc::clone(&shared));
    let server = Server {
        name: "panel",
        max_connections: settings.max_connections,
        header_timeout: Duration::from_millis(settings.header_timeout_ms),
        write_timeout: Duration::from_millis(settings.write_timeout_ms),
        router: routes::router(shared),
    };
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(server.run(listener, stopped));
    tracing::info!(%local_addr, "panel listens");
    Ok(PanelHandle { local_addr, ready, stop, task })
}

/// The tokens of a panel and its clients, as their files have them.
struct Secrets {
    token: Token,
    clients: Vec<(String, Token)>,
}

impl Secrets {
    async fn read(settings: &Settings) -> Result<Secrets, Error> {
        let token = read_token(&settings.token, &settings.token_file).await?;
        let mut clients: Vec<(String, Token)> = Vec::new();
        for client in &settings.client {
            let own = read_token(&client.token, &client.token_file).await?;
            if own == token || clients.iter().any(|(_, other)| *other == own) {
                let problem = "its token is another's too; expected one of its own".to_string();
                return Err(Error::Client { id: client.id.clone(), problem });
            }
            clients.push((client.id.clone(), own));
        }
        Ok(Secrets { token, clients })
    }

    fn guard(&self, settings: &Settings, bound: SocketAddr) -> Guard {
        Guard::new(settings, &self.token, &self.clients, bound)
    }
}

/// Who is let in from [`PanelHandle::admit`] on.
pub struct Admission(Guard);

async fn read_token(token: &Token, file: &std::path::Path) -> Result<Token, Error> {
    if file.as_os_str().is_empty() {
        return Ok(token.clone());
    }
    let text = tokio::fs::read_to_string(file).await;
    let text = text.map_err(|source| Error::TokenFile { path: file.into(), source })?;
    let token = Token::new(text.lines().next().unwrap_or_default());
    token.check("token_file")?;
    Ok(token)
}

/// The system's clock; the panel is at the edge.
fn wall() -> Wall {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Wall(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

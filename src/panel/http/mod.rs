//! The panel's web server: our own accept loop, because `axum::serve` sets no timer and so has no header timeout (slowloris).
//!
//! Every connection has a place below the cap or is answered 503; a request's header, a quiet connection and a peer that takes nothing
//! of what is written to it are limited in time. Nothing about requests is logged but counts.

mod annotate;
mod context;
mod control;
mod guard;
mod handle;
mod patient;
mod routes;
mod stream;

pub use control::{Control, Controller, Pause, Stored};
pub use handle::FeedHandle;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};

use self::guard::Guard;
use self::patient::Patient;
use self::routes::Shared;
use super::settings::Token;
use super::{Error, Settings};
use crate::time::Wall;

/// Header fields of a request.
const HEADERS: usize = 64;
/// Bytes of a request's header.
const HEADER_BYTES: usize = 16 * 1024;
/// Pause after a failed accept (no file descriptors left), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The answer above the connection cap.
const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// The running panel; it ends with `close` or when this is dropped.
#[derive(Debug)]
pub struct PanelHandle {
    /// Where it listens, with the port that the system chose for port 0.
    pub local_addr: SocketAddr,
    ready: Ready,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

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
    spawn_with(settings, Default::default(), feed, controller).await
}

/// Starts the panel with other limits of contexts than the usual ones.
///
/// # Errors
/// As [`spawn`].
pub async fn spawn_with(
    settings: Settings,
    limits: crate::call::context::Settings,
    feed: FeedHandle,
    controller: Option<Controller>,
) -> Result<PanelHandle, Error> {
    settings.check()?;
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
    let listen = settings.listen;
    let listener = TcpListener::bind(listen).await.map_err(|source| Error::Listen { listen, source })?;
    let local_addr = listener.local_addr().map_err(|source| Error::Listen { listen, source })?;
    let shared = Arc::new(Shared {
        feed,
        controller,
        guard: Guard::new(&settings, &token, &clients, local_addr),
        ready: AtomicBool::new(false),
        clients: Arc::new(Semaphore::new(settings.max_clients)),
        keep_alive: Duration::from_millis(settings.keep_alive_ms),
        body_timeout: Duration::from_millis(settings.header_timeout_ms),
        context: limits,
    });
    let ready = Ready(Arc::clone(&shared));
    let server = Server { settings, router: routes::router(shared) };
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(server.run(listener, stopped));
    tracing::info!(%local_addr, "panel listens");
    Ok(PanelHandle { local_addr, ready, stop, task })
}

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

struct Server {
    settings: Settings,
    router: Router,
}

impl Server {
    async fn run(self, listener: TcpListener, mut stopped: watch::Receiver<bool>) {
        let places = Arc::new(Semaphore::new(self.settings.max_connections));
        let mut connections = JoinSet::new();
        let mut refused = 0_u64;
        loop {
            let accepted = tokio::select! {
                _ = stopped.changed() => break,
                Some(_) = connections.join_next(), if !connections.is_empty() => continue,
                accepted = listener.accept() => accepted,
            };
            match (accepted, Arc::clone(&places).try_acquire_owned()) {
                (Ok((stream, _)), Ok(place)) => {
                    let connection = self.connection(stream);
                    connections.spawn(async move {
                        connection.await;
                        drop(place);
                    });
                }
                (Ok((stream, _)), Err(_)) => {
                    refused += 1;
                    if refused.is_power_of_two() {
                        tracing::warn!(refused, "panel: connections above [panel] max_connections are answered 503");
                    }
                    // best effort: the socket's buffer is empty, so this does not wait
                    let _ = stream.try_write(FULL);
                }
                (Err(error), _) => {
                    tracing::warn!(%error, "panel: accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        connections.shutdown().await;
    }

    fn connection(&self, stream: TcpStream) -> impl Future<Output = ()> + Send + use<> {
        let header_timeout = Duration::from_millis(self.settings.header_timeout_ms);
        let write_timeout = Duration::from_millis(self.settings.write_timeout_ms);
        let service = TowerToHyperService::new(self.router.clone());
        async move {
            // text of a few bytes has to leave at once; without it the page is only slower
            let _ = stream.set_nodelay(true);
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(header_timeout)
                .max_headers(HEADERS)
                .max_buf_size(HEADER_BYTES)
                .serve_connection(TokioIo::new(Patient::new(stream, write_timeout)), service)
                .await;
            if served.is_err() {
                tracing::debug!("panel: a connection ended early");
            }
        }
    }
}

/// The system's clock; the panel is at the edge.
fn wall() -> Wall {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Wall(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

//! One Asterisk at the edge: event socket, requests and streams; drives [`crate::pbx::asterisk::Ari`].
//!
//! Everything runs in one task. When the hub is full, events wait in the socket; Asterisk then closes it after its own write time-out,
//! and the next connection resynchronises: nothing is guessed, nothing grows. Requests run at most `requests_at_once` together.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use tracing::{debug, error, info, warn};

use crate::bridge::Input;
use crate::bridge::asterisk_media::Doors;
use crate::bridge::media::MediaHandle;
use crate::call::line::Lines;
use crate::media::Source;
use crate::pbx::asterisk::request::{Answer, RequestId};
use crate::pbx::asterisk::{Ari, Carrier, Output, Settings};
use crate::pbx::{PbxId, StreamId, Wanted};
use crate::time::{Mono, Now};

use self::carried::Carried;
use self::http::Http;

mod carried;
pub(super) mod http;

/// Answers that wait for the task.
const DONE_MAX: usize = 1_024;
/// How long stopping may take.
const STOP: Duration = Duration::from_millis(1_500);

/// Why an Asterisk cannot be observed at all. (One that does not answer yet is tried again.)
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting cannot be used.
    #[error("[pbx.ari] of `{pbx}`: `{key}` is {found:?}; expected {expected}")]
    Setting {
        /// Which PBX.
        pbx: String,
        /// The key.
        key: &'static str,
        /// What it holds (never the password).
        found: String,
        /// What it should hold.
        expected: &'static str,
    },
    /// The password file cannot be read.
    #[error(
        "[pbx.ari] of `{pbx}`: `password_file` {path:?} cannot be read: {reason}; it should hold the password in its first line"
    )]
    PasswordFile {
        /// Which PBX.
        pbx: String,
        /// The file.
        path: String,
        /// What the system said.
        reason: std::io::Error,
    },
    /// User or password is wrong.
    #[error(
        "[pbx.ari] of `{pbx}`: Asterisk at {url} refused user {user:?} (status {status}); expected a user of its ari.conf with the same \
         password: compare `user` and `password` with ari.conf, then `module reload res_ari.so` in Asterisk's console"
    )]
    Refused {
        /// Which PBX.
        pbx: String,
        /// Where.
        url: String,
        /// Who.
        user: String,
        /// 401 or 403.
        status: u16,
    },
    /// Something else answers there.
    #[error(
        "[pbx.ari] of `{pbx}`: {url} answered with status {status}; expected Asterisk's ARI: `url` ends with /ari (and the prefix of \
         http.conf, if it has one), `enabled = yes` stands in http.conf and ari.conf"
    )]
    NotAri {
        /// Which PBX.
        pbx: String,
        /// Where.
        url: String,
        /// What it answered.
        status: u16,
    },
}

/// A running driver.
#[derive(Debug)]
pub struct AriHandle {
    stop: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
}

impl AriHandle {
    /// Removes what was added to Asterisk, closes the streams and ends the task (within 1.5 s).
    pub async fn stop(mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if timeout(STOP * 2, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

/// Starts observing one Asterisk; its taps may be carried through `doors`. One that does not answer is tried again until it does; a wrong password is an error at once.
///
/// # Errors
/// A setting that cannot work, a password file that cannot be read, a refused user, or something that is not ARI.
pub async fn spawn(
    pbx: PbxId,
    settings: Settings,
    lines: Arc<Lines>,
    media: MediaHandle,
    doors: Doors,
    hub: mpsc::Sender<Input>,
) -> Result<AriHandle, Error> {
    carried::check(&pbx, &settings, &doors)?;
    let http = Http::new(&pbx, &settings)?;
    match http.check().await {
        Some(status @ (401 | 403)) => return Err(http.refused(&pbx, status)),
        Some(200..=299) => {}
        Some(503) => warn!(pbx = pbx.0, url = settings.url, "Asterisk is still starting; trying again until it is up"),
        Some(status) => return Err(Error::NotAri { pbx: pbx.0, url: settings.url, status }),
        None => warn!(pbx = pbx.0, url = settings.url, "Asterisk does not answer yet; trying again until it does"),
    }
    let policy = Box::new(move |called: &str| {
        let line = lines.policy(called);
        Wanted { record: line.record, transcribe: line.transcribe }
    });
    let (stop, stopped) = oneshot::channel();
    let (done, results) = mpsc::channel(DONE_MAX);
    let at_once = Arc::new(Semaphore::new(usize::try_from(settings.requests_at_once.max(1)).unwrap_or(1)));
    let mut ari = Ari::new(pbx.clone(), settings.clone(), policy);
    ari.set_secret(carried::secret());
    let carried = HashMap::new();
    let driver = Driver { pbx, settings, ari, http, media, doors, carried, hub, done, at_once };
    Ok(AriHandle { stop: Some(stop), task: tokio::spawn(driver.run(results, stopped)) })
}

/// What a side task brings back.
#[derive(Debug)]
enum Done {
    Answer(RequestId, Answer),
    Opened(StreamId, Result<u16, String>),
    /// The connection that carried a tap is gone.
    Cut(StreamId, String),
}

/// How a connection ended.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    Lost,
    Stopped,
}

struct Driver {
    pbx: PbxId,
    settings: Settings,
    ari: Ari,
    http: Http,
    media: MediaHandle,
    doors: Doors,
    /// Taps whose sound comes by a connection of its own.
    carried: HashMap<StreamId, Carried>,
    hub: mpsc::Sender<Input>,
    done: mpsc::Sender<Done>,
    at_once: Arc<Semaphore>,
}

type Socket = WebSocketStream<TcpStream>;

impl Driver {
    async fn run(mut self, mut results: mpsc::Receiver<Done>, mut stopped: oneshot::Receiver<()>) {
        let mut pause = self.settings.reconnect_min_ms;
        loop {
            let attempt = Instant::now();
            match self.connect().await {
                Ok(socket) => {
                    info!(pbx = self.pbx.0, "connected to Asterisk");
                    self.ari.handle_connected(super::now());
                    let ended = self.converse(socket, &mut results, &mut stopped).await;
                    self.ari.handle_disconnected(super::now());
                    self.carry_out().await;
                    if ended == Ended::Stopped {
                        return;
                    }
                    warn!(pbx = self.pbx.0, calls = self.ari.calls(), "lost the connection to Asterisk");
                    if attempt.elapsed() > Duration::from_millis(self.settings.reconnect_max_ms) {
                        pause = self.settings.reconnect_min_ms;
                    }
                }
                Err(reason) => warn!(pbx = self.pbx.0, reason, pause_ms = pause, "no connection to Asterisk"),
            }
            if self.wait(Duration::from_millis(pause), &mut results, &mut stopped).await == Ended::Stopped {
                return;
            }
            pause = pause.saturating_mul(2).clamp(1, self.settings.reconnect_max_ms.max(1));
        }
    }

    /// Opens the event socket.
    async fn connect(&self) -> Result<Socket, String> {
        let limit = Duration::from_millis(self.settings.request_timeout_ms);
        let (address, request, config) = self.http.event_socket(&self.settings)?;
        let open = async {
            let stream = TcpStream::connect(address).await.map_err(|e| e.to_string())?;
            stream.set_nodelay(true).map_err(|e| e.to_string())?;
            match client_async_with_config(request, stream, Some(config)).await {
                Ok((socket, _)) => Ok(socket),
                Err(SocketError::Http(answer)) => {
                    Err(format!("the event socket was refused with status {}", answer.status()))
                }
                Err(e) => Err(e.to_string()),
            }
        };
        timeout(limit, open).await.unwrap_or_else(|_| Err(format!("no answer within {} ms", limit.as_millis())))
    }

    /// Reads events until the socket is lost or the driver is stopped.
    async fn converse(
        &mut self,
        mut socket: Socket,
        results: &mut mpsc::Receiver<Done>,
        stopped: &mut oneshot::Receiver<()>,
    ) -> Ended {
        let ping = Duration::from_millis(self.settings.ping_ms.max(100));
        let mut heard = Instant::now();
        let mut pinged = heard;
        loop {
            self.carry_out().await;
            let due = self.due();
            tokio::select! {
                message = socket.next() => match message {
                    Some(Ok(message)) => {
                        heard = Instant::now();
                        if !self.message(&message) {
                            return Ended::Lost;
                        }
                    }
                    Some(Err(e)) => {
                        debug!(pbx = self.pbx.0, kind = kind(&e), "event socket ended");
                        return Ended::Lost;
                    }
                    None => return Ended::Lost,
                },
                Some(done) = results.recv() => self.done(done),
                () = sleep_until(due) => self.ari.handle_timeout(super::now()),
                () = sleep_until(heard.max(pinged) + ping) => {
                    if heard.elapsed() > ping * 2 {
                        return Ended::Lost;
                    }
                    pinged = Instant::now();
                    if !matches!(timeout(ping, socket.send(Message::Ping(Vec::new().into()))).await, Ok(Ok(()))) {
                        return Ended::Lost;
                    }
                }
                _ = &mut *stopped => {
                    self.wind_up(&mut socket, results).await;
                    return Ended::Stopped;
                }
            }
        }
    }

    /// Waits before the next attempt, still carrying on with answers and timers.
    async fn wait(
        &mut self,
        pause: Duration,
        results: &mut mpsc::Receiver<Done>,
        stopped: &mut oneshot::Receiver<()>,
    ) -> Ended {
        let until = Instant::now() + pause;
        loop {
            self.carry_out().await;
            let due = self.due();
            tokio::select! {
                Some(done) = results.recv() => self.done(done),
                () = sleep_until(due) => self.ari.handle_timeout(super::now()),
                () = sleep_until(until) => return Ended::Lost,
                _ = &mut *stopped => {
                    self.ari.handle_stop(super::now());
                    self.carry_out().await;
                    return Ended::Stopped;
                }
            }
        }
    }

    /// Removes our channels before the end.
    async fn wind_up(&mut self, socket: &mut Socket, results: &mut mpsc::Receiver<Done>) {
        self.ari.handle_stop(super::now());
        let until = Instant::now() + STOP;
        while self.ari.streams() > 0 || self.ari.requests_under_way() > 0 {
            self.carry_out().await;
            let due = self.due();
            tokio::select! {
                message = socket.next() => match message {
                    Some(Ok(message)) => { self.message(&message); }
                    _ => break,
                },
                Some(done) = results.recv() => self.done(done),
                () = sleep_until(due) => self.ari.handle_timeout(super::now()),
                () = sleep_until(until) => break,
            }
        }
        self.carry_out().await;
    }

    /// One message of the event socket; false at its end.
    fn message(&mut self, message: &Message) -> bool {
        match message {
            Message::Text(text) => {
                if let Err(e) = self.ari.handle_event(text, super::now()) {
                    warn!(pbx = self.pbx.0, "{e}");
                }
                true
            }
            Message::Close(_) => false,
            _ => true,
        }
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Answer(id, answer) => {
                if matches!(answer, Answer::Response { status: 401 | 403, .. }) {
                    error!(pbx = self.pbx.0, "{}", self.http.refused(&self.pbx, 403));
                }
                self.ari.handle_answer(id, &answer, super::now());
            }
            Done::Opened(stream, port) => self.ari.handle_opened(stream, port, super::now()),
            Done::Cut(stream, reason) => {
                debug!(pbx = self.pbx.0, stream = %stream.0, reason, "the connection of a tap is gone");
                self.ari.handle_cut(stream, reason, super::now());
            }
        }
    }

    /// Does what the machine wants.
    async fn carry_out(&mut self) {
        while let Some(output) = self.ari.poll_output() {
            match output {
                Output::Signal(observed) => {
                    if self.hub.send(Input::Observed(observed)).await.is_err() {
                        debug!(pbx = self.pbx.0, "the hub is gone");
                    }
                }
                Output::Request(request) => {
                    let (http, done, at_once) = (self.http.clone(), self.done.clone(), self.at_once.clone());
                    tokio::spawn(async move {
                        let Ok(_permit) = at_once.acquire().await else { return };
                        let id = request.id;
                        let answer = http.send(request).await;
                        let _ = done.send(Done::Answer(id, answer)).await;
                    });
                }
                Output::Open { stream, wanted, name } => match self.settings.media {
                    Carrier::Rtp => self.open_rtp(stream, wanted),
                    Carrier::Audiosocket | Carrier::Websocket => self.open_carried(stream, wanted, &name),
                },
                Output::Connect { stream, connection } => self.connect_media(stream, &connection),
                Output::Expect { stream, source: (address, port) } => match address.parse::<IpAddr>() {
                    Ok(address) if !address.is_unspecified() => {
                        self.media.set_source(stream, Source::Exactly(SocketAddr::new(address, port)));
                    }
                    _ => {
                        warn!(pbx = self.pbx.0, stream = %stream.0, "Asterisk did not say where it sends from; the first sender is taken");
                        self.media.set_source(stream, Source::First);
                    }
                },
                Output::Close(stream) => {
                    self.carried.remove(&stream);
                    self.media.close(stream);
                }
                Output::Replaced => error!(
                    pbx = self.pbx.0,
                    app = self.settings.app,
                    "another program took over this ARI application: give each bridge its own `app`"
                ),
            }
        }
    }

    fn due(&self) -> Instant {
        let Now { mono, .. } = super::now();
        let at = self.ari.poll_timeout().unwrap_or(mono + Duration::from_secs(60));
        Instant::now() + Mono::since(at, mono)
    }
}

/// The kind of a socket error, for logs (its text may quote a message).
fn kind(error: &SocketError) -> &'static str {
    match error {
        SocketError::ConnectionClosed | SocketError::AlreadyClosed => "closed",
        SocketError::Io(_) => "io",
        SocketError::Capacity(_) => "an event was larger than event_max_bytes",
        SocketError::Protocol(_) => "protocol",
        SocketError::Utf8(_) => "not UTF-8",
        _ => "other",
    }
}

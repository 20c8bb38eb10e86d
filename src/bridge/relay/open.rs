//! Opens links, from the end that may: TCP, mutual TLS, the greeting. What comes out has proved who it is.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsStream;

use super::tally::{Counted, Tally};
use super::tls::Tls;
use crate::bridge::now;
use crate::outbox::relay::frame::{Frame, Frames, Role};
use crate::outbox::relay::greet::{Fault, greeted, hello};
use crate::outbox::relay::meter::HANDSHAKE;
use crate::outbox::relay::settings::{Opens, Way};
use crate::time::Mono;

/// Time for TCP, TLS and the greeting together.
const OPENING: Duration = Duration::from_secs(10);
/// Connections that have not greeted yet.
const STRANGERS: usize = 8;
/// The first pause after a failure, and the longest; each is twice the one before, with a jitter between half and all of it.
const PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Bytes that may wait in the kernel unsent: what is behind them is still ours to put in another order.
const UNSENT: u32 = 16 * 1024;

/// A link that both ends have agreed on.
pub(super) struct Stream {
    pub(super) tls: TlsStream<Counted>,
    /// What has come after the greeting.
    pub(super) frames: Frames,
}

type Attempt = Result<Stream, String>;

/// One end of links to come.
pub(super) struct Opener {
    role: Role,
    way: Way,
    tls: Arc<Tls>,
    tally: Arc<Tally>,
    listener: Option<TcpListener>,
    attempts: JoinSet<Attempt>,
    failures: u32,
    not_before: Mono,
    /// The last failure that was logged: the same one is told once.
    told: String,
}

impl Opener {
    /// Binds where the other end opens; connects to nobody yet.
    pub(super) fn new(role: Role, way: Way, tls: Arc<Tls>, tally: Arc<Tally>) -> std::io::Result<Opener> {
        let listener = bind(&way)?;
        let attempts = JoinSet::new();
        Ok(Opener {
            role,
            way,
            tls,
            tally,
            listener,
            attempts,
            failures: 0,
            not_before: now().mono,
            told: String::new(),
        })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.listener.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// Nobody is let in, and nobody called.
    pub(super) fn rest(&mut self) {
        self.listener = None;
        self.attempts.abort_all();
    }

    /// A link ended; `useful`: something was said on it.
    pub(super) fn ended(&mut self, useful: bool) {
        self.failures = if useful { 0 } else { self.failures + 1 };
        self.not_before = now().mono + self.pause();
    }

    /// The next link; may be dropped and asked again.
    pub(super) async fn next(&mut self) -> Stream {
        loop {
            if matches!(self.way.opens, Opens::Other(_)) && self.listener.is_none() {
                self.listen_again().await;
                continue;
            }
            let room = self.attempts.len() < STRANGERS;
            let may_call = self.listener.is_none() && self.attempts.is_empty();
            let wait = self.not_before.since(now().mono);
            tokio::select! {
                Some(done) = self.attempts.join_next(), if !self.attempts.is_empty() => match done {
                    Ok(Ok(stream)) => {
                        self.told.clear();
                        return stream;
                    }
                    Ok(Err(why)) => self.failed(why),
                    Err(_) => {}
                },
                stream = accept(self.listener.as_ref()), if room => self.begin(stream),
                () = tokio::time::sleep(wait), if may_call => self.call(),
            }
        }
    }

    /// A newer link beside one that is open, where the other end opens them.
    pub(super) async fn newer(&mut self) -> Stream {
        match self.way.opens {
            Opens::Own(_) => std::future::pending().await,
            Opens::Other(_) => self.next().await,
        }
    }

    fn begin(&mut self, stream: TcpStream) {
        let (tls, tally, role) = (Arc::clone(&self.tls), Arc::clone(&self.tally), self.role);
        self.attempts.spawn(in_time(async move {
            let (counted, ceiling) = Counted::new(prepared(stream), tally, HANDSHAKE);
            let stream = greet(tls.accept(counted).await?, role).await?;
            ceiling.lift();
            Ok(stream)
        }));
    }

    fn call(&mut self) {
        let Opens::Own(to) = self.way.opens.clone() else { return };
        let (tls, tally, role) = (Arc::clone(&self.tls), Arc::clone(&self.tally), self.role);
        self.attempts.spawn(in_time(async move {
            let stream = TcpStream::connect(&to).await.map_err(|error| format!("{to}: {error}"))?;
            let (counted, ceiling) = Counted::new(prepared(stream), tally, HANDSHAKE);
            let stream = greet(tls.connect(counted).await?, role).await?;
            ceiling.lift();
            Ok(stream)
        }));
    }

    fn failed(&mut self, why: String) {
        self.failures += 1;
        self.not_before = now().mono + self.pause();
        if why != self.told {
            tracing::warn!(why, "no link; it is tried again");
            self.told = why;
        }
    }

    fn pause(&self) -> Duration {
        let whole = PAUSE.saturating_mul(1 << self.failures.saturating_sub(1).min(16)).min(LONGEST_PAUSE);
        whole.mul_f64(0.5 + crate::bridge::deliver::chance() / 2.0)
    }

    async fn listen_again(&mut self) {
        match bind(&self.way) {
            Ok(listener) => self.listener = listener,
            Err(error) => {
                self.failed(format!("cannot listen: {error}"));
                tokio::time::sleep(self.pause()).await;
            }
        }
    }
}

fn bind(way: &Way) -> std::io::Result<Option<TcpListener>> {
    let Opens::Other(address) = &way.opens else { return Ok(None) };
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener).map(Some)
}

async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    let Some(listener) = listener else { return std::future::pending().await };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            // no file descriptors left: soon there are some again
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn in_time(attempt: impl Future<Output = Attempt>) -> Attempt {
    let late = |_| Err(format!("the other end did not greet within {} s", OPENING.as_secs()));
    tokio::time::timeout(OPENING, attempt).await.unwrap_or_else(late)
}

/// Options that only make the link better; without them it works.
fn prepared(stream: TcpStream) -> TcpStream {
    let _ = stream.set_nodelay(true);
    let socket = SockRef::from(&stream);
    let _ = socket.set_tcp_notsent_lowat(UNSENT);
    let _ = socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(Duration::from_secs(300)));
    stream
}

/// Both ends say hello; what does not fit is told to the other end in words.
async fn greet(mut tls: TlsStream<Counted>, role: Role) -> Attempt {
    let gone = |error: std::io::Error| format!("the other end hung up before it greeted: {error}");
    let mut out = BytesMut::new();
    hello(role).write(&mut out);
    tls.write_all(&out).await.map_err(gone)?;
    tls.flush().await.map_err(gone)?;
    let mut frames = Frames::default();
    let first = loop {
        match frames.next() {
            Ok(Some(frame)) => break Ok(frame),
            Ok(None) => {}
            Err(malformed) => break Err(Fault::from(malformed)),
        }
        if tls.read_buf(frames.buffer()).await.map_err(gone)? == 0 {
            return Err("the other end hung up before it greeted".into());
        }
    };
    let Err(fault) = first.and_then(|frame| greeted(&frame, role)) else { return Ok(Stream { tls, frames }) };
    farewell(&mut tls, &fault).await;
    Err(fault.to_string())
}

/// The last words; whether they arrive does not matter.
pub(super) async fn farewell(tls: &mut (impl AsyncWriteExt + Unpin), fault: &Fault) {
    bye(tls, fault.farewell(), &fault.to_string()).await;
}

/// As [`farewell`], with these words.
pub(super) async fn bye(
    tls: &mut (impl AsyncWriteExt + Unpin),
    farewell: crate::outbox::relay::frame::Farewell,
    why: &str,
) {
    let mut out = BytesMut::new();
    Frame::Bye { farewell, why: why.into() }.write(&mut out);
    let last = async {
        let _ = tls.write_all(&out).await;
        let _ = tls.shutdown().await;
    };
    let _ = tokio::time::timeout(Duration::from_secs(1), last).await;
}

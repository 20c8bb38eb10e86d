//! One SIP conversation with the exchange, over UDP or a connection: messages out, answers in, with limits on time and amount.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout, timeout_at};

use super::Stop;
use crate::pbx::sip::header::CSeq;
use crate::pbx::sip::message::{Message, Start};
use crate::pbx::sip::request::answer;
use crate::pbx::sip::wire::{Item, Limits, StreamReader, read_datagram, write};
use crate::probe::facts::{Failure, Way};

/// Time for connecting, and for one write.
const CONNECT: Duration = Duration::from_secs(3);
/// RFC 3261 T1: the first repetition over UDP.
const T1: Duration = Duration::from_millis(500);
/// Bytes that are read of one exchange in one conversation.
const BYTES_MAX: usize = 1 << 20;
/// Requests of the exchange that wait to be looked at.
const REQUESTS_MAX: usize = 64;

/// A stream that carries SIP.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

enum Wire {
    Datagrams(UdpSocket),
    Stream(Box<dyn Stream>, StreamReader),
}

/// One conversation.
pub(super) struct Link {
    wire: Wire,
    /// Our end.
    pub(super) local: SocketAddr,
    limits: Limits,
    /// Bytes that may still come.
    left: usize,
    /// Requests of the exchange.
    pub(super) requests: VecDeque<Message>,
    /// A call is being ended: the user's wish to stop does not cut that short.
    pub(super) closing: bool,
    stop: Stop,
}

impl Link {
    /// Opens a conversation by UDP or TCP.
    pub(super) async fn open(way: Way, peer: SocketAddr, stop: &Stop) -> Result<Link, Failure> {
        let broken = |error: std::io::Error| Failure::Connection(reason(&error));
        if way == Way::Udp {
            let any: SocketAddr = if peer.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0; 8], 0).into() };
            let socket = UdpSocket::bind(any).await.map_err(|error| Failure::Own(reason(&error)))?;
            socket.connect(peer).await.map_err(broken)?;
            return Link::datagrams(socket, stop);
        }
        let stream = connect(peer).await?;
        let local = stream.local_addr().map_err(broken)?;
        Ok(Link::over(Box::new(stream), local, stop))
    }

    /// A conversation over a socket that is connected.
    pub(super) fn datagrams(socket: UdpSocket, stop: &Stop) -> Result<Link, Failure> {
        let local = socket.local_addr().map_err(|error| Failure::Own(reason(&error)))?;
        Ok(Link::of(Wire::Datagrams(socket), local, stop))
    }

    /// A conversation over a stream that is open.
    pub(super) fn over(stream: Box<dyn Stream>, local: SocketAddr, stop: &Stop) -> Link {
        let reader = StreamReader::new(Limits::of(65_535));
        Link::of(Wire::Stream(stream, reader), local, stop)
    }

    fn of(wire: Wire, local: SocketAddr, stop: &Stop) -> Link {
        let limits = Limits::of(65_535);
        Link { wire, local, limits, left: BYTES_MAX, requests: VecDeque::new(), closing: false, stop: stop.clone() }
    }

    /// Whether lost messages must be repeated.
    pub(super) fn is_lossy(&self) -> bool {
        matches!(self.wire, Wire::Datagrams(_))
    }

    /// Sends a message.
    pub(super) async fn send(&mut self, message: &Message) -> Result<(), Failure> {
        let bytes = write(message);
        let sent = async {
            match &mut self.wire {
                Wire::Datagrams(socket) => socket.send(&bytes).await.map(drop),
                Wire::Stream(stream, _) => {
                    stream.write_all(&bytes).await?;
                    stream.flush().await
                }
            }
        };
        match timeout(CONNECT, sent).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Failure::Connection(reason(&error))),
            Err(_) => Err(Failure::Silent(CONNECT.as_millis() as u64)),
        }
    }

    /// The next message before `until`; `None` when none came.
    pub(super) async fn receive(&mut self, until: Instant) -> Result<Option<Message>, Failure> {
        loop {
            if let Wire::Stream(_, reader) = &mut self.wire {
                match reader.next_item() {
                    Some(Item::Message(message)) => return Ok(Some(message)),
                    Some(Item::Bad(bad)) => return Err(Failure::Garbage(bad.reason)),
                    Some(Item::Ping) => continue,
                    None => {}
                }
            }
            let mut buffer = vec![0; 65_535];
            let read = {
                let take = async {
                    match &mut self.wire {
                        Wire::Datagrams(socket) => socket.recv(&mut buffer).await,
                        Wire::Stream(stream, _) => stream.read(&mut buffer).await,
                    }
                };
                tokio::select! {
                    read = timeout_at(until, take) => read,
                    () = stopped(&mut self.stop), if !self.closing => return Err(Failure::Own("stopped".into())),
                }
            };
            let size = match read {
                Err(_) => return Ok(None),
                Ok(Err(error)) => return Err(Failure::Connection(reason(&error))),
                Ok(Ok(size)) => size,
            };
            let bytes = buffer.get(..size).unwrap_or_default();
            self.left = self.left.checked_sub(size.max(1)).ok_or(Failure::Endless)?;
            match &mut self.wire {
                Wire::Stream(..) if size == 0 => return Err(Failure::Connection("closed by the exchange".into())),
                Wire::Stream(_, reader) => reader.push(bytes),
                Wire::Datagrams(_) => match read_datagram(bytes, &self.limits) {
                    Ok(Some(message)) => return Ok(Some(message)),
                    Ok(None) => {}
                    Err(bad) => return Err(Failure::Garbage(bad.reason)),
                },
            }
        }
    }

    /// Sends a request and gives its final answer, repeating it over UDP (RFC 3261 §17.1.2). Provisional answers go to `provisional`,
    /// requests of the exchange into [`Link::requests`].
    pub(super) async fn ask(
        &mut self,
        request: &Message,
        limit: Duration,
        mut provisional: impl FnMut(&Message),
    ) -> Result<Message, Failure> {
        let began = Instant::now();
        let until = began + limit;
        let mut pause = T1;
        let mut again = if self.is_lossy() { began + pause } else { until };
        let invite = matches!(&request.start, Start::Request { method, .. } if method == "INVITE");
        self.send(request).await?;
        loop {
            match self.receive(again.min(until)).await? {
                Some(message) if is_answer(&message, request) => match &message.start {
                    Start::Response { code: 100..=199, .. } => {
                        provisional(&message);
                        // an INVITE that was heard is not repeated any more
                        again = if invite { until } else { again };
                    }
                    _ => return Ok(message),
                },
                Some(message) => self.keep(message),
                None if Instant::now() >= until => return Err(Failure::Silent(limit.as_millis() as u64)),
                None => {
                    self.send(request).await?;
                    pause *= 2;
                    again = Instant::now() + pause;
                }
            }
        }
    }

    /// Keeps a request for later; a stray response is dropped.
    pub(super) fn keep(&mut self, message: Message) {
        if matches!(message.start, Start::Request { .. }) && self.requests.len() < REQUESTS_MAX {
            self.requests.push_back(message);
        }
    }

    /// Answers a request of the exchange.
    pub(super) async fn reply(&mut self, request: &Message, code: u16, reason: &str) -> Result<(), Failure> {
        self.send(&answer(request, code, reason, "probe")).await
    }
}

/// Opens a TCP connection.
pub(super) async fn connect(peer: SocketAddr) -> Result<TcpStream, Failure> {
    match timeout(CONNECT, TcpStream::connect(peer)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(Failure::Connection(reason(&error))),
        Err(_) => Err(Failure::Silent(CONNECT.as_millis() as u64)),
    }
}

/// Ends when the user stopped the probe.
pub(super) async fn stopped(stop: &mut Stop) {
    if stop.wait_for(|stopped| *stopped).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// The kind of an error in a word or two.
pub(super) fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "refused".into(),
        std::io::ErrorKind::ConnectionReset => "reset".into(),
        std::io::ErrorKind::NetworkUnreachable | std::io::ErrorKind::HostUnreachable => "unreachable".into(),
        _ => error.to_string(),
    }
}

fn is_answer(message: &Message, request: &Message) -> bool {
    let same = |name: &str| message.raw(name).next() == request.raw(name).next();
    let cseq = |message: &Message| message.text("CSeq").and_then(|text| CSeq::parse(&text));
    matches!(message.start, Start::Response { .. }) && same("Call-ID") && cseq(message) == cseq(request)
}

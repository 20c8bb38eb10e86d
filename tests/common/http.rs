//! An HTTP server of a test on loopback: every answer is scripted, faults included (cut connections, silence, endless bodies), TLS or not.
#![allow(dead_code)] // each test binary uses its part

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;

/// What came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// The value of a header; empty when it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
    }
}

/// What is answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// Beside Content-Length.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// The connection is cut after this many bytes of the body.
    pub(crate) cut: Option<usize>,
    /// No answer at all; the connection stays until the other end closes it.
    pub(crate) hang: bool,
    /// The body is repeated without end, without Content-Length.
    pub(crate) endless: bool,
    /// Without Content-Length; the end of the connection ends the body.
    pub(crate) unsized_body: bool,
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Reply {
        Reply { status, body: body.into(), ..Reply::default() }
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Reply {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub(crate) fn cut_after(mut self, bytes: usize) -> Reply {
        self.cut = Some(bytes);
        self
    }

    pub(crate) fn hang() -> Reply {
        Reply { hang: true, ..Reply::default() }
    }
}

/// A running server. It ends with the test.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    at_once: Arc<Counter>,
    closed: Arc<AtomicBool>,
    listening: Option<std::thread::JoinHandle<()>>,
}

/// How many requests are under way, and the most that were.
#[derive(Default)]
struct Counter {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Server {
    /// Answers with what `script` says to the n-th request (from 0).
    pub(crate) fn start(script: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static) -> Server {
        Self::listen(0, None, script)
    }

    /// As [`Server::start`], by TLS with this certificate and key (PEM).
    pub(crate) fn start_tls(
        certificate: &str,
        key: &str,
        script: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static,
    ) -> Server {
        let chain =
            rustls::pki_types::CertificateDer::pem_slice_iter(certificate.as_bytes()).map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        Self::listen(0, Some(Arc::new(config)), script)
    }

    /// As [`Server::start`], on this port.
    pub(crate) fn listen(
        port: u16,
        tls: Option<Arc<rustls::ServerConfig>>,
        script: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static,
    ) -> Server {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        let address = listener.local_addr().unwrap();
        let (requests, at_once, closed) = (Arc::default(), Arc::default(), Arc::default());
        let mut server = Server { address, requests, at_once, closed, listening: None };
        let (requests, at_once, closed) = (server.requests.clone(), server.at_once.clone(), server.closed.clone());
        let script = Arc::new(script);
        server.listening = Some(std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if closed.load(Ordering::SeqCst) {
                    return;
                }
                let (requests, at_once, closed) = (requests.clone(), at_once.clone(), closed.clone());
                let (script, tls) = (script.clone(), tls.clone());
                std::thread::spawn(move || {
                    let serve = |stream: &mut dyn ReadWrite| {
                        // one request a connection keeps the script simple
                        let Some(request) = read(stream) else { return };
                        let number = {
                            let mut requests = requests.lock().unwrap();
                            requests.push(request.clone());
                            requests.len() - 1
                        };
                        let now = at_once.now.fetch_add(1, Ordering::SeqCst) + 1;
                        at_once.most.fetch_max(now, Ordering::SeqCst);
                        answer(stream, &script(number, &request), &closed);
                        at_once.now.fetch_sub(1, Ordering::SeqCst);
                    };
                    match tls {
                        None => serve(&mut { stream }),
                        Some(config) => {
                            let session = rustls::ServerConnection::new(config).unwrap();
                            let mut secure = rustls::StreamOwned::new(session, stream);
                            serve(&mut secure);
                            secure.conn.send_close_notify();
                            let _ = secure.flush();
                            // what the client still sends is read, so that the system does not answer it with a reset
                            let _ = secure.sock.shutdown(std::net::Shutdown::Write);
                            let _ = secure.sock.set_read_timeout(Some(Duration::from_secs(5)));
                            let _ = std::io::copy(&mut secure.sock, &mut std::io::sink());
                        }
                    }
                });
            }
        }));
        server
    }

    /// What came so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// The most requests that were under way at once.
    pub(crate) fn most_at_once(&self) -> usize {
        self.at_once.most.load(Ordering::SeqCst)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address); // wakes the listener, which closes its port
        let _ = self.listening.take().map(std::thread::JoinHandle::join);
    }
}

pub(crate) trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

/// Reads one request; `None` when the connection ends before.
pub(crate) fn read(stream: &mut dyn ReadWrite) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|got| *got > 0)?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|got| *got > 0)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => headers.push((name.to_owned(), value.trim().to_owned())),
            None => break,
        }
    }
    let mut request = Request { method, target, headers, body: Vec::new() };
    let length = request.header("content-length").parse().unwrap_or(0);
    request.body = vec![0; length];
    reader.read_exact(&mut request.body).ok()?;
    Some(request)
}

fn answer(stream: &mut dyn ReadWrite, reply: &Reply, closed: &AtomicBool) {
    if reply.hang {
        let mut byte = [0];
        while !closed.load(Ordering::SeqCst) && matches!(stream.read(&mut byte), Ok(got) if got > 0) {}
        return;
    }
    let mut head = format!("HTTP/1.1 {} Scripted\r\nConnection: close\r\n", reply.status);
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !reply.endless && !reply.unsized_body {
        head.push_str(&format!("Content-Length: {}\r\n", reply.body.len()));
    }
    head.push_str("\r\n");
    let _ = stream.write_all(head.as_bytes());
    let body = reply.body.get(..reply.cut.unwrap_or(reply.body.len())).unwrap_or(&reply.body);
    while stream.write_all(body).and_then(|()| stream.flush()).is_ok() && reply.endless {}
}

/// A proxy that only knows CONNECT: leads every target to `to`, and counts. With `credentials`, only for who shows them (Basic).
pub(crate) struct Proxy {
    pub(crate) port: u16,
    pub(crate) targets: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    pub(crate) fn start(to: SocketAddr, credentials: Option<&'static str>) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let proxy = Proxy { port: listener.local_addr().unwrap().port(), targets: Arc::default() };
        let targets = proxy.targets.clone();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let Some(request) = read(&mut stream) else { continue };
                targets.lock().unwrap().push(format!("{} {}", request.method, request.target));
                if credentials.is_some_and(|expected| request.header("proxy-authorization") != expected) {
                    let _ = stream.write_all(
                        b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n",
                    );
                    continue;
                }
                let upstream = TcpStream::connect(to).unwrap();
                let _ = stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n");
                for (mut from, mut into) in
                    [(stream.try_clone().unwrap(), upstream.try_clone().unwrap()), (upstream, stream)]
                {
                    std::thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut into);
                        let _ = into.shutdown(std::net::Shutdown::Write);
                    });
                }
            }
        });
        proxy
    }
}

/// A wait that only a failing test comes to the end of.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

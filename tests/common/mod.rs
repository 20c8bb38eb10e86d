//! What behaviour tests share: the bridge as a child process, a receiver of webhooks, patience.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::Value;

pub mod mutate;

/// The secret that tests sign with.
pub const SECRET: &str = "whsec_a2FrZWhhc2hpLXRlc3Qtc2VjcmV0LTMyLWJ5dGVzIQ==";

/// A running `kakehashi serve`; killed when dropped. Its standard error is kept in a file.
pub struct Bridge {
    child: Child,
    pub log: PathBuf,
}

impl Bridge {
    /// Starts `kakehashi serve` with a configuration file and a log level.
    pub fn serve(config: &Path, level: &str, log: &Path) -> Bridge {
        let file = std::fs::File::options().create(true).append(true).open(log).expect("log file");
        let child = Command::new(env!("CARGO_BIN_EXE_kakehashi"))
            .args(["serve", "--config"])
            .arg(config)
            .env("KAKEHASHI_LOG", level)
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .expect("the binary starts");
        Bridge { child, log: log.into() }
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged.
    pub fn logged(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One webhook as it arrived.
#[derive(Clone, Debug)]
pub struct Delivered {
    pub headers: HeaderMap,
    pub body: Bytes,
    pub event: Value,
}

impl Delivered {
    pub fn kind(&self) -> &str {
        let name = self.event["type"].as_str().unwrap_or_default();
        name.trim_start_matches("kakehashi.").trim_end_matches(".v1")
    }

    pub fn id(&self) -> &str {
        self.event["id"].as_str().unwrap_or_default()
    }

    pub fn data(&self) -> &Value {
        &self.event["data"]
    }
}

/// A CRM endpoint that keeps what it gets.
pub struct Receiver {
    pub address: SocketAddr,
    got: Arc<Mutex<Vec<Delivered>>>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Receiver {
    /// Listens on `address` (port 0: any).
    pub fn start(address: SocketAddr) -> Receiver {
        let got: Arc<Mutex<Vec<Delivered>>> = Arc::default();
        let keep = got.clone();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("runtime");
        let listener = runtime.block_on(async move {
            let socket = tokio::net::TcpSocket::new_v4().expect("socket");
            socket.set_reuseaddr(true).expect("reuse");
            socket.bind(address).expect("bind");
            socket.listen(256).expect("listen")
        });
        let address = listener.local_addr().expect("bound");
        let hook = move |headers: HeaderMap, body: Bytes| async move {
            let event = serde_json::from_slice(&body).unwrap_or(Value::Null);
            keep.lock().expect("not poisoned").push(Delivered { headers, body, event });
            StatusCode::NO_CONTENT
        };
        let app = Router::new().route("/hook", post(hook));
        runtime.spawn(async move { axum::serve(listener, app).await });
        Receiver { address, got, runtime: Some(runtime) }
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    pub fn got(&self) -> Vec<Delivered> {
        self.got.lock().expect("not poisoned").clone()
    }

    /// Those of one type, without `kakehashi.` and `.v1`.
    pub fn of(&self, kind: &str) -> Vec<Delivered> {
        self.got().into_iter().filter(|one| one.kind() == kind).collect()
    }

    /// Waits until `found` gives something.
    pub fn wait<T>(&self, what: &str, found: impl Fn(&[Delivered]) -> Option<T>) -> T {
        wait_for(what, || found(&self.got()))
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_millis(100));
        }
    }
}

/// Polls until `found` gives something; fails the test after two minutes, which only a defect takes.
pub fn wait_for<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let give_up = Instant::now() + Duration::from_secs(120);
    loop {
        if let Some(value) = found() {
            return value;
        }
        assert!(Instant::now() < give_up, "waited two minutes for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A path inside the package.
pub fn package(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A port that was free a moment ago.
pub fn free_udp_port() -> u16 {
    std::net::UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("loopback").port()
}

/// A port that was free a moment ago.
pub fn free_tcp_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("loopback").port()
}

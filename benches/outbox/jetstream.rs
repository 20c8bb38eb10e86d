//! The second peer: NATS JetStream of the laboratory's root, file storage, `sync_interval: always`: it acknowledges an event after its fsync.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use async_nats::Client;
use futures_util::StreamExt;
use futures_util::stream::iter;
use kakehashi::events::Event;
use tokio::runtime::Runtime;

use crate::load::{CONTACTS, nth, paced};
use crate::nats::Server;

/// Connections that publish, as ours has threads.
const CLIENTS: u64 = 4;
/// Events in flight on each: all together as many as wait for our writer.
const IN_FLIGHT: usize = 1_024;

pub(crate) struct JetStream<'a> {
    runtime: &'a Runtime,
    clients: Vec<Client>,
    _server: Server,
}

/// The laboratory's root, as `tests/lab/common.sh` finds it.
fn root() -> PathBuf {
    let at = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let lab = at("LAB_DIR").unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".lab"));
    at("ASTERISK_ROOT").unwrap_or_else(|| lab.join("root"))
}

impl<'a> JetStream<'a> {
    /// `Err`, with the reason, where there is none that could be compared; `folder`: where ours is.
    pub(crate) fn start(runtime: &'a Runtime, folder: &Path) -> Result<JetStream<'a>, String> {
        let root = root();
        if !root.join("usr/sbin/nats-server").exists() {
            return Err("there is no nats-server: run tests/lab/setup.sh --root".into());
        }
        let disk = |path: &Path| std::fs::metadata(path).map(|data| data.dev()).ok();
        if disk(&root) != disk(folder) {
            return Err("the laboratory is on another disk than target/: set LAB_DIR".into());
        }
        let server = Server::start(None, "");
        let url = server.url("127.0.0.1");
        let clients = runtime.block_on(async {
            let mut clients = Vec::new();
            for _ in 0..CLIENTS {
                clients.push(async_nats::connect(&url).await.unwrap());
            }
            clients
        });
        println!("# nats-server {}, sync_interval: always", clients[0].server_info().version);
        Ok(JetStream { runtime, clients, _server: server })
    }

    /// A stream with nothing in it, in place of what there was.
    pub(crate) fn begin(&self) {
        self.runtime.block_on(async {
            let _ = self.clients[0].request("$JS.API.STREAM.DELETE.BENCH", "".into()).await;
            let stream =
                r#"{"name":"BENCH","subjects":["bench.>"],"storage":"file","retention":"limits","num_replicas":1}"#;
            let made = self.clients[0].request("$JS.API.STREAM.CREATE.BENCH", stream.into()).await.unwrap();
            assert!(!made.payload.windows(7).any(|part| part == b"\"error\""), "{made:?}");
        });
    }

    /// Events a second until all are acknowledged.
    pub(crate) fn rate(&self, events: u64) -> f64 {
        let began = Instant::now();
        self.runtime.block_on(async {
            let each = self.clients.iter().cloned().zip(0..).map(|(client, number)| {
                tokio::spawn(async move {
                    let all = iter(0..events / CLIENTS).map(|n| publish(client.clone(), nth(number * CONTACTS, n)));
                    all.buffer_unordered(IN_FLIGHT).for_each(async |()| {}).await;
                })
            });
            for one in each.collect::<Vec<_>>() {
                one.await.unwrap();
            }
        });
        (events / CLIENTS * CLIENTS) as f64 / began.elapsed().as_secs_f64()
    }

    pub(crate) fn times(&self, rate: u32, count: u64) -> Vec<Duration> {
        let client = &self.clients[0];
        let first = 1_000_000 + u64::from(rate) * 1_000;
        self.runtime.block_on(paced(rate, count, |n| publish(client.clone(), nth(first, n))))
    }
}

/// Publishes an event, and waits until the stream has it. Without `Nats-Msg-Id`: nothing looks for duplicates, which is the faster way.
async fn publish(client: Client, event: Event) {
    let reply = client.request("bench.calls", event.to_json().into()).await.unwrap();
    // {"stream":"BENCH","seq":1}
    assert!(reply.payload.windows(6).any(|part| part == b"\"seq\":"), "{reply:?}");
}

//! Those who send: the bridge's own deliverer out of its outbox, its signing and its HTTP client without an outbox, and a program in Python.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::iter;
use kakehashi::bridge::{deliver, now};
use kakehashi::crm::settings::Endpoint;
use kakehashi::crm::webhook::Webhook;
use kakehashi::events::Event;
use kakehashi::outbox::settings::Settings;
use kakehashi::outbox::store::Outbox;
use nix::sys::resource::{UsageWho, getrusage};
use tokio::runtime::Runtime;

use crate::load::batch;

/// Longest round; only a broken one takes as long.
const PATIENCE: Duration = Duration::from_secs(300);

/// What a round took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    pub(crate) seconds: f64,
    /// Processor time of the sender's process.
    pub(crate) cpu: f64,
}

/// Processor time of this process so far, in seconds.
fn cpu() -> f64 {
    let used = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    [used.user_time(), used.system_time()].iter().map(|time| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6).sum()
}

/// A backlog that waits in an outbox.
pub(crate) fn fill(runtime: &Runtime, folder: &Path, endpoints: &[Endpoint], events: &[Event]) {
    let receivers = deliver::receivers(endpoints).unwrap();
    let (outbox, mut committed) =
        runtime.block_on(async { Outbox::open(folder, &Settings::default(), receivers) }).unwrap();
    let taken = runtime.spawn(async move { while committed.recv().await.is_some() {} });
    events.iter().for_each(|event| outbox.submit(batch(event.clone())).unwrap());
    drop(outbox);
    // with its threads
    runtime.block_on(taken).unwrap();
}

/// The deliverer, from its start on that backlog to the last outcome on disk; its processor time until its threads have ended.
pub(crate) fn ours(runtime: &Runtime, folder: &Path, endpoints: &[Endpoint], deliveries: u64) -> Taken {
    let settings = Settings::default();
    let receivers = deliver::receivers(endpoints).unwrap();
    let (began, before) = (Instant::now(), cpu());
    let seconds = runtime.block_on(async {
        let (outbox, committed) = Outbox::open(folder, &settings, receivers).unwrap();
        let (deliverer, running) = deliver::spawn(outbox.clone(), committed, endpoints, &settings, |_| {}).unwrap();
        while deliverer.figures().iter().map(|figures| figures.delivered).sum::<u64>() < deliveries {
            assert!(began.elapsed() < PATIENCE, "not all is delivered: {:?}", deliverer.figures());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // with what of it waits for the disk
        deliverer.end().await;
        let seconds = began.elapsed().as_secs_f64();
        running.await.unwrap();
        seconds
    });
    while has_outbox_thread() {
        assert!(began.elapsed() < PATIENCE, "the outbox does not end");
        std::thread::sleep(Duration::from_millis(1));
    }
    Taken { seconds, cpu: cpu() - before }
}

fn has_outbox_thread() -> bool {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    tasks
        .filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok())
        .any(|name| name.starts_with("outbox"))
}

/// The same requests out of memory: what signing and HTTP take by themselves.
pub(crate) fn bare(runtime: &Runtime, endpoint: &Endpoint, events: &[(String, String)]) -> Taken {
    let webhook = Webhook::new(endpoint, &endpoint.secrets).unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder().no_proxy().tcp_nodelay(true).pool_max_idle_per_host(64);
    if !endpoint.ca_file.as_os_str().is_empty() {
        let pem = std::fs::read(&endpoint.ca_file).unwrap();
        builder = builder.tls_certs_only([reqwest::Certificate::from_pem(&pem).unwrap()]);
    }
    let client = builder.build().unwrap();
    let (began, before) = (Instant::now(), cpu());
    runtime.block_on(async {
        let send = |(id, body): &(String, String)| {
            let signed = webhook.sign(id, body, now().wall);
            let request = client
                .post(&endpoint.url)
                .header("content-type", "application/cloudevents+json; charset=utf-8")
                .header("webhook-id", signed.id)
                .header("webhook-timestamp", signed.timestamp)
                .header("webhook-signature", signed.signature)
                .body(signed.body);
            async move { assert_eq!(request.send().await.unwrap().status(), 200) }
        };
        iter(events).map(send).buffer_unordered(endpoint.concurrency).for_each(async |()| {}).await;
    });
    Taken { seconds: began.elapsed().as_secs_f64(), cpu: cpu() - before }
}

/// The laboratory's Python, when it is there.
pub(crate) fn python() -> Option<PathBuf> {
    let lab = std::env::var_os("LAB_DIR").map(PathBuf::from);
    let lab = lab.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".lab"));
    Some(lab.join("venv/bin/python")).filter(|python| python.exists())
}

/// `benches/webhook_peer.py` with the same events; what it is made of is told once. `None`, with what it says, when it does not run.
pub(crate) fn peer(
    python: &Path,
    endpoint: &Endpoint,
    core: Option<usize>,
    events: &[(String, String)],
) -> Option<(Taken, String)> {
    let mut command = Command::new(python);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/webhook_peer.py"));
    command.args([&endpoint.url, &endpoint.secrets[0].0, &endpoint.concurrency.to_string()]);
    if !endpoint.ca_file.as_os_str().is_empty() {
        command.arg("--ca").arg(&endpoint.ca_file);
    }
    if let Some(core) = core {
        command.args(["--core", &core.to_string()]);
    }
    let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let lines: String = events.iter().map(|(_, body)| format!("{body}\n")).collect();
    let written = process.stdin.take().unwrap().write_all(lines.as_bytes());
    let output = process.wait_with_output().unwrap();
    written.ok()?;
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
    let taken = Taken { seconds: told["seconds"].as_f64()?, cpu: told["cpu_seconds"].as_f64()? };
    Some((taken, told["library"].as_str()?.into()))
}

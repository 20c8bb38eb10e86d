//! Traces and figures for an OpenTelemetry collector. Off unless `[telemetry] url` is set. Nothing waits for it: what has no room in its queue is
//! dropped and counted.
//!
//! The messages are the official ones (`opentelemetry-proto`), carried by the HTTP client that endpoints have. The SDK's own exporter
//! (`opentelemetry-otlp`) would bring a second way to TLS, certificates and addresses, and does not tell what it drops.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

#[cfg_attr(not(feature = "telemetry"), path = "telemetry/absent.rs")]
mod collector;
#[cfg(feature = "telemetry")]
mod export;
#[cfg(feature = "telemetry")]
mod otlp;
mod span;

pub use collector::{Collector, Error};
pub(super) use span::Span;

use super::metrics::Family;
use crate::config::Config;
use crate::events::Event;
use span::Queued;

/// Spans that wait to be sent; about 2 MiB.
const WAITING: usize = 4_096;
/// What the collector gets at most to take what waits when the bridge is stopped.
const FLUSH: Duration = Duration::from_secs(2);

/// Gives the figures that are reported.
pub type Read = Arc<dyn Fn() -> Vec<Family> + Send + Sync>;

/// Takes what is to be told; cheap to clone.
#[derive(Clone)]
pub struct Telemetry(Arc<Inner>);

struct Inner {
    /// Whether spans are wanted.
    traces: AtomicBool,
    spans: mpsc::Sender<Span>,
    queued: Mutex<Queued>,
    counts: Arc<Counts>,
    collector: watch::Sender<Option<Arc<Collector>>>,
    stop: watch::Sender<bool>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

/// What became of spans and reports since the start.
#[derive(Debug, Default)]
pub struct Counts {
    sent: AtomicU64,
    /// There was no room.
    overflow: AtomicU64,
    /// The collector did not take them.
    lost: AtomicU64,
    traces: Signal,
    metrics: Signal,
}

/// Requests with one kind of content.
#[derive(Debug, Default)]
struct Signal {
    failed: AtomicU64,
    /// The last one was not taken; that was told.
    #[cfg(feature = "telemetry")]
    away: AtomicBool,
}

impl Counts {
    /// Spans that were taken.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Spans that were dropped, by reason.
    pub fn dropped(&self) -> [(&'static str, u64); 2] {
        [("overflow", &self.overflow), ("not_taken", &self.lost)]
            .map(|(reason, count)| (reason, count.load(Ordering::Relaxed)))
    }

    /// Requests that were not taken, by what was in them.
    pub fn failures(&self) -> [(&'static str, u64); 2] {
        [("traces", &self.traces), ("metrics", &self.metrics)]
            .map(|(name, signal)| (name, signal.failed.load(Ordering::Relaxed)))
    }
}

#[cfg(feature = "telemetry")]
impl Counts {
    fn lost(&self, spans: u64) {
        self.lost.fetch_add(spans, Ordering::Relaxed);
    }

    fn taken(&self, spans: u64) {
        self.sent.fetch_add(spans, Ordering::Relaxed);
        self.traces.taken("traces");
    }
}

#[cfg(feature = "telemetry")]
impl Signal {
    fn taken(&self, signal: &str) {
        if self.away.swap(false, Ordering::Relaxed) {
            tracing::info!(signal, "the telemetry collector takes what is sent again");
        }
    }

    fn not_taken(&self, signal: &str, why: &str) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        if !self.away.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                signal,
                why,
                "the telemetry collector does not take what is sent; what it misses is counted"
            );
        }
    }
}

/// A collector that is sent to from [`Telemetry::apply`] on; or none.
pub struct Prepared(Option<Collector>);

/// Makes what `[telemetry]` needs; connects to nobody.
///
/// # Errors
/// The first setting that cannot be used.
pub fn prepare(config: &Config) -> Result<Prepared, Error> {
    Collector::new(config).map(Prepared)
}

impl Telemetry {
    /// Begins; nothing is sent until there is a collector.
    pub fn spawn() -> Telemetry {
        let (spans, waiting) = mpsc::channel(WAITING);
        let (collector, current) = watch::channel(None);
        let (stop, stopped) = watch::channel(false);
        let counts = Arc::new(Counts::default());
        #[cfg(feature = "telemetry")]
        let tasks = vec![tokio::spawn(export::traces(waiting, current, Arc::clone(&counts), stopped))];
        #[cfg(not(feature = "telemetry"))]
        let (tasks, _) = (Vec::new(), (waiting, current, stopped));
        let (traces, queued) = (AtomicBool::new(false), Mutex::new(Queued::default()));
        Telemetry(Arc::new(Inner { traces, spans, queued, counts, collector, stop, tasks: Mutex::new(tasks) }))
    }

    /// From now on this collector is sent to.
    pub fn apply(&self, Prepared(collector): Prepared) {
        let traces = collector.as_ref().is_some_and(Collector::takes_traces);
        self.0.collector.send_replace(collector.map(Arc::new));
        self.0.traces.store(traces, Ordering::Relaxed);
        if !traces {
            *self.0.queued.lock().unwrap_or_else(PoisonError::into_inner) = Queued::default();
        }
    }

    /// Begins to report figures, where that is wanted.
    pub fn report(&self, read: Read) {
        #[cfg(feature = "telemetry")]
        {
            let (current, stop) = (self.0.collector.subscribe(), self.0.stop.subscribe());
            let task = tokio::spawn(export::figures(read, current, Arc::clone(&self.0.counts), stop));
            self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner).push(task);
        }
        #[cfg(not(feature = "telemetry"))]
        drop(read);
    }

    /// What became of spans and reports.
    pub fn counts(&self) -> &Counts {
        &self.0.counts
    }

    /// Whether anybody wants spans.
    pub fn traces(&self) -> bool {
        self.0.traces.load(Ordering::Relaxed)
    }

    /// Takes what an event tells of the course of its contact.
    pub fn observe(&self, event: &Event) {
        if self.traces() {
            let spans = self.0.queued.lock().unwrap_or_else(PoisonError::into_inner).spans(event);
            self.tell(spans);
        }
    }

    /// Takes spans; never waits.
    pub(super) fn tell(&self, spans: impl IntoIterator<Item = Span>) {
        for span in spans.into_iter().filter(|_| self.traces()) {
            if self.0.spans.try_send(span).is_err() {
                self.0.counts.overflow.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Sends what waits and a last report, two seconds at most, and nothing more.
    pub async fn end(&self) {
        self.0.traces.store(false, Ordering::Relaxed);
        self.0.stop.send_replace(true);
        let tasks = std::mem::take(&mut *self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        let _ = tokio::time::timeout(FLUSH, futures_util::future::join_all(tasks)).await;
    }
}

#[cfg(all(test, feature = "telemetry", feature = "web"))]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::call::ContactId;
    use crate::config::telemetry::Settings;
    use crate::time::Wall;

    fn spans(count: usize) -> impl Iterator<Item = Span> {
        (0..count).map(|_| Span::look_up(ContactId(Uuid::from_u128(1)), Some(1), (Wall(1), Wall(2))))
    }

    fn prepared(url: String) -> Prepared {
        prepare(&Config { telemetry: Settings { url, ..Settings::default() }, ..Config::default() }).unwrap()
    }

    #[tokio::test]
    async fn what_has_no_room_is_dropped_and_counted() {
        let telemetry = Telemetry::spawn();
        telemetry.tell(spans(10));
        assert_eq!(telemetry.counts().dropped(), [("overflow", 0), ("not_taken", 0)], "off: there is nothing to drop");
        // it is connected to, and never answers
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        telemetry.apply(prepared(format!("http://{}", silent.local_addr().unwrap())));
        // nothing is awaited meanwhile, so nothing is taken out of the queue
        telemetry.tell(spans(WAITING + 7));
        assert_eq!(telemetry.counts().dropped()[0], ("overflow", 7));
        assert_eq!(telemetry.0.spans.capacity(), 0);
    }

    #[tokio::test]
    async fn what_waits_at_the_end_is_sent() {
        let telemetry = Telemetry::spawn();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        telemetry.apply(prepared(format!("http://{}", listener.local_addr().unwrap())));
        let router = axum::Router::new().route("/v1/traces", axum::routing::post(async || ""));
        tokio::spawn(async move { axum::serve(listener, router).await });
        telemetry.tell(spans(1_500));
        telemetry.end().await;
        assert_eq!((telemetry.counts().sent(), telemetry.counts().dropped()[1].1), (1_500, 0));
        telemetry.tell(spans(1));
        assert_eq!(telemetry.counts().dropped()[0].1, 0, "nothing more is taken");
    }
}

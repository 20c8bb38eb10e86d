//! Sends spans in batches and figures from time to time. A batch that is not taken is tried again for half a minute; meanwhile spans wait in their
//! queue, and what has no room there is dropped.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::collector::{Collector, Verdict};
use super::span::Span;
use super::{Counts, Read, otlp};
use crate::bridge::deliver::chance;
use crate::bridge::now;
use crate::time::Wall;

/// Spans of one request.
const AT_ONCE: usize = 512;
/// How long a span waits for others.
const TOGETHER: Duration = Duration::from_secs(5);
/// Pauses before a batch is sent again, in seconds.
const PAUSES_S: [u64; 5] = [1, 2, 4, 8, 16];

type Current = watch::Receiver<Option<Arc<Collector>>>;
type Stop = watch::Receiver<bool>;

/// Sends spans until it is stopped; then what waits goes out, each batch once.
pub(super) async fn traces(mut spans: mpsc::Receiver<Span>, collector: Current, counts: Arc<Counts>, mut stop: Stop) {
    let mut batch = Vec::new();
    let mut until = None;
    loop {
        let together = async {
            match until {
                Some(until) => sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        let ends = tokio::select! {
            one = spans.recv() => match one {
                Some(span) => {
                    until.get_or_insert_with(|| Instant::now() + TOGETHER);
                    batch.push(span);
                    if batch.len() < AT_ONCE {
                        continue;
                    }
                    false
                }
                None => true,
            },
            () = together => false,
            () = stopped(&mut stop) => true,
        };
        while ends
            && batch.len() < AT_ONCE
            && let Ok(span) = spans.try_recv()
        {
            batch.push(span);
        }
        if ends && batch.is_empty() {
            return;
        }
        until = None;
        deliver(std::mem::take(&mut batch), &collector, &counts, &mut stop).await;
    }
}

/// Sends a batch until it is taken, refused, or given up.
async fn deliver(spans: Vec<Span>, current: &Current, counts: &Counts, stop: &mut Stop) {
    let count = spans.len() as u64;
    let mut pauses = PAUSES_S.into_iter().map(Duration::from_secs);
    loop {
        let collector = current.borrow().clone().filter(|collector| collector.takes_traces());
        let Some(collector) = collector else { return counts.lost(count) };
        match collector.post("/v1/traces", otlp::traces(&collector.resource, &spans)).await {
            Verdict::Taken(answer) => {
                let rejected = otlp::rejected(&answer).min(count);
                counts.lost(rejected);
                return counts.taken(count - rejected);
            }
            Verdict::Refused(why) => {
                counts.traces.not_taken("traces", &why);
                return counts.lost(count);
            }
            Verdict::Again(why, asked) => {
                counts.traces.not_taken("traces", &why);
                let Some(pause) = pauses.next().filter(|_| !*stop.borrow()) else { return counts.lost(count) };
                let pause = asked.unwrap_or(pause.mul_f64(0.75 + chance() / 2.0));
                tokio::select! {
                    () = sleep(pause) => {}
                    () = stopped(stop) => {}
                }
            }
        }
    }
}

/// Reports what `read` gives until it is stopped; then once more. A report that is not taken is not sent again: the next one says the same and more.
pub(super) async fn figures(read: Read, mut current: Current, counts: Arc<Counts>, mut stop: Stop) {
    let start = now().wall;
    loop {
        let collector = current.borrow_and_update().clone().filter(|collector| collector.settings.metrics);
        let every = collector.as_ref().map(|collector| Duration::from_secs(collector.settings.metrics_every_s));
        let ends = tokio::select! {
            () = sleep(every.unwrap_or(Duration::from_secs(86_400))) => false,
            changed = current.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
            () = stopped(&mut stop) => true,
        };
        if let Some(collector) = collector {
            report(&collector, &read, start, &counts).await;
        }
        if ends {
            return;
        }
    }
}

async fn report(collector: &Collector, read: &Read, start: Wall, counts: &Counts) {
    let read = Arc::clone(read);
    // it asks the store, too
    let Ok(families) = tokio::task::spawn_blocking(move || read()).await else { return };
    let body = otlp::figures(&collector.resource, &families, (start, now().wall));
    match collector.post("/v1/metrics", body).await {
        Verdict::Taken(_) => counts.metrics.taken("metrics"),
        Verdict::Again(why, _) | Verdict::Refused(why) => counts.metrics.not_taken("metrics", &why),
    }
}

async fn stopped(stop: &mut Stop) {
    // nobody who could stop it is there any more
    let _ = stop.wait_for(|stopped| *stopped).await;
}

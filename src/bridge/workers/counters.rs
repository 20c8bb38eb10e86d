//! What the workers did, counted.

use std::sync::atomic::{AtomicU64, Ordering};

use tracing::info;

use crate::speech::Hypothesis;
use crate::speech::plausible::Reason;
use crate::speech::schedule::{Counts, Load};

/// What the workers did and have to do.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counters {
    /// Jobs that wait and run.
    pub load: Load,
    /// What was done with partials, and how late finals were.
    pub counts: Counts,
    /// How long the oldest live final that waits has waited, in milliseconds.
    pub behind_ms: u64,
    /// Finals and partials recognised.
    pub decodes: u64,
    /// Texts that were not believed, by [`Reason`].
    pub rejected: [u64; Reason::ALL.len()],
    /// Texts of which a loop was taken out.
    pub looped: u64,
    /// Jobs that failed twice.
    pub failures: u64,
    /// Workers that were replaced.
    pub restarts: u64,
    /// Milliseconds that the workers decoded.
    pub decode_ms: u64,
    /// Utterances of `decodes` that the server, or workers, on other machines recognised.
    pub remote: u64,
    /// Workers on other machines that live and fit.
    pub machines: usize,
}

/// What was done so far, counted while it is done; see [`Counters`] for what is what.
#[derive(Debug, Default)]
pub(super) struct Done {
    decodes: AtomicU64,
    rejected: [AtomicU64; Reason::ALL.len()],
    looped: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) restarts: AtomicU64,
    decode_ms: AtomicU64,
    pub(super) remote: AtomicU64,
}

impl Done {
    /// Counts a job that was recognised, and of a final what was left out of its text.
    pub(super) fn decoded(&self, id: u64, hypothesis: &Hypothesis, is_partial: bool) {
        self.decodes.fetch_add(1, Ordering::Relaxed);
        self.decode_ms.fetch_add(hypothesis.decode_ms.into(), Ordering::Relaxed);
        if is_partial {
            return;
        }
        self.looped.fetch_add(u64::from(hypothesis.looped > 0), Ordering::Relaxed);
        let Some(reason) = hypothesis.rejected else { return };
        info!(job = id, reason = reason.name(), "a text was not believed and is left out");
        if let Some(count) = self.rejected.get(reason.index()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// `counters` with what was done.
    pub(super) fn add_to(&self, counters: Counters) -> Counters {
        Counters {
            decodes: self.decodes.load(Ordering::Relaxed),
            rejected: std::array::from_fn(|n| self.rejected.get(n).map_or(0, |one| one.load(Ordering::Relaxed))),
            looped: self.looped.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            restarts: self.restarts.load(Ordering::Relaxed),
            decode_ms: self.decode_ms.load(Ordering::Relaxed),
            remote: self.remote.load(Ordering::Relaxed),
            ..counters
        }
    }
}

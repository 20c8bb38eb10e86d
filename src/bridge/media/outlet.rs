//! What a media thread hands on: PCM may be dropped for the recogniser when it is behind, an event never.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, TrySendError};

use super::Stats;
use crate::media::{Heard, StreamEventKind};

/// Events kept for the listener while it does not keep up; beyond it only beginnings and ends are kept, the rest is counted.
const EVENTS_KEPT: usize = 65_536;

/// The way from one thread to the listener.
#[derive(Debug)]
pub(super) struct Outlet {
    heard: SyncSender<Heard>,
    kept: VecDeque<Heard>,
    pub(super) stats: Arc<Stats>,
}

impl Outlet {
    pub(super) fn new(heard: SyncSender<Heard>, stats: Arc<Stats>) -> Self {
        Self { heard, kept: VecDeque::new(), stats }
    }

    /// Nothing waits for the listener.
    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    pub(super) fn send(&mut self, item: Heard) {
        self.flush();
        if self.kept.is_empty() {
            match self.heard.try_send(item) {
                Ok(()) | Err(TrySendError::Disconnected(_)) => {}
                Err(TrySendError::Full(item)) => self.keep(item),
            }
        } else {
            self.keep(item);
        }
    }

    fn keep(&mut self, item: Heard) {
        if matches!(item, Heard::Pcm(_)) {
            self.stats.frames_dropped.fetch_add(1, Ordering::Relaxed);
        } else if self.kept.len() < EVENTS_KEPT || is_vital(&item) {
            self.kept.push_back(item);
        } else {
            self.stats.events_dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Hands on what was kept, as far as the listener takes it.
    pub(super) fn flush(&mut self) {
        while let Some(item) = self.kept.pop_front() {
            if let Err(TrySendError::Full(item)) = self.heard.try_send(item) {
                self.kept.push_front(item);
                return;
            }
        }
    }
}

/// The two events of a stream that are kept in any case; their number is bounded by that of the streams.
fn is_vital(item: &Heard) -> bool {
    matches!(item, Heard::Event(event) if matches!(event.kind, StreamEventKind::First { .. } | StreamEventKind::Closed(_)))
}

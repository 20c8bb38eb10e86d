//! Recognition that is behind the conversation: told when it falls behind, when it falls much further behind, and when it has caught up.

use std::time::Duration;

use super::Session;
use super::streams::Stream;
use crate::events::{Data, TranscriptDelayed};
use crate::time::{Mono, Now};

/// Age of the oldest utterance without text at which the text counts as behind.
const BEHIND: Duration = Duration::from_secs(15);
/// When nothing without text is older than this, it has caught up.
const CAUGHT_UP: Duration = Duration::from_secs(5);

impl Session {
    /// When [`Session::tell_delay`] has something to tell, if nothing is recognised until then.
    pub(super) fn delay_due(&self) -> Option<Mono> {
        Some(self.oldest_unread()? + self.next_delay())
    }

    /// Tells that text is late, and again each time that it is twice as late as was told.
    pub(super) fn tell_delay(&mut self, now: Now) {
        let Some(since) = self.oldest_unread() else { return };
        let behind = now.mono.since(since);
        if behind < self.next_delay() {
            return;
        }
        self.delayed = Some(behind);
        let waiting = self.streams.iter().flat_map(Stream::unread).count();
        let data = TranscriptDelayed {
            waiting: u32::try_from(waiting).unwrap_or(u32::MAX),
            behind_ms: u64::try_from(behind.as_millis()).unwrap_or(u64::MAX),
        };
        self.record(now.wall, None, Data::TranscriptDelayed(data));
    }

    /// Tells that text is late no more.
    pub(super) fn tell_caught_up(&mut self, now: Now) {
        let is_late = self.oldest_unread().is_some_and(|since| now.mono.since(since) >= CAUGHT_UP);
        if self.delayed.is_some() && !is_late {
            self.delayed = None;
            self.record(now.wall, None, Data::TranscriptDelayed(TranscriptDelayed { waiting: 0, behind_ms: 0 }));
        }
    }

    fn oldest_unread(&self) -> Option<Mono> {
        self.streams.iter().flat_map(Stream::unread).map(|spoken| spoken.since).min()
    }

    fn next_delay(&self) -> Duration {
        self.delayed.map_or(BEHIND, |told| told.saturating_mul(2))
    }
}

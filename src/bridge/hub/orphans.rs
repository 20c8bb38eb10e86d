//! What was heard of streams before the exchange said whose they are; bounded, the oldest stream goes first.

use std::collections::VecDeque;

use crate::bridge::Input;
use crate::pbx::StreamId;

/// The most inputs kept, over all streams. A stream is unclaimed for some milliseconds at most.
const MOST: usize = 4_096;

/// Inputs of streams that no contact has claimed yet.
#[derive(Debug, Default)]
pub(super) struct Orphans(VecDeque<(StreamId, Input)>);

impl Orphans {
    /// Keeps an input until its stream is claimed.
    pub(super) fn keep(&mut self, stream: StreamId, input: Input) {
        if self.0.len() >= MOST
            && let Some((oldest, _)) = self.0.pop_front()
        {
            tracing::debug!(stream = %oldest.0, "nobody claimed a stream; what was heard of it is dropped");
            self.0.retain(|(of, _)| *of != oldest);
        }
        self.0.push_back((stream, input));
    }

    /// Everything kept of a stream, in order.
    pub(super) fn take(&mut self, stream: StreamId) -> Vec<Input> {
        let (own, rest) = std::mem::take(&mut self.0).into_iter().partition(|(of, _)| *of == stream);
        self.0 = rest;
        let own: VecDeque<(StreamId, Input)> = own;
        own.into_iter().map(|(_, input)| input).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{StreamEvent, StreamEventKind};
    use crate::time::Now;
    use uuid::Uuid;

    fn keep(orphans: &mut Orphans, id: u128) {
        let stream = StreamId(Uuid::from_u128(id));
        let event = StreamEvent { stream, at: Now::default(), kind: StreamEventKind::Timeout };
        orphans.keep(stream, Input::Stream(event));
    }

    #[test]
    fn a_claimed_stream_gets_its_own_and_only_those() {
        let mut orphans = Orphans::default();
        for id in [1, 2, 1] {
            keep(&mut orphans, id);
        }
        assert_eq!(orphans.take(StreamId(Uuid::from_u128(1))).len(), 2);
        assert_eq!(orphans.take(StreamId(Uuid::from_u128(1))).len(), 0);
        assert_eq!(orphans.take(StreamId(Uuid::from_u128(2))).len(), 1);
    }

    #[test]
    fn streams_that_nobody_claims_do_not_pile_up() {
        let mut orphans = Orphans::default();
        for n in 0..100_000 {
            keep(&mut orphans, n / 3);
        }
        assert!(orphans.0.len() <= MOST);
    }
}

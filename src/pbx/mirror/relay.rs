//! Sound that the exchange passes on unchanged: the same payload from a caller to the exchange and from the exchange to a telephone says that
//! both dialogs are one call.

use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::time::Duration;

use super::dialog::DialogId;
use crate::time::Mono;

/// How long a payload may be on its way through the exchange.
const WAY: Duration = Duration::from_secs(1);
/// Payloads that are remembered.
const KEPT_MAX: usize = 16_384;
/// Pairs of dialogs that are compared.
const PAIRS_MAX: usize = 1_024;
/// So many packets that are the same in both, and in no other, are no accident.
const ENOUGH: u32 = 10;
/// Fewest bytes of a payload that is compared, and fewest different ones in it: silence is the same everywhere.
const LEAST: usize = 80;
const LEAST_DIFFERENT: usize = 12;

/// The payloads of callers whose call has no telephone yet.
#[derive(Debug, Default)]
pub(super) struct Relay {
    /// Payload → who sent it; `None`: several did.
    from: HashMap<u64, Option<DialogId>>,
    order: VecDeque<(Mono, u64)>,
    /// Telephone and caller → packets that were the same.
    same: HashMap<(DialogId, DialogId), u32>,
}

impl Relay {
    /// A caller sent a packet to the exchange.
    pub(super) fn sent(&mut self, caller: DialogId, datagram: &[u8], now: Mono) {
        let Some(payload) = digest(datagram) else { return };
        self.forget(now);
        let known = self.from.entry(payload).or_insert(Some(caller));
        if *known != Some(caller) {
            *known = None;
        }
        self.order.push_back((now, payload));
    }

    /// The exchange sent a packet to a telephone; gives the caller whose sound it is, once that is sure.
    pub(super) fn passed(&mut self, telephone: DialogId, datagram: &[u8], now: Mono) -> Option<DialogId> {
        self.forget(now);
        let caller = (*self.from.get(&digest(datagram)?)?)?;
        if self.same.len() >= PAIRS_MAX && !self.same.contains_key(&(telephone, caller)) {
            return None;
        }
        let count = self.same.entry((telephone, caller)).or_insert(0);
        *count = count.saturating_add(1);
        let sure = *count >= ENOUGH;
        let alone =
            self.same.keys().all(|pair| *pair == (telephone, caller) || (pair.0 != telephone && pair.1 != caller));
        (sure && alone).then_some(caller)
    }

    /// A dialog was joined, or ended.
    pub(super) fn drop_dialog(&mut self, dialog: DialogId) {
        self.same.retain(|(telephone, caller), _| *telephone != dialog && *caller != dialog);
    }

    fn forget(&mut self, now: Mono) {
        while let Some((at, payload)) = self.order.front().copied()
            && (now.since(at) > WAY || self.order.len() >= KEPT_MAX)
        {
            self.order.pop_front();
            self.from.remove(&payload);
        }
    }
}

/// A digest of the last bytes of a packet: its payload. `None` for what is silence, or short.
fn digest(datagram: &[u8]) -> Option<u64> {
    let payload = datagram.get(12..)?;
    let tail = payload.get(payload.len().checked_sub(LEAST)?..)?;
    let mut seen = [false; 256];
    for byte in tail {
        if let Some(slot) = seen.get_mut(usize::from(*byte)) {
            *slot = true;
        }
    }
    if seen.iter().filter(|is_there| **is_there).count() < LEAST_DIFFERENT {
        return None;
    }
    let mut hasher = DefaultHasher::new();
    tail.hash(&mut hasher);
    Some(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(n: u32) -> Vec<u8> {
        (0..172_u32).map(|at| (at.wrapping_mul(37 + n) >> 2) as u8).collect()
    }

    #[test]
    fn the_same_sound_in_two_dialogs_joins_them_and_in_three_does_not() {
        let mut relay = Relay::default();
        let joined = (0..ENOUGH).filter_map(|n| {
            relay.sent(1, &packet(n), Mono(0));
            relay.passed(2, &packet(n), Mono(1))
        });
        assert_eq!(joined.collect::<Vec<_>>(), [1]);
        let mut relay = Relay::default();
        for n in 0..4 * ENOUGH {
            relay.sent(1, &packet(n), Mono(0));
            relay.sent(3, &packet(n), Mono(0));
            assert_eq!(relay.passed(2, &packet(n), Mono(1)), None, "two callers send the same");
        }
        let mut relay = Relay::default();
        for n in 0..4 * ENOUGH {
            relay.sent(1, &packet(n), Mono(0));
            let both = [relay.passed(2, &packet(n), Mono(1)), relay.passed(4, &packet(n), Mono(1))];
            assert!(n < 2 || both == [None, None], "two telephones hear the same: a conference");
        }
    }

    #[test]
    fn silence_says_nothing_and_nothing_grows() {
        let mut relay = Relay::default();
        for n in 0..100_000_u32 {
            relay.sent(1, &[0xff; 172], Mono(0));
            assert_eq!(relay.passed(2, &[0xff; 172], Mono(0)), None);
            relay.sent(u64::from(n), &packet(n), Mono(u64::from(n)));
            relay.passed(u64::from(n), &packet(n), Mono(u64::from(n)));
            assert!(relay.from.len() <= KEPT_MAX && relay.order.len() <= KEPT_MAX && relay.same.len() <= PAIRS_MAX);
        }
    }
}

//! What delivery counts for each endpoint: what became of the events, and what went over the link.

use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering};

use super::carry::Link;
use crate::outbox::budget::Use;
use crate::outbox::store::{Counted, Traffic};
use crate::time::Wall;

/// A number that only grows.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn take(&self) -> u64 {
        self.0.swap(0, Ordering::Relaxed)
    }
}

/// Counters of one endpoint since the start.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) taken_up: Count,
    pub(super) accepted: Count,
    pub(super) replayed: Count,
    pub(super) delivered: Count,
    pub(super) died: Count,
    pub(super) dropped: Count,
    pub(super) attempts: Count,
    pub(super) live: Count,
    pub(super) live_delivered: Count,
    pub(super) live_dropped: Count,
    health: AtomicU8,
    /// When the oldest event that waits happened; 0 = none waits.
    oldest: AtomicI64,
    /// What went over the link in all, then what of it the store has not been told yet; first records, then live.
    sums: [Sums; 2],
    untold: [Sums; 2],
}

#[derive(Debug, Default)]
struct Sums {
    requests: Count,
    bytes_out: Count,
    bytes_in: Count,
    events: Count,
}

impl Sums {
    fn add(&self, more: Traffic) {
        self.requests.add(more.requests);
        self.bytes_out.add(more.bytes_out);
        self.bytes_in.add(more.bytes_in);
        self.events.add(more.events);
    }

    fn map(&self, read: impl Fn(&Count) -> u64) -> Traffic {
        Traffic {
            requests: read(&self.requests),
            bytes_out: read(&self.bytes_out),
            bytes_in: read(&self.bytes_in),
            events: read(&self.events),
        }
    }
}

/// How an endpoint does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// It answers.
    #[default]
    Up,
    /// It does not answer; it is tried with one delivery at a time.
    Down,
    /// Its requests of the day are used up.
    Dry,
    /// It said that it wants nothing any more.
    Off,
}

impl Health {
    /// All of them, in the order of their numbers.
    pub const ALL: [Health; 4] = [Health::Up, Health::Down, Health::Dry, Health::Off];

    /// As it stands in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Health::Up => "up",
            Health::Down => "down",
            Health::Dry => "dry",
            Health::Off => "off",
        }
    }
}

/// The figures of one endpoint. `taken_up + accepted + replayed = delivered + died + dropped + pending`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Name.
    pub endpoint: String,
    /// Deliveries left from before the start.
    pub taken_up: u64,
    /// Deliveries made since.
    pub accepted: u64,
    /// Dead letters that a person sent again.
    pub replayed: u64,
    /// Deliveries that arrived.
    pub delivered: u64,
    /// Deliveries that became dead letters.
    pub died: u64,
    /// Deliveries that were not made because they came too late to be of use.
    pub dropped: u64,
    /// Attempts.
    pub attempts: u64,
    /// Realtime events, to be sent or dropped.
    pub live: u64,
    /// Those that arrived.
    pub live_delivered: u64,
    /// Those that were dropped, stale or refused.
    pub live_dropped: u64,
    /// How the endpoint does.
    pub health: Health,
    /// When the oldest event that waits happened.
    pub oldest: Option<Wall>,
    /// Traffic of record events, and of pops and look-ups.
    pub traffic: [(Use, Traffic); 2],
    /// How the link is, to a relay.
    pub link: Option<Link>,
}

impl Figures {
    /// Deliveries that wait.
    pub fn pending(&self) -> u64 {
        (self.taken_up + self.accepted + self.replayed).saturating_sub(self.delivered + self.died + self.dropped)
    }
}

fn place(whom: Use) -> usize {
    match whom {
        Use::Record => 0,
        Use::Live => 1,
    }
}

impl Counts {
    pub(super) fn traffic(&self, whom: Use, more: Traffic) {
        for sums in [&self.sums, &self.untold] {
            if let Some(sums) = sums.get(place(whom)) {
                sums.add(more);
            }
        }
    }

    /// What the store has not been told yet, of endpoint `index`; `day`: the endpoint's.
    pub(super) fn untold(&self, index: usize, day: i64) -> Vec<Counted> {
        let all = [Use::Record, Use::Live].into_iter().zip(&self.untold);
        let taken = all.map(|(whom, sums)| (day, index, whom, sums.map(Count::take)));
        taken.filter(|(_, _, _, traffic)| *traffic != Traffic::default()).collect()
    }

    /// The store could not be told.
    pub(super) fn tell_later(&self, counted: &Counted) {
        if let Some(sums) = self.untold.get(place(counted.2)) {
            sums.add(counted.3);
        }
    }

    pub(super) fn set(&self, health: Health, oldest: Option<Wall>) {
        self.health.store(health as u8, Ordering::Relaxed);
        self.oldest.store(oldest.map_or(0, |time| time.0), Ordering::Relaxed);
    }

    pub(super) fn figures(&self, endpoint: &str) -> Figures {
        let health = usize::from(self.health.load(Ordering::Relaxed));
        let oldest = self.oldest.load(Ordering::Relaxed);
        let [record, live] = &self.sums;
        Figures {
            endpoint: endpoint.into(),
            // what becomes of an event is read before how many there are: a sum that is read meanwhile never lacks one
            delivered: self.delivered.get(),
            died: self.died.get(),
            dropped: self.dropped.get(),
            taken_up: self.taken_up.get(),
            accepted: self.accepted.get(),
            replayed: self.replayed.get(),
            attempts: self.attempts.get(),
            live_delivered: self.live_delivered.get(),
            live_dropped: self.live_dropped.get(),
            live: self.live.get(),
            health: Health::ALL.get(health).copied().unwrap_or_default(),
            oldest: (oldest != 0).then_some(Wall(oldest)),
            traffic: [(Use::Record, record.map(Count::get)), (Use::Live, live.map(Count::get))],
            link: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_over_the_link_is_told_once() {
        let counts = Counts::default();
        let more = Traffic { requests: 1, bytes_out: 700, bytes_in: 90, events: 1 };
        counts.traffic(Use::Live, more);
        counts.traffic(Use::Live, more);
        let told = counts.untold(3, 0);
        assert_eq!(told.len(), 1);
        assert_eq!((told[0].1, told[0].2, told[0].3.bytes_out), (3, Use::Live, 1_400));
        assert!(counts.untold(3, 0).is_empty());
        counts.tell_later(&told[0]);
        assert_eq!(counts.untold(3, 0), told);
        assert_eq!(counts.figures("crm").traffic[1].1.requests, 2);
    }
}

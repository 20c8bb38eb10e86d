//! Which workers live, as a bridge knows it from their beats; which of them it may use, and which work for it. No IO.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Beat, Lease, VERSION, is_token};
use crate::speech::protocol;
use crate::time::Mono;

/// How often a worker tells that it lives.
pub const EVERY: Duration = Duration::from_secs(1);
/// A worker that was not heard for so long is gone.
pub const SILENT: Duration = Duration::from_secs(3);
/// Most workers that a bridge knows; further ones are left out.
const MOST_WORKERS: usize = 256;
/// Most workers of whom it was told that they cannot be used.
const MOST_TOLD: usize = 1_024;

/// The living workers.
#[derive(Debug)]
pub struct Roster {
    model: String,
    language: String,
    workers: BTreeMap<String, Entry>,
    /// Machines that were refused, with the reason, so that each is told once.
    told: BTreeSet<(String, String)>,
}

#[derive(Debug)]
struct Entry {
    heard: Mono,
    free: bool,
    lease: Option<Lease>,
    /// What it does for this bridge, and since when.
    mine: Option<(Lease, Mono)>,
}

/// What a beat brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A worker that was not there before.
    Came,
    /// One that is known.
    Known,
    /// It has ended.
    Left,
    /// It cannot be used; the text says why and what to do. Told once for each machine.
    Refused(String),
    /// It cannot be used, as was told before.
    Ignored,
}

/// How a worker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It takes a job.
    Free,
    /// It works.
    Busy,
    /// It is gone.
    Gone,
}

impl Roster {
    /// Of a bridge that wants this model and language.
    pub fn new(model: &str, language: &str) -> Self {
        Self { model: model.into(), language: language.into(), workers: BTreeMap::new(), told: BTreeSet::new() }
    }

    /// Takes a beat.
    pub fn heard(&mut self, now: Mono, beat: &Beat) -> News {
        if !is_token(&beat.worker) {
            return self
                .refuse("?", "a worker whose name is none; install the same version on bridge and worker".into());
        }
        if beat.leaving {
            return if self.workers.remove(&beat.worker).is_some() { News::Left } else { News::Ignored };
        }
        if let Some(problem) = self.problem(beat) {
            self.workers.remove(&beat.worker);
            return self.refuse(&beat.machine, problem);
        }
        if let Some(entry) = self.workers.get_mut(&beat.worker) {
            (entry.heard, entry.free, entry.lease) = (now, beat.free, beat.lease);
            return News::Known;
        }
        if self.workers.len() >= MOST_WORKERS {
            return self
                .refuse(&beat.machine, format!("more than {MOST_WORKERS} workers; use another [speech.nats] group"));
        }
        let entry = Entry { heard: now, free: beat.free, lease: beat.lease, mine: None };
        self.workers.insert(beat.worker.clone(), entry);
        News::Came
    }

    fn problem(&self, beat: &Beat) -> Option<String> {
        if (beat.bus, beat.protocol) != (VERSION, protocol::VERSION) {
            let ours = env!("CARGO_PKG_VERSION");
            return Some(format!(
                "it is version {}, this bridge {ours}; install the same version on both",
                shown(&beat.version)
            ));
        }
        if beat.model != self.model {
            let theirs = shown(&beat.model);
            return Some(format!("it has the model {theirs}, expected {} ([speech] model)", self.model));
        }
        if beat.language != self.language {
            let theirs = shown(&beat.language);
            return Some(format!("it hears the language {theirs}, expected {} ([speech] language)", self.language));
        }
        None
    }

    fn refuse(&mut self, machine: &str, problem: String) -> News {
        let machine = shown(machine);
        if self.told.len() >= MOST_TOLD || !self.told.insert((machine.clone(), problem.clone())) {
            return News::Ignored;
        }
        News::Refused(format!("worker machine {machine}: {problem}"))
    }

    /// Forgets those that fell silent; their number.
    pub fn expire(&mut self, now: Mono) -> usize {
        let before = self.workers.len();
        self.workers.retain(|_, entry| now.since(entry.heard) < SILENT);
        before - self.workers.len()
    }

    /// How a worker stands.
    pub fn standing(&self, worker: &str) -> Standing {
        match self.workers.get(worker) {
            None => Standing::Gone,
            Some(entry) if entry.free && entry.mine.is_none() => Standing::Free,
            Some(_) => Standing::Busy,
        }
    }

    /// A worker has given this bridge a lease.
    pub fn granted(&mut self, now: Mono, worker: &str, lease: Lease) {
        if let Some(entry) = self.workers.get_mut(worker) {
            (entry.free, entry.mine) = (false, Some((lease, now)));
        }
    }

    /// A worker said that it is busy: it is not asked again before it says that it is free.
    pub fn taken(&mut self, worker: &str) {
        if let Some(entry) = self.workers.get_mut(worker) {
            entry.free = false;
        }
    }

    /// The bridge does not wait for this worker any more.
    pub fn released(&mut self, worker: &str) {
        if let Some(entry) = self.workers.get_mut(worker) {
            entry.mine = None;
        }
    }

    /// Whether nothing will come on the lease that a worker gave: it is gone, or tells of other work.
    pub fn is_lost(&self, worker: &str) -> bool {
        let Some(entry) = self.workers.get(worker) else { return true };
        // a beat from before the lease may come after it
        entry.mine.is_none_or(|(lease, since)| entry.lease != Some(lease) && entry.heard.since(since) >= SILENT)
    }

    /// Workers that take a job or work for this bridge.
    pub fn usable(&self) -> usize {
        self.workers.values().filter(|entry| entry.free || entry.mine.is_some()).count()
    }

    /// Workers that live and fit.
    pub fn living(&self) -> usize {
        self.workers.len()
    }
}

/// A text of somebody else, as it may stand in a log.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn beat(worker: &str) -> Beat {
        Beat {
            bus: VERSION,
            protocol: protocol::VERSION,
            version: "1".into(),
            worker: worker.into(),
            machine: "m".into(),
            model: "lab".into(),
            language: "ja".into(),
            dictionary: String::new(),
            free: true,
            lease: None,
            decoding: false,
            leaving: false,
        }
    }

    #[test]
    fn a_worker_comes_works_and_falls_silent() {
        let mut roster = Roster::new("lab", "ja");
        assert_eq!(roster.standing("a"), Standing::Gone);
        assert_eq!(roster.heard(Mono(0), &beat("a")), News::Came);
        assert_eq!(roster.heard(Mono(1), &beat("a")), News::Known);
        assert_eq!(roster.standing("a"), Standing::Free);
        roster.granted(Mono(2), "a", 7);
        assert_eq!((roster.standing("a"), roster.usable()), (Standing::Busy, 1));
        // sent before the lease was known there
        roster.heard(Mono(3), &beat("a"));
        assert!(!roster.is_lost("a"));
        assert_eq!(roster.standing("a"), Standing::Busy, "one job at a time");
        let working = Beat { free: false, lease: Some(7), ..beat("a") };
        roster.heard(Mono(4 * SECOND), &working);
        assert!(!roster.is_lost("a"));
        assert_eq!(roster.expire(Mono(7 * SECOND)), 1);
        assert!(roster.is_lost("a"));
        assert_eq!(roster.standing("a"), Standing::Gone);
    }

    #[test]
    fn a_worker_that_tells_of_other_work_has_lost_the_lease() {
        let mut roster = Roster::new("lab", "ja");
        roster.heard(Mono(0), &beat("a"));
        roster.granted(Mono(0), "a", 7);
        roster.heard(Mono(4 * SECOND), &Beat { free: false, lease: Some(8), ..beat("a") });
        assert!(roster.is_lost("a"));
        roster.released("a");
        assert_eq!((roster.standing("a"), roster.usable(), roster.living()), (Standing::Busy, 0, 1));
    }

    #[test]
    fn one_that_is_busy_is_asked_again_when_it_says_that_it_is_free() {
        let mut roster = Roster::new("lab", "ja");
        roster.heard(Mono(0), &beat("a"));
        roster.taken("a");
        assert_eq!(roster.standing("a"), Standing::Busy);
        roster.heard(Mono(1), &beat("a"));
        assert_eq!(roster.standing("a"), Standing::Free);
        assert_eq!(roster.heard(Mono(2), &Beat { leaving: true, ..beat("a") }), News::Left);
        assert_eq!(roster.living(), 0);
    }

    #[test]
    fn one_that_does_not_fit_is_told_once_and_not_used() {
        let mut roster = Roster::new("lab", "ja");
        let cases = [
            (Beat { model: "large".into(), ..beat("a") }, "it has the model large, expected lab"),
            (Beat { language: "en".into(), ..beat("a") }, "language en"),
            (Beat { protocol: 1, ..beat("a") }, "install the same version"),
            (Beat { bus: 99, model: "x".into(), ..beat("a") }, "install the same version"),
            (Beat { worker: "a.b".into(), ..beat("a") }, "whose name is none"),
        ];
        for (n, (wrong, expected)) in cases.iter().enumerate() {
            let wrong = Beat { version: n.to_string(), ..wrong.clone() };
            let News::Refused(why) = roster.heard(Mono(0), &wrong) else { panic!("{wrong:?}") };
            assert!(why.contains(expected), "{why}");
            assert_eq!(roster.heard(Mono(1), &wrong), News::Ignored);
        }
        assert_eq!(roster.living(), 0);
    }

    #[test]
    fn the_number_of_workers_is_bounded() {
        let mut roster = Roster::new("lab", "ja");
        for n in 0..2 * MOST_WORKERS {
            roster.heard(Mono(0), &beat(&format!("w{n}")));
        }
        assert_eq!(roster.living(), MOST_WORKERS);
    }
}

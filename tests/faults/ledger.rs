//! The ledger: what the outbox accepted against what arrived at each endpoint.

use std::collections::{BTreeMap, HashMap, HashSet};

use kakehashi::call::ContactId;
use kakehashi::time::Wall;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// An event: one that the outbox said it had, or one that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) id: Uuid,
    pub(crate) contact: ContactId,
    pub(crate) sequence: u64,
    /// Digest of the JSON. An event that was lost and made again has the same id and another digest.
    pub(crate) digest: String,
}

/// A request whose signature and body were right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    pub(crate) endpoint: String,
    pub(crate) event: Entry,
    /// Answered with 2xx: the receiver may forget that it came.
    pub(crate) taken: bool,
}

/// SHA-256 in hexadecimal digits.
pub(crate) fn digest(body: &[u8]) -> String {
    Sha256::digest(body).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Sums over runs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sums {
    /// Events accepted.
    pub(crate) accepted: usize,
    /// Events that arrived, per endpoint.
    pub(crate) arrived: usize,
    /// Requests beyond the first of an event.
    pub(crate) duplicates: usize,
}

impl std::ops::AddAssign for Sums {
    fn add_assign(&mut self, more: Sums) {
        self.accepted += more.accepted;
        self.arrived += more.arrived;
        self.duplicates += more.duplicates;
    }
}

/// Holds every rule: what was accepted was taken by each endpoint, each contact's events arrived first in order of sequence without a hole, and what
/// came again is the same.
///
/// # Errors
/// The first rule that is broken, with the event.
pub(crate) fn check(accepted: &[Entry], arrivals: &[Arrival], endpoints: &[&str]) -> Result<Sums, String> {
    let mut sums = Sums { accepted: accepted.len(), ..Sums::default() };
    let mut digests: HashMap<Uuid, &str> = accepted.iter().map(|event| (event.id, event.digest.as_str())).collect();
    for endpoint in endpoints {
        let mut last: BTreeMap<ContactId, u64> = BTreeMap::new();
        let (mut known, mut taken) = (HashSet::new(), HashSet::new());
        for arrival in arrivals.iter().filter(|arrival| arrival.endpoint == *endpoint) {
            let Entry { id, contact, sequence, ref digest } = arrival.event;
            if *digests.entry(id).or_insert(digest) != digest {
                return Err(format!(
                    "{endpoint}: {sequence} of {contact} is another than before, or than was accepted"
                ));
            }
            if arrival.taken {
                taken.insert(id);
            }
            if !known.insert(id) {
                sums.duplicates += 1;
                continue;
            }
            let before = last.insert(contact, sequence).unwrap_or(0);
            if sequence != before + 1 {
                return Err(format!("{endpoint}: {sequence} of {contact} came after {before}"));
            }
        }
        sums.arrived += known.len();
        let missing: Vec<u64> =
            accepted.iter().filter(|event| !taken.contains(&event.id)).map(|event| event.sequence).collect();
        if !missing.is_empty() {
            return Err(format!("{endpoint}: {} of {} events are missing: {missing:?}", missing.len(), accepted.len()));
        }
    }
    Ok(sums)
}

#[test]
fn every_rule_is_held() {
    let event = |contact: u128, sequence: u64| {
        let contact = ContactId(Uuid::from_u128(contact));
        let id = kakehashi::events::Event::record_id(contact, sequence, Wall(0));
        Entry { id, contact, sequence, digest: "same".into() }
    };
    let arrival = |event: &Entry, taken| Arrival { endpoint: "crm".into(), event: event.clone(), taken };
    let (one, two, other) = (event(1, 1), event(1, 2), event(2, 1));
    let accepted = [one.clone(), two.clone(), other.clone()];
    let good = [arrival(&one, false), arrival(&other, true), arrival(&one, true), arrival(&two, true)];
    let sums = check(&accepted, &good, &["crm"]).unwrap();
    assert_eq!((sums.accepted, sums.arrived, sums.duplicates), (3, 3, 1));
    assert!(check(&accepted[..2], &good, &["crm"]).is_ok(), "what was not acknowledged may arrive");
    let broken = |arrivals: &[Arrival], endpoints: &[&str], problem: &str| {
        let found = check(&accepted, arrivals, endpoints).unwrap_err();
        assert!(found.contains(problem), "{found}");
    };
    broken(&good[..3], &["crm"], "1 of 3 events are missing: [2]");
    broken(&good, &["crm", "archive"], "archive: 3 of 3 events are missing");
    let [first, second, third, fourth] = good.clone();
    broken(&[first.clone(), second.clone(), fourth.clone()], &["crm"], "1 of 3 events are missing: [1]");
    broken(&[fourth.clone(), first.clone(), second.clone(), third.clone()], &["crm"], "came after 0");
    let again = Entry { digest: "made again".into(), ..one };
    broken(&[first, second, arrival(&again, true), fourth], &["crm"], "1 of");
    broken(&[arrival(&again, true)], &["crm"], "than was accepted");
}

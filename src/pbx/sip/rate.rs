//! How much one address may ask: a bucket of tokens each, bounded in number. Virtual time.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use crate::time::{Mono, Now};

/// Addresses with a bucket of their own; beyond them all others share one.
const ADDRESSES_MAX: usize = 4_096;
/// Full buckets are thrown away at most this often.
const SWEEP: Duration = Duration::from_secs(1);
/// Refusals that are told, as a share of what may be asked.
const TOLD: f64 = 0.1;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is taken.
    Taken,
    /// It is refused, and its sender is told.
    Refused,
    /// Nothing is said: its sender was told often enough.
    Silent,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    requests: f64,
    refusals: f64,
    at: Mono,
}

/// What addresses have left.
#[derive(Debug)]
pub struct Rates {
    per_s: f64,
    burst: f64,
    all: HashMap<IpAddr, Bucket>,
    swept: Option<Mono>,
}

impl Rates {
    /// `per_s` requests a second after `burst` at once; 0 a second: any number.
    pub fn new(per_s: u32, burst: u32) -> Rates {
        Rates { per_s: per_s.into(), burst: burst.max(1).into(), all: HashMap::new(), swept: None }
    }

    /// One request from an address.
    pub fn ask(&mut self, address: IpAddr, now: Now) -> Verdict {
        self.ask_for(address, 1, now)
    }

    /// As many requests at once; more than the burst are never taken.
    pub fn ask_for(&mut self, address: IpAddr, requests: u32, now: Now) -> Verdict {
        if self.per_s == 0.0 {
            return Verdict::Taken;
        }
        let (per_s, burst, told) = (self.per_s, self.burst, (self.burst * TOLD).max(1.0));
        let key = self.key(address, now);
        let bucket = self.all.entry(key).or_insert(Bucket { requests: burst, refusals: told, at: now.mono });
        let passed = now.mono.since(bucket.at).as_secs_f64();
        bucket.at = bucket.at.max(now.mono);
        bucket.requests = (bucket.requests + passed * per_s).min(burst);
        bucket.refusals = (bucket.refusals + passed * per_s * TOLD).min(told);
        let wanted = f64::from(requests);
        if bucket.requests >= wanted {
            bucket.requests -= wanted;
            Verdict::Taken
        } else if bucket.refusals >= 1.0 {
            bucket.refusals -= 1.0;
            Verdict::Refused
        } else {
            Verdict::Silent
        }
    }

    /// The machine, or what all share that have no bucket.
    fn key(&mut self, address: IpAddr, now: Now) -> IpAddr {
        let key = machine(address);
        if self.all.len() < ADDRESSES_MAX || self.all.contains_key(&key) {
            return key;
        }
        if self.swept.is_none_or(|last| now.mono.since(last) >= SWEEP) {
            self.swept = Some(now.mono);
            let full = Duration::from_secs_f64(self.burst / self.per_s);
            self.all.retain(|_, bucket| now.mono.since(bucket.at) < full);
        }
        if self.all.len() < ADDRESSES_MAX { key } else { Ipv6Addr::UNSPECIFIED.into() }
    }
}

/// What stands for the machine of an address: of IPv6 its network, in which a machine has as many addresses as it likes.
pub(super) fn machine(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Wall;

    fn at(millis: u64) -> Now {
        Now { mono: Mono(millis * 1_000_000), wall: Wall(0) }
    }

    fn taken(rates: &mut Rates, address: &str, times: usize, now: Now) -> [usize; 3] {
        let mut counts = [0; 3];
        for _ in 0..times {
            counts[rates.ask(address.parse().unwrap(), now) as usize] += 1;
        }
        counts
    }

    #[test]
    fn a_flood_is_taken_up_to_its_rate_then_refused_then_met_with_silence_and_touches_nobody_else() {
        let mut rates = Rates::new(100, 200);
        assert_eq!(taken(&mut rates, "192.0.2.1", 1_000, at(0)), [200, 20, 780]);
        assert_eq!(taken(&mut rates, "192.0.2.2", 200, at(0)), [200, 0, 0]);
        assert_eq!(taken(&mut rates, "::ffff:192.0.2.1", 1_000, at(500)), [50, 5, 945]);
        assert_eq!(taken(&mut rates, "192.0.2.1", 1_000, at(60_000)), [200, 20, 780]);
    }

    #[test]
    fn a_machine_with_many_addresses_of_ipv6_is_one() {
        let mut rates = Rates::new(1, 10);
        assert_eq!(taken(&mut rates, "2001:db8::1", 10, at(0)), [10, 0, 0]);
        assert_eq!(taken(&mut rates, "2001:db8::2", 1, at(0)), [0, 1, 0]);
        assert_eq!(taken(&mut rates, "2001:db8:0:1::1", 1, at(0)), [1, 0, 0]);
    }

    #[test]
    fn addresses_are_bounded_and_who_rests_is_forgotten() {
        let mut rates = Rates::new(1, 10);
        for n in 0..10_000_u32 {
            rates.ask(IpAddr::V4((0x0a00_0000 + n).into()), at(0));
        }
        assert!(rates.all.len() <= ADDRESSES_MAX + 1, "{}", rates.all.len());
        assert_eq!(rates.ask("192.0.2.1".parse().unwrap(), at(0)), Verdict::Silent);
        assert_eq!(taken(&mut rates, "192.0.2.1", 10, at(20_000)), [10, 0, 0]);
        assert_eq!(rates.all.len(), 1);
    }

    #[test]
    fn what_is_large_counts_as_several() {
        let mut rates = Rates::new(10, 10);
        let address = "192.0.2.1".parse().unwrap();
        let took = (0..10).filter(|_| rates.ask_for(address, 4, at(0)) == Verdict::Taken).count();
        assert_eq!(took, 2);
        assert_eq!(rates.ask_for(address, 2, at(0)), Verdict::Taken, "what is left is not lost");
        assert_eq!(rates.ask_for(address, 11, at(60_000)), Verdict::Refused);
    }

    #[test]
    fn no_rate_is_no_limit() {
        assert_eq!(taken(&mut Rates::new(0, 0), "192.0.2.1", 10_000, at(0)), [10_000, 0, 0]);
    }
}

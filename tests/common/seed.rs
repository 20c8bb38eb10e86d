//! The seed of tests whose cases are new each time: given by `KAKEHASHI_SEED`, or fresh, and printed; one for a whole run.

use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) fn seed() -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    *SEED.get_or_init(|| {
        let given =
            std::env::var("KAKEHASHI_SEED").ok().map(|seed| seed.parse().expect("KAKEHASHI_SEED is a whole number"));
        let fresh = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        let seed = given.unwrap_or_else(fresh);
        println!("KAKEHASHI_SEED={seed}");
        seed
    })
}

//! What an answer means for its lane, its endpoint and its delivery: the rules of `retry` and `breaker` together.

use super::lane::{LaneId, Lanes};
use super::retry::{Answer, Verdict, judge, trouble};
use super::store::Outcome;
use crate::time::Now;

/// What follows.
#[derive(Clone, Debug)]
pub enum Settled {
    /// The delivery is done with, delivered, dead or dropped; [`Lanes::landed`] comes next.
    Done(Outcome),
    /// It is tried again; its lane knows when.
    Again(Outcome),
    /// The endpoint is off.
    Off,
}

impl Lanes {
    /// Takes the answer to attempt number `attempts` (1 for the first) of a lane's head. While the endpoint counts as down no attempt counts: an
    /// outage of days makes no dead letter. `chance` is random, 0–1.
    pub fn settle(
        &mut self,
        lane: LaneId,
        attempts: u32,
        answer: &Answer,
        schedule: &[u64],
        now: Now,
        chance: f64,
    ) -> Settled {
        match answer {
            // it is no attempt, and what carries it works
            Answer::Dry { wait, .. } => {
                self.answered(lane.endpoint);
                self.run_dry(lane, now.mono + *wait);
                return again(now, *wait, answer, false);
            }
            Answer::NotYet { wait, .. } => {
                self.answered(lane.endpoint);
                self.wait(lane, now.mono + *wait, false);
                return again(now, *wait, answer, false);
            }
            _ => {}
        }
        let trouble = trouble(answer, now.wall);
        match trouble {
            Some(asked) if self.unanswered(lane.endpoint, asked, now.mono) => {
                let left = self.down_until(lane.endpoint).map(|until| until.since(now.mono)).unwrap_or_default();
                self.back(lane);
                return again(now, left, answer, false);
            }
            Some(_) => {}
            // nobody was asked
            None if matches!(answer, Answer::Late(_)) => {}
            None => {
                self.answered(lane.endpoint);
            }
        }
        match judge(answer, attempts, schedule, now.wall, chance) {
            Verdict::Delivered => Settled::Done(Outcome::Delivered),
            Verdict::Dead(error) => Settled::Done(Outcome::Dead { error }),
            Verdict::Dropped(error) => Settled::Done(Outcome::Dropped { error }),
            Verdict::Off => {
                self.switch_off(lane);
                Settled::Off
            }
            Verdict::Again(wait) => {
                self.wait(lane, now.mono + wait, trouble.is_some());
                again(now, wait, answer, true)
            }
        }
    }
}

fn again(now: Now, wait: std::time::Duration, answer: &Answer, counted: bool) -> Settled {
    Settled::Again(Outcome::Again { at: now.wall + wait, error: answer.to_string(), counted })
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};
    use std::time::Duration;

    use uuid::Uuid;

    use super::*;
    use crate::call::ContactId;
    use crate::outbox::lane::DeliveryId;
    use crate::outbox::settings::Settings;
    use crate::time::{Mono, Wall};

    const SECOND: u64 = 1_000_000_000;
    const HOUR: u64 = 3_600;

    /// An endpoint in virtual time: contacts that begin all the time, and what each second of it answers.
    struct Simulation {
        lanes: Lanes,
        schedule: Vec<u64>,
        second: u64,
        attempts: HashMap<DeliveryId, u32>,
        tried: u64,
        arrived: BTreeMap<u128, Vec<i64>>,
        dead: Vec<DeliveryId>,
    }

    impl Simulation {
        fn new() -> Self {
            let settings = Settings::default();
            Self {
                lanes: Lanes::new(vec![32], 256, settings.limits()),
                schedule: settings.retry_schedule_ms,
                second: 0,
                attempts: HashMap::new(),
                tried: 0,
                arrived: BTreeMap::new(),
                dead: Vec::new(),
            }
        }

        /// Event `sequence` of a contact.
        fn push(&mut self, contact: u128, sequence: i64) {
            let lane = LaneId { endpoint: 0, contact: ContactId(Uuid::from_u128(contact)) };
            self.lanes.push(lane, DeliveryId(contact as i64 * 1_000 + sequence));
        }

        /// One second: what may fly flies and lands.
        fn passes(&mut self, answer: impl Fn(DeliveryId) -> Answer) {
            let mono = Mono(self.second * SECOND);
            let now = Now { mono, wall: Wall(1_795_420_800_000_000 + (self.second * 1_000_000) as i64) };
            for _ in 0..100 {
                let Some((lane, delivery)) = self.lanes.take(now) else { break };
                self.tried += 1;
                let attempts = self.attempts.entry(delivery).or_default();
                match self.lanes.settle(lane, *attempts + 1, &answer(delivery), &self.schedule, now, 0.0) {
                    Settled::Done(outcome) => {
                        match outcome {
                            Outcome::Delivered => {
                                self.arrived.entry(lane.contact.0.as_u128()).or_default().push(delivery.0 % 1_000)
                            }
                            _ => self.dead.push(delivery),
                        }
                        self.lanes.landed(lane);
                    }
                    Settled::Again(Outcome::Again { counted, .. }) => *attempts += u32::from(counted),
                    other => panic!("{other:?}"),
                }
            }
            self.second += 1;
        }
    }

    fn status(code: u16, retry_after: Option<&str>) -> Answer {
        Answer::of_status(code, retry_after)
    }

    #[test]
    fn three_days_without_an_answer_make_no_dead_letter_and_little_noise() {
        for (down, hours) in
            [(Answer::Failed("no connection".into()), 72), (status(503, None), 72), (status(429, None), 1)]
        {
            let mut simulation = Simulation::new();
            let (mut contacts, end) = (0, hours * HOUR);
            while simulation.second < end {
                // a contact of three events every ten minutes
                if simulation.second.is_multiple_of(600) {
                    contacts += 1;
                    (1..=3).for_each(|sequence| simulation.push(contacts, sequence));
                }
                simulation.passes(|_| down.clone());
            }
            let tried = simulation.tried;
            assert!(tried <= hours * HOUR / 120 + 20, "{tried} attempts in {hours} h");
            while !simulation.lanes.is_empty() {
                simulation.passes(|_| status(204, None));
                assert!(
                    simulation.second <= end + 300,
                    "it catches up soon after the endpoint is back: {:?}",
                    simulation.lanes.due()
                );
            }
            assert!(simulation.dead.is_empty() && simulation.arrived.len() == contacts as usize);
            assert!(simulation.arrived.values().all(|sequences| sequences == &[1, 2, 3]), "in order, once");
        }
    }

    #[test]
    fn an_event_that_the_endpoint_stumbles_over_becomes_a_dead_letter_and_holds_up_nobody_else() {
        let mut simulation = Simulation::new();
        simulation.push(1, 1);
        simulation.push(1, 2);
        let bad = |delivery: DeliveryId| if delivery.0 == 1_001 { status(500, None) } else { status(204, None) };
        let mut contact = 1;
        while simulation.dead.is_empty() {
            if simulation.second.is_multiple_of(60) {
                contact += 1;
                simulation.push(contact, 1);
            }
            simulation.passes(bad);
            assert!(simulation.arrived.len() as u128 + 1 >= contact, "others fly at once, also past the breaker");
            assert!(simulation.second < 80 * HOUR);
        }
        assert!(simulation.second > 30 * HOUR, "it was tried along the whole schedule");
        simulation.passes(bad);
        assert_eq!(
            (simulation.dead.as_slice(), simulation.arrived[&1].as_slice()),
            (&[DeliveryId(1_001)][..], &[2][..])
        );
    }

    #[test]
    fn what_is_too_old_goes_without_an_attempt_and_says_nothing_of_the_endpoint() {
        let mut simulation = Simulation::new();
        (1..=5).for_each(|contact| simulation.push(contact, 1));
        while !simulation.lanes.is_down(0) {
            simulation.passes(|_| Answer::Failed("no connection".into()));
        }
        while !simulation.lanes.is_empty() {
            simulation.passes(|_| Answer::Late("too old".into()));
            assert!(simulation.lanes.is_down(0), "it has not answered");
        }
        simulation.push(6, 1);
        simulation.passes(|_| status(204, None));
        assert!(!simulation.lanes.is_down(0) && simulation.arrived.len() == 1);
        assert_eq!(simulation.dead.len(), 5, "done with, and not delivered");
    }

    #[test]
    fn retry_after_is_for_the_whole_endpoint_and_costs_no_attempt() {
        let mut simulation = Simulation::new();
        (1..=5).for_each(|contact| simulation.push(contact, 1));
        simulation.passes(|_| status(429, Some("60")));
        let first = simulation.tried;
        while simulation.second < 60 {
            simulation.passes(|_| panic!("it asked for a minute"));
        }
        assert!(first <= 5 && simulation.attempts.values().all(|attempts| *attempts == 0));
        simulation.passes(|_| status(204, None));
        assert_eq!(simulation.arrived.len(), 5);
    }

    #[test]
    fn a_minute_without_an_answer_is_made_up_for_within_another() {
        let mut simulation = Simulation::new();
        simulation.push(1, 1);
        while simulation.second < 60 {
            simulation.passes(|_| Answer::Failed("no answer in time".into()));
        }
        while !simulation.lanes.is_empty() {
            simulation.passes(|_| status(200, None));
        }
        assert!(simulation.second <= 120 + Duration::from_secs(5).as_secs(), "{}", simulation.second);
    }
}

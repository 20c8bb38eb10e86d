//! The schedule in virtual time.

use super::*;
use crate::call::scope::Scopes;
use crate::time::Mono;
use JobKind::{CatchUp, FirstPartial, LiveFinal, Refresh};
use uuid::Uuid;

fn job(id: u64, kind: JobKind, stream: u128, seconds: usize) -> Job {
    let pcm = vec![0; seconds * 8_000].into();
    Job {
        id,
        kind,
        stream: StreamId(Uuid::from_u128(stream)),
        utterance: 0,
        rate: 8_000,
        pcm,
        scopes: Scopes::default(),
        since: Mono(0),
        deadline: None,
    }
}

fn at(ms: u64) -> Now {
    Now { mono: Mono(ms * 1_000_000), ..Now::default() }
}

fn schedule() -> Schedule {
    Schedule::new(&Settings::default(), 1)
}

fn take(schedule: &mut Schedule) -> Option<u64> {
    schedule.take(Now::default(), &mut Vec::new()).map(|attempt| attempt.job.id)
}

#[test]
fn live_goes_first_and_catch_up_gets_its_quarter() {
    let mut schedule = schedule();
    for n in 0..40 {
        schedule.submit(at(0), job(n, CatchUp, 1_000 + u128::from(n), 2)).unwrap();
        schedule.submit(at(0), job(100 + n, LiveFinal, u128::from(n), 2)).unwrap();
    }
    let first: Vec<u64> = (0..40).map_while(|_| take(&mut schedule)).collect();
    assert_eq!(first[0], 100);
    let caught_up = first.iter().filter(|id| **id < 100).count();
    assert!((9..=11).contains(&caught_up), "{caught_up} of 40: {first:?}");
    let live: Vec<u64> = first.iter().copied().filter(|id| *id >= 100).collect();
    assert!(live.is_sorted(), "in the order in which they came");
}

#[test]
fn an_idle_time_of_one_kind_gives_no_credit() {
    let mut schedule = schedule();
    for n in 0..100 {
        schedule.submit(at(0), job(n, LiveFinal, u128::from(n), 10)).unwrap();
        take(&mut schedule);
        schedule.done(at(0), n);
    }
    for n in 0..8 {
        schedule.submit(at(0), job(200 + n, CatchUp, 500 + u128::from(n), 2)).unwrap();
        schedule.submit(at(0), job(300 + n, LiveFinal, u128::from(n), 2)).unwrap();
    }
    let next: Vec<u64> = (0..4).map_while(|_| take(&mut schedule)).collect();
    assert_eq!(next.iter().filter(|id| **id < 300).count(), 1, "{next:?}");
}

#[test]
fn a_stream_has_one_job_running_so_that_its_texts_keep_their_order() {
    let mut schedule = schedule();
    for (id, stream) in [(1, 1), (2, 1), (3, 2)] {
        schedule.submit(at(0), job(id, LiveFinal, stream, 2)).unwrap();
    }
    assert_eq!((take(&mut schedule), take(&mut schedule), take(&mut schedule)), (Some(1), Some(3), None));
    assert!(schedule.done(at(0), 1));
    assert_eq!(take(&mut schedule), Some(2));
}

#[test]
fn a_full_queue_gives_the_job_back_and_the_other_kind_is_not_touched() {
    let settings = Settings { queue_live_seconds: 10, queue_catch_up_seconds: 4, ..Settings::default() };
    let mut schedule = Schedule::new(&settings, 1);
    for n in 0..2 {
        schedule.submit(at(0), job(n, CatchUp, 1, 2)).unwrap();
    }
    assert_eq!(schedule.submit(at(0), job(9, CatchUp, 1, 2)).unwrap_err().id, 9);
    for n in 0..5 {
        schedule.submit(at(0), job(10 + n, LiveFinal, 2, 2)).unwrap();
    }
    assert_eq!(schedule.submit(at(0), job(20, LiveFinal, 2, 2)).unwrap_err().id, 20);
    assert_eq!(schedule.load(), Load { waiting: 7, waiting_seconds: 14.0, running: 0 });
    take(&mut schedule);
    schedule.submit(at(0), job(20, LiveFinal, 2, 2)).unwrap();
    let mut empty = Schedule::new(&settings, 1);
    empty.submit(at(0), job(1, CatchUp, 1, 14)).unwrap(); // longer than the limit, but nothing else waits
}

#[test]
fn a_job_is_tried_twice_and_then_told_as_failed() {
    let mut schedule = schedule();
    schedule.submit(at(0), job(1, LiveFinal, 1, 2)).unwrap();
    schedule.submit(at(0), job(2, LiveFinal, 1, 2)).unwrap();
    assert_eq!(take(&mut schedule), Some(1));
    assert!(schedule.failed(at(0), 1, "killed").is_none());
    assert_eq!(take(&mut schedule), Some(1), "before the next one of its stream");
    let outcome = schedule.failed(at(0), 1, "killed again").unwrap();
    assert!(matches!(outcome, Outcome { id: 1, result: Err(Failure::Failed(reason)) } if reason == "killed again"));
    assert!(schedule.failed(at(0), 1, "late").is_none() && !schedule.done(at(0), 1), "it is told once");
    assert_eq!(take(&mut schedule), Some(2));
}

#[test]
fn what_is_no_longer_of_use_is_withdrawn() {
    let mut schedule = schedule();
    schedule.submit(at(0), Job { deadline: Some(Mono(5)), ..job(1, LiveFinal, 1, 2) }).unwrap();
    schedule.submit(at(0), job(2, LiveFinal, 2, 2)).unwrap();
    let mut withdrawn = Vec::new();
    let now = Now { mono: Mono(6), ..Now::default() };
    assert_eq!(schedule.take(now, &mut withdrawn).unwrap().job.id, 2);
    assert!(matches!(withdrawn[..], [Outcome { id: 1, result: Err(Failure::Withdrawn) }]));
    assert_eq!(schedule.load().waiting_seconds, 0.0);
}

#[test]
fn patience_grows_with_the_sound() {
    let schedule = schedule();
    assert_eq!(schedule.patience(&job(1, LiveFinal, 1, 2)), Duration::from_secs(25));
}

fn partial(id: u64, kind: JobKind, stream: u128, utterance: u32) -> Job {
    Job { utterance, deadline: Some(Mono(3_000_000_000)), ..job(id, kind, stream, 2) }
}

#[test]
fn finals_go_before_first_partials_and_those_before_further_ones() {
    let mut schedule = schedule();
    schedule.submit(at(0), partial(1, Refresh, 1, 0)).unwrap();
    schedule.submit(at(0), partial(2, FirstPartial, 2, 0)).unwrap();
    schedule.submit(at(0), job(3, LiveFinal, 3, 2)).unwrap();
    let order: Vec<u64> = (0..3).map_while(|_| take(&mut schedule)).collect();
    assert_eq!(order, [3, 2, 1]);
    assert_eq!(schedule.counts().partials, 2);
}

#[test]
fn catch_up_gets_its_quarter_beside_partials_too() {
    let mut schedule = schedule();
    for n in 0..40 {
        schedule.submit(at(0), job(n, CatchUp, 1_000 + u128::from(n), 2)).unwrap();
        schedule.submit(at(0), partial(100 + n, Refresh, u128::from(n), 0)).unwrap();
    }
    let first: Vec<u64> = (0..40).map_while(|_| take(&mut schedule)).collect();
    let caught_up = first.iter().filter(|id| **id < 100).count();
    assert!((9..=11).contains(&caught_up), "{caught_up} of 40");
}

#[test]
fn a_newer_partial_takes_the_place_of_the_one_that_waits() {
    let mut schedule = schedule();
    schedule.submit(at(0), partial(1, FirstPartial, 1, 0)).unwrap();
    schedule.submit(at(0), partial(2, FirstPartial, 2, 0)).unwrap();
    let replaced = schedule.submit(at(600), partial(3, Refresh, 1, 0)).unwrap();
    assert_eq!(replaced, Replaced { waiting: vec![1], running: false });
    let first = schedule.take(at(600), &mut Vec::new()).unwrap();
    assert_eq!((first.job.id, first.job.kind), (3, FirstPartial), "nothing of it was shown yet, and it came first");
    assert_eq!(schedule.submit(at(700), partial(4, Refresh, 1, 0)).unwrap(), Replaced::default());
    assert_eq!(take(&mut schedule), Some(2));
    assert_eq!(take(&mut schedule), None, "of one stream one at a time");
    assert!(schedule.done(at(800), 3));
    assert_eq!(take(&mut schedule), Some(4));
}

#[test]
fn a_final_takes_back_the_partials_of_its_utterance_and_of_no_other() {
    let mut schedule = Schedule::new(&Settings::default(), 4);
    schedule.submit(at(0), partial(1, FirstPartial, 1, 7)).unwrap();
    assert_eq!(take(&mut schedule), Some(1));
    schedule.submit(at(0), partial(2, Refresh, 1, 7)).unwrap();
    schedule.submit(at(0), partial(3, Refresh, 2, 7)).unwrap();
    let replaced = schedule.submit(at(0), Job { utterance: 7, ..job(4, LiveFinal, 1, 2) }).unwrap();
    assert_eq!(replaced, Replaced { waiting: vec![2], running: true });
    assert!(schedule.is_withdrawn(1) && !schedule.is_withdrawn(3));
    assert_eq!(take(&mut schedule), Some(4), "it does not wait for the partial that runs");
    assert!(!schedule.done(at(0), 1), "nobody wants that text");
    assert_eq!(take(&mut schedule), Some(3));
    assert_eq!((schedule.counts().partials_dropped, schedule.counts().partials_aborted), (1, 1));
}

#[test]
fn when_all_workers_are_busy_a_partial_makes_way_for_a_final() {
    let mut schedule = Schedule::new(&Settings::default(), 3);
    schedule.submit(at(0), partial(1, FirstPartial, 1, 0)).unwrap();
    schedule.submit(at(0), partial(2, Refresh, 2, 0)).unwrap();
    schedule.submit(at(0), partial(3, Refresh, 3, 0)).unwrap();
    let mut running: Vec<u64> = (0..2).map_while(|_| take(&mut schedule)).collect();
    assert!(!schedule.submit(at(0), job(4, LiveFinal, 4, 2)).unwrap().running, "a worker is free");
    running.extend(take(&mut schedule));
    assert_eq!(running, [1, 2, 4]);
    assert!(schedule.submit(at(0), job(5, LiveFinal, 5, 2)).unwrap().running);
    assert!(schedule.is_withdrawn(2) && !schedule.is_withdrawn(1), "the further text, not the first one");
    schedule.submit(at(0), job(6, LiveFinal, 6, 2)).unwrap();
    schedule.submit(at(0), job(7, LiveFinal, 7, 2)).unwrap();
    assert!(schedule.is_withdrawn(1) && !schedule.is_withdrawn(4), "a final is never given up");
    let mut order = Schedule::new(&Settings::default(), 2);
    order.submit(at(0), job(1, LiveFinal, 1, 2)).unwrap();
    order.submit(at(0), partial(2, Refresh, 2, 0)).unwrap();
    assert_eq!((take(&mut order), take(&mut order)), (Some(1), Some(2)));
    let behind_it = Job { utterance: 1, ..job(3, LiveFinal, 1, 2) };
    assert!(!order.submit(at(0), behind_it).unwrap().running, "it waits for its stream, not for a worker");
}

#[test]
fn a_partial_is_not_tried_again() {
    let mut schedule = schedule();
    schedule.submit(at(0), partial(1, Refresh, 1, 0)).unwrap();
    assert_eq!(take(&mut schedule), Some(1));
    assert!(schedule.failed(at(0), 1, "killed").is_some());
    assert_eq!((take(&mut schedule), schedule.counts().partials_failed), (None, 1));
}

#[test]
fn while_finals_wait_there_are_no_partials_and_afterwards_there_are() {
    let mut schedule = Schedule::new(&Settings::default(), 2);
    assert_eq!(schedule.pace(), Some(Duration::from_millis(600)));
    for n in 0..3 {
        schedule.submit(at(0), job(n, LiveFinal, u128::from(n), 2)).unwrap();
    }
    assert_eq!(schedule.pace(), None, "more wait than there are workers");
    assert_eq!(schedule.submit(at(0), partial(9, FirstPartial, 9, 0)).unwrap_err().id, 9);
    assert_eq!(schedule.counts().partials_dropped, 1);
    assert_eq!(take(&mut schedule), Some(0));
    assert_eq!(schedule.behind(at(40).mono), Duration::from_millis(40));
    schedule.submit(at(40), partial(10, FirstPartial, 9, 0)).unwrap();
    for n in 0..3 {
        schedule.take(at(20_000), &mut Vec::new());
        schedule.done(at(40_000), n);
    }
    assert_eq!(schedule.pace(), Some(Duration::from_secs(2)), "the workers were busy all the time");
    schedule.take(at(60_000), &mut Vec::new());
    assert_eq!(schedule.pace(), Some(Duration::from_millis(600)));
    assert_eq!(schedule.counts().longest_wait_ms, 20_000);
    let silent = Schedule::new(&Settings { partials: false, ..Settings::default() }, 2);
    assert_eq!(silent.pace(), None);
}

/// Random work over ten minutes of virtual time, by seed.
#[test]
fn whatever_comes_every_final_is_done_once_and_in_order_and_partials_never_go_before() {
    for seed in 0..300u64 {
        let mut state = seed;
        let mut below = |limit: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % limit.max(1)
        };
        let workers = 1 + below(4) as usize;
        let mut schedule = Schedule::new(&Settings::default(), workers);
        let (mut running, mut done): (Vec<Attempt>, Vec<Job>) = (Vec::new(), Vec::new());
        let (mut submitted, mut numbers) = (0, [0u32; 8]);
        for step in 0..2_000u64 {
            let now = at(step * 300);
            let stream = below(8) as usize;
            match below(10) {
                0..=2 if step < 1_500 => {
                    let kind = if below(4) == 0 { CatchUp } else { LiveFinal };
                    let own = if kind == CatchUp { stream + 100 } else { stream };
                    let utterance = numbers[stream];
                    numbers[stream] += 1;
                    let final_of = Job { utterance, ..job(step, kind, own as u128, 2) };
                    submitted += usize::from(schedule.submit(now, final_of).is_ok());
                }
                3..=5 if step < 1_500 => {
                    let kind = if below(2) == 0 { FirstPartial } else { Refresh };
                    let deadline = Some(now.mono + Duration::from_secs(2));
                    let _ =
                        schedule.submit(now, Job { deadline, ..partial(step, kind, stream as u128, numbers[stream]) });
                }
                6 if !running.is_empty() => {
                    let attempt = running.swap_remove(below(running.len() as u64) as usize);
                    let outcome = schedule.failed(now, attempt.job.id, "killed");
                    let is_last = attempt.failed == 1 || attempt.job.kind.is_partial();
                    assert_eq!(outcome.is_some(), is_last, "seed {seed}");
                    done.extend((is_last && !attempt.job.kind.is_partial()).then_some(attempt.job));
                }
                _ if !running.is_empty() => {
                    let attempt = running.swap_remove(below(running.len() as u64) as usize);
                    let wanted = schedule.done(now, attempt.job.id);
                    assert!(wanted || attempt.job.kind.is_partial(), "seed {seed}: a final was given up");
                    done.extend((!attempt.job.kind.is_partial()).then_some(attempt.job));
                }
                _ => {}
            }
            while running.len() < workers {
                let Some(attempt) = schedule.take(now, &mut Vec::new()) else { break };
                let of_stream = |one: &&Attempt| one.job.stream == attempt.job.stream;
                let same = running
                    .iter()
                    .filter(of_stream)
                    .filter(|one| one.job.kind.is_partial() == attempt.job.kind.is_partial());
                assert_eq!(same.count(), 0, "seed {seed}: two of one stream at a time");
                if attempt.job.kind.is_partial() {
                    let busy = schedule.streams_of(|kind| !kind.is_partial());
                    assert!(schedule.live.pick(&busy).is_none(), "seed {seed}: a partial went before a final");
                }
                running.push(attempt);
            }
            let streams: Vec<StreamId> = schedule.partials.iter().map(|attempt| attempt.job.stream).collect();
            assert!(
                (1..streams.len()).all(|n| !streams[..n].contains(&streams[n])),
                "seed {seed}: two of a stream wait"
            );
        }
        assert_eq!(done.len(), submitted, "seed {seed}");
        for stream in 0..200 {
            let own = done.iter().filter(|job| job.stream == StreamId(Uuid::from_u128(stream)));
            let order: Vec<u32> = own.map(|job| job.utterance).collect();
            assert!(order.windows(2).all(|pair| pair[0] < pair[1]), "seed {seed}: {order:?}");
        }
    }
}

#[test]
fn a_job_that_was_put_back_is_first_again_and_has_lost_no_try() {
    let mut schedule = schedule();
    schedule.submit(at(0), job(1, LiveFinal, 1, 2)).unwrap();
    schedule.submit(at(0), job(2, LiveFinal, 1, 2)).unwrap();
    for _ in 0..5 {
        assert_eq!(take(&mut schedule), Some(1));
        assert!(schedule.put_back(at(0), 1).is_none());
    }
    assert!(schedule.put_back(at(0), 2).is_none(), "it does not run");
    assert_eq!(schedule.load(), Load { waiting: 2, waiting_seconds: 4.0, running: 0 });
    assert_eq!(take(&mut schedule), Some(1));
    assert!(schedule.failed(at(0), 1, "broke").is_none(), "its first try");
}

#[test]
fn a_final_that_was_handed_on_waits_and_is_counted_until_another_worker_has_begun_it() {
    let mut schedule = Schedule::new(&Settings::default(), 1);
    schedule.submit(at(0), job(1, LiveFinal, 1, 2)).unwrap();
    assert_eq!(take(&mut schedule), Some(1));
    assert_eq!((schedule.behind(at(9_000).mono), schedule.load().running), (Duration::ZERO, 1));
    schedule.hand_on(at(9_000), 1);
    assert_eq!(schedule.behind(at(10_000).mono), Duration::from_secs(10));
    let Load { waiting, waiting_seconds, running } = schedule.load();
    assert_eq!((waiting, waiting_seconds, running), (1, 2.0, 0));
    // its stream is still busy: its texts come in order
    schedule.submit(at(10_000), job(2, LiveFinal, 1, 2)).unwrap();
    assert_eq!(take(&mut schedule), None);
    assert!(schedule.pace().is_none(), "two finals wait for one worker: no partials");
    schedule.begun(at(11_000), 1);
    assert_eq!((schedule.load().waiting, schedule.load().running), (1, 1));
    assert!(schedule.done(at(12_000), 1));
    assert_eq!(take(&mut schedule), Some(2));
    assert_eq!(schedule.behind(at(13_000).mono), Duration::ZERO);
    // catch-up is behind by nature, and is not counted
    schedule.done(at(13_000), 2);
    schedule.submit(at(13_000), job(3, CatchUp, 3, 2)).unwrap();
    assert_eq!(take(&mut schedule), Some(3));
    schedule.hand_on(at(13_000), 3);
    assert_eq!((schedule.behind(at(20_000).mono), schedule.load().waiting), (Duration::ZERO, 1));
}

#[test]
fn a_final_whose_machines_vanish_goes_on_and_counts_as_failed_only_after_many() {
    let mut schedule = schedule();
    schedule.submit(at(0), job(1, LiveFinal, 1, 2)).unwrap();
    for n in 1..MOST_LOST {
        assert_eq!(take(&mut schedule), Some(1));
        assert!(schedule.lost(at(0), 1, "silent").is_none(), "{n}");
    }
    assert_eq!(take(&mut schedule), Some(1));
    assert!(schedule.failed(at(0), 1, "broke").is_none(), "its first try that failed");
    assert_eq!(take(&mut schedule), Some(1));
    let outcome = schedule.lost(at(0), 1, "silent").unwrap();
    assert!(matches!(outcome.result, Err(Failure::Failed(_))));
    assert_eq!(schedule.counts().finals_lost, u64::from(MOST_LOST));
    assert_eq!(schedule.load(), Load::default());
}

#[test]
fn a_partial_whose_machine_vanishes_comes_to_nothing() {
    let mut schedule = schedule();
    schedule.submit(at(0), job(1, FirstPartial, 1, 2)).unwrap();
    assert_eq!(take(&mut schedule), Some(1));
    let outcome = schedule.lost(at(0), 1, "silent").unwrap();
    assert!(matches!(outcome.result, Err(Failure::Withdrawn)));
    assert_eq!((schedule.counts().finals_lost, schedule.load()), (0, Load::default()));
}

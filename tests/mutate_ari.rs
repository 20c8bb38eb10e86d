//! Mutated ARI JSON, events and answers alike: no panic, and nothing that grows without bound.

#[path = "common/cases.rs"]
mod cases;
#[path = "common/mutate.rs"]
mod mutate;

use std::time::Duration;

use cases::cases;
use kakehashi::pbx::PbxId;
use kakehashi::pbx::Wanted;
use kakehashi::pbx::asterisk::request::Answer;
use kakehashi::pbx::asterisk::{Ari, Output, Settings};
use kakehashi::time::{Mono, Now, Wall};
use mutate::{Dice, mutate};

const TRACES: [&str; 4] = [
    include_str!("data/ari/queue_answered.jsonl"),
    include_str!("data/ari/queue_local_channel.jsonl"),
    include_str!("data/ari/queue_answered_elsewhere.jsonl"),
    include_str!("data/ari/direct_withheld.jsonl"),
];
const CASES: u64 = 120_000;
/// A fresh machine after so many messages, so that cases do not all run on wreckage.
const ROUND: u64 = 400;

fn machine() -> Ari {
    Ari::new(PbxId("mutated".into()), Settings::default(), Box::new(|_| Wanted { record: true, transcribe: true }))
}

/// Answers everything asked, by mutated bodies; returns how much was told.
fn drain(ari: &mut Ari, dice: &mut Dice, now: Now) -> usize {
    let body = r#"[{"id":"lab-1.1","name":"PJSIP/2001-00000001","state":"Up","dialplan":{"exten":"s","app_name":"AppQueue"},
        "channels":["lab-1.1","lab-1.0"],"channelvars":{"UNICASTRTP_LOCAL_PORT":"21372","UNICASTRTP_LOCAL_ADDRESS":"127.0.0.1"}}]"#;
    let mut told = 0;
    while let Some(output) = ari.poll_output() {
        told += 1;
        match output {
            Output::Request(request) => {
                let status = [200, 204, 404, 500][dice.below(4)];
                let body = String::from_utf8_lossy(&mutate(dice.roll(), body.as_bytes())).into_owned();
                let answer = if dice.below(8) == 0 { Answer::Failed } else { Answer::Response { status, body } };
                ari.handle_answer(request.id, &answer, now);
            }
            Output::Open { stream, .. } => {
                let port = if dice.below(8) == 0 { Err("no port".into()) } else { Ok(30_000) };
                ari.handle_opened(stream, port, now);
            }
            _ => {}
        }
    }
    told
}

#[test]
fn mutated_events_and_answers_never_panic() {
    let all = cases(CASES);
    let lines: Vec<&str> = TRACES.iter().flat_map(|trace| trace.lines()).collect();
    let mut dice = Dice(20_261_123);
    let mut ari = machine();
    let mut now = Now { mono: Mono(0), wall: Wall(1_795_424_000_000_000) };
    let (mut read, mut told) = (0_u64, 0);
    for case in 0..all {
        if case % ROUND == 0 {
            ari = machine();
            ari.handle_connected(now);
        }
        let line = lines[(case as usize) % lines.len()];
        // one in four stays as it is, so that the machine gets into all its states
        let bytes = if case % 4 == 0 { line.as_bytes().to_vec() } else { mutate(case, line.as_bytes()) };
        read += u64::from(ari.handle_event(&String::from_utf8_lossy(&bytes), now).is_ok());
        now = now.plus(Duration::from_millis(dice.roll() % 40));
        told += drain(&mut ari, &mut dice, now);
        ari.handle_timeout(now);
        told += drain(&mut ari, &mut dice, now);
        if dice.below(200) == 0 {
            ari.handle_disconnected(now);
            ari.handle_connected(now);
        }
        assert!(ari.calls() <= ROUND as usize && ari.streams() <= 4 * ROUND as usize, "case {case}");
    }
    assert!(read > all / 4 && read < all, "{read} of {all} were read: the mutation does its work");
    assert!(told > 10_000, "{told}: the machine was alive");
}

//! Mutated digest headers through the server and the client: no panic, nothing that grows, no proof accepted twice or by a wrong password.

#[path = "common/cases.rs"]
mod cases;
#[path = "common/mutate.rs"]
mod mutate;

use std::time::Duration;

use cases::cases;
use kakehashi::pbx::sip::auth::{Attempt, Client, Hash, Server, Verdict};
use kakehashi::pbx::sip::message::{Message, Start};
use kakehashi::pbx::sip::request::Request;
use kakehashi::pbx::sip::wire::{Limits, read_datagram, write};
use kakehashi::time::{Mono, Now, Wall};
use mutate::{Dice, mutate};

const SERVER_CASES: u64 = 130_000;
const CLIENT_CASES: u64 = 130_000;

/// Challenges as exchanges write them.
const CHALLENGES: [&str; 8] = [
    "Digest realm=\"asterisk\",nonce=\"1795424000/0123456789abcdef0123456789abcdef\",opaque=\"6d5a\",algorithm=MD5,qop=\"auth\"",
    "Digest realm=\"asterisk\", nonce=\"n\", algorithm=SHA-256, qop=\"auth,auth-int\", stale=true",
    "Digest realm=\"CUCM.example\", nonce=\"Zm9v\", algorithm=MD5-sess, qop=\"auth\"",
    "Digest realm=\"old\", nonce=\"x\"",
    "Digest username*=UTF-8''x, realm=\"\\\"q\\\"\", nonce=\"\", algorithm=SHA-512-256, qop=auth-int, userhash=true",
    "Digest realm=\"a\", domain=\"sip:b\", nonce=\"c\", opaque=\"\", stale=FALSE, algorithm=\"SHA-256-sess\", qop=\"auth\", charset=UTF-8",
    "Basic realm=\"x\"",
    "Bearer",
];

fn now() -> Now {
    Now { mono: Mono(5_000_000_000), wall: Wall(1_795_424_000_000_000) }
}

fn bare() -> Message {
    let mut message = Message::new(Start::Request { method: "INVITE".into(), uri: "sip:7001@192.0.2.80".into() });
    message.push("Via", "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx");
    message.push("From", "<sip:1@h>;tag=1");
    message.push("To", "<sip:7001@192.0.2.80>");
    message.push("Call-ID", "x");
    message.push("CSeq", "1 INVITE");
    message
}

#[test]
fn mutated_proofs_never_pass_twice_and_never_with_a_wrong_password() {
    let all = cases(SERVER_CASES);
    let mut server =
        Server::new("kakehashi", "honcho", "secret", &[Hash::Sha256, Hash::Md5], [3; 32], Duration::from_secs(300));
    let mut dice = Dice(20_261_127);
    let mut now = now();
    let mut seen = [0_u64; 6];
    let (mut right, mut wrong) = (Client::new("honcho", "secret", ""), Client::new("honcho", "guess", ""));
    for case in 0..all {
        if case % 64 == 0 {
            let mut refusal = bare();
            server.challenge(&mut refusal, false, now);
            right.handle_challenge(&refusal, &mut Attempt::default()).unwrap();
            wrong.handle_challenge(&refusal, &mut Attempt::default()).unwrap();
        }
        let knows = case % 3 > 0;
        let mut message = bare();
        (if knows { &mut right } else { &mut wrong }).authorize(&mut message, format!("c{case}"));
        let header = message.headers.last_mut().unwrap();
        if dice.below(4) > 0 {
            header.value = mutate(case, &header.value);
        }
        let Ok(Some(message)) = read_datagram(&write(&message), &Limits::of(65_535)) else { continue };
        let Ok(request) = Request::read(message) else { continue };
        let verdict = server.check(&request, now);
        seen[verdict as usize] += 1;
        if knows {
            assert_ne!(server.check(&request, now), Verdict::Proven, "case {case}: accepted twice");
        } else {
            assert!(
                matches!(verdict, Verdict::Wrong | Verdict::Unproven),
                "case {case}: {verdict:?} by a wrong password"
            );
        }
        assert!(server.remembered() <= 4_097);
        now = now.plus(Duration::from_millis(dice.roll() % 20));
    }
    println!(
        "{all} digest proofs: {seen:?} of {:?}",
        ["proven", "unproven", "wrong", "stale", "replayed", "other URI"]
    );
    assert!(seen[0] > all / 10 && seen[1] > all / 10 && seen[2] > all / 10, "{seen:?}: the mutation does its work");
}

#[test]
fn mutated_challenges_are_answered_well_or_not_at_all_and_come_to_an_end() {
    let all = cases(CLIENT_CASES);
    let mut dice = Dice(20_261_128);
    let (mut answered, mut refused) = (0_u64, 0_u64);
    let mut client = Client::new("u", "p", "");
    let mut attempt = Attempt::default();
    for case in 0..all {
        if case % 50 == 0 {
            client = Client::new("u", "p", "");
        }
        if case % 10 == 0 {
            attempt = Attempt::default();
        }
        let mut answer = Message::new(Start::Response { code: 401, reason: "Unauthorized".into() });
        for _ in 0..=dice.below(3) {
            let name = ["WWW-Authenticate", "Proxy-Authenticate"][dice.below(2)];
            answer.push(name, mutate(dice.roll(), CHALLENGES[dice.below(CHALLENGES.len())].as_bytes()));
        }
        match client.handle_challenge(&answer, &mut attempt) {
            Ok(()) => answered += 1,
            Err(_) => refused += 1,
        }
        if dice.below(8) == 0 {
            let mut accepted = Message::new(Start::Response { code: 200, reason: "OK".into() });
            accepted
                .push("Authentication-Info", mutate(case, b"qop=auth, nextnonce=\"abc\", rspauth=\"0\", nc=00000001"));
            client.handle_accepted(&accepted);
        }
        let mut message = bare();
        client.authorize(&mut message, "c".into());
        assert!(message.headers.len() <= 5 + 4, "case {case}");
        let again = read_datagram(&write(&message), &Limits::of(1 << 20)).expect("what is sent can be read").unwrap();
        assert_eq!(again.headers.len(), message.headers.len() + 1, "case {case}: broken out of a header");
        if case % 1_000 == 0 {
            assert_ends(&mut client, &answer);
        }
    }
    println!("{all} digest challenges: {answered} answered, {refused} not");
    assert!(answered > all / 10 && refused > all / 10, "{answered} answered, {refused} refused");
}

/// However often the same is asked, it is answered a few times only.
fn assert_ends(client: &mut Client, answer: &Message) {
    let mut attempt = Attempt::default();
    let times = (0..50).take_while(|_| client.handle_challenge(answer, &mut attempt).is_ok()).count();
    assert!(times <= 2, "{times}");
}

//! Mutated WHIP requests: offers, trickled fragments and headers through the state of all calls (10^6), and whole requests through the
//! listener of a running bridge. No panic, nothing that grows without bound, every answer well-formed, and what the media stack is given
//! can be read again by our own reader.

#[path = "common/mutate.rs"]
mod mutate;

use std::collections::BTreeMap;

use kakehashi::pbx::web::answer::Local;
use kakehashi::pbx::web::fragment::Fragment;
use kakehashi::pbx::web::offer::{Credentials, Offer};
use kakehashi::pbx::web::{Ask, Calls, Output, Reply, Request, Response, Settings, Target, Why};
use kakehashi::pbx::{Identity, PbxId, Speaker};
use kakehashi::time::{Mono, Now, Wall};
use mutate::{Dice, mutate};

const OFFERS: u64 = 300_000;
const FRAGMENTS: u64 = 300_000;
const REQUESTS: u64 = 400_000;
/// A fresh state after so many requests, so that cases do not all run on wreckage.
const ROUND: u64 = 400;

const CHROMIUM: &[u8] = include_bytes!("data/web/chromium_two_tracks.sdp");
const FRAGMENT: &[u8] = b"a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n\
    a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0 ufrag EsAw network-id 1\r\na=end-of-candidates\r\n";

/// Printable enough to go to a media stack and a browser: lines of a session description, nothing else.
fn well_formed(text: &str) {
    assert!(text.len() < 128 * 1024);
    for line in text.lines() {
        let (kind, _) = line.split_once('=').unwrap_or_else(|| panic!("not a line of an SDP: {line:?}"));
        assert!(kind.len() == 1 && line.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{line:?}");
    }
}

#[test]
fn offers_are_taken_in_our_words_or_refused() {
    let (mut taken, mut refused) = (0_u64, BTreeMap::new());
    for seed in 0..OFFERS {
        let offer = mutate(seed, CHROMIUM);
        match Offer::read(&offer, 2) {
            Ok(offer) => {
                taken += 1;
                let restated = kakehashi::pbx::web::answer::restated(&offer, &offer.ice, 1);
                well_formed(&restated);
                let again = Offer::read(restated.as_bytes(), 2).expect("what we say ourselves can be read");
                assert_eq!(again.audio().count(), offer.audio().count());
                well_formed(&kakehashi::pbx::web::answer::answer(&offer, &local(), seed));
                assert!((1..=2).contains(&offer.audio().count()) && offer.lines.len() <= 16);
            }
            Err(error) => *refused.entry(format!("{error:?}")).or_insert(0_u64) += 1,
        }
    }
    println!("{OFFERS} offers: {taken} taken, refused: {refused:?}");
    assert!(taken > OFFERS / 20 && refused.len() >= 4, "the cases reach both: {taken}, {refused:?}");
}

#[test]
fn fragments_are_read_or_refused() {
    let mut read = 0_u64;
    for seed in 0..FRAGMENTS {
        if let Ok(fragment) = Fragment::read(&mutate(seed, FRAGMENT)) {
            read += 1;
            assert!(fragment.candidates.len() <= 64);
            if let Some(ice) = fragment.ice {
                assert!(ice.fragment.len() <= 256 && (22..=256).contains(&ice.password.len()));
            }
        }
    }
    println!("{FRAGMENTS} fragments: {read} read");
    assert!(read > FRAGMENTS / 20 && read < FRAGMENTS);
}

fn local() -> Local {
    let ice = Credentials { fragment: "ours".into(), password: "p".repeat(24) };
    let candidates = vec!["1 1 udp 2130706431 192.0.2.1 42000 typ host".into()];
    Local { ice, fingerprint: ["AA"; 32].join(":"), candidates }
}

/// All calls of a bridge with what drives them.
struct Machine {
    calls: Calls,
    tokens: Vec<String>,
    location: String,
    etag: String,
    now: Now,
    statuses: BTreeMap<u16, u64>,
}

impl Machine {
    fn new(seed: u64) -> Machine {
        let settings = Settings {
            max_sessions: 8,
            max_tokens: 16,
            offers_per_s: 0,
            allow_origins: vec!["https://crm.example.jp".into()],
            ice_servers: vec!["stun:192.0.2.1:3478".into()],
            ..Settings::default()
        };
        let mut calls = Calls::new(settings, [seed as u8; 32]);
        let now = Now { mono: Mono(0), wall: Wall(1_795_424_000_000_000) };
        let ask = Ask {
            target: Target::New { pbx: PbxId("web".into()), caller: Identity::default(), called: "1".into() },
            extension: "2001".into(),
            tracks: vec![Speaker::Agent, Speaker::Caller],
        };
        let tokens = (0..20).filter_map(|_| calls.issue(now, ask.clone()).ok()).map(|issued| issued.token).collect();
        Machine { calls, tokens, location: "/whip/x".into(), etag: "\"x\"".into(), now, statuses: BTreeMap::new() }
    }

    /// One request of which one to three parts are mutated.
    fn step(&mut self, seed: u64) {
        let mut dice = Dice(seed);
        let token = &self.tokens[dice.below(self.tokens.len())];
        let methods = ["POST", "POST", "POST", "PATCH", "PATCH", "DELETE", "OPTIONS", "GET"];
        let method = methods[dice.below(methods.len())];
        let to_endpoint = method == "POST" || dice.below(8) == 0;
        let mut parts: [Vec<u8>; 7] = [
            if to_endpoint { b"/whip".to_vec() } else { self.location.clone().into_bytes() },
            format!("Bearer {token}").into_bytes(),
            if method == "POST" { b"application/sdp".to_vec() } else { b"application/trickle-ice-sdpfrag".to_vec() },
            b"application/sdp, */*;q=0.1".to_vec(),
            if dice.below(4) == 0 { b"*".to_vec() } else { self.etag.clone().into_bytes() },
            b"https://crm.example.jp".to_vec(),
            if method == "POST" { CHROMIUM.to_vec() } else { FRAGMENT.to_vec() },
        ];
        for _ in 0..dice.below(4) {
            // the body more often than a header
            let part = dice.below(parts.len() + 4).min(parts.len() - 1);
            parts[part] = mutate(dice.roll(), &parts[part]);
        }
        let [path, authorization, kind, accept, if_match, origin, body] = parts;
        let path = String::from_utf8_lossy(&path).into_owned();
        let mut there = |value: &'static str| !value.is_empty() && dice.below(16) != 0;
        let request = Request {
            method,
            path: &path,
            host: Some(b"127.0.0.1"),
            authorization: there("authorization").then_some(&authorization[..]),
            content_type: there("content-type").then_some(&kind[..]),
            accept: there("accept").then_some(&accept[..]),
            if_match: there("if-match").then_some(&if_match[..]),
            origin: (!there("no origin")).then_some(&origin[..]),
            body: (body.len() <= 65_536).then_some(&body[..]),
        };
        let response = match self.calls.handle(self.now, [192, 0, 2, 1].into(), &request) {
            Reply::Done(response) => response,
            Reply::Negotiate(asked) => {
                well_formed(&asked.offer);
                let local = if seed.is_multiple_of(16) { Err(Why::Panic) } else { Ok(local()) };
                let response =
                    self.calls.negotiated(self.now, &request, asked.session, local.as_ref().map_err(|why| *why));
                if seed.is_multiple_of(3) {
                    self.calls.connected(self.now, asked.session);
                }
                response
            }
            Reply::Restart(session, offer) => {
                well_formed(&offer);
                self.calls.restarted(&request, session, Ok(&local()))
            }
        };
        self.take(&response);
        self.now.mono = Mono(self.now.mono.0 + 50_000_000);
        if self.calls.due().is_some_and(|due| due <= self.now.mono) {
            self.calls.handle_timeout(self.now);
        }
        let mut outputs = 0;
        while let Some(output) = self.calls.poll_output() {
            outputs += 1;
            assert!(!matches!(output, Output::Open { track, .. } if track > 1));
        }
        assert!(outputs <= 300, "{outputs} outputs of one request");
        assert!(self.calls.running() <= 8);
    }

    fn take(&mut self, response: &Response) {
        *self.statuses.entry(response.status).or_default() += 1;
        assert!((200..=599).contains(&response.status));
        for (name, value) in &response.headers {
            assert!(value.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{name}: {value:?}");
        }
        let header = |wanted: &str| response.headers.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value);
        if response.status == 201 {
            well_formed(&response.body);
            self.location.clone_from(header("location").expect("a 201 has it"));
        }
        if let Some(etag) = header("etag") {
            self.etag.clone_from(etag);
        }
    }
}

#[test]
fn requests_are_answered_whatever_is_in_them() {
    let mut all: BTreeMap<u16, u64> = BTreeMap::new();
    let mut machine = Machine::new(0);
    for seed in 0..REQUESTS {
        if seed.is_multiple_of(ROUND) {
            machine.statuses.into_iter().for_each(|(status, count)| *all.entry(status).or_default() += count);
            machine = Machine::new(seed);
        }
        machine.step(seed);
    }
    println!("{REQUESTS} requests: {all:?}");
    for status in [200, 201, 204, 400, 401, 403, 404, 405, 406, 409, 412, 415, 422, 428, 503] {
        assert!(all.contains_key(&status), "no case reached {status}: {all:?}");
    }
}

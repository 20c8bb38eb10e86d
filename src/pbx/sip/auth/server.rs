//! The side that asks for proof: challenges that cost no memory, answers that count once.

use std::collections::BTreeMap;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::{Algorithm, Hash, Params, Qop, Question, key, print_hex, response};
use crate::pbx::sip::header::Uri;
use crate::pbx::sip::message::{Message, Start};
use crate::pbx::sip::request::Request;
use crate::time::{Mono, Now};

/// Nonces whose counts are remembered; when there are more, the oldest counts as too old.
const NONCES_MAX: usize = 4_096;

/// What is to be done with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the exchange's.
    Proven,
    /// 401: it brings no proof for our realm, or none that can be read.
    Unproven,
    /// 401: the user or the password is another one.
    Wrong,
    /// 401 with `stale=true`: the password is right, the nonce is too old or not of this process.
    Stale,
    /// 401 with `stale=true`: this nonce and count came before.
    Replayed,
    /// 400: the proof is for another Request-URI (RFC 7616 §3.4.6).
    OtherUri,
}

/// Which counts of one nonce came.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    highest: u32,
    /// Bit *n*: `highest - n` came.
    seen: u64,
}

impl Window {
    /// Takes a count; false when it came before or is too far behind the highest.
    fn take(&mut self, count: u32) -> bool {
        if count > self.highest {
            let step = count - self.highest;
            self.seen = self.seen.checked_shl(step).unwrap_or(0) | 1;
            self.highest = count;
            return true;
        }
        let bit = 1_u64.checked_shl(self.highest - count).unwrap_or(0);
        let new = bit != 0 && self.seen & bit == 0;
        self.seen |= bit;
        new
    }
}

/// When a nonce was made (milliseconds of the monotonic clock) and which one it was.
type Birth = (u64, u64);

/// Asks one exchange for its password.
pub struct Server {
    realm: String,
    username: String,
    /// In the order of the challenges.
    keys: Vec<(Hash, String)>,
    secret: [u8; 32],
    valid: Duration,
    made: u64,
    seen: BTreeMap<Birth, Window>,
    /// Nonces up to this one count as too old: what is known of them was given up.
    floor: Birth,
}

impl Server {
    /// `offered` are the digest functions, best first (RFC 8760 §2.3); `secret` makes nonces unguessable; they may be used for `valid`.
    pub fn new(
        realm: &str,
        username: &str,
        password: &str,
        offered: &[Hash],
        secret: [u8; 32],
        valid: Duration,
    ) -> Server {
        Server {
            realm: realm.into(),
            username: username.into(),
            keys: offered.iter().map(|hash| (*hash, key(*hash, username, realm, password))).collect(),
            secret,
            valid,
            made: 0,
            seen: BTreeMap::new(),
            floor: (0, 0),
        }
    }

    /// Whether the request proves who sends it.
    pub fn check(&mut self, request: &Request, now: Now) -> Verdict {
        let Start::Request { method, uri: request_uri } = &request.message.start else { return Verdict::Unproven };
        let all = request.message.raw("Authorization").filter_map(Params::of_digest);
        let Some(params) = all.into_iter().find(|params| params.get("realm") == Some(&self.realm)) else {
            return Verdict::Unproven;
        };
        let Some(proof) = Proof::of(&params) else { return Verdict::Unproven };
        let Some((_, key)) = self.keys.iter().find(|(hash, _)| *hash == proof.hash) else { return Verdict::Unproven };
        let question = Question {
            algorithm: Algorithm { hash: proof.hash, session: false },
            nonce: proof.nonce,
            qop: Some((proof.qop, proof.nc, proof.cnonce)),
            method,
            uri: proof.uri,
            body: &request.message.body,
        };
        let right = response(key, &question);
        let user = self.username.as_bytes().ct_eq(proof.username.as_bytes());
        let same = user & right.as_bytes().ct_eq(proof.response.to_ascii_lowercase().as_bytes());
        if !bool::from(same) {
            return Verdict::Wrong;
        }
        let Some(birth) = self.birth(proof.nonce).filter(|birth| self.is_young(*birth, now)) else {
            return Verdict::Stale;
        };
        if !is_same_uri(proof.uri, request_uri) {
            return Verdict::OtherUri;
        }
        if self.seen.entry(birth).or_default().take(proof.count) {
            self.forget(now);
            Verdict::Proven
        } else {
            Verdict::Replayed
        }
    }

    /// Adds the challenges to a 401.
    pub fn challenge(&mut self, answer: &mut Message, stale: bool, now: Now) {
        self.made += 1;
        let birth = (millis(now.mono), self.made);
        let nonce = format!("{:016x}{:016x}{}", birth.0, birth.1, self.seal(birth));
        let stale = if stale { ", stale=true" } else { "" };
        for (hash, _) in &self.keys {
            let (realm, algorithm) = (&self.realm, Algorithm { hash: *hash, session: false }.name());
            let value =
                format!("Digest realm=\"{realm}\", nonce=\"{nonce}\", algorithm={algorithm}, qop=\"auth\"{stale}");
            answer.push("WWW-Authenticate", value);
        }
    }

    /// Nonces that are remembered.
    pub fn remembered(&self) -> usize {
        self.seen.len()
    }

    fn seal(&self, birth: Birth) -> String {
        let Ok(mac) = Hmac::<Sha256>::new_from_slice(&self.secret) else { return String::new() };
        let mac = mac.chain_update(birth.0.to_be_bytes()).chain_update(birth.1.to_be_bytes()).finalize().into_bytes();
        print_hex(mac.get(..16).unwrap_or_default())
    }

    /// When one of our nonces was made.
    fn birth(&self, nonce: &str) -> Option<Birth> {
        let number = |range: std::ops::Range<usize>| {
            let digits = nonce.get(range).filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
            u64::from_str_radix(digits, 16).ok()
        };
        let birth = (number(0..16)?, number(16..32)?);
        let seal = self.seal(birth);
        bool::from(seal.as_bytes().ct_eq(nonce.get(32..)?.as_bytes())).then_some(birth)
    }

    fn is_young(&self, birth: Birth, now: Now) -> bool {
        birth > self.floor && birth.0 >= self.oldest(now)
    }

    /// The time from which nonces are good.
    fn oldest(&self, now: Now) -> u64 {
        millis(now.mono).saturating_sub(u64::try_from(self.valid.as_millis()).unwrap_or(u64::MAX))
    }

    fn forget(&mut self, now: Now) {
        let oldest = self.oldest(now);
        while self.seen.len() > NONCES_MAX || self.seen.first_key_value().is_some_and(|(birth, _)| birth.0 < oldest) {
            let Some((birth, _)) = self.seen.pop_first() else { return };
            self.floor = self.floor.max(birth);
        }
    }
}

/// What an Authorization says, complete.
struct Proof<'a> {
    hash: Hash,
    username: &'a str,
    nonce: &'a str,
    uri: &'a str,
    qop: Qop,
    nc: &'a str,
    count: u32,
    cnonce: &'a str,
    response: &'a str,
}

impl<'a> Proof<'a> {
    /// `None` when something is missing: also `qop`, without which nothing counts requests (RFC 8760 §2.6 asks for it).
    fn of(params: &'a Params) -> Option<Proof<'a>> {
        let algorithm = params.get("algorithm").map_or(Some(Hash::Md5), |name| {
            Algorithm::parse(name).filter(|algorithm| !algorithm.session).map(|algorithm| algorithm.hash)
        });
        let qop = match params.get("qop")?.to_ascii_lowercase().as_str() {
            "auth" => Qop::Auth,
            "auth-int" => Qop::AuthInt,
            _ => return None,
        };
        let nc = params.get("nc").filter(|nc| nc.len() <= 8 && nc.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        Some(Proof {
            hash: algorithm?,
            username: params.get("username")?,
            nonce: params.get("nonce")?,
            uri: params.get("uri")?,
            qop,
            nc,
            count: u32::from_str_radix(nc, 16).ok().filter(|count| *count > 0)?,
            cnonce: params.get("cnonce").filter(|cnonce| !cnonce.is_empty())?,
            response: params.get("response")?,
        })
    }
}

/// Whether both name the same resource: the same text, or the same scheme, user, host and port (RFC 3261 §19.1.4).
fn is_same_uri(proven: &str, requested: &str) -> bool {
    let whole = |text: &str| {
        let uri = Uri::parse(text)?;
        Some((uri.scheme, uri.user, uri.host.to_ascii_lowercase(), uri.port.unwrap_or(5060)))
    };
    proven == requested || whole(proven).is_some_and(|proven| Some(proven) == whole(requested))
}

fn millis(at: Mono) -> u64 {
    at.0 / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pbx::sip::auth::{Attempt, Client};
    use crate::time::Wall;

    const MINUTE: Duration = Duration::from_secs(60);

    fn server() -> Server {
        Server::new("kakehashi", "honcho", "secret", &[Hash::Sha256, Hash::Md5], [3; 32], MINUTE)
    }

    fn now() -> Now {
        Now { mono: Mono(5_000_000_000), wall: Wall(0) }
    }

    fn bare() -> Message {
        let start = Start::Request { method: "INVITE".into(), uri: "sip:7001@192.0.2.80".into() };
        let mut message = Message::new(start);
        message.push("Via", "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx");
        message.push("From", "<sip:1@h>;tag=1");
        message.push("To", "<sip:7001@192.0.2.80>");
        message.push("Call-ID", "x");
        message.push("CSeq", "1 INVITE");
        message.body = b"v=0".to_vec();
        message
    }

    fn read(message: &Message) -> Request {
        Request::read(message.clone()).unwrap()
    }

    fn refusal(server: &mut Server, stale: bool, now: Now) -> Message {
        let mut answer = read(&bare()).answer(401, "t");
        server.challenge(&mut answer, stale, now);
        answer
    }

    /// An INVITE with the proof that a client makes of a challenge.
    fn proven(server: &mut Server, user: &str, password: &str, now: Now) -> (Client, Message) {
        let mut client = Client::new(user, password, "");
        client.handle_challenge(&refusal(server, false, now), &mut Attempt::default()).unwrap();
        let mut message = bare();
        client.authorize(&mut message, "c1".into());
        (client, message)
    }

    #[test]
    fn only_what_the_exchange_can_is_offered_and_taken() {
        let (mut both, mut only_md5) =
            (server(), Server::new("kakehashi", "honcho", "secret", &[Hash::Md5], [3; 32], MINUTE));
        let named = |answer: &Message| -> Vec<bool> {
            let all = answer.raw("WWW-Authenticate").map(|challenge| String::from_utf8_lossy(challenge).into_owned());
            all.map(|challenge| challenge.contains("algorithm=MD5")).collect()
        };
        assert_eq!(named(&refusal(&mut both, false, now())), [false, true]);
        assert_eq!(named(&refusal(&mut only_md5, false, now())), [true]);
        let (_, by_sha) = proven(&mut both, "honcho", "secret", now());
        assert_eq!(only_md5.check(&read(&by_sha), now()), Verdict::Unproven);
        let (_, by_md5) = proven(&mut only_md5, "honcho", "secret", now());
        assert_eq!(only_md5.check(&read(&by_md5), now()), Verdict::Proven);
    }

    #[test]
    fn the_right_password_is_accepted_once_for_each_count() {
        let mut server = server();
        assert_eq!(server.check(&read(&bare()), now()), Verdict::Unproven);
        let (mut client, first) = proven(&mut server, "honcho", "secret", now());
        assert!(first.text("Authorization").unwrap().contains("algorithm=SHA-256"));
        assert_eq!(server.check(&read(&first), now()), Verdict::Proven);
        assert_eq!(server.check(&read(&first), now()), Verdict::Replayed);
        let mut second = bare();
        client.authorize(&mut second, "c2".into());
        let mut third = bare();
        client.authorize(&mut third, "c3".into());
        assert!(third.text("Authorization").unwrap().contains("nc=00000003"));
        for late in [&third, &second] {
            assert_eq!(server.check(&read(late), now()), Verdict::Proven);
            assert_eq!(server.check(&read(late), now()), Verdict::Replayed);
        }
    }

    #[test]
    fn what_is_wrong_is_wrong_without_a_hint() {
        let mut server = server();
        for (user, password) in [("honcho", "Secret"), ("Honcho", "secret"), ("", "")] {
            let (_, message) = proven(&mut server, user, password, now());
            assert_eq!(server.check(&read(&message), now()), Verdict::Wrong);
        }
        let (_, mut message) = proven(&mut server, "honcho", "secret", now());
        message.start = Start::Request { method: "INVITE".into(), uri: "sip:7002@192.0.2.80".into() };
        assert_eq!(server.check(&read(&message), now()), Verdict::OtherUri);
        message.start = Start::Request { method: "INVITE".into(), uri: "sip:7001@192.0.2.80:5060;x=y".into() };
        assert_eq!(server.check(&read(&message), now()), Verdict::Proven, "the same resource, written otherwise");
        assert_eq!(server.remembered(), 1);
        for (from, to) in
            [("nc=", "NC2="), ("qop=auth, ", ""), ("cnonce=", "c="), ("SHA-256", "SHA-512-256"), ("Digest", "Basic")]
        {
            let (_, mut message) = proven(&mut server, "honcho", "secret", now());
            let header = message.headers.last_mut().unwrap();
            let text = String::from_utf8(header.value.clone()).unwrap();
            assert!(text.contains(from), "{text}");
            header.value = text.replace(from, to).into_bytes();
            assert_eq!(server.check(&read(&message), now()), Verdict::Unproven, "{from}");
        }
    }

    #[test]
    fn an_old_nonce_and_one_of_another_process_are_stale() {
        let mut server = server();
        let (_, message) = proven(&mut server, "honcho", "secret", now());
        assert_eq!(server.check(&read(&message), now().plus(MINUTE * 2)), Verdict::Stale);
        let mut other = Server::new("kakehashi", "honcho", "secret", &[Hash::Sha256, Hash::Md5], [4; 32], MINUTE);
        assert_eq!(other.check(&read(&message), now()), Verdict::Stale);
        let text = refusal(&mut server, true, now());
        assert_eq!(text.raw("WWW-Authenticate").filter(|raw| raw.ends_with(b"stale=true")).count(), 2);
    }

    #[test]
    fn a_flood_leaves_nothing_and_the_table_stays_small() {
        let mut server = server();
        let (_, first) = proven(&mut server, "honcho", "secret", now());
        assert_eq!(server.check(&read(&first), now()), Verdict::Proven);
        for _ in 0..3 * NONCES_MAX {
            assert_eq!(server.check(&read(&bare()), now()), Verdict::Unproven);
            refusal(&mut server, false, now());
        }
        assert_eq!(server.remembered(), 1);
        for _ in 0..NONCES_MAX {
            let (_, message) = proven(&mut server, "honcho", "secret", now());
            assert_eq!(server.check(&read(&message), now()), Verdict::Proven);
        }
        assert_eq!(server.remembered(), NONCES_MAX);
        assert_eq!(server.check(&read(&first), now()), Verdict::Stale, "given up, so it counts as too old");
    }

    #[test]
    fn counts_far_behind_are_refused() {
        let mut window = Window::default();
        assert!(window.take(1) && window.take(100) && window.take(37) && window.take(99));
        assert!(!window.take(36) && !window.take(37) && !window.take(1) && !window.take(100));
        assert!(window.take(u32::MAX) && !window.take(100));
    }
}

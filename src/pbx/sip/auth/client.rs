//! The side that proves itself: answers 401 and 407 by the strongest digest that it knows, and stops after the second refusal.

use super::{Algorithm, Hash, Params, Qop, Question, key, response};
use crate::pbx::sip::message::{Message, Start, decode};

/// Realms that are answered at once: a registrar and the proxies before it.
const REALMS_MAX: usize = 4;

/// Why a challenge is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The proof that was asked for was given, and refused.
    #[error("user or password is wrong")]
    Password,
    /// No challenge is one that we can answer.
    #[error("it asks for no digest that we know (MD5, SHA-256, SHA-512-256), or for another realm")]
    Unknown,
}

/// What was answered of the challenges to one request; a new request begins with a new one.
#[derive(Clone, Debug, Default)]
pub struct Attempt {
    answered: Vec<(bool, String)>,
    stale: bool,
}

/// One challenge that is being answered.
struct Session {
    proxy: bool,
    realm: String,
    algorithm: Algorithm,
    nonce: String,
    opaque: Option<String>,
    qop: Option<Qop>,
    count: u32,
    cnonce: String,
}

/// Answers for one user.
pub struct Client {
    username: String,
    password: String,
    realm: String,
    sessions: Vec<Session>,
}

impl Client {
    /// `realm`: the only one that gets an answer; empty: any.
    pub fn new(username: &str, password: &str, realm: &str) -> Client {
        Client { username: username.into(), password: password.into(), realm: realm.into(), sessions: Vec::new() }
    }

    /// Reads the challenges of a 401 or 407 to a request that was sent `attempt` times.
    ///
    /// # Errors
    /// There is nothing more to try.
    pub fn handle_challenge(&mut self, answer: &Message, attempt: &mut Attempt) -> Result<(), Refused> {
        let mut chosen: Vec<(Session, bool)> = Vec::new();
        for (proxy, name) in [(false, "WWW-Authenticate"), (true, "Proxy-Authenticate")] {
            for params in answer.raw(name).take(16).filter_map(Params::of_digest) {
                let Some(session) = self.read(proxy, &params) else { continue };
                let stale = params.get("stale").is_some_and(|stale| stale.eq_ignore_ascii_case("true"));
                let same = |(other, _): &(Session, bool)| other.proxy == proxy && other.realm == session.realm;
                match chosen.iter().position(same) {
                    // the strongest, whatever the order (RFC 8760 §2.4: local policy)
                    Some(at) if chosen[at].0.algorithm.hash < session.algorithm.hash => chosen[at] = (session, stale),
                    Some(_) => {}
                    None if chosen.len() < REALMS_MAX => chosen.push((session, stale)),
                    None => {}
                }
            }
        }
        if chosen.is_empty() {
            return Err(Refused::Unknown);
        }
        for (session, stale) in chosen {
            let name = (session.proxy, session.realm.clone());
            if !attempt.answered.contains(&name) {
                if attempt.answered.len() >= REALMS_MAX {
                    return Err(Refused::Unknown);
                }
                attempt.answered.push(name);
            } else if stale && !attempt.stale {
                attempt.stale = true;
            } else {
                return Err(Refused::Password);
            }
            self.take(session);
        }
        Ok(())
    }

    /// Adds our proof to a request, for every realm that asked so far; `cnonce` is an unguessable token.
    pub fn authorize(&mut self, message: &mut Message, cnonce: String) {
        message.headers.retain(|header| {
            !header.name.eq_ignore_ascii_case("Authorization")
                && !header.name.eq_ignore_ascii_case("Proxy-Authorization")
        });
        let Start::Request { method, uri } = message.start.clone() else { return };
        for session in &mut self.sessions {
            session.count = session.count.saturating_add(1);
            if session.cnonce.is_empty() || !session.algorithm.session {
                session.cnonce = cnonce.clone();
            }
            let nc = format!("{:08x}", session.count);
            let question = Question {
                algorithm: session.algorithm,
                nonce: &session.nonce,
                qop: session.qop.map(|qop| (qop, nc.as_str(), session.cnonce.as_str())),
                method: &method,
                uri: &uri,
                body: &message.body,
            };
            let made = key(session.algorithm.hash, &self.username, &session.realm, &self.password);
            let proof = response(&made, &question);
            let mut value = format!(
                "Digest username=\"{}\", realm=\"{}\", nonce=\"{}\", uri=\"{uri}\", response=\"{proof}\", algorithm={}",
                self.username,
                session.realm,
                session.nonce,
                session.algorithm.name()
            );
            if let Some(opaque) = &session.opaque {
                value.push_str(&format!(", opaque=\"{opaque}\""));
            }
            if let Some(qop) = session.qop {
                value.push_str(&format!(", qop={}, nc={nc}, cnonce=\"{}\"", qop.name(), session.cnonce));
            }
            message.push(if session.proxy { "Proxy-Authorization" } else { "Authorization" }, value);
        }
    }

    /// Takes the nonce for the next request from an answer that accepted one (RFC 7616 §3.5).
    pub fn handle_accepted(&mut self, answer: &Message) {
        for (proxy, name) in [(false, "Authentication-Info"), (true, "Proxy-Authentication-Info")] {
            let Some(params) = answer.raw(name).next().and_then(|raw| Params::read(&decode(raw))) else { continue };
            let Some(next) = params.get("nextnonce").filter(|nonce| !nonce.is_empty()) else { continue };
            // it names no realm: it is for the one that was asked for last
            if let Some(session) = self.sessions.iter_mut().rev().find(|session| session.proxy == proxy) {
                (session.nonce, session.count, session.cnonce) = (next.into(), 0, String::new());
            }
        }
    }

    fn read(&self, proxy: bool, params: &Params) -> Option<Session> {
        let realm = params.get("realm").filter(|realm| self.realm.is_empty() || self.realm == *realm)?;
        let algorithm = match params.get("algorithm") {
            Some(name) => Algorithm::parse(name)?,
            None => Algorithm { hash: Hash::Md5, session: false },
        };
        let qop = match params.get("qop") {
            None => None,
            Some(list) => {
                let has = |qop: Qop| list.split(',').any(|item| item.trim().eq_ignore_ascii_case(qop.name()));
                Some([Qop::Auth, Qop::AuthInt].into_iter().find(|qop| has(*qop))?)
            }
        };
        if qop.is_none() && algorithm.session {
            return None;
        }
        Some(Session {
            proxy,
            realm: realm.into(),
            algorithm,
            nonce: params.get("nonce")?.into(),
            opaque: params.get("opaque").map(Into::into),
            qop,
            count: 0,
            cnonce: String::new(),
        })
    }

    /// A nonce that we use already is counted on.
    fn take(&mut self, session: Session) {
        let same = |other: &Session| other.proxy == session.proxy && other.realm == session.realm;
        match self.sessions.iter_mut().find(|other| same(other)) {
            Some(old) if old.nonce == session.nonce && old.algorithm == session.algorithm => old.qop = session.qop,
            Some(old) => *old = session,
            None => {
                if self.sessions.len() >= REALMS_MAX {
                    self.sessions.remove(0);
                }
                self.sessions.push(session);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(code: u16, headers: &[&str]) -> Message {
        let mut answer = Message::new(Start::Response { code, reason: String::new() });
        for header in headers {
            answer.push(if code == 407 { "Proxy-Authenticate" } else { "WWW-Authenticate" }, *header);
        }
        answer
    }

    fn register() -> Message {
        Message::new(Start::Request { method: "REGISTER".into(), uri: "sip:192.0.2.1".into() })
    }

    fn proof(client: &mut Client, name: &str) -> String {
        let mut message = register();
        client.authorize(&mut message, "c".into());
        message.text(name).map(|text| text.into_owned()).unwrap_or_default()
    }

    #[test]
    fn the_strongest_is_answered_and_the_nonce_is_counted_on() {
        let mut client = Client::new("u", "p", "");
        assert_eq!(proof(&mut client, "Authorization"), "");
        let offered = challenge(
            401,
            &[
                "Digest realm=\"r\", nonce=\"1\", algorithm=MD5, qop=\"auth\"",
                "Digest realm=\"r\", nonce=\"1\", algorithm=SHA-256, qop=\"auth-int, auth\", opaque=\"o\"",
                "Digest realm=\"r\", nonce=\"1\", algorithm=SHA-3, qop=\"auth\"",
                "Bearer x",
            ],
        );
        client.handle_challenge(&offered, &mut Attempt::default()).unwrap();
        let first = proof(&mut client, "Authorization");
        assert!(first.contains("algorithm=SHA-256, opaque=\"o\", qop=auth, nc=00000001, cnonce=\"c\""), "{first}");
        assert!(proof(&mut client, "Authorization").contains("nc=00000002"));
        client.handle_challenge(&offered, &mut Attempt::default()).unwrap();
        assert!(proof(&mut client, "Authorization").contains("nc=00000003"), "the same nonce is counted on");
        let mut accepted = challenge(200, &[]);
        accepted.push("Authentication-Info", "nextnonce=\"2\", qop=auth");
        client.handle_accepted(&accepted);
        let next = proof(&mut client, "Authorization");
        assert!(next.contains("nonce=\"2\"") && next.contains("nc=00000001"), "{next}");
    }

    #[test]
    fn the_second_refusal_is_the_last_and_stale_is_one_more() {
        let mut client = Client::new("u", "p", "");
        let fresh = |n: u32, stale: &str| challenge(401, &[&format!("Digest realm=\"r\", nonce=\"{n}\"{stale}")]);
        let mut attempt = Attempt::default();
        client.handle_challenge(&fresh(1, ""), &mut attempt).unwrap();
        client.handle_challenge(&fresh(2, ", stale=TRUE"), &mut attempt).unwrap();
        assert!(!proof(&mut client, "Authorization").contains("qop"), "a peer of RFC 2069");
        assert_eq!(client.handle_challenge(&fresh(3, ", stale=true"), &mut attempt), Err(Refused::Password));
        assert_eq!(client.handle_challenge(&fresh(3, ""), &mut attempt), Err(Refused::Password));
    }

    #[test]
    fn a_proxy_and_a_registrar_both_get_their_proof() {
        let mut client = Client::new("u", "p", "");
        let mut attempt = Attempt::default();
        client.handle_challenge(&challenge(407, &["Digest realm=\"edge\", nonce=\"1\""]), &mut attempt).unwrap();
        client.handle_challenge(&challenge(401, &["Digest realm=\"pbx\", nonce=\"2\""]), &mut attempt).unwrap();
        let mut message = register();
        client.authorize(&mut message, "c".into());
        client.authorize(&mut message, "c".into());
        assert_eq!((message.count("Authorization"), message.count("Proxy-Authorization")), (1, 1));
        let many: Vec<String> = (0..9).map(|n| format!("Digest realm=\"{n}\", nonce=\"n\"")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let _ = client.handle_challenge(&challenge(401, &many), &mut attempt);
        client.authorize(&mut message, "c".into());
        assert!(message.headers.len() <= REALMS_MAX);
    }

    #[test]
    fn what_cannot_be_answered_is_not() {
        let mut client = Client::new("u", "p", "ours");
        for header in [
            "Digest realm=\"theirs\", nonce=\"1\"",
            "Digest realm=\"ours\"",
            "Digest realm=\"ours\", nonce=\"1\", algorithm=MD5-sess",
            "Digest realm=\"ours\", nonce=\"1\", qop=\"token\"",
            "Digest realm=\"ours\", nonce=\"1",
        ] {
            let refused = client.handle_challenge(&challenge(401, &[header]), &mut Attempt::default());
            assert_eq!(refused, Err(Refused::Unknown), "{header}");
        }
        assert_eq!(proof(&mut client, "Authorization"), "");
    }

    #[test]
    fn a_session_keeps_its_first_cnonce() {
        let mut client = Client::new("u", "p", "");
        let offered = challenge(401, &["Digest realm=\"r\", nonce=\"1\", algorithm=SHA-512-256-sess, qop=\"auth\""]);
        client.handle_challenge(&offered, &mut Attempt::default()).unwrap();
        let mut message = register();
        client.authorize(&mut message, "first".into());
        client.authorize(&mut message, "second".into());
        let text = message.text("Authorization").unwrap().into_owned();
        assert!(text.contains("cnonce=\"first\"") && text.contains("nc=00000002"), "{text}");
    }
}

//! Proof in both directions through the whole server, in virtual time.

use std::time::Duration;

use super::super::auth::{Attempt, Client};
use super::super::message::{Message, Start};
use super::super::register::Told as Registered;
use super::super::settings::{RegisterSettings, WatchSettings};
use super::super::subscribe::Told as Watched;
use super::super::wire::{Limits, read_datagram, write};
use super::super::{Flow, Output, PeerSettings, Policy, Settings, Transport, Uas};
use super::{Note, RouteId};
use crate::pbx::{PbxId, Signal};
use crate::time::{Mono, Now, Wall};

const SDP: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";

mod registering;
mod watching;

struct Lab {
    uas: Uas,
    now: Now,
    flow: Flow,
    sent: Vec<Message>,
    told: Vec<Signal>,
    notes: Vec<Note>,
    /// Where servers are found.
    found: Vec<Flow>,
    asked: usize,
}

fn lab() -> Lab {
    lab_with(PeerSettings { username: "honcho".into(), password: "secret".into(), ..PeerSettings::default() })
}

fn lab_with(own: PeerSettings) -> Lab {
    let peers = PeerSettings { peers: vec!["192.0.2.0/24".parse().unwrap()], ..own };
    let policy = Box::new(|_: &str| Policy { record: true, transcribe: true, answer_after_ms: 0 });
    let flow = Flow {
        transport: Transport::Udp,
        local: "192.0.2.80:15080".parse().unwrap(),
        peer: "192.0.2.1:5062".parse().unwrap(),
        channel: 0,
    };
    Lab {
        // proof alone is looked at, not how often it is asked for
        uas: Uas::new(
            Settings { request_burst: 1_000_000, ..Settings::default() },
            &[(PbxId("pbx1".into()), peers)],
            policy,
            [7; 32],
        ),
        now: Now { mono: Mono(1_000_000_000), wall: Wall(1_795_424_000_000_000) },
        flow,
        sent: Vec::new(),
        told: Vec::new(),
        notes: Vec::new(),
        found: vec![flow],
        asked: 0,
    }
}

fn request(method: &str, cseq: u32, to_tag: &str) -> Message {
    let mut message = Message::new(Start::Request { method: method.into(), uri: "sip:7001@192.0.2.80:15080".into() });
    message.push("Via", format!("SIP/2.0/UDP 192.0.2.1:5062;branch=z9hG4bK{method}{cseq};rport"));
    message.push("Max-Forwards", "70");
    message.push("From", "<sip:0663621234@192.0.2.1>;tag=caller");
    let to = if to_tag.is_empty() { String::new() } else { format!(";tag={to_tag}") };
    message.push("To", format!("<sip:7001@192.0.2.80>{to}"));
    message.push("Call-ID", "call-1");
    message.push("CSeq", format!("{cseq} {method}"));
    message.push("Contact", "<sip:0663621234@192.0.2.1:5062>");
    if method == "INVITE" {
        message.push("Content-Type", "application/sdp");
        message.body = SDP.into();
    }
    message
}

impl Lab {
    /// Sends and gives what came back.
    fn send(&mut self, message: &Message) -> Vec<Message> {
        let from = self.sent.len();
        self.uas.handle_datagram(self.flow, &write(message), self.now);
        self.drain();
        self.sent[from..].to_vec()
    }

    fn drain(&mut self) {
        while let Some(output) = self.uas.poll_output() {
            match output {
                Output::Send(_, bytes) if bytes == b"\r\n\r\n" => {}
                Output::Send(_, bytes) => {
                    self.sent.push(read_datagram(&bytes, &Limits::of(65_535)).unwrap().unwrap());
                }
                Output::Open { stream, .. } => self.uas.handle_opened(stream, Ok(20_000), self.now),
                Output::Signal(observed) => self.told.push(observed.signal),
                Output::Note(_, note) => self.notes.push(note),
                Output::Route { route, .. } => {
                    self.asked += 1;
                    let found = self.found.clone();
                    self.uas.handle_route(route, &found, self.now);
                }
                _ => {}
            }
        }
    }

    /// Sends with the proof that is asked for; gives the last answer.
    fn proven(&mut self, client: &mut Client, message: &Message) -> Message {
        let refused = self.send(message);
        client.handle_challenge(refused.last().unwrap(), &mut Attempt::default()).unwrap();
        let mut again = message.clone();
        for header in again.headers.iter_mut().filter(|header| header.name == "Via") {
            header.value.splice(header.value.len() - 6.., *b"-proven;rport");
        }
        client.authorize(&mut again, "c".into());
        self.send(&again).pop().unwrap()
    }

    /// Lets time pass, timer by timer; gives what was sent, without repetitions.
    fn pass(&mut self, seconds: u64) -> Vec<Message> {
        let from = self.sent.len();
        let end = self.now.mono + Duration::from_secs(seconds);
        while let Some(at) = self.uas.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.plus(at.since(self.now.mono));
            self.uas.handle_timeout(self.now);
            self.drain();
        }
        self.now = self.now.plus(end.since(self.now.mono));
        let mut sent = self.sent[from..].to_vec();
        sent.dedup();
        sent
    }

    fn answer(&mut self, to: &Message, code: u16, more: &[(&str, &str)]) {
        let mut answer = Message::new(Start::Response { code, reason: String::new() });
        answer.headers = to
            .headers
            .iter()
            .filter(|header| ["Via", "From", "To", "Call-ID", "CSeq"].contains(&header.name.as_str()))
            .cloned()
            .collect();
        for (name, value) in more {
            answer.push(name, *value);
        }
        if let Some(to) = answer
            .headers
            .iter_mut()
            .find(|header| header.name == "To" && !header.value.windows(4).any(|w| w == b"tag="))
        {
            to.value.extend(b";tag=theirs");
        }
        self.send(&answer);
    }
}

fn code(message: &Message) -> u16 {
    match message.start {
        Start::Response { code, .. } => code,
        Start::Request { .. } => 0,
    }
}

fn tag(message: &Message) -> String {
    message.text("To").unwrap().split("tag=").nth(1).unwrap().into()
}

#[test]
fn every_request_but_ack_and_cancel_is_asked_for_proof() {
    let mut lab = lab();
    for method in ["INVITE", "OPTIONS", "BYE", "REFER", "SUBSCRIBE"] {
        let answers = lab.send(&request(method, 1, ""));
        assert_eq!(answers.iter().map(code).collect::<Vec<_>>(), [401], "{method}");
        assert_eq!(answers[0].count("WWW-Authenticate"), 2);
        assert!(answers[0].text("WWW-Authenticate").unwrap().contains("algorithm=SHA-256, qop=\"auth\""));
    }
    assert!(lab.send(&request("ACK", 1, "x")).is_empty());
    assert_eq!(code(&lab.send(&request("CANCEL", 1, ""))[0]), 481);
    assert_eq!(lab.uas.counters().challenged, 5);
    assert!(lab.told.is_empty());
}

#[test]
fn a_flood_of_invites_without_proof_makes_no_state() {
    let mut lab = lab();
    let first = lab.send(&request("INVITE", 1, ""));
    let again = lab.send(&request("INVITE", 1, ""));
    assert_eq!(tag(&first[0]), tag(&again[0]), "a repetition gets the same tag");
    for cseq in 0..20_000 {
        assert_eq!(code(&lab.send(&request("INVITE", cseq, ""))[0]), 401);
    }
    assert_eq!((lab.uas.transactions(), lab.uas.calls(), lab.uas.poll_timeout()), (0, 0, None));
}

#[test]
fn a_call_with_proof_is_taken_and_ends_with_proof() {
    let mut lab = lab();
    let mut client = Client::new("honcho", "secret", "kakehashi");
    let answer = lab.proven(&mut client, &request("INVITE", 1, ""));
    assert_eq!(code(&answer), 200);
    let tag = tag(&answer);
    lab.send(&request("ACK", 1, &tag));
    assert_eq!(code(&lab.send(&request("BYE", 2, &tag))[0]), 401);
    assert_eq!(lab.uas.calls(), 1);
    let mut bye = request("BYE", 3, &tag);
    client.authorize(&mut bye, "c".into());
    assert_eq!(code(&lab.send(&bye)[0]), 200);
    assert_eq!(lab.uas.calls(), 0);
    let mut replayed = request("OPTIONS", 4, "");
    let proof = bye.text("Authorization").unwrap().into_owned();
    replayed.push("Authorization", proof);
    assert_eq!(code(&lab.send(&replayed)[0]), 401);
    assert_eq!(lab.uas.counters().wrong_password, 1, "the proof of one method is none for another");
}

#[test]
fn a_wrong_password_counts_and_learns_nothing() {
    let mut lab = lab();
    let answer = lab.proven(&mut Client::new("honcho", "guess", ""), &request("INVITE", 1, ""));
    assert_eq!((code(&answer), answer.text("WWW-Authenticate").unwrap().contains("stale")), (401, false));
    assert_eq!((lab.uas.counters().wrong_password, lab.uas.transactions()), (1, 0));
}

#[test]
fn a_bye_of_ours_that_is_challenged_goes_out_again_with_proof() {
    let mut lab = lab();
    let mut client = Client::new("honcho", "secret", "");
    let answer = lab.proven(&mut client, &request("INVITE", 1, ""));
    lab.send(&request("ACK", 1, &tag(&answer)));
    lab.uas.handle_stop(lab.now);
    lab.drain();
    let bye = lab.sent.last().unwrap().clone();
    assert_eq!(bye.text("CSeq").unwrap(), "1 BYE");
    lab.answer(
        &bye,
        401,
        &[("WWW-Authenticate", "Digest realm=\"asterisk\", nonce=\"n\", algorithm=MD5, qop=\"auth\"")],
    );
    let again = lab.sent.last().unwrap().clone();
    assert_eq!(again.text("CSeq").unwrap(), "2 BYE");
    assert!(again.text("Authorization").unwrap().contains("username=\"honcho\", realm=\"asterisk\""));
    assert_ne!(again.text("Via"), bye.text("Via"));
    assert_eq!(lab.uas.requests_under_way(), 1);
    lab.answer(
        &again,
        401,
        &[("WWW-Authenticate", "Digest realm=\"asterisk\", nonce=\"m\", algorithm=MD5, qop=\"auth\"")],
    );
    assert_eq!(lab.uas.requests_under_way(), 0, "the second refusal is the last");
    lab.now = lab.now.plus(Duration::from_secs(40));
    lab.uas.handle_timeout(lab.now);
    lab.drain();
    assert_eq!(lab.sent.last(), Some(&again));
}

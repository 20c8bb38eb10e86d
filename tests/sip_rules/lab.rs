//! The server in virtual time: what is sent to it, what it sends and tells, second by second.

use std::time::Duration;

use kakehashi::pbx::sip::header::NameAddr;
use kakehashi::pbx::sip::message::{Message, Start};
use kakehashi::pbx::sip::sdp::Format;
use kakehashi::pbx::sip::wire::{Limits, read_datagram};
use kakehashi::pbx::sip::{Flow, Output, PeerSettings, Policy, Settings, Transport, Uas};
use kakehashi::pbx::{EndCause, PbxId, Signal, Speaker, StreamId};
use kakehashi::time::{Mono, Now, Wall};

/// One audio line of the caller.
pub(crate) const SDP: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
                              m=audio 4000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\n";

/// What the machine asked of the media stage, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Did {
    Open(Vec<u8>),
    Payloads(Vec<u8>),
    Path,
    Close,
}

pub(crate) struct Lab {
    pub(crate) uas: Uas,
    pub(crate) now: Now,
    pub(crate) flow: Flow,
    /// Whether the media stage has ports; `None`: it does not answer.
    pub(crate) ports: Option<bool>,
    pub(crate) sent: Vec<Message>,
    /// Where each went.
    pub(crate) to: Vec<Flow>,
    pub(crate) signals: Vec<Signal>,
    pub(crate) opened: Vec<StreamId>,
    pub(crate) closed: Vec<StreamId>,
    pub(crate) did: Vec<Did>,
    cseq: u32,
    /// CSeq of the caller's last INVITE.
    invited: u32,
}

/// A server that answers after this long.
pub(crate) fn lab(settings: Settings, answer_after_ms: u64) -> Lab {
    lab_of(settings, PeerSettings::default(), Policy { record: true, transcribe: true, answer_after_ms })
}

/// A server with these settings of the exchange and this policy of every line.
pub(crate) fn lab_of(settings: Settings, own: PeerSettings, policy: Policy) -> Lab {
    let net = |text: &str| text.parse().unwrap();
    let peers =
        [(PbxId("pbx1".into()), PeerSettings { peers: vec![net("192.0.2.0/24"), net("2001:db8::/32")], ..own })];
    let policy = Box::new(move |_: &str| policy);
    let local = "192.0.2.80:15080".parse().unwrap();
    Lab {
        uas: Uas::new(settings, &peers, policy, [7; 32]),
        now: Now { mono: Mono(1_000_000_000), wall: Wall(1_795_424_000_000_000) },
        flow: Flow { transport: Transport::Udp, local, peer: "192.0.2.1:5062".parse().unwrap(), channel: 3 },
        ports: Some(true),
        sent: Vec::new(),
        to: Vec::new(),
        signals: Vec::new(),
        opened: Vec::new(),
        closed: Vec::new(),
        did: Vec::new(),
        cseq: 1,
        invited: 1,
    }
}

/// A server with the default settings.
pub(crate) fn answering_after(ms: u64) -> Lab {
    lab(Settings::default(), ms)
}

/// A request of the caller; `to_tag` is ours.
pub(crate) fn request(method: &str, branch: &str, cseq: u32, to_tag: &str, more: &str, body: &str) -> String {
    let to = if to_tag.is_empty() { String::new() } else { format!(";tag={to_tag}") };
    let kind = if body.is_empty() || more.contains("Content-Type") { "" } else { "Content-Type: application/sdp\r\n" };
    format!(
        "{method} sip:7001@192.0.2.80:15080 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5062;branch=z9hG4bK{branch};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:0663621234@192.0.2.1>;tag=caller\r\nTo: <sip:7001@192.0.2.80>{to}\r\n\
         Call-ID: call-1\r\nCSeq: {cseq} {method}\r\nContact: <sip:0663621234@192.0.2.1:5062>\r\n{kind}{more}\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The first INVITE with further header lines.
pub(crate) fn invite(more: &str, body: &str) -> String {
    request("INVITE", "i1", 1, "", more, body)
}

pub(crate) fn body(message: &Message) -> &str {
    std::str::from_utf8(&message.body).unwrap()
}

/// The `m=` lines.
pub(crate) fn lines(message: &Message) -> Vec<&str> {
    body(message).lines().filter(|line| line.starts_with("m=")).collect()
}

/// The line that we offer when nothing else is set: wideband first.
pub(crate) fn own_line(port: u16) -> String {
    match cfg!(feature = "opus") {
        true => format!("m=audio {port} RTP/AVP 107 9 0 8 13 101 102"),
        false => format!("m=audio {port} RTP/AVP 9 0 8 13 101"),
    }
}

/// `o=` of a description.
pub(crate) fn origin(message: &Message) -> String {
    body(message).lines().find(|line| line.starts_with("o=")).unwrap_or_default().to_string()
}

pub(crate) fn name(message: &Message) -> String {
    match &message.start {
        Start::Request { method, .. } => method.clone(),
        Start::Response { code, .. } => code.to_string(),
    }
}

fn numbers(formats: &[Format]) -> Vec<u8> {
    formats.iter().map(|format| format.number).collect()
}

impl Lab {
    pub(crate) fn drain(&mut self) {
        while let Some(output) = self.uas.poll_output() {
            match output {
                Output::Send(flow, bytes) => {
                    self.sent.push(read_datagram(&bytes, &Limits::of(65_535)).unwrap().unwrap());
                    self.to.push(flow);
                }
                Output::Signal(observed) => self.signals.push(observed.signal),
                Output::Open { stream, formats, .. } => {
                    self.did.push(Did::Open(numbers(&formats)));
                    self.opened.push(stream);
                    if let Some(ports) = self.ports {
                        self.open(stream, ports);
                    }
                }
                Output::Payloads(_, formats) => self.did.push(Did::Payloads(numbers(&formats))),
                Output::Path(..) => self.did.push(Did::Path),
                Output::Close(stream) => {
                    self.did.push(Did::Close);
                    self.closed.push(stream);
                }
                Output::Route { .. } | Output::Note(..) => {}
            }
        }
    }

    /// The media stage answers.
    pub(crate) fn open(&mut self, stream: StreamId, has_port: bool) {
        let at = self.opened.iter().position(|own| *own == stream).unwrap() as u16;
        let port = if has_port { Ok(20_002 + 2 * at) } else { Err("no port".into()) };
        self.uas.handle_opened(stream, port, self.now);
    }

    /// Sends and gives the status codes (or methods) that came back.
    pub(crate) fn send(&mut self, text: &str) -> Vec<String> {
        let from = self.sent.len();
        self.uas.handle_datagram(self.flow, text.as_bytes(), self.now);
        self.drain();
        self.since(from)
    }

    /// The next request of the caller inside the call, in a new transaction.
    pub(crate) fn ask(&mut self, method: &str, more: &str, body: &str) -> Vec<String> {
        self.cseq += 1;
        if method == "INVITE" {
            self.invited = self.cseq;
        }
        let tag = self.tag();
        let text = request(method, &format!("n{}", self.cseq), self.cseq, &tag, more, body);
        self.send(&text)
    }

    /// ACK of the last INVITE of the caller.
    pub(crate) fn ack(&mut self, body: &str) -> Vec<String> {
        let tag = self.tag();
        let cseq = self.invited;
        self.send(&request("ACK", &format!("a{cseq}"), cseq, &tag, "", body))
    }

    /// PRACK of the last reliable answer.
    pub(crate) fn prack(&mut self, body: &str) -> Vec<String> {
        let rseq = self.last_with("RSeq").text("RSeq").unwrap().into_owned();
        self.ask("PRACK", &format!("RAck: {rseq} 1 INVITE\r\n"), body)
    }

    /// Answers our last request.
    pub(crate) fn reply(&mut self, code: u16, more: &str, body: &str) -> Vec<String> {
        let asked =
            self.sent.iter().rev().find(|sent| sent.text("RAck").is_none() && name(sent).parse::<u16>().is_err());
        let asked = asked.expect("nothing was asked").clone();
        let text = |name: &str| asked.text(name).unwrap().into_owned();
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        self.send(&format!(
            "SIP/2.0 {code} x\r\nVia: {}\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {}\r\n{kind}{more}l: {}\r\n\r\n{body}",
            text("Via"),
            text("From"),
            text("To"),
            text("Call-ID"),
            text("CSeq"),
            body.len()
        ))
    }

    pub(crate) fn since(&self, from: usize) -> Vec<String> {
        self.sent[from..].iter().map(name).collect()
    }

    /// Lets time pass, timer by timer; gives what was sent and when (milliseconds from now).
    pub(crate) fn pass(&mut self, millis: u64) -> Vec<(u64, String)> {
        let start = self.now.mono;
        let end = start + Duration::from_millis(millis);
        let mut seen = Vec::new();
        let mut steps = 0;
        loop {
            let due = self.uas.poll_timeout().filter(|at| *at <= end);
            let at = due.unwrap_or(end).max(self.now.mono);
            self.now = self.now.plus(at.since(self.now.mono));
            let from = self.sent.len();
            self.uas.handle_timeout(self.now);
            self.drain();
            seen.extend(self.since(from).into_iter().map(|what| (at.since(start).as_millis() as u64, what)));
            steps += 1;
            assert!(steps < 10_000, "a timer that is due again and again");
            if due.is_none() {
                return seen;
            }
        }
    }

    pub(crate) fn last(&self) -> &Message {
        self.sent.last().unwrap()
    }

    /// The last message that has this header.
    pub(crate) fn last_with(&self, header: &str) -> &Message {
        self.sent.iter().rev().find(|message| message.count(header) > 0).expect("no such message")
    }

    /// The last message of this name.
    pub(crate) fn last_of(&self, what: &str) -> &Message {
        self.sent.iter().rev().find(|message| name(message) == what).expect("no such message")
    }

    /// Our tag.
    pub(crate) fn tag(&self) -> String {
        let of = |message: &Message| NameAddr::parse(&message.text("To")?)?.tag().map(str::to_string);
        let found = self.sent.iter().rev().filter_map(of).find(|tag| tag != "caller" && tag != "other");
        found.expect("nothing with a tag was sent")
    }

    /// An answered and acknowledged call.
    pub(crate) fn call(&mut self, more: &str, body: &str) {
        assert_eq!(self.send(&invite(more, body)), ["100", "180", "200"]);
        assert!(self.ack("").is_empty());
    }

    pub(crate) fn told(&self) -> Vec<&'static str> {
        let name = |signal: &Signal| match signal {
            Signal::CallAppeared { .. } => "appeared",
            Signal::LegAppeared { .. } => "leg",
            Signal::LegRinging(_) => "ringing",
            Signal::LegAnswered(_) => "answered",
            Signal::StreamAdded { speaker: Speaker::Caller, .. } => "caller heard",
            Signal::StreamAdded { speaker: Speaker::Agent, .. } => "agent heard",
            Signal::StreamFailed { .. } => "stream failed",
            Signal::LegHeld(_) => "held",
            Signal::LegResumed(_) => "resumed",
            Signal::KeepNothing(_) => "not kept",
            Signal::KeepAgain(_) => "kept",
            Signal::StreamRemoved(_) => "removed",
            Signal::Digit { .. } => "digit",
            Signal::LegEnded(_, EndCause::Normal) => "leg ended",
            Signal::LegEnded(_, EndCause::Cancelled) => "leg cancelled",
            Signal::LegEnded(_, EndCause::Failed) => "leg failed",
            Signal::LegEnded(_, EndCause::LostSight) => "leg lost",
            Signal::CallEnded(_) => "ended",
            _ => "other",
        };
        self.signals.iter().map(name).collect()
    }

    /// Nothing is left: no call, no request of ours, no open stream; after the transactions' time no transaction either.
    pub(crate) fn is_clean(&mut self) -> bool {
        self.pass(200_000);
        let mut streams = (self.opened.clone(), self.closed.clone());
        streams.0.sort();
        streams.1.sort();
        (self.uas.calls(), self.uas.transactions(), self.uas.requests_under_way()) == (0, 0, 0)
            && streams.0 == streams.1
    }
}

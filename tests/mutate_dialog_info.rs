//! Mutated dialog events through the reader and through the whole machine that subscribes: no panic, nothing that grows without bound, no
//! call that begins twice or ends without having begun.

#[path = "common/cases.rs"]
mod cases;
#[path = "common/mutate.rs"]
mod mutate;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cases::cases;
use kakehashi::pbx::sip::dialog_info::{Book, Calls, DIALOGS_MAX, Document};
use kakehashi::pbx::sip::message::{Message, Start};
use kakehashi::pbx::sip::wire::{Limits, read_datagram, write};
use kakehashi::pbx::sip::{
    Flow, Output, PeerSettings, Policy, RegisterSettings, Settings, Transport, Uas, WatchSettings,
};
use kakehashi::pbx::{LegKey, Observed, PbxId, Signal};
use kakehashi::time::{Mono, Now, Wall};
use mutate::{Dice, mutate};

const READER_CASES: u64 = 130_000;
const MACHINE_CASES: u64 = 130_000;
const ROUND: u64 = 300;
const EXTENSIONS: usize = 3;

/// As Asterisk writes it, and as RFC 4235 has it.
const DOCUMENTS: [&str; 5] = [
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<dialog-info xmlns=\"urn:ietf:params:xml:ns:dialog-info\" version=\"{v}\" state=\"full\" entity=\"sip:2001@127.0.0.1\">\n\
     <dialog id=\"2001\" direction=\"recipient\"><remote><identity display=\"&#x6A4B;本\">sip:0663621234@127.0.0.1</identity><target uri=\"sip:0663621234@127.0.0.1\"/></remote>\
     <local><identity>sip:2001@127.0.0.1</identity><target uri=\"sip:2001@127.0.0.1\"/></local><state>early</state></dialog></dialog-info>\n",
    "<?xml version=\"1.0\"?><dialog-info xmlns=\"urn:ietf:params:xml:ns:dialog-info\" version=\"{v}\" state=\"full\" entity=\"sip:2001@x\"><dialog id=\"2001\"><state>confirmed</state></dialog></dialog-info>",
    "<?xml version=\"1.0\"?><dialog-info xmlns=\"urn:ietf:params:xml:ns:dialog-info\" version=\"{v}\" state=\"full\" entity=\"sip:2001@x\"><dialog id=\"2001\"><state>terminated</state></dialog></dialog-info>",
    "<?xml version=\"1.0\"?><d:dialog-info xmlns:d=\"urn:ietf:params:xml:ns:dialog-info\" version=\"{v}\" state=\"partial\" entity=\"sip:2001@x\">\
     <d:dialog id=\"a\" call-id=\"c1\" local-tag=\"l\" remote-tag=\"r\" direction=\"recipient\"><d:state event=\"rejected\" code=\"486\">confirmed</d:state>\
     <d:local><d:target uri=\"x\"><d:param pname=\"+sip.rendering\" pval=\"no\"/></d:target></d:local></d:dialog>\
     <d:dialog id=\"b\" call-id=\"c2\" direction=\"initiator\"><d:state>early</d:state></d:dialog></d:dialog-info>",
    "<dialog-info xmlns=\"urn:ietf:params:xml:ns:dialog-info\" version=\"{v}\" state=\"full\"><!-- x --><dialog id=\"a\" call-id=\"c1\" direction=\"recipient\">\
     <remote><identity>sip:anonymous@anonymous.invalid</identity></remote><state>early</state></dialog><dialog id=\"c\" call-id=\"c3\" direction=\"recipient\"><state><![CDATA[early]]></state></dialog></dialog-info>",
];

fn document(dice: &mut Dice, version: u32) -> Vec<u8> {
    DOCUMENTS[dice.below(DOCUMENTS.len())].replace("{v}", &version.to_string()).into_bytes()
}

/// Which calls and legs were told of: begun once, ended once, nothing in between for others.
#[derive(Default)]
struct Ledger {
    legs: BTreeMap<String, BTreeSet<LegKey>>,
    told: u64,
}

impl Ledger {
    fn take(&mut self, observed: &Observed) {
        self.told += 1;
        let call = observed.call.key.clone();
        if matches!(observed.signal, Signal::CallAppeared { .. }) {
            assert_eq!(self.legs.insert(call, BTreeSet::new()), None, "a call that is there");
            return;
        }
        let legs = self.legs.get_mut(&call).expect("a call that is not there");
        match &observed.signal {
            Signal::LegAppeared { leg, .. } => assert!(legs.insert(leg.clone()), "a leg that is there"),
            Signal::LegEnded(leg, _) => assert!(legs.remove(leg), "a leg that is not there"),
            Signal::LegRinging(leg) | Signal::LegAnswered(leg) | Signal::LegHeld(leg) | Signal::LegResumed(leg) => {
                assert!(legs.contains(leg), "a leg that is not there");
            }
            Signal::CallEnded(_) => {
                assert!(legs.is_empty(), "legs outlive their call");
                self.legs.remove(&call);
            }
            Signal::CallerIdentified(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn mutated_documents_never_panic_and_tell_whole_calls() {
    let all = cases(READER_CASES);
    let mut dice = Dice(20_261_129);
    let now = Now { mono: Mono(0), wall: Wall(1_795_424_000_000_000) };
    let (mut read, mut told) = (0_u64, 0_u64);
    let (mut books, mut calls, mut ledger) = fresh();
    for case in 0..all {
        if case % ROUND == 0 {
            for book in books {
                book.lose(&mut calls, now).iter().for_each(|observed| ledger.take(observed));
            }
            assert!(ledger.legs.is_empty() && calls.is_empty());
            told += ledger.told;
            (books, calls, ledger) = fresh();
        }
        let body = document(&mut dice, u32::try_from(case % ROUND).unwrap());
        let body = if dice.below(4) > 0 { mutate(case, &body) } else { body };
        let Ok(document) = Document::parse(&body, None) else { continue };
        read += 1;
        assert!(document.dialogs.len() <= DIALOGS_MAX);
        let book = dice.below(2);
        if let kakehashi::pbx::sip::dialog_info::Applied::Told(signals) =
            books[book].apply(&document, ["2001", "2002"][book], dice.below(8) == 0, &mut calls, now)
        {
            signals.iter().for_each(|observed| ledger.take(observed));
        }
        assert!(books[book].len() <= DIALOGS_MAX);
    }
    println!("{all} dialog-info documents: {read} read, {told} signals");
    assert!(read > all / 4 && read < all * 9 / 10 && told > all / 10, "{read} read, {told} told");
}

fn fresh() -> ([Book; 2], Calls, Ledger) {
    (Default::default(), Calls::new(PbxId("mutated".into())), Ledger::default())
}

struct Machine {
    uas: Uas,
    flow: Flow,
    now: Now,
    /// Requests of ours, by Call-ID the last one.
    asked: BTreeMap<String, Message>,
    ledger: Ledger,
    sent: u64,
}

impl Machine {
    fn new(seed: u64) -> Machine {
        let register = RegisterSettings {
            registrar: "127.0.0.1:15060".into(),
            user: "3001".into(),
            password: "p".into(),
            ..RegisterSettings::default()
        };
        let extensions = (2001..).take(EXTENSIONS).map(|extension: u32| extension.to_string()).collect();
        let peers = PeerSettings {
            peers: vec!["127.0.0.0/8".parse().unwrap()],
            register: Some(register),
            watch: Some(WatchSettings { extensions, ..WatchSettings::default() }),
            ..PeerSettings::default()
        };
        let policy = Box::new(|_: &str| Policy { record: true, transcribe: true, answer_after_ms: 0 });
        let (local, peer) = ("127.0.0.1:15080".parse().unwrap(), "127.0.0.1:15060".parse().unwrap());
        let transport = if seed.is_multiple_of(3) { Transport::Tcp } else { Transport::Udp };
        let mut machine = Machine {
            uas: Uas::new(Settings::default(), &[(PbxId("mutated".into()), peers)], policy, [seed as u8; 32]),
            flow: Flow { transport, local, peer, channel: 1 },
            now: Now { mono: Mono(0), wall: Wall(1_795_424_000_000_000) },
            asked: BTreeMap::new(),
            ledger: Ledger::default(),
            sent: 0,
        };
        machine.pass(Duration::ZERO);
        machine
    }

    fn pass(&mut self, span: Duration) {
        self.now = self.now.plus(span);
        self.uas.handle_timeout(self.now);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.uas.poll_output() {
            match output {
                Output::Send(_, bytes) if bytes == b"\r\n\r\n" => {}
                Output::Send(_, bytes) => {
                    self.sent += 1;
                    let message =
                        read_datagram(&bytes, &Limits::of(1 << 20)).expect("what is sent can be read").unwrap();
                    if let Start::Request { .. } = message.start {
                        self.asked.insert(message.text("Call-ID").unwrap().into_owned(), message);
                    }
                }
                Output::Route { route, .. } => self.uas.handle_route(route, &[self.flow], self.now),
                Output::Signal(observed) => self.ledger.take(&observed),
                _ => {}
            }
        }
        while self.asked.len() > 8 {
            self.asked.pop_first();
        }
        assert!(self.uas.requests_under_way() <= 64, "{}", self.uas.requests_under_way());
        assert!(self.uas.watched_calls() <= EXTENSIONS * 5 * 64);
    }

    /// An answer to one of our requests, or a NOTIFY about it.
    fn message(&self, dice: &mut Dice, case: u64) -> Option<Message> {
        let asked = self.asked.values().nth(dice.below(self.asked.len()))?;
        let subscribes = matches!(&asked.start, Start::Request { method, .. } if method == "SUBSCRIBE");
        if subscribes && dice.below(3) > 0 { Some(notify(asked, dice, case)) } else { Some(answer(asked, dice)) }
    }
}

fn answer(asked: &Message, dice: &mut Dice) -> Message {
    let codes = [200, 200, 200, 202, 401, 407, 403, 404, 423, 481, 489, 302, 503, 500, 100];
    let code = codes[dice.below(codes.len())];
    let mut answer = Message::new(Start::Response { code, reason: "x".into() });
    let kept = ["Via", "From", "To", "Call-ID", "CSeq", "Contact"];
    answer.headers = asked.headers.iter().filter(|header| kept.contains(&header.name.as_str())).cloned().collect();
    answer.push("Expires", ["600", "60", "0", "99999999"][dice.below(4)]);
    answer.push("Min-Expires", ["900", "1"][dice.below(2)]);
    answer.push("Retry-After", ["5", "x", "999999999999"][dice.below(3)]);
    let nonce = dice.below(3);
    answer.push(
        if code == 407 { "Proxy-Authenticate" } else { "WWW-Authenticate" },
        format!("Digest realm=\"a\", nonce=\"{nonce}\", algorithm=MD5, qop=\"auth\", stale=true"),
    );
    answer
}

fn notify(asked: &Message, dice: &mut Dice, case: u64) -> Message {
    let states = [
        "active;expires=600",
        "active;expires=600",
        "active;expires=0",
        "pending",
        "terminated;reason=deactivated",
        "terminated;reason=probation;retry-after=5",
        "terminated;reason=noresource",
        "terminated",
        "",
    ];
    let mut message = Message::new(Start::Request { method: "NOTIFY".into(), uri: "sip:3001@127.0.0.1:15080".into() });
    message.push("Via", format!("SIP/2.0/UDP 127.0.0.1:15060;branch=z9hG4bK{case}"));
    let to = asked.text("To").unwrap().into_owned();
    let to = to.split(";tag").next().unwrap().to_string();
    message.push("From", format!("{to};tag=fork{}", dice.below(6)));
    message.push("To", asked.text("From").unwrap().into_owned());
    message.push("Call-ID", asked.text("Call-ID").unwrap().into_owned());
    message.push("CSeq", format!("{} NOTIFY", case % ROUND + 1));
    message.push("Contact", "<sip:127.0.0.1:15060>");
    message.push("Event", "dialog");
    message.push("Subscription-State", states[if dice.below(4) == 0 { dice.below(states.len()) } else { 0 }]);
    message.push("Content-Type", "application/dialog-info+xml");
    message.body = document(dice, u32::try_from(case % ROUND).unwrap());
    if dice.below(2) == 0 {
        message.body = mutate(case, &message.body);
    }
    message
}

#[test]
fn mutated_answers_and_notifies_never_panic_and_leave_no_wreckage() {
    let all = cases(MACHINE_CASES);
    let mut dice = Dice(20_261_130);
    let (mut told, mut sent) = (0_u64, 0_u64);
    for round in 0..all.div_ceil(ROUND) {
        let mut machine = Machine::new(round);
        for case in 0..ROUND {
            let Some(message) = machine.message(&mut dice, case) else {
                machine.pass(Duration::from_secs(60));
                continue;
            };
            let bytes = write(&message);
            let bytes = if dice.below(4) == 0 { mutate(round * ROUND + case, &bytes) } else { bytes };
            machine.uas.handle_datagram(machine.flow, &bytes, machine.now);
            machine.drain();
            let span = if dice.below(16) == 0 { 400_000 } else { dice.roll() % 3_000 };
            machine.pass(Duration::from_millis(span));
        }
        machine.uas.handle_stop(machine.now);
        for _ in 0..100 {
            machine.pass(Duration::from_secs(1));
        }
        assert_eq!((machine.uas.requests_under_way(), machine.uas.transactions()), (0, 0));
        told += machine.ledger.told;
        sent += machine.sent;
    }
    println!("{all} answers and NOTIFYs: {told} signals, {sent} messages sent");
    assert!(told > all / 20 && sent > all / 3, "{told} told, {sent} sent: the machine was alive");
}

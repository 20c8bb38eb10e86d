//! RFC 4475: what each torture message must cause, over datagrams and over a stream.

use std::collections::BTreeSet;
use std::fs;

use kakehashi::pbx::PbxId;
use kakehashi::pbx::sip::wire::{Item, Limits, StreamReader, read_datagram};
use kakehashi::pbx::sip::{Flow, Output, PeerSettings, Policy, Settings, Transport, Uas};
use kakehashi::time::{Mono, Now, Wall};

fn answers(name: &str, bytes: &[u8], transport: Transport) -> Vec<u16> {
    let peers = [(
        PbxId("torture".into()),
        PeerSettings { peers: vec!["192.0.2.0/24".parse().unwrap()], ..PeerSettings::default() },
    )];
    let policy = Box::new(|_: &str| Policy { record: true, transcribe: true, answer_after_ms: 60_000 });
    let mut uas = Uas::new(Settings::default(), &peers, policy, [1; 32]);
    let local = "192.0.2.80:5060".parse().unwrap();
    let flow = Flow { transport, local, peer: "192.0.2.1:5060".parse().unwrap(), channel: 1 };
    let now = Now { mono: Mono(0), wall: Wall(1_795_424_000_000_000) };
    match transport {
        Transport::Udp => uas.handle_datagram(flow, bytes, now),
        Transport::Tcp | Transport::Tls => {
            let mut reader = StreamReader::new(Limits::of(65_535));
            reader.push(bytes);
            while let Some(item) = reader.next_item() {
                match item {
                    Item::Message(message) => uas.handle_message(flow, message, now),
                    Item::Bad(bad) => uas.handle_bad(flow, bad),
                    Item::Ping => {}
                }
            }
        }
    }
    let mut codes = Vec::new();
    while let Some(output) = uas.poll_output() {
        match output {
            Output::Send(_, bytes) => {
                let answer = read_datagram(&bytes, &Limits::of(65_535)).expect("readable").expect(name);
                let text = String::from_utf8_lossy(&bytes).into_owned();
                codes.push(text[8..11].parse().unwrap());
                assert!(answer.count("Via") > 0, "{name}");
            }
            Output::Open { stream, .. } => uas.handle_opened(stream, Ok(20_000), now),
            _ => {}
        }
    }
    codes
}

type Expected = (&'static str, &'static [u16], Option<&'static [u16]>);

/// File, answers over datagrams, answers over a stream where they differ. REGISTER and MESSAGE are not for us (405); what RFC 4475 leaves
/// to the element is decided strictly (400), except names without quotes (baddn).
const EXPECTED: [Expected; 49] = [
    // valid: §3.1.1
    ("dblreq", &[405], Some(&[405, 488])), // a datagram ends with its first message; the second one's SDP has a broken line
    ("esc01", &[100, 180], None),
    ("esc02", &[501], None), // RE%47IST%45R is no REGISTER
    ("escnull", &[405], None),
    ("intmeth", &[501], None),
    ("longreq", &[100, 180], None),
    ("lwsdisp", &[200], None),
    ("mpart01", &[405], None),
    ("noreason", &[], None),
    ("semiuri", &[200], None),
    ("transports", &[200], None),
    ("unreason", &[], None),
    ("wsinv", &[481], None), // its To has a tag
    // invalid: §3.1.2 to §3.3
    ("badaspec", &[400], None),
    ("badbranch", &[200], None), // a transaction as of RFC 2543
    ("baddate", &[100, 180], None),
    ("baddn", &[200], Some(&[])), // the file has no empty line
    ("badinv01", &[400], None),
    ("badvers", &[505], None),
    ("bcast", &[], None),
    ("bext01", &[420], None),
    ("bigcode", &[], None),
    ("clerr", &[400], Some(&[])), // a stream waits for the rest
    ("cparam01", &[405], None),
    ("cparam02", &[405], None),
    ("escruri", &[400], None),
    ("insuf", &[400], None),
    ("inv2543", &[100, 180], Some(&[400])), // a stream needs Content-Length
    ("invut", &[415], None),
    ("ltgtruri", &[400], None),
    ("lwsruri", &[400], None),
    ("lwsstart", &[400], None),
    ("mcl01", &[400], None),
    ("mismatch01", &[400], None),
    ("mismatch02", &[400], None),
    ("multi01", &[400], None),
    ("ncl", &[400], None),
    ("novelsc", &[416], None),
    ("quotbal", &[400], None),
    ("regaut01", &[405], None),
    ("regbadct", &[405], None),
    ("regescrt", &[405], None),
    ("scalar02", &[400], None),
    ("scalarlg", &[], None),
    ("sdp01", &[406], None),
    ("trws", &[400], None),
    ("unkscm", &[416], None),
    ("unksm2", &[405], None),
    ("zeromf", &[200], None), // a user agent is asked, not a proxy
];

#[test]
fn every_torture_message_causes_what_the_rfc_says() {
    let mut names = BTreeSet::new();
    for (name, datagram, stream) in EXPECTED {
        let found = ["valid", "invalid"].map(|class| format!("tests/data/rfc4475/{class}/{name}.dat"));
        let file = found.iter().find(|file| fs::exists(file).unwrap()).expect(name);
        let bytes = fs::read(file).unwrap();
        assert_eq!(answers(name, &bytes, Transport::Udp), datagram, "{name} in a datagram");
        assert_eq!(answers(name, &bytes, Transport::Tcp), stream.unwrap_or(datagram), "{name} in a stream");
        names.insert(name);
    }
    assert_eq!(names.len(), 49);
}

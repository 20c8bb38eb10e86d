//! Our reader against `rsip`'s: what both read, they read alike; where only one does, it is one of the known differences.

#[path = "common/mutate.rs"]
mod mutate;

use std::fs;

use kakehashi::pbx::sip::request::Request;
use kakehashi::pbx::sip::wire::{Limits, read_datagram};
use mutate::mutate;
use rsip::prelude::{HasHeaders, HeadersExt, ToTypedHeader, UntypedHeader};

const CASES: u64 = 30_000;

fn files(folder: &str) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap()))
        .collect();
    files.sort();
    files
}

fn ours(bytes: &[u8]) -> Option<Request> {
    read_datagram(bytes, &Limits::of(65_535)).ok().flatten().and_then(|message| Request::read(message).ok())
}

fn theirs(bytes: &[u8]) -> Option<rsip::Request> {
    match rsip::SipMessage::try_from(bytes.to_vec()).ok()? {
        rsip::SipMessage::Request(request) => Some(request),
        rsip::SipMessage::Response(_) => None,
    }
}

/// rsip cuts a parameter at the first byte that no token has; we take it to the next semicolon.
fn token_of(text: &str) -> &str {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "-.!%*_+`'~".contains(c);
    text.split(|c| !is_token(c)).next().unwrap_or_default()
}

/// Compares what both can read; tells how many values were compared.
fn compare(ours: &Request, theirs: &rsip::Request, name: &str) -> usize {
    let mut compared = 0;
    assert_eq!(ours.method, theirs.method.to_string(), "{name}: method");
    if let Ok(call_id) = theirs.call_id_header() {
        assert_eq!(ours.call_id, call_id.value().trim(), "{name}: Call-ID");
        compared += 1;
    }
    if let Some(cseq) = theirs.cseq_header().ok().and_then(|cseq| cseq.typed().ok()) {
        assert_eq!((ours.cseq.number, ours.cseq.method.clone()), (cseq.seq, cseq.method.to_string()), "{name}: CSeq");
        compared += 1;
    }
    if let Some(tag) = theirs.from_header().ok().and_then(|from| from.typed().ok()).and_then(|from| from.tag().cloned())
    {
        assert_eq!(token_of(ours.from.tag().unwrap_or_default()), tag.value(), "{name}: From tag");
        compared += 1;
    }
    // rsip takes a list of Vias for one
    if let Some(branch) =
        theirs.via_header().ok().and_then(|via| via.typed().ok()).and_then(|via| via.branch().cloned())
        && !ours.message.text("Via").is_some_and(|via| via.contains(','))
    {
        assert_eq!(token_of(ours.via.branch()), branch.value(), "{name}: branch of {:?}", ours.message.text("Via"));
        compared += 1;
    }
    compared
}

/// Requests that rsip does not read although they are right, and why.
const ONLY_OURS: [(&str, &str); 4] = [
    ("esc02", "a method that is no known one"),
    ("intmeth", "a method that is no known one"),
    ("wsinv", "folded lines and blanks before the colon"),
    ("recording_invite", "folded lines and compact names"),
];

#[test]
fn the_corpus_is_read_alike() {
    let mut compared = 0;
    let mut only_ours = Vec::new();
    for (name, bytes) in files("tests/data/rfc4475/valid").into_iter().chain(files("tests/data/sip")) {
        match (ours(&bytes), theirs(&bytes)) {
            (Some(own), Some(other)) => {
                compared += compare(&own, &other, &name);
                assert_eq!(own.message.headers.len(), other.headers().iter().count(), "{name}: headers");
            }
            (Some(_), None) => only_ours.push(name),
            (None, Some(_)) => panic!("{name}: only rsip reads it"),
            (None, None) => {}
        }
    }
    assert!(compared > 40, "{compared} values were compared");
    for (name, why) in ONLY_OURS {
        assert!(only_ours.iter().any(|own| own == name), "{name} ({why}): rsip reads it now; {only_ours:?}");
    }
}

#[test]
fn mutated_requests_that_both_read_are_read_alike() {
    let corpus: Vec<(String, Vec<u8>)> =
        files("tests/data/sip").into_iter().filter(|(name, _)| name != "recording_invite").collect();
    let mut both = 0;
    for case in 0..CASES {
        let (name, original) = &corpus[case as usize % corpus.len()];
        let bytes = mutate(case, original);
        // rsip ends lines at CRLF only, knows no folding and no compact names: those inputs say nothing
        let head = bytes.split(|byte| *byte == b'\n').take_while(|line| *line != b"\r");
        let plain =
            head.into_iter().all(|line| line.ends_with(b"\r") && !line.starts_with(b" ") && !line.starts_with(b"\t"));
        if !plain {
            continue;
        }
        if let (Some(own), Some(other)) = (ours(&bytes), theirs(&bytes)) {
            compare(&own, &other, name);
            both += 1;
        }
    }
    assert!(both > 500, "{both} requests were compared");
}

//! Messages as they come in datagrams and in the pieces of a stream.

use super::*;

const LIMITS: Limits = Limits { message: 4_096, headers: 20, line: 1_024 };

fn datagram(text: &str) -> Result<Option<Message>, Bad> {
    read_datagram(text.as_bytes(), &LIMITS)
}

fn stream(text: &str) -> (Vec<Item>, StreamReader) {
    let mut reader = StreamReader::new(LIMITS);
    let mut items = Vec::new();
    for byte in text.bytes() {
        reader.push(&[byte]);
        items.extend(std::iter::from_fn(|| reader.next_item()));
    }
    (items, reader)
}

#[test]
fn what_passed_more_proxies_than_there_can_be_gets_no_answer() {
    for name in ["Via", "v", "Record-Route"] {
        let of = |hops: usize| {
            let text = format!("OPTIONS sip:a SIP/2.0\r\n{}l: 0\r\n\r\n", format!("{name}: x\r\n").repeat(hops));
            read_datagram(text.as_bytes(), &Limits::of(65_536))
        };
        assert!(of(70).is_ok(), "{name}");
        assert_eq!(of(71).unwrap_err(), Bad { status: 513, reason: "Message Too Large", message: None }, "{name}");
    }
}

#[test]
fn compact_names_folding_and_white_space() {
    let text = "\r\nINVITE sip:a@b SIP/2.0\r\nv : SIP/2.0/UDP h\r\n  ;branch=x\r\nTO:\r\n <sip:a@b>\r\nl:2\r\n\r\nok";
    let message = datagram(text).unwrap().unwrap();
    assert_eq!(message.text("Via").unwrap(), "SIP/2.0/UDP h ;branch=x");
    assert_eq!(message.text("to").unwrap(), "<sip:a@b>");
    assert_eq!(message.body, b"ok");
}

#[test]
fn a_datagram_without_content_length_has_its_body_to_the_end() {
    assert_eq!(datagram("OPTIONS sip:a SIP/2.0\nx:1\n\nbody\r\n").unwrap().unwrap().body, b"body\r\n");
    assert_eq!(datagram("OPTIONS sip:a SIP/2.0\r\nl: 2\r\n\r\nbody").unwrap().unwrap().body, b"bo");
    assert_eq!(datagram("\r\n\r\n").unwrap(), None);
}

#[test]
fn bad_messages_keep_what_an_answer_needs() {
    let status = |text: &str| datagram(text).unwrap_err();
    let kept = |bad: &Bad| bad.message.as_ref().map(|message| message.count("Via"));
    for (text, code) in [
        ("OPTIONS sip:a SIP/2.0\r\nVia: x\r\nl: 9\r\n\r\nbody", 400),
        ("OPTIONS sip:a SIP/2.0\r\nVia: x\r\nl: -1\r\n\r\n", 400),
        ("OPTIONS sip:a SIP/2.0\r\nVia: x\r\nl: 1\r\nContent-Length: 2\r\n\r\nab", 400),
        ("OPTIONS sip:a SIP/2.0\r\nno colon\r\nVia: x\r\n\r\n", 400),
        ("OPTIONS  sip:a SIP/2.0\r\nVia: x\r\n\r\n", 400),
        ("OPTIONS sip:a; lr SIP/2.0\r\nVia: x\r\n\r\n", 400),
        ("OPTIONS sip:a SIP/2.0 \r\nVia: x\r\n\r\n", 400),
        ("OPTIONS sip:a SIP/7.0\r\nVia: x\r\n\r\n", 505),
    ] {
        let bad = status(text);
        assert_eq!((bad.status, kept(&bad)), (code, Some(1)), "{text}");
    }
    let many = format!("OPTIONS sip:a SIP/2.0\r\nVia: x\r\n{}\r\n", "a: b\r\n".repeat(30));
    assert_eq!(status(&many).status, 513);
    let body = "x".repeat(5_000);
    assert_eq!(status(&format!("OPTIONS sip:a SIP/2.0\r\nVia: x\r\n\r\n{body}")).status, 413);
    let head = "a: b\r\n".repeat(1_000);
    assert_eq!(status(&format!("OPTIONS sip:a SIP/2.0\r\nVia: x\r\n{head}\r\n")).status, 513);
    assert_eq!(status("GET / HTTP/1.1\r\nHost: x\r\n\r\n").message, None);
    assert_eq!(status("SIP/2.0 4294967301 no\r\n\r\n").message, None);
}

#[test]
fn a_stream_is_cut_by_content_length() {
    let text = "OPTIONS sip:a SIP/2.0\r\nl: 4\r\n\r\nbody\r\n\r\n\r\nOPTIONS sip:b SIP/7.0\r\nl: 0\r\n\r\nACK sip:c SIP/2.0\r\nl:0\r\n\r\n";
    let (items, reader) = stream(text);
    let kinds: Vec<&str> = items
        .iter()
        .map(|item| match item {
            Item::Message(_) => "message",
            Item::Bad(_) => "bad",
            Item::Ping => "ping",
        })
        .collect();
    assert_eq!(kinds, ["message", "ping", "bad", "message"]);
    assert!(!reader.is_broken() && !reader.is_partial());
    let Item::Message(first) = &items[0] else { panic!() };
    assert_eq!(first.body, b"body");
}

#[test]
fn a_head_is_read_once_however_slowly_its_body_comes() {
    let mut reader = StreamReader::new(LIMITS);
    reader.push(b"OPTIONS sip:a SIP/2.0\r\nl: 1000\r\n\r\nx");
    for n in 1..1_000 {
        assert_eq!(reader.next_item(), None);
        assert!(reader.is_partial() && reader.buffer.len() == n, "only the body waits");
        reader.push(b"x");
    }
    assert!(matches!(reader.next_item(), Some(Item::Message(message)) if message.body.len() == 1_000));
    assert!(!reader.is_partial());
}

#[test]
fn line_ends_without_end_are_not_kept_and_hide_no_keep_alive() {
    let mut reader = StreamReader::new(Limits::of(4_096));
    for piece in ["\n\n\n\n\n", "\r\r", "\n", "\n\r\n\r"] {
        for _ in 0..1_000 {
            reader.push(piece.as_bytes());
            while reader.next_item().is_some() {}
            assert!(reader.buffer.len() < 4 && !reader.is_partial());
        }
    }
    let mut reader = StreamReader::new(Limits::of(4_096));
    reader.push(b"\n\n\r\n\r");
    assert_eq!(reader.next_item(), None);
    reader.push(b"\n\r\n");
    assert_eq!(reader.next_item(), Some(Item::Ping));
    assert_eq!(reader.next_item(), None);
}

#[test]
fn a_stream_without_content_length_or_without_end_is_given_up() {
    let (items, reader) = stream("OPTIONS sip:a SIP/2.0\r\nVia: x\r\n\r\n");
    assert!(matches!(&items[..], [Item::Bad(Bad { status: 400, message: Some(_), .. })]));
    assert!(reader.is_broken());
    let (items, reader) = stream(&format!("OPTIONS sip:a SIP/2.0\r\nVia: x\r\nX: {}", "y".repeat(9_000)));
    assert!(matches!(&items[..], [Item::Bad(Bad { status: 513, .. })]));
    assert!(reader.is_broken());
}

#[test]
fn a_body_that_is_too_large_is_refused_at_once_and_skipped() {
    let mut reader = StreamReader::new(LIMITS);
    reader.push(b"OPTIONS sip:a SIP/2.0\r\nVia: x\r\nl: 50000\r\n\r\n");
    let Some(Item::Bad(Bad { status: 413, message: Some(message), .. })) = reader.next_item() else { panic!() };
    assert_eq!((message.count("Via"), message.body.len()), (1, 0));
    for _ in 0..500 {
        assert!(reader.is_partial() && !reader.is_broken());
        reader.push(&[b'\n'; 100]);
        assert_eq!((reader.next_item(), reader.buffer.len()), (None, 0), "nothing of it is kept");
    }
    assert!(!reader.is_partial());
    reader.push(b"OPTIONS sip:b SIP/2.0\r\nl: 0\r\n\r\n");
    assert!(matches!(reader.next_item(), Some(Item::Message(_))));
}

#[test]
fn what_is_written_is_read_back_and_cannot_be_broken_out_of() {
    let mut message = Message::new(Start::Response { code: 200, reason: "OK".into() });
    message.push("Thing", "a\r\nInjected: b");
    message.push("Content-Length", "77");
    message.body = b"1234".to_vec();
    let read = datagram(&String::from_utf8(write(&message)).unwrap()).unwrap().unwrap();
    assert_eq!((read.headers.len(), read.body.as_slice()), (2, b"1234".as_slice()));
    assert_eq!(read.text("thing").unwrap(), "a  Injected: b");
}

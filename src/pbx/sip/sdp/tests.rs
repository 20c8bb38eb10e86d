//! Offers as they come, and our answers.

use super::*;

fn offer_of(media: &str) -> Description {
    let text = format!("v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n{media}");
    Description::parse(text.as_bytes()).unwrap()
}

fn place() -> Place {
    Place { host: "192.0.2.80".into(), session: 7, version: 1 }
}

fn take(offer: &Description) -> Vec<Taken> {
    let taken = |(line, offered): (usize, &Line)| Taken {
        line,
        port: 20_000 + 2 * line as u16,
        formats: offered.choose(&[]),
        direction: offered.direction.answered(),
        proto: "RTP/AVP",
        attributes: Vec::new(),
    };
    offer.usable().map(taken).collect()
}

fn answered(media: &str) -> String {
    let offer = offer_of(media);
    String::from_utf8(answer(&offer, &take(&offer), &place())).unwrap()
}

#[test]
fn an_answer_has_the_lines_of_the_offer_in_order() {
    let text = answered(
        "m=video 4000 RTP/AVP 31 96\r\nm=audio 4002 RTP/AVP 8 0 101\r\na=rtpmap:101 telephone-event/8000\r\n\
         m=audio 4004 RTP/XVP 0\r\nm=audio 0 RTP/AVP 0\r\n",
    );
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("m=")).collect();
    assert_eq!(
        lines,
        ["m=video 0 RTP/AVP 31", "m=audio 20002 RTP/AVP 8 101", "m=audio 0 RTP/XVP 0", "m=audio 0 RTP/AVP 0"]
    );
    assert!(text.contains("o=- 7 1 IN IP4 192.0.2.80\r\n") && text.contains("c=IN IP4 192.0.2.80\r\n"), "{text}");
    assert!(text.contains("a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n"), "{text}");
}

#[test]
fn static_numbers_need_no_rtpmap_and_dynamic_ones_do() {
    let formats = |media: &str| offer_of(media).lines[0].choose(&[]);
    let numbers = |media: &str| formats(media).iter().map(|format| format.number).collect::<Vec<_>>();
    assert_eq!(numbers("m=audio 4000 RTP/AVP 18 8 0 13\r\n"), [8, 13]);
    assert_eq!(numbers("m=audio 4000 RTP/AVP 18\r\n"), [] as [u8; 0]);
    assert_eq!(numbers("m=audio 4000 RTP/AVP 97\r\na=rtpmap:97 PCMA/8000/1\r\n"), [97]);
    assert_eq!(numbers("m=audio 4000 RTP/AVP 0\r\na=rtpmap:0 G726-32/8000\r\n"), [] as [u8; 0]);
    assert_eq!(numbers("m=audio 4000 RTP/AVP 9 0\r\n"), [9]);
    assert_eq!(numbers("m=audio 4000 RTP/AVP 9\r\na=rtpmap:9 G722/16000\r\n"), [] as [u8; 0]);
    assert_eq!(numbers("m=audio 4000 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/16000\r\n"), [0]);
}

#[test]
fn opus_is_taken_only_when_it_can_be_decoded() {
    let line = "m=audio 4000 RTP/AVP 107 0 101 102\r\na=rtpmap:107 opus/48000/2\r\n\
                a=rtpmap:101 telephone-event/48000\r\na=rtpmap:102 telephone-event/8000\r\n";
    let chosen: Vec<u8> = offer_of(line).lines[0].choose(&[]).iter().map(|format| format.number).collect();
    assert_eq!(chosen, if cfg!(feature = "opus") { [107, 101] } else { [0, 102] });
    let narrow = offer_of(line).lines[0].choose(&[Preferred::G722, Preferred::G711]);
    assert_eq!(narrow.iter().map(|format| format.number).collect::<Vec<_>>(), [0, 102]);
}

#[test]
fn the_numbers_of_our_offer_are_expected_and_those_of_the_answer_understood_when_free() {
    let ours = own_formats(&[Preferred::G722]);
    assert_eq!(ours[0].number, 9);
    let line = "m=audio 4000 RTP/AVP 0 101 98\r\na=rtpmap:101 PCMA/8000\r\na=rtpmap:98 telephone-event/8000\r\n";
    let (taken, aliases) = offer_of(line).lines[0].common(&ours);
    assert_eq!(taken.iter().map(|format| format.number).collect::<Vec<_>>(), [0, 8, 101]);
    assert_eq!(aliases, [Format { number: 98, codec: Codec::TelephoneEvent, clock: 8_000 }], "101 means another thing");
}

#[test]
fn directions_are_mirrored_and_taken_from_the_session_when_the_line_has_none() {
    for (offered, expected) in
        [("sendonly", "recvonly"), ("recvonly", "sendonly"), ("inactive", "inactive"), ("sendrecv", "sendrecv")]
    {
        let text = answered(&format!("m=audio 4000 RTP/AVP 0\r\na={offered}\r\n"));
        assert!(text.contains(&format!("a={expected}\r\n")), "{text}");
    }
    let text = "v=0\r\na=sendonly\r\nm=audio 4000 RTP/AVP 0\r\nc=IN IP4 0.0.0.0\r\n";
    let offer = Description::parse(text.as_bytes()).unwrap();
    assert_eq!(offer.lines[0].direction, Direction::Sendonly);
    assert!(offer.lines[0].null_address);
}

#[test]
fn what_is_not_sdp_is_an_error_and_other_charsets_are_not() {
    assert_eq!(Description::parse(b"<audio/>"), Err(Error::Syntax));
    let mut text = b"v=0\r\ns=\x8b\xb4\x96{\r\nm=audio 4000 RTP/AVP 0\r\n".to_vec();
    assert!(Description::parse(&text).unwrap().lines[0].is_usable());
    text.extend(b"m=audio 4000 RTP/AVP 0\r\n".repeat(40));
    assert_eq!(Description::parse(&text), Err(Error::TooManyLines));
}

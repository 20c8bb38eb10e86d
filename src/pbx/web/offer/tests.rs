//! Offers of a browser, whole and with something missing.

use super::*;

/// What Chromium 156 offers for two tracks.
const CHROMIUM: &str = include_str!("../../../../tests/data/web/chromium_two_tracks.sdp");

fn read(text: &str) -> Result<Offer, OfferError> {
    Offer::read(text.as_bytes(), 2)
}

#[test]
fn the_two_tracks_of_a_browser_are_read() {
    let offer = read(CHROMIUM).unwrap();
    let audio: Vec<_> = offer.audio().collect();
    assert_eq!(audio.len(), 2);
    assert_eq!(audio[0].0.mid.as_deref(), Some("0"));
    assert!(audio[0].1.ssrc.is_some() && audio[0].1.ssrc != audio[1].1.ssrc);
    let numbers: Vec<u8> = audio[0].1.formats.iter().map(|format| format.number).collect();
    let opus: &[u8] = if cfg!(feature = "opus") { &[111] } else { &[] };
    assert_eq!(numbers, [opus, &[9, 0, 8, 13, 110, 126]].concat());
    assert_eq!(audio[0].1.extension, Some(4));
}

#[test]
fn video_and_data_are_kept_as_rejected_lines() {
    let more = format!(
        "{CHROMIUM}m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:2\r\na=sendonly\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:3\r\n"
    );
    let offer = read(&more).unwrap();
    assert_eq!(offer.lines.len(), 4);
    assert_eq!(offer.audio().count(), 2);
}

#[test]
fn what_cannot_be_taken_is_refused_by_its_reason() {
    let without = |what: &str| {
        read(
            &CHROMIUM
                .lines()
                .filter(|line| !line.starts_with(what))
                .map(|line| format!("{line}\r\n"))
                .collect::<String>(),
        )
    };
    assert_eq!(read(""), Err(OfferError::Syntax));
    assert_eq!(read("hello"), Err(OfferError::Syntax));
    assert_eq!(without("a=ice-ufrag"), Err(OfferError::Transport("ice-ufrag")));
    assert_eq!(without("a=ice-pwd"), Err(OfferError::Transport("ice-pwd")));
    assert_eq!(without("a=fingerprint"), Err(OfferError::Transport("fingerprint")));
    assert_eq!(without("a=setup"), Err(OfferError::Transport("setup")));
    assert_eq!(without("a=rtcp-mux"), Err(OfferError::NotBundled));
    assert_eq!(without("a=group"), Err(OfferError::NotBundled));
    assert_eq!(without("a=mid"), Err(OfferError::NoAudio));
    assert_eq!(read(&CHROMIUM.replace("a=sendonly", "a=recvonly")), Err(OfferError::NoAudio));
    assert_eq!(read(&CHROMIUM.replace("a=setup:actpass", "a=setup:passive")), Err(OfferError::Transport("setup")));
    assert_eq!(read(&CHROMIUM.replace("sha-256", "sha-1")), Err(OfferError::Transport("fingerprint")));
    assert_eq!(Offer::read(CHROMIUM.as_bytes(), 1), Err(OfferError::TooManyAudio));
    assert_eq!(read(&CHROMIUM.replacen("t=0 0", "t=0 0\r\na=ice-lite", 1)), Err(OfferError::Lite));
    let many = format!("{CHROMIUM}{}", "m=audio 9 RTP/AVP 0\r\n".repeat(40));
    assert_eq!(read(&many), Err(OfferError::TooMuch));
}

#[test]
fn two_lines_need_a_source_each_and_one_line_needs_none() {
    let ssrcs: Vec<u32> = read(CHROMIUM).unwrap().audio().filter_map(|(_, audio)| audio.ssrc).collect();
    let same = CHROMIUM.replace(&format!("a=ssrc:{}", ssrcs[1]), &format!("a=ssrc:{}", ssrcs[0]));
    assert_eq!(read(&same), Err(OfferError::NoSource));
    let without: String =
        CHROMIUM.lines().filter(|line| !line.starts_with("a=ssrc")).map(|line| format!("{line}\r\n")).collect();
    assert_eq!(read(&without), Err(OfferError::NoSource));
    let second = without.rfind("m=audio").unwrap();
    assert_eq!(read(&without[..second]).unwrap().audio().count(), 1);
}

//! The mirror by captures that are made here: every wrapping of a packet, every course of a call, whose sound is whose.

#[path = "common/capture.rs"]
mod capture;

use std::time::Duration;

use capture::*;
use kakehashi::pbx::mirror::{Link, Place, Settings};
use kakehashi::pbx::{EndCause, ExternalKey, KeyKind, Signal, Speaker};

const NUMBER: &str = "0312345678";

/// A usual call through a mirror that reads frames of this kind.
fn usual_call(link: Link, wrap: Wrap) -> Watch {
    let mut watch = Watch::new(settings());
    (watch.link, watch.wrap) = (link, wrap);
    let talks = pair(1, NUMBER);
    set_up(&mut watch, &talks, sounds());
    converse(&mut watch, sounds(), 20);
    caller_hangs_up(&mut watch, &talks);
    watch
}

fn is_usual(watch: &Watch) {
    assert_eq!(watch.calls(), ["in1"]);
    assert_eq!(watch.story("in1"), usual(NUMBER));
    assert_eq!(watch.voices("in1", Speaker::Caller), [1], "the caller's channel holds the caller");
    assert_eq!(watch.voices("in1", Speaker::Agent), [2], "the agent's channel holds the agent");
    assert_eq!(watch.open, 0);
}

#[test]
fn a_call_through_the_exchange_is_one_contact_and_each_speaker_is_taken_once() {
    let watch = usual_call(Link::Ethernet, |from, to, bytes| vec![ethernet(0, from, to, bytes)]);
    is_usual(&watch);
    assert!(watch.heard.values().all(|packets| packets.len() == 20), "every packet once: {:?}", watch.heard.len());
    let keys: Vec<&ExternalKey> = { watch.told.iter() }
        .filter_map(|(_, signal)| match signal {
            Signal::CallAppeared { keys, .. } | Signal::Keys(keys) => keys.first(),
            _ => None,
        })
        .collect();
    assert!(keys.iter().all(|key| key.kind == KeyKind::CallId) && keys.len() == 2, "{keys:?}");
}

#[test]
fn every_wrapping_gives_the_same_call() {
    let wraps: [(Link, Wrap); 9] = [
        (Link::Ethernet, |from, to, bytes| vec![ethernet(1, from, to, bytes)]),
        (Link::Ethernet, |from, to, bytes| vec![ethernet(2, from, to, bytes)]),
        (Link::Ip, |from, to, bytes| vec![ethernet(0, from, to, bytes)[14..].to_vec()]),
        (Link::Null, |from, to, bytes| vec![[&[2, 0, 0, 0], &ethernet(0, from, to, bytes)[14..]].concat()]),
        (Link::Cooked, |from, to, bytes| {
            let head = [0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0, 8, 0];
            vec![[&head, &ethernet(0, from, to, bytes)[14..]].concat()]
        }),
        (Link::Cooked2, |from, to, bytes| {
            let head = [8, 0, 0, 0, 0, 0, 0, 3, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0];
            vec![[&head, &ethernet(0, from, to, bytes)[14..]].concat()]
        }),
        // both sides of the mirrored port: everything twice
        (Link::Ethernet, |from, to, bytes| vec![ethernet(0, from, to, bytes), ethernet(1, from, to, bytes)]),
        // sent over a network: VXLAN, and ERSPAN with its sequence number
        (Link::Ethernet, |from, to, bytes| {
            let inner = [&[8, 0, 0, 0, 0, 0, 7, 0], &ethernet(0, from, to, bytes)[..]].concat();
            vec![ethernet(0, at("10.0.0.1:5000"), at("10.0.0.2:4789"), &inner)]
        }),
        (Link::Ip, |from, to, bytes| {
            let erspan = [0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10, 0, 0, 0, 0, 0, 0, 0];
            let inner = [&erspan, &ethernet(1, from, to, bytes)[..]].concat();
            let head = etherparse::Ipv4Header::new(
                inner.len() as u16,
                64,
                etherparse::IpNumber(47),
                [10, 0, 0, 1],
                [10, 0, 0, 2],
            );
            vec![[&head.unwrap().to_bytes()[..], &inner].concat()]
        }),
    ];
    for (n, (link, wrap)) in wraps.into_iter().enumerate() {
        println!("wrapping {n}");
        is_usual(&usual_call(link, wrap));
    }
}

#[test]
fn a_call_over_ipv6_whole_and_in_fragments() {
    let wraps: [Wrap; 2] = [
        |from, to, bytes| vec![ethernet(0, from, to, bytes)],
        |from, to, bytes| {
            let mut parts =
                fragments6(&ethernet(0, from, to, bytes), 128, bytes.len() as u32 * 131 + u32::from(bytes[3]));
            parts.reverse();
            parts
        },
    ];
    for wrap in wraps {
        let mut watch = Watch::new(Settings { lines: Vec::new(), ..settings() });
        watch.wrap = wrap;
        let [exchange, far, near] = ["[2001:db8::1]:5060", "[2001:db8::9]:5060", "[2001:db8::101]:5060"];
        let talks = [
            Talk::new("in1", NUMBER, "0663011285", [far, exchange]),
            Talk::new("out1", NUMBER, "2001", [exchange, near]),
        ];
        let sounds = [port(exchange, 10_000), port(exchange, 10_010), port(far, 20_000), port(near, 30_000)];
        set_up(&mut watch, &talks, sounds);
        converse(&mut watch, sounds, 20);
        caller_hangs_up(&mut watch, &talks);
        is_usual(&watch);
    }
}

#[test]
fn fragments_in_any_order_are_put_together_and_overlapping_ones_are_refused() {
    let scattered: Wrap = |from, to, bytes| {
        let id = bytes.iter().fold(bytes.len() as u16, |sum, byte| sum.wrapping_mul(31).wrapping_add(u16::from(*byte)));
        let mut parts = fragments(&ethernet(0, from, to, bytes), 64, id);
        parts.reverse();
        parts
    };
    is_usual(&usual_call(Link::Ethernet, scattered));

    let mut watch = Watch::new(settings());
    let [line, _] = pair(1, NUMBER);
    let invite = line.request(0, "INVITE", 1, "", &sdp(sounds()[2], ""));
    let mut parts = fragments(&ethernet(0, at(CARRIER), at(EXCHANGE), invite.as_bytes()), 64, 5);
    // the second piece says that it begins 8 bytes earlier
    let early = u16::from_be_bytes([parts[1][20], parts[1][21]]) - 1;
    parts[1][20..22].copy_from_slice(&early.to_be_bytes());
    parts.iter().for_each(|part| watch.frame(part));
    assert_eq!(watch.mirror.counters().messages, 0);
    assert!(watch.mirror.counters().fragments_refused > 0);
}

/// The messages of the usual call over two TCP connections, cut and ordered by `order`.
fn over_tcp(order: impl Fn(Vec<(u32, Vec<u8>)>) -> Vec<(u32, Vec<u8>)>) -> Watch {
    let mut watch = Watch::new(settings());
    let [line, phone] = pair(1, NUMBER);
    let [own, own2, far, near] = sounds();
    let mut sent = std::collections::HashMap::new();
    let mut send = |watch: &mut Watch, from: std::net::SocketAddr, to: std::net::SocketAddr, text: &str| {
        let next: &mut u32 = sent.entry((from, to)).or_insert_with(|| {
            watch.frame(&tcp(from, to, u32::MAX - 100, true, b""));
            u32::MAX - 99
        });
        let base = *next;
        *next = next.wrapping_add(text.len() as u32);
        for (at, bytes) in order(vec![(0, text.as_bytes().to_vec())]) {
            watch.frame(&tcp(from, to, base.wrapping_add(at), false, &bytes));
        }
        watch.pass(Duration::from_millis(1));
    };
    let (a, x, b) = (at(CARRIER), at(EXCHANGE), at(YAMADA));
    send(&mut watch, a, x, &line.request(0, "INVITE", 1, "", &sdp(far, "")));
    // several messages in one segment
    let several = line.answer(0, 100, "INVITE", 1, "") + "\r\n\r\n" + &line.answer(0, 180, "INVITE", 1, "");
    send(&mut watch, x, a, &several);
    send(&mut watch, x, b, &phone.request(0, "INVITE", 1, "", &sdp(own2, "")));
    send(
        &mut watch,
        b,
        x,
        &(phone.answer(0, 180, "INVITE", 1, "") + &phone.answer(0, 200, "INVITE", 1, &sdp(near, ""))),
    );
    send(&mut watch, x, a, &line.answer(0, 200, "INVITE", 1, &sdp(own, "")));
    converse(&mut watch, sounds(), 20);
    send(&mut watch, a, x, &line.request(0, "BYE", 2, "", ""));
    watch
}

#[test]
fn tcp_segments_may_be_cut_anywhere_reordered_and_repeated() {
    for size in [1, 7, 100, 333, 1_460] {
        let cut = |whole: Vec<(u32, Vec<u8>)>| -> Vec<(u32, Vec<u8>)> {
            let pieces = whole[0].1.chunks(size).enumerate();
            pieces.map(|(n, piece)| ((n * size) as u32, piece.to_vec())).collect()
        };
        is_usual(&over_tcp(cut));
        // 64 segments may wait for one that is late
        is_usual(&over_tcp(|whole| {
            let mut pieces = cut(whole);
            pieces.chunks_mut(16).for_each(<[_]>::reverse);
            pieces
        }));
        is_usual(&over_tcp(|whole| {
            let pieces = cut(whole);
            pieces.iter().cloned().chain(pieces.clone()).collect()
        }));
    }
}

#[test]
fn a_capture_that_begins_in_the_middle_of_a_call_counts_it_and_guesses_nothing() {
    let mut watch = Watch::new(settings());
    let talks = pair(1, NUMBER);
    converse(&mut watch, sounds(), 10);
    watch.ask(&talks[1], 0, "INVITE", 2, "", &sdp(sounds()[1], ""));
    watch.reply(&talks[1], 0, 200, "INVITE", 2, &sdp(sounds()[3], ""));
    caller_hangs_up(&mut watch, &talks);
    assert!(watch.told.is_empty() && watch.heard.is_empty());
    let counters = watch.mirror.counters();
    assert_eq!((counters.dialogs_unknown, counters.rtp_unannounced), (3, 40));
    // the next call is seen whole
    let next = pair(2, NUMBER);
    set_up(&mut watch, &next, sounds());
    assert_eq!(watch.calls(), ["in2"]);
}

#[test]
fn an_encrypted_call_is_told_as_such_and_never_decoded() {
    let mut watch = Watch::new(settings());
    let talks = pair(1, NUMBER);
    let key = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n";
    let secure = |to| sdp(to, key).replace("RTP/AVP", "RTP/SAVP");
    let [own, own2, far, near] = sounds();
    watch.ask(&talks[0], 0, "INVITE", 1, "", &secure(far));
    watch.ask(&talks[1], 0, "INVITE", 1, "", &secure(own2));
    watch.reply(&talks[1], 0, 200, "INVITE", 1, &secure(near));
    watch.reply(&talks[0], 0, 200, "INVITE", 1, &secure(own));
    converse(&mut watch, sounds(), 20);
    caller_hangs_up(&mut watch, &talks);
    let story = watch.story("in1");
    for who in ["Caller", "Agent"] {
        let deaf = format!("deaf to {who}: the sound is encrypted");
        assert!(story.iter().any(|line| line.starts_with(&deaf)), "{story:?}");
    }
    assert!(watch.heard.is_empty());
    assert_eq!(watch.mirror.counters().streams_encrypted, 2);
    // TLS is counted once a connection
    watch.frame(&tcp(port(YAMADA, 41_000), port(EXCHANGE, 5061), 1, true, b""));
    watch.frame(&tcp(port(YAMADA, 41_000), port(EXCHANGE, 5061), 2, false, &[0x16, 3, 1, 0, 5, 1]));
    assert_eq!(watch.mirror.counters().sip_encrypted, 1);
}

#[test]
fn behind_an_encrypted_line_the_caller_is_heard_as_the_telephone_hears_her() {
    let mut watch = Watch::new(settings());
    let talks = pair(1, NUMBER);
    let secure = |to| sdp(to, "").replace("RTP/AVP", "RTP/SAVP");
    let [own, own2, far, near] = sounds();
    watch.ask(&talks[0], 0, "INVITE", 1, "", &secure(far));
    watch.ask(&talks[1], 0, "INVITE", 1, "", &sdp(own2, ""));
    watch.reply(&talks[1], 0, 200, "INVITE", 1, &sdp(near, ""));
    watch.reply(&talks[0], 0, 200, "INVITE", 1, &secure(own));
    watch.talk(9, far, own, 5);
    watch.talk(1, own2, near, 5);
    watch.talk(2, near, own2, 5);
    assert_eq!((watch.voices("in1", Speaker::Caller), watch.voices("in1", Speaker::Agent)), (vec![1], vec![2]));
}

#[test]
fn two_calls_at_once_keep_their_sound_apart() {
    let mut watch = Watch::new(settings());
    let first = pair(1, NUMBER);
    let mut second = pair(2, "09011112222");
    second[1] = Talk::new("out2", "09011112222", "2002", [EXCHANGE, TANAKA]);
    let others = [port(EXCHANGE, 11_000), port(EXCHANGE, 11_010), port(CARRIER, 21_000), port(TANAKA, 30_000)];
    // interleaved
    watch.ask(&first[0], 0, "INVITE", 1, "", &sdp(sounds()[2], ""));
    set_up(&mut watch, &second, others);
    set_up(&mut watch, &first, sounds());
    converse(&mut watch, sounds(), 5);
    for n in 0..5 {
        watch.udp(others[2], others[0], &rtp(3, n));
        watch.udp(others[3], others[1], &rtp(4, n));
    }
    for (call, voices) in [("in1", [1, 2]), ("in2", [3, 4])] {
        assert_eq!(watch.voices(call, Speaker::Caller), [voices[0]], "{call}");
        assert_eq!(watch.voices(call, Speaker::Agent), [voices[1]], "{call}");
    }
    caller_hangs_up(&mut watch, &first);
    caller_hangs_up(&mut watch, &second);
    assert_eq!(watch.story("in1"), usual(NUMBER));
    assert_eq!((watch.open, watch.mirror.calls()), (0, 0));
}

#[test]
fn two_callers_with_one_number_are_not_guessed_apart() {
    let mut watch = Watch::new(settings());
    let (first, second) = (pair(1, NUMBER), pair(2, NUMBER));
    watch.ask(&first[0], 0, "INVITE", 1, "", &sdp(port(CARRIER, 20_000), ""));
    watch.ask(&second[0], 0, "INVITE", 1, "", &sdp(port(CARRIER, 20_010), ""));
    watch.ask(&first[1], 0, "INVITE", 1, "", &sdp(sounds()[1], ""));
    watch.reply(&first[1], 0, 200, "INVITE", 1, &sdp(sounds()[3], ""));
    assert_eq!(watch.calls(), ["out1"], "the telephone is a contact of its own");
    // the exchange says by its sound whose it is
    watch.reply(&second[0], 0, 200, "INVITE", 1, &sdp(port(EXCHANGE, 10_020), ""));
    for n in 0..30 {
        watch.udp(port(CARRIER, 20_010), port(EXCHANGE, 10_020), &rtp(1, n));
        watch.udp(sounds()[1], sounds()[3], &rtp(1, n));
        watch.udp(sounds()[3], sounds()[1], &rtp(2, n));
    }
    watch.ask(&second[0], 0, "BYE", 2, "", "");
    assert_eq!(watch.calls(), ["out1"], "now both dialogs are one contact");
    assert_eq!(watch.story("out1").last().unwrap(), &ends(EndCause::Normal));
    assert_eq!((watch.voices("out1", Speaker::Caller), watch.voices("out1", Speaker::Agent)), (vec![1], vec![2]));
    assert_eq!(watch.mirror.counters().joined_by_sound, 1);
}

#[test]
fn dialogs_are_joined_by_session_id_and_by_call_id_whatever_number_is_shown() {
    let session = "Session-ID: ab30317f1a784dc48ff824d0d3715d86;remote=00000000000000000000000000000000";
    let mut watch = Watch::new(settings());
    let line = Talk::new("in1", NUMBER, "0663011285", [CARRIER, EXCHANGE]).with(session);
    let phone = Talk::new("out1", "0663011285", "2001", [EXCHANGE, YAMADA]).with(session);
    // another call with the number that the telephone is shown
    let other = Talk::new("in9", "0663011285", "7", [CARRIER, EXCHANGE]);
    watch.ask(&other, 0, "INVITE", 1, "", &sdp(port(CARRIER, 22_000), ""));
    set_up(&mut watch, &[line.clone(), phone.clone()], sounds());
    converse(&mut watch, sounds(), 20);
    caller_hangs_up(&mut watch, &[line, phone]);
    is_usual(&watch);

    let mut watch = Watch::new(settings());
    let line = Talk::new("in1", NUMBER, "0663011285", [CARRIER, EXCHANGE]);
    let phone = Talk { ends: [at(EXCHANGE), at(YAMADA)], to: "2001".into(), ..line.clone() };
    let talks = [line, phone];
    set_up(&mut watch, &talks, sounds());
    converse(&mut watch, sounds(), 20);
    caller_hangs_up(&mut watch, &talks);
    is_usual(&watch);
    assert_eq!(watch.mirror.counters().joined_by_id, 1, "a proxy keeps the Call-ID");
}

#[test]
fn only_the_telephone_is_seen() {
    let mut watch = Watch::new(settings());
    let [_, phone] = pair(1, NUMBER);
    let [_, own2, _, near] = sounds();
    watch.ask(&phone, 0, "INVITE", 1, "", &sdp(own2, ""));
    watch.reply(&phone, 0, 180, "INVITE", 1, "");
    watch.reply(&phone, 0, 200, "INVITE", 1, &sdp(near, ""));
    watch.talk(1, own2, near, 5);
    watch.talk(2, near, own2, 5);
    watch.ask(&phone, 1, "BYE", 1, "", "");
    assert_eq!((watch.voices("out1", Speaker::Caller), watch.voices("out1", Speaker::Agent)), (vec![1], vec![2]));
    assert_eq!(
        watch.story("out1").last_chunk::<2>().unwrap(),
        &["leg ends Normal".to_string(), ends(EndCause::Normal)]
    );
    assert_eq!(watch.mirror.counters().not_joined, 1);
}

#[test]
fn only_the_line_is_seen() {
    let run = |agents_unseen| {
        let mut watch = Watch::new(Settings { agents_unseen, ..settings() });
        let [line, _] = pair(1, NUMBER);
        let [own, _, far, _] = sounds();
        watch.ask(&line, 0, "INVITE", 1, "", &sdp(far, ""));
        watch.reply(&line, 0, 180, "INVITE", 1, "");
        watch.reply(&line, 0, 200, "INVITE", 1, &sdp(own, ""));
        watch.talk(1, far, own, 5);
        watch.talk(2, own, far, 5);
        watch.ask(&line, 1, "BYE", 1, "", "");
        watch
    };
    let watch = run(true);
    assert_eq!((watch.voices("in1", Speaker::Caller), watch.voices("in1", Speaker::Agent)), (vec![1], vec![2]));
    let story = watch.story("in1");
    assert_eq!(story[1..4], ["leg 0663011285", "rings", "answered"], "{story:?}");
    assert_eq!(story.last_chunk::<2>().unwrap()[0], "leg ends Normal", "the agent hung up");
    let watch = run(false);
    let story = watch.story("in1");
    assert!(story.iter().filter(|line| line.contains("no telephone was seen")).count() == 2, "{story:?}");
    assert!(watch.heard.is_empty());
}

#[test]
fn hold_and_delayed_offer_and_a_refused_reinvite() {
    let mut watch = Watch::new(settings());
    let talks = pair(1, NUMBER);
    let [line, phone] = &talks;
    let [own, own2, far, near] = sounds();
    watch.ask(line, 0, "INVITE", 1, "", &sdp(far, ""));
    // no offer in INVITE: 200 offers, ACK answers
    watch.ask(phone, 0, "INVITE", 1, "", "");
    watch.reply(phone, 0, 200, "INVITE", 1, &sdp(near, ""));
    watch.ask(phone, 0, "ACK", 1, "", &sdp(own2, ""));
    watch.reply(line, 0, 200, "INVITE", 1, &sdp(own, ""));
    converse(&mut watch, sounds(), 5);
    // the agent holds, and comes back
    watch.ask(phone, 1, "INVITE", 5, "", &sdp(near, "a=sendonly\r\n"));
    watch.reply(phone, 1, 200, "INVITE", 5, &sdp(own2, "a=recvonly\r\n"));
    watch.ask(phone, 1, "INVITE", 6, "", &sdp(near, ""));
    watch.reply(phone, 1, 200, "INVITE", 6, &sdp(own2, ""));
    // a re-INVITE that is refused changes nothing
    watch.ask(phone, 0, "INVITE", 7, "", &sdp(port(EXCHANGE, 10_900), ""));
    watch.reply(phone, 0, 488, "INVITE", 7, "");
    converse(&mut watch, sounds(), 5);
    watch.talk(9, near, port(EXCHANGE, 10_900), 5);
    caller_hangs_up(&mut watch, &talks);
    let story = watch.story("in1");
    assert!(story.windows(2).any(|pair| pair == ["held", "resumed"]), "{story:?}");
    assert_eq!((watch.voices("in1", Speaker::Caller), watch.voices("in1", Speaker::Agent)), (vec![1], vec![2]));
}

#[test]
fn sound_that_goes_direct_stays_with_its_speaker() {
    let mut watch = Watch::new(settings());
    let talks = pair(1, NUMBER);
    let [line, phone] = &talks;
    let [own, own2, far, near] = sounds();
    set_up(&mut watch, &talks, sounds());
    converse(&mut watch, sounds(), 5);
    // the exchange tells each of the other
    watch.ask(line, 1, "INVITE", 9, "", &sdp(near, ""));
    watch.ask(phone, 0, "INVITE", 9, "", &sdp(far, ""));
    watch.talk(1, far, near, 2);
    watch.reply(line, 1, 200, "INVITE", 9, &sdp(far, ""));
    watch.reply(phone, 0, 200, "INVITE", 9, &sdp(near, ""));
    watch.talk(1, far, near, 5);
    watch.talk(2, near, far, 5);
    // what was on its way to the old address still counts, and later not
    watch.talk(1, far, own, 1);
    watch.pass(Duration::from_secs(3));
    watch.talk(9, far, own, 5);
    watch.talk(9, near, own2, 5);
    caller_hangs_up(&mut watch, &talks);
    is_usual(&watch);
}

#[test]
fn a_telephone_behind_a_nat_is_heard_where_it_sends_from() {
    let mut watch = Watch::new(settings());
    let [line, mut phone] = pair(1, NUMBER);
    phone.ends[1] = at("203.0.113.50:40111");
    let [own, own2, far, _] = sounds();
    let (written, real) = (at("10.1.2.3:30000"), at("203.0.113.50:41222"));
    set_up(&mut watch, &[line.clone(), phone.clone()], [own, own2, far, written]);
    watch.talk(2, real, own2, 5);
    watch.talk(1, far, own, 5);
    watch.talk(1, own2, real, 5);
    caller_hangs_up(&mut watch, &[line, phone]);
    is_usual(&watch);
}

#[test]
fn how_telephones_and_calls_end() {
    // the caller gives up
    let mut watch = Watch::new(settings());
    let [line, phone] = pair(1, NUMBER);
    watch.ask(&line, 0, "INVITE", 1, "", &sdp(sounds()[2], ""));
    watch.ask(&phone, 0, "INVITE", 1, "", &sdp(sounds()[1], ""));
    watch.reply(&phone, 0, 180, "INVITE", 1, "");
    watch.ask(&line, 0, "CANCEL", 1, "", "");
    watch.ask(&phone, 0, "CANCEL", 1, "", "");
    assert_eq!(watch.story("in1").last().unwrap(), &ends(EndCause::Cancelled));
    // one is busy, one refuses, one is cancelled because another one answered
    let mut watch = Watch::new(settings());
    watch.ask(&line, 0, "INVITE", 1, "", &sdp(sounds()[2], ""));
    let telephones: Vec<Talk> =
        (0..4).map(|n| Talk { id: format!("out{n}"), to: format!("200{n}"), ..phone.clone() }).collect();
    telephones.iter().for_each(|phone| watch.ask(phone, 0, "INVITE", 1, "", &sdp(sounds()[1], "")));
    watch.reply(&telephones[0], 0, 486, "INVITE", 1, "");
    watch.reply(&telephones[1], 0, 603, "INVITE", 1, "");
    watch.reply(&telephones[3], 0, 200, "INVITE", 1, &sdp(sounds()[3], ""));
    watch.ask(&telephones[2], 0, "CANCEL", 1, "Reason: SIP;cause=200;text=\"Call completed elsewhere\"\r\n", "");
    watch.reply(&telephones[2], 0, 487, "INVITE", 1, "");
    // the exchange ends both sides; the caller was the first to go, which is seen a little later
    watch.ask(&telephones[3], 0, "BYE", 2, "", "");
    watch.pass(Duration::from_millis(100));
    watch.ask(&line, 0, "BYE", 2, "", "");
    let ends: Vec<String> = watch.story("in1").into_iter().filter(|line| line.contains("ends")).collect();
    assert_eq!(ends, ["leg ends Busy", "leg ends Rejected", "leg ends AnsweredElsewhere", "call ends Normal"]);
    // the agent hangs up
    let mut watch = Watch::new(settings());
    let talks = pair(1, NUMBER);
    set_up(&mut watch, &talks, sounds());
    watch.ask(&talks[1], 1, "BYE", 3, "", "");
    watch.ask(&talks[0], 1, "BYE", 3, "", "");
    assert_eq!(watch.story("in1").last_chunk::<2>().unwrap(), &["leg ends Normal", "call ends Normal"]);
    // nothing more is seen of a call
    let mut watch = Watch::new(settings());
    set_up(&mut watch, &talks, sounds());
    watch.pass(Duration::from_secs(301));
    assert!(watch.story("in1").last().unwrap().contains("LostSight"), "{:?}", watch.story("in1"));
    watch.pass(Duration::from_secs(60));
    assert_eq!((watch.open, watch.mirror.remembered()), (0, (0, 0)));
    // the capture ends
    let mut watch = Watch::new(settings());
    set_up(&mut watch, &talks, sounds());
    watch.end();
    assert_eq!(watch.story("in1").last().unwrap(), "call ends LostSight");
    assert_eq!(watch.open, 0);
}

#[test]
fn a_call_that_the_exchange_refuses_at_once_is_counted_only() {
    let mut watch = Watch::new(settings());
    let [line, _] = pair(1, NUMBER);
    watch.ask(&line, 0, "INVITE", 1, "", &sdp(sounds()[2], ""));
    watch.reply(&line, 0, 404, "INVITE", 1, "");
    assert!(watch.told.is_empty());
    assert_eq!(watch.mirror.counters().calls_unanswered, 1);
}

#[test]
fn a_challenge_is_no_end_and_registered_telephones_have_their_extension() {
    let mut watch = Watch::new(settings());
    let register =
        Talk { to: "2001".into(), from: "2001".into(), ..Talk::new("r", "2001", "2001", [YAMADA, EXCHANGE]) };
    watch.ask(&register, 0, "REGISTER", 1, "Contact: <sip:x81jf@192.0.2.101:5060;ob>\r\n", "");
    watch.reply(&register, 0, 200, "REGISTER", 1, "");
    let [line, mut phone] = pair(1, NUMBER);
    phone.to = "x81jf".into();
    watch.ask(&line, 0, "INVITE", 1, "", &sdp(sounds()[2], ""));
    watch.reply(&line, 0, 401, "INVITE", 1, "");
    let again = line.request(0, "INVITE", 1, "", &sdp(sounds()[2], "")).replace("CSeq: 1 ", "CSeq: 2 ");
    watch.udp(at(CARRIER), at(EXCHANGE), again.as_bytes());
    watch.ask(&phone, 0, "INVITE", 1, "", &sdp(sounds()[1], ""));
    watch.reply(&phone, 0, 200, "INVITE", 1, &sdp(sounds()[3], ""));
    let answered = line.answer(0, 200, "INVITE", 2, &sdp(sounds()[0], ""));
    watch.udp(at(EXCHANGE), at(CARRIER), answered.as_bytes());
    converse(&mut watch, sounds(), 5);
    caller_hangs_up(&mut watch, &[line, phone]);
    let wanted: Vec<String> = usual(NUMBER).into_iter().filter(|line| line != "rings").collect();
    assert_eq!(watch.story("in1"), wanted);
}

#[test]
fn who_calls_is_believed_by_where_it_is_said() {
    let run = |lines: Vec<Place>, trust_identity, shown: &str| {
        let mut watch = Watch::new(Settings { lines, trust_identity, ..settings() });
        let [line, phone] = pair(1, "0000");
        let line = line.with("P-Asserted-Identity: <sip:0312345678@carrier>");
        set_up(&mut watch, &[line, Talk { from: shown.into(), ..phone }], sounds());
        watch.story("in1")[0].clone()
    };
    let carrier = Place::parse("198.51.100.0/24").unwrap();
    assert_eq!(run(vec![carrier], true, NUMBER), "call 0312345678 -> 0663011285");
    assert_eq!(run(vec![carrier], false, "0000"), "call 0000 -> 0663011285");
    assert_eq!(run(vec![Place::parse("203.0.113.1").unwrap()], true, "0000"), "call 0000 -> 0663011285");
}

#[test]
fn a_blind_transfer_goes_on_with_the_new_telephone() {
    let mut watch = Watch::new(settings());
    let talks = pair(1, NUMBER);
    let [line, phone] = &talks;
    set_up(&mut watch, &talks, sounds());
    converse(&mut watch, sounds(), 5);
    watch.ask(phone, 1, "REFER", 3, "Refer-To: <sip:2002@192.0.2.1>\r\n", "");
    watch.reply(phone, 1, 202, "REFER", 3, "");
    watch.ask(phone, 1, "BYE", 4, "", "");
    let next = Talk::new("out2", NUMBER, "2002", [EXCHANGE, TANAKA]);
    let near = port(TANAKA, 30_000);
    watch.ask(&next, 0, "INVITE", 1, "", &sdp(port(EXCHANGE, 10_020), ""));
    watch.reply(&next, 0, 200, "INVITE", 1, &sdp(near, ""));
    watch.talk(1, sounds()[2], sounds()[0], 5);
    watch.talk(3, near, port(EXCHANGE, 10_020), 5);
    watch.ask(line, 0, "BYE", 5, "", "");
    let story = watch.story("in1");
    let wanted = [
        "transferred Blind to 2002",
        "leg ends Transferred",
        "leg 2002",
        "answered",
        "hears Caller",
        "hears Agent",
        "call ends Normal",
    ];
    assert_eq!(story[6..], wanted, "{story:?}");
    assert_eq!((watch.voices("in1", Speaker::Caller), watch.voices("in1", Speaker::Agent)), (vec![1], vec![2, 3]));
}

#[test]
fn a_transfer_after_consultation_links_both_contacts_and_brings_the_new_person_over() {
    let mut watch = Watch::new(settings());
    let talks = pair(1, NUMBER);
    let [line, phone] = &talks;
    set_up(&mut watch, &talks, sounds());
    // 2001 asks 2002
    let asks = Talk::new("ask", "2001", "2002", [YAMADA, EXCHANGE]);
    let asked = Talk::new("asked", "2001", "2002", [EXCHANGE, TANAKA]);
    let ports = [port(EXCHANGE, 12_000), port(EXCHANGE, 12_010), port(YAMADA, 31_000), port(TANAKA, 30_000)];
    set_up(&mut watch, &[asks.clone(), asked.clone()], ports);
    assert_eq!(watch.calls(), ["in1", "ask"]);
    let replaces = "Refer-To: <sip:2002@192.0.2.1?Replaces=ask%3Bto-tag%3Dtask%3Bfrom-tag%3Dfask>\r\n";
    watch.ask(phone, 1, "REFER", 3, replaces, "");
    watch.reply(phone, 1, 202, "REFER", 3, "");
    watch.ask(phone, 1, "BYE", 4, "", "");
    watch.ask(&asks, 0, "BYE", 5, "", "");
    watch.talk(1, sounds()[2], sounds()[0], 5);
    watch.talk(4, ports[3], ports[1], 5);
    watch.ask(line, 0, "BYE", 6, "", "");
    let story = watch.story("in1");
    let wanted = [
        "transferred Attended to 2002",
        "linked Consultation ask",
        "leg 2002",
        "answered",
        "leg ends Transferred",
        "hears Caller",
        "hears Agent",
        "call ends Normal",
    ];
    assert_eq!(story[6..], wanted, "{story:?}");
    let other = watch.story("ask");
    assert_eq!(
        other[other.len() - 3..],
        ["linked Origin in1", "leg ends Transferred", "call ends Transferred"],
        "{other:?}"
    );
    assert_eq!(watch.voices("in1", Speaker::Caller), [1]);
    assert!(watch.voices("in1", Speaker::Agent).contains(&4));
    assert_eq!((watch.open, watch.mirror.calls()), (0, 0));
}

#[test]
fn a_call_that_is_picked_up_goes_to_whoever_took_it() {
    let mut watch = Watch::new(settings());
    let [line, phone] = pair(1, NUMBER);
    watch.ask(&line, 0, "INVITE", 1, "", &sdp(sounds()[2], ""));
    watch.ask(&phone, 0, "INVITE", 1, "", &sdp(sounds()[1], ""));
    watch.reply(&phone, 0, 180, "INVITE", 1, "");
    let picks =
        Talk::new("pick", "2002", "2001", [TANAKA, EXCHANGE]).with("Replaces: out1;from-tag=fout1;to-tag=tout1");
    watch.ask(&picks, 0, "INVITE", 1, "", &sdp(port(TANAKA, 30_000), ""));
    watch.reply(&picks, 0, 200, "INVITE", 1, &sdp(port(EXCHANGE, 10_020), ""));
    watch.ask(&phone, 0, "CANCEL", 1, "", "");
    watch.reply(&phone, 0, 487, "INVITE", 1, "");
    watch.reply(&line, 0, 200, "INVITE", 1, &sdp(sounds()[0], ""));
    watch.talk(1, sounds()[2], sounds()[0], 3);
    watch.talk(3, port(TANAKA, 30_000), port(EXCHANGE, 10_020), 3);
    watch.ask(&line, 0, "BYE", 2, "", "");
    assert_eq!(watch.calls(), ["in1"]);
    assert_eq!((watch.voices("in1", Speaker::Caller), watch.voices("in1", Speaker::Agent)), (vec![1], vec![3]));
    assert!(watch.story("in1").contains(&"leg 2002".to_string()));
}

#[test]
fn an_agent_behind_a_line_to_the_outside_is_not_listened_to() {
    let mut watch = Watch::new(settings());
    let line = Talk::new("in1", "2001", "0312345678", [YAMADA, EXCHANGE]);
    let outside = Talk::new("out1", "2001", "0312345678", [EXCHANGE, CARRIER]);
    set_up(
        &mut watch,
        &[line, outside],
        [port(EXCHANGE, 1_000), port(EXCHANGE, 1_002), port(YAMADA, 1_004), port(CARRIER, 1_006)],
    );
    assert_eq!(watch.story("in1"), ["call 2001 -> 0312345678", "leg 0312345678", "rings", "answered"]);
    assert!(watch.heard.is_empty());
}

#[test]
fn calls_beyond_the_limit_are_counted_and_cost_nothing() {
    let mut watch = Watch::new(Settings { max_calls: 3, ..settings() });
    for n in 0..500 {
        let talks = pair(n, &format!("09000000{n:03}"));
        watch.ask(&talks[0], 0, "INVITE", 1, "", &sdp(sounds()[2], ""));
        watch.ask(&talks[1], 0, "INVITE", 1, "", &sdp(sounds()[1], ""));
    }
    assert_eq!(watch.mirror.calls(), 3);
    assert!(watch.mirror.remembered().0 <= 18 && watch.mirror.counters().calls_refused > 400);
}

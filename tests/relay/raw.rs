//! Peers that are not what they should be: strangers, other versions, garbage, two at once, the same event twice.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use kakehashi::outbox::relay::frame::{Farewell, Frame, Frames, Role, VERSION};
use kakehashi::outbox::relay::{Class, pack, status};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::ends::{BRIDGE, Far, Near, PATIENCE, Place, RELAY, batch, connect, hold, local, seen};
use crate::hook::Hook;
use crate::mutate::{Dice, mutate};
use crate::tls::{self, Authority};

/// A near end that says what it likes.
struct Peer {
    tls: TlsStream<TcpStream>,
    frames: Frames,
}

impl Peer {
    async fn connect(place: &Place, port: u16) -> Peer {
        let own = place.authority.issue(&[BRIDGE]);
        let client = tls::client(&place.authority, Some(&own), &[&rustls::version::TLS13]);
        Peer { tls: tls::connect(&client, RELAY, local(port)).await.unwrap(), frames: Frames::default() }
    }

    async fn greeted(place: &Place, port: u16) -> Peer {
        let mut peer = Peer::connect(place, port).await;
        peer.say(&[Frame::Hello { version: VERSION, role: Some(Role::Near) }]).await;
        assert_eq!(peer.hear().await, Some(Frame::Hello { version: VERSION, role: Some(Role::Far) }));
        peer
    }

    async fn say(&mut self, frames: &[Frame]) {
        let mut out = BytesMut::new();
        frames.iter().for_each(|frame| frame.write(&mut out));
        self.bytes(&out).await;
    }

    /// What the other end does not want to hear any more is not its fault.
    async fn bytes(&mut self, bytes: &[u8]) {
        let _ = self.tls.write_all(bytes).await;
        let _ = self.tls.flush().await;
    }

    /// The next frame but pings; `None` at the end.
    async fn hear(&mut self) -> Option<Frame> {
        let next = async {
            loop {
                match self.frames.next().unwrap() {
                    Some(Frame::Ping) => {}
                    Some(frame) => return Some(frame),
                    None => {
                        if self.tls.read_buf(self.frames.buffer()).await.unwrap_or(0) == 0 {
                            return None;
                        }
                    }
                }
            }
        };
        tokio::time::timeout(PATIENCE, next).await.expect("nothing came")
    }

    /// The last words of the other end, with nothing after them.
    async fn last_words(&mut self) -> (Farewell, String) {
        loop {
            match self.hear().await {
                Some(Frame::Bye { farewell, why }) => {
                    assert_eq!(self.hear().await, None);
                    return (farewell, why);
                }
                Some(_) => {}
                None => panic!("no farewell"),
            }
        }
    }
}

fn relay(place: &Place, hook: &Hook) -> (Far, u16) {
    let port = crate::ends::port();
    (place.relay(&format!("listen = \"127.0.0.1:{port}\""), hook.port), port)
}

#[tokio::test(flavor = "multi_thread")]
async fn another_version_is_told_in_clear_words_to_both_ends() {
    let (place, hook) = (Place::new(), Hook::listen(0));
    let (far, port) = relay(&place, &hook);
    let mut peer = Peer::connect(&place, port).await;
    peer.say(&[Frame::Hello { version: 9, role: Some(Role::Near) }]).await;
    let (farewell, why) = peer.last_words().await;
    assert_eq!(farewell, Farewell::Version);
    let words = "speaks version 9 of the link and this one 1; install the same version";
    assert!(why.contains(words), "{why}");
    far.says(words);
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_ends_its_link_and_nothing_else() {
    let (place, hook) = (Place::new(), Arc::new(Hook::listen(0)));
    let (mut far, port) = relay(&place, &hook);
    let event = batch(50, 1, 600).events[0].to_json();
    let packed = pack::pack(Class::Record, event.as_bytes()).unwrap();
    let mut good = BytesMut::new();
    for (last, bytes) in [(false, packed[..50].to_vec()), (true, packed[50..].to_vec())] {
        Frame::Piece { message: 1, last, bytes }.write(&mut good);
    }
    let mut dice = Dice(11);
    for round in 0..60_u64 {
        let mut bytes = good.to_vec();
        for _ in 0..=dice.below(4) {
            let place = dice.below(bytes.len());
            bytes[place] = dice.below(256) as u8;
        }
        bytes = mutate(round, &bytes);
        if round % 4 == 0 {
            bytes = (0..dice.below(4_000)).map(|_| dice.below(256) as u8).collect();
        }
        if round % 3 == 0 {
            // before any greeting
            Peer::connect(&place, port).await.bytes(&bytes).await;
            continue;
        }
        let mut peer = Peer::greeted(&place, port).await;
        peer.bytes(&bytes).await;
    }
    let mut peer = Peer::greeted(&place, port).await;
    peer.bytes(b"GET / HTTP/1.1\r\n\r\n").await;
    assert_eq!(peer.last_words().await.0, Farewell::Fault);
    let mut peer = Peer::greeted(&place, port).await;
    peer.say(&[Frame::Hello { version: VERSION, role: Some(Role::Near) }]).await;
    assert_eq!(peer.last_words().await.0, Farewell::Fault);
    // plain text where TLS is spoken
    TcpStream::connect(local(port)).await.unwrap().write_all(b"hello\r\n\r\n").await.unwrap();
    assert!(far.runs());
    let near = Near::start(&place.path("near"), place.endpoint(connect(port)));
    let accepted = near.accept((1..=20).map(|sequence| batch(1, sequence, 50)).collect()).await;
    near.until(|figures| figures.pending() == 0).await;
    seen(&hook, |events| events.iter().filter(|event| event.contact == crate::ends::contact(1)).count() == 20).await;
    let arrived = hook.arrived().len();
    assert!(arrived == 20 || arrived == 21, "the event of the garbage is whole or not there: {arrived}");
    if arrived == 20 {
        hold(&accepted, &hook);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_comes_twice_is_stored_once_and_another_with_its_id_is_refused() {
    let (place, hook) = (Place::new(), Arc::new(Hook::listen(0)));
    let (_far, port) = relay(&place, &hook);
    let of = |message, class, text: &str| Frame::Piece {
        message,
        last: true,
        bytes: pack::pack(class, text.as_bytes()).unwrap(),
    };
    let event = batch(1, 1, 80).events[0].to_json();
    let other = event.replace("6001", "6002");
    let mut peer = Peer::greeted(&place, port).await;
    peer.say(&[of(1, Class::Record, &event), of(2, Class::Record, &event)]).await;
    let mut answers = Vec::new();
    for _ in 0..2 {
        answers.push(peer.hear().await.unwrap());
    }
    // a newer link takes the place of the one before, and knows the event too
    let mut newer = Peer::greeted(&place, port).await;
    assert_eq!(peer.last_words().await.0, Farewell::Replaced);
    for (message, text) in
        [(3, event.as_str()), (4, &other), (5, "{}"), (6, &event.replace("call.queued", "call.sung"))]
    {
        newer.say(&[of(message, Class::Record, text)]).await;
        answers.push(newer.hear().await.unwrap());
    }
    let mut told: Vec<_> = answers
        .into_iter()
        .map(|answer| match answer {
            Frame::Answer { message, status, .. } => (message, status),
            other => panic!("{other:?}"),
        })
        .collect();
    told.sort_unstable();
    let (taken, unknown) = (status::TAKEN, status::UNKNOWN);
    assert_eq!(told, [(1, taken), (2, taken), (3, taken), (4, status::CONFLICT), (5, unknown), (6, unknown)]);
    seen(&hook, |events| events.len() == 1).await;
    assert_eq!(hook.arrived()[0].1.to_json(), event);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_the_wrong_certificate_is_refused_by_either_end() {
    let (place, hook) = (Place::new(), Arc::new(Hook::listen(0)));
    let (far, port) = relay(&place, &hook);
    let start = |name: &str| Near::start(&place.path(name), place.endpoint(connect(port)));
    // of the right authority, and another's name
    place.write("bridge", &place.authority.issue(&["somebody.test"]));
    let named = start("near");
    let accepted = named.accept(vec![batch(1, 1, 20)]).await;
    far.says("the other end's certificate is not for \\\"bridge.test\\\"");
    // of another authority
    place.write("bridge", &Authority::new().issue(&[BRIDGE]));
    let foreign = start("other");
    far.says("TLS failed: invalid peer certificate");
    // a relay with another's name
    place.write("bridge", &place.authority.issue(&[BRIDGE]));
    let mut elsewhere = place.endpoint(connect(port));
    elsewhere.relay.as_mut().unwrap().peer = "other.test".into();
    let misled = Near::start(&place.path("third"), elsewhere);
    misled.accept(vec![batch(2, 1, 20)]).await;
    misled.until(|figures| figures.attempts > 3).await;
    let without = [&named, &foreign, &misled].map(|near| near.figures().link.unwrap().up);
    assert_eq!((without, hook.count(|_| true)), ([false; 3], 0));
    // the first one with its own certificate: what it had waits no longer
    named.deliverer.end().await;
    drop(named);
    let near = start("near");
    near.until(|figures| figures.pending() == 0).await;
    seen(&hook, |events| events.len() == 1).await;
    hold(&accepted, &hook);
    tokio::time::timeout(Duration::from_secs(60), near.deliverer.end()).await.unwrap();
}

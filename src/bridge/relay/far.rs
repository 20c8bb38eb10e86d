//! The far end of a link: what comes is answered when it is durable here, or on its way where it is live.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::near::{USEFUL, write};
use super::open::{self, Opener, Stream};
use super::sound;
use crate::bridge::deliver::Deliverer;
use crate::bridge::now;
use crate::events::{self, Event};
use crate::outbox::relay::frame::{Farewell, Frame};
use crate::outbox::relay::greet::{Fault, Pulse};
use crate::outbox::relay::pack::Kind;
use crate::outbox::relay::receive::{Received, Receiving};
use crate::outbox::relay::{Class, status};
use crate::outbox::store::{Error, Outbox};
use crate::outbox::{Batch, ContactRow};
use crate::pbx::{CallKey, PbxId};

/// Messages that are being stored at once; nothing more is read meanwhile.
const AT_ONCE: usize = 256;

/// How often it is looked whether the same event has been stored meanwhile.
const SAME: Duration = Duration::from_millis(5);

/// Why a link is over.
enum End {
    Broken(Fault),
    Hung(String),
    Replaced(Box<Stream>),
    Over,
}

/// Takes links one after the other until it is stopped; a newer one takes the place of the one before.
pub(super) async fn run(mut opener: Opener, taker: Arc<Taker>, keepalive: Duration, mut stop: oneshot::Receiver<()>) {
    let mut next = None;
    loop {
        let stream = match next.take() {
            Some(stream) => stream,
            None => tokio::select! {
                _ = &mut stop => return,
                stream = opener.next() => stream,
            },
        };
        tracing::info!("the link is up");
        taker.link(true);
        let since = now().mono;
        let (end, useful) = drive(stream, &mut opener, &taker, keepalive, &mut stop).await;
        taker.link(false);
        opener.ended(useful || now().mono.since(since) >= USEFUL);
        match end {
            End::Broken(fault) => tracing::warn!(why = %fault, "the link is over"),
            End::Hung(why) => tracing::info!(why, "the link is over"),
            End::Replaced(stream) => {
                tracing::info!("a newer link takes its place");
                next = Some(*stream);
            }
            End::Over => return,
        }
    }
}

async fn drive(
    stream: Stream,
    opener: &mut Opener,
    taker: &Arc<Taker>,
    keepalive: Duration,
    stop: &mut oneshot::Receiver<()>,
) -> (End, bool) {
    let (mut read, mut send) = tokio::io::split(stream.tls);
    let mut frames = stream.frames;
    let (answers, mut answered) = mpsc::channel::<Frame>(AT_ONCE);
    let (mut receiving, mut pulse) = (Receiving::default(), Pulse::new(keepalive, now().mono));
    let (mut out, mut unflushed, mut under_way, mut useful) = (BytesMut::new(), false, 0_usize, false);
    let end = loop {
        let mut fault = None;
        while under_way < AT_ONCE {
            match frames.next() {
                Ok(None) => break,
                Ok(Some(Frame::Ping)) => Frame::Pong.write(&mut out),
                Ok(Some(Frame::Piece { message, last, bytes })) => match receiving.piece(message, last, bytes) {
                    Ok(None) => {}
                    Ok(Some(received)) => {
                        (under_way, useful) = (under_way + 1, true);
                        tokio::spawn(answer(Arc::clone(taker), received, answers.clone()));
                    }
                    Err(wrong) => fault = Some(wrong),
                },
                Ok(Some(Frame::Pong)) => {}
                Ok(Some(Frame::Bye { farewell, why })) => fault = Some(Fault::Bye(farewell, why)),
                Ok(Some(Frame::Hello { .. } | Frame::Answer { .. })) => fault = Some(Fault::Unexpected),
                Err(malformed) => fault = Some(malformed.into()),
            }
            if fault.is_some() {
                break;
            }
        }
        match pulse.check(now().mono) {
            Ok(true) => Frame::Ping.write(&mut out),
            Ok(false) => {}
            Err(silent) => fault = fault.or(Some(silent)),
        }
        match fault {
            Some(Fault::Bye(_, why)) => break End::Hung(why),
            Some(fault) => break End::Broken(fault),
            None => {}
        }
        if !out.is_empty() {
            pulse.say(now().mono);
            unflushed = true;
        }
        let wait = pulse.due().since(now().mono);
        tokio::select! {
            biased;
            _ = &mut *stop => break End::Over,
            written = write(&mut send, &mut out), if unflushed => match written {
                Ok(()) => unflushed = false,
                Err(error) => break End::Hung(error.to_string()),
            },
            one = answered.recv() => if let Some(frame) = one {
                under_way -= 1;
                frame.write(&mut out);
            },
            count = read.read_buf(frames.buffer()), if under_way < AT_ONCE => match count {
                Ok(0) => break End::Hung("the other end hung up".into()),
                Ok(_) => pulse.hear(now().mono),
                Err(error) => break End::Hung(error.to_string()),
            },
            stream = opener.newer() => break End::Replaced(Box::new(stream)),
            () = tokio::time::sleep(wait) => {}
        }
    };
    let mut whole = read.unsplit(send);
    match &end {
        End::Broken(fault) => open::farewell(&mut whole, fault).await,
        End::Replaced(_) => open::bye(&mut whole, Farewell::Replaced, "a newer link takes its place").await,
        End::Over => open::bye(&mut whole, Farewell::Stopping, "the relay stops").await,
        End::Hung(_) => {}
    }
    (end, useful)
}

/// Goes on when the link is cut meanwhile: what is being stored is stored once.
async fn answer(taker: Arc<Taker>, received: Received, answers: mpsc::Sender<Frame>) {
    let message = received.message;
    let (status, why) = taker.take(received.kind, received.content).await;
    let _ = answers.send(Frame::Answer { message, status, why: why.into() }).await;
}

/// Figures of the far end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// Whether there is a link.
    pub up: bool,
    /// Links since the start.
    pub links: u64,
    /// Record events that were stored.
    pub stored: u64,
    /// Record events that came again.
    pub again: u64,
    /// Live events that went on.
    pub live: u64,
    /// Segments of sound that were kept.
    pub segments: u64,
    /// Events and segments that were not taken.
    pub refused: u64,
}

/// What takes events into the relay's outbox.
pub(super) struct Taker {
    outbox: Outbox,
    deliverer: Deliverer,
    /// Events that are being stored.
    storing: Mutex<HashSet<Uuid>>,
    figures: Mutex<Figures>,
}

pub(super) type Taken = (u16, &'static str);
pub(super) const TAKEN: Taken = (status::TAKEN, "");

impl Taker {
    pub(super) fn new(outbox: Outbox, deliverer: Deliverer) -> Taker {
        Taker { outbox, deliverer, storing: Mutex::default(), figures: Mutex::default() }
    }

    pub(super) fn figures(&self) -> Figures {
        *self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counted(&self, count: impl FnOnce(&mut Figures)) {
        count(&mut self.figures.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn link(&self, up: bool) {
        self.counted(|figures| (figures.up, figures.links) = (up, figures.links + u64::from(up)));
    }

    async fn take(&self, kind: Kind, content: Vec<u8>) -> Taken {
        let taken = match kind {
            Kind::Event(class) => match read(class, &content) {
                Ok(event) if class == Class::Live => self.pass(event),
                Ok(event) => self.store(event).await,
                Err(taken) => taken,
            },
            Kind::Offer => sound::offered(self.audio(), content).await,
            Kind::Segment => {
                let kept = sound::keep(self.audio(), content).await;
                self.counted(|figures| figures.segments += u64::from(kept == TAKEN));
                kept
            }
        };
        if taken != TAKEN && taken.0 != status::WANTED {
            self.counted(|figures| figures.refused += 1);
        }
        taken
    }

    /// Where the segments of sound are, as at the bridge.
    fn audio(&self) -> PathBuf {
        self.outbox.folder().join("audio")
    }

    fn pass(&self, event: Event) -> Taken {
        if event.expires.is_none_or(|expires| expires <= now().wall) {
            return (status::EXPIRED, "it came after its expirytime; if that happens always, compare both clocks");
        }
        if !self.deliverer.realtime(event) {
            return (status::BUSY, "too many live events wait at the relay");
        }
        self.counted(|figures| figures.live += 1);
        TAKEN
    }

    async fn store(&self, event: Event) -> Taken {
        let id = event.id;
        let digest = Sha256::digest(event.to_json().as_bytes()).to_vec();
        // the same one may be being stored already, from a link that was cut
        while !self.storing.lock().unwrap_or_else(PoisonError::into_inner).insert(id) {
            tokio::time::sleep(SAME).await;
        }
        let stored = self.commit(event, &digest).await;
        self.storing.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        stored.unwrap_or_else(|error| {
            tracing::error!(%error, "an event cannot be stored");
            (status::BUSY, "the relay's outbox cannot be used; its log says why")
        })
    }

    /// The store waits while its queue is full, and reads from disk: on a thread of its own.
    async fn commit(&self, event: Event, digest: &[u8]) -> Result<Taken, Error> {
        if let Some(taken) = self.known(event.id, digest).await? {
            return Ok(taken);
        }
        let outbox = self.outbox.clone();
        let committed = on_disk(move || outbox.commit(batch(event))).await?;
        committed.await.map_err(|_| Error::Stopped)?;
        self.counted(|figures| figures.stored += 1);
        Ok(TAKEN)
    }

    async fn known(&self, id: Uuid, digest: &[u8]) -> Result<Option<Taken>, Error> {
        let outbox = self.outbox.clone();
        let Some(found) = on_disk(move || outbox.digest_of(id)).await? else { return Ok(None) };
        self.counted(|figures| figures.again += 1);
        let other = (status::CONFLICT, "another event with this id is stored at the relay");
        Ok(Some(if found == digest { TAKEN } else { other }))
    }
}

async fn on_disk<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::Stopped)?
}

/// The event, if it is one that may stand in the outbox: of its class, with the id that belongs to it, and kept to the last word.
fn read(class: Class, text: &[u8]) -> Result<Event, Taken> {
    let text = std::str::from_utf8(text).map_err(|_| (status::MALFORMED, "it is no text"))?;
    let sent: Value = serde_json::from_str(text).map_err(|_| (status::MALFORMED, "it is no JSON"))?;
    let newer =
        (status::UNKNOWN, "the relay does not know all of this event; install the bridge's version of kakehashi there");
    let event = Event::from_json(text).map_err(|_| newer)?;
    let wanted = if class == Class::Live { events::Class::Realtime } else { events::Class::Record };
    if event.data.class() != wanted {
        return Err((status::MALFORMED, "its type is of another class"));
    }
    if class != Class::Live && !event.has_own_id() {
        return Err((status::MALFORMED, "its id does not belong to its contact, sequence and time"));
    }
    let kept: Value = serde_json::from_str(&event.to_json()).unwrap_or_default();
    if covers(&kept, &sent) { Ok(event) } else { Err(newer) }
}

/// Whether everything that was sent is kept as it was; there may be more.
fn covers(kept: &Value, sent: &Value) -> bool {
    match (kept, sent) {
        (Value::Object(kept), Value::Object(sent)) => {
            sent.iter().all(|(key, sent)| kept.get(key).is_some_and(|kept| covers(kept, sent)))
        }
        (Value::Array(kept), Value::Array(sent)) => {
            kept.len() == sent.len() && kept.iter().zip(sent).all(|(kept, sent)| covers(kept, sent))
        }
        (Value::Number(kept), Value::Number(sent)) => kept.as_f64() == sent.as_f64(),
        (kept, sent) => kept == sent,
    }
}

/// What the relay's outbox needs of a contact: that there is one. Its state and keys stay at the bridge.
fn batch(event: Event) -> Batch {
    let site = event.source.split('/').nth(2).unwrap_or_default().to_string();
    let call = CallKey { pbx: PbxId("relay".into()), key: event.contact.to_string() };
    let contact = ContactRow { id: event.contact, site, call, open: false, state: "{}".into() };
    Batch { contact, keys: Vec::new(), events: vec![event], deliver_text: true }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::ContactId;
    use crate::events::{CallQueued, Caller, Data};
    use crate::time::Wall;

    fn event() -> Event {
        let contact = ContactId(Uuid::from_u128(1));
        Event {
            id: Event::record_id(contact, 3, Wall(1_795_420_800_123_456)),
            source: "/site/osaka/node/n1".into(),
            contact,
            leg: None,
            time: Wall(1_795_420_800_123_456),
            sequence: Some(3),
            expires: None,
            data: Data::CallQueued(CallQueued { caller: Caller::default(), called: "6001".into(), queue: "q".into() }),
        }
    }

    #[test]
    fn only_what_the_relay_keeps_to_the_last_word_is_taken() {
        let text = event().to_json();
        assert_eq!(read(Class::Record, text.as_bytes()), Ok(event()));
        assert_eq!(batch(event()).contact.site, "osaka");
        let refused = |class, text: &str| read(class, text.as_bytes()).unwrap_err().0;
        assert_eq!(refused(Class::Live, &text), status::MALFORMED);
        assert_eq!(refused(Class::Record, "{}"), status::UNKNOWN);
        assert_eq!(refused(Class::Record, "nonsense"), status::MALFORMED);
        assert_eq!(refused(Class::Record, &text.replace("\"queue\":", "\"mood\":1,\"queue\":")), status::UNKNOWN);
        assert_eq!(refused(Class::Record, &text.replace("call.queued", "call.sung")), status::UNKNOWN);
        let other = Event { id: Uuid::from_u128(5), ..event() };
        assert_eq!(refused(Class::Record, &other.to_json()), status::MALFORMED, "it would stand in another's place");
    }
}

//! The near end of a link: carries packed events, gives their answers back, and keeps to the day's bytes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio_rustls::TlsStream;

use super::open::{self, Opener, Stream};
use super::tally::{Counted, Tally};
use crate::bridge::now;
use crate::outbox::budget::{Use, day_of};
use crate::outbox::relay::Class;
use crate::outbox::relay::frame::{Farewell, Frame, Frames};
use crate::outbox::relay::greet::{Fault, Pulse};
use crate::outbox::relay::meter::{Lease, Meter, Wait};
use crate::outbox::relay::send::{Next, Sending};
use crate::outbox::store::{Outbox, Traffic};
use crate::time::Mono;

/// How long a link lasts that is no failure, even where nothing was answered on it.
pub(super) const USEFUL: Duration = Duration::from_secs(10);
/// How often a day that is used up is looked at again.
const REST: Duration = Duration::from_secs(60);
/// How long what is used may take to be written down; then pops go on all the same.
const WRITTEN: Duration = Duration::from_secs(2);

/// What the link is asked to do.
pub(in crate::bridge) enum Order {
    /// Carry a packed event; without a link, or when it is cut, `answer` is dropped.
    Carry {
        /// What it is.
        class: Class,
        /// The event.
        packed: Vec<u8>,
        /// What became of it.
        answer: oneshot::Sender<Told>,
    },
    /// End in order.
    End(oneshot::Sender<()>),
}

/// What became of an event.
#[derive(Debug)]
pub(in crate::bridge) enum Told {
    /// The relay's answer.
    Answer(u16, String),
    /// It was not sent.
    Waits(Wait),
}

/// What others may know of a link.
#[derive(Debug)]
pub(in crate::bridge) struct State {
    meter: Mutex<Meter>,
    up: AtomicBool,
}

impl State {
    pub(in crate::bridge) fn new(meter: Meter) -> State {
        State { meter: Mutex::new(meter), up: AtomicBool::new(false) }
    }

    /// Whether there is a link.
    pub(in crate::bridge) fn is_up(&self) -> bool {
        self.up.load(Ordering::Acquire)
    }

    /// Bytes of the day that are left; `None` where any number may be used.
    pub(in crate::bridge) fn left(&self) -> Option<u64> {
        self.meter().left(now().wall)
    }

    /// Without a link: how long something of a class waits for the day's bytes; `None` where they are not what is missing.
    pub(in crate::bridge) fn rests(&self, class: Class) -> Option<Duration> {
        let (mut meter, wall) = (self.meter(), now().wall);
        match class {
            Class::Live => (!meter.may_open(wall)).then_some(REST),
            Class::Record | Class::Bulk => meter.is_dry(wall).or_else(|| (!meter.may_open(wall)).then_some(REST)),
        }
    }

    fn meter(&self) -> MutexGuard<'_, Meter> {
        self.meter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Is told what went over the link; `false` when nobody is there any more.
pub(in crate::bridge) type Tell = Box<dyn Fn(Use, Traffic) -> bool + Send + Sync>;

/// The near end.
pub(in crate::bridge) struct Near {
    pub(super) opener: Opener,
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) state: Arc<State>,
    pub(super) tally: Arc<Tally>,
    pub(super) seen: (u64, u64),
    pub(super) outbox: Outbox,
    /// Where the outbox keeps what is used.
    pub(super) key: String,
    pub(super) tell: Tell,
    pub(super) keepalive: Duration,
    /// How long an answer may take.
    pub(super) patience: Duration,
    /// The day of which it was said that its bytes are used up.
    pub(super) told_dry: i64,
}

/// Why a link is over.
enum End {
    /// It failed; another one is opened.
    Broken(String),
    /// The day's bytes are used up.
    UsedUp,
    /// A newer one is there.
    Replaced(Box<Stream>),
    /// The bridge stops.
    Over(Option<oneshot::Sender<()>>),
}

/// One link that is open.
struct Link {
    read: ReadHalf<TlsStream<Counted>>,
    write: WriteHalf<TlsStream<Counted>>,
    frames: Frames,
    out: BytesMut,
    unflushed: bool,
    sending: Sending,
    asked: HashMap<u32, oneshot::Sender<Told>>,
    next_number: u32,
    pulse: Pulse,
    /// A ping of the other end is to be answered.
    pong: bool,
    /// What the bytes that go are of.
    whom: Use,
    since: Mono,
    useful: bool,
}

impl Link {
    fn new(stream: Stream, keepalive: Duration) -> Link {
        let (read, write) = tokio::io::split(stream.tls);
        Link {
            read,
            write,
            frames: stream.frames,
            out: BytesMut::new(),
            unflushed: false,
            sending: Sending::default(),
            asked: HashMap::new(),
            next_number: 1,
            pulse: Pulse::new(keepalive, now().mono),
            pong: false,
            whom: Use::Record,
            since: now().mono,
            useful: false,
        }
    }

    fn push(&mut self, class: Class, packed: Vec<u8>, answer: oneshot::Sender<Told>) {
        let number = self.next_number;
        self.next_number = self.next_number.wrapping_add(1);
        self.asked.insert(number, answer);
        self.sending.push(class, number, packed);
    }

    fn reply(&mut self, number: u32, told: Told) {
        // who asked may have gone
        let _ = self.asked.remove(&number).map(|answer| answer.send(told));
    }

    /// Takes every whole frame that has come.
    fn take_frames(&mut self, meter: &mut Meter) -> Result<(), Fault> {
        while let Some(frame) = self.frames.next()? {
            match frame {
                Frame::Answer { message, status, why } => {
                    if self.sending.answered(message, meter) {
                        self.useful = true;
                        self.reply(message, Told::Answer(status, why));
                    }
                }
                Frame::Ping => self.pong = true,
                Frame::Pong => {}
                Frame::Bye { farewell, why } => return Err(Fault::Bye(farewell, why)),
                Frame::Hello { .. } | Frame::Piece { .. } => return Err(Fault::Unexpected),
            }
        }
        Ok(())
    }

    fn put(&mut self, frame: &Frame) {
        frame.write(&mut self.out);
        self.unflushed = true;
        self.pulse.say(now().mono);
    }
}

impl Near {
    /// Keeps a link up until it is ended.
    pub(in crate::bridge) async fn run(mut self) {
        let mut next = None;
        loop {
            let stream = match next.take() {
                Some(stream) => stream,
                None => match self.wait().await {
                    Ok(stream) => stream,
                    Err(ended) => return self.over(ended).await,
                },
            };
            let mut link = Link::new(stream, self.keepalive);
            self.state.up.store(true, Ordering::Release);
            tracing::info!(link = self.key, "the link is up");
            let end = self.drive(&mut link).await;
            self.state.up.store(false, Ordering::Release);
            let (farewell, why) = match &end {
                End::Broken(why) => (Farewell::Fault, why.as_str()),
                End::UsedUp => (Farewell::UsedUp, "the bytes of the day are used up"),
                End::Replaced(_) => (Farewell::Replaced, "a newer link takes its place"),
                End::Over(_) => (Farewell::Stopping, "the bridge stops"),
            };
            tracing::info!(link = self.key, why, "the link is over");
            link.sending.end(&mut self.state.meter());
            link.asked.clear();
            let mut whole = link.read.unsplit(link.write);
            open::bye(&mut whole, farewell, why).await;
            drop(whole);
            self.opener.ended(link.useful || now().mono.since(link.since) >= USEFUL);
            if !self.count(Use::Record) {
                return;
            }
            match end {
                End::Replaced(stream) => next = Some(*stream),
                End::Over(ended) => return self.over(ended).await,
                End::UsedUp | End::Broken(_) => {}
            }
        }
    }

    /// Waits for a link, as far as the day has bytes for one; orders meanwhile get no answer.
    async fn wait(&mut self) -> Result<Stream, Option<oneshot::Sender<()>>> {
        loop {
            let may = self.state.meter().may_open(now().wall);
            if may {
                self.write_down().await;
            } else {
                self.opener.rest();
                self.tell_dry();
            }
            let opened = tokio::select! {
                biased;
                order = self.orders.recv() => match order {
                    Some(Order::Carry { .. }) => None,
                    Some(Order::End(ended)) => return Err(Some(ended)),
                    None => return Err(None),
                },
                stream = self.opener.next(), if may => Some(stream),
                () = tokio::time::sleep(REST) => None,
            };
            if !self.count(Use::Record) {
                return Err(None);
            }
            if let Some(stream) = opened {
                return Ok(stream);
            }
        }
    }

    async fn drive(&mut self, link: &mut Link) -> End {
        loop {
            if let Err(fault) = link.take_frames(&mut self.state.meter()) {
                return End::Broken(fault.to_string());
            }
            if !self.count(link.whom) {
                return End::Over(None);
            }
            self.write_down().await;
            let due = match self.choose(link) {
                Ok(due) => due,
                Err(end) => return end,
            };
            let wait = due.since(now().mono);
            let idle = link.out.is_empty() && !link.unflushed;
            tokio::select! {
                biased;
                read = link.read.read_buf(link.frames.buffer()) => match read {
                    Ok(0) => return End::Broken("the other end hung up".into()),
                    Ok(_) => link.pulse.hear(now().mono),
                    Err(error) => return End::Broken(error.to_string()),
                },
                written = write(&mut link.write, &mut link.out), if !idle => match written {
                    Ok(()) => link.unflushed = false,
                    Err(error) => return End::Broken(error.to_string()),
                },
                order = self.orders.recv() => match order {
                    Some(Order::Carry { class, packed, answer }) => link.push(class, packed, answer),
                    Some(Order::End(ended)) => return End::Over(Some(ended)),
                    None => return End::Over(None),
                },
                stream = self.opener.newer() => return End::Replaced(Box::new(stream)),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Puts what goes next into the link, when nothing is on its way; gives when to look again.
    fn choose(&mut self, link: &mut Link) -> Result<Mono, End> {
        let state = Arc::clone(&self.state);
        let mut meter = state.meter();
        let now = now();
        for number in link.sending.overdue(&mut meter, now.mono) {
            link.asked.remove(&number);
        }
        let silent = link.pulse.check(now.mono).map_err(|fault| End::Broken(fault.to_string()))?;
        if meter.is_spent(now.wall) {
            return Err(End::UsedUp);
        }
        let mut due = link.pulse.due();
        if let Some(overdue) = link.sending.due() {
            due = due.min(overdue);
        }
        if !link.out.is_empty() || link.unflushed {
            return Ok(due);
        }
        if std::mem::take(&mut link.pong) {
            link.put(&Frame::Pong);
        }
        if silent {
            link.put(&Frame::Ping);
        }
        while link.out.is_empty() {
            match link.sending.next(&mut meter, now, self.patience) {
                Next::Frame(frame, class) => {
                    link.whom = if class == Class::Live { Use::Live } else { Use::Record };
                    link.put(&frame);
                }
                Next::Refused(number, wait) => {
                    link.reply(number, Told::Waits(wait));
                    if matches!(wait, Wait::Day(_)) {
                        self.tell_dry();
                    }
                }
                Next::Nothing(at) => {
                    due = at.map_or(due, |at| due.min(at));
                    break;
                }
            }
        }
        Ok(due.min(link.pulse.due()))
    }

    /// Counts what went over the socket since the last time; `false` when nobody wants to know any more.
    fn count(&mut self, whom: Use) -> bool {
        let (sent, received) = self.tally.read();
        let (out, into) = (sent - self.seen.0, received - self.seen.1);
        self.seen = (sent, received);
        if out + into == 0 {
            return true;
        }
        self.state.meter().count(out + into, now().wall);
        (self.tell)(whom, Traffic { bytes_out: out, ..Traffic::default() })
            && (self.tell)(Use::Record, Traffic { bytes_in: into, ..Traffic::default() })
    }

    /// Has the store keep what the next bytes use, before they go.
    async fn write_down(&self) {
        let wants = self.state.meter().wants(now().wall);
        if let Some(lease) = wants {
            self.keep(lease).await;
            self.state.meter().take(lease);
        }
    }

    async fn keep(&self, lease: Lease) {
        let Some(kept) = self.outbox.note(&self.key, &lease.text()) else { return };
        if tokio::time::timeout(WRITTEN, kept).await.is_err() {
            tracing::warn!(
                link = self.key,
                "the bytes of the day cannot be written down now; a kill would forget some of them"
            );
        }
    }

    fn tell_dry(&mut self) {
        let today = day_of(now().wall, Duration::ZERO);
        if today > self.told_dry {
            self.told_dry = today;
            tracing::warn!(
                link = self.key,
                left = self.state.left(),
                "the link's bytes of the day are used up for what is not live; it waits until tomorrow"
            );
        }
    }

    async fn over(self, ended: Option<oneshot::Sender<()>>) {
        let last = self.state.meter().last(now().wall);
        if let Some(last) = last {
            self.keep(last).await;
        }
        let _ = ended.map(|ended| ended.send(()));
    }
}

/// May be dropped and called again: what was written is taken out of `out`.
pub(super) async fn write(to: &mut (impl AsyncWriteExt + Unpin), out: &mut BytesMut) -> std::io::Result<()> {
    to.write_all_buf(out).await?;
    to.flush().await
}

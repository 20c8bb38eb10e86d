//! A connection that was admitted: its stream, and for a call of its own its signals.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{mpsc, oneshot};
use tracing::{debug, info, warn};
use uuid::Uuid;

use super::{Entrance, Place, Tap, open};
use crate::bridge::media::MediaHandle;
use crate::bridge::{Input, now};
use crate::events::NAMESPACE;
use crate::media::Fed;
use crate::pbx::asterisk::audiosocket::Ended;
use crate::pbx::asterisk::door::{Admitted, Announced, Refusal};
use crate::pbx::asterisk::own_leg;
use crate::pbx::asterisk::timeline::{Counts, Format, Packet};
use crate::pbx::{CallKey, EndCause, LegKey, Observed, Signal, Speaker, StreamId};

/// Signals of one call that wait for the hub.
const SIGNALS: usize = 64;

/// Whose sound it is.
enum Part {
    Tap { ended: Box<dyn FnOnce(String) + Send> },
    Call { leg: LegKey, signals: mpsc::Sender<Signal> },
}

/// One admitted connection. Dropped without an end (a panic), its call still ends with a reason.
pub(super) struct Inside {
    media: MediaHandle,
    /// Through which door it came; `None`: we made the connection.
    entrance: Option<Arc<Entrance>>,
    from: SocketAddr,
    /// `None`: the line's policy wants nothing heard.
    stream: Option<StreamId>,
    /// What sound is that does not say its rate.
    pub(super) format: Format,
    /// `None`: its end was told.
    part: Option<Part>,
    /// Ends the connection when its tap is closed; for a call never.
    pub(super) stop: oneshot::Receiver<()>,
    /// Keeps `stop` of a call from ending.
    _never: Option<oneshot::Sender<()>>,
}

impl Inside {
    /// Lets a connection in that said its name; `own` is what it tells of its call by itself, `format` what it carries.
    pub(super) fn admit(
        place: &mut Place,
        name: &str,
        own: Option<Announced>,
        from: SocketAddr,
        format: Format,
    ) -> Result<Inside, Refusal> {
        let entrance = &place.entrance;
        let refused = |_: &Refusal| _ = entrance.counters.refused.fetch_add(1, Ordering::Relaxed);
        let admitted = entrance.door().identify(name, own, now()).inspect_err(refused)?;
        let made = match admitted {
            Admitted::Tap => match entrance.taps().remove(name) {
                Some((tap, stop)) => {
                    let mut made = Inside::dialled(entrance.media.clone(), from, tap, stop);
                    made.entrance = Some(Arc::clone(entrance));
                    made
                }
                None => {
                    // a tap that was connected before is made anew under another name
                    entrance.door().turn_away(name);
                    return Err(Refusal::Unexpected).inspect_err(refused);
                }
            },
            Admitted::Call(call) => Inside::of_call(entrance, name, from, *call, format),
        };
        entrance.counters.admitted.fetch_add(1, Ordering::Relaxed);
        place.name = Some(name.into());
        Ok(made)
    }

    /// A tap whose connection we made ourselves.
    pub(super) fn dialled(media: MediaHandle, from: SocketAddr, tap: Tap, stop: oneshot::Receiver<()>) -> Inside {
        let Tap { stream, format, ended } = tap;
        let (stream, part) = (Some(stream), Some(Part::Tap { ended }));
        Inside { media, entrance: None, from, stream, format, part, stop, _never: None }
    }

    fn of_call(entrance: &Arc<Entrance>, name: &str, from: SocketAddr, call: Announced, format: Format) -> Inside {
        let now = now();
        let wanted = entrance.wanted(&call.called);
        let text = format!("{}|{name}|{}", entrance.pbx.0, now.wall.0);
        let stream = StreamId(Uuid::new_v5(&NAMESPACE, text.as_bytes()));
        let mut heard = wanted.record || wanted.transcribe;
        let mut failed = None;
        if heard && let Err(reason) = open(&entrance.media, stream, wanted, format) {
            warn!(pbx = entrance.pbx.0, reason, "a call is not heard");
            (heard, failed) = (false, Some(reason));
        }
        let stream = heard.then_some(stream);
        let (leg, key) = (LegKey(name.into()), CallKey { pbx: entrance.pbx.clone(), key: name.into() });
        let (signals, waiting) = mpsc::channel(SIGNALS);
        let mut all = own_leg::begun(&leg, &call, stream);
        all.extend(failed.map(|reason| Signal::StreamFailed { leg: leg.clone(), speaker: Speaker::Caller, reason }));
        // its queue is empty
        all.into_iter().for_each(|signal| _ = signals.try_send(signal));
        tokio::spawn(tell(key, waiting, entrance.hub.clone()));
        let (never, stop) = oneshot::channel();
        let (media, entrance) = (entrance.media.clone(), Some(Arc::clone(entrance)));
        let part = Some(Part::Call { leg, signals });
        Inside { media, entrance, from, stream, format, part, stop, _never: Some(never) }
    }

    /// The source of its packets.
    pub(super) fn ssrc(&self) -> u32 {
        self.stream.map_or(0, |stream| (stream.0.as_u128() & 0xffff_ffff) as u32)
    }

    /// Whether it carries a tap, whose format was asked for.
    pub(super) fn is_tap(&self) -> bool {
        matches!(self.part, Some(Part::Tap { .. }))
    }

    /// Hands sound on; what the media thread has no room for is dropped there and counted.
    pub(super) fn sound(&self, packet: Packet) {
        if let Some(stream) = self.stream {
            let datagram = packet.bytes.into();
            self.media.feed(Fed { stream, at: packet.at, from: self.from, datagram });
        }
    }

    /// A digit of the caller's. Those of a tap come by ARI.
    pub(super) fn digit(&self, digit: char) {
        let Some(Part::Call { signals, .. }) = &self.part else { return };
        let told = signals.try_send(Signal::Digit { speaker: Speaker::Caller, digit });
        if let (Err(_), Some(entrance)) = (told, &self.entrance) {
            entrance.counters.digits_dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// It is over.
    pub(super) async fn over(mut self, why: Ended, counts: Counts) {
        let pbx = self.entrance.as_ref().map(|entrance| entrance.pbx.0.clone()).unwrap_or_default();
        let (Counts { lost, surplus }, reason) = (counts, why.reason());
        if let Some(entrance) = self.entrance.as_ref().filter(|_| why == Ended::Slow) {
            entrance.counters.slow.fetch_add(1, Ordering::Relaxed);
        }
        match self.part.take() {
            Some(Part::Tap { ended }) => {
                debug!(pbx, reason, lost, surplus, "a tap's connection is over");
                if why != Ended::Stopped {
                    ended(reason);
                }
            }
            Some(Part::Call { leg, signals }) => {
                info!(pbx, reason, lost, surplus, "a call by a media connection is over");
                if let Some(stream) = self.stream {
                    self.media.close(stream);
                }
                // a bridge that stops ends its contacts itself, with that reason
                if why == Ended::Stopped {
                    return;
                }
                for signal in own_leg::over(&leg, self.stream, why.cause(), &reason) {
                    let _ = signals.send(signal).await;
                }
            }
            None => {}
        }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        const BROKEN: &str = "the bridge failed on this connection";
        match self.part.take() {
            Some(Part::Tap { ended }) => ended(BROKEN.into()),
            Some(Part::Call { leg, signals }) => {
                if let Some(stream) = self.stream {
                    self.media.close(stream);
                }
                let end = own_leg::over(&leg, self.stream, EndCause::Failed, BROKEN);
                end.into_iter().for_each(|signal| _ = signals.try_send(signal));
            }
            None => {}
        }
    }
}

/// Tells the hub of one call, in order.
async fn tell(call: CallKey, mut signals: mpsc::Receiver<Signal>, hub: mpsc::Sender<Input>) {
    while let Some(signal) = signals.recv().await {
        let observed = Observed { call: call.clone(), at: now(), signal };
        if hub.send(Input::Observed(observed)).await.is_err() {
            return;
        }
    }
}

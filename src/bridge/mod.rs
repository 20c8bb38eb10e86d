//! The edge: sockets, media threads, worker processes, HTTP clients and timers. Drives the sessions; decides nothing.

pub mod agents;
pub mod ari;
pub mod asterisk_media;
pub mod deliver;
pub mod hub;
pub mod listener;
pub mod lookup;
pub mod media;
pub mod metrics;
pub mod mirror;
pub mod nats;
pub mod probe;
pub mod readback;
pub mod relay;
pub mod reload;
pub mod remote;
pub mod retention;
pub mod sip;
pub mod start;
pub mod telemetry;
#[cfg(feature = "webcall")]
pub mod webcall;
pub mod workers;

use tokio::sync::oneshot;

use uuid::Uuid;

use crate::call::ContactId;
use crate::call::context::{self, Accepted};
use crate::call::correction::Correction;
use crate::call::note::{self, Annotation};
use crate::call::pause::{Paused, Refused, Scope};
use crate::events::Match;
use crate::media::StreamEvent;
use crate::pbx::{CallKey, LegKey, Observed};
use crate::speech::{Outcome, SpeechEvent};

/// Resolves when what was accepted is on disk.
pub type Stored = oneshot::Receiver<()>;

/// Everything that reaches the hub, from any driver, on one bounded channel.
#[derive(Debug)]
pub enum Input {
    /// From a PBX driver.
    Observed(Observed),
    /// From a media thread (by way of the listener).
    Stream(StreamEvent),
    /// From the listener.
    Speech(SpeechEvent),
    /// From the worker pool.
    Recognized(Outcome),
    /// From a look-up: who has the number; `None` when it failed or took too long.
    LookedUp {
        /// The contact that asked.
        contact: ContactId,
        /// The number that was looked up.
        number: String,
        /// Who has it.
        matches: Option<Vec<Match>>,
    },
    /// From the panel's API: pause a contact, or let it go on.
    Pause {
        /// Which.
        contact: ContactId,
        /// `true`: pause; `false`: go on.
        pause: bool,
        /// What.
        scope: Scope,
        /// Why, as a person wrote it.
        reason: Option<String>,
        /// What is paused afterwards.
        answer: oneshot::Sender<Result<Paused, Refused>>,
    },
    /// From the API: what is known before the call.
    Context {
        /// Who posts it or takes it back: a `[[panel.client]]`, or `panel`.
        from: String,
        /// What.
        wish: context::Wish,
        /// What became of it; it is on disk when the receiver resolves.
        answer: oneshot::Sender<Result<(Accepted, Stored), context::Refused>>,
    },
    /// From the API: marks and notes of a running contact.
    Annotate {
        /// Which.
        contact: ContactId,
        /// What.
        annotation: Annotation,
        /// The mark, where it is about one; it is on disk when the receiver resolves.
        answer: oneshot::Sender<Result<(Option<Uuid>, Stored), note::Refused>>,
    },
    /// From the API: the text of an utterance is put right, in the call or after it.
    Correct {
        /// Which contact.
        contact: ContactId,
        /// What.
        correction: Correction,
        /// What is kept of it; it is on disk when the receiver resolves.
        answer: hub::Answer,
    },
    /// A contact that is over, as the store has it.
    Stored(Box<hub::Found>),
    /// From a driver whose calls are asked for by their contact.
    Find {
        /// Which contact.
        place: Place,
        /// The extension whose leg is looked for.
        extension: String,
        /// `None` when no such contact runs.
        answer: oneshot::Sender<Option<Known>>,
    },
    /// From the disk.
    ReadBack(readback::Read),
    /// The site's files were read again.
    Reloaded(hub::Fresh),
    /// Wait for the contacts that run now.
    Drain {
        /// Answered when the last of them has ended.
        done: oneshot::Sender<()>,
    },
    /// End every contact, finish what can be finished until then, and answer.
    Stop {
        /// When the hub ends whatever is left.
        until: crate::time::Mono,
        /// Answered at the end.
        done: oneshot::Sender<()>,
    },
}

/// How a running contact is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// By its id.
    Contact(ContactId),
    /// By its call.
    Call(CallKey),
}

/// What is told of a running contact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its id.
    pub contact: ContactId,
    /// Its call.
    pub call: CallKey,
    /// The dialled line.
    pub called: String,
    /// The leg of the extension that was asked for, if it runs.
    pub leg: Option<LegKey>,
}

/// Reads both clocks.
pub fn now() -> crate::time::Now {
    use std::sync::OnceLock;
    use std::time::{Instant, SystemTime, UNIX_EPOCH};
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    let mono = ORIGIN.get_or_init(Instant::now).elapsed().as_nanos() as u64;
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros() as i64);
    crate::time::Now { mono: crate::time::Mono(mono), wall: crate::time::Wall(wall) }
}

//! One outbox feeds another across separated networks: the frames on the link, what goes next, and the bytes that it may use.
//!
//! In: packed events and frames of the other end. Out: frames, whole messages, answers. Refuses: what is no frame, is too long, or comes before the
//! greeting; each ends the link. No sockets: `bridge::relay` has them.

pub mod frame;
pub mod greet;
pub mod meter;
pub mod pack;
pub mod receive;
pub mod send;
pub mod settings;

/// What an event is to the link; the order is that of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Pops and running texts: ahead of everything, never stored.
    Live,
    /// Record events: at once, as far as the day's bytes go.
    Record,
    /// Whole documents, which say again what the texts have said, and sound: within what the reserve leaves, and in the night where one is set.
    Bulk,
}

impl Class {
    /// All of them, first the one that goes first.
    pub const ALL: [Class; 3] = [Class::Live, Class::Record, Class::Bulk];

    /// As it stands in a message.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The class with that number.
    pub fn of_number(number: u8) -> Option<Class> {
        Class::ALL.into_iter().find(|class| class.number() == number)
    }
}

/// What the relay answers about a message, in the numbers of HTTP; 425 and 429 are the near end's own, for what was not sent.
pub mod status {
    /// A record event is durable in the relay's outbox, or a live one is on its way.
    pub const TAKEN: u16 = 200;
    /// The file that was offered is not there: it may come.
    pub const WANTED: u16 = 204;
    /// Another event with that id is there.
    pub const CONFLICT: u16 = 409;
    /// The message is too long.
    pub const TOO_LONG: u16 = 413;
    /// It is no event, or one with another id than its contact and sequence give.
    pub const MALFORMED: u16 = 422;
    /// Bulk waits for the night.
    pub const NOT_YET: u16 = 425;
    /// The relay would not keep every word of it: it is of a newer version.
    pub const UNKNOWN: u16 = 426;
    /// The bytes of the day are used up.
    pub const USED_UP: u16 = 429;
    /// A live event is of no use any more.
    pub const EXPIRED: u16 = 498;
    /// The relay cannot take anything now.
    pub const BUSY: u16 = 503;
}

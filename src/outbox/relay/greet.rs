//! The beginning of a link, and whether the other end is still there.

use std::time::Duration;

use super::frame::{Farewell, Frame, Malformed, Role, VERSION};
use super::pack;
use crate::time::Mono;

/// Why a link ended; the texts have no personal data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// What came is no frame.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// What came is no packed event.
    #[error(transparent)]
    Unpackable(#[from] pack::Error),
    /// Something else than a greeting came first.
    #[error("the other end did not greet first")]
    Unexpected,
    /// More messages were begun at once than there are classes, or one has no end.
    #[error("the other end sends messages without end")]
    Endless,
    /// The ends speak different versions.
    #[error(
        "the other end speaks version {theirs} of the link and this one {VERSION}; install the same version of kakehashi at both ends (the relay first)"
    )]
    Version {
        /// The other end's.
        theirs: u16,
    },
    /// Both ends are the same one.
    #[error(
        "both ends of the link are {0}; expected a bridge with [endpoint.relay] at one and `kakehashi relay` at the other"
    )]
    Role(&'static str),
    /// Nothing came for too long.
    #[error("nothing has come from the other end for {} s", .0.as_secs())]
    Silent(Duration),
    /// The other end took its leave.
    #[error("the other end ended the link: {1}")]
    Bye(Farewell, String),
}

impl Fault {
    /// What the other end is told.
    pub fn farewell(&self) -> Farewell {
        match self {
            Fault::Version { .. } => Farewell::Version,
            _ => Farewell::Fault,
        }
    }
}

/// What an end says first.
pub fn hello(own: Role) -> Frame {
    Frame::Hello { version: VERSION, role: Some(own) }
}

/// Judges the first frame of the other end.
///
/// # Errors
/// When it is no greeting, of another version, or of an end of the same kind.
pub fn greeted(frame: &Frame, own: Role) -> Result<(), Fault> {
    match frame {
        Frame::Hello { version, .. } if *version != VERSION => Err(Fault::Version { theirs: *version }),
        Frame::Hello { role, .. } if *role == Some(own) || role.is_none() => Err(Fault::Role(match own {
            Role::Near => "a bridge's",
            Role::Far => "a relay's",
        })),
        Frame::Hello { .. } => Ok(()),
        Frame::Bye { farewell, why } => Err(Fault::Bye(*farewell, why.clone())),
        _ => Err(Fault::Unexpected),
    }
}

/// When each end last said something.
#[derive(Clone, Copy, Debug)]
pub struct Pulse {
    every: Duration,
    heard: Mono,
    said: Mono,
}

/// Silences after which the other end is gone.
const PATIENCE: u32 = 3;

impl Pulse {
    /// `every`: the longest that this end is silent.
    pub fn new(every: Duration, now: Mono) -> Pulse {
        Pulse { every, heard: now, said: now }
    }

    /// Something came.
    pub fn hear(&mut self, now: Mono) {
        self.heard = now;
    }

    /// Something goes.
    pub fn say(&mut self, now: Mono) {
        self.said = now;
    }

    /// When it has to be looked at again.
    pub fn due(&self) -> Mono {
        (self.said + self.every).min(self.heard + self.every * PATIENCE)
    }

    /// Whether something has to be said now, only to be heard.
    ///
    /// # Errors
    /// When the other end has been silent for too long.
    pub fn check(&self, now: Mono) -> Result<bool, Fault> {
        let silence = now.since(self.heard);
        if silence >= self.every * PATIENCE {
            return Err(Fault::Silent(silence));
        }
        Ok(now.since(self.said) >= self.every)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_version_is_told_in_clear_words() {
        let newer = Frame::Hello { version: 7, role: None };
        let told = greeted(&newer, Role::Near).unwrap_err();
        assert_eq!(told.farewell(), Farewell::Version);
        assert!(told.to_string().contains("version 7 of the link and this one 1; install the same version"), "{told}");
        assert!(greeted(&hello(Role::Far), Role::Near).is_ok());
        assert_eq!(greeted(&hello(Role::Far), Role::Far), Err(Fault::Role("a relay's")));
        assert_eq!(greeted(&Frame::Ping, Role::Far), Err(Fault::Unexpected));
    }

    #[test]
    fn a_silent_end_is_asked_and_then_given_up() {
        let second = Duration::from_secs(1);
        let mut pulse = Pulse::new(second * 10, Mono(0));
        let at = |seconds: u32| Mono(0) + second * seconds;
        assert_eq!((pulse.due(), pulse.check(at(9))), (at(10), Ok(false)));
        assert_eq!(pulse.check(at(10)), Ok(true));
        pulse.say(at(10));
        assert_eq!((pulse.due(), pulse.check(at(19))), (at(20), Ok(false)));
        pulse.say(at(20));
        assert_eq!(pulse.due(), at(30));
        assert_eq!(pulse.check(at(30)), Err(Fault::Silent(second * 30)));
        pulse.hear(at(30));
        assert_eq!(pulse.check(at(31)), Ok(true));
    }
}

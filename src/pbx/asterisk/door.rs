//! Who may come in by a media connection: taps that we asked Asterisk for, calls that its dialplan announced or that a line takes anyway.
//! Sans-IO; the edge asks it for each connection.
//!
//! A connection has a name: AudioSocket's UUID, or the id of chan_websocket's channel. One connection a name; a name that nobody expects is
//! refused. Connections whose name is not known yet are few and do not take the room of the others.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::pbx::{ExternalKey, Identity};
use crate::time::{Mono, Now};

/// Longest name of a connection, in bytes.
const NAME_MAX: usize = 256;

/// Limits of one door.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// Of these, such that did not say yet what they carry.
    pub unknown: usize,
    /// How long an announced call is waited for.
    pub announced: Duration,
}

/// A call as the dialplan tells of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Announced {
    /// Who calls.
    pub caller: Identity,
    /// The dialled line; empty: the line of calls that are not announced.
    pub called: String,
    /// Asterisk's ids of the call.
    pub keys: Vec<ExternalKey>,
}

/// Why a connection or an announcement is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// [`Limits::connections`] or [`Limits::unknown`].
    #[error("too many connections at once")]
    Full,
    /// Nobody asked for it.
    #[error("nobody announced this connection, and no `line` takes such calls")]
    Unexpected,
    /// There is one of this name.
    #[error("there is a connection of this name already")]
    Twice,
    /// Too many announced calls wait.
    #[error("too many announced calls wait for their connection")]
    Announced,
}

/// What a connection is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// A tap of ours.
    Tap,
    /// A call of its own.
    Call(Box<Announced>),
}

/// One listener's door.
#[derive(Debug)]
pub struct Door {
    limits: Limits,
    /// The line of calls that are not announced; empty: they are refused.
    line: String,
    taps: BTreeSet<String>,
    announced: BTreeMap<String, (Announced, Mono)>,
    inside: BTreeSet<String>,
    unknown: usize,
}

impl Door {
    /// A door through which nobody went; `line` takes calls that are not announced (empty: none does).
    pub fn new(limits: Limits, line: &str) -> Self {
        Self {
            limits,
            line: line.into(),
            taps: BTreeSet::new(),
            announced: BTreeMap::new(),
            inside: BTreeSet::new(),
            unknown: 0,
        }
    }

    /// Asterisk was asked to connect under this name.
    pub fn expect(&mut self, name: &str) {
        self.taps.insert(name.into());
    }

    /// It need not connect any more.
    pub fn forget(&mut self, name: &str) {
        self.taps.remove(name);
    }

    /// The dialplan tells of a call before it connects.
    ///
    /// # Errors
    /// [`Refusal::Announced`] when more wait than may connect, [`Refusal::Twice`] when it is connected.
    pub fn announce(&mut self, name: &str, call: Announced, now: Now) -> Result<(), Refusal> {
        self.announced.retain(|_, (_, until)| *until > now.mono);
        if self.inside.contains(name) {
            return Err(Refusal::Twice);
        }
        if name.len() > NAME_MAX
            || (self.announced.len() >= self.limits.connections && !self.announced.contains_key(name))
        {
            return Err(Refusal::Announced);
        }
        self.announced.insert(name.into(), (call, now.mono + self.limits.announced));
        Ok(())
    }

    /// Somebody connected.
    ///
    /// # Errors
    /// [`Refusal::Full`]: close it.
    pub fn connect(&mut self) -> Result<(), Refusal> {
        if self.unknown >= self.limits.unknown || self.connections() >= self.limits.connections {
            return Err(Refusal::Full);
        }
        self.unknown += 1;
        Ok(())
    }

    /// The connection said its name; `own` is what it tells of the call by itself.
    ///
    /// # Errors
    /// Why it is closed; [`Door::leave`] without a name then.
    pub fn identify(&mut self, name: &str, own: Option<Announced>, now: Now) -> Result<Admitted, Refusal> {
        self.announced.retain(|_, (_, until)| *until > now.mono);
        if name.is_empty() || name.len() > NAME_MAX {
            return Err(Refusal::Unexpected);
        }
        if self.inside.contains(name) {
            return Err(Refusal::Twice);
        }
        let admitted = if self.taps.contains(name) {
            Admitted::Tap
        } else {
            let announced = self.announced.remove(name).map(|(call, _)| call);
            let mut call = match announced.or(own) {
                Some(call) => call,
                None if !self.line.is_empty() => Announced::default(),
                None => return Err(Refusal::Unexpected),
            };
            if call.called.is_empty() {
                call.called.clone_from(&self.line);
            }
            if call.called.is_empty() {
                return Err(Refusal::Unexpected);
            }
            Admitted::Call(Box::new(call))
        };
        self.unknown = self.unknown.saturating_sub(1);
        self.inside.insert(name.into());
        Ok(admitted)
    }

    /// An admitted connection is not taken after all: it is one that did not say what it carries, until it leaves.
    pub fn turn_away(&mut self, name: &str) {
        if self.inside.remove(name) {
            self.unknown += 1;
        }
    }

    /// A connection is gone; `name`: as it was admitted.
    pub fn leave(&mut self, name: Option<&str>) {
        match name {
            Some(name) => _ = self.inside.remove(name),
            None => self.unknown = self.unknown.saturating_sub(1),
        }
    }

    /// Connections now.
    pub fn connections(&self) -> usize {
        self.inside.len() + self.unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Wall;

    fn at(ms: u64) -> Now {
        Now { mono: Mono(ms * 1_000_000), wall: Wall(0) }
    }

    fn door(line: &str) -> Door {
        Door::new(Limits { connections: 3, unknown: 2, announced: Duration::from_secs(30) }, line)
    }

    fn to(called: &str) -> Announced {
        Announced { called: called.into(), ..Announced::default() }
    }

    #[test]
    fn a_name_that_nobody_expects_is_refused_unless_a_line_takes_it() {
        let mut closed = door("");
        closed.connect().unwrap();
        assert_eq!(closed.identify("a", None, at(0)), Err(Refusal::Unexpected));
        let mut open = door("7001");
        open.connect().unwrap();
        assert_eq!(open.identify("a", None, at(0)), Ok(Admitted::Call(Box::new(to("7001")))));
        open.connect().unwrap();
        assert_eq!(open.identify("", None, at(0)), Err(Refusal::Unexpected));
    }

    #[test]
    fn what_was_announced_counts_before_what_the_connection_says_and_once() {
        let mut door = door("");
        door.announce("a", to("7001"), at(0)).unwrap();
        door.connect().unwrap();
        assert_eq!(door.identify("a", Some(to("7002")), at(10)), Ok(Admitted::Call(Box::new(to("7001")))));
        door.leave(Some("a"));
        door.connect().unwrap();
        assert_eq!(door.identify("a", None, at(20)), Err(Refusal::Unexpected));
        assert_eq!(door.identify("a", Some(to("7002")), at(20)), Ok(Admitted::Call(Box::new(to("7002")))));
    }

    #[test]
    fn an_announcement_is_not_waited_for_longer_than_it_may() {
        let mut door = door("");
        door.announce("a", to("7001"), at(0)).unwrap();
        door.connect().unwrap();
        assert_eq!(door.identify("a", None, at(30_000)), Err(Refusal::Unexpected));
    }

    #[test]
    fn one_connection_a_name() {
        let mut door = door("7001");
        door.expect("tap");
        door.connect().unwrap();
        assert_eq!(door.identify("tap", None, at(0)), Ok(Admitted::Tap));
        door.connect().unwrap();
        assert_eq!(door.identify("tap", None, at(0)), Err(Refusal::Twice));
        assert_eq!(door.announce("tap", to("1"), at(0)), Err(Refusal::Twice));
        door.leave(None);
        door.leave(Some("tap"));
        door.connect().unwrap();
        assert_eq!(door.identify("tap", None, at(1)), Ok(Admitted::Tap));
        door.forget("tap");
        door.leave(Some("tap"));
        door.connect().unwrap();
        assert!(matches!(door.identify("tap", None, at(2)), Ok(Admitted::Call(_))), "no tap of ours any more");
    }

    #[test]
    fn connections_are_capped_and_the_unknown_more_so() {
        let mut door = door("7001");
        door.connect().unwrap();
        door.connect().unwrap();
        assert_eq!(door.connect(), Err(Refusal::Full), "two did not say what they carry");
        door.identify("a", None, at(0)).unwrap();
        door.connect().unwrap();
        assert_eq!(door.connect(), Err(Refusal::Full), "three at all");
        door.turn_away("a");
        (0..3).for_each(|_| door.leave(None));
        assert_eq!(door.connections(), 0);
    }

    #[test]
    fn announcements_that_wait_are_capped() {
        let mut door = door("");
        for name in ["a", "b", "c"] {
            door.announce(name, to("1"), at(0)).unwrap();
        }
        assert_eq!(door.announce("d", to("1"), at(1)), Err(Refusal::Announced));
        door.announce("a", to("2"), at(1)).unwrap();
        door.announce("d", to("1"), at(30_500)).unwrap();
        assert_eq!(door.announce(&"x".repeat(257), to("1"), at(40_000)), Err(Refusal::Announced));
    }
}

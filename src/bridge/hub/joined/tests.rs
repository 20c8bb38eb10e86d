//! Two sources of one call, in every order.

use std::sync::Arc;

use uuid::Uuid;

use super::*;
use crate::call::directory::Directory;
use crate::call::line::Lines;
use crate::dictionary::Dictionary;
use crate::events::{Data, EndReason};
use crate::pbx::PbxId;
use crate::session::{Opening, Output, Site};
use crate::time::{Mono, Now, Wall};

fn stream(number: u128) -> StreamId {
    StreamId(Uuid::from_u128(number))
}

fn call(key: &str) -> CallKey {
    CallKey { pbx: PbxId("pbx".into()), key: key.into() }
}

fn leg(key: &str) -> LegKey {
    LegKey(key.into())
}

fn at() -> Now {
    Now { mono: Mono(0), wall: Wall(1_795_424_000_000_000) }
}

fn appeared(number: Option<&str>, fidelity: Fidelity) -> Signal {
    let caller = Identity { number: number.map(str::to_string), ..Identity::default() };
    let keys = vec![ExternalKey { kind: KeyKind::SiprecSession, value: "hVpd7YQgRW2nD22h7q60JQ==".into() }];
    Signal::CallAppeared { caller, called: "recorder".into(), keys, fidelity }
}

/// A contact with its first source, and the second that joins it.
struct Two {
    session: Session,
    joined: Joined,
}

impl Two {
    fn new(first: Fidelity, second: Fidelity) -> Two {
        let directory = "extension,agent,name,department,tier\n2001,op1,山田,窓口,2\n2002,op2,加藤,窓口,2\n";
        let site = Site {
            id: "osaka".into(),
            source: "/site/osaka/node/n1".into(),
            directory: Arc::new(Directory::parse("d", directory).unwrap()),
            dictionary: Arc::new(Dictionary::empty()),
            callers: Arc::default(),
            mask: Default::default(),
        };
        let signal = appeared(Some("0663621234"), first);
        let caller = Identity { number: Some("0663621234".into()), ..Identity::default() };
        let line = Lines::default().policy("recorder");
        let opening = Opening {
            call: call("a"),
            salt: 0,
            caller: &caller,
            called: "recorder",
            line,
            first: &signal,
            before: None,
        };
        let mut session = Session::open(at(), site, opening);
        for signal in people("a", 1) {
            session.handle_signal(at(), &signal);
        }
        let mut joined = Joined::of(&session);
        assert!(joined.add(&call("b"), second, "recorder"));
        Two { session, joined }
    }

    fn tell(&mut self, source: &str, signal: &Signal) -> Vec<Told> {
        let told = self.joined.translate(&call(source), signal, &self.session);
        for told in &told {
            match told {
                Told::Signal(signal) => self.session.handle_signal(at(), signal),
                Told::Spare(stream, leg, speaker) => self.session.add_spare(at(), leg, *stream, *speaker),
                Told::Use(stream) => self.session.use_spare(at(), *stream),
            }
        }
        told
    }

    fn all(&mut self, source: &str, signals: &[Signal]) -> Vec<Told> {
        signals.iter().flat_map(|signal| self.tell(source, signal)).collect()
    }

    fn legs(&self) -> usize {
        self.session.contact().legs.len()
    }

    /// Why the contact ended, once.
    fn reasons(&mut self) -> Vec<EndReason> {
        let mut reasons = Vec::new();
        while let Some(output) = self.session.poll() {
            if let Output::Record(event) = output
                && let (None, Data::CallEnded(end)) = (event.leg, event.data)
            {
                reasons.push(end.reason);
            }
        }
        reasons
    }
}

/// An agent and two streams, numbered from `first`.
fn people(source: &str, first: u128) -> Vec<Signal> {
    let leg = leg(&format!("{source}-leg"));
    vec![
        Signal::LegAppeared { leg: leg.clone(), address: "2001".into(), queue: None },
        Signal::LegAnswered(leg.clone()),
        Signal::StreamAdded { leg: leg.clone(), stream: stream(first), speaker: Speaker::Caller },
        Signal::StreamAdded { leg, stream: stream(first + 1), speaker: Speaker::Agent },
    ]
}

#[test]
fn the_second_recorder_of_a_session_adds_nothing_but_spare_streams() {
    let mut two = Two::new(Fidelity::Recording, Fidelity::Recording);
    two.tell("b", &appeared(None, Fidelity::Recording));
    let told = two.all("b", &people("b", 11));
    let spares: Vec<&Told> = told.iter().filter(|told| matches!(told, Told::Spare(..))).collect();
    assert_eq!(
        spares,
        [
            &Told::Spare(stream(11), leg("a-leg"), Speaker::Caller),
            &Told::Spare(stream(12), leg("a-leg"), Speaker::Agent)
        ]
    );
    assert_eq!(two.legs(), 1, "the same extension is the same leg");
    assert_eq!(two.session.contact().caller.number.as_deref(), Some("0663621234"), "who knows less changes nothing");
}

#[test]
fn when_the_first_recorder_ends_the_second_goes_on_and_the_contact_with_it() {
    for over in [
        vec![Signal::CallEnded(EndCause::Failed)],
        vec![Signal::StreamRemoved(stream(1)), Signal::StreamRemoved(stream(2)), Signal::CallEnded(EndCause::Normal)],
    ] {
        let mut two = Two::new(Fidelity::Recording, Fidelity::Recording);
        two.all("b", &people("b", 11));
        let told = two.all("a", &over);
        let used: Vec<&Told> = told.iter().filter(|told| matches!(told, Told::Use(_))).collect();
        assert_eq!(used, [&Told::Use(stream(11)), &Told::Use(stream(12))]);
        assert!(two.reasons().is_empty(), "the contact goes on");
        two.all("b", &[Signal::StreamRemoved(stream(11)), Signal::StreamRemoved(stream(12))]);
        two.tell("b", &Signal::CallEnded(EndCause::Normal));
        assert_eq!(two.reasons(), [EndReason::Hangup]);
    }
}

#[test]
fn when_the_second_recorder_ends_nothing_changes() {
    let mut two = Two::new(Fidelity::Recording, Fidelity::Recording);
    two.all("b", &people("b", 11));
    assert!(two.tell("b", &Signal::CallEnded(EndCause::Normal)).is_empty());
    let told = two.tell("b", &Signal::StreamRemoved(stream(11)));
    assert_eq!(told, [Told::Signal(Signal::StreamRemoved(stream(11)))]);
    two.tell("a", &Signal::CallEnded(EndCause::Normal));
    assert_eq!(two.reasons(), [EndReason::Hangup]);
}

#[test]
fn near_and_far_end_of_one_call_are_one_leg_with_both_streams() {
    let mut two = Two::new(Fidelity::Recording, Fidelity::Recording);
    two.tell("a", &Signal::StreamRemoved(stream(1)));
    let far = &people("b", 11)[..3];
    let told = two.all("b", far);
    assert!(
        told.contains(&Told::Signal(Signal::StreamAdded {
            leg: leg("a-leg"),
            stream: stream(11),
            speaker: Speaker::Caller
        })),
        "{told:?}"
    );
    assert_eq!(two.legs(), 1);
}

#[test]
fn a_source_that_sees_every_end_ends_legs_and_contact_at_once_and_others_do_not() {
    let mut two = Two::new(Fidelity::Full, Fidelity::Recording);
    two.all("b", &people("b", 11));
    assert!(two.tell("b", &Signal::LegEnded(leg("b-leg"), EndCause::Normal)).is_empty());
    two.tell("a", &Signal::LegEnded(leg("a-leg"), EndCause::Cancelled));
    two.tell("a", &Signal::CallEnded(EndCause::Normal));
    assert_eq!(two.reasons(), [EndReason::CallerHangup], "the reason is of who knows it");

    let mut two = Two::new(Fidelity::Full, Fidelity::Recording);
    two.all("b", &people("b", 11));
    two.tell("a", &Signal::CallEnded(EndCause::LostSight));
    assert!(two.reasons().is_empty(), "who lost sight does not end what a recorder still hears");
    two.tell("b", &Signal::CallEnded(EndCause::Normal));
    assert_eq!(two.reasons().len(), 1);
}

#[test]
fn a_recorder_that_names_nobody_means_who_is_there() {
    let mut two = Two::new(Fidelity::Full, Fidelity::Recording);
    let own = leg("b-leg");
    two.all(
        "b",
        &[
            Signal::LegAppeared { leg: own.clone(), address: "recorder".into(), queue: None },
            Signal::LegAnswered(own.clone()),
            Signal::StreamAdded { leg: own, stream: stream(11), speaker: Speaker::Mixed },
        ],
    );
    assert_eq!(two.legs(), 1);
    let told = two.all("b", &[Signal::StreamAdded { leg: leg("b-leg"), stream: stream(12), speaker: Speaker::Other }]);
    assert_eq!(told, [Told::Spare(stream(12), leg("a-leg"), Speaker::Other)], "who is heard apart needs no mixture");
}

#[test]
fn only_a_recorder_joins_and_only_by_what_is_unique_in_a_site() {
    assert!(may_join(Fidelity::Recording, Fidelity::Full) && may_join(Fidelity::OwnLeg, Fidelity::Recording));
    assert!(!may_join(Fidelity::Full, Fidelity::OwnLeg));
    let key = |kind| ExternalKey { kind, value: "x".into() };
    assert!(is_common(&key(KeyKind::CallId)) && !is_common(&key(KeyKind::Uniqueid)));
    assert!(!is_common(&key(KeyKind::Token)), "two calls may bring one token");
}

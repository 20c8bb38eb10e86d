//! Documents as exchanges send them, and what they tell.

use super::*;
use crate::time::{Mono, Wall};

const NOW: Now = Now { mono: Mono(1), wall: Wall(1_795_424_000_000_000) };

struct Lab {
    book: Book,
    calls: Calls,
    version: u32,
}

fn lab() -> Lab {
    Lab { book: Book::default(), calls: Calls::new(PbxId("p".into())), version: 0 }
}

/// As Asterisk 22 writes it: always full, the extension as id, no Call-ID, the caller only while it rings.
fn asterisk(state: &str, caller: Option<(&str, &str)>) -> String {
    let direction = if state == "early" { " direction=\"recipient\"" } else { "" };
    let remote = caller.map_or(String::new(), |(name, uri)| {
        format!("<remote><identity display=\"{name}\">{uri}</identity><target uri=\"{uri}\"/></remote><local><identity>sip:2001@x</identity></local>")
    });
    format!("<dialog id=\"2001\"{direction}>{remote}<state>{state}</state></dialog>")
}

/// As RFC 4235 has it.
fn with_call_id(id: &str, call_id: &str, state: &str) -> String {
    format!(
        "<dialog id=\"{id}\" call-id=\"{call_id}\" local-tag=\"l{id}\" remote-tag=\"r\" direction=\"recipient\"><state{state}</state>\
         <remote><identity>sip:0663621234@x</identity></remote></dialog>"
    )
}

impl Lab {
    fn document(version: u32, full: bool, dialogs: &str) -> Document {
        let state = if full { "full" } else { "partial" };
        let text = format!(
            "<dialog-info xmlns=\"urn:ietf:params:xml:ns:dialog-info\" version=\"{version}\" state=\"{state}\" entity=\"sip:2001@x\">{dialogs}</dialog-info>"
        );
        Document::parse(text.as_bytes(), None).unwrap()
    }

    fn apply(&mut self, version: u32, full: bool, dialogs: &str) -> Applied {
        self.book.apply(&Self::document(version, full, dialogs), "2001", false, &mut self.calls, NOW)
    }

    /// The next document, full; gives what it tells.
    fn full(&mut self, dialogs: &str) -> Vec<Signal> {
        self.version += 1;
        match self.apply(self.version, true, dialogs) {
            Applied::Told(told) => told.into_iter().map(|observed| observed.signal).collect(),
            other => panic!("{other:?}"),
        }
    }

    fn names(&mut self, dialogs: &str) -> Vec<String> {
        self.full(dialogs).iter().map(name).collect()
    }
}

fn name(signal: &Signal) -> String {
    match signal {
        Signal::CallAppeared { .. } => "appeared".into(),
        Signal::LegAppeared { .. } => "leg".into(),
        Signal::LegRinging(_) => "rings".into(),
        Signal::LegAnswered(_) => "answered".into(),
        Signal::LegHeld(_) => "held".into(),
        Signal::LegResumed(_) => "resumed".into(),
        Signal::LegEnded(_, cause) => format!("leg {cause:?}"),
        Signal::CallEnded(cause) => format!("ended {cause:?}"),
        other => format!("{other:?}"),
    }
}

#[test]
fn a_call_at_asterisk_from_ring_to_end() {
    let mut lab = lab();
    assert_eq!(lab.names(&asterisk("terminated", None)), Vec::<String>::new());
    let told = lab.full(&asterisk("early", Some(("橋本", "sip:0663621234@127.0.0.1"))));
    let Signal::CallAppeared { caller, called, keys, fidelity } = &told[0] else { panic!("{told:?}") };
    assert_eq!((caller.number.as_deref(), caller.display.as_deref()), (Some("0663621234"), Some("橋本")));
    assert_eq!((called.as_str(), keys.len(), *fidelity), ("2001", 0, Fidelity::State));
    assert_eq!(told.iter().map(name).collect::<Vec<_>>(), ["appeared", "leg", "rings"]);
    assert_eq!(lab.names(&asterisk("early", Some(("橋本", "sip:0663621234@127.0.0.1")))), Vec::<String>::new());
    assert_eq!(lab.names(&asterisk("confirmed", None)), ["answered"]);
    assert_eq!(lab.names(&asterisk("terminated", None)), ["leg Normal", "ended Normal"]);
    assert!(lab.calls.is_empty() && lab.book.is_empty());
    assert_eq!(lab.names(&asterisk("early", None)), ["appeared", "leg", "rings"]);
    assert_eq!(lab.names(""), ["leg NoAnswer", "ended NoAnswer"]);
}

#[test]
fn an_own_call_of_the_extension_is_no_contact() {
    let mut lab = lab();
    assert_eq!(lab.names(&asterisk("confirmed", None)), Vec::<String>::new());
    assert_eq!(lab.names(&asterisk("terminated", None)), Vec::<String>::new());
    let out = with_call_id("a", "c", ">early").replace("recipient", "initiator");
    assert_eq!(lab.names(&out), Vec::<String>::new());
    assert_eq!(lab.names(&out.replace("early", "confirmed")), Vec::<String>::new());
}

#[test]
fn withheld_callers_have_a_reason_and_no_number() {
    for (display, why) in
        [("Anonymous", Withheld::Refused), ("Coin line/payphone", Withheld::Payphone), ("", Withheld::Refused)]
    {
        let mut lab = lab();
        let told = lab.full(&asterisk("early", Some((display, "sip:anonymous@anonymous.invalid"))));
        let Signal::CallAppeared { caller, .. } = &told[0] else { panic!() };
        assert_eq!(*caller, Identity { withheld: Some(why), ..Identity::default() });
    }
}

#[test]
fn the_next_call_that_was_told_together_with_the_end_of_the_last() {
    let mut lab = lab();
    lab.full(&asterisk("early", Some(("", "sip:1001@x"))));
    lab.full(&asterisk("confirmed", None));
    let names = lab.names(&asterisk("early", Some(("", "sip:1002@x"))));
    assert_eq!(names, ["leg Normal", "ended Normal", "appeared", "leg", "rings"]);
}

#[test]
fn one_call_that_rings_twice_is_one_call() {
    let mut lab = lab();
    let both = |one: &str, two: &str| with_call_id("a", "c", one) + &with_call_id("b", "c", two);
    assert_eq!(lab.names(&both(">early", ">early")), ["appeared", "leg", "rings", "leg", "rings"]);
    assert_eq!(lab.calls.len(), 1);
    let names = lab.names(&both(">confirmed", " event=\"replaced\">terminated"));
    assert_eq!(names, ["answered", "leg AnsweredElsewhere"]);
    let names = lab.names(&with_call_id("a", "c", " event=\"remote-bye\">terminated"));
    assert_eq!(names, ["leg Cancelled", "ended Normal"]);
}

#[test]
fn a_dialog_is_known_by_its_call_id_when_its_id_changes() {
    let mut lab = lab();
    let early = with_call_id("a", "c", ">early").replace(" local-tag=\"la\"", "");
    assert_eq!(lab.names(&early).len(), 3);
    let renamed = with_call_id("a", "c", ">confirmed").replace("id=\"a\"", "id=\"z\"");
    assert_eq!(lab.names(&renamed), ["answered"]);
    let held = renamed.replace(
        "</state>",
        "</state><local><target uri=\"x\"><param pname=\"+sip.rendering\" pval=\"no\"/></target></local>",
    );
    assert_eq!(lab.names(&held), ["held"]);
    assert_eq!(lab.names(&renamed), ["resumed"]);
}

#[test]
fn why_a_ringing_call_went_away() {
    for (how, cause) in [
        (" event=\"cancelled\">terminated", "leg Cancelled"),
        (" event=\"rejected\" code=\"486\">terminated", "leg Busy"),
        (" event=\"rejected\" code=\"603\">terminated", "leg Rejected"),
        (" event=\"rejected\" code=\"480\">terminated", "leg NoAnswer"),
        (" event=\"error\" code=\"500\">terminated", "leg Failed"),
        (" event=\"timeout\">terminated", "leg NoAnswer"),
        (">terminated", "leg NoAnswer"),
    ] {
        let mut lab = lab();
        lab.full(&with_call_id("a", "c", ">early"));
        assert_eq!(lab.names(&with_call_id("a", "c", how))[0], cause, "{how}");
    }
}

#[test]
fn versions_rise_by_one_partial_ones_merge_and_gaps_are_seen() {
    let mut lab = lab();
    let (a, b) = (with_call_id("a", "c1", ">early"), with_call_id("b", "c2", ">early"));
    assert_eq!(lab.apply(7, false, &a), Applied::Gap, "the first must be full");
    assert!(matches!(lab.apply(8, true, &a), Applied::Told(told) if told.len() == 3));
    assert!(matches!(lab.apply(9, false, &b), Applied::Told(told) if told.len() == 3));
    assert_eq!(lab.book.len(), 2);
    assert_eq!((lab.apply(9, false, &b), lab.apply(3, true, "")), (Applied::Old, Applied::Old));
    assert_eq!(lab.apply(11, false, ""), Applied::Gap);
    assert_eq!(lab.apply(12, false, ""), Applied::Gap);
    assert!(matches!(lab.apply(13, true, &b), Applied::Told(told) if told.len() == 2));
    let again = Lab::document(1, true, &b);
    assert_eq!(lab.book.apply(&again, "2001", true, &mut lab.calls, NOW), Applied::Told(vec![]), "asked for");
    let lost = std::mem::take(&mut lab.book).handed_on().lose(&mut lab.calls, NOW);
    assert_eq!(lost.iter().map(|told| name(&told.signal)).collect::<Vec<_>>(), ["leg LostSight", "ended LostSight"]);
}

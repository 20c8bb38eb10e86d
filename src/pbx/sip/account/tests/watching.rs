//! RFC 6665 as a subscriber keeps it, with RFC 4235 inside.

use super::*;
use crate::pbx::EndCause;

fn watching(extensions: &[&str]) -> Lab {
    let extensions = extensions.iter().map(|extension| extension.to_string()).collect();
    let watch = WatchSettings { extensions, server: "192.0.2.1".into(), ..WatchSettings::default() };
    lab_with(PeerSettings { watch: Some(watch), ..PeerSettings::default() })
}

/// A NOTIFY of a notifier of tag `from`.
fn notify(subscribe: &Message, from: &str, cseq: u32, state: &str, body: &str) -> Message {
    let mut message =
        Message::new(Start::Request { method: "NOTIFY".into(), uri: "sip:kakehashi@192.0.2.80:15080".into() });
    message.push("Via", format!("SIP/2.0/UDP 192.0.2.1:5062;branch=z9hG4bK{from}{cseq}"));
    message.push("From", format!("{};tag={from}", subscribe.text("To").unwrap().split(";tag").next().unwrap()));
    message.push("To", subscribe.text("From").unwrap().into_owned());
    message.push("Call-ID", subscribe.text("Call-ID").unwrap().into_owned());
    message.push("CSeq", format!("{cseq} NOTIFY"));
    message.push("Contact", "<sip:192.0.2.1:5062>");
    message.push("Event", "dialog");
    message.push("Subscription-State", state);
    if !body.is_empty() {
        message.push("Content-Type", "application/dialog-info+xml;charset=utf-8");
        message.body = body.into();
    }
    message
}

fn document(version: u32, kind: &str, state: &str) -> String {
    let dialog = match state {
        "" => String::new(),
        state => format!("<dialog id=\"2001\" direction=\"recipient\"><state>{state}</state></dialog>"),
    };
    format!(
        "<dialog-info xmlns=\"urn:ietf:params:xml:ns:dialog-info\" version=\"{version}\" state=\"{kind}\">{dialog}</dialog-info>"
    )
}

impl Lab {
    fn subscribe(&mut self) -> Message {
        let mut sent = self.pass(0);
        assert_eq!(sent.len(), 1, "{sent:?}");
        sent.pop().unwrap()
    }

    /// A subscription that is answered and told of.
    fn watched(&mut self) -> Message {
        let subscribe = self.subscribe();
        self.answer(&subscribe, 202, &[("Expires", "600")]);
        assert_eq!(self.notify(&notify(&subscribe, "n", 1, "active;expires=600", &document(0, "full", ""))), 200);
        subscribe
    }

    fn notify(&mut self, message: &Message) -> u16 {
        code(self.send(message).iter().find(|answer| code(answer) > 0).unwrap())
    }

    fn names(&mut self) -> Vec<&'static str> {
        let name = |signal: Signal| match signal {
            Signal::CallAppeared { .. } => "appeared",
            Signal::LegAppeared { .. } => "leg",
            Signal::LegRinging(_) => "rings",
            Signal::LegAnswered(_) => "answered",
            Signal::LegEnded(_, EndCause::LostSight) => "lost",
            Signal::LegEnded(..) => "leg ended",
            Signal::CallEnded(_) => "ended",
            _ => "other",
        };
        std::mem::take(&mut self.told).into_iter().map(name).collect()
    }
}

#[test]
fn a_call_is_told_from_ring_to_end_and_the_subscription_is_kept_and_left() {
    let mut lab = watching(&["2001"]);
    let subscribe = lab.subscribe();
    assert!(
        matches!(&subscribe.start, Start::Request { method, uri } if method == "SUBSCRIBE" && uri == "sip:2001@192.0.2.1")
    );
    assert_eq!((subscribe.text("Event").unwrap(), subscribe.text("Expires").unwrap()), ("dialog".into(), "600".into()));
    assert_eq!(subscribe.text("Accept").unwrap(), "application/dialog-info+xml");
    let early = notify(&subscribe, "n", 1, "active;expires=600", &document(0, "full", "terminated"));
    assert_eq!(lab.notify(&early), 200, "it may come before the 200");
    assert_eq!(lab.notify(&early), 200, "a retransmission");
    lab.answer(&subscribe, 200, &[("Expires", "600")]);
    assert_eq!((lab.uas.watched(), &lab.notes[..]), (1, &[Note::Watch(1, Watched::Watching)][..]));
    for (version, state) in [(1, "early"), (2, "confirmed"), (3, "terminated")] {
        let told = notify(&subscribe, "n", 1 + version, "active;expires=590", &document(version, "full", state));
        assert_eq!(lab.notify(&told), 200);
    }
    assert_eq!(lab.names(), ["appeared", "leg", "rings", "answered", "leg ended", "ended"]);
    assert_eq!(
        lab.notify(&notify(&subscribe, "n", 1, "active", "")),
        200,
        "seen before: the transaction repeats itself"
    );
    assert_eq!(lab.pass(500), []);
    let refresh = lab.pass(70).pop().unwrap();
    assert!(matches!(&refresh.start, Start::Request { uri, .. } if uri == "sip:192.0.2.1:5062"));
    assert_eq!(
        (refresh.text("CSeq").unwrap(), refresh.text("To").unwrap()),
        ("2 SUBSCRIBE".into(), "<sip:2001@192.0.2.1>;tag=n".into())
    );
    lab.answer(&refresh, 200, &[("Expires", "60")]);
    assert_eq!(lab.pass(29).len(), 0);
    let sooner = lab.pass(2).pop().expect("the granted time may shrink");
    lab.answer(&sooner, 200, &[("Expires", "600")]);
    lab.uas.handle_stop(lab.now);
    lab.drain();
    let leave = lab.sent.last().unwrap().clone();
    assert_eq!((leave.text("Expires").unwrap(), leave.text("CSeq").unwrap()), ("0".into(), "4 SUBSCRIBE".into()));
    assert_eq!(lab.notify(&notify(&subscribe, "n", 9, "terminated;reason=timeout", "")), 200);
    lab.answer(&leave, 200, &[]);
    assert_eq!((lab.uas.requests_under_way(), lab.pass(5_000).len()), (0, 0));
}

#[test]
fn what_is_no_notify_of_ours_is_refused() {
    let mut lab = watching(&["2001"]);
    let subscribe = lab.watched();
    for (cseq, name, value) in [(5, "Call-ID", "other"), (6, "To", "<sip:x@y>;tag=other"), (7, "To", "<sip:x@y>")] {
        let mut message = notify(&subscribe, "n", cseq, "active", &document(1, "full", "early"));
        message.headers.iter_mut().find(|header| header.name == name).unwrap().value = value.into();
        assert_eq!(lab.notify(&message), 481, "{name}");
    }
    let older = notify(&subscribe, "n", 0, "active", &document(1, "full", "early"));
    assert_eq!(lab.notify(&older), 500);
    assert!(lab.told.is_empty());
}

#[test]
fn events_and_contents_that_were_not_asked_for_are_refused() {
    let mut lab = watching(&["2001"]);
    let subscribe = lab.watched();
    let refused = |lab: &mut Lab, cseq: u32, name: &str, value: &str| {
        let mut message = notify(&subscribe, "n", cseq, "active", &document(1, "full", "early"));
        message.headers.iter_mut().find(|header| header.name == name).unwrap().value = value.into();
        lab.notify(&message)
    };
    assert_eq!(refused(&mut lab, 5, "Event", "presence"), 489);
    assert_eq!(lab.sent.last().unwrap().text("Allow-Events").unwrap(), "dialog");
    assert_eq!(refused(&mut lab, 6, "Content-Type", "application/pidf+xml"), 415);
    assert_eq!(refused(&mut lab, 7, "From", "<sip:2001@192.0.2.1>"), 481);
    assert_eq!(lab.names(), Vec::<&str>::new());
    for cseq in 0..3 {
        let fork = notify(&subscribe, &format!("fork{cseq}"), 1, "active", "");
        assert_eq!(lab.notify(&fork), 200, "every notifier is a subscription of its own");
    }
    assert_eq!(lab.notify(&notify(&subscribe, "fork9", 1, "active", "")), 481, "but not without bound");
}

#[test]
fn a_gap_and_a_broken_document_ask_for_the_whole_state_once() {
    let mut lab = watching(&["2001"]);
    let subscribe = lab.watched();
    let count = |lab: &mut Lab, cseq: u32, body: &str| {
        let before = lab.sent.len();
        assert_eq!(lab.notify(&notify(&subscribe, "n", cseq, "active;expires=600", body)), 200);
        lab.sent[before..].iter().filter(|sent| code(sent) == 0).count()
    };
    assert_eq!(count(&mut lab, 2, &document(1, "partial", "early")), 0);
    assert_eq!(lab.names(), ["appeared", "leg", "rings"]);
    assert_eq!(count(&mut lab, 3, &document(3, "partial", "terminated")), 1);
    assert_eq!(count(&mut lab, 4, &document(4, "partial", "terminated")), 0);
    assert_eq!(count(&mut lab, 5, "<dialog-info"), 0);
    let refresh = lab.sent.iter().rev().find(|sent| code(sent) == 0).unwrap().clone();
    lab.answer(&refresh, 200, &[("Expires", "600")]);
    assert_eq!(count(&mut lab, 6, &document(5, "full", "confirmed")), 0);
    assert_eq!(lab.names(), ["answered"]);
    assert_eq!(count(&mut lab, 7, "<dialog-info"), 1);
    assert_eq!(lab.uas.counters().malformed, 2);
}

#[test]
fn each_reason_of_an_end_is_heeded_as_the_rfc_asks() {
    for (state, waits) in [
        ("terminated;reason=deactivated", Some(0..=3)),
        ("terminated;reason=timeout", Some(0..=3)),
        ("terminated;reason=probation;retry-after=40", Some(39..=42)),
        ("terminated;reason=giveup", Some(4..=8)),
        ("terminated", Some(0..=3)),
        ("terminated;reason=rejected", None),
        ("terminated;reason=noresource;retry-after=5", None),
    ] {
        let mut lab = watching(&["2001"]);
        let subscribe = lab.watched();
        assert_eq!(lab.notify(&notify(&subscribe, "n", 2, state, "")), 200);
        assert_eq!(lab.notify(&notify(&subscribe, "n", 3, "active", "")), 481, "{state}");
        let mut waited = 0;
        while waited < 4_000 && lab.sent.iter().filter(|sent| code(sent) == 0).count() < 2 {
            lab.pass(1);
            waited += 1;
        }
        match waits {
            Some(waits) => {
                assert!(waits.contains(&waited), "{state}: {waited}");
                let again = lab.sent.last().unwrap();
                assert_ne!(again.text("Call-ID"), subscribe.text("Call-ID"));
                assert_eq!(again.text("CSeq").unwrap(), "1 SUBSCRIBE");
            }
            None => {
                assert_eq!(waited, 4_000, "{state}");
                assert_eq!(lab.notes.last(), Some(&Note::Watch(1, Watched::Refused(0, true))));
            }
        }
    }
}

#[test]
fn a_running_call_survives_the_change_of_subscription_or_is_lost() {
    for survives in [true, false] {
        let mut lab = watching(&["2001"]);
        let subscribe = lab.watched();
        lab.notify(&notify(&subscribe, "n", 2, "active;expires=600", &document(1, "full", "early")));
        assert_eq!(lab.names(), ["appeared", "leg", "rings"]);
        let refresh = lab.pass(580).pop().unwrap();
        lab.answer(&refresh, 481, &[]);
        let anew = lab.pass(3).pop().expect("a new subscription");
        assert_ne!(anew.text("Call-ID"), subscribe.text("Call-ID"));
        assert_eq!(lab.names(), Vec::<&str>::new());
        if survives {
            lab.answer(&anew, 200, &[("Expires", "600")]);
            lab.notify(&notify(&anew, "m", 1, "active", &document(0, "full", "confirmed")));
            assert_eq!(lab.names(), ["answered"]);
            lab.notify(&notify(&anew, "m", 2, "active", &document(1, "full", "")));
            assert_eq!(lab.names(), ["leg ended", "ended"]);
        } else {
            lab.pass(100);
            assert_eq!(lab.names(), ["lost", "ended"]);
        }
        assert_eq!(lab.uas.watched_calls(), 0);
    }
}

#[test]
fn refusals_of_the_first_request() {
    for (code, more, note, waits) in [
        (489, ("Allow-Events", "presence"), Some(Watched::Refused(489, false)), 1_799..=1_810),
        (403, ("X", ""), Some(Watched::Refused(403, false)), 1_799..=1_810),
        (503, ("Retry-After", "30"), Some(Watched::Failed(Some(503))), 29..=31),
        (423, ("Min-Expires", "900"), None, 0..=3),
    ] {
        let mut lab = watching(&["2001"]);
        let subscribe = lab.subscribe();
        lab.answer(&subscribe, code, &[more]);
        assert_eq!(lab.notes, note.map(|told| Note::Watch(1, told)).into_iter().collect::<Vec<_>>());
        let mut waited = 0;
        let again = loop {
            match lab.pass(1).pop() {
                Some(again) => break again,
                None => waited += 1,
            }
        };
        assert!(waits.contains(&waited), "{code}: {waited}");
        assert_eq!(again.text("Expires").unwrap(), if code == 423 { "900" } else { "600" });
    }
}

#[test]
fn an_accepted_subscription_that_nobody_tells_of_is_begun_again() {
    let mut lab = watching(&["2001"]);
    let subscribe = lab.subscribe();
    lab.answer(&subscribe, 200, &[("Expires", "600")]);
    assert_eq!(lab.pass(31), []);
    assert_eq!(lab.pass(10).len(), 1);
}

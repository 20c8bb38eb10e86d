//! Undisturbed calls: by a queue, with the wiring swapped, and to the bridge's own line.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use kakehashi::call::ContactId;
use kakehashi::pbx::Speaker;

use crate::bridge::{Bridge, wait_for};
use crate::judge::{Evidence, check, complete_document, gap_free, gather, received, short};
use crate::lab::{Lab, finished, lab};
use crate::privacy::CALLER;
use crate::receiver::Receiver;
use crate::text::{error_rate, said_by};

/// How long a whole call with its document may take; only a failing test waits that long.
pub(crate) const CALL: Duration = Duration::from_secs(180);

/// From of the lab's calls.
pub(crate) fn who() -> String {
    format!("{CALLER}@127.0.0.1")
}

/// Waits until the document of a contact other than `known` is complete.
pub(crate) fn documented(receiver: &Receiver, known: &[ContactId]) -> ContactId {
    wait_for("the document of the call is complete", CALL, || {
        let events = received(&receiver.accepted());
        let contacts = events.iter().map(|received| received.event.contact);
        contacts
            .filter(|contact| !known.contains(contact))
            .find(|contact| complete_document(&events, *contact).is_some())
    })
}

/// Plays one call with a bridge of its own; `call` starts it, and does what is to be done in it.
pub(crate) fn play(folder: &Path, call: impl FnOnce(&Bridge, &Receiver) -> Lab) -> Evidence {
    let receiver = Receiver::start(folder, &[]);
    let bridge = Bridge::start(folder, &receiver);
    let call = call(&bridge, &receiver);
    let contact = documented(&receiver, &[]);
    finished(call);
    gather(folder, bridge, &receiver, contact)
}

/// A call to the queue as it should be; played once for all tests that need one.
pub(crate) fn undisturbed() -> Arc<Evidence> {
    static PLAYED: LazyLock<Mutex<Option<Arc<Evidence>>>> = LazyLock::new(Mutex::default);
    let known = PLAYED.lock().unwrap().clone();
    if let Some(evidence) = known {
        return evidence;
    }
    let folder = tempfile::tempdir().unwrap();
    let evidence = Arc::new(play(folder.path(), |_, _| lab(&["call", "6001", "--who", &who()])));
    PLAYED.lock().unwrap().replace(Arc::clone(&evidence));
    evidence
}

#[test]
#[ignore = "needs the lab: make lab"]
fn a_call_to_a_queue_leaves_pop_text_sound_ledger_and_signed_events() {
    let call = undisturbed();
    for speaker in [Speaker::Caller, Speaker::Agent] {
        println!("{speaker:?}: {}", call.text(speaker));
    }
    check(&call).unwrap();
}

#[test]
#[ignore = "needs the lab: make lab"]
fn the_same_check_fails_when_the_wiring_is_swapped() {
    let folder = tempfile::tempdir().unwrap();
    let call = play(folder.path(), |_, _| lab(&["call", "6001", "--who", &who(), "--swapped"]));
    let problems = check(&call).unwrap_err();
    println!("{problems}");
    assert!(problems.contains("texts:") && problems.contains("recording:"), "{problems}");
    for right in ["pops:", "events:", "ledger:", "signatures:"] {
        assert!(!problems.contains(right), "{problems}");
    }
}

#[test]
#[ignore = "needs the lab: make lab"]
fn a_call_to_the_bridge_by_sip_gives_the_same_event_types() {
    let folder = tempfile::tempdir().unwrap();
    let call = play(folder.path(), |_, _| lab(&["caller", "7001", "--who", &who()]));
    gap_free(&call.events).unwrap();
    let kinds = |of: &Evidence| -> BTreeSet<&str> { of.events.iter().map(|received| short(&received.event)).collect() };
    let mut wanted = kinds(&undisturbed());
    // nobody waits in a queue here; recognition may be behind in one of the calls
    for more in ["call.queued", "transcript.delayed"] {
        wanted.remove(more);
    }
    let mut found = kinds(&call);
    found.remove("transcript.delayed");
    assert_eq!(found, wanted);
    assert_eq!(call.counts["refused"], 0);
    let heard = call.text(Speaker::Caller);
    let (own, others) = (
        error_rate(&said_by(Speaker::Caller, f64::INFINITY), &heard),
        error_rate(&said_by(Speaker::Agent, f64::INFINITY), &heard),
    );
    println!("Caller: error rate {own:.3}, against the other channel {others:.3}: {heard}");
    assert!(own < crate::judge::MODEL_MEETS && others > crate::judge::OTHER_IS_FAR);
    assert!(call.finals(Speaker::Agent).is_empty(), "the bridge itself says nothing");
    let ledger = &call.document().coverage;
    assert!(ledger.iter().all(|one| crate::judge::sum(&one.coverage) == one.coverage.duration), "{ledger:?}");
    assert_eq!(ledger.iter().filter(|one| one.speaker == Speaker::Caller).count(), 1);
}

#[test]
#[ignore = "needs the lab: make lab"]
fn the_wrong_password_ends_serve_with_place_expectation_and_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(folder.path(), &[]);
    let (code, error) =
        crate::bridge::refused(folder.path(), &receiver, |config| config.replace("lab-password", "another-password"));
    assert_eq!(code, Some(1));
    for part in ["[pbx.ari] of `lab`", "http://127.0.0.1:18088/ari", "\"kakehashi\"", "401", "ari.conf"] {
        assert!(error.contains(part), "{part} is missing: {error}");
    }
    assert!(!error.contains("another-password"), "{error}");
}

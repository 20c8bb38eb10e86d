//! Calls that are passed on, through the whole bridge: who is heard on which channel, what the CRM is told, what the ledger says.

use std::collections::HashMap;
use std::io::copy;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kakehashi::call::ContactId;
use kakehashi::events::{Data, EndReason, Event};
use uuid::Uuid;

use crate::bridge::{Bridge, config, config_in, exported, wait_for};
use crate::handover::packets;
use crate::judge::received;
use crate::lab::{finished, scenario};
use crate::receiver::Receiver;
use crate::sound::{played, played_of};

/// Only a failing test waits that long.
const PATIENCE: Duration = Duration::from_secs(120);
/// Seconds between two steps: the caller speaks 9 s after the first answer, the third tier in its first 4 s and again after 8 s.
const TALK_S: f32 = 6.0;

/// Plays a scenario with a bridge of its own and gives every event, when the documents of all its `contacts` are there.
pub(crate) fn run(
    folder: &Path,
    name: &str,
    talk_s: f32,
    contacts: usize,
    change: impl FnOnce(String) -> String,
    during: impl FnOnce(),
) -> Vec<Event> {
    let receiver = Receiver::start(folder, &[]);
    std::fs::create_dir_all(folder).unwrap();
    let plain = config(folder, &receiver.url);
    let directory = "extension,agent,name,department,tier\n2001,yamada,山田,窓口,2\n2101,yamada,山田,窓口,2\n2002,kato,加藤,窓口,2\n2102,kato,加藤,窓口,2\n\
        3001,sato,佐藤,区役所,3\n";
    std::fs::write(folder.join("directory.csv"), directory).unwrap();
    let own = folder.join("directory.csv").display().to_string();
    let url = std::fs::read_to_string(folder.join("ari")).unwrap_or_else(|_| "http://127.0.0.1:18088/ari".into());
    let config = plain.replace("samples/directory.csv", &own).replace("http://127.0.0.1:18088/ari", &url);
    std::fs::write(config_in(folder), change(config)).unwrap();
    let bridge = Bridge::again(folder);
    let call = scenario(name, talk_s);
    during();
    finished(call);
    let events = wait_for("every contact has its document", PATIENCE, || {
        let events: Vec<Event> = received(&receiver.accepted()).into_iter().map(|received| received.event).collect();
        let documents = events.iter().filter(|event| matches!(&event.data, Data::TranscriptDocument(d) if d.complete));
        (documents.count() >= contacts).then_some(events)
    });
    bridge.stop();
    for event in &events {
        println!("{} {:?} {}", event.contact, event.sequence, event.type_name());
    }
    events
}

/// The contact of the citizen, who dialled `called`.
pub(crate) fn contact_of(events: &[Event], called: &str) -> ContactId {
    let dialled = |event: &&Event| matches!(&event.data, Data::CallRinging(leg) if leg.called == called);
    events.iter().find(dialled).expect("it rings").contact
}

/// Where these samples are heard for the first time: a loud frame of these `seconds` of `sound`, exactly as it was played.
fn heard_at(samples: &[i16], sound: &[i16], seconds: Range<usize>) -> Option<usize> {
    let loud = |frame: &&[i16]| frame.iter().filter(|sample| sample.abs() > 800).count() > 80;
    let frames = sound[seconds.start * 8_000..seconds.end * 8_000].chunks_exact(160).filter(loud);
    frames.filter_map(|frame| samples.windows(160).position(|window| window == frame)).min()
}

/// Types of a contact's record events about legs, in order of their sequence.
pub(crate) fn kinds(events: &[Event], contact: ContactId) -> Vec<&'static str> {
    let mut own: Vec<&Event> = events.iter().filter(|e| e.contact == contact && e.sequence.is_some()).collect();
    own.sort_by_key(|event| event.sequence);
    own.dedup_by_key(|event| event.sequence);
    let named = own.iter().map(|e| e.type_name().trim_start_matches("kakehashi.").trim_end_matches(".v1"));
    named.filter(|kind| kind.starts_with("call.") || kind.starts_with("contact.")).collect()
}

/// Without the packets of the caller who is passed on: how often one is revised depends on when texts come.
fn without_packets(kinds: Vec<&'static str>) -> Vec<&'static str> {
    kinds.into_iter().filter(|kind| *kind != "contact.handover").collect()
}

/// The caller was handed over by somebody: the revisions of each packet follow each other, and the last one has what was said before.
fn assert_handed_over(events: &[Event], contact: ContactId, from: &str) {
    let packets = packets(events, contact);
    let mut revisions: HashMap<Uuid, u32> = HashMap::new();
    for packet in &packets {
        let due = revisions.entry(packet.handover).or_default();
        assert_eq!(packet.revision, *due, "the revisions follow each other");
        *due += 1;
    }
    let last = packets.last().expect("a packet");
    assert_eq!(last.from_agent.as_ref().and_then(|agent| agent.id.as_deref()), Some(from));
    assert_eq!(last.pending, 0, "all texts from before came");
    assert!(!last.turns.is_empty(), "something was said before");
}

/// The ledger of each leg sums up, and both speakers were heard on each.
pub(crate) fn assert_heard_throughout(events: &[Event], contact: ContactId, legs: usize) {
    assert_heard_but_for(1_500, events, contact, legs);
}

/// The same, where up to so many milliseconds of each leg were not heard.
fn assert_heard_but_for(unobserved: u64, events: &[Event], contact: ContactId, legs: usize) {
    let document = events.iter().rev().find_map(|event| match &event.data {
        Data::TranscriptDocument(document) if event.contact == contact => Some(document),
        _ => None,
    });
    let coverage = &document.unwrap().coverage;
    assert_eq!(coverage.len(), 2 * legs, "{coverage:#?}");
    for row in coverage {
        let c = &row.coverage;
        let heard = c.transcribed + c.silent + c.lost + c.pending + c.failed;
        assert_eq!(heard + c.unobserved + c.paused + c.excluded, c.duration);
        println!("{:?}: {c:?}", row.speaker);
        assert!(c.unobserved < unobserved, "the start of a stream costs less than that: {c:?}");
    }
}

/// Both agents are heard on the agents' channel, one after the other, and the caller on hers. `before` is how many seconds of her sound the
/// second agent had already played when the caller was put through: nothing of that is in this recording.
fn assert_both_agents_heard(folder: &Path, contact: ContactId, before: usize) {
    let [left, right] = exported(folder, &contact.to_string());
    let (first, second, caller) = (played(1), played_of("call2", 1), played(0));
    let at_first = heard_at(&right, &first, 0..4).expect("the first agent is heard on the agents' channel");
    let at_second = heard_at(&right, &second, before..13).expect("the second agent is heard on the agents' channel");
    println!("first agent from sample {at_first}, second from {at_second}");
    assert!(at_first < at_second);
    assert!(heard_at(&right, &second, 0..before).is_none(), "the consultation is not in the caller's recording");
    assert!(heard_at(&left, &caller, 0..13).is_some(), "the caller is heard on hers");
    assert!(heard_at(&left, &first, 0..13).is_none(), "no agent on the caller's");
    assert!(heard_at(&left, &second, 0..13).is_none(), "no agent on the caller's");
    assert!(heard_at(&right, &caller, 0..13).is_none(), "no caller on the agents'");
}

#[test]
#[ignore = "needs the lab: make lab"]
fn a_blind_transfer_is_one_contact_with_two_legs() {
    let folder = tempfile::tempdir().unwrap();
    let events = run(folder.path(), "blind_refer", TALK_S, 1, |config| config, || {});
    let contact = contact_of(&events, "6001");
    assert_handed_over(&events, contact, "yamada");
    let mut kinds = without_packets(kinds(&events, contact));
    // Asterisk lets the first agent's channel go before or after it dials the second one
    let gone = kinds.iter().position(|kind| *kind == "call.ended").expect("the first leg ends");
    kinds.remove(gone);
    assert_eq!(
        kinds,
        [
            "call.queued",
            "call.offered",
            "call.ringing",
            "call.answered",
            "call.offered",
            "call.transferred",
            "call.ringing",
            "call.answered",
            "call.ended",
            "call.ended"
        ]
    );
    assert!((4..8).contains(&gone), "the first leg ends between the answers: {gone}");
    let reasons: Vec<EndReason> = reasons(&events, contact);
    assert_eq!(reasons, [EndReason::Transferred, EndReason::CallerHangup, EndReason::CallerHangup]);
    let pop = events.iter().find_map(|event| match &event.data {
        Data::ScreenPop(pop) if pop.agent.id.as_deref() == Some("sato") => pop.transfer.clone(),
        _ => None,
    });
    assert_eq!(pop.unwrap().agent.id.as_deref(), Some("yamada"));
    assert_heard_throughout(&events, contact, 2);
    assert_both_agents_heard(folder.path(), contact, 0);
}

fn reasons(events: &[Event], contact: ContactId) -> Vec<EndReason> {
    let mut ended: Vec<(u64, EndReason)> = events
        .iter()
        .filter(|event| event.contact == contact)
        .filter_map(|event| match &event.data {
            Data::CallEnded(ended) => Some((event.sequence.unwrap(), ended.reason)),
            _ => None,
        })
        .collect();
    ended.sort_by_key(|(sequence, _)| *sequence);
    ended.dedup();
    ended.into_iter().map(|(_, reason)| reason).collect()
}

#[test]
#[ignore = "needs the lab: make lab"]
fn a_transfer_after_consultation_joins_two_contacts() {
    let folder = tempfile::tempdir().unwrap();
    let events = run(folder.path(), "attended_refer", TALK_S, 2, |config| config, || {});
    assert_attended(folder.path(), &events);
}

/// These events in this order, then those in any.
fn begins_and_goes_on(mut kinds: Vec<&str>, begin: &[&str], rest: &[&str]) {
    let mut after = kinds.split_off(begin.len().min(kinds.len()));
    assert_eq!(kinds, begin);
    after.sort_unstable();
    assert_eq!(after, rest);
}

fn assert_attended(folder: &Path, events: &[Event]) {
    let (contact, consultation) = (contact_of(events, "6001"), contact_of(events, "3001"));
    let links: Vec<(ContactId, ContactId)> = events
        .iter()
        .filter_map(|event| match &event.data {
            Data::ContactLinked(linked) => Some((event.contact, linked.contact)),
            _ => None,
        })
        .collect();
    assert_eq!(links.len(), 2, "{links:?}");
    assert!(links.contains(&(contact, consultation)) && links.contains(&(consultation, contact)));
    // how Asterisk takes apart and joins what it had differs from time to time
    let passed_on = [
        "call.answered",
        "call.ended",
        "call.ended",
        "call.ended",
        "call.offered",
        "call.resumed",
        "call.transferred",
        "contact.linked",
    ];
    assert_handed_over(events, contact, "yamada");
    begins_and_goes_on(
        without_packets(kinds(events, contact)),
        &["call.queued", "call.offered", "call.ringing", "call.answered", "call.held"],
        &passed_on,
    );
    begins_and_goes_on(
        kinds(events, consultation),
        &["call.offered", "call.ringing", "call.answered"],
        &["call.ended", "call.ended", "contact.linked"],
    );
    let ends = [EndReason::Transferred, EndReason::CallerHangup, EndReason::CallerHangup];
    assert_eq!(reasons(events, contact), ends);
    assert_eq!(reasons(events, consultation), [EndReason::Transferred, EndReason::Transferred]);
    assert_heard_throughout(events, contact, 2);
    assert_both_agents_heard(folder, contact, 5);
}

#[test]
#[ignore = "needs the lab: make lab"]
fn one_pop_for_a_person_with_two_telephones() {
    let folder = tempfile::tempdir().unwrap();
    let events = run(folder.path(), "queue_two_people_two_devices", 16.0, 1, |config| config, || {});
    let contact = contact_of(&events, "6008");
    let wanted =
        [("call.queued", 1), ("call.offered", 4), ("call.ringing", 4), ("call.answered", 1), ("call.ended", 5)];
    let wanted: Vec<&str> = wanted.iter().flat_map(|(kind, times)| std::iter::repeat_n(*kind, *times)).collect();
    assert_eq!(kinds(&events, contact), wanted);
    let elsewhere = EndReason::AnsweredElsewhere;
    let hung_up = EndReason::CallerHangup;
    assert_eq!(reasons(&events, contact), [elsewhere, elsewhere, elsewhere, hung_up, hung_up]);
    let mut pops: Vec<(Option<&str>, u32)> = events
        .iter()
        .filter_map(|event| match &event.data {
            Data::ScreenPop(pop) => Some((pop.agent.id.as_deref(), u32::from(pop.revision > 0))),
            _ => None,
        })
        .collect();
    pops.sort_unstable();
    pops.dedup();
    assert_eq!(pops.iter().filter(|(_, revision)| *revision == 0).count(), 2, "one for each person: {pops:?}");
    let withdrawn: Vec<Option<&str>> = events
        .iter()
        .filter_map(|event| match &event.data {
            Data::ScreenPopWithdrawn(gone) => Some(gone.agent.id.as_deref()),
            _ => None,
        })
        .collect();
    assert_eq!(withdrawn, [Some("yamada")]);
    assert_heard_throughout(&events, contact, 1);
    let [left, right] = exported(folder.path(), &contact.to_string());
    let (caller, agent) = (played(0), played_of("call2", 0));
    for (heard, own, other) in [(&left, &caller, &agent), (&right, &agent, &caller)] {
        assert!(heard_at(heard, own, 0..15).is_some() && heard_at(heard, other, 0..15).is_none());
    }
}

/// Passes connections on to Asterisk; while it is cut, new ones are closed at once.
fn proxy(cut: Arc<AtomicBool>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/ari", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for near in listener.incoming().flatten() {
            if cut.load(Ordering::Relaxed) {
                continue;
            }
            let far = TcpStream::connect("127.0.0.1:18088").unwrap();
            let cut = Arc::clone(&cut);
            let (mut from, mut to) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            std::thread::spawn(move || copy(&mut from, &mut to));
            let (mut from, mut to) = (far.try_clone().unwrap(), near.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Both);
            });
            std::thread::spawn(move || {
                while !cut.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(20));
                }
                let _ = (near.shutdown(Shutdown::Both), far.shutdown(Shutdown::Both));
            });
        }
    });
    url
}

/// The event socket is cut while the agent consults, and comes back after the transfer was carried out.
#[test]
#[ignore = "needs the lab: make lab"]
fn a_transfer_that_nobody_saw_is_found_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let cut = Arc::new(AtomicBool::new(false));
    std::fs::write(folder.path().join("ari"), proxy(Arc::clone(&cut))).unwrap();
    let events = run(
        folder.path(),
        "attended_refer",
        TALK_S,
        2,
        |config| config,
        || {
            // 6 s with the caller, 6 s of consultation, 6 s afterwards
            std::thread::sleep(Duration::from_secs(10));
            cut.store(true, Ordering::Relaxed);
            std::thread::sleep(Duration::from_secs(4));
            cut.store(false, Ordering::Relaxed);
        },
    );
    let contact = contact_of(&events, "6001");
    // what is read from who is connected with whom has no order among itself
    let found = [
        "call.answered",
        "call.ended",
        "call.ended",
        "call.ended",
        "call.offered",
        "call.transferred",
        "contact.linked",
    ];
    assert_handed_over(&events, contact, "yamada");
    begins_and_goes_on(
        without_packets(kinds(&events, contact)),
        &["call.queued", "call.offered", "call.ringing", "call.answered", "call.held"],
        &found,
    );
    assert_eq!(reasons(&events, contact)[0], EndReason::Transferred);
    assert!(events.iter().any(|event| event.contact == contact && matches!(event.data, Data::ContactLinked(_))));
    // sound that was opened goes on while the event socket is cut, and is opened again 4 s later at most
    assert_heard_but_for(4_000 + 1_500, &events, contact, 2);
    assert_both_agents_heard(folder.path(), contact, 5);
    let mut pops: Vec<_> = events
        .iter()
        .filter_map(|event| match &event.data {
            Data::ScreenPop(pop) if event.contact == contact => Some((pop.popid, pop.revision)),
            _ => None,
        })
        .collect();
    let all = pops.len();
    pops.sort_unstable();
    pops.dedup();
    assert_eq!(pops.len(), all, "no pop twice");
}

//! What is known before a call, and what goes along with a caller who is passed on to somebody whom the bridge does not hear.

use std::path::Path;
use std::time::Duration;

use kakehashi::call::ContactId;
use kakehashi::events::{ContactContext, Data, Event, Handover, HandoverKind, ScreenPop};
use serde_json::{Value, json};

use crate::bridge::{Bridge, config, config_in, wait_for};
use crate::judge::received;
use crate::lab::{finished, lab, scenario};
use crate::panel::{is_open, picture, picture_of};
use crate::pause::post;
use crate::receiver::{PATIENCE, Receiver};
use crate::transfer::contact_of;
use crate::whole::{play, who};

/// Seconds between two steps: time for the first texts and a mark before the caller is passed on.
const TALK_S: f32 = 20.0;
/// Only a failing test waits that long.
const CALL: Duration = Duration::from_secs(120);
const DIRECTORY: &str = "extension,agent,name,department,tier\n2001,yamada,山田,窓口,2\n3001,sato,佐藤,区役所,3\n";

fn answer_of((status, body): (String, String), wanted: &str) -> Value {
    assert_eq!(status, wanted, "{body}");
    serde_json::from_str(&body).unwrap_or(Value::Null)
}

fn contexts(events: &[Event]) -> Vec<&ContactContext> {
    let contexts = events.iter().filter_map(|event| match &event.data {
        Data::ContactContext(context) => Some(context),
        _ => None,
    });
    contexts.collect()
}

pub(crate) fn packets(events: &[Event], contact: ContactId) -> Vec<&Handover> {
    let mut own: Vec<&Event> = events.iter().filter(|event| event.contact == contact).collect();
    own.sort_by_key(|event| event.sequence);
    own.dedup_by_key(|event| event.id);
    let packets = own.into_iter().filter_map(|event| match &event.data {
        Data::ContactHandover(packet) => Some(&**packet),
        _ => None,
    });
    packets.collect()
}

/// The pops of one person in one contact, in order of their revisions.
fn pops<'a>(events: &'a [Event], contact: ContactId, extension: &str) -> Vec<&'a ScreenPop> {
    let own = events.iter().filter(|event| event.contact == contact);
    let pops = own.filter_map(|event| match &event.data {
        Data::ScreenPop(pop) if pop.agent.extension == extension => Some(pop),
        _ => None,
    });
    let mut pops: Vec<&ScreenPop> = pops.collect();
    pops.sort_by_key(|pop| pop.revision);
    pops
}

#[test]
#[ignore = "needs the lab: make lab"]
fn a_context_that_was_posted_before_the_ring_is_in_the_first_pop() {
    let folder = tempfile::tempdir().unwrap();
    let call = play(folder.path(), |bridge, _| {
        let context = json!({"reason": "住民票の写しの請求", "citizen": "ref-0815", "slots": {"通数": "2通", "続柄": "本人"},
            "page": {"url": "https://portal.example.jp/juminhyo", "title": "住民票の写し"}, "chat": "https://chat.example.jp/c/17"});
        let body = json!({"number": "06-0000-1234", "key": "form-1", "context": context}).to_string();
        let first = answer_of(post(bridge, "/v1/context", &body), "201");
        assert_eq!(answer_of(post(bridge, "/v1/context", &body), "200"), first, "twice is once");
        let ringing = picture(bridge, "panel-why", &["着信中", "なぜ（事前の情報）", "住民票の写しの請求", "2通"]);
        wait_for("the browser has opened the page", PATIENCE, || is_open(bridge.panel()).then_some(()));
        let call = lab(&["call", "6001", "--who", &who(), "--ring-s", "8", "--talk-s", "14"]);
        let (mut browser, text) = ringing;
        assert!(browser.wait().unwrap().success(), "see above");
        let text = std::fs::read_to_string(text).unwrap();
        assert!(text.contains("チャットを開く") && text.contains("ref-0815"), "{text}");
        call
    });
    let events: Vec<Event> = call.events.iter().map(|received| received.event.clone()).collect();
    let first = pops(&events, call.contact, "2001")[0];
    assert_eq!((first.revision, first.context.len()), (0, 1));
    let told = contexts(&events);
    assert_eq!(told[0].known.reason.as_deref(), Some("住民票の写しの請求"));
    assert_eq!((told[0].from.as_str(), &first.context[0]), ("panel", told[0]));
    for secret in ["住民票の写し", "ref-0815", "portal.example", "chat.example", "続柄"] {
        assert!(!call.log.contains(secret), "{secret} is in the log");
    }
}

/// Plays a scenario in which the agent marks what was said first, writes a note and then passes the caller on to `unheard`.
fn passed_on(folder: &Path, name: &str, unheard: &str, contacts: usize) -> Vec<Event> {
    let receiver = Receiver::start(folder, &[]);
    std::fs::write(folder.join("directory.csv"), DIRECTORY).unwrap();
    let own = folder.join("directory.csv").display().to_string();
    let outside = format!("own_endpoints = [\"bridge\"]\noutside_endpoints = [\"{unheard}\"]");
    let config = config(folder, &receiver.url).replace("samples/directory.csv", &own);
    std::fs::write(config_in(folder), config.replace("own_endpoints = [\"bridge\"]", &outside)).unwrap();
    let bridge = Bridge::again(folder);
    let call = scenario(name, TALK_S);
    let events = || received(&receiver.accepted()).into_iter().map(|received| received.event).collect::<Vec<Event>>();
    let (contact, utterance) = wait_for("the first text is there", PATIENCE, || {
        events().iter().find_map(|event| match &event.data {
            Data::TranscriptFinal(text) => Some((event.contact, text.utterance.clone())),
            _ => None,
        })
    });
    let context = json!({"contact": contact, "context": {"reason": "転入の手続き"}}).to_string();
    answer_of(post(&bridge, "/v1/context", &context), "201");
    let mark = json!({"utterance": utterance, "note": "ここから"}).to_string();
    assert!(answer_of(post(&bridge, &format!("/v1/contacts/{contact}/marks"), &mark), "200")["mark"].is_string());
    let note = json!({"text": "本人確認は済み"}).to_string();
    answer_of(post(&bridge, &format!("/v1/contacts/{contact}/note"), &note), "204");
    if unheard == "3001" {
        let words = ["引き継ぎ", "本人確認は済み", "転入の手続き", "山田"];
        let (mut browser, _) = picture_of(&bridge, "panel-handover", "3001", &words);
        assert!(browser.wait().unwrap().success(), "see above");
    }
    finished(call);
    wait_for("every contact has its document", CALL, || {
        let events = events();
        let documents = events.iter().filter(|event| matches!(&event.data, Data::TranscriptDocument(d) if d.complete));
        (documents.count() >= contacts).then_some(())
    });
    bridge.stop();
    events()
}

/// The packet says who had the caller, why she calls, what was said and what was marked.
fn assert_whole(packet: &Handover, kind: HandoverKind) {
    assert_eq!((packet.kind, packet.withheld), (kind, false));
    assert_eq!((packet.reason.as_deref(), packet.note.as_deref()), (Some("転入の手続き"), Some("本人確認は済み")));
    assert_eq!((packet.context.len(), packet.marks.len()), (1, 1));
    assert_eq!(packet.marks[0].note.as_deref(), Some("ここから"));
    let texts: Vec<&str> = packet.turns.iter().filter_map(|turn| turn.text.as_deref()).collect();
    println!("{kind:?} {} pending {} {texts:?} {:?}", packet.revision, packet.pending, packet.terms);
    assert!(!texts.is_empty() && packet.marks[0].text.as_deref().is_some_and(|text| texts.contains(&text)));
    let legs: Vec<_> = packet.legs.iter().map(|leg| (leg.agent.extension.as_str(), leg.answered.is_some())).collect();
    assert_eq!(legs, [("2001", true)]);
    assert_eq!(packet.from_agent.as_ref().and_then(|agent| agent.id.as_deref()), Some("yamada"));
}

/// Nothing was heard on the last leg.
fn assert_unheard(events: &[Event], contact: ContactId) {
    let document = events.iter().rev().find_map(|event| match &event.data {
        Data::TranscriptDocument(document) if event.contact == contact => Some(document),
        _ => None,
    });
    let last = document.unwrap().coverage.iter().rev().take(2);
    assert!(last.clone().all(|row| row.coverage.duration > 0), "it was answered");
    assert!(last.clone().any(|row| row.coverage.unobserved == row.coverage.duration), "{:?}", last.collect::<Vec<_>>());
}

#[test]
#[ignore = "needs the lab: make lab"]
fn a_blind_transfer_to_a_telephone_that_is_not_heard_carries_what_was_said() {
    let folder = tempfile::tempdir().unwrap();
    let events = passed_on(folder.path(), "blind_refer", "3001", 1);
    let contact = contact_of(&events, "6001");
    let packets = packets(&events, contact);
    assert_whole(packets.last().unwrap(), HandoverKind::Blind);
    assert_eq!(packets.last().unwrap().target.as_deref(), Some("3001"));
    let pop = pops(&events, contact, "3001")[0];
    let shown = pop.handover.as_ref().expect("the pop carries it");
    assert_eq!(pop.revision, 0);
    assert_whole(shown, HandoverKind::Blind);
    assert_eq!(shown.to_agent.as_ref().and_then(|agent| agent.id.as_deref()), Some("sato"));
    assert_unheard(&events, contact);
}

#[test]
#[ignore = "needs the lab: make lab"]
fn a_blind_transfer_to_an_outside_number_tells_the_crm_what_was_said() {
    let folder = tempfile::tempdir().unwrap();
    let events = passed_on(folder.path(), "blind_outside", "outside", 1);
    let contact = contact_of(&events, "6001");
    let packet = *packets(&events, contact).last().unwrap();
    assert_whole(packet, HandoverKind::Blind);
    assert_eq!(packet.target.as_deref(), Some("0663621234"));
    assert_unheard(&events, contact);
}

#[test]
#[ignore = "needs the lab: make lab"]
fn whoever_is_asked_and_then_takes_over_gets_what_was_said() {
    let folder = tempfile::tempdir().unwrap();
    let events = passed_on(folder.path(), "attended_refer", "3001", 2);
    let (contact, consultation) = (contact_of(&events, "6001"), contact_of(&events, "3001"));
    let pop = pops(&events, consultation, "3001")[0];
    let asked = pop.handover.as_ref().expect("the pop of the consultation carries it");
    assert_whole(asked, HandoverKind::Consultation);
    let packets = packets(&events, contact);
    let kinds: Vec<HandoverKind> = packets.iter().map(|packet| packet.kind).collect();
    assert_eq!(packets[0].consultation, Some(consultation), "{kinds:?}");
    assert_whole(packets.last().unwrap(), HandoverKind::Attended);
    let pop = *pops(&events, contact, "3001").last().unwrap();
    assert_whole(pop.handover.as_ref().unwrap(), HandoverKind::Attended);
    assert_unheard(&events, contact);
}

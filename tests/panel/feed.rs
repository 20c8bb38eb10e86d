//! The feed by itself: resume, reset, slow clients, bounds, who sees what.

use kakehashi::call::Tier;
use kakehashi::events::{Data, EndReason, LegRecord, LookUp, WithdrawReason};
use kakehashi::panel::feed::{Feed, Filter, Limits, Message, Subscriber, render};
use kakehashi::pbx::Speaker;

use crate::events::{Call, START, agent, number};

const LIMITS: Limits = Limits { events: 64, bytes: 1 << 20, contacts: 8, turns: 10, ended: 2 };

fn call(n: u128) -> Call {
    Call::new(n, START, number("+819012345678"))
}

fn publish(feed: &mut Feed, event: &kakehashi::events::Event) {
    feed.publish(event, render(event));
}

fn extension(text: &str) -> Filter {
    Filter { extension: Some(text.into()), agent: None }
}

/// Everything the client gets now, one word each.
fn read(feed: &Feed, client: &mut Subscriber) -> Vec<String> {
    std::iter::from_fn(|| feed.next(client)).map(|message| word(&message)).collect()
}

fn word(message: &Message) -> String {
    match message {
        Message::Reset { reason, contacts } => format!("reset {reason:?} {contacts}"),
        Message::Contact { view, .. } => format!("contact {}", view.events.len()),
        Message::Synced { .. } => "synced".into(),
        Message::Event { body, .. } => {
            let json: serde_json::Value = serde_json::from_str(body).unwrap();
            json["type"].as_str().unwrap().trim_start_matches("kakehashi.").to_owned()
        }
    }
}

fn last_id(messages: &[Message]) -> String {
    let mut ids = messages.iter().filter_map(|message| match message {
        Message::Event { id, .. } | Message::Synced { id } => Some(id.to_string()),
        Message::Contact { id, .. } => id.map(|id| id.to_string()),
        Message::Reset { .. } => None,
    });
    ids.next_back().unwrap()
}

#[test]
fn a_late_joiner_gets_the_pop_the_legs_and_the_text_so_far() {
    let mut feed = Feed::new(7, LIMITS);
    let (call, sato) = (call(1), agent("201", "佐藤"));
    publish(&mut feed, &call.queued(0));
    publish(&mut feed, &call.ringing(900, 1, &sato));
    publish(&mut feed, &call.pop(900, 1, &sato, LookUp::Pending, vec![]));
    publish(&mut feed, &call.pop(1_100, 1, &sato, LookUp::Done, vec![]));
    publish(&mut feed, &call.answered(4_000, 1, &sato));
    publish(&mut feed, &call.turn(5_000, Speaker::Agent, 0, "お電話ありがとうございます"));
    let mut client = feed.subscribe(Filter::default(), None);
    // the first revision of the pop is replaced by the second
    assert_eq!(read(&feed, &mut client), ["reset Start 1", "contact 5", "synced"]);
    publish(&mut feed, &call.turn(8_000, Speaker::Caller, 0, "すみません"));
    assert_eq!(read(&feed, &mut client), ["transcript.final.v1"]);
}

#[test]
fn of_what_is_being_said_only_the_newest_is_kept_and_nothing_once_it_is_final() {
    let mut feed = Feed::new(7, LIMITS);
    let (call, sato) = (call(1), agent("201", "佐藤"));
    publish(&mut feed, &call.ringing(900, 1, &sato));
    publish(&mut feed, &call.pop(900, 1, &sato, LookUp::Done, vec![]));
    publish(&mut feed, &call.answered(4_000, 1, &sato));
    let mut member = feed.subscribe(extension("201"), Some(&feed.newest().to_string()));
    let mut other = feed.subscribe(extension("202"), Some(&feed.newest().to_string()));
    publish(&mut feed, &call.partial(5_000, Speaker::Caller, 0, 1, ["", "転入届"]));
    publish(&mut feed, &call.partial(5_000, Speaker::Caller, 0, 2, ["転入届の", "けん"]));
    publish(&mut feed, &call.partial(6_000, Speaker::Agent, 0, 1, ["", "はい"]));
    assert_eq!(read(&feed, &mut member), ["transcript.partial.v1"; 3]);
    assert!(read(&feed, &mut other).is_empty(), "not the text of somebody else's call");
    let kept = |feed: &Feed| {
        let events = feed.snapshot(&extension("201"))[0].events.clone();
        events
            .iter()
            .filter(|body| body.contains("transcript.partial"))
            .map(|body| body.to_string())
            .collect::<Vec<_>>()
    };
    let now = kept(&feed);
    assert!(now.len() == 2 && now[0].contains("けん") && now[1].contains("はい"), "{now:?}");
    publish(&mut feed, &call.turn(5_000, Speaker::Caller, 0, "転入届の件です"));
    publish(&mut feed, &call.partial(6_000, Speaker::Agent, 0, 2, ["", ""]));
    assert!(kept(&feed).is_empty(), "one is final, the other was withdrawn");
    publish(&mut feed, &call.partial(9_000, Speaker::Agent, 1, 1, ["", "承知"]));
    assert_eq!(kept(&feed).len(), 1);
    publish(&mut feed, &document(&call));
    assert!(kept(&feed).is_empty(), "the document has everything");
}

/// The document of a call without turns.
fn document(call: &Call) -> kakehashi::events::Event {
    let (turns, coverage, pauses) = (Vec::new(), Vec::new(), Vec::new());
    let data = kakehashi::events::TranscriptDocument { revision: 1, turns, coverage, complete: true, pauses };
    call.event(30_000, None, Data::TranscriptDocument(data))
}

#[test]
fn a_client_resumes_where_it_was() {
    let mut feed = Feed::new(7, LIMITS);
    let call = call(1);
    publish(&mut feed, &call.queued(0));
    let mut client = feed.subscribe(Filter::default(), None);
    let seen: Vec<Message> = std::iter::from_fn(|| feed.next(&mut client)).collect();
    publish(&mut feed, &call.turn(1_000, Speaker::Agent, 0, "一"));
    publish(&mut feed, &call.turn(2_000, Speaker::Agent, 1, "二"));
    let mut again = feed.subscribe(Filter::default(), Some(&last_id(&seen)));
    assert_eq!(read(&feed, &mut again), ["transcript.final.v1", "transcript.final.v1"]);
    assert!(feed.next(&mut again).is_none());
}

#[test]
fn an_id_that_is_too_old_or_from_another_run_is_answered_by_a_reset() {
    let mut feed = Feed::new(7, LIMITS);
    let call = call(1);
    for n in 0..100 {
        publish(&mut feed, &call.turn(1_000, Speaker::Agent, n, "はい"));
    }
    let reset = |last: &str| {
        let mut client = feed.subscribe(Filter::default(), Some(last));
        word(&feed.next(&mut client).unwrap())
    };
    assert_eq!(reset("00000007-3"), "reset TooOld 1");
    assert_eq!(reset("00000008-99"), "reset Unknown 1", "the bridge was restarted");
    assert_eq!(reset("00000007-101"), "reset Unknown 1", "an id that was never given");
    assert_eq!(reset("nonsense"), "reset Unknown 1");
    assert_eq!(reset("00000007-18446744073709551615"), "reset Unknown 1");
    assert_eq!(reset("00000007-99"), "transcript.final.v1");
}

#[test]
fn a_slow_client_is_told_to_resync_and_costs_the_others_nothing() {
    let mut feed = Feed::new(7, LIMITS);
    let call = call(1);
    publish(&mut feed, &call.queued(0));
    let mut slow = feed.subscribe(Filter::default(), None);
    let mut quick = feed.subscribe(Filter::default(), None);
    read(&feed, &mut slow);
    read(&feed, &mut quick);
    let mut taken = 0;
    for n in 0..500 {
        publish(&mut feed, &call.turn(1_000, Speaker::Agent, n, "はい"));
        taken += read(&feed, &mut quick).len();
    }
    assert_eq!(taken, 500);
    // queued + the last ten turns
    assert_eq!(read(&feed, &mut slow), ["reset Behind 1", "contact 11", "synced"]);
}

#[test]
fn a_client_that_stops_in_the_middle_of_a_reset_starts_over() {
    let mut feed = Feed::new(7, LIMITS);
    for n in 0..5 {
        publish(&mut feed, &call(n).queued(0));
    }
    let mut client = feed.subscribe(Filter::default(), None);
    assert_eq!(word(&feed.next(&mut client).unwrap()), "reset Start 5");
    assert_eq!(word(&feed.next(&mut client).unwrap()), "contact 1");
    for n in 0..100 {
        publish(&mut feed, &call(0).turn(1_000, Speaker::Agent, n, "はい"));
    }
    let rest = read(&feed, &mut client);
    assert_eq!(rest.iter().filter(|word| word.starts_with("reset Behind")).count(), 1, "{rest:?}");
    assert_eq!(rest.last().unwrap(), "synced");
}

#[test]
fn older_turns_are_left_out_and_said_to_be() {
    let mut feed = Feed::new(7, LIMITS);
    let call = call(1);
    publish(&mut feed, &call.queued(0));
    for n in 0..25 {
        publish(&mut feed, &call.turn(u64::from(n) * 1_000, Speaker::Caller, n, "はい"));
    }
    let views = feed.snapshot(&Filter::default());
    assert_eq!((views[0].omitted_turns, views[0].events.len()), (15, 11));
    let json: serde_json::Value = serde_json::from_str(&views[0].json()).unwrap();
    assert_eq!(json["omitted_turns"], 15);
    assert_eq!(json["events"][0]["type"], "kakehashi.call.queued.v1", "the event that says who calls stays");
}

#[test]
fn memory_is_bounded_whatever_comes() {
    let limits = Limits { bytes: 256 * 1024, ..LIMITS };
    let mut feed = Feed::new(7, limits);
    let long = "長".repeat(10_000);
    for n in 0..200 {
        let call = call(n);
        for turn in 0..5 {
            publish(&mut feed, &call.turn(1_000, Speaker::Caller, turn, &long));
        }
        for leg in 0..300 {
            publish(&mut feed, &call.ringing(1_000, leg, &agent("201", "佐藤")));
        }
    }
    let views = feed.snapshot(&Filter::default());
    assert_eq!(views.len(), LIMITS.contacts);
    let bytes: usize = views.iter().map(|view| view.json().len()).sum();
    assert!(bytes < LIMITS.contacts * 640 * 1024, "{bytes}");
    assert!(views.iter().all(|view| view.omitted_events > 0));
    // the ring holds no more than its bytes: a client that missed them all is reset
    let mut client = feed.subscribe(Filter::default(), Some("00000007-1"));
    assert!(word(&feed.next(&mut client).unwrap()).starts_with("reset TooOld"));
}

#[test]
fn ended_contacts_leave_the_snapshot_but_the_last_ones() {
    let mut feed = Feed::new(7, LIMITS);
    for n in 0..6 {
        publish(&mut feed, &call(n).queued(0));
        publish(&mut feed, &call(n).ended(9_000, EndReason::CallerHangup));
    }
    publish(&mut feed, &call(10).queued(0));
    assert_eq!(feed.snapshot(&Filter::default()).len(), 2 + 1);
}

#[test]
fn running_contacts_are_left_out_last() {
    let mut feed = Feed::new(7, LIMITS);
    publish(&mut feed, &call(0).queued(0));
    publish(&mut feed, &call(99).queued(0));
    publish(&mut feed, &call(99).ended(9_000, EndReason::CallerHangup));
    for n in 1..8 {
        publish(&mut feed, &call(n).queued(0));
    }
    let contacts: Vec<_> = feed.snapshot(&Filter::default()).into_iter().map(|view| view.contact).collect();
    assert_eq!(contacts.len(), 8);
    assert!(contacts.contains(&call(0).contact) && !contacts.contains(&call(99).contact));
}

#[test]
fn an_operator_sees_the_own_pop_and_the_text_only_after_answering() {
    let mut feed = Feed::new(7, LIMITS);
    let (call, sato, suzuki) = (call(1), agent("201", "佐藤"), agent("202", "鈴木"));
    let mut of_sato = feed.subscribe(extension("201"), None);
    let mut of_suzuki = feed.subscribe(Filter { extension: None, agent: Some("agent-202".into()) }, None);
    read(&feed, &mut of_sato);
    read(&feed, &mut of_suzuki);
    publish(&mut feed, &call.queued(0));
    publish(&mut feed, &call.pop(900, 1, &sato, LookUp::Pending, vec![]));
    publish(&mut feed, &call.pop(900, 2, &suzuki, LookUp::Pending, vec![]));
    // the pop comes with what was there before: the queue
    assert_eq!(read(&feed, &mut of_sato), ["contact 2"]);
    assert_eq!(read(&feed, &mut of_suzuki), ["contact 2"]);
    publish(&mut feed, &call.answered(4_000, 1, &sato));
    publish(&mut feed, &call.withdrawn(4_000, 2, &suzuki, WithdrawReason::AnsweredElsewhere));
    publish(&mut feed, &call.turn(5_000, Speaker::Agent, 0, "お電話ありがとうございます"));
    assert_eq!(read(&feed, &mut of_sato), ["contact 4", "transcript.final.v1"]);
    assert_eq!(read(&feed, &mut of_suzuki), ["screenpop.withdrawn.v1"]);
    assert_eq!(feed.snapshot(&extension("202")).len(), 0);
    assert_eq!(feed.snapshot(&extension("201"))[0].events.len(), 4);
}

#[test]
fn a_queue_that_is_committed_after_the_pop_still_reaches_the_agent() {
    let mut feed = Feed::new(7, LIMITS);
    let (call, sato) = (call(1), agent("201", "佐藤"));
    publish(&mut feed, &call.pop(900, 1, &sato, LookUp::Pending, vec![]));
    let mut client = feed.subscribe(extension("201"), None);
    assert_eq!(read(&feed, &mut client), ["reset Start 1", "contact 1", "synced"]);
    publish(&mut feed, &call.queued(0));
    assert_eq!(read(&feed, &mut client), ["call.queued.v1"]);
}

#[test]
fn after_a_restart_the_end_of_the_call_still_reaches_the_agent_who_had_it() {
    let mut feed = Feed::new(8, LIMITS);
    let (call, sato) = (call(1), agent("201", "佐藤"));
    let mut client = feed.subscribe(extension("201"), Some("00000007-55"));
    assert_eq!(read(&feed, &mut client), ["reset Unknown 0", "synced"]);
    let leg = |n: u128, who: &str, answered| LegRecord {
        leg: call.leg(n),
        agent: agent(who, "担当"),
        tier: Tier::Second,
        queue: None,
        previous_leg: None,
        offered: call.start,
        ringing: None,
        answered,
        ended: None,
        reason: Some(EndReason::BridgeRestart),
    };
    let mut ended = call.ended(9_000, EndReason::BridgeRestart);
    let Data::CallEnded(end) = &mut ended.data else { unreachable!() };
    end.legs = vec![leg(1, &sato.extension, Some(call.start)), leg(2, "202", None)];
    publish(&mut feed, &ended);
    publish(&mut feed, &call.turn(5_000, Speaker::Caller, 0, "後から認識された発話"));
    assert_eq!(read(&feed, &mut client), ["call.ended.v1", "transcript.final.v1"]);
    let mut other = feed.subscribe(extension("202"), Some("00000008-0"));
    assert!(read(&feed, &mut other).is_empty(), "the other telephone only rang");
}

#[test]
fn whoever_takes_a_transferred_call_gets_everything_said_so_far() {
    let mut feed = Feed::new(7, LIMITS);
    let (call, sato, yamada) = (call(1), agent("201", "佐藤"), agent("305", "山田"));
    let mut client = feed.subscribe(extension("305"), None);
    read(&feed, &mut client);
    publish(&mut feed, &call.answered(0, 1, &sato));
    for n in 0..3 {
        publish(&mut feed, &call.turn(1_000, Speaker::Caller, n, "転入の手続きです"));
    }
    assert!(read(&feed, &mut client).is_empty());
    publish(&mut feed, &call.pop(9_000, 2, &yamada, LookUp::Pending, vec![]));
    assert_eq!(read(&feed, &mut client), ["contact 1"], "the pop alone, before answering");
    publish(&mut feed, &call.answered(9_500, 2, &yamada));
    assert_eq!(read(&feed, &mut client), ["contact 6"], "two legs, three turns, the pop");
}

#[test]
fn an_event_beyond_the_size_is_shortened_and_says_so() {
    let mut feed = Feed::new(7, LIMITS);
    let call = call(1);
    publish(&mut feed, &call.turn(0, Speaker::Caller, 0, &"あ".repeat(40_000)));
    let mut client = feed.subscribe(Filter::default(), Some("00000007-0"));
    assert_eq!(read(&feed, &mut client), ["panel.oversize.v1"]);
}

#[test]
#[ignore = "prints a measurement: cargo test --test panel cost -- --ignored --nocapture"]
fn cost_of_publishing_with_many_calls_running() {
    let limits = kakehashi::panel::Settings::default().limits();
    let handle = kakehashi::panel::FeedHandle::new(limits).unwrap();
    let calls: Vec<Call> = (0..150).map(call).collect();
    let mut events = Vec::new();
    for n in 0..200 {
        for call in &calls {
            events.push(call.turn(
                n * 1_000,
                Speaker::Caller,
                n as u32,
                "国民健康保険の資格喪失届も、そこで出せますか。",
            ));
        }
    }
    let started = std::time::Instant::now();
    for event in &events {
        handle.publish(event);
    }
    let each = started.elapsed().as_nanos() as f64 / events.len() as f64 / 1_000.0;
    println!("{} finals of {} calls: {each:.2} µs each", events.len(), calls.len());
}

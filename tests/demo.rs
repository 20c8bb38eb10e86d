//! `kakehashi demo` as a process: the whole path offline. What it tells on standard output, its log at trace level does not hold; the text of what
//! is being said keeps its promises. `cargo test --test demo -- --nocapture` prints how soon it comes.
#![cfg(all(feature = "web", feature = "whisper"))]

#[path = "common/privacy.rs"]
mod privacy;

use std::process::Command;

use std::collections::BTreeMap;
use std::time::Duration;

use kakehashi::events::{Class, Data, Event, TranscriptPartial};
use kakehashi::pbx::Speaker;
use kakehashi::time::Wall;
use privacy::{CALLER, assert_spotless, secrets};

#[test]
fn the_demo_ends_by_itself_and_its_log_at_trace_level_holds_nothing_personal() {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_kakehashi"));
    demo.current_dir(env!("CARGO_MANIFEST_DIR")).args(["demo", "--json", "--log", "trace"]).env_remove("KAKEHASHI_LOG");
    let output = demo.output().unwrap();
    let (told, log) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{log}");
    let events: Vec<Event> = told.lines().map(|line| Event::from_json(line).unwrap()).collect();
    let texts: Vec<String> = events
        .iter()
        .filter_map(|event| match &event.data {
            Data::TranscriptFinal(text) => Some([text.text.clone(), text.text_raw.clone()]),
            Data::TranscriptPartial(text) => Some([text.stable.clone(), text.tail.clone()]),
            _ => None,
        })
        .flatten()
        // what a few characters long is stands in the log by chance
        .filter(|text| text.chars().count() > 3)
        .collect();
    assert!(told.contains(&CALLER[1..]) && told.contains("橋本 花子") && !texts.is_empty(), "{told}");
    assert_spotless(&log, &secrets(texts));
}

/// What was shown of one utterance.
#[derive(Default)]
struct Said<'a> {
    partials: Vec<(&'a Event, &'a TranscriptPartial)>,
    told: Option<&'a Event>,
}

#[test]
fn what_is_being_said_is_shown_settled_text_stays_and_the_final_has_the_last_word() {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_kakehashi"));
    demo.current_dir(env!("CARGO_MANIFEST_DIR")).args(["demo", "--json"]).env_remove("KAKEHASHI_LOG");
    let output = demo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told = String::from_utf8(output.stdout).unwrap();
    let events: Vec<Event> = told.lines().map(|line| Event::from_json(line).unwrap()).collect();
    let mut said: BTreeMap<&str, Said<'_>> = BTreeMap::new();
    for event in &events {
        match &event.data {
            Data::TranscriptPartial(partial) => {
                assert!(event.data.class() == Class::Realtime && event.expires > Some(event.time));
                said.entry(&partial.utterance).or_default().partials.push((event, partial));
            }
            Data::TranscriptFinal(text) => said.entry(&text.utterance).or_default().told = Some(event),
            _ => {}
        }
    }
    let (mut revisions, mut settled, mut erased, mut edited) = (0, 0, 0, 0);
    for one in said.values_mut() {
        one.partials.sort_by_key(|(_, partial)| partial.revision);
        let event = one.told.expect("each has its final, or was withdrawn");
        let Data::TranscriptFinal(text) = &event.data else { unreachable!() };
        for pair in one.partials.windows(2) {
            let kept = pair[1].1.stable.starts_with(&pair[0].1.stable);
            erased += if kept { 0 } else { pair[0].1.stable.chars().count() };
        }
        let Some((last, partial)) = one.partials.last() else { continue };
        assert!(last.time <= event.time, "nothing comes after the final");
        assert_eq!((partial.speaker, partial.leg, partial.start), (text.speaker, text.leg, text.start));
        revisions += one.partials.len();
        settled += bare(&partial.stable).chars().count();
        edited += if bare(&text.text).starts_with(&bare(&partial.stable)) { 0 } else { 1 };
    }
    assert_eq!(erased, 0, "settled characters were taken back");
    let shown = said.values().filter(|one| !one.partials.is_empty()).count();
    // how many is a matter of how busy the machine is: partials make way; what must be shown when is tested in virtual time
    assert!(shown > 0 && settled > 0, "{shown} of {} were shown, {settled} characters", said.len());
    println!("{} utterances, {shown} with partials, {revisions} revisions", said.len());
    println!(
        "{settled} characters settled, {erased} of them erased; {edited} finals do not begin with the settled text"
    );
    report(&said);
}

fn bare(text: &str) -> String {
    text.chars().filter(|sign| sign.is_alphanumeric()).collect()
}

/// How long after what was said something was told of it, by the times of the events and the labels of the call.
fn report(said: &BTreeMap<&str, Said<'_>>) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/samples/calls/call2.json");
    let labels: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let (mut first, mut last) = (Vec::new(), Vec::new());
    for one in said.values() {
        let Some(event) = one.told else { continue };
        let Data::TranscriptFinal(text) = &event.data else { continue };
        let origin = text.start.0 - text.start_ms as i64 * 1_000;
        let at = |seconds: f64| Wall(origin + (seconds * 1e6) as i64);
        let name = if text.speaker == Speaker::Caller { "caller" } else { "agent" };
        let own = labels["utterances"].as_array().unwrap().iter().filter(|label| label["channel"] == name);
        let times = own.map(|label| (at(label["start"].as_f64().unwrap()), at(label["end"].as_f64().unwrap())));
        for (began, ended) in times {
            let near = |one: Wall, other: Wall| one.since(other).max(other.since(one)) < Duration::from_millis(500);
            if let Some((event, _)) = one.partials.first().filter(|_| near(text.start, began)) {
                first.push(event.time.since(began));
            }
            if near(text.end, ended) {
                last.push(event.time.since(ended));
            }
        }
    }
    for (name, mut times) in [("first partial after the speech began", first), ("final after the speech ended", last)] {
        times.sort();
        let at = |share: usize| times.get((times.len() * share / 100).min(times.len().saturating_sub(1)));
        println!("{name}: n={}, p50 {:?}, p95 {:?}", times.len(), at(50), at(95));
    }
}

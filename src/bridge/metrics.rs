//! What `/metrics` tells, in the text format of Prometheus (version 0.0.4): counts and times, nothing of anybody.

use std::fmt::Write;

use super::deliver::{Figures, Health};
use super::now;
use super::start::Reloads;
use super::workers::Counters;
use crate::outbox::store::{Outbox, Traffic};

/// Everything that is counted: recognition and readings of the configuration, where there are any, and delivery.
pub fn text(
    recognition: Option<&Counters>,
    delivery: &[Figures],
    outbox: &Outbox,
    reloads: Option<&Reloads>,
) -> String {
    let mut text = recognition.map(recognition_text).unwrap_or_default();
    delivery_text(&mut text, delivery);
    reloads.into_iter().for_each(|reloads| config_text(&mut text, reloads));
    match outbox.set_aside() {
        Ok(set_aside) => set_aside_text(&mut text, &set_aside),
        Err(error) => tracing::error!(%error, "dead letters cannot be counted"),
    }
    text
}

/// One family: its samples are the labels and the value of each.
fn family(text: &mut String, name: &str, kind: &str, help: &str, samples: impl IntoIterator<Item = (String, f64)>) {
    // writing to a string does not fail
    let _ = writeln!(text, "# HELP kakehashi_{name} {help}\n# TYPE kakehashi_{name} {kind}");
    for (labels, value) in samples {
        let _ = writeln!(text, "kakehashi_{name}{{{labels}}} {value}");
    }
}

/// For each endpoint: left from before + accepted + replayed = delivered + dead letters + dropped + pending; live = delivered + dropped + under way.
fn delivery_text(text: &mut String, delivery: &[Figures]) {
    type Read = fn(&Figures) -> u64;
    let all: [(&str, &str, &str, Read); 11] = [
        ("deliveries_left_total", "counter", "Deliveries left from before the start.", |of| of.taken_up),
        ("deliveries_accepted_total", "counter", "Deliveries of events accepted since the start.", |of| of.accepted),
        ("deliveries_replayed_total", "counter", "Dead letters that were sent again.", |of| of.replayed),
        ("deliveries_delivered_total", "counter", "Deliveries that arrived.", |of| of.delivered),
        ("deliveries_dead_total", "counter", "Deliveries that became dead letters.", |of| of.died),
        ("deliveries_dropped_total", "counter", "Deliveries that came too late to be of use.", |of| of.dropped),
        ("deliveries_pending", "gauge", "Deliveries that wait.", Figures::pending),
        ("delivery_attempts_total", "counter", "Attempts to deliver.", |of| of.attempts),
        ("live_events_total", "counter", "Pops and running texts that were to be sent.", |of| of.live),
        ("live_events_delivered_total", "counter", "Pops and running texts that arrived.", |of| of.live_delivered),
        ("live_events_dropped_total", "counter", "Pops and running texts that were dropped.", |of| of.live_dropped),
    ];
    let label = |of: &Figures| format!("endpoint=\"{}\"", escaped(&of.endpoint));
    for (name, kind, help, read) in all {
        family(text, name, kind, help, delivery.iter().map(|of| (label(of), read(of) as f64)));
    }
    let age = |of: &Figures| of.oldest.map_or(0.0, |time| now().wall.since(time).as_secs_f64());
    let oldest = delivery.iter().map(|of| (label(of), age(of)));
    family(text, "deliveries_oldest_seconds", "gauge", "Age of the oldest event that waits.", oldest);
    let states = delivery.iter().flat_map(|of| {
        Health::ALL.map(|state| (format!("{},state=\"{}\"", label(of), state.name()), f64::from(of.health == state)))
    });
    family(text, "endpoint_state", "gauge", "1 for the state that the endpoint is in.", states);
    let links = || delivery.iter().filter_map(|of| Some((label(of), of.link?)));
    let up = links().map(|(label, link)| (label, f64::from(link.up)));
    family(text, "link_up", "gauge", "1 while there is a link to the relay.", up);
    let left = links().filter_map(|(label, link)| Some((label, link.left? as f64)));
    family(text, "link_bytes_left", "gauge", "Bytes of the day that the link to the relay has left.", left);
    type Part = fn(&Traffic) -> u64;
    let links: [(&str, &str, Part); 3] = [
        ("link_requests_total", "HTTP requests to the endpoint.", |of| of.requests),
        (
            "link_bytes_out_total",
            "Bytes sent to the endpoint (HTTP, without TLS and TCP; to a relay with TLS).",
            |of| of.bytes_out,
        ),
        ("link_bytes_in_total", "Bytes received from the endpoint (counted the same way).", |of| of.bytes_in),
    ];
    for (name, help, read) in links {
        let samples = delivery.iter().flat_map(|of| {
            of.traffic.map(|(whom, sums)| (format!("{},use=\"{}\"", label(of), whom.name()), read(&sums) as f64))
        });
        family(text, name, "counter", help, samples);
    }
}

/// Readings of the configuration.
fn config_text(text: &mut String, reloads: &Reloads) {
    let results = reloads.results().map(|(result, count)| (format!("result=\"{result}\""), count as f64));
    family(text, "config_reloads_total", "counter", "Times that the configuration was read again.", results);
    let all = [
        (
            "config_last_reload_success_timestamp_seconds",
            "When the configuration in force was read, in seconds since 1970.",
            reloads.last_good().0 as f64 / 1e6,
        ),
        (
            "config_keys_need_restart",
            "Keys of the configuration file that differ from what is in force until the next start.",
            reloads.need_restart() as f64,
        ),
    ];
    for (name, help, value) in all {
        // writing to a string does not fail
        let _ = writeln!(text, "# HELP kakehashi_{name} {help}\n# TYPE kakehashi_{name} gauge\nkakehashi_{name} {value}");
    }
}

/// The far end of a link: what came over it.
pub fn relay_text(text: &mut String, of: super::relay::Figures) {
    let all = [
        ("relay_link_up", "gauge", "1 while there is a link to the bridge.", u64::from(of.up)),
        ("relay_links_total", "counter", "Links since the start.", of.links),
        ("relay_events_stored_total", "counter", "Record events that were stored.", of.stored),
        ("relay_events_again_total", "counter", "Record events that came again and were stored once.", of.again),
        ("relay_live_events_total", "counter", "Live events that went on at once.", of.live),
        ("relay_segments_total", "counter", "Segments of sound that were kept.", of.segments),
        ("relay_events_refused_total", "counter", "Events and segments that were not taken.", of.refused),
    ];
    for (name, kind, help, value) in all {
        // writing to a string does not fail
        let _ =
            writeln!(text, "# HELP kakehashi_{name} {help}\n# TYPE kakehashi_{name} {kind}\nkakehashi_{name} {value}");
    }
}

fn set_aside_text(text: &mut String, set_aside: &[(String, String, u64)]) {
    let samples = set_aside.iter().map(|(endpoint, status, count)| {
        (format!("endpoint=\"{}\",status=\"{}\"", escaped(endpoint), escaped(status)), *count as f64)
    });
    let help = "Dead letters in the store: those that wait for a person, are to be sent again, or were discarded.";
    family(text, "deliveries_set_aside", "gauge", help, samples);
}

/// A label's value. (Prometheus exposition format 0.0.4)
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// The recognisers' counters.
fn recognition_text(recognition: &Counters) -> String {
    let Counters {
        load,
        counts,
        behind_ms,
        decodes,
        failures,
        restarts,
        decode_ms,
        remote,
        machines,
        rejected,
        looped,
    } = recognition;
    let seconds = |ms: u64| ms as f64 / 1e3;
    let all: [(&str, &str, &str, f64); 17] = [
        ("waiting_jobs", "gauge", "Jobs that wait for a recogniser.", load.waiting as f64),
        ("waiting_seconds", "gauge", "Sound of the jobs that wait for a recogniser.", load.waiting_seconds),
        ("running_jobs", "gauge", "Jobs that are recognised now.", load.running as f64),
        ("behind_seconds", "gauge", "Age of the oldest final that waits for a recogniser.", seconds(*behind_ms)),
        (
            "longest_wait_seconds",
            "gauge",
            "The longest that a final has waited for a recogniser since the start.",
            seconds(counts.longest_wait_ms),
        ),
        ("decodes_total", "counter", "Finals and partials recognised.", *decodes as f64),
        (
            "remote_decodes_total",
            "counter",
            "Finals and partials recognised by the server, or workers, on other machines.",
            *remote as f64,
        ),
        (
            "remote_lost_total",
            "counter",
            "Times that a final went to another worker because its machine was gone.",
            counts.finals_lost as f64,
        ),
        ("remote_workers", "gauge", "Workers on other machines that live and fit.", *machines as f64),
        (
            "rejected_total",
            "counter",
            "Finals whose text was not believed and is left out.",
            rejected.iter().sum::<u64>() as f64,
        ),
        ("loops_total", "counter", "Finals of which a loop was taken out.", *looped as f64),
        ("decode_seconds_total", "counter", "Time spent on recognising.", seconds(*decode_ms)),
        ("failures_total", "counter", "Finals that failed twice.", *failures as f64),
        ("worker_restarts_total", "counter", "Worker processes that were replaced.", *restarts as f64),
        ("partials_total", "counter", "Partials that were begun.", counts.partials as f64),
        (
            "partials_dropped_total",
            "counter",
            "Partials that were replaced or refused before they began.",
            counts.partials_dropped as f64,
        ),
        (
            "partials_aborted_total",
            "counter",
            "Partials that were given up while they ran.",
            counts.partials_aborted as f64,
        ),
    ];
    let mut text = String::new();
    for (name, kind, help, value) in all {
        let name = format!("kakehashi_recognition_{name}");
        // writing to a string does not fail
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::budget::Use;

    #[test]
    fn every_line_is_a_comment_or_a_name_with_a_number() {
        let figures = Figures {
            endpoint: "a\"b".into(),
            taken_up: 2,
            accepted: 5,
            delivered: 4,
            died: 1,
            traffic: [(Use::Record, Traffic { requests: 6, ..Traffic::default() }), (Use::Live, Traffic::default())],
            ..Figures::default()
        };
        let mut text = recognition_text(&Counters { behind_ms: 61_500, decodes: 7, ..Counters::default() });
        delivery_text(&mut text, &[figures]);
        set_aside_text(&mut text, &[("crm".into(), "dead".into(), 3)]);
        for line in [
            "kakehashi_recognition_behind_seconds 61.5",
            "# TYPE kakehashi_recognition_decodes_total counter",
            "kakehashi_recognition_decodes_total 7",
            "kakehashi_deliveries_pending{endpoint=\"a\\\"b\"} 2",
            "kakehashi_endpoint_state{endpoint=\"a\\\"b\",state=\"up\"} 1",
            "kakehashi_link_requests_total{endpoint=\"a\\\"b\",use=\"record\"} 6",
            "kakehashi_deliveries_set_aside{endpoint=\"crm\",status=\"dead\"} 3",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        let values = text.lines().filter(|line| !line.starts_with('#'));
        for line in values {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let name = name.split('{').next().unwrap();
            assert!(name.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase()) && value.parse::<f64>().is_ok());
        }
    }
}

//! What is counted, in families: `/metrics` writes them in the text format of Prometheus (version 0.0.4), `telemetry` sends them by OTLP. Counts and
//! times, nothing of anybody.

use std::fmt::Write;

use super::deliver::{Figures, Health};
use super::now;
use super::start::Reloads;
use super::telemetry::Telemetry;
use super::workers::Counters;
use crate::outbox::store::{Outbox, Traffic};

/// A number that only grows.
pub const COUNTER: &str = "counter";
/// A number that goes up and down.
pub const GAUGE: &str = "gauge";

/// The labels of a sample.
pub type Labels = Vec<(&'static str, String)>;

/// Figures of one kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// Name, with `kakehashi_` in front.
    pub name: String,
    /// [`COUNTER`] or [`GAUGE`].
    pub kind: &'static str,
    /// What it is.
    pub help: &'static str,
    /// Labels and value of each.
    pub samples: Vec<(Labels, f64)>,
}

/// What is counted in a bridge, besides recognition.
pub struct Counted<'a> {
    /// By endpoint.
    pub delivery: &'a [Figures],
    /// For what was set aside.
    pub outbox: &'a Outbox,
    /// Readings of the configuration.
    pub reloads: &'a Reloads,
    /// Spans and reports.
    pub telemetry: &'a Telemetry,
}

/// Everything that a bridge counts: recognition, where there is any, delivery, readings of the configuration, telemetry.
pub fn of_bridge(recognition: Option<&Counters>, of: &Counted<'_>) -> Vec<Family> {
    let mut families = recognition.map(of_recognition).unwrap_or_default();
    families.extend(of_delivery(of.delivery));
    families.extend(of_config(of.reloads));
    families.extend(of_telemetry(of.telemetry));
    families.extend(of_set_aside(of.outbox));
    families
}

/// Everything that a relay counts.
pub fn of_relay(of: super::relay::Figures, delivery: &[Figures], outbox: &Outbox) -> Vec<Family> {
    let mut families = of_delivery(delivery);
    families.extend(of_set_aside(outbox));
    let all = [
        ("relay_link_up", GAUGE, "1 while there is a link to the bridge.", u64::from(of.up)),
        ("relay_links_total", COUNTER, "Links since the start.", of.links),
        ("relay_events_stored_total", COUNTER, "Record events that were stored.", of.stored),
        ("relay_events_again_total", COUNTER, "Record events that came again and were stored once.", of.again),
        ("relay_live_events_total", COUNTER, "Live events that went on at once.", of.live),
        ("relay_segments_total", COUNTER, "Segments of sound that were kept.", of.segments),
        ("relay_events_refused_total", COUNTER, "Events and segments that were not taken.", of.refused),
    ];
    families.extend(all.map(|(name, kind, help, value)| single(name, kind, help, value as f64)));
    families
}

/// Families as `/metrics` tells them.
pub fn text(families: &[Family]) -> String {
    let mut text = String::new();
    for Family { name, kind, help, samples } in families {
        // writing to a string does not fail
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in samples {
            let labels: Vec<String> =
                labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escaped(value))).collect();
            let _ = match labels.as_slice() {
                [] => writeln!(text, "{name} {value}"),
                labels => writeln!(text, "{name}{{{}}} {value}", labels.join(",")),
            };
        }
    }
    text
}

fn family(
    name: &str,
    kind: &'static str,
    help: &'static str,
    samples: impl IntoIterator<Item = (Labels, f64)>,
) -> Family {
    Family { name: format!("kakehashi_{name}"), kind, help, samples: samples.into_iter().collect() }
}

fn single(name: &str, kind: &'static str, help: &'static str, value: f64) -> Family {
    family(name, kind, help, [(Vec::new(), value)])
}

fn endpoint(of: &Figures) -> Labels {
    vec![("endpoint", of.endpoint.clone())]
}

fn and(mut labels: Labels, label: &'static str, value: &str) -> Labels {
    labels.push((label, value.into()));
    labels
}

/// For each endpoint: left from before + accepted + replayed = delivered + dead letters + dropped + pending; live = delivered + dropped + under way.
fn of_delivery(delivery: &[Figures]) -> Vec<Family> {
    type Read = fn(&Figures) -> u64;
    let all: [(&str, &'static str, &'static str, Read); 11] = [
        ("deliveries_left_total", COUNTER, "Deliveries left from before the start.", |of| of.taken_up),
        ("deliveries_accepted_total", COUNTER, "Deliveries of events accepted since the start.", |of| of.accepted),
        ("deliveries_replayed_total", COUNTER, "Dead letters that were sent again.", |of| of.replayed),
        ("deliveries_delivered_total", COUNTER, "Deliveries that arrived.", |of| of.delivered),
        ("deliveries_dead_total", COUNTER, "Deliveries that became dead letters.", |of| of.died),
        ("deliveries_dropped_total", COUNTER, "Deliveries that came too late to be of use.", |of| of.dropped),
        ("deliveries_pending", GAUGE, "Deliveries that wait.", Figures::pending),
        ("delivery_attempts_total", COUNTER, "Attempts to deliver.", |of| of.attempts),
        ("live_events_total", COUNTER, "Pops and running texts that were to be sent.", |of| of.live),
        ("live_events_delivered_total", COUNTER, "Pops and running texts that arrived.", |of| of.live_delivered),
        ("live_events_dropped_total", COUNTER, "Pops and running texts that were dropped.", |of| of.live_dropped),
    ];
    let mut families: Vec<Family> = Vec::new();
    for (name, kind, help, read) in all {
        families.push(family(name, kind, help, delivery.iter().map(|of| (endpoint(of), read(of) as f64))));
    }
    let age = |of: &Figures| of.oldest.map_or(0.0, |time| now().wall.since(time).as_secs_f64());
    let oldest = delivery.iter().map(|of| (endpoint(of), age(of)));
    families.push(family("deliveries_oldest_seconds", GAUGE, "Age of the oldest event that waits.", oldest));
    let states = delivery.iter().flat_map(|of| {
        Health::ALL.map(|state| (and(endpoint(of), "state", state.name()), f64::from(of.health == state)))
    });
    families.push(family("endpoint_state", GAUGE, "1 for the state that the endpoint is in.", states));
    let links = || delivery.iter().filter_map(|of| Some((endpoint(of), of.link?)));
    let up = links().map(|(label, link)| (label, f64::from(link.up)));
    families.push(family("link_up", GAUGE, "1 while there is a link to the relay.", up));
    let left = links().filter_map(|(label, link)| Some((label, link.left? as f64)));
    families.push(family("link_bytes_left", GAUGE, "Bytes of the day that the link to the relay has left.", left));
    type Part = fn(&Traffic) -> u64;
    let links: [(&str, &'static str, Part); 3] = [
        ("link_requests_total", "HTTP requests to the endpoint.", |of| of.requests),
        (
            "link_bytes_out_total",
            "Bytes sent to the endpoint (HTTP, without TLS and TCP; to a relay with TLS).",
            |of| of.bytes_out,
        ),
        ("link_bytes_in_total", "Bytes received from the endpoint (counted the same way).", |of| of.bytes_in),
    ];
    for (name, help, read) in links {
        let samples = delivery
            .iter()
            .flat_map(|of| of.traffic.map(|(whom, sums)| (and(endpoint(of), "use", whom.name()), read(&sums) as f64)));
        families.push(family(name, COUNTER, help, samples));
    }
    families
}

/// Readings of the configuration.
fn of_config(reloads: &Reloads) -> [Family; 3] {
    let results = reloads.results().map(|(result, count)| (vec![("result", result.to_string())], count as f64));
    let last_good = reloads.last_good().0 as f64 / 1e6;
    [
        family("config_reloads_total", COUNTER, "Times that the configuration was read again.", results),
        single(
            "config_last_reload_success_timestamp_seconds",
            GAUGE,
            "When the configuration in force was read, in seconds since 1970.",
            last_good,
        ),
        single(
            "config_keys_need_restart",
            GAUGE,
            "Keys of the configuration file that differ from what is in force until the next start.",
            reloads.need_restart() as f64,
        ),
    ]
}

/// Spans and reports for a collector.
fn of_telemetry(telemetry: &Telemetry) -> [Family; 3] {
    let counts = telemetry.counts();
    let dropped = counts.dropped().map(|(reason, count)| (vec![("reason", reason.to_string())], count as f64));
    let failed = counts.failures().map(|(signal, count)| (vec![("signal", signal.to_string())], count as f64));
    [
        single("telemetry_spans_sent_total", COUNTER, "Spans that the collector took.", counts.sent() as f64),
        family("telemetry_spans_dropped_total", COUNTER, "Spans that were dropped.", dropped),
        family("telemetry_failures_total", COUNTER, "Requests that the collector did not take.", failed),
    ]
}

fn of_set_aside(outbox: &Outbox) -> Option<Family> {
    match outbox.set_aside() {
        Ok(set_aside) => Some(set_aside_family(&set_aside)),
        Err(error) => {
            tracing::error!(%error, "dead letters cannot be counted");
            None
        }
    }
}

fn set_aside_family(set_aside: &[(String, String, u64)]) -> Family {
    let samples = set_aside.iter().map(|(endpoint, status, count)| {
        (vec![("endpoint", endpoint.clone()), ("status", status.clone())], *count as f64)
    });
    let help = "Dead letters in the store: those that wait for a person, are to be sent again, or were discarded.";
    family("deliveries_set_aside", GAUGE, help, samples)
}

/// A label's value. (Prometheus exposition format 0.0.4)
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// The recognisers' counters.
fn of_recognition(recognition: &Counters) -> Vec<Family> {
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
    let all: [(&str, &'static str, &'static str, f64); 17] = [
        ("waiting_jobs", GAUGE, "Jobs that wait for a recogniser.", load.waiting as f64),
        ("waiting_seconds", GAUGE, "Sound of the jobs that wait for a recogniser.", load.waiting_seconds),
        ("running_jobs", GAUGE, "Jobs that are recognised now.", load.running as f64),
        ("behind_seconds", GAUGE, "Age of the oldest final that waits for a recogniser.", seconds(*behind_ms)),
        (
            "longest_wait_seconds",
            GAUGE,
            "The longest that a final has waited for a recogniser since the start.",
            seconds(counts.longest_wait_ms),
        ),
        ("decodes_total", COUNTER, "Finals and partials recognised.", *decodes as f64),
        (
            "remote_decodes_total",
            COUNTER,
            "Finals and partials recognised by the server, or workers, on other machines.",
            *remote as f64,
        ),
        (
            "remote_lost_total",
            COUNTER,
            "Times that a final went to another worker because its machine was gone.",
            counts.finals_lost as f64,
        ),
        ("remote_workers", GAUGE, "Workers on other machines that live and fit.", *machines as f64),
        (
            "rejected_total",
            COUNTER,
            "Finals whose text was not believed and is left out.",
            rejected.iter().sum::<u64>() as f64,
        ),
        ("loops_total", COUNTER, "Finals of which a loop was taken out.", *looped as f64),
        ("decode_seconds_total", COUNTER, "Time spent on recognising.", seconds(*decode_ms)),
        ("failures_total", COUNTER, "Finals that failed twice.", *failures as f64),
        ("worker_restarts_total", COUNTER, "Worker processes that were replaced.", *restarts as f64),
        ("partials_total", COUNTER, "Partials that were begun.", counts.partials as f64),
        (
            "partials_dropped_total",
            COUNTER,
            "Partials that were replaced or refused before they began.",
            counts.partials_dropped as f64,
        ),
        (
            "partials_aborted_total",
            COUNTER,
            "Partials that were given up while they ran.",
            counts.partials_aborted as f64,
        ),
    ];
    let named = all.map(|(name, kind, help, value)| single(&format!("recognition_{name}"), kind, help, value));
    named.into()
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
        let mut families = of_recognition(&Counters { behind_ms: 61_500, decodes: 7, ..Counters::default() });
        families.extend(of_delivery(&[figures]));
        families.push(set_aside_family(&[("crm".into(), "dead".into(), 3)]));
        let text = text(&families);
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

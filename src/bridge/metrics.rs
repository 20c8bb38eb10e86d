//! What `/metrics` tells, in the text format of Prometheus (version 0.0.4): counts and times, nothing of anybody.

use std::fmt::Write;

use super::workers::Counters;

/// The recognisers' counters.
pub fn text(recognition: &Counters) -> String {
    let Counters { load, counts, behind_ms, decodes, failures, restarts, decode_ms, remote, rejected, looped } =
        recognition;
    let seconds = |ms: u64| ms as f64 / 1e3;
    let all: [(&str, &str, &str, f64); 15] = [
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
            "Finals and partials recognised by the server on another machine.",
            *remote as f64,
        ),
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

    #[test]
    fn every_line_is_a_comment_or_a_name_with_a_number() {
        let text = text(&Counters { behind_ms: 61_500, decodes: 7, ..Counters::default() });
        assert!(text.contains("\nkakehashi_recognition_behind_seconds 61.5\n"), "{text}");
        assert!(
            text.contains(
                "# TYPE kakehashi_recognition_decodes_total counter\nkakehashi_recognition_decodes_total 7\n"
            )
        );
        let values = text.lines().filter(|line| !line.starts_with('#'));
        for line in values {
            let (name, value) = line.split_once(' ').unwrap();
            assert!(name.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase()) && value.parse::<f64>().is_ok());
        }
    }
}

//! Logs to standard error. Only this program's own lines follow the level: what libraries say at `debug` and `trace` may hold messages as they
//! came (numbers, names), so they are kept at `warn` whatever is asked for. Those of web calls write whole packets as errors: they say nothing.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::Log;

/// The environment variable that overrides `[log] level`.
pub const VARIABLE: &str = "KAKEHASHI_LOG";

/// Starts logging; only the first call has an effect.
pub fn start(settings: &Log) {
    let asked = std::env::var(VARIABLE).ok();
    let level = asked.as_deref().map(str::trim).filter(|level| known(level)).unwrap_or(settings.level.name());
    let filter = EnvFilter::new(format!("warn,webrtc=off,rtc=off,kakehashi={level}"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let started =
        if settings.json { log.json().try_init() } else { log.with_ansi(std::io::stderr().is_terminal()).try_init() };
    if started.is_ok() && asked.is_some_and(|level| !known(&level)) {
        tracing::warn!("{VARIABLE} is none of error, warn, info, debug, trace; [log] level is used");
    }
}

fn known(level: &str) -> bool {
    ["error", "warn", "info", "debug", "trace"].contains(&level.trim())
}

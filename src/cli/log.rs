//! Logs to standard error. Only this program's own lines follow the level: what libraries say at `debug` and `trace` may hold messages as they
//! came (numbers, names), so they are kept at `warn` whatever is asked for. Those of web calls write whole packets as errors: they say nothing.

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;

use crate::config::{Level, Log};

/// The environment variable that overrides `[log] level`.
pub const VARIABLE: &str = "KAKEHASHI_LOG";

/// Puts another filter in the place of the one in force.
static CHANGE: OnceLock<Box<dyn Fn(EnvFilter) + Send + Sync>> = OnceLock::new();

/// Starts logging; only the first call has an effect.
pub fn start(settings: &Log) {
    let log = tracing_subscriber::fmt().with_env_filter(filter(settings.level)).with_writer(std::io::stderr);
    let log = log.with_target(false);
    let started = if settings.json {
        let log = log.json().with_filter_reloading();
        let handle = log.reload_handle();
        log.try_init().map(|()| CHANGE.set(Box::new(move |filter| drop(handle.reload(filter)))).is_ok())
    } else {
        let log = log.with_ansi(std::io::stderr().is_terminal()).with_filter_reloading();
        let handle = log.reload_handle();
        log.try_init().map(|()| CHANGE.set(Box::new(move |filter| drop(handle.reload(filter)))).is_ok())
    };
    let asked = std::env::var(VARIABLE).ok();
    if started.is_ok() && asked.is_some_and(|level| !known(&level)) {
        tracing::warn!("{VARIABLE} is none of error, warn, info, debug, trace; [log] level is used");
    }
}

/// Another level from now on, unless the environment has one.
pub fn change(level: Level) {
    if let Some(change) = CHANGE.get() {
        change(filter(level));
    }
}

fn filter(level: Level) -> EnvFilter {
    let asked = std::env::var(VARIABLE).ok();
    let level = asked.as_deref().map(str::trim).filter(|level| known(level)).unwrap_or(level.name());
    EnvFilter::new(format!("warn,webrtc=off,rtc=off,kakehashi={level}"))
}

fn known(level: &str) -> bool {
    ["error", "warn", "info", "debug", "trace"].contains(&level.trim())
}

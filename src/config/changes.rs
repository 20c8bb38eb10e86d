//! What of a changed configuration a running bridge takes, and what waits for a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use toml::{Table, Value};

use super::{Config, ConfigError};

/// Keys that a running bridge takes, without touching a call; a section stands for all that is below it. Every other key needs a restart.
const LIVE: &[&str] = &[
    "node.calls_ms",
    "node.drain_ms",
    "node.public_url",
    "node.reload_ms",
    "log.level",
    "site.directory",
    "site.contacts",
    "dictionary.files",
    "dictionary.source",
    "lookup",
    "outbox.retry_schedule_ms",
    "outbox.breaker_failures",
    "outbox.breaker_pause_ms",
    "outbox.breaker_longest_ms",
    "retention",
    "endpoint.url",
    "endpoint.secrets",
    "endpoint.secret_file",
    "endpoint.ca_file",
    "endpoint.client_cert_file",
    "endpoint.client_key_file",
    "endpoint.proxy",
    "endpoint.proxy_secret_file",
    "endpoint.networks",
    "endpoint.timeout_ms",
    "endpoint.concurrency",
    "endpoint.requests_per_day",
    "endpoint.thin",
    "endpoint.max_body_bytes",
    "endpoint.realtime",
    "endpoint.partials",
    "panel.token",
    "panel.token_file",
    "panel.hosts",
    "panel.secure_cookie",
    "panel.session_hours",
    "panel.client",
    "telemetry",
];

/// Sections of an endpoint whose connection is kept: while one of them is there, nothing of the endpoint is live.
const KEPT: [&str; 2] = ["relay", "nats"];

/// Sections in double brackets whose rows are told apart by a key of theirs.
const ROWS: [(&str, &str); 3] = [("site", "id"), ("pbx", "id"), ("endpoint", "id")];

/// What a file says that differs from the configuration in force.
#[derive(Clone, Debug, PartialEq)]
pub struct Changes {
    /// The configuration in force from now on: the old one with every live key of the new one.
    pub in_force: Config,
    /// Live keys that differ, as people write them: `[node] calls_ms`, `[[endpoint]] id = "crm": url`.
    pub applied: Vec<String>,
    /// Keys that differ and need a restart.
    pub need_restart: Vec<String>,
}

/// Compares every key of two configurations; `path` is only used in messages.
///
/// # Errors
/// When the live keys of the new one do not go with what needs a restart: then it can only be taken as a whole.
pub fn changes(old: &Config, new: &Config, path: &Path) -> Result<Changes, ConfigError> {
    let refused = |place: &str, problem: String| ConfigError::Value { path: path.into(), place: place.into(), problem };
    let table = |config: &Config| Table::try_from(config).map_err(|error| refused("the whole", error.to_string()));
    let (mut merged, new) = (table(old)?, table(new)?);
    let mut found = Found::default();
    found.table(&Place::default(), &mut merged, &new);
    let merged: Config = merged.try_into().map_err(|error: toml::de::Error| refused("the whole", error.to_string()))?;
    let in_force = merged.finish(path).map_err(|error| {
        let keys = found.need_restart.join(", ");
        refused("what needs a restart", format!("{keys}; without it: {error}"))
    })?;
    Ok(Changes { in_force, applied: found.applied, need_restart: found.need_restart })
}

#[derive(Default)]
struct Found {
    applied: Vec<String>,
    need_restart: Vec<String>,
}

/// Where a value is.
#[derive(Clone, Default)]
struct Place {
    /// Its sections and its key, with dots: as in [`LIVE`].
    key: String,
    /// As people write it: the section in brackets or the row, and what is in front of the next key.
    shown: String,
    /// In a row: keys of sections below it stand behind its colon.
    row: bool,
    /// Nothing below is live.
    fixed: bool,
}

impl Place {
    fn below(&self, key: &str, is_section: bool) -> Place {
        let whole = if self.key.is_empty() { key.into() } else { format!("{}.{key}", self.key) };
        let shown = match () {
            () if is_section && self.row => format!("{}{key}.", self.shown),
            () if is_section => format!("[{whole}] "),
            () => format!("{}{key}", self.shown),
        };
        Place { key: whole, shown, ..self.clone() }
    }

    fn row(&self, name: &str, id: &str, row: &Table) -> Place {
        let fixed = self.key == "endpoint" && KEPT.iter().any(|section| row.contains_key(*section));
        let shown = format!("[[{}]] {name} = \"{id}\": ", self.key);
        Place { key: self.key.clone(), shown, row: true, fixed }
    }

    fn is_live(&self) -> bool {
        let below =
            |live: &str| self.key.strip_prefix(live).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        !self.fixed && LIVE.iter().any(|live| below(live))
    }
}

impl Found {
    /// Puts the live keys of `new` into `old`, and notes what differs.
    fn table(&mut self, at: &Place, old: &mut Table, new: &Table) {
        let keys: BTreeSet<String> = old.keys().chain(new.keys()).cloned().collect();
        for key in keys.into_iter().filter(|key| old.get(key) != new.get(key)).collect::<Vec<_>>() {
            let (section, rows) = (at.below(&key, true), at.below(&key, false));
            match (old.get_mut(&key), new.get(&key)) {
                (Some(Value::Table(old)), Some(Value::Table(new))) => self.table(&section, old, new),
                (Some(Value::Array(old)), Some(Value::Array(new))) if row_name(&rows).is_some() => {
                    self.rows(&rows, old, new);
                }
                (before, after) => {
                    let shown = shown(at, &key, [before.map(|before| &*before), after]);
                    if !rows.is_live() {
                        self.need_restart.push(shown);
                        continue;
                    }
                    self.applied.push(shown);
                    match after {
                        Some(after) => drop(old.insert(key, after.clone())),
                        None => drop(old.remove(&key)),
                    }
                }
            }
        }
    }

    fn rows(&mut self, at: &Place, old: &mut [Value], new: &[Value]) {
        let Some(name) = row_name(at) else { return };
        let ids = |rows: &[Value]| -> Vec<String> { rows.iter().map(|row| id_of(row, name)).collect() };
        let (before, after) = (ids(old), ids(new));
        let by_id: BTreeMap<&String, &Value> = after.iter().zip(new).collect();
        for (id, row) in before.iter().zip(old.iter_mut()) {
            match (row, by_id.get(id)) {
                (Value::Table(row), Some(Value::Table(wanted))) => {
                    let place = at.row(name, id, row);
                    self.table(&place, row, wanted);
                }
                _ => self.need_restart.push(format!("[[{}]] {name} = \"{id}\" (taken out)", at.key)),
            }
        }
        let added = after.iter().filter(|id| !before.contains(id));
        self.need_restart.extend(added.map(|id| format!("[[{}]] {name} = \"{id}\" (added)", at.key)));
        let both = |ids: &[String], others: &[String]| -> Vec<String> {
            ids.iter().filter(|id| others.contains(id)).cloned().collect()
        };
        if both(&before, &after) != both(&after, &before) {
            self.need_restart.push(format!("[[{}]] (the order)", at.key));
        }
    }
}

/// A key as people write it; its value before and after.
fn shown(at: &Place, key: &str, values: [Option<&Value>; 2]) -> String {
    let is_rows = |value: &Value| value.as_array().is_some_and(|rows| rows.first().is_some_and(Value::is_table));
    let any = |is: fn(&Value) -> bool| values.into_iter().flatten().any(is);
    match () {
        () if any(Value::is_table) => at.below(key, true).shown.trim_end_matches(['.', ' ']).into(),
        () if values.into_iter().flatten().any(is_rows) => format!("[[{}]]", at.below(key, false).key),
        () => at.below(key, false).shown,
    }
}

/// The key by which rows are told apart.
fn row_name(at: &Place) -> Option<&'static str> {
    ROWS.iter().find(|(section, _)| *section == at.key).map(|(_, name)| *name)
}

fn id_of(row: &Value, name: &str) -> String {
    row.get(name).and_then(Value::as_str).unwrap_or_default().into()
}

#[cfg(all(test, feature = "web"))]
mod tests;

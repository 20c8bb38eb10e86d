//! The configuration file: composes each stage's own settings and refuses what it does not know.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::call::line::Line;
use crate::call::scope::MOST_OF_LINE;
use crate::call::{caller, context};
use crate::crm::settings::{Endpoint, LookUp};
use crate::pbx::{PbxId, asterisk, mirror, sip, web};

mod changes;
mod media_connections;
mod references;
pub mod relay;
mod sound;
pub mod telemetry;

pub use changes::{Changes, changes};

/// The whole file. Every key has a default; `config/kakehashi.toml` lists them all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `[node]`.
    pub node: Node,
    /// `[log]`.
    pub log: Log,
    /// `[[site]]`: municipalities or offices.
    pub site: Vec<Site>,
    /// `[[pbx]]`: exchanges.
    pub pbx: Vec<Pbx>,
    /// `[[line]]`: what may be done with calls to a dialled line.
    pub line: Vec<Line>,
    /// `[identity]`.
    pub identity: caller::Settings,
    /// `[context]`.
    pub context: context::Settings,
    /// `[sip]`.
    pub sip: sip::Settings,
    /// `[webcall]`.
    pub webcall: web::Settings,
    /// `[media]`.
    pub media: crate::media::settings::Settings,
    /// `[speech]`.
    pub speech: crate::speech::settings::Settings,
    /// `[models]`.
    pub models: crate::speech::catalogue::Settings,
    /// `[dictionary]`.
    pub dictionary: crate::dictionary::Settings,
    /// `[transcript]`.
    pub transcript: crate::transcript::mask::Policy,
    /// `[outbox]`.
    pub outbox: crate::outbox::settings::Settings,
    /// `[retention]`.
    pub retention: crate::outbox::settings::Retention,
    /// `[[endpoint]]`: receivers of events.
    pub endpoint: Vec<Endpoint>,
    /// `[lookup]`.
    pub lookup: LookUp,
    /// `[telemetry]`.
    pub telemetry: telemetry::Settings,
    /// `[panel]`.
    #[cfg(feature = "web")]
    pub panel: crate::panel::Settings,
    /// `[panel]`: kept unread in a build without the panel.
    #[cfg(not(feature = "web"))]
    #[serde(skip_serializing)]
    pub panel: toml::Table,
}

/// This process among others of the same installation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Node {
    /// Name of this node; part of the `source` of every event.
    pub id: String,
    /// Folder of the outbox and the recordings; one bridge at a time.
    pub data_dir: PathBuf,
    /// Where receivers reach the API of this node (`[panel]`), `https://host[:port]`: `dataref` of events without data begins with it; empty = `listen` of `[panel]`.
    pub public_url: String,
    /// How long calls that run when the bridge is told to stop (SIGTERM) may go on, in milliseconds; new ones are refused meanwhile, so that the
    /// exchange goes elsewhere. What still runs then is handed over to the next start. 0 = all at once: for a machine that has no other beside it.
    pub calls_ms: u64,
    /// How long stopping may take until texts and events that wait are left for the next start, in milliseconds.
    pub drain_ms: u64,
    /// How often the directory, contacts and dictionary files are looked at for changes, in milliseconds; 0 = only on SIGHUP.
    pub reload_ms: u64,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            id: "n1".into(),
            data_dir: "data".into(),
            public_url: String::new(),
            calls_ms: 0,
            drain_ms: 10_000,
            reload_ms: 5_000,
        }
    }
}

/// What is written about the bridge's own work. Numbers, names and spoken text never are, at any level.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: Level,
    /// One JSON object a line instead of text.
    pub json: bool,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: Level::Info, json: false }
    }
}

/// How much is logged; more is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Something failed and a person should look.
    Error,
    /// Something was not as expected and was dealt with.
    Warn,
    /// What the bridge does.
    Info,
    /// For whoever looks for a fault.
    Debug,
    /// Everything.
    Trace,
}

impl Level {
    /// As the filter of the log wants it.
    pub fn name(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
            Level::Trace => "trace",
        }
    }
}

/// One site: its people and its contacts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Site {
    /// Name in events: letters, digits, `-` and `_`.
    pub id: String,
    /// CSV of agents: extension,agent,name,department,tier; empty = none.
    pub directory: PathBuf,
    /// CSV of known callers: id,name,number and optionally note,url; empty = none.
    pub contacts: PathBuf,
    /// The `[[endpoint]]` whose CRM is asked who is calling, by its id; empty = none. `contacts` stands in where it knows nobody.
    pub lookup: String,
}

/// One exchange and how it is observed: by ARI, by SIP, by its media connections, or several of these; or by a mirror of its packets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pbx {
    /// Name in events and logs: letters, digits, `-` and `_`.
    pub id: String,
    /// The `[[site]]` it belongs to.
    pub site: String,
    /// `[pbx.ari]`: an Asterisk that is observed by ARI.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ari: Option<asterisk::Settings>,
    /// `[pbx.sip]`: an exchange that sends calls to the bridge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sip: Option<sip::PeerSettings>,
    /// `[pbx.audiosocket]`: where an Asterisk connects by AudioSocket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audiosocket: Option<asterisk::AudioSocketSettings>,
    /// `[pbx.websocket]`: where an Asterisk connects by chan_websocket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub websocket: Option<asterisk::WebSocketSettings>,
    /// `[pbx.mirror]`: an exchange of which only a copy of its packets is seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirror: Option<mirror::Settings>,
    /// `[pbx.web]`: softphones that send their calls by WHIP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub web: Option<web::PeerSettings>,
}

impl Pbx {
    /// How many ways of observing its telephones are there.
    fn ways(&self) -> usize {
        let ways = [
            self.ari.is_some(),
            self.sip.is_some(),
            self.audiosocket.is_some(),
            self.websocket.is_some(),
            self.mirror.is_some(),
        ];
        ways.into_iter().filter(|there| *there).count()
    }

    /// Its name as later stages use it.
    pub fn name(&self) -> PbxId {
        PbxId(self.id.clone())
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {source}; expected a configuration file, for example config/minimal.toml", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not TOML, or a key that does not exist, or a value of the wrong kind.
    #[error("{}, line {line}: {problem}; config/kakehashi.toml lists every key with its default", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// Values that do not fit together.
    #[error("{}, {place}: {problem}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// Section and key.
        place: String,
        /// What is wrong and what is expected.
        problem: String,
    },
}

impl Config {
    /// Reads and checks the text of a file; `path` is only used in messages.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place.
    pub fn parse(path: &Path, text: &str) -> Result<Config, ConfigError> {
        Config::read::<Config>(path, text)?.finish(path)
    }

    /// Checks what was read, and fills in what follows from it.
    fn finish(mut self, path: &Path) -> Result<Config, ConfigError> {
        let refused = |(place, problem)| ConfigError::Value { path: path.into(), place, problem };
        self.check().map_err(refused)?;
        let public_url = references::base(&self).map_err(refused)?;
        self.endpoint.iter_mut().for_each(|endpoint| endpoint.public_url.clone_from(&public_url));
        Ok(self)
    }

    fn read<T: serde::de::DeserializeOwned>(path: &Path, text: &str) -> Result<T, ConfigError> {
        toml::from_str(text).map_err(|error| ConfigError::Syntax {
            path: path.into(),
            line: error.span().map_or(1, |span| 1 + text.get(..span.start).unwrap_or("").matches('\n').count()),
            problem: without_value(&error.message().trim().replace('\n', " ")),
        })
    }

    /// Whether any call may be transcribed, so that recognisers are needed.
    pub fn transcribes(&self) -> bool {
        let others = self.line.iter().find(|line| line.number == "*").is_none_or(|line| line.transcribe);
        others || self.line.iter().any(|line| line.transcribe)
    }

    /// What may work and probably was not meant; each names the place and what is expected.
    pub fn doubts(&self) -> Vec<String> {
        let mut doubts = sound::doubts(self);
        if self.speech.remote.is_exposed() {
            doubts.push("[speech.remote] url: http:// to another machine, so callers' voices cross the network unencrypted; expected https://".into());
        }
        for endpoint in self.endpoint.iter().filter(|one| one.nats.is_some()) {
            if crate::speech::nats::is_exposed(&endpoint.url) {
                let place = format!("[[endpoint]] id = \"{}\": url", endpoint.id);
                doubts.push(format!(
                    "{place}: nats:// to another machine, so events cross the network unencrypted; expected tls://"
                ));
            }
        }
        if self.speech.nats.is_exposed() {
            doubts.push("[speech.nats] url: nats:// to another machine, so callers' voices cross the network unencrypted; expected tls://".into());
        }
        doubts
    }

    /// Checks what one section alone cannot: names, references, and addresses that must fit together.
    fn check(&self) -> Result<(), (String, String)> {
        name("[node] id", &self.node.id)?;
        self.identity.check().map_err(|problem| ("[identity] relay_prefixes".to_string(), problem))?;
        self.context.check().map_err(|(key, problem)| (format!("[context] {key}"), problem))?;
        self.dictionary.check()?;
        self.retention.check().map_err(|problem| ("[retention] recordings_days".to_string(), problem))?;
        self.telemetry.check().map_err(|(key, problem)| (format!("[telemetry] {key}"), problem))?;
        unique("[[site]]", self.site.iter().map(|site| site.id.as_str()))?;
        unique("[[pbx]]", self.pbx.iter().map(|pbx| pbx.id.as_str()))?;
        unique("[[endpoint]]", self.endpoint.iter().map(|endpoint| endpoint.id.as_str()))?;
        for site in self.site.iter().filter(|site| !site.lookup.is_empty()) {
            if !self.endpoint.iter().any(|endpoint| endpoint.id == site.lookup) {
                let problem = format!("no [[endpoint]] has the id \"{}\"; expected one of them", site.lookup);
                return Err((format!("[[site]] id = \"{}\": lookup", site.id), problem));
            }
        }
        for pbx in &self.pbx {
            let place = |key: &str| format!("[[pbx]] id = \"{}\": {key}", pbx.id);
            if !self.site.iter().any(|site| site.id == pbx.site) {
                let problem = format!("no [[site]] has the id \"{}\"; expected one of them", pbx.site);
                return Err((place("site"), problem));
            }
            let ways = pbx.ways();
            if ways == 0 && pbx.web.is_none() {
                let problem = "none of [pbx.ari], [pbx.sip], [pbx.audiosocket], [pbx.websocket], [pbx.mirror] and [pbx.web] is there; \
                               expected at least one way to observe it";
                return Err((place("ari, sip"), problem.into()));
            }
            if let Some(web) = &pbx.web {
                web.check().map_err(|(key, problem)| (place(&format!("web.{key}")), problem))?;
                if !self.webcall.enabled {
                    let problem = "[pbx.web] is there but [webcall] enabled is false; set it to true, with listen";
                    return Err((place("web"), problem.into()));
                }
            }
            if let Some(mirror) = &pbx.mirror {
                if ways > 1 {
                    let problem = "[pbx.mirror] shows the calls that the others show, so each would be there twice; expected it alone";
                    return Err((place("mirror"), problem.into()));
                }
                mirror.check().map_err(|(key, problem)| (place(&format!("mirror.{key}")), problem))?;
            }
            media_connections::check(pbx).map_err(|(key, problem)| (place(key), problem))?;
            if pbx.sip.is_some() && !self.sip.enabled {
                let problem =
                    "[pbx.sip] is there but [sip] enabled is false; set it to true, with listen_udp or listen_tcp";
                return Err((place("sip"), problem.into()));
            }
            if pbx.ari.is_some() && pbx.sip.as_ref().is_some_and(|sip| sip.watch.is_some()) {
                let problem = "[pbx.ari] tells everything that dialog events tell, so each call would be there twice; remove \
                               [pbx.sip.watch], or [pbx.ari]";
                return Err((place("sip.watch"), problem.into()));
            }
        }
        for line in &self.line {
            if line.wards.len() + line.departments.len() > MOST_OF_LINE {
                let place = format!("[[line]] number = \"{}\": wards, departments", line.number);
                return Err((place, format!("expected at most {MOST_OF_LINE} together")));
            }
        }
        self.check_webcall()?;
        self.speech.remote.check().map_err(|(key, problem)| (format!("[speech.remote] {key}"), problem))?;
        self.speech.nats.check().map_err(|(key, problem)| (format!("[speech.nats] {key}"), problem))?;
        if self.speech.nats.is_on() && self.speech.remote.is_on() {
            let problem = "[speech.remote] url is there too; expected a transcription server, or workers by NATS";
            return Err(("[speech.nats] url".into(), problem.into()));
        }
        sound::check(self)
    }

    fn check_webcall(&self) -> Result<(), (String, String)> {
        self.webcall.check().map_err(|(key, problem)| (format!("[webcall] {key}"), problem))?;
        if self.webcall.enabled && cfg!(not(feature = "webcall")) {
            let problem =
                "this kakehashi was built without web calls; expected one that is built with the feature webcall";
            return Err(("[webcall] enabled".into(), problem.into()));
        }
        let (own, media) = (&self.webcall, &self.media);
        if own.enabled && own.first_port <= media.last_port && media.first_port <= own.last_port {
            let problem = format!(
                "{}–{} overlaps [media] first_port–last_port {}–{}; expected a range of its own",
                own.first_port, own.last_port, media.first_port, media.last_port
            );
            return Err(("[webcall] first_port, last_port".into(), problem));
        }
        Ok(())
    }
}

/// A text of the wrong kind is not repeated: it may be a secret, and the message goes to the log.
fn without_value(message: &str) -> String {
    match (message.find("string \""), message.rfind("\", expected")) {
        (Some(from), Some(to)) if from < to => {
            format!("{}string \"…{}", message.get(..from).unwrap_or(""), message.get(to..).unwrap_or(""))
        }
        _ => message.into(),
    }
}

fn unique<'a>(section: &str, ids: impl Iterator<Item = &'a str>) -> Result<(), (String, String)> {
    let mut seen = HashSet::new();
    for id in ids {
        name(&format!("{section} id"), id)?;
        if !seen.insert(id) {
            return Err((
                format!("{section} id = \"{id}\""),
                "this id is there twice; expected a name of its own".into(),
            ));
        }
    }
    Ok(())
}

fn name(place: &str, id: &str) -> Result<(), (String, String)> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if id.is_empty() || id.len() > 64 || !id.chars().all(plain) {
        let problem = "expected a name of 1 to 64 letters, digits, - and _";
        return Err((format!("{place} = \"{id}\""), problem.into()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        Config::parse(Path::new("k.toml"), text).unwrap_err().to_string()
    }

    #[test]
    fn an_unknown_key_names_its_line() {
        let error = refused("[node]\nid = \"n1\"\ndata_dri = \"x\"\n");
        assert!(error.starts_with("k.toml, line 3: unknown field `data_dri`"), "{error}");
    }

    #[test]
    fn a_secret_in_the_wrong_place_is_not_repeated() {
        let error = refused("[[endpoint]]\nid = \"crm\"\nsecrets = \"whsec_geheim\"\n");
        assert!(
            error.contains("line 3") && error.contains("expected a sequence") && !error.contains("geheim"),
            "{error}"
        );
    }

    #[test]
    fn a_pbx_of_no_site_and_one_that_nobody_observes_are_refused() {
        let error = refused("[[pbx]]\nid = \"a\"\nsite = \"osaka\"\n");
        assert!(error.contains("[[pbx]] id = \"a\": site: no [[site]]"), "{error}");
        let error = refused("[[site]]\nid = \"osaka\"\n[[pbx]]\nid = \"a\"\nsite = \"osaka\"\n");
        assert!(error.contains("none of [pbx.ari], [pbx.sip], [pbx.audiosocket]"), "{error}");
    }

    #[test]
    fn an_exchange_that_is_observed_by_ari_is_not_watched_too() {
        let both = "[sip]\nenabled = true\n[[site]]\nid = \"o\"\n[[pbx]]\nid = \"a\"\nsite = \"o\"\n[pbx.ari]\n[pbx.sip.watch]\n";
        let error = refused(both);
        assert!(error.contains("[[pbx]] id = \"a\": sip.watch") && error.contains("remove [pbx.sip.watch]"), "{error}");
    }

    #[test]
    fn a_mirror_stands_alone_and_names_what_is_wrong_with_it() {
        let pbx = "[[site]]\nid = \"o\"\n[[pbx]]\nid = \"a\"\nsite = \"o\"\n";
        let error = refused(&format!("{pbx}[pbx.ari]\n[pbx.mirror]\n"));
        assert!(error.contains("[[pbx]] id = \"a\": mirror") && error.contains("expected it alone"), "{error}");
        let error = refused(&format!("{pbx}[pbx.mirror]\ninterface = \"eth1\"\n"));
        assert!(error.contains("mirror.networks") && error.contains("addresses of the exchange"), "{error}");
        let error = refused(&format!("{pbx}[pbx.mirror]\nnetworks = [\"192.0.2.300\"]\n"));
        assert!(error.contains("line 7") && error.contains("is no place"), "{error}");
        let good =
            format!("{pbx}[pbx.mirror]\ninterface = \"eth1\"\nnetworks = [\"192.0.2.1\", \"[2001:db8::1]:5060\"]\n");
        assert!(Config::parse(Path::new("k.toml"), &good).is_ok());
    }

    #[test]
    fn a_line_has_at_most_so_many_wards_and_departments() {
        let line = |count: usize| {
            format!("[[line]]\nnumber = \"*\"\nwards = [\"北区\"]\ndepartments = {:?}\n", vec!["課"; count])
        };
        let error = refused(&line(MOST_OF_LINE));
        assert!(error.contains("[[line]] number = \"*\": wards, departments: expected at most 61"), "{error}");
        assert!(Config::parse(Path::new("k.toml"), &line(MOST_OF_LINE - 1)).is_ok());
    }

    #[test]
    fn ids_are_names_and_their_own() {
        assert!(refused("[[site]]\nid = \"a b\"\n").contains("[[site]] id = \"a b\""));
        assert!(refused("[[site]]\nid = \"a\"\n[[site]]\nid = \"a\"\n").contains("twice"));
    }
}

//! The collector: how it is reached, what its answers mean, and how often it is asked again.

use std::path::PathBuf;
use std::time::Duration;

use opentelemetry_proto::tonic::resource::v1::Resource;
use reqwest::Url;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};

use super::otlp;
use crate::bridge::deliver::{ConnectionError, connect, why};
use crate::config::Config;
use crate::config::telemetry::Settings;
use crate::crm::settings::Endpoint;

/// The most of an answer that is read, in bytes.
const MOST_OF_ANSWER: usize = 64 * 1024;
/// The longest wait that a collector may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(60);

/// Why telemetry cannot be sent as it is set; each names the key.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is none.
    #[error("[telemetry] url: {0}; expected http://host:4318 or https://…")]
    Url(String),
    /// A file or another setting of the connection.
    #[error("[telemetry] {key}: {problem}; {remedy}")]
    Setting {
        /// The key.
        key: &'static str,
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// The file of headers.
    #[error("[telemetry] headers_file = \"{}\"{place}: {problem}; expected one `name: value` a line", path.display())]
    Headers {
        /// The file.
        path: PathBuf,
        /// The line, where it is about one.
        place: String,
        /// What is wrong; never a value.
        problem: String,
    },
}

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It was taken; its answer.
    Taken(Vec<u8>),
    /// It may be sent again, after so long where that was said.
    Again(String, Option<Duration>),
    /// It never will be taken.
    Refused(String),
}

/// A collector, ready to be sent to.
pub struct Collector {
    pub(super) settings: Settings,
    pub(super) resource: Resource,
    client: reqwest::Client,
    base: Url,
    headers: HeaderMap,
}

impl Collector {
    /// Reads its files; connects to nobody. `None` when nothing is to be sent.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub(super) fn new(config: &Config) -> Result<Option<Collector>, Error> {
        let settings = config.telemetry.clone();
        if !settings.is_on() {
            return Ok(None);
        }
        let base = Url::parse(&settings.url).map_err(|error| Error::Url(error.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
            return Err(Error::Url(format!("scheme `{}`", base.scheme())));
        }
        let endpoint = Endpoint {
            ca_file: settings.ca_file.clone(),
            networks: settings.networks.clone(),
            timeout_ms: settings.timeout_ms,
            ..Endpoint::default()
        };
        let client = connect(&endpoint, &base).map_err(|error| match error {
            ConnectionError::Setting { key, file, problem, remedy, .. } => {
                let file = file.map(|file| format!("{file}: ")).unwrap_or_default();
                Error::Setting { key, problem: format!("{file}{problem}"), remedy }
            }
            ConnectionError::Client { problem, .. } => {
                let remedy = "are the system's certificates installed (package ca-certificates)?";
                Error::Setting { key: "ca_file", problem, remedy: remedy.into() }
            }
        })?;
        let headers = headers(&settings)?;
        Ok(Some(Collector { resource: otlp::resource(&config.node.id), settings, client, base, headers }))
    }

    /// Whether it is sent traces.
    pub(super) fn takes_traces(&self) -> bool {
        self.settings.traces
    }

    /// Sends a message once.
    pub(super) async fn post(&self, path: &str, body: Vec<u8>) -> Verdict {
        let Ok(url) = format!("{}{path}", self.base.as_str().trim_end_matches('/')).parse::<Url>() else {
            return Verdict::Refused("the path is no URL".into());
        };
        let timeout = Duration::from_millis(self.settings.timeout_ms);
        let request = self.client.post(url).timeout(timeout).headers(self.headers.clone()).body(body);
        match request.send().await {
            Ok(answer) => judge(answer).await,
            Err(error) => Verdict::Again(why(&error, false), None),
        }
    }
}

/// What an answer means. (OTLP 1.x §OTLP/HTTP Response: 429, 502, 503 and 504 may be sent again)
async fn judge(mut answer: reqwest::Response) -> Verdict {
    let status = answer.status();
    if status.is_success() {
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = answer.chunk().await {
            if body.len() + chunk.len() > MOST_OF_ANSWER {
                break;
            }
            body.extend_from_slice(&chunk);
        }
        return Verdict::Taken(body);
    }
    let asked = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let asked = asked.map(|seconds| Duration::from_secs(seconds).min(LONGEST_ASKED));
    let told = format!("answered {}", status.as_u16());
    match status.as_u16() {
        429 | 502 | 503 | 504 => Verdict::Again(told, asked),
        _ => Verdict::Refused(told),
    }
}

/// The headers of every request.
fn headers(settings: &Settings) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"))]);
    let path = &settings.headers_file;
    if path.as_os_str().is_empty() {
        return Ok(headers);
    }
    let wrong = |place: String, problem: String| Error::Headers { path: path.clone(), place, problem };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(String::new(), error.to_string()))?;
    for (n, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let place = || format!(", line {}", n + 1);
        let (name, value) = line.split_once(':').ok_or_else(|| wrong(place(), "no colon".into()))?;
        let name = name.trim().parse::<HeaderName>().map_err(|_| wrong(place(), "no name of a header".into()))?;
        let mut value =
            HeaderValue::from_str(value.trim()).map_err(|_| wrong(place(), "no value of a header".into()))?;
        // no debug output shows it
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(telemetry: Settings) -> String {
        let config = Config { telemetry, ..Config::default() };
        Collector::new(&config).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn nothing_is_made_without_a_url_and_what_is_wrong_names_its_key() {
        assert!(Collector::new(&Config::default()).unwrap().is_none());
        let on = Settings { url: "http://127.0.0.1:4318".into(), ..Settings::default() };
        assert_eq!(refused(on.clone()), "");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("headers");
        std::fs::write(&file, "authorization: Basic geheim\n\nx y: 1\n").unwrap();
        for (settings, named) in [
            (Settings { url: "grpc://collector".into(), ..on.clone() }, "[telemetry] url"),
            (Settings { url: "collector:4317".into(), ..on.clone() }, "[telemetry] url"),
            (Settings { ca_file: "/no/such".into(), ..on.clone() }, "[telemetry] ca_file"),
            (Settings { headers_file: "/no/such".into(), ..on.clone() }, "[telemetry] headers_file"),
            (Settings { headers_file: file, ..on }, ", line 3: no name of a header"),
        ] {
            let told = refused(settings);
            assert!(told.contains(named) && told.contains("expected") | told.contains("correct"), "{told}");
            assert!(!told.contains("geheim"));
        }
    }
}

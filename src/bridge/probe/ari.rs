//! Questions by ARI: who is there, what it has, whether events come, and whether both parties' sound arrives.

use std::net::IpAddr;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::handshake::client::Request as Handshake;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use super::both::{self, Made};
use super::events::Watcher;
use super::link::{connect, stopped};
use super::{Stop, random};
use crate::bridge::ari::http::Http;
use crate::pbx::PbxId;
use crate::pbx::asterisk::Settings;
use crate::pbx::asterisk::request::{Answer, Method, Request, RequestId};
use crate::probe::Text;
use crate::probe::asterisk::{Events, Info, read_modules};
use crate::probe::facts::{Ari, Failure, Tried};

/// Time for one request, in milliseconds.
const REQUEST_MS: u64 = 4_000;
/// How often the round trip is measured.
const ROUNDS: usize = 5;
/// Time for all tests.
const TESTS: Duration = Duration::from_secs(30);
/// Time for removing what was made.
const REMOVE: Duration = Duration::from_secs(8);

/// ARI at the probe's hands.
#[derive(Clone)]
pub(super) struct Client {
    http: Http,
    /// As the probe uses them.
    pub(super) settings: Settings,
    /// Our address on the way to it.
    pub(super) own: IpAddr,
    /// Its address.
    pub(super) host: IpAddr,
}

/// What stays open for a call that is watched later.
pub(super) struct Session {
    /// Requests.
    pub(super) client: Client,
    /// Events.
    pub(super) watcher: Watcher,
}

impl Client {
    /// A client under an application name of its own, so that a running bridge keeps its events.
    pub(super) async fn new(settings: &Settings) -> Result<Client, Failure> {
        let mut settings = settings.clone();
        settings.app = format!("kakehashi-probe-{}", random(4));
        settings.request_timeout_ms = REQUEST_MS;
        let (own, host) = toward(&settings.url).await?;
        if settings.rtp_host.is_empty() {
            settings.rtp_host = own.to_string();
        }
        let http = Http::new(&PbxId("probe".into()), &settings).map_err(|error| Failure::Own(error.to_string()))?;
        Ok(Client { http, settings, own, host })
    }

    /// Where the event socket is opened, and how.
    pub(super) fn event_socket(&self) -> Result<(String, Handshake, WebSocketConfig), Failure> {
        self.http.event_socket(&self.settings).map_err(Failure::Own)
    }

    /// One request; the body of a 2xx answer.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        query: Vec<(&'static str, String)>,
    ) -> Result<String, Failure> {
        let request = Request { id: RequestId(0), method, path: path.into(), query, body: None };
        match self.http.send(request).await {
            Answer::Response { status: 200..=299, body } => Ok(body),
            Answer::Response { status, .. } => Err(Failure::Status(status, word(status).into())),
            Answer::Failed => Err(Failure::Silent(REQUEST_MS)),
        }
    }
}

fn word(status: u16) -> &'static str {
    match status {
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        409 => "Conflict",
        422 => "Unprocessable",
        500..=599 => "Server Error",
        _ => "",
    }
}

/// Looks at an Asterisk. What is made for a test is removed again, also when the user stops the probe.
pub(super) async fn look(settings: &Settings, stop: &Stop) -> (Ari, Option<Session>) {
    let mut ari = Ari::default();
    let client = match Client::new(settings).await {
        Ok(client) => client,
        Err(failure) => {
            ari.info = Tried::Failed(failure);
            return (ari, None);
        }
    };
    let mut stop = stop.clone();
    let mut made = Made::default();
    let tests = async {
        questions(&client, &mut ari).await;
        ari.info.got()?;
        match Watcher::open(&client).await {
            Ok(mut watcher) => {
                both::test(&client, &mut watcher, &mut made, &mut ari).await;
                Some(watcher)
            }
            Err(failure) => {
                ari.socket = Tried::Failed(failure);
                ari.media = Tried::Skipped(Text::new("ari.events が先", "ari.events comes first"));
                None
            }
        }
    };
    let watcher = tokio::select! {
        watcher = timeout(TESTS, tests) => watcher.unwrap_or_default(),
        () = stopped(&mut stop) => None,
    };
    ari.left_behind = timeout(REMOVE, made.remove(&client)).await.unwrap_or_else(|_| made.paths());
    (ari, watcher.map(|watcher| Session { client, watcher }))
}

async fn questions(client: &Client, ari: &mut Ari) {
    ari.info = info(client).await.into();
    if ari.info.got().is_none() {
        return;
    }
    let read = |body: Result<String, Failure>| body.map_err(|failure| ("", failure));
    ari.modules = match read(client.ask(Method::Get, "/asterisk/modules", vec![]).await) {
        Ok(body) => read_modules(&body).ok_or(Failure::Garbage("no list of modules")).into(),
        Err((_, failure)) => Tried::Failed(failure),
    };
    ari.events = match client.ask(Method::Get, "/api-docs/events.json", vec![]).await {
        Ok(body) => Events::read(&body).ok_or(Failure::Garbage("no list of events")).into(),
        Err(failure) => Tried::Failed(failure),
    };
    // the channel does not exist: a user who may write is told so, one who may not is refused first
    let nothing = format!("/channels/{}", client.settings.app);
    ari.write = match client.ask(Method::Delete, &nothing, vec![]).await {
        Ok(_) | Err(Failure::Status(404, _)) => Tried::Got(()),
        Err(failure) => Tried::Failed(failure),
    };
}

async fn info(client: &Client) -> Result<Info, Failure> {
    let mut rtt_us = Vec::new();
    let mut body = String::new();
    for _ in 0..ROUNDS {
        let asked = Instant::now();
        body = client.ask(Method::Get, "/asterisk/info", vec![]).await?;
        rtt_us.push(asked.elapsed().as_micros() as u64);
    }
    rtt_us.sort_unstable();
    Info::read(&body, rtt_us).ok_or(Failure::Garbage("no answer of ARI's to GET /asterisk/info"))
}

/// Our address on the way to ARI and ARI's own, or the reason why nothing answers there.
async fn toward(url: &str) -> Result<(IpAddr, IpAddr), Failure> {
    let wrong = || Failure::Own(format!("{url:?} is no URL; expected http://HOST:PORT/ari"));
    let parsed = reqwest::Url::parse(url).map_err(|_| wrong())?;
    let host = parsed.host_str().ok_or_else(wrong)?.trim_matches(['[', ']']).to_string();
    let port = parsed.port_or_known_default().ok_or_else(wrong)?;
    let found = timeout(Duration::from_millis(REQUEST_MS), lookup_host((host.as_str(), port))).await;
    let mut found = found
        .map_err(|_| Failure::Silent(REQUEST_MS))?
        .map_err(|error| Failure::Connection(format!("{host}: {error}")))?;
    let peer = found.next().ok_or_else(|| Failure::Connection(format!("{host}: no address")))?;
    let local = connect(peer).await?.local_addr().map_err(|error| Failure::Own(error.to_string()))?;
    Ok((local.ip(), peer.ip()))
}

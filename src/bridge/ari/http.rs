//! ARI's HTTP side: one client with its credentials, answers limited in size and time.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::client::Request as Handshake;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::pbx::PbxId;
use crate::pbx::asterisk::Settings;
use crate::pbx::asterisk::request::{Answer, Method, Request, segment};

use super::Error;

/// Largest body that is read: a list of 20,000 channels is about 12 MiB.
const BODY_MAX: usize = 32 * 1_024 * 1_024;

/// A client for one Asterisk.
#[derive(Clone, Debug)]
pub(in crate::bridge) struct Http {
    client: reqwest::Client,
    url: String,
    user: String,
    password: String,
}

impl Http {
    pub(in crate::bridge) fn new(pbx: &PbxId, settings: &Settings) -> Result<Http, Error> {
        let wrong =
            |key, found: &str, expected| Error::Setting { pbx: pbx.0.clone(), key, found: found.into(), expected };
        let url = settings.url.trim_end_matches('/').to_string();
        let parsed =
            reqwest::Url::parse(&url).ok().filter(|parsed| parsed.scheme() == "http" && parsed.host_str().is_some());
        if parsed.is_none() {
            return Err(wrong("url", &settings.url, "http://HOST:PORT/ari (for TLS, a tunnel on this machine)"));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if settings.app.is_empty() || !settings.app.chars().all(plain) {
            return Err(wrong("app", &settings.app, "a name of letters, digits, - and _"));
        }
        if settings.rtp_host.is_empty() {
            return Err(wrong("rtp_host", "", "the address of this machine as Asterisk reaches it"));
        }
        let password = if settings.password.is_empty() && !settings.password_file.is_empty() {
            let path = settings.password_file.clone();
            let unreadable = |reason| Error::PasswordFile { pbx: pbx.0.clone(), path: path.clone(), reason };
            let text = std::fs::read_to_string(&settings.password_file).map_err(unreadable)?;
            text.lines().next().unwrap_or_default().trim().to_string()
        } else {
            settings.password.clone()
        };
        // fails only when another provider was installed before, which is as good
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_millis(settings.request_timeout_ms))
            .pool_max_idle_per_host(usize::try_from(settings.requests_at_once).unwrap_or(16))
            // Asterisk closes idle connections after 15 s (session_keep_alive)
            .pool_idle_timeout(Duration::from_secs(10))
            .build()
            .map_err(|_| wrong("url", &settings.url, "an address that this machine's HTTP client can use"))?;
        Ok(Http { client, url, user: settings.user.clone(), password })
    }

    /// Asks who is there: the status, or nothing when nobody answers.
    pub(in crate::bridge) async fn check(&self) -> Option<u16> {
        let request = self.client.get(format!("{}/asterisk/info?only=system", self.url));
        let answer = request.basic_auth(&self.user, Some(&self.password)).send().await.ok()?;
        Some(answer.status().as_u16())
    }

    pub(super) fn refused(&self, pbx: &PbxId, status: u16) -> Error {
        Error::Refused { pbx: pbx.0.clone(), url: self.url.clone(), user: self.user.clone(), status }
    }

    /// Sends one request.
    pub(in crate::bridge) async fn send(&self, request: Request) -> Answer {
        let method = match request.method {
            Method::Get => reqwest::Method::GET,
            Method::Post => reqwest::Method::POST,
            Method::Put => reqwest::Method::PUT,
            Method::Delete => reqwest::Method::DELETE,
        };
        let mut http = self.client.request(method, format!("{}{}", self.url, request.path));
        http = http.basic_auth(&self.user, Some(&self.password)).query(&request.query);
        if let Some(body) = &request.body {
            http = http.json(body);
        }
        let Ok(mut answer) = http.send().await else { return Answer::Failed };
        let status = answer.status().as_u16();
        let mut body = Vec::new();
        loop {
            match answer.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() <= BODY_MAX => body.extend_from_slice(&chunk),
                Ok(None) => break,
                Ok(Some(_)) | Err(_) => return Answer::Failed,
            }
        }
        Answer::Response { status, body: String::from_utf8_lossy(&body).into_owned() }
    }

    /// Address and handshake of a media websocket, which is beside `/ari`.
    pub(super) fn media_socket(&self, connection: &str) -> Result<(String, Handshake), String> {
        let parsed = reqwest::Url::parse(&self.url).map_err(|e| e.to_string())?;
        let host = parsed.host_str().unwrap_or("127.0.0.1");
        let address = format!("{host}:{}", parsed.port_or_known_default().unwrap_or(80));
        let prefix = parsed.path().trim_end_matches('/').strip_suffix("/ari").unwrap_or_default();
        let url = format!("ws://{address}{prefix}/media/{}", segment(connection));
        let mut request = url.into_client_request().map_err(|e| e.to_string())?;
        request.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static("media"));
        Ok((address, request))
    }

    /// Address, handshake and limits of the event socket.
    pub(in crate::bridge) fn event_socket(
        &self,
        settings: &Settings,
    ) -> Result<(String, Handshake, WebSocketConfig), String> {
        let parsed = reqwest::Url::parse(&self.url).map_err(|e| e.to_string())?;
        let host = parsed.host_str().unwrap_or("127.0.0.1");
        let address = format!("{host}:{}", parsed.port_or_known_default().unwrap_or(80));
        let url = format!("ws://{address}{}/events?app={}&subscribeAll=true", parsed.path(), segment(&settings.app));
        let mut request = url.into_client_request().map_err(|e| e.to_string())?;
        let token = STANDARD.encode(format!("{}:{}", self.user, self.password));
        let header = HeaderValue::from_str(&format!("Basic {token}")).map_err(|e| e.to_string())?;
        request.headers_mut().insert("Authorization", header);
        let limit = usize::try_from(settings.event_max_bytes).unwrap_or(1_048_576);
        let config = WebSocketConfig::default().max_message_size(Some(limit)).max_frame_size(Some(limit));
        Ok((address, request, config))
    }
}

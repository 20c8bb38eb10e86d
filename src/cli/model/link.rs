//! How a model is reached: address, proxy, authorities, redirections; and what of it may be shown.

use std::fs;
use std::path::Path;
use std::time::Duration;

use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, Url};

use super::fetch::FetchError;
use crate::speech::catalogue::Settings;

/// A server that sends nothing for this long is asked again.
const SILENT: Duration = Duration::from_secs(60);
/// Redirections that are followed.
const REDIRECTS: usize = 10;

pub(super) fn address(source: &str) -> Result<Url, FetchError> {
    let expected = "http://host/folder or https://host/folder";
    let wrong = |problem: String| FetchError::Setting { place: "--mirror, [models] mirror", problem, expected };
    let url = Url::parse(source).map_err(|error| wrong(error.to_string()))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        other => Err(wrong(format!("the scheme `{other}`"))),
    }
}

/// An address as it may be shown: no password, no signed query.
pub(super) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.to_string()
}

pub(super) fn client(settings: &Settings) -> Result<Client, FetchError> {
    // fails only when another provider was installed before, which is as good
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder()
        .connect_timeout(Duration::from_secs(20))
        .read_timeout(SILENT)
        .redirect(Policy::custom(follow))
        .user_agent(concat!("kakehashi/", env!("CARGO_PKG_VERSION")));
    match settings.proxy.trim() {
        "" => {}
        "none" => builder = builder.no_proxy(),
        proxy => {
            let expected = "http://[user:password@]host:port, or none";
            let wrong = |problem: &str| FetchError::Setting {
                place: "--proxy, [models] proxy",
                problem: problem.to_owned(),
                expected,
            };
            let url = Url::parse(proxy).map_err(|_| wrong("it is no address"))?;
            if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
                return Err(wrong("it is no address of an HTTP proxy"));
            }
            builder = builder.proxy(reqwest::Proxy::all(url).map_err(|_| wrong("it cannot be used"))?);
        }
    }
    if !settings.ca.as_os_str().is_empty() {
        builder = builder.tls_certs_merge(authorities(&settings.ca)?);
    }
    let expected = "system certificates (package ca-certificates), or --ca with those to trust";
    builder.build().map_err(|error| FetchError::Setting {
        place: "--ca, [models] ca",
        problem: causes(error),
        expected,
    })
}

fn authorities(path: &Path) -> Result<Vec<reqwest::Certificate>, FetchError> {
    let expected = "a PEM file with certificates of authorities";
    let wrong = |problem: String| FetchError::Setting {
        place: "--ca, [models] ca",
        problem: format!("{}: {problem}", path.display()),
        expected,
    };
    let pem = fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let found = reqwest::Certificate::from_pem_bundle(&pem).map_err(causes).map_err(wrong)?;
    if found.is_empty() { Err(wrong("no certificate is in it".into())) } else { Ok(found) }
}

/// Follows redirections, but never from https to http.
fn follow(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let was_secure = attempt.previous().iter().any(|url| url.scheme() == "https");
    if attempt.previous().len() > REDIRECTS || (was_secure && attempt.url().scheme() != "https") {
        return attempt.stop();
    }
    attempt.follow()
}

/// What went wrong, with its causes and without addresses (they may hold passwords or signatures).
pub(super) fn causes(error: reqwest::Error) -> String {
    crate::cli::chain(&error.without_url())
}

pub(super) fn remedy(problem: &str) -> &'static str {
    if problem.contains("UnknownIssuer") {
        return "The server's certificate is of an authority that is not trusted here: give its certificate with --ca ([models] ca)";
    }
    if problem.contains("407") || problem.contains("roxy auth") {
        return "The proxy wants user and password: --proxy http://user:password@host:port";
    }
    if problem.contains("tunnel") {
        return "The proxy lets nothing through to this address: check --proxy and its rules";
    }
    "Where this machine has no way to it: --proxy, --mirror, or `kakehashi model import` from a stick"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_and_signatures_are_not_shown() {
        let url = Url::parse("https://user:secret@mirror.example.jp/m/x.bin?Signature=abc").unwrap();
        assert_eq!(shown(&url), "https://mirror.example.jp/m/x.bin");
    }
}

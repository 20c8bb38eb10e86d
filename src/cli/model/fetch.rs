//! Fetches a model: by HTTP(S), through a proxy, on from where it stopped, until every byte is there and the checksums are right.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::{ACCEPT_ENCODING, CONTENT_RANGE, ETAG, HeaderMap, IF_RANGE, RANGE, RETRY_AFTER};
use reqwest::{Client, Response, Url};
use tokio::time::sleep;

use super::install::{Expected, InstallError, Part, at, examine, write_manifest};
use super::link::{address, causes, client, remedy, shown};
use crate::bridge::now;
use crate::outbox::retry::retry_after;
use crate::speech::catalogue::{Model, Settings};

/// Waits between tries that brought nothing; a try that went on from where the one before stopped begins them anew.
pub const WAITS: [Duration; 6] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(15),
    Duration::from_secs(30),
    Duration::from_secs(60),
];
/// The longest `Retry-After` that is waited for.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// The longest ETag that is kept.
const ETAG_BYTES: usize = 256;

/// Why a model was not fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// It cannot be installed.
    #[error(transparent)]
    Install(#[from] InstallError),
    /// Nobody offers it for download.
    #[error(
        "{0} has no origin to fetch it from: it is in this program's repository (models/), or on a mirror of your own (--mirror, [models] mirror)"
    )]
    NoOrigin(String),
    /// A setting is wrong.
    #[error("{place}: {problem}; expected {expected}")]
    Setting {
        /// Option and key.
        place: &'static str,
        /// What is wrong.
        problem: String,
        /// What is expected.
        expected: &'static str,
    },
    /// The server refuses.
    #[error("{url}: status {status}; {remedy}")]
    Refused {
        /// The address, without passwords and query.
        url: String,
        /// The status.
        status: u16,
        /// What to do.
        remedy: &'static str,
    },
    /// It offers another file.
    #[error(
        "{url}: {problem}; expected {bytes} bytes as published. It is another file or the page of a proxy: check --mirror and --proxy"
    )]
    OtherFile {
        /// The address.
        url: String,
        /// What is wrong.
        problem: String,
        /// The right size.
        bytes: u64,
    },
    /// It does not work, however often it is tried.
    #[error(
        "{url}: {problem}. {have} of {bytes} bytes are in {}; run the command again to go on. {remedy}", part.display()
    )]
    GaveUp {
        /// The address.
        url: String,
        /// The last problem.
        problem: String,
        /// Bytes that are there.
        have: u64,
        /// Bytes of the whole file.
        bytes: u64,
        /// Where they are.
        part: PathBuf,
        /// What to do.
        remedy: &'static str,
    },
}

/// A problem that may be gone at the next try.
struct Trouble {
    problem: String,
    wait: Option<Duration>,
}

/// Fetches `model` into `settings.dir` and gives its path. `waits` as [`WAITS`]; `progress` is told the bytes that are there.
///
/// # Errors
/// Names address or file, what was expected and what to do. What was fetched until then is kept, unless it is wrong.
pub async fn fetch(
    model: &Model,
    settings: &Settings,
    waits: &[Duration],
    progress: &mut dyn FnMut(u64),
) -> Result<PathBuf, FetchError> {
    let dir = &settings.dir;
    let path = dir.join(&model.file);
    if path.exists() {
        let (found, _) = examine(&path, !model.sha1.is_empty())?;
        model.check(&found).map_err(|mismatch| InstallError::Other { path: path.clone(), mismatch })?;
        write_manifest(&path, &found, &model.licence)?;
        return Ok(path);
    }
    super::install::manifest_beside(&path)?; // a wrong one is told before the hour of the download
    let source = model.source(&settings.mirror).ok_or_else(|| FetchError::NoOrigin(model.name.clone()))?;
    let url = address(&source)?;
    let client = client(settings)?;
    let mut part = Part::open(dir, &model.file)?;
    part.has_room(dir, model.bytes)?;
    let mut download = Download { model, url, client, tag: dir.join(format!("{}.part.etag", model.file)), begun: 0 };
    download.complete(&mut part, waits, progress).await?;
    let origin = shown(&download.url);
    let remedy = "What was fetched is removed. Try again; when it is wrong twice, the server has another file than the one that was published";
    let expected = Expected { model: Some(model), sha256: "", origin, remedy, licence: &model.licence };
    let done = part.finish(dir, &model.file, &expected);
    download.forget();
    Ok(done?)
}

/// One model on its way.
struct Download<'a> {
    model: &'a Model,
    url: Url,
    client: Client,
    /// Where the ETag of what is in the part is kept.
    tag: PathBuf,
    /// How often the server sent the file from its beginning.
    begun: usize,
}

impl Download<'_> {
    async fn complete(
        &mut self,
        part: &mut Part,
        waits: &[Duration],
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), FetchError> {
        let mut failed = 0;
        while part.length != self.model.bytes {
            if part.length > self.model.bytes {
                part.clear()?;
            }
            let (before, begun) = (part.length, self.begun);
            let Err(trouble) = self.attempt(part, progress).await? else { continue };
            // what begins anew each time, because the server knows no ranges, may never come to its end
            if part.length > before && (self.begun == begun || begun == 0) {
                failed = 0;
            }
            let Some(planned) = waits.get(failed).filter(|_| self.begun <= waits.len()) else {
                return Err(FetchError::GaveUp {
                    url: shown(&self.url),
                    remedy: remedy(&trouble.problem),
                    problem: trouble.problem,
                    have: part.length,
                    bytes: self.model.bytes,
                    part: part.path.clone(),
                });
            };
            failed += 1;
            sleep(trouble.wait.unwrap_or(*planned).min(LONGEST_WAIT)).await;
        }
        Ok(())
    }

    /// One request. The inner error may be gone at the next try; the outer one will not.
    async fn attempt(
        &mut self,
        part: &mut Part,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Result<(), Trouble>, FetchError> {
        let known = self.known_tag();
        // without a strong ETag only the checksum can tell whether the rest belongs to the beginning
        if part.length > 0 && known.is_none() && self.model.sha256.is_empty() {
            part.clear()?;
        }
        let mut request = self.client.get(self.url.clone()).header(ACCEPT_ENCODING, "identity");
        if part.length > 0 {
            request = request.header(RANGE, format!("bytes={}-", part.length));
            if let Some(tag) = &known {
                request = request.header(IF_RANGE, tag);
            }
        }
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return Ok(Err(Trouble { problem: causes(error), wait: None })),
        };
        let tag = strong_tag(response.headers());
        match response.status().as_u16() {
            200 => {
                self.whole(&response)?;
                self.begun += 1;
                part.clear()?;
            }
            206 if part.length > 0 => {
                let fits = self.range(&response, part.length)?;
                if !fits || (known.is_some() && tag != known) {
                    // not the bytes that were asked for, or of another file: nothing of the part can be trusted
                    part.clear()?;
                    self.forget();
                    let problem = "the server answered with another part of the file than it was asked for".into();
                    return Ok(Err(Trouble { problem, wait: None }));
                }
            }
            416 => {
                part.clear()?;
                self.forget();
                let problem = "the server says that the file is shorter than what is there (416)".into();
                return Ok(Err(Trouble { problem, wait: None }));
            }
            status @ (408 | 425 | 429 | 500..=599) => {
                let asked = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
                let wait = asked.and_then(|value| retry_after(value, now().wall));
                return Ok(Err(Trouble { problem: format!("status {status}"), wait }));
            }
            status => return Err(self.refused(status)),
        }
        self.remember(tag.as_deref())?;
        self.take(response, part, progress).await
    }

    /// Reads the body into the part.
    async fn take(
        &self,
        mut response: Response,
        part: &mut Part,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Result<(), Trouble>, FetchError> {
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) => {
                    if part.length + chunk.len() as u64 > self.model.bytes {
                        part.clear()?;
                        return Err(self.other("it is longer than that".into()));
                    }
                    part.write(&chunk)?;
                    progress(part.length);
                }
                Ok(None) if part.length == self.model.bytes => return Ok(Ok(())),
                Ok(None) => {
                    return Ok(Err(Trouble { problem: "the connection ended before the file".into(), wait: None }));
                }
                Err(error) => return Ok(Err(Trouble { problem: causes(error), wait: None })),
            }
        }
    }

    /// A whole file must have the right size, where the server says its size.
    fn whole(&self, response: &Response) -> Result<(), FetchError> {
        match response.content_length() {
            Some(length) if length != self.model.bytes => Err(self.other(format!("it has {length} bytes"))),
            _ => Ok(()),
        }
    }

    /// Whether the answer is the part from `start` on (RFC 9110 §14.4).
    fn range(&self, response: &Response, start: u64) -> Result<bool, FetchError> {
        let header = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let Some((first, total)) = content_range(header) else { return Ok(false) };
        match total {
            Some(total) if total != self.model.bytes => Err(self.other(format!("it has {total} bytes"))),
            _ => Ok(first == start),
        }
    }

    fn other(&self, problem: String) -> FetchError {
        FetchError::OtherFile { url: shown(&self.url), problem, bytes: self.model.bytes }
    }

    fn refused(&self, status: u16) -> FetchError {
        let remedy = match status {
            401 | 403 => "the server wants to know who asks, or does not let this machine in: check --mirror",
            404 | 410 => {
                "the file is not there: check --mirror, which needs the files under their own names (`kakehashi model list`)"
            }
            407 => "the proxy wants user and password: --proxy http://user:password@host:port",
            300..=399 => {
                "it redirects to where this program does not follow (too often, or from https to http): check --mirror"
            }
            _ => "expected 200 or 206: check --mirror and --proxy",
        };
        FetchError::Refused { url: shown(&self.url), status, remedy }
    }

    fn known_tag(&self) -> Option<String> {
        fs::read_to_string(&self.tag).ok().filter(|tag| is_strong(tag))
    }

    fn remember(&self, tag: Option<&str>) -> Result<(), FetchError> {
        match tag {
            Some(tag) => Ok(fs::write(&self.tag, tag).map_err(at(&self.tag, "a folder that this user may write"))?),
            None => {
                self.forget();
                Ok(())
            }
        }
    }

    fn forget(&self) {
        let _ = fs::remove_file(&self.tag);
    }
}

/// A strong ETag may stand in If-Range, a weak one may not (RFC 9110 §13.1.5).
fn strong_tag(headers: &HeaderMap) -> Option<String> {
    let tag = headers.get(ETAG)?.to_str().ok()?;
    is_strong(tag).then(|| tag.to_owned())
}

fn is_strong(tag: &str) -> bool {
    tag.len() >= 2 && tag.len() <= ETAG_BYTES && tag.starts_with('"') && tag.ends_with('"')
}

/// First byte and total of `bytes 5-9/10`; the total may be `*`.
fn content_range(header: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = header.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    let total = match total.trim() {
        "*" => None,
        number => Some(number.parse().ok()?),
    };
    (first <= last && total.is_none_or(|total| last < total)).then_some((first, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_read_or_refused() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(content_range("bytes 0-0/*"), Some((0, None)));
        for wrong in ["", "bytes */10", "bytes 9-5/10", "bytes 5-10/10", "items 1-2/3", "bytes -1-2/3", "bytes 1-2"] {
            assert_eq!(content_range(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn weak_and_odd_etags_are_not_used() {
        assert!(is_strong("\"abc\"") && !is_strong("W/\"abc\"") && !is_strong("\"") && !is_strong("abc"));
        assert!(!is_strong(&format!("\"{}\"", "x".repeat(300))));
    }
}

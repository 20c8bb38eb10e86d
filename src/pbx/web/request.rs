//! The HTTP contract of WHIP (RFC 9725 §4): one request in, one answer out, or a wish for the media stack before it.

use std::net::IpAddr;

use super::answer::{Local, restated};
use super::call::Why;
use super::calls::{Calls, Negotiation, SessionId, State};
use super::fragment::{FRAGMENT_BYTES, Fragment, restarted};
use super::offer::{OFFER_BYTES, Offer, OfferError};
use super::token::bearer;
use crate::time::Now;

/// Path of the endpoint; a session's resource is below it.
pub const PATH: &str = "/whip";
/// Longest body of any request, in bytes.
pub const BODY_BYTES: usize = OFFER_BYTES;
/// Candidates that a session may tell in all.
const CANDIDATES_MAX: usize = 256;
/// What a client is told to wait when there is no room, in seconds.
const RETRY_S: &str = "5";

const SDP: &str = "application/sdp";
const SDPFRAG: &str = "application/trickle-ice-sdpfrag";

/// A request as far as it matters here; header values byte for byte, the first of each name.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request<'a> {
    /// `POST`, …
    pub method: &'a str,
    /// Without the query.
    pub path: &'a str,
    /// `Host`.
    pub host: Option<&'a [u8]>,
    /// `Origin`.
    pub origin: Option<&'a [u8]>,
    /// `Authorization`.
    pub authorization: Option<&'a [u8]>,
    /// `Content-Type`.
    pub content_type: Option<&'a [u8]>,
    /// `Accept`.
    pub accept: Option<&'a [u8]>,
    /// `If-Match`.
    pub if_match: Option<&'a [u8]>,
    /// The body; `None` when it was longer than [`BODY_BYTES`].
    pub body: Option<&'a [u8]>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Headers, `Content-Type` among them; names in lower case.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: String,
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It is answered.
    Done(Response),
    /// The media stack is asked first; its answer goes to [`Calls::negotiated`].
    Negotiate(Negotiation),
    /// The media stack is asked to restart ICE with this offer; its answer goes to [`Calls::restarted`].
    Restart(SessionId, String),
}

impl Calls {
    /// Takes one request.
    pub fn handle(&mut self, now: Now, from: IpAddr, request: &Request<'_>) -> Reply {
        let target = match request.path.strip_prefix(PATH) {
            Some("" | "/") => None,
            Some(rest) => match rest.strip_prefix('/').and_then(|id| uuid::Uuid::try_parse(id).ok()) {
                Some(id) => Some(SessionId(id)),
                None => {
                    return Reply::Done(
                        self.seal(request, problem(404, "no such session; expected the Location of a 201")),
                    );
                }
            },
            None => return Reply::Done(self.seal(request, problem(404, "the WHIP endpoint is at /whip"))),
        };
        if !self.is_welcome(request) {
            return Reply::Done(problem(
                403,
                "pages of this origin may not call; add it to [webcall] allow_origins if they should",
            ));
        }
        let reply = match (request.method, target) {
            ("OPTIONS", target) => Reply::Done(options(target.is_some())),
            ("POST", None) => self.post(now, from, request),
            ("PATCH", Some(session)) => self.patch(request, session),
            ("DELETE", Some(session)) => Reply::Done(self.delete(now, request, session)),
            (_, target) => Reply::Done(not_allowed(target.is_some())),
        };
        match reply {
            Reply::Done(response) => Reply::Done(self.seal(request, response)),
            other => other,
        }
    }

    fn post(&mut self, now: Now, from: IpAddr, request: &Request<'_>) -> Reply {
        let done = |response| Reply::Done(response);
        if !is_type(request.content_type, SDP) {
            return done(problem(415, "expected Content-Type: application/sdp"));
        }
        if !accepts(request.accept, SDP) {
            return done(problem(406, "the answer is application/sdp; expected an Accept header that allows it"));
        }
        if !self.may_offer(from, now) {
            return done(later(429, "too many offers from this address; see [webcall] offers_per_s"));
        }
        let place = match self.authorized(request) {
            Ok(place) => place,
            Err(refused) => return done(refused),
        };
        let Some(body) = request.body else {
            return done(problem(413, "the offer is longer than 65536 bytes"));
        };
        let tracks = match self.tickets.get(&place) {
            Some(ticket) if matches!(ticket.state, State::Running(_)) => {
                return done(later(
                    409,
                    "a call with this token is running; end it first (DELETE), or wait until it is lost",
                ));
            }
            Some(ticket) => ticket.tracks.len(),
            None => return done(unauthorized()),
        };
        if self.running() >= self.settings.max_sessions {
            return done(later(503, "all places of [webcall] max_sessions are taken"));
        }
        let offer = match Offer::read(body, tracks) {
            Ok(offer) => offer,
            Err(error @ (OfferError::Syntax | OfferError::TooMuch)) => return done(problem(400, &error.to_string())),
            Err(error) => return done(problem(422, &error.to_string())),
        };
        match self.begin(now, place, offer) {
            Some(negotiation) => Reply::Negotiate(negotiation),
            None => done(unauthorized()),
        }
    }

    /// The media stack's answer to an offer, or why there is none.
    pub fn negotiated(
        &mut self,
        now: Now,
        request: &Request<'_>,
        id: SessionId,
        local: Result<&Local, Why>,
    ) -> Response {
        let response = match local {
            Ok(local) => match self.answered(id, local) {
                Some((body, etag)) => self.created(id, body, &etag),
                None => later(503, "the offer could not be answered in time"),
            },
            Err(why) => {
                self.ended(now, id, why);
                later(503, why.text())
            }
        };
        self.seal(request, response)
    }

    fn created(&self, id: SessionId, body: String, etag: &str) -> Response {
        let mut headers = vec![
            ("content-type", SDP.to_string()),
            ("location", format!("{PATH}/{}", id.0)),
            ("etag", format!("\"{etag}\"")),
            ("accept-patch", SDPFRAG.to_string()),
        ];
        let link = |server: &String| ("link", format!("<{server}>; rel=\"ice-server\""));
        headers.extend(self.settings.ice_servers.iter().map(link));
        Response { status: 201, headers, body }
    }

    fn patch(&mut self, request: &Request<'_>, id: SessionId) -> Reply {
        let done = |response| Reply::Done(response);
        if let Err(refused) = self.owner(request, id) {
            return done(refused);
        }
        if !is_type(request.content_type, SDPFRAG) {
            return done(problem(415, "expected Content-Type: application/trickle-ice-sdpfrag"));
        }
        let Some(session) = self.sessions.get_mut(&id) else { return done(gone()) };
        match request.if_match {
            None => {
                return done(problem(428, "expected If-Match with the ETag of the session, or * for an ICE restart"));
            }
            Some(given) if !matches(given, &session.etag) => {
                return done(problem(412, "If-Match is not the ETag of the session: ICE was restarted meanwhile"));
            }
            Some(_) => {}
        }
        let Some(body) = request.body.filter(|body| body.len() <= FRAGMENT_BYTES) else {
            return done(problem(413, "the fragment is longer than 16384 bytes"));
        };
        let fragment = match Fragment::read(body) {
            Ok(fragment) => fragment,
            Err(error) => return done(problem(400, &error.to_string())),
        };
        if session.negotiating || session.restarting.is_some() {
            return done(later(409, "the session is being negotiated; try again"));
        }
        session.candidates += fragment.candidates.len();
        if session.candidates > CANDIDATES_MAX {
            return done(problem(413, "the session has told more candidates than anybody needs"));
        }
        let current = &session.offer.ice;
        if fragment.user().is_none_or(|user| user == current.fragment) {
            return done(Response { status: 204, headers: Vec::new(), body: String::new() });
        }
        let Some(ice) = fragment.ice else {
            return done(problem(422, "ice-ufrag is another one and ice-pwd is missing; an ICE restart needs both"));
        };
        session.version = session.version.saturating_add(1);
        let offer = restated(&session.offer, &ice, session.version);
        session.restarting = Some(ice);
        Reply::Restart(id, offer)
    }

    /// The media stack's answer to a restart, or why there is none; then the session goes on as it was.
    pub fn restarted(&mut self, request: &Request<'_>, id: SessionId, local: Result<&Local, Why>) -> Response {
        let etag = self.source.uuid().simple().to_string();
        let response = match (self.sessions.get_mut(&id), local) {
            (Some(session), Ok(local)) => {
                if let Some(ice) = session.restarting.take() {
                    session.offer.ice = ice;
                }
                session.etag = etag;
                session.candidates = 0;
                let mid = session.offer.audio().find_map(|(line, _)| line.mid.clone()).unwrap_or_default();
                let body = restarted(&mid, &local.ice, &local.candidates);
                let headers = vec![("content-type", SDPFRAG.to_string()), ("etag", format!("\"{}\"", session.etag))];
                Response { status: 200, headers, body }
            }
            (Some(session), Err(why)) => {
                session.restarting = None;
                problem(422, &format!("ICE was not restarted: {}; begin a new session", why.text()))
            }
            (None, _) => gone(),
        };
        self.seal(request, response)
    }

    fn delete(&mut self, now: Now, request: &Request<'_>, id: SessionId) -> Response {
        if let Err(refused) = self.owner(request, id) {
            return refused;
        }
        self.ended(now, id, Why::HungUp);
        Response { status: 200, headers: Vec::new(), body: String::new() }
    }

    /// The ticket of the request's token.
    fn authorized(&self, request: &Request<'_>) -> Result<u64, Response> {
        let token = request.authorization.and_then(bearer).ok_or_else(unauthorized)?;
        self.find(token).ok_or_else(unauthorized)
    }

    /// Whether the request's token is that of the session.
    fn owner(&self, request: &Request<'_>, id: SessionId) -> Result<(), Response> {
        let token = request.authorization.and_then(bearer).ok_or_else(unauthorized)?;
        let session = self.sessions.get(&id).ok_or_else(gone)?;
        match self.find(token) {
            Some(place) if place == session.ticket => Ok(()),
            Some(_) => Err(problem(403, "this is the session of another token")),
            None => Err(unauthorized()),
        }
    }

    /// Whether the page that asks may: it is our own, one of the configuration, or no page at all.
    fn is_welcome(&self, request: &Request<'_>) -> bool {
        let Some(origin) = request.origin else { return true };
        let Ok(origin) = std::str::from_utf8(origin) else { return false };
        let own = origin.split_once("://").map(|(_, authority)| authority.as_bytes());
        (own.is_some() && own == request.host) || self.origins.iter().any(|known| known.eq_ignore_ascii_case(origin))
    }

    /// Adds what a browser needs to read an answer from another origin (Fetch §3.2).
    fn seal(&self, request: &Request<'_>, mut response: Response) -> Response {
        let origin =
            request.origin.filter(|_| self.is_welcome(request)).and_then(|origin| std::str::from_utf8(origin).ok());
        if let Some(origin) = origin {
            response.headers.push(("access-control-allow-origin", origin.to_string()));
            response.headers.push(("access-control-expose-headers", "Location, ETag, Link, Retry-After".into()));
            response.headers.push(("vary", "Origin".into()));
        }
        response
    }
}

fn options(session: bool) -> Response {
    let methods = if session { "PATCH, DELETE, OPTIONS" } else { "POST, OPTIONS" };
    let accept = if session { ("accept-patch", SDPFRAG) } else { ("accept-post", SDP) };
    let headers = [
        ("allow", methods),
        accept,
        ("access-control-allow-methods", methods),
        ("access-control-allow-headers", "Authorization, Content-Type, If-Match"),
        ("access-control-max-age", "600"),
    ];
    let headers = headers.into_iter().map(|(name, value)| (name, value.to_string())).collect();
    Response { status: 204, headers, body: String::new() }
}

fn not_allowed(session: bool) -> Response {
    let mut response = problem(405, "expected POST at the endpoint, PATCH or DELETE at a session");
    response.headers.push(("allow", if session { "PATCH, DELETE, OPTIONS" } else { "POST, OPTIONS" }.into()));
    response
}

fn gone() -> Response {
    problem(404, "no such session; it has ended")
}

fn unauthorized() -> Response {
    let mut response = problem(
        401,
        "expected Authorization: Bearer with a token of POST /v1/web-calls that is not used up or expired",
    );
    response.headers.push(("www-authenticate", "Bearer".into()));
    response
}

fn later(status: u16, what: &str) -> Response {
    let mut response = problem(status, what);
    response.headers.push(("retry-after", RETRY_S.into()));
    response
}

fn problem(status: u16, what: &str) -> Response {
    let body = serde_json::json!({ "error": what }).to_string();
    Response { status, headers: vec![("content-type", "application/json".into())], body }
}

/// The media type without its parameters (RFC 9110 §8.3).
fn is_type(header: Option<&[u8]>, wanted: &str) -> bool {
    let essence = |header: &[u8]| header.split(|byte| *byte == b';').next().unwrap_or_default().to_vec();
    header.is_some_and(|header| essence(header).trim_ascii().eq_ignore_ascii_case(wanted.as_bytes()))
}

/// Whether an Accept header allows the type (RFC 9110 §12.5.1); `q=0` is not looked for.
fn accepts(header: Option<&[u8]>, wanted: &str) -> bool {
    let Some(header) = header else { return true };
    header.split(|byte| *byte == b',').any(|range| {
        is_type(Some(range), wanted) || is_type(Some(range), "*/*") || is_type(Some(range), "application/*")
    })
}

/// Whether If-Match names the ETag (RFC 9110 §13.1.1, strong comparison).
fn matches(header: &[u8], etag: &str) -> bool {
    let tag = format!("\"{etag}\"");
    header.split(|byte| *byte == b',').map(|part| part.trim_ascii()).any(|part| part == b"*" || part == tag.as_bytes())
}

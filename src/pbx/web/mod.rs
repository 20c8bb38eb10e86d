//! Web calls: a softphone in a browser sends the two audio tracks of a call by WHIP (RFC 9725); HTTP requests in, [`crate::pbx::Signal`]s,
//! answers and wishes for a media peer out.
//!
//! Somebody who may (the softphone's server, a person with the page) asks for a [`token`]: for a new call, or for one that another driver
//! tells of already. The softphone's telephone rings; with the token it makes an offer, which [`offer`] inspects. The media stack gets the
//! offer only in our own words, and the softphone an [`answer`] in ours too, so neither reads what the other wrote. [`request`] is
//! the HTTP contract, [`fragment`] what is trickled, [`calls`] the state of all calls and tokens. `docs/webcall.md` is for the integrator.

pub mod answer;
pub mod call;
pub mod calls;
pub mod fragment;
pub mod offer;
pub mod request;
pub mod settings;
pub mod token;

pub use call::{Ask, Issued, Refused, Target, Why};
pub use calls::{Calls, Negotiation, Output, SessionId};
pub use request::{Reply, Request, Response};
pub use settings::{PeerSettings, Settings};

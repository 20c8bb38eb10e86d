//! SIP: datagrams and streams in, [`crate::pbx::Signal`]s, answers and wishes for media out; nothing here touches a socket.
//!
//! In the order of a message's way: [`wire`] cuts bytes into [`message`]s, [`request`] reads the headers that every request has (by
//! [`header`]), [`transaction`] repeats answers, [`uas`] checks in the order of RFC 3261 §8.2 and hands on to a call, which has a
//! [`dialog`] and media agreed in [`sdp`], protected as [`keying`] says; what it answers and asks goes by `outgoing`. `reliable`,
//! `renegotiate`, `timer` and `refresh` are the extensions of a call: RFC 3262, RFC 3311 and RFC 4028. [`rate`] and [`auth`] stand before
//! all of it: who asks too much, and who proves himself. What the bridge asks of an exchange by itself, [`register`] and [`subscribe`]
//! (which reads [`dialog_info`]), is sent by `account`. `docs/sip.md` lists every rule that is kept, and where it is not; `tests/sip_rules/`
//! has the tests. A call that
//! records others ([`siprec`], RFC 7866) is a `recording`: its sound is that of calls of their own.

pub mod auth;
pub mod dialog;
pub mod dialog_info;
pub mod diverted;
pub mod flow;
pub mod header;
pub mod identity;
pub mod keying;
pub mod message;
pub mod multipart;
pub mod rate;
pub mod register;
pub mod request;
pub mod sdes;
pub mod sdp;
pub mod settings;
pub mod siprec;
pub mod subscribe;
pub mod transaction;
pub mod uas;
pub mod wire;
mod xml;

mod account;
mod backoff;
mod call;
mod calls;
mod check;
pub(in crate::pbx) mod content;
mod ending;
mod info;
mod inside;
mod media;
mod outgoing;
mod recording;
mod refresh;
mod reliable;
mod renegotiate;
mod replaces;
mod timer;

pub use account::{Note, RouteId};
pub use flow::{Flow, Transport};
pub use settings::{PeerSettings, Preferred, RegisterSettings, Settings, TlsClient, WatchSettings};
pub use uas::{Output, Policy, Uas};

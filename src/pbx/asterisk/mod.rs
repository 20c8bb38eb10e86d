//! Asterisk by its REST interface (ARI): events in, [`crate::pbx::Signal`]s and requests out; nothing here touches a socket.
//!
//! * [`event`] reads ARI's JSON with tolerance and limits.
//! * [`request`] is an HTTP request as data.
//! * [`ari`] is the state machine that `bridge::ari` drives; `world`, `observe`, `passing`, `tap` and `resync` are its parts.

pub mod ari;
pub mod event;
pub mod request;
pub mod settings;

mod identity;
mod observe;
mod passing;
mod resync;
mod tap;
mod world;

#[cfg(test)]
mod tests;

pub use ari::{Ari, Output, Wanted};
pub use settings::Settings;

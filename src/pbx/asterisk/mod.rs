//! Asterisk by its REST interface (ARI): events in, [`crate::pbx::Signal`]s and requests out; nothing here touches a socket.
//!
//! * [`event`] reads ARI's JSON with tolerance and limits.
//! * [`request`] is an HTTP request as data.
//! * [`audiosocket`] and [`websocket`] are media connections of Asterisk's, each as a machine; [`timeline`] puts their sound into true time,
//!   [`door`] says who may come in, [`announce`] reads what a dialplan tells of a call, [`own_leg`] makes signals of it.
//! * [`ari`] is the state machine that `bridge::ari` drives; `world`, `observe`, `passing`, `tap`, `carrier` and `resync` are its parts.

pub mod announce;
pub mod ari;
pub mod audiosocket;
pub mod door;
pub mod event;
pub mod own_leg;
pub mod request;
pub mod settings;
pub mod timeline;
pub mod websocket;

mod carrier;
mod identity;
mod observe;
mod passing;
mod resync;
mod tap;
mod world;

#[cfg(test)]
mod tests;

pub use ari::{Ari, Output};
pub use settings::{AudioSocketSettings, Carrier, Settings, WebSocketSettings};

//! An exchange observed from outside, by a copy of its packets: frames in, [`crate::pbx::Signal`]s, streams and RTP out; nothing here touches a
//! socket or a file.
//!
//! In the order of a packet's way: `frame` finds the datagram in a frame (with the fragments that `fragment` keeps) and `tcp` the messages
//! in a connection; `heard` reads what a message says of a `dialog`, `join` finds the call that a dialog belongs to, `call` and `transfer` tell of
//! it, and `sound` gives the RTP of the announced addresses to the speakers; `relay` recognises sound that the exchange passes on.
//! `docs/mirror.md` says what is taken, how dialogs are joined, and what is not seen.

mod call;
mod dialog;
mod fragment;
mod frame;
mod heard;
mod join;
mod machine;
mod relay;
mod settings;
mod sieve;
mod sound;
mod tcp;
mod transfer;

pub use frame::Link;
pub use machine::{Counters, Mirror, Output};
pub use settings::{Place, Settings};
pub use sieve::Sieve;

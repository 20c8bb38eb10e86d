//! Events to requests of one CRM, answers to verdicts; who is calling. No sockets: `bridge::deliver` and `bridge::lookup` carry them out.

pub mod lookup;
pub mod settings;
pub mod verify;
pub mod webhook;

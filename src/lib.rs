//! Kakehashi (架け橋): the bridge from a telephone exchange to a CRM.
#![allow(missing_docs)] // while the stages land

pub mod time;

pub mod pbx;

pub mod call;

pub mod media;

pub mod speech;

pub mod dictionary;

pub mod transcript;

pub mod events;

pub mod outbox;

pub mod crm;

#[cfg(feature = "web")]
pub mod panel;

pub mod session;

pub mod bridge;

pub mod cli;

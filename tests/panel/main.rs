//! The operator panel: its feed, its web server over loopback, and (with Chromium) its page.
#![cfg(feature = "web")]

mod client;
mod events;
mod feed;
mod http;
mod page;

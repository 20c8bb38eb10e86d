//! Starts everything that a configuration names, in the order of the data from its end to its beginning, and stops it again.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::hub::{Hub, Parts};
use super::lookup::LookUps;
use super::{Input, ari, deliver, listen, media, sip, workers};
use crate::call::directory::Directory;
use crate::call::line::Lines;
use crate::config::Config;
use crate::crm::lookup::Contacts;
use crate::dictionary::Dictionary;
use crate::outbox::store::Outbox;
use crate::panel;
use crate::pbx::PbxId;
use crate::session::Site;

/// Inputs that wait for the hub; drivers wait when it is full, media events are kept by the listener.
const INPUTS: usize = 8_192;
/// PCM frames and events between the media threads and the listener.
const HEARD: usize = 16_384;

/// Why the bridge could not start. Every text names the place, what was expected and what to do.
pub type StartError = Box<dyn std::error::Error + Send + Sync>;

/// A running bridge.
pub struct Running {
    /// Where the panel listens.
    pub panel: Option<SocketAddr>,
    /// Where SIP is listened for over UDP, one per SIP exchange.
    pub sip: Vec<SocketAddr>,
    /// What the panel sees; for the demo.
    pub feed: panel::FeedHandle,
    config: Config,
    inputs: mpsc::Sender<Input>,
    pool: workers::Pool,
    outbox: Outbox,
    drivers: Drivers,
    stop: watch::Sender<bool>,
    hub: JoinHandle<()>,
}

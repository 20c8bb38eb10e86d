//! The operator's screen: pops while the telephone rings, the text of both parties, the end of the call.
//!
//! In: [`events::Event`](crate::events::Event), record events after their commit and realtime events. Out: a live feed with ids to resume from,
//! a snapshot of the running contacts for whoever joins late, and one embedded page over server-sent events.
//! Refuses: a slow client (it is told to resync; nobody waits for it), a connection above the cap, a request without the token,
//! a request for a foreign host name.
//!
//! `board` and `feed` are sans-IO; `http` owns the sockets.

mod board;
pub mod feed;
pub mod http;
pub mod settings;
pub mod told;

pub use http::{
    Admission, Control, Controller, Deliveries, Endpoint, EndpointState, Events, FeedHandle, Metrics, OpenedCall,
    Opener, PanelHandle, Pause, SinceStart, Stored, WebCall, WebCallRefused, openapi, spawn, spawn_with,
};
pub use settings::Settings;

use std::net::SocketAddr;
use std::path::PathBuf;

/// Why the panel does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be had.
    #[error(
        "the panel cannot listen on {listen}: {source}; if another program has the port (see `ss -ltnp`), stop it or set \
         another port in [panel] listen"
    )]
    Listen {
        /// `[panel] listen`.
        listen: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The panel would be open to other machines.
    #[error(
        "[panel] listen = \"{listen}\" can be reached from other machines and no token is set; expected: token_file (or token) \
         of at least {least} characters, or a loopback address such as 127.0.0.1:8080",
        least = settings::LEAST_TOKEN
    )]
    OpenWithoutToken {
        /// `[panel] listen`.
        listen: SocketAddr,
    },
    /// The token can be guessed.
    #[error(
        "[panel] {key}: the token has {length} characters; expected at least {least}, for example from `openssl rand -base64 32`",
        least = settings::LEAST_TOKEN
    )]
    ShortToken {
        /// `token` or `token_file`.
        key: &'static str,
        /// Its length.
        length: usize,
    },
    /// Two tokens.
    #[error("[panel] token and token_file are both set; keep one of them")]
    TwoTokens,
    /// The file cannot be read.
    #[error("[panel] token_file = \"{}\": {source}; expected a readable text file with the token on its first line", path.display())]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A machine client that cannot be told from others.
    #[error("[[panel.client]] id = \"{id}\": {problem}")]
    Client {
        /// Its id.
        id: String,
        /// What is wrong and what is expected.
        problem: String,
    },
    /// A limit that nothing could work with.
    #[error("[panel] {key} = {value}: expected at least {least}")]
    TooSmall {
        /// The key.
        key: &'static str,
        /// Its value.
        value: u64,
        /// The least that works.
        least: u64,
    },
    /// The system has no random numbers; says why.
    #[error("the panel got no random numbers from the system: {0}")]
    Random(String),
}

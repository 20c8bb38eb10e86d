//! In place of the collector in a build without OpenTelemetry: `[telemetry] url` is refused there, so there is none.

use crate::config::Config;

/// There is none.
pub enum Error {}

/// There is none.
pub struct Collector(Error);

impl Collector {
    pub(super) fn new(_: &Config) -> Result<Option<Collector>, Error> {
        Ok(None)
    }

    pub(super) fn takes_traces(&self) -> bool {
        match self.0 {}
    }
}

impl std::fmt::Debug for Error {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {}
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {}
    }
}

impl std::error::Error for Error {}

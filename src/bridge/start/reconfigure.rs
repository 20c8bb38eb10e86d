//! Takes a changed configuration while calls run.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use super::{Bridge, Error};
use crate::bridge::{now, telemetry};
use crate::config::{Changes, Config};
use crate::time::Wall;

/// What became of the readings of the configuration since the start.
#[derive(Debug)]
pub struct Reloads {
    applied: AtomicU64,
    refused: AtomicU64,
    last_good: AtomicI64,
    need_restart: AtomicU64,
}

impl Reloads {
    /// That of the start was good.
    pub(super) fn begun() -> Reloads {
        Reloads {
            applied: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            last_good: AtomicI64::new(now().wall.0),
            need_restart: AtomicU64::new(0),
        }
    }

    /// Readings that were taken and that were refused.
    pub fn results(&self) -> [(&'static str, u64); 2] {
        [("applied", &self.applied), ("refused", &self.refused)]
            .map(|(name, count)| (name, count.load(Ordering::Relaxed)))
    }

    /// When the last one was taken; the start counts.
    pub fn last_good(&self) -> Wall {
        Wall(self.last_good.load(Ordering::Relaxed))
    }

    /// Keys of the file that differ from what is in force until the next start.
    pub fn need_restart(&self) -> u64 {
        self.need_restart.load(Ordering::Relaxed)
    }
}

impl Bridge {
    /// The configuration in force.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config)
    }

    /// Takes what can be taken while calls run, all of it or nothing. The site's files are read again by [`Bridge::reload`].
    ///
    /// # Errors
    /// What cannot be used; the old configuration stays in force then.
    pub async fn reconfigure(&mut self, changes: Changes) -> Result<(), Error> {
        let config = Arc::new(changes.in_force);
        let (deliverer, wanted) = (self.deliverer.clone(), Arc::clone(&config));
        let prepared = tokio::task::spawn_blocking(move || deliverer.prepare(&wanted.endpoint));
        let prepared = prepared.await.map_err(|error| Error::Thread(error.into()))??;
        let collector = telemetry::prepare(&config)?;
        #[cfg(feature = "web")]
        if let Some(panel) = &self.panel {
            panel.admit(panel.prepare(&config.panel).await?);
        }
        self.deliverer.apply(prepared, &config.outbox).await;
        self.telemetry.apply(collector);
        self.look_ups.iter().for_each(|look_ups| look_ups.tune(&config.lookup));
        if config.retention != self.config.retention {
            // its thread ends with the bridge only
            let _ = self.retention.send(config.retention);
        }
        self.config = config;
        self.reloads.applied.fetch_add(1, Ordering::Relaxed);
        self.reloads.last_good.store(now().wall.0, Ordering::Relaxed);
        self.reloads.need_restart.store(changes.need_restart.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Counts a configuration that could not be used.
    pub fn refused(&self) {
        self.reloads.refused.fetch_add(1, Ordering::Relaxed);
    }
}

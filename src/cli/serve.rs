//! `kakehashi serve`: runs the bridge until SIGTERM or Ctrl-C; SIGHUP reads the configuration and the site's files again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};

use crate::bridge::start;
use crate::config::{self, Changes, Config};

/// Run the bridge.
///
/// SIGTERM lets running calls go on for `[node] calls_ms` while new ones are refused; then, at a second signal, or at once by Ctrl-C, it ends in order
/// (contacts that are open end with `bridge_restart` and are taken up at the next start). One more ends it at once, which loses nothing either: what
/// was accepted is on disk. SIGHUP reads the configuration, directory, contacts and dictionary again; a wrong configuration changes nothing, and keys
/// that need a restart are named in the log.
#[derive(Debug, clap::Args)]
pub struct ServeArgs {
    /// Configuration file.
    #[arg(long, short, value_name = "FILE")]
    pub config: PathBuf,
}

/// What systemd is asked to wait for the end after the last call.
const ENDING: Duration = Duration::from_secs(60);

/// Runs the subcommand.
///
/// # Errors
/// When the configuration is wrong or a part cannot start.
pub fn run(args: &ServeArgs) -> super::Result {
    let config = super::load_config(&args.config)?;
    super::log::start(&config.log);
    super::runtime()?.block_on(serve(config, &args.config))
}

async fn serve(config: Config, path: &Path) -> super::Result {
    let (mut term, mut int, mut hup) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?);
    let mut bridge = start::start(config).await?;
    tell_ready(&bridge);
    tell_systemd(&[NotifyState::Ready]);
    let waits = loop {
        tokio::select! {
            _ = hup.recv() => read_again(path, &mut bridge).await,
            _ = term.recv() => break !bridge.patience().is_zero(),
            _ = int.recv() => break false,
        }
    };
    let patience = u32::try_from((bridge.patience() + ENDING).as_micros()).unwrap_or(u32::MAX);
    tell_systemd(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(patience)]);
    if waits {
        tokio::select! {
            () = bridge.drain() => {}
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    }
    tracing::info!("stopping");
    tokio::select! {
        () = bridge.stop() => {}
        _ = term.recv() => tracing::warn!("stopped at once; what was open is taken up at the next start"),
        _ = int.recv() => tracing::warn!("stopped at once; what was open is taken up at the next start"),
    }
    tracing::info!("stopped");
    Ok(())
}

/// Reads the configuration and the site's files again. What is wrong is told, and stays as it was.
async fn read_again(path: &Path, bridge: &mut start::Bridge) {
    let before = bridge.config().log.level;
    match configure(path, bridge).await {
        Ok((applied, need_restart)) => {
            let level = bridge.config().log.level;
            // told as far as either level lets it
            super::log::change(level.max(before));
            tracing::info!(applied, "the configuration was read again");
            if !need_restart.is_empty() {
                tracing::warn!(keys = need_restart, "these keys of the configuration need a restart");
            }
            super::log::change(level);
        }
        Err(error) => {
            bridge.refused();
            let error = super::chain(error.as_ref());
            tracing::error!(error, "the configuration cannot be used; the old one stays in force");
        }
    }
    bridge.reload();
}

/// Gives the keys that were taken, and those that need a restart.
async fn configure(
    path: &Path,
    bridge: &mut start::Bridge,
) -> Result<(String, String), Box<dyn std::error::Error + Send + Sync>> {
    let (path, old) = (path.to_path_buf(), bridge.config());
    let read = move || -> Result<Changes, Box<dyn std::error::Error + Send + Sync>> {
        let new = super::load_config(&path)?;
        super::check::whole(&new)?;
        if new.speech != old.speech {
            super::check::check_model(&new)?;
        }
        Ok(config::changes(&old, &new, &path)?)
    };
    let changes = tokio::task::spawn_blocking(read).await??;
    let keys = (changes.applied.join(", "), changes.need_restart.join(", "));
    bridge.reconfigure(changes).await?;
    Ok(keys)
}

/// Where systemd does not wait for it, nothing happens.
fn tell_systemd(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "systemd cannot be told");
    }
}

fn tell_ready(bridge: &start::Bridge) {
    let [udp, tcp, tls] = bridge.sip();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        panel = bridge.panel().map(|address| format!("http://{address}/")),
        web_calls = bridge.webcall().map(|address| format!("http://{address}/")),
        sip_udp = ?udp,
        sip_tcp = ?tcp,
        sip_tls = ?tls,
        workers = bridge.workers().len(),
        "ready"
    );
}

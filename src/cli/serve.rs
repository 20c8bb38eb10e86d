//! `kakehashi serve`: runs the bridge until SIGTERM or Ctrl-C; SIGHUP reads the site's files again.

use std::path::PathBuf;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};

use crate::bridge::start;
use crate::config::Config;

/// Run the bridge.
///
/// SIGTERM lets running calls go on for `[node] calls_ms` while new ones are refused; then, at a second signal, or at once by Ctrl-C, it ends in order
/// (contacts that are open end with `bridge_restart` and are taken up at the next start). One more ends it at once, which loses nothing either: what
/// was accepted is on disk. SIGHUP reads directory, contacts and dictionary again.
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
    super::runtime()?.block_on(serve(config))
}

async fn serve(config: Config) -> super::Result {
    let (mut term, mut int, mut hup) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?);
    let mut bridge = start::start(config).await?;
    tell_ready(&bridge);
    tell_systemd(&[NotifyState::Ready]);
    let waits = loop {
        tokio::select! {
            _ = hup.recv() => bridge.reload(),
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

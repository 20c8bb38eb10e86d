//! `kakehashi relay`: the far end of a link between separated networks, beside the CRM.

use std::path::{Path, PathBuf};

use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};

use crate::bridge::relay;
use crate::config::ConfigError;
use crate::config::relay::RelayConfig;
use crate::outbox::relay::settings::Way;

/// Run the far end of a link: keep the events of a bridge in another network, and deliver them here.
///
/// SIGTERM and Ctrl-C end it in order; what was accepted is on disk. SIGHUP reads certificates and the endpoints' files again.
#[derive(Debug, clap::Args)]
pub struct RelayArgs {
    /// Configuration file.
    #[arg(long, short, value_name = "FILE")]
    pub config: PathBuf,
    /// Check the configuration and the files that it names, and start nothing.
    #[arg(long)]
    pub check: bool,
}

/// Runs the subcommand.
///
/// # Errors
/// When the configuration is wrong or a part cannot start.
pub fn run(args: &RelayArgs) -> super::Result {
    let (config, way) = load(&args.config)?;
    if args.check {
        relay::check(&config)?;
        println!("{}: good", args.config.display());
        println!("  link: {:?}, with {}", way.opens, way.peer);
        config.endpoint.iter().for_each(|endpoint| println!("  endpoint {}: {}", endpoint.id, endpoint.url));
        return Ok(());
    }
    super::log::start(&config.log);
    super::runtime()?.block_on(serve(config, way))
}

fn load(path: &Path) -> Result<(RelayConfig, Way), ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.into(), source })?;
    RelayConfig::parse(path, &text)
}

async fn serve(config: RelayConfig, way: Way) -> super::Result {
    let (mut term, mut int, mut hup) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?);
    let running = relay::start(&config, way)?;
    #[cfg(feature = "web")]
    let told = match config.metrics.enabled {
        true => Some(relay::tell::spawn(&running, config.metrics.listen).await?),
        false => None,
    };
    #[cfg(feature = "web")]
    let metrics = told.as_ref().map(|(address, _)| format!("http://{address}/metrics"));
    #[cfg(not(feature = "web"))]
    let metrics: Option<String> = None;
    let link = running.link().map(|address| address.to_string());
    tracing::info!(version = env!("CARGO_PKG_VERSION"), link, metrics, "ready");
    tell_systemd(NotifyState::Ready);
    loop {
        tokio::select! {
            _ = hup.recv() => running.reload(),
            _ = term.recv() => break,
            _ = int.recv() => break,
        }
    }
    tracing::info!("stopping");
    tell_systemd(NotifyState::Stopping);
    tokio::select! {
        () = running.stop() => {}
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    tracing::info!("stopped");
    Ok(())
}

/// Where systemd does not wait for it, nothing happens.
fn tell_systemd(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "systemd cannot be told");
    }
}

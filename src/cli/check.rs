//! `kakehashi check`: reads the configuration and every file that it names, starts nothing, and says what would be served.

use std::path::PathBuf;

use crate::bridge::{deliver, lookup::LookUps, mirror, reload, sip::Tls, telemetry};
use crate::config::Config;

/// Check a configuration and the files that it names, without starting anything.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// Configuration file.
    #[arg(long, short, value_name = "FILE")]
    pub config: PathBuf,
}

/// Runs the subcommand.
///
/// # Errors
/// The first thing that is wrong.
pub fn run(args: &CheckArgs) -> super::Result {
    let config = super::load_config(&args.config)?;
    let words = whole(&config)?;
    check_model(&config)?;
    println!("{}: good", args.config.display());
    for doubt in config.doubts() {
        println!("  doubtful: {doubt}");
    }
    print(&config, words);
    Ok(())
}

/// Checks everything but the model; gives the number of words in the dictionary.
///
/// # Errors
/// The first thing that is wrong.
pub(super) fn whole(config: &Config) -> Result<usize, Box<dyn std::error::Error + Send + Sync>> {
    for site in &config.site {
        reload::directory(&site.directory)?;
        LookUps::load(&site.contacts, None, &config.lookup)?;
    }
    let dictionary = reload::dictionary(config)?;
    deliver::check(&config.endpoint)?;
    if config.sip.enabled {
        let peers: Vec<_> = config.pbx.iter().filter_map(|pbx| Some((pbx.name(), pbx.sip.clone()?))).collect();
        Tls::load(&config.sip, &peers)?;
    }
    for (pbx, settings) in config.pbx.iter().filter_map(|pbx| Some((pbx.name(), pbx.mirror.as_ref()?))) {
        mirror::check(&pbx, settings)?;
    }
    #[cfg(feature = "web")]
    config.panel.check()?;
    crate::bridge::remote::check(&config.speech.remote)?;
    crate::bridge::nats::check(&config.speech.nats)?;
    telemetry::prepare(config)?;
    Ok(dictionary.entries().len())
}

/// Checks the model, where one is needed here.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check_model(config: &Config) -> super::Result {
    if config.transcribes() && config.speech.is_local() {
        super::model::manifest(&config.speech.model)?;
        super::model::check(&config.speech.model)?;
    }
    Ok(())
}

fn print(config: &Config, words: usize) {
    for pbx in &config.pbx {
        let ari = pbx.ari.as_ref().map(|ari| format!("ARI at {}", ari.url));
        let sip = pbx.sip.as_ref().map(|sip| format!("SIP from {} networks", sip.peers.len()));
        let mirror = pbx.mirror.as_ref().map(|mirror| match mirror.interface.as_str() {
            "" => format!("mirror in {}", mirror.file.display()),
            interface => format!("mirror at {interface}"),
        });
        let web = pbx.web.as_ref().map(|_| format!("web calls at {}", config.webcall.listen));
        let ways: Vec<String> = [ari, sip, mirror, web].into_iter().flatten().collect();
        println!("  exchange {} of site {}: {}", pbx.id, pbx.site, ways.join(", "));
    }
    for endpoint in &config.endpoint {
        match &endpoint.relay {
            Some(relay) if relay.listen.is_empty() => {
                println!("  endpoint {}: relay at {}", endpoint.id, relay.connect)
            }
            Some(relay) => println!("  endpoint {}: relay that connects to {}", endpoint.id, relay.listen),
            None => println!("  endpoint {}: {}", endpoint.id, endpoint.url),
        }
    }
    if config.telemetry.is_on() {
        println!("  telemetry: to {}", config.telemetry.url);
    }
    println!("  dictionary: {words} words");
    let remote = &config.speech.remote;
    match config.transcribes() {
        true if remote.is_on() => {
            println!("  recognition: {} by the server at {} (not asked)", remote.model, remote.url);
            if remote.fallback {
                println!("  model while it does not answer: {}", config.speech.model.display());
            }
        }
        true if config.speech.nats.is_on() => {
            let (model, nats) = (config.speech.model_name(), &config.speech.nats);
            println!("  recognition: {model} by the workers of group {} at {} (not asked)", nats.group, nats.url);
            if nats.local {
                println!("  model beside them: {}", config.speech.model.display());
            }
        }
        true => println!("  model: {}", config.speech.model.display()),
        false => println!("  model: none is needed, no line is transcribed"),
    }
}

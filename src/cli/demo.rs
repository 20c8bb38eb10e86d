//! `kakehashi demo`: one two-party call through the whole path, offline: real SIP and RTP on loopback, recognition, signed webhooks, panel.

use std::io::{IsTerminal, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;

use crate::bridge::{now, start};
use crate::call::line::{Line, Lines};
use crate::config::{Config, Level, Log, Node, Pbx, Site};
use crate::crm::settings::{Endpoint, Secret};
use crate::events::Data;
use crate::pbx::sip::{PeerSettings, Settings as SipSettings};
use crate::time::Wall;

mod exchange;
mod receiver;
mod story;

use exchange::Call;
use receiver::Verified;
use story::Paint;

/// The agent's extension in `samples/directory.csv`.
const EXTENSION: &str = "2001";
/// The caller's number in `samples/contacts.csv`.
const CALLER: &str = "0600001234";
/// How long the telephone rings.
const RING_MS: u64 = 2_000;
/// After the call, how long its document may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Play one two-party call through the whole path, offline, and end.
///
/// Starts a bridge with a built-in exchange and a built-in receiver of webhooks, all on loopback. Nothing of it is left afterwards.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Print each verified event as one JSON object a line instead of the story.
    #[arg(long)]
    pub json: bool,
    /// Folder with `calls/`, `directory.csv`, `contacts.csv` and `dictionary.csv`.
    #[arg(long, default_value = "samples", value_name = "DIR")]
    pub samples: PathBuf,
    /// Call to play, WAV at 8 kHz: caller left, agent right; by default `calls/call2.wav` of the samples.
    #[arg(long, value_name = "FILE")]
    pub call: Option<PathBuf>,
    /// Whisper model in ggml format.
    #[arg(long, default_value = "models/kakehashi-lab-ja.bin", value_name = "FILE")]
    pub model: PathBuf,
    /// How much of the bridge's own log is shown.
    #[arg(long, default_value = "warn", value_name = "LEVEL", value_parser = level)]
    pub log: Level,
}

fn level(text: &str) -> Result<Level, String> {
    let level = serde_json::from_value(serde_json::Value::String(text.into()));
    level.map_err(|_| "expected error, warn, info, debug or trace".into())
}

/// Runs the subcommand.
///
/// # Errors
/// When a part cannot start, the call cannot be played, or the record of it does not arrive.
pub fn run(args: &DemoArgs) -> super::Result {
    super::log::start(&Log { level: args.log, json: false });
    let call = Call {
        from: CALLER.into(),
        to: EXTENSION.into(),
        sound: sound(&args.call.clone().unwrap_or_else(|| args.samples.join("calls/call2.wav")))?,
    };
    super::runtime()?.block_on(demo(args, call))
}

async fn demo(args: &DemoArgs, call: Call) -> super::Result {
    let folder = Folder::new()?;
    let secret = new_secret()?;
    let (hook, mut webhooks) = receiver::listen(secret.clone()).await?;
    let bridge = start::start(config(args, &folder.0, hook, secret)).await?;
    let mut teller =
        Teller { json: args.json, paint: Paint(std::io::stdout().is_terminal()), began: now().wall, told: 0 };
    teller.say(&format!(
        "パネル: http://{}/ （この実演の間だけ）",
        bridge.panel().map(|at| at.to_string()).unwrap_or_default()
    ));
    let sip = bridge.sip()[0].first().copied().ok_or("the bridge does not listen for SIP")?;
    let outcome = tell(sip, &call, &mut webhooks, &mut teller).await;
    bridge.stop().await;
    outcome?;
    teller.say(&format!("署名を検証した Webhook: {} 件", teller.told));
    Ok(())
}

/// Plays the call and tells what the receiver verified until the document of the call is there.
async fn tell(
    sip: SocketAddr,
    call: &Call,
    webhooks: &mut tokio::sync::mpsc::Receiver<Verified>,
    teller: &mut Teller,
) -> super::Result {
    let played = exchange::play(sip, call);
    tokio::pin!(played);
    let mut over = false;
    loop {
        let patience = if over { PATIENCE } else { Duration::from_secs(86_400) };
        tokio::select! {
            result = &mut played, if !over => {
                result?;
                over = true;
            }
            verified = webhooks.recv() => {
                let Some(verified) = verified else { return Err("the demo's receiver ended".into()) };
                teller.tell(&verified)?;
                if matches!(&verified.event.data, Data::TranscriptDocument(document) if document.complete) {
                    return Ok(());
                }
            }
            () = tokio::time::sleep(patience) => {
                return Err("the document of the call did not arrive within 120 s of its end".into());
            }
        }
    }
}

/// Prints the story, or the events.
struct Teller {
    json: bool,
    paint: Paint,
    began: Wall,
    told: usize,
}

impl Teller {
    fn say(&self, text: &str) {
        if !self.json {
            println!("{}", self.paint.dim(text));
        }
    }

    fn tell(&mut self, verified: &Verified) -> std::io::Result<()> {
        self.told += 1;
        let mut out = std::io::stdout().lock();
        if self.json {
            return writeln!(out, "{}", verified.body);
        }
        if let Some(line) = story::line(&verified.event, self.began, self.paint) {
            let kind = verified.event.type_name().trim_start_matches("kakehashi.").trim_end_matches(".v1");
            let sequence = verified.event.sequence.map(|n| format!(" #{n}")).unwrap_or_default();
            writeln!(out, "{line}  {}", self.paint.dim(&format!("✓ {kind}{sequence}")))?;
        }
        out.flush()
    }
}

fn config(args: &DemoArgs, folder: &std::path::Path, hook: SocketAddr, secret: String) -> Config {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let loopback = ipnet::IpNet::from(std::net::IpAddr::from(Ipv4Addr::LOCALHOST));
    let site = Site {
        id: "osaka".into(),
        directory: args.samples.join("directory.csv"),
        contacts: args.samples.join("contacts.csv"),
        ..Site::default()
    };
    let exchange = Pbx {
        id: "demo".into(),
        site: site.id.clone(),
        sip: Some(PeerSettings { peers: vec![loopback], ..PeerSettings::default() }),
        ..Pbx::default()
    };
    let line =
        Line {
            name: "総合コールセンター".into(), answer_after_ms: RING_MS, ..Lines::default().policy(EXTENSION)
        };
    let receiver = Endpoint {
        id: "crm".into(),
        url: format!("http://{hook}/hook"),
        secrets: vec![Secret(secret)],
        partials: true,
        ..Endpoint::default()
    };
    let mut config = Config {
        node: Node { id: "demo".into(), data_dir: folder.into(), ..Node::default() },
        site: vec![site],
        pbx: vec![exchange],
        line: vec![line],
        endpoint: vec![receiver],
        sip: SipSettings { enabled: true, listen_udp: vec![any], listen_tcp: Vec::new(), ..SipSettings::default() },
        ..Config::default()
    };
    config.speech.model.clone_from(&args.model);
    config.dictionary.files = vec![args.samples.join("dictionary.csv")];
    config.panel.listen = any;
    config
}

/// A webhook secret of this run.
fn new_secret() -> Result<String, getrandom::Error> {
    let mut key = [0; 32];
    getrandom::fill(&mut key)?;
    Ok(format!("whsec_{}", STANDARD.encode(key)))
}

/// Both channels of a WAV file at 8 kHz.
fn sound(path: &std::path::Path) -> Result<[Vec<i16>; 2], Box<dyn std::error::Error + Send + Sync>> {
    let place = path.display();
    let mut wav = hound::WavReader::open(path).map_err(|error| {
        format!("{place}: {error}; start the demo in the folder of the repository, or name --samples and --call")
    })?;
    let spec = wav.spec();
    if (spec.channels, spec.sample_rate, spec.bits_per_sample) != (2, 8_000, 16) {
        let found = format!("{} channels, {} Hz, {} bits", spec.channels, spec.sample_rate, spec.bits_per_sample);
        return Err(format!("{place}: {found}; expected 2 channels (caller, agent), 8000 Hz, 16 bits").into());
    }
    let samples = wav.samples::<i16>().collect::<Result<Vec<i16>, _>>().map_err(|error| format!("{place}: {error}"))?;
    let channel = |n| samples.iter().skip(n).step_by(2).copied().collect();
    Ok([channel(0), channel(1)])
}

/// A data folder that is gone with the demo.
struct Folder(PathBuf);

impl Folder {
    fn new() -> std::io::Result<Folder> {
        let path = std::env::temp_dir().join(format!("kakehashi-demo-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir(&path)?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // what cannot be removed lies in the system's folder for temporary files
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

//! Composes the whole bridge from a configuration, and takes it down again in the order of the data.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use tokio::sync::{mpsc, oneshot, watch};

use super::agents::Agents;
use super::ari::AriHandle;
use super::asterisk_media::MediaConnections;
use super::deliver::Deliverer;
use super::hub::{Fresh, Setup, SiteSetup};
use super::lookup::LookUps;
use super::mirror::MirrorHandle;
use super::readback::ReadBack;
use super::reload::{Files, Watch};
use super::sip::SipHandle;
use super::telemetry::{self, Telemetry};
use super::workers::Workers;
use super::{Input, asterisk_media, deliver, hub, listener, media, metrics, now, reload, retention, workers};
use crate::call::directory::Directory;
use crate::call::line::Lines;
use crate::config::Config;
use crate::events::Event;
use crate::outbox::settings::Retention;
use crate::outbox::store::Outbox;
use crate::pbx::PbxId;
use crate::session::Site;

mod reconfigure;

pub use reconfigure::Reloads;

/// Inputs that wait for the hub; the drivers wait when it is full.
const INPUTS: usize = 16_384;
/// What deliveries in flight get at least to land when the bridge is stopped.
const LANDING: Duration = Duration::from_secs(2);
/// What the media threads may be ahead of the listener; beyond, it reads from disk.
const HEARD: usize = 8_192;

/// Why the bridge could not start; each names the place and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of a site.
    #[error(transparent)]
    Files(#[from] reload::Error),
    /// The outbox.
    #[error(transparent)]
    Outbox(#[from] crate::outbox::store::Error),
    /// An endpoint.
    #[error(transparent)]
    Deliver(#[from] deliver::Error),
    /// The panel.
    #[cfg(feature = "web")]
    #[error(transparent)]
    Panel(#[from] crate::panel::Error),
    /// The recognisers.
    #[error(transparent)]
    Workers(#[from] workers::Error),
    /// Media.
    #[error(transparent)]
    Media(#[from] media::Error),
    /// An Asterisk.
    #[error(transparent)]
    Ari(#[from] super::ari::Error),
    /// Media connections of an Asterisk.
    #[error(transparent)]
    AsteriskMedia(#[from] asterisk_media::Error),
    /// A mirror.
    #[error(transparent)]
    Mirror(#[from] super::mirror::Error),
    /// SIP.
    #[error(transparent)]
    Sip(#[from] super::sip::Error),
    /// Web calls.
    #[cfg(feature = "webcall")]
    #[error(transparent)]
    Web(#[from] super::webcall::Error),
    /// The data folder cannot be used.
    #[error("[node] data_dir = \"{}\": {source}; expected a folder that this user may write", path.display())]
    DataDir {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Telemetry.
    #[error(transparent)]
    Telemetry(#[from] telemetry::Error),
    /// Another bridge has the data folder.
    #[error("[node] data_dir = \"{}\" is in use by another kakehashi; stop it, or give this one a folder of its own", .0.display())]
    InUse(PathBuf),
    /// The system gives no thread.
    #[error("the system gives no thread: {0}")]
    Thread(std::io::Error),
}

/// A running bridge.
pub struct Bridge {
    config: Arc<Config>,
    outbox: Outbox,
    deliverer: Deliverer,
    inputs: mpsc::Sender<Input>,
    hub: JoinHandle<()>,
    aris: Vec<AriHandle>,
    media_connections: Vec<MediaConnections>,
    sip: Option<SipHandle>,
    mirrors: Vec<MirrorHandle>,
    #[cfg(feature = "webcall")]
    web: Option<super::webcall::WebHandle>,
    workers: Option<Workers>,
    look_ups: Vec<LookUps>,
    reload: watch::Sender<Arc<Config>>,
    reloads: Arc<Reloads>,
    telemetry: Telemetry,
    #[cfg(feature = "web")]
    panel: Option<crate::panel::PanelHandle>,
    retention: std::sync::mpsc::Sender<Retention>,
    _lock: Flock<std::fs::File>,
}

/// Starts everything: what was left from before is taken up first, the exchanges are listened to last.
///
/// # Errors
/// The first part that cannot start; nothing is left running then but threads that end by themselves.
pub async fn start(config: Config) -> Result<Bridge, Error> {
    let config = Arc::new(config);
    for doubt in config.doubts() {
        tracing::warn!("{doubt}");
    }
    let data_dir = config.node.data_dir.clone();
    let lock = lock(&data_dir)?;
    let files = Files::load(&config)?;
    let look_ups: Result<Vec<LookUps>, _> = config.site.iter().map(|site| look_ups(&config, site)).collect();
    let look_ups = look_ups.map_err(reload::Error::from)?;

    let (outbox, committed) = Outbox::open(&data_dir, &config.outbox, deliver::receivers(&config.endpoint)?)?;
    let (inputs, hub_inbox) = mpsc::channel(INPUTS);
    #[cfg(feature = "webcall")]
    let (wish, wishes) = mpsc::channel(super::webcall::WISHES);
    #[cfg(feature = "webcall")]
    let opener = config.webcall.enabled.then(|| web_opener(wish));
    #[cfg(all(feature = "web", not(feature = "webcall")))]
    let opener = None;
    #[cfg(feature = "web")]
    let (panel, feed) = panel(&config, inputs.clone(), opener).await?;
    let collector = telemetry::prepare(&config)?;
    let telemetry = Telemetry::spawn();
    telemetry.apply(collector);
    let observer = telemetry.clone();
    let show = move || {
        let observer = observer.clone();
        #[cfg(feature = "web")]
        let feed = feed.clone();
        move |event: &Event| {
            #[cfg(feature = "web")]
            if let Some(feed) = &feed {
                feed.publish(event);
            }
            observer.observe(event);
        }
    };

    let workers = match config.transcribes() {
        true => Some(workers::spawn(&config.speech, Arc::clone(&files.dictionary), inputs.clone()).await?),
        false => None,
    };
    let (deliverer, _) = deliver::spawn(outbox.clone(), committed, &config.endpoint, &config.outbox, show())?;
    look_ups.iter().for_each(|look_ups| look_ups.connect(deliverer.clone()));
    deliverer.tell_spans(&telemetry);
    let reloads = Arc::new(Reloads::begun());
    let figures = figures(&workers, &deliverer, &outbox, &reloads, &telemetry);
    #[cfg(feature = "web")]
    if let Some(panel) = &panel {
        let events = deliverer.clone();
        panel.tell_deliveries(Arc::new(deliverer.clone()));
        panel.tell_events(Arc::new(move |id| events.event(id).map_err(|error| error.to_string())));
        let figures = Arc::clone(&figures);
        panel.tell_metrics(Box::new(move || metrics::text(&figures())));
    }
    let (heard, ears) = sync_channel(HEARD);
    let media = media::spawn(&config.media, &data_dir, heard)?;
    let audio = data_dir.join("audio");
    let pace = workers.as_ref().map_or_else(|| Arc::new(workers::Pace::never()), Workers::pace);
    listener::spawn(ears, audio.clone(), config.speech.clone(), pace, inputs.clone()).map_err(Error::Thread)?;
    let read_back = ReadBack::spawn(audio.clone(), config.speech.clone(), inputs.clone()).map_err(Error::Thread)?;

    let retention = retention::spawn(outbox.clone(), audio.clone(), config.retention).map_err(Error::Thread)?;
    let connections = deliverer.clone();
    let lines = Arc::new(Lines::new(config.line.clone()));
    let setup = Setup {
        sites: sites(&config, &files, &look_ups),
        lines: Arc::clone(&lines),
        outbox: outbox.clone(),
        deliverer: deliverer.clone(),
        show: Box::new(show()),
        workers: workers.clone(),
        read_back,
        media: media.clone(),
        context: config.context.clone(),
        audio,
        inputs: inputs.clone(),
        telemetry: telemetry.clone(),
    };
    let runtime = tokio::runtime::Handle::current();
    let hub = std::thread::Builder::new()
        .name("hub".into())
        .spawn(move || {
            let _inside = runtime.enter();
            hub::run(setup, hub_inbox);
        })
        .map_err(Error::Thread)?;
    let (reload, asked) = watch::channel(Arc::clone(&config));

    let mut bridge = Bridge {
        config: Arc::clone(&config),
        outbox,
        deliverer,
        inputs: inputs.clone(),
        hub,
        aris: Vec::new(),
        media_connections: Vec::new(),
        sip: None,
        mirrors: Vec::new(),
        #[cfg(feature = "webcall")]
        web: None,
        workers,
        look_ups: look_ups.clone(),
        reload,
        reloads,
        telemetry,
        #[cfg(feature = "web")]
        panel,
        retention,
        _lock: lock,
    };
    bridge.telemetry.report(figures);
    let agents = Agents::default();
    agents.set(directories(&config, &files));
    let listening = bridge.listen(&lines, &agents, &media).await;
    #[cfg(feature = "webcall")]
    let listening = match listening {
        Ok(()) => bridge.listen_to_web(&lines, &media, wishes).await,
        failed => failed,
    };
    if let Err(error) = listening {
        bridge.stop().await;
        return Err(error);
    }
    let certificates = bridge.sip.as_ref().map(SipHandle::certificates);
    spawn_reload(files, look_ups, (certificates, agents, connections), inputs, asked);
    #[cfg(feature = "web")]
    if let Some(panel) = &bridge.panel {
        panel.ready().set(true);
    }
    Ok(bridge)
}

impl Bridge {
    /// Starts the drivers of the exchanges.
    async fn listen(&mut self, lines: &Arc<Lines>, agents: &Agents, media: &media::MediaHandle) -> Result<(), Error> {
        if self.config.sip.enabled {
            let peers = self.config.pbx.iter();
            let peers = peers.filter_map(|pbx| Some((pbx.name(), pbx.sip.clone()?))).collect();
            let settings = self.config.sip.clone();
            let hub = self.inputs.clone();
            let (lines, agents) = (Arc::clone(lines), agents.clone());
            self.sip = Some(super::sip::spawn(settings, peers, lines, agents, media.clone(), hub).await?);
        }
        for pbx in &self.config.pbx {
            let (own, hub) = ((pbx.audiosocket.clone(), pbx.websocket.clone()), self.inputs.clone());
            let connections = asterisk_media::spawn(pbx.name(), own, Arc::clone(lines), media.clone(), hub).await?;
            let doors = connections.doors();
            self.media_connections.push(connections);
            if let Some(settings) = pbx.ari.clone() {
                let hub = self.inputs.clone();
                let ari = super::ari::spawn(pbx.name(), settings, Arc::clone(lines), media.clone(), doors, hub).await?;
                self.aris.push(ari);
            }
            if let Some(settings) = pbx.mirror.clone() {
                let hub = self.inputs.clone();
                self.mirrors.push(super::mirror::spawn(pbx.name(), settings, Arc::clone(lines), media.clone(), hub)?);
            }
        }
        Ok(())
    }

    /// Starts taking web calls.
    #[cfg(feature = "webcall")]
    async fn listen_to_web(
        &mut self,
        lines: &Arc<Lines>,
        media: &media::MediaHandle,
        wishes: mpsc::Receiver<super::webcall::Wish>,
    ) -> Result<(), Error> {
        if self.config.webcall.enabled {
            let peers = self.config.pbx.iter().filter_map(|pbx| Some((pbx.name(), pbx.web.clone()?))).collect();
            let (settings, hub) = (self.config.webcall.clone(), self.inputs.clone());
            let started = super::webcall::spawn(settings, peers, Arc::clone(lines), media.clone(), hub, wishes).await?;
            self.web = Some(started);
        }
        Ok(())
    }

    /// Where web calls are taken.
    pub fn webcall(&self) -> Option<SocketAddr> {
        #[cfg(feature = "webcall")]
        return self.web.as_ref().map(|web| web.local_addr);
        #[cfg(not(feature = "webcall"))]
        None
    }

    /// Where the panel listens.
    pub fn panel(&self) -> Option<SocketAddr> {
        #[cfg(feature = "web")]
        return self.panel.as_ref().map(|panel| panel.local_addr);
        #[cfg(not(feature = "web"))]
        None
    }

    /// Where SIP is received: UDP, TCP, TLS.
    pub fn sip(&self) -> [&[SocketAddr]; 3] {
        self.sip.as_ref().map_or([&[], &[], &[]], |sip| [&sip.udp, &sip.tcp, &sip.tls])
    }

    /// What SIP counted so far; `None` where it is not enabled.
    pub fn sip_counters(&self) -> Option<super::sip::Counters> {
        self.sip.as_ref().map(SipHandle::counters)
    }

    /// What the recognisers did and have to do; `None` where nothing is transcribed.
    pub fn recognition(&self) -> Option<workers::Counters> {
        self.workers.as_ref().map(Workers::counters)
    }

    /// Process ids of the recognisers.
    pub fn workers(&self) -> Vec<u32> {
        self.workers.as_ref().map(Workers::pids).unwrap_or_default()
    }

    /// The outbox.
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Reads the site's files again.
    pub fn reload(&self) {
        self.reload.send_replace(Arc::clone(&self.config));
    }

    /// Takes no new calls where an exchange can be refused one (SIP, web), and waits for those that run, `calls_ms` at most. What an exchange only shows
    /// is followed until the end. Give it up by dropping it.
    pub async fn drain(&mut self) {
        #[cfg(feature = "web")]
        if let Some(panel) = &self.panel {
            panel.ready().set(false);
        }
        if let Some(sip) = &mut self.sip {
            sip.drain();
        }
        #[cfg(feature = "webcall")]
        if let Some(web) = &self.web {
            web.drain();
        }
        let (done, drained) = oneshot::channel();
        if self.inputs.send(Input::Drain { done }).await.is_ok() {
            let _ = tokio::time::timeout(self.patience(), drained).await;
        }
    }

    /// How long running calls may go on after the bridge was told to stop.
    pub fn patience(&self) -> Duration {
        Duration::from_millis(self.config.node.calls_ms)
    }

    /// Ends everything: no new calls, open contacts end with `bridge_restart`, texts that come within `drain_ms` are still written.
    /// What is left is on disk for the next start.
    pub async fn stop(mut self) {
        #[cfg(feature = "web")]
        if let Some(panel) = &self.panel {
            panel.ready().set(false);
        }
        if let Some(sip) = self.sip.take() {
            sip.stop().await;
        }
        for ari in self.aris.drain(..) {
            ari.stop().await;
        }
        for connections in self.media_connections.drain(..) {
            connections.stop().await;
        }
        for mirror in self.mirrors.drain(..) {
            mirror.stop().await;
        }
        #[cfg(feature = "webcall")]
        if let Some(web) = self.web.take() {
            web.stop().await;
        }
        let (done, ended) = oneshot::channel();
        let until = now().mono + Duration::from_millis(self.config.node.drain_ms);
        if self.inputs.send(Input::Stop { until, done }).await.is_ok() {
            let _ = ended.await;
        }
        let hub = self.hub;
        let _ = tokio::task::spawn_blocking(move || hub.join()).await;
        if let Ok(flushed) = self.outbox.flush() {
            let _ = flushed.await;
        }
        // whoever does not answer in time gets the event again after the next start, under the same id
        let _ = tokio::time::timeout(until.since(now().mono).max(LANDING), self.deliverer.end()).await;
        self.telemetry.end().await;
        if let Some(workers) = self.workers.take() {
            workers.stop().await;
        }
        #[cfg(feature = "web")]
        if let Some(panel) = self.panel.take() {
            panel.close().await;
        }
    }
}

/// Takes the data folder for this process alone, and makes it where there is none.
///
/// # Errors
/// When another process has it, or it cannot be made.
pub fn lock(data_dir: &std::path::Path) -> Result<Flock<std::fs::File>, Error> {
    let refused = |source| Error::DataDir { path: data_dir.into(), source };
    std::fs::create_dir_all(data_dir).map_err(refused)?;
    let file = std::fs::File::create(data_dir.join("lock")).map_err(refused)?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        nix::errno::Errno::EWOULDBLOCK => Error::InUse(data_dir.into()),
        other => refused(other.into()),
    })
}

/// Everything that is counted, read anew each time.
fn figures(
    workers: &Option<Workers>,
    deliverer: &Deliverer,
    outbox: &Outbox,
    reloads: &Arc<Reloads>,
    telemetry: &Telemetry,
) -> telemetry::Read {
    let (workers, deliverer, outbox) = (workers.clone(), deliverer.clone(), outbox.clone());
    let (reloads, telemetry) = (Arc::clone(reloads), telemetry.clone());
    Arc::new(move || {
        let recognition = workers.as_ref().map(Workers::counters);
        let delivery = deliverer.figures();
        let counted =
            metrics::Counted { delivery: &delivery, outbox: &outbox, reloads: &reloads, telemetry: &telemetry };
        metrics::of_bridge(recognition.as_ref(), &counted)
    })
}

fn look_ups(config: &Config, site: &crate::config::Site) -> Result<LookUps, super::lookup::Error> {
    let endpoint = config.endpoint.iter().position(|endpoint| endpoint.id == site.lookup);
    LookUps::load(&site.contacts, endpoint, &config.lookup)
}

fn sites(config: &Config, files: &Files, look_ups: &[LookUps]) -> Vec<SiteSetup> {
    let values = session_sites(config, files);
    let all = config.site.iter().zip(values).zip(look_ups);
    all.map(|((site, value), look_ups)| SiteSetup {
        exchanges: config.pbx.iter().filter(|pbx| pbx.site == site.id).map(|pbx| pbx.name()).collect(),
        site: value,
        look_ups: look_ups.clone(),
    })
    .collect()
}

fn session_sites(config: &Config, files: &Files) -> Vec<Site> {
    let all = config.site.iter().zip(&files.directories);
    all.map(|(site, directory)| Site {
        id: site.id.clone(),
        source: format!("/site/{}/node/{}", site.id, config.node.id),
        directory: Arc::clone(directory),
        dictionary: Arc::clone(&files.dictionary),
        callers: Arc::new(config.identity.clone()),
        mask: config.transcript,
    })
    .collect()
}

/// The directory of each exchange's site.
fn directories(config: &Config, files: &Files) -> HashMap<PbxId, Arc<Directory>> {
    let of = |site: &str| config.site.iter().zip(&files.directories).find(|(own, _)| own.id == site);
    let all = config.pbx.iter().filter_map(|pbx| Some((pbx.name(), Arc::clone(of(&pbx.site)?.1))));
    all.collect()
}

/// Reads the site's files again when they change (`reload_ms`) or somebody asks.
fn spawn_reload(
    mut files: Files,
    look_ups: Vec<LookUps>,
    (certificates, agents, deliverer): (Option<Arc<super::sip::Tls>>, Agents, deliver::Deliverer),
    hub: mpsc::Sender<Input>,
    mut asked: watch::Receiver<Arc<Config>>,
) {
    tokio::spawn(async move {
        let mut config = Arc::clone(&asked.borrow_and_update());
        let mut watch = Watch::over(&config);
        loop {
            let pause = Duration::from_millis(match config.node.reload_ms {
                0 => u64::MAX / 2_000_000,
                pause => pause,
            });
            let wanted = tokio::select! {
                ask = asked.changed() => match ask {
                    Ok(()) => true,
                    Err(_) => return,
                },
                () = tokio::time::sleep(pause) => watch.look(),
            };
            if !wanted {
                continue;
            }
            let fresh = Arc::clone(&asked.borrow_and_update());
            if !Arc::ptr_eq(&fresh, &config) {
                (watch, config) = (Watch::over(&fresh), fresh);
            }
            let reading = (Arc::clone(&config), look_ups.clone());
            let (certificates, deliverer) = (certificates.clone(), deliverer.clone());
            let read = tokio::task::spawn_blocking(move || {
                files.reload(&reading.0, &reading.1);
                if let Some(Err(error)) = certificates.map(|certificates| certificates.reload()) {
                    tracing::error!(%error, "the certificates stay as they were");
                }
                deliverer.reload();
                files
            });
            let Ok(fresh) = read.await else { return };
            files = fresh;
            agents.set(directories(&config, &files));
            tracing::info!(entries = files.dictionary.entries().len(), "the site's files were read again");
            if hub.send(Input::Reloaded(Fresh { sites: session_sites(&config, &files) })).await.is_err() {
                return;
            }
        }
    });
}

#[cfg(feature = "web")]
type Panel = (Option<crate::panel::PanelHandle>, Option<crate::panel::FeedHandle>);

#[cfg(feature = "web")]
async fn panel(
    config: &Config,
    hub: mpsc::Sender<Input>,
    opener: Option<crate::panel::Opener>,
) -> Result<Panel, Error> {
    if !config.panel.enabled {
        return Ok((None, None));
    }
    let feed = crate::panel::FeedHandle::new(config.panel.limits())?;
    let controller: crate::panel::Controller = Arc::new(move |wish| hub.try_send(input_of(wish)).is_ok());
    let limits = config.context.clone();
    let panel = crate::panel::spawn_with(config.panel.clone(), limits, feed.clone(), Some(controller), opener).await?;
    Ok((Some(panel), Some(feed)))
}

#[cfg(feature = "web")]
fn input_of(wish: crate::panel::Control) -> Input {
    use crate::panel::{Control, Pause};
    match wish {
        Control::Pause(Pause { contact, pause, scope, reason, answer }) => {
            Input::Pause { contact, pause, scope, reason, answer }
        }
        Control::Context { from, wish, answer } => Input::Context { from, wish, answer },
        Control::Annotate { contact, annotation, answer } => Input::Annotate { contact, annotation, answer },
        Control::Correct { contact, correction, answer } => Input::Correct { contact, correction, answer },
    }
}

/// Hands wishes for tokens to whoever takes web calls.
#[cfg(feature = "webcall")]
fn web_opener(wishes: mpsc::Sender<super::webcall::Wish>) -> crate::panel::Opener {
    Arc::new(move |asked, answer| wishes.try_send((asked, answer)).is_ok())
}

//! Sends events: one dispatcher decides by the lanes, tasks carry the requests, the store keeps the outcomes.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::now;
use crate::crm::settings::{Endpoint, Secret};
use crate::crm::webhook::{SecretError, Webhook};
use crate::events::{Data, Event};
use crate::outbox::lane::{DeliveryId, LaneId, Lanes};
use crate::outbox::retry::{Answer, left_of};
use crate::outbox::settings::Settings;
use crate::outbox::settle::Settled;
use crate::outbox::store::{Committed, Delivery, Outbox, Outcome};
use crate::time::{Now, Wall};

/// Realtime events that wait for a place to fly; the newest is dropped when it is full (a pop that late is of no use).
const REALTIME: usize = 1_024;
/// Waits between the attempts of a realtime event.
const REALTIME_WAITS: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(1)];
/// How often replays that a person asked for are looked for.
const REPLAYS_EVERY: Duration = Duration::from_secs(2);
/// How soon outcomes that the outbox had no room for are handed in again.
const RECORD_AGAIN: Duration = Duration::from_millis(5);
/// The most of an answer's body that is read.
const ANSWER_BYTES: usize = 64 * 1024;

/// Why delivery could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A secret file cannot be read.
    #[error(
        "[[endpoint]] id = \"{endpoint}\", secret_file = \"{file}\": {source}; expected a readable file with a secret a line"
    )]
    SecretFile {
        /// The endpoint.
        endpoint: String,
        /// The file.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// A secret is missing or malformed.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The address is none.
    #[error("[[endpoint]] id = \"{endpoint}\": url: {problem}; expected http://host[:port]/path or https://…")]
    Url {
        /// The endpoint.
        endpoint: String,
        /// What is wrong.
        problem: String,
    },
    /// The HTTP client cannot be made.
    #[error("the HTTP client: {0}")]
    Client(#[from] reqwest::Error),
    /// The outbox cannot be read.
    #[error(transparent)]
    Outbox(#[from] crate::outbox::store::Error),
}

/// A receiver, ready to be sent to.
struct Target {
    endpoint: Endpoint,
    webhook: Webhook,
    url: reqwest::Url,
}

/// Sends realtime events; cheap to clone.
#[derive(Clone)]
pub struct Deliverer {
    realtime: mpsc::Sender<Event>,
}

impl Deliverer {
    /// Sends a realtime event now; tells `false` when too many wait and it was dropped.
    pub fn realtime(&self, event: Event) -> bool {
        self.realtime.try_send(event).is_ok()
    }
}

/// Checks the endpoints' addresses and secrets.
///
/// # Errors
/// The first that cannot be used.
pub fn check(endpoints: &[Endpoint]) -> Result<(), Error> {
    targets(endpoints).map(|_| ())
}

fn targets(endpoints: &[Endpoint]) -> Result<Vec<Arc<Target>>, Error> {
    let mut targets = Vec::new();
    for endpoint in endpoints {
        let wrong = |problem: String| Error::Url { endpoint: endpoint.id.clone(), problem };
        let url = reqwest::Url::parse(&endpoint.url).map_err(|error| wrong(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong(format!("scheme `{}`", url.scheme())));
        }
        let webhook = Webhook::new(endpoint, &secrets(endpoint)?)?;
        targets.push(Arc::new(Target { endpoint: endpoint.clone(), webhook, url }));
    }
    Ok(targets)
}

fn secrets(endpoint: &Endpoint) -> Result<Vec<Secret>, Error> {
    let mut secrets = endpoint.secrets.clone();
    if !endpoint.secret_file.as_os_str().is_empty() {
        let text = std::fs::read_to_string(&endpoint.secret_file).map_err(|source| Error::SecretFile {
            endpoint: endpoint.id.clone(),
            file: endpoint.secret_file.display().to_string(),
            source,
        })?;
        secrets.extend(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(|line| Secret(line.into())));
    }
    Ok(secrets)
}

fn client() -> Result<reqwest::Client, reqwest::Error> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(10))
        .pool_max_idle_per_host(64)
        .tcp_nodelay(true)
        .user_agent(concat!("kakehashi/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// Starts delivery of what is committed and what was left from before. `shown` sees every committed event first.
///
/// # Errors
/// When an endpoint cannot be used or the outbox cannot be read.
pub fn spawn(
    outbox: Outbox,
    committed: mpsc::Receiver<Committed>,
    endpoints: &[Endpoint],
    settings: &Settings,
    shown: impl Fn(&Event) + Send + 'static,
) -> Result<(Deliverer, JoinHandle<()>), Error> {
    let targets = targets(endpoints)?;
    let client = client()?;
    let names: Vec<String> = endpoints.iter().map(|endpoint| endpoint.id.clone()).collect();
    let caps = endpoints.iter().map(|endpoint| endpoint.concurrency.max(1)).collect();
    let (results, landed) = mpsc::channel(settings.deliveries_at_once.max(1) + 1);
    let (settled, refills) = mpsc::channel(1);
    let mut dispatcher = Dispatcher {
        lanes: Lanes::new(caps, settings.deliveries_at_once.max(1), settings.limits()),
        outbox,
        names,
        targets: targets.clone(),
        client: client.clone(),
        schedule: settings.retry_schedule_ms.clone().into(),
        results,
        unrecorded: VecDeque::new(),
        newest: DeliveryId(0),
        drained: Vec::new(),
        settled,
        settling: false,
    };
    dispatcher.load(now())?;
    let (realtime, pops) = mpsc::channel(REALTIME);
    tokio::spawn(send_realtime(pops, targets, client, settings.deliveries_at_once.max(1)));
    let running = tokio::spawn(dispatcher.run(committed, landed, refills, shown));
    Ok((Deliverer { realtime }, running))
}

/// How an attempt ended.
struct Landed {
    lane: LaneId,
    delivery: DeliveryId,
    /// Which attempt it was, from 1.
    attempts: u32,
    answer: Answer,
}

struct Dispatcher {
    lanes: Lanes,
    outbox: Outbox,
    names: Vec<String>,
    targets: Vec<Arc<Target>>,
    client: reqwest::Client,
    schedule: Arc<[u64]>,
    results: mpsc::Sender<Landed>,
    /// Outcomes that the outbox had no room for yet. Nothing new is sent while there are some, so they are no more than were in flight.
    unrecorded: VecDeque<(DeliveryId, Outcome)>,
    /// The newest delivery that came out of the outbox: what is newer in the store is still on its way here.
    newest: DeliveryId,
    /// Lanes whose rest is in the store only.
    drained: Vec<LaneId>,
    /// Such lanes, once every outcome before is on disk.
    settled: mpsc::Sender<Vec<LaneId>>,
    settling: bool,
}

impl Dispatcher {
    async fn run(
        mut self,
        mut committed: mpsc::Receiver<Committed>,
        mut landed: mpsc::Receiver<Landed>,
        mut refills: mpsc::Receiver<Vec<LaneId>>,
        shown: impl Fn(&Event) + Send + 'static,
    ) {
        let mut replays = tokio::time::interval(REPLAYS_EVERY);
        replays.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.record_waiting();
            self.settle();
            self.fly();
            let due = self.lanes.due().map_or(Duration::from_secs(3_600), |due| due.since(now().mono));
            let wait = if self.unrecorded.is_empty() { due } else { due.min(RECORD_AGAIN) };
            tokio::select! {
                biased;
                one = landed.recv() => if let Some(one) = one { self.handle_landed(one) },
                one = committed.recv() => match one {
                    Some(one) => {
                        shown(&one.event);
                        for (endpoint, delivery) in one.deliveries {
                            self.newest = self.newest.max(delivery);
                            self.lanes.push(LaneId { endpoint, contact: one.event.contact }, delivery);
                        }
                    }
                    None => return,
                },
                lanes = refills.recv() => if let Some(lanes) = lanes { self.refill(lanes) },
                _ = replays.tick() => self.take_replays(),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Puts what was left from before into its lanes; a lane whose head waits goes on waiting.
    fn load(&mut self, now: Now) -> Result<(), Error> {
        let mut heads = std::collections::HashSet::new();
        let mut waiting = Vec::new();
        for (endpoint, contact, delivery, next_at) in self.outbox.pending(&self.names)? {
            let lane = LaneId { endpoint, contact };
            let left = left_of(next_at, now.wall, &self.schedule);
            if heads.insert(lane) && !left.is_zero() {
                waiting.push((lane, now.mono + left));
            }
            self.newest = self.newest.max(delivery);
            self.lanes.push(lane, delivery);
        }
        for (lane, until) in waiting {
            self.lanes.hold(lane, until);
        }
        tracing::info!(lanes = self.lanes.len(), "deliveries left from before");
        Ok(())
    }

    fn take_replays(&mut self) {
        match self.outbox.take_replays(&self.names) {
            Ok(rows) => {
                for (endpoint, contact, delivery, _) in rows {
                    self.lanes.push(LaneId { endpoint, contact }, delivery);
                }
            }
            Err(error) => tracing::error!(%error, "replays cannot be read"),
        }
    }

    fn record(&mut self, delivery: DeliveryId, outcome: Outcome) {
        self.unrecorded.push_back((delivery, outcome));
        self.record_waiting();
    }

    fn record_waiting(&mut self) {
        while let Some((delivery, outcome)) = self.unrecorded.pop_front() {
            if let Err(outcome) = self.outbox.record(delivery, outcome) {
                self.unrecorded.push_front((delivery, outcome));
                return;
            }
        }
    }

    fn fly(&mut self) {
        if !self.unrecorded.is_empty() {
            return;
        }
        while let Some((lane, id)) = self.lanes.take(now().mono) {
            match self.outbox.delivery(id) {
                Ok(Some(delivery)) if delivery.pending => self.send(lane, delivery),
                Ok(_) => self.next_of(lane),
                Err(error) => {
                    tracing::error!(%error, "a delivery cannot be read; its lane waits");
                    self.lanes.wait(lane, now().mono + Duration::from_secs(5), false);
                }
            }
        }
    }

    fn send(&self, lane: LaneId, delivery: Delivery) {
        let Some(target) = self.targets.get(lane.endpoint).cloned() else { return };
        let (client, results) = (self.client.clone(), self.results.clone());
        tokio::spawn(async move {
            let answer = attempt(&client, &target, &delivery.event, &delivery.body).await;
            let (delivery, attempts) = (delivery.id, delivery.attempts + 1);
            let _ = results.send(Landed { lane, delivery, attempts, answer }).await;
        });
    }

    fn handle_landed(&mut self, landed: Landed) {
        let Landed { lane, delivery, attempts, answer } = landed;
        let endpoint = self.names.get(lane.endpoint).map_or("", String::as_str);
        let was_down = self.lanes.is_down(lane.endpoint);
        let settled = self.lanes.settle(lane, attempts, &answer, &self.schedule, now(), chance());
        match (was_down, self.lanes.is_down(lane.endpoint)) {
            (false, true) => {
                tracing::warn!(endpoint, error = %answer, "the endpoint is down; it is tried with one delivery at a time");
            }
            (true, false) => tracing::info!(endpoint, "the endpoint answers again"),
            _ => {}
        }
        match settled {
            Settled::Done(outcome) => {
                if let Outcome::Dead { error } = &outcome {
                    tracing::error!(endpoint, contact = %lane.contact, error, "dead letter; see `kakehashi outbox list`");
                }
                self.record(delivery, outcome);
                self.next_of(lane);
            }
            Settled::Again(outcome) => {
                if let Outcome::Again { error, counted: true, .. } = &outcome {
                    tracing::warn!(endpoint, contact = %lane.contact, error, "delivery failed; tried again");
                }
                self.record(delivery, outcome);
            }
            Settled::Off => tracing::error!(
                endpoint,
                "the endpoint answered 410 Gone; nothing is sent to it until the bridge is restarted"
            ),
        }
    }

    /// The head of a lane is done with; more is fetched when the lane was longer than memory.
    fn next_of(&mut self, lane: LaneId) {
        if self.lanes.landed(lane) {
            self.drained.push(lane);
        }
    }

    /// Lets the outcomes so far reach the disk before drained lanes are read from it: what was delivered must not be found pending there.
    fn settle(&mut self) {
        if self.drained.is_empty() || self.settling || !self.unrecorded.is_empty() {
            return;
        }
        self.settling = true;
        let (outbox, lanes, settled) = (self.outbox.clone(), std::mem::take(&mut self.drained), self.settled.clone());
        tokio::spawn(async move {
            // without a writer nothing is delivered any more, and the next start reads everything
            if let Ok(Ok(flushed)) = tokio::task::spawn_blocking(move || outbox.flush()).await {
                let _ = flushed.await;
                let _ = settled.send(lanes).await;
            }
        });
    }

    fn refill(&mut self, lanes: Vec<LaneId>) {
        self.settling = false;
        for lane in lanes {
            let Some(name) = self.names.get(lane.endpoint) else { continue };
            match self.outbox.pending_of(name, lane.contact, self.newest) {
                Ok(rest) => self.lanes.refill(lane, rest),
                Err(error) => {
                    tracing::error!(%error, "the rest of a lane cannot be read; it is read again");
                    self.drained.push(lane);
                }
            }
        }
    }
}

/// Sends realtime events at once, each on a task of its own, until they expire; those of one contact to one endpoint one after the other, so that
/// the revisions of a pop arrive in order. Partials have a way of their own: they never wait, and nothing waits for them.
async fn send_realtime(
    mut pops: mpsc::Receiver<Event>,
    targets: Vec<Arc<Target>>,
    client: reqwest::Client,
    at_once: usize,
) {
    let mut partials = Partials { flying: HashMap::new(), places: Arc::new(Semaphore::new(at_once)) };
    let places = Arc::new(Semaphore::new(at_once));
    let mut turns = Turns::default();
    while let Some(event) = pops.recv().await {
        if let Data::TranscriptPartial(_) = &event.data {
            partials.send(&event, &targets, &client);
            continue;
        }
        let body: Arc<str> = event.to_json().into();
        let id = event.id.to_string();
        let expires = event.expires.unwrap_or(Wall(i64::MAX));
        for (number, target) in targets.iter().enumerate().filter(|(_, target)| target.endpoint.realtime) {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let (target, client, body, id) = (target.clone(), client.clone(), body.clone(), id.clone());
            let (before, done) = turns.next(LaneId { endpoint: number, contact: event.contact });
            tokio::spawn(async move {
                if let Some(before) = before {
                    // an error is its end too
                    let _ = before.await;
                }
                for wait in REALTIME_WAITS.iter().map(Some).chain([None]) {
                    let answer = attempt(&client, &target, &id, &body).await;
                    if matches!(answer, Answer::Status { code: 200..=299, .. }) || now().wall >= expires {
                        break;
                    }
                    match wait {
                        Some(wait) => tokio::time::sleep(*wait).await,
                        None => tracing::warn!(
                            endpoint = target.endpoint.id,
                            error = %answer,
                            "a realtime event was dropped"
                        ),
                    }
                }
                drop((place, done));
            });
        }
    }
}

/// Sends what is read of running utterances: one attempt each, in order for each contact. One that comes while the one before is still on its way
/// is left out; the next one says more. A withdrawal is left out too then: it expires as the partial does.
struct Partials {
    flying: HashMap<LaneId, oneshot::Receiver<()>>,
    places: Arc<Semaphore>,
}

impl Partials {
    fn send(&mut self, event: &Event, targets: &[Arc<Target>], client: &reqwest::Client) {
        if self.flying.len() >= REALTIME {
            self.flying.retain(|_, last| is_under_way(last));
        }
        let body: Arc<str> = event.to_json().into();
        let expires = event.expires.unwrap_or(Wall(i64::MAX));
        let wanted = |target: &&Arc<Target>| target.endpoint.realtime && target.endpoint.partials;
        for (number, target) in targets.iter().enumerate().filter(|(_, target)| wanted(target)) {
            let lane = LaneId { endpoint: number, contact: event.contact };
            if self.flying.get_mut(&lane).is_some_and(is_under_way) {
                continue;
            }
            let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { continue };
            let (done, flying) = oneshot::channel::<()>();
            self.flying.insert(lane, flying);
            let (target, client, body, id) = (target.clone(), client.clone(), body.clone(), event.id.to_string());
            tokio::spawn(async move {
                // what fails is of no use a moment later
                let _ = tokio::time::timeout(expires.since(now().wall), attempt(&client, &target, &id, &body)).await;
                drop((place, done));
            });
        }
    }
}

fn is_under_way(last: &mut oneshot::Receiver<()>) -> bool {
    matches!(last.try_recv(), Err(oneshot::error::TryRecvError::Empty))
}

/// The last realtime event that is under way in each lane.
#[derive(Default)]
struct Turns(HashMap<LaneId, oneshot::Receiver<()>>);

impl Turns {
    /// The end of the event before in this lane, and what is dropped at the end of this one.
    fn next(&mut self, lane: LaneId) -> (Option<oneshot::Receiver<()>>, oneshot::Sender<()>) {
        if self.0.len() >= REALTIME {
            self.0.retain(|_, last| is_under_way(last));
        }
        let (done, last) = oneshot::channel();
        (self.0.insert(lane, last), done)
    }
}

async fn attempt(client: &reqwest::Client, target: &Target, id: &str, body: &str) -> Answer {
    let request = target.webhook.request(id, body, now().wall);
    let sent = client
        .post(target.url.clone())
        .timeout(Duration::from_millis(target.endpoint.timeout_ms.max(1)))
        .header("content-type", "application/cloudevents+json; charset=utf-8")
        .header("webhook-id", request.id)
        .header("webhook-timestamp", request.timestamp)
        .header("webhook-signature", request.signature)
        .body(request.body)
        .send()
        .await;
    match sent {
        Ok(mut response) => {
            let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
            let answer =
                Answer::Status { code: response.status().as_u16(), retry_after: retry_after.map(str::to_string) };
            // The connection is kept when the answer is short; an endless one is cut off.
            let mut read = 0;
            while let Ok(Some(chunk)) = response.chunk().await {
                read += chunk.len();
                if read > ANSWER_BYTES {
                    break;
                }
            }
            answer
        }
        Err(error) if error.is_timeout() => Answer::Failed("no answer in time".into()),
        Err(error) if error.is_connect() => Answer::Failed("no connection".into()),
        Err(_) => Answer::Failed("the connection broke".into()),
    }
}

/// Random, 0–1.
fn chance() -> f64 {
    let mut bytes = [0; 4];
    match getrandom::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 0.5,
    }
}

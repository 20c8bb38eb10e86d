//! The child: this test binary once more, as a bridge would be that has only the outbox and the delivery.
//!
//! It opens the store, takes up each contact where the store says it is, commits batches of several contacts side by side, says what was accepted,
//! and ends when nothing waits any more. Lines on its standard output: `@open`, `@submitted NUMBER`, `@accepted ID CONTACT SEQUENCE DIGEST`, `@pop`
//! (one is handed in), `@drained`, `@refused PROBLEM` (the store could not be opened).

use std::collections::VecDeque;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kakehashi::bridge::deliver::{self, Deliverer};
use kakehashi::bridge::now;
use kakehashi::call::{ContactId, LegId};
use kakehashi::crm::settings::{Endpoint, Secret};
use kakehashi::events::{Agent, CallQueued, Caller, Data, Event, ScreenPopWithdrawn, WithdrawReason};
use kakehashi::outbox::settings::Settings;
use kakehashi::outbox::store::Outbox;
use kakehashi::outbox::{Batch, ContactRow};
use kakehashi::pbx::{CallKey, ExternalKey, KeyKind, PbxId};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::hook::SECRET;
use crate::ledger::digest;

/// Names what a child has to do: [`Work`] as JSON.
pub(crate) const ROLE: &str = "KAKEHASHI_FAULTS_CHILD";
/// Every child delivers to each of them.
pub(crate) const ENDPOINTS: [&str; 2] = ["crm", "archive"];
/// Longest wait; only a failing test waits that long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// What a child has to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Work {
    pub(crate) folder: PathBuf,
    pub(crate) port: u16,
    /// Which child of its run: an event that is made again after it was lost has another body.
    pub(crate) life: u32,
    pub(crate) contacts: u64,
    /// Events of each contact, over all lives.
    pub(crate) events: u64,
    /// Most events in a batch.
    pub(crate) batch: u64,
    /// Most commands that the outbox writes in one transaction.
    pub(crate) group: usize,
    /// Batches of a contact that may wait to be acknowledged.
    pub(crate) window: usize,
    /// Size of a contact's state, in KiB: it fills the log up, so that a checkpoint comes in the middle of the work.
    pub(crate) state_kib: usize,
    /// Time for one attempt to deliver, in milliseconds.
    pub(crate) timeout_ms: u64,
    /// Pause between a contact's batches, in milliseconds.
    pub(crate) pace_ms: u64,
    /// In the middle of the work everything is delivered and a text is deleted, so that the write-ahead log is cut to nothing.
    pub(crate) forgets: bool,
    /// It ends when all is accepted, whatever waits to be delivered.
    pub(crate) leaves: bool,
    /// Deliveries that fail are tried again as by default, not at once.
    pub(crate) is_patient: bool,
    /// A realtime event goes with each batch.
    pub(crate) pops: bool,
}

impl Default for Work {
    fn default() -> Self {
        Work {
            folder: PathBuf::new(),
            port: 0,
            life: 0,
            contacts: 5,
            events: 12,
            batch: 3,
            group: 4,
            window: 3,
            state_kib: 400,
            timeout_ms: 400,
            pace_ms: 0,
            forgets: false,
            leaves: false,
            is_patient: false,
            pops: false,
        }
    }
}

impl Work {
    /// Events of all contacts.
    pub(crate) fn all(&self) -> usize {
        (self.contacts * self.events) as usize
    }

    /// Longest wait until everything is delivered.
    fn patience(&self) -> Duration {
        if self.is_patient { 10_000 * PATIENCE } else { PATIENCE }
    }

    fn settings(&self) -> Settings {
        // the reserve is made by fallocate, which the library does not follow
        let settings = Settings { group_batches: self.group, reserve_bytes: 0, ..Settings::default() };
        if self.is_patient {
            return settings;
        }
        Settings { retry_schedule_ms: vec![20; 500], breaker_pause_ms: 10, breaker_longest_ms: 40, ..settings }
    }

    fn endpoints(&self) -> Vec<Endpoint> {
        let endpoint = |name: &str| Endpoint {
            id: name.into(),
            url: format!("http://127.0.0.1:{}/{name}", self.port),
            secrets: vec![Secret(SECRET.into())],
            timeout_ms: self.timeout_ms,
            ..Endpoint::default()
        };
        ENDPOINTS.map(endpoint).into()
    }

    /// The next batch of a contact: one to `batch` events.
    fn next(&self, contact: u64, first: u64) -> Batch {
        let id = ContactId(Uuid::from_u128(u128::from(contact) + 1));
        let last = (first + (first + contact) % self.batch).min(self.events);
        let call = CallKey { pbx: PbxId("p".into()), key: contact.to_string() };
        Batch {
            contact: ContactRow {
                id,
                site: "s".into(),
                call,
                open: last < self.events,
                state: format!("{} {}", last + 1, "s".repeat(self.state_kib * 1_024)),
            },
            keys: vec![ExternalKey { kind: KeyKind::Linkedid, value: contact.to_string() }],
            events: (first..=last).map(|sequence| self.event(id, sequence)).collect(),
            deliver_text: true,
        }
    }

    fn event(&self, contact: ContactId, sequence: u64) -> Event {
        // some have a place in the table, others need pages of their own
        let text = format!("life {} {}", self.life, "q".repeat(1_000 * (sequence as usize % 5)));
        let time = now().wall;
        Event {
            id: Event::record_id(contact, sequence, time),
            source: "/site/s/node/n".into(),
            contact,
            leg: None,
            time,
            sequence: Some(sequence),
            expires: None,
            data: Data::CallQueued(CallQueued { caller: Caller::default(), called: "6001".into(), queue: text }),
        }
    }
}

fn say(line: &str) {
    // past the test harness, whole lines at once
    let _ = std::io::stdout().lock().write_all(format!("@{line}\n").as_bytes());
}

/// Does the work that the environment names.
pub(crate) fn main() {
    let work = std::env::var(ROLE).expect("the tests of this file start it");
    let work: Work = serde_json::from_str(&work).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(run(work));
}

async fn run(work: Work) {
    let (settings, endpoints) = (work.settings(), work.endpoints());
    let names: Vec<String> = endpoints.iter().map(|endpoint| endpoint.id.clone()).collect();
    let (outbox, committed) = match Outbox::open(&work.folder, &settings, &names) {
        Ok(opened) => opened,
        Err(problem) => return say(&format!("refused {problem}")),
    };
    let (deliverer, running) = deliver::spawn(outbox.clone(), committed, &endpoints, &settings, |_| {}).unwrap();
    say("open");
    let drained = || work.leaves || outbox.pending(&names).unwrap().is_empty();
    if work.forgets {
        live(&work, &outbox, &deliverer, work.events / 2).await;
        until(drained).await;
        forget(&work, &outbox).await;
    }
    live(&work, &outbox, &deliverer, work.events).await;
    until_within(work.patience(), drained).await;
    outbox.flush().unwrap().await.unwrap();
    running.abort();
    drop((outbox, deliverer));
    // closing the store takes what is in the log over
    until_within(work.patience(), || work.leaves || !is_open(&work.folder)).await;
    say("drained");
}

/// All contacts side by side, each from where the store says it is to the event `last`.
async fn live(work: &Work, outbox: &Outbox, deliverer: &Deliverer, last: u64) {
    let contacts = (0..work.contacts)
        .map(|contact| tokio::spawn(one(work.clone(), outbox.clone(), deliverer.clone(), contact, last)));
    for contact in contacts.collect::<Vec<_>>() {
        contact.await.unwrap();
    }
}

async fn one(work: Work, outbox: Outbox, deliverer: Deliverer, contact: u64, last: u64) {
    let id = ContactId(Uuid::from_u128(u128::from(contact) + 1));
    let stored: Vec<u64> = outbox.events_of(id).unwrap().iter().filter_map(|event| event.sequence).collect();
    assert_eq!(stored, (1..=stored.len() as u64).collect::<Vec<_>>(), "a hole within {id}");
    let mut next = stored.len() as u64 + 1;
    let mut waiting: VecDeque<(oneshot::Receiver<()>, Vec<Event>)> = VecDeque::new();
    while next <= last {
        let batch = work.next(contact, next);
        let events = batch.events.clone();
        next += events.len() as u64;
        say(&format!("submitted {}", events.len()));
        waiting.push_back((outbox.commit(batch).unwrap(), events));
        if waiting.len() >= work.window {
            accepted(&mut waiting).await;
        }
        if work.pops {
            say("pop");
            assert!(deliverer.realtime(pop(id)));
        }
        tokio::time::sleep(Duration::from_millis(work.pace_ms)).await;
    }
    while !waiting.is_empty() {
        accepted(&mut waiting).await;
    }
}

/// What an operator's screen is told at once or never.
fn pop(contact: ContactId) -> Event {
    let (leg, agent, reason) = (LegId(Uuid::from_u128(1)), Agent::default(), WithdrawReason::Ended);
    Event {
        id: Uuid::now_v7(),
        source: "/site/s/node/n".into(),
        contact,
        leg: Some(leg),
        time: now().wall,
        sequence: None,
        expires: Some(now().wall + Duration::from_secs(60)),
        data: Data::ScreenPopWithdrawn(ScreenPopWithdrawn { popid: Uuid::now_v7(), leg, agent, reason }),
    }
}

/// Waits for the oldest batch, and says what is on disk with it.
async fn accepted(waiting: &mut VecDeque<(oneshot::Receiver<()>, Vec<Event>)>) {
    let Some((done, events)) = waiting.pop_front() else { return };
    done.await.expect("the writer goes on");
    for event in events {
        let digest = digest(event.to_json().as_bytes());
        say(&format!("accepted {} {} {} {digest}", event.id, event.contact, event.sequence.unwrap_or(0)));
    }
}

/// Deletes a text, and waits until its traces have been.
async fn forget(work: &Work, outbox: &Outbox) {
    outbox.forget(vec![Uuid::from_u128(1)]).unwrap();
    outbox.flush().unwrap().await.unwrap();
    until(|| std::fs::metadata(work.folder.join("outbox.db-wal")).is_ok_and(|log| log.len() == 0)).await;
}

/// Whether this process has a file of the folder open.
fn is_open(folder: &Path) -> bool {
    let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    open.filter_map(|file| std::fs::read_link(file.path()).ok()).any(|file| file.starts_with(folder))
}

async fn until(fits: impl Fn() -> bool) {
    until_within(PATIENCE, fits).await;
}

async fn until_within(patience: Duration, fits: impl Fn() -> bool) {
    let since = Instant::now();
    while !fits() {
        assert!(since.elapsed() < patience, "not seen within {patience:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

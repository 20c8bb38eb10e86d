//! Realtime events: sent at once or never, beside the backlog and never behind it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot};

use super::REALTIME;
use super::carry::{Target, Way};
use super::recent::Recent;
use crate::bridge::now;
use crate::call::ContactId;
use crate::crm::Outgoing;
use crate::events::{Data, Event};
use crate::outbox::budget::Use;
use crate::outbox::lane::LaneId;
use crate::outbox::retry::Answer;
use crate::outbox::store::Traffic;
use crate::time::Wall;

/// Waits between the attempts of a realtime event.
const REALTIME_WAITS: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(1)];

/// Sends realtime events at once, each on a task of its own, until they expire; those of one contact to one endpoint one after the other, so that
/// the revisions of a pop arrive in order. Partials have a way of their own: they never wait, and nothing waits for them.
pub(super) async fn send_realtime(
    mut pops: mpsc::Receiver<Event>,
    targets: Vec<Arc<Target>>,
    recent: Arc<Recent>,
    at_once: usize,
) {
    let mut partials = Partials { flying: HashMap::new(), places: Arc::new(Semaphore::new(at_once)) };
    let places = Arc::new(Semaphore::new(at_once));
    let mut turns = Turns::default();
    while let Some(event) = pops.recv().await {
        let ways = targets.iter().map(|target| target.way());
        let takers = ways.filter(|way| way.connector.takes(&event.data));
        let Some(most) = takers.map(|way| way.endpoint.most_with_data()).min() else { continue };
        let body: Arc<str> = event.to_json().into();
        if body.len() > most {
            // a receiver that gets it without its data fetches it
            recent.keep(event.id, body.to_string(), event.expires.unwrap_or(Wall(i64::MAX)), now().wall);
        }
        if let Data::TranscriptPartial(_) = &event.data {
            partials.send(&event, &body, &targets);
            continue;
        }
        let id = event.id.to_string();
        let expires = event.expires.unwrap_or(Wall(i64::MAX));
        for (number, target) in
            targets.iter().enumerate().filter(|(_, target)| target.way().connector.takes(&event.data))
        {
            target.counts.live.add(1);
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let (target, body, id) = (target.clone(), body.clone(), id.clone());
            let (contact, kind) = (event.contact, event.type_name());
            let (before, done) = turns.next(LaneId { endpoint: number, contact: event.contact });
            tokio::spawn(async move {
                if let Some(before) = before {
                    // an error is its end too
                    let _ = before.await;
                }
                persist(&target, (contact, kind), (&id, &body), expires).await;
                drop((place, done));
            });
        }
    }
}

/// Tries until it arrives, is refused or stale.
async fn persist(target: &Target, (contact, kind): (ContactId, &'static str), (id, body): (&str, &str), expires: Wall) {
    for (n, wait) in (1..).zip(REALTIME_WAITS.iter().map(Some).chain([None])) {
        let (way, begun) = (target.way(), now().wall);
        let answer = attempt(target, &way, id, body).await;
        target.tell((contact, &|| kind), &way, n, &answer, begun);
        if matches!(answer, Answer::Delivered) {
            return;
        }
        match wait {
            Some(wait) if !matches!(answer, Answer::Late(_) | Answer::Dry { .. }) && now().wall < expires => {
                tokio::time::sleep(*wait).await
            }
            _ => {
                tracing::warn!(endpoint = target.id, error = %answer, "a realtime event was dropped");
                break;
            }
        }
    }
    target.counts.live_dropped.add(1);
}

async fn attempt(target: &Target, way: &Way, id: &str, body: &str) -> Answer {
    let answer = match target.carry_live(way, way.connector.deliver(&Outgoing { id, body })).await {
        Some(carried) => carried.unwrap_or_else(Answer::Failed),
        None => Answer::Failed("its requests of the day are used up".into()),
    };
    if matches!(answer, Answer::Delivered) {
        target.counts.live_delivered.add(1);
        target.counts.traffic(Use::Live, Traffic { events: 1, ..Traffic::default() });
    }
    answer
}

/// Sends what is read of running utterances: one attempt each, in order for each contact. One that comes while the one before is still on its way
/// is left out; the next one says more. A withdrawal is left out too then: it expires as the partial does.
struct Partials {
    flying: HashMap<LaneId, oneshot::Receiver<()>>,
    places: Arc<Semaphore>,
}

impl Partials {
    fn send(&mut self, event: &Event, body: &Arc<str>, targets: &[Arc<Target>]) {
        if self.flying.len() >= REALTIME {
            self.flying.retain(|_, last| is_under_way(last));
        }
        let expires = event.expires.unwrap_or(Wall(i64::MAX));
        for (number, target) in
            targets.iter().enumerate().filter(|(_, target)| target.way().connector.takes(&event.data))
        {
            target.counts.live.add(1);
            let lane = LaneId { endpoint: number, contact: event.contact };
            let busy = self.flying.get_mut(&lane).is_some_and(is_under_way);
            let place = (!busy).then(|| Arc::clone(&self.places).try_acquire_owned().ok()).flatten();
            let Some(place) = place else {
                target.counts.live_dropped.add(1);
                continue;
            };
            let (done, flying) = oneshot::channel::<()>();
            self.flying.insert(lane, flying);
            let (target, body, id) = (target.clone(), body.clone(), event.id.to_string());
            tokio::spawn(async move {
                // what fails is of no use a moment later
                let sent =
                    tokio::time::timeout(expires.since(now().wall), attempt(&target, &target.way(), &id, &body)).await;
                if sent != Ok(Answer::Delivered) {
                    target.counts.live_dropped.add(1);
                }
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

//! Answers to wishes for tokens: the panel's API asks, the hub says which contact it is.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{mpsc, oneshot, watch};

use super::{Shared, Wish};
use crate::bridge::{Input, Known, Place, now};
use crate::panel::{OpenedCall, WebCall, WebCallRefused};
use crate::pbx::web::{Ask, Refused, Target};
use crate::pbx::{Identity, PbxId, Speaker};

const STOPPING: WebCallRefused = WebCallRefused::Full("the bridge is stopping");

/// Answers wishes until the bridge stops.
pub(super) async fn run(shared: Arc<Shared>, mut wishes: mpsc::Receiver<Wish>, mut stopped: watch::Receiver<bool>) {
    loop {
        let (asked, answer) = tokio::select! {
            _ = stopped.changed() => return,
            wish = wishes.recv() => match wish {
                Some(wish) => wish,
                None => return,
            },
        };
        let done = grant(&shared, asked).await;
        // whoever asked may be gone
        let _ = answer.send(done);
    }
}

async fn grant(shared: &Shared, asked: WebCall) -> Result<OpenedCall, WebCallRefused> {
    let (target, usual) = match asked.contact {
        Some(contact) => {
            let known =
                find(shared, Place::Contact(contact), &asked.extension).await?.ok_or(WebCallRefused::Unknown)?;
            let Known { call, called, leg, .. } = known;
            let usual = shared.peers.get(&call.pbx).map(|peer| peer.tracks.clone());
            (Target::Running { call, called, leg }, usual.unwrap_or_else(both))
        }
        None if shared.closing.load(Ordering::Relaxed) => return Err(STOPPING),
        None => {
            let pbx = PbxId(asked.pbx.clone());
            let Some(peer) = shared.peers.get(&pbx) else {
                let known: Vec<&str> = shared.peers.keys().map(|pbx| pbx.0.as_str()).collect();
                let what = format!("pbx: expected a [[pbx]] with [pbx.web], one of: {}", known.join(", "));
                return Err(WebCallRefused::Wrong(what));
            };
            let some = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
            let caller = Identity { number: some(&asked.number), display: some(&asked.name), ..Identity::default() };
            (Target::New { pbx, caller, called: asked.called.clone() }, peer.tracks.clone())
        }
    };
    let tracks = if asked.tracks.is_empty() { usual } else { asked.tracks };
    let ask = Ask { target, extension: asked.extension.clone(), tracks };
    let issued = {
        let mut state = shared.state.lock().await;
        let issued = state.calls.issue(now(), ask);
        shared.drain(&mut state).await;
        issued
    };
    let issued = issued.map_err(|refused| match refused {
        Refused::Full => WebCallRefused::Full("all tokens of [webcall] max_tokens are in use; try again"),
        Refused::Tracks => WebCallRefused::Wrong(refused.to_string()),
    })?;
    let known = find(shared, Place::Call(issued.call), &asked.extension).await?;
    // the hub does not open more contacts than it may, and says so in the log
    let known = known.ok_or(WebCallRefused::Full("too many contacts at once"))?;
    Ok(OpenedCall {
        token: issued.token,
        contact: known.contact,
        key: issued.key,
        whip_url: format!("{}{}", shared.url, crate::pbx::web::request::PATH),
        expires: issued.expires.rfc3339(),
    })
}

fn both() -> Vec<Speaker> {
    vec![Speaker::Agent, Speaker::Caller]
}

async fn find(shared: &Shared, place: Place, extension: &str) -> Result<Option<Known>, WebCallRefused> {
    let (answer, answered) = oneshot::channel();
    let asked = Input::Find { place, extension: extension.to_string(), answer };
    shared.hub.send(asked).await.map_err(|_| STOPPING)?;
    answered.await.map_err(|_| STOPPING)
}

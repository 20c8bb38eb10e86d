//! After a (re-)connection: what Asterisk lists against what we knew, so that nothing missed stays open and nothing running stays unseen.

use std::collections::BTreeSet;

use crate::time::Now;

use super::ari::{Ari, Purpose};
use super::event::{Bridge, Channel, parse_variable};
use super::request::{Answer, Method, segment};
use super::world::Role;

/// How often a list is asked for again when the answer fails.
const ATTEMPTS: u32 = 3;

/// A resync under way.
#[derive(Clone, Debug, Default)]
pub(super) struct Resync {
    channels: Option<Vec<Channel>>,
    bridges: Option<Vec<Bridge>>,
    /// Channels that ended while the lists were on their way: the lists may still show them.
    destroyed: BTreeSet<String>,
    attempts: u32,
}

impl Resync {
    pub(super) fn destroyed(&mut self, id: &str) {
        self.destroyed.insert(id.into());
    }
}

impl Ari {
    /// The answer to `GET /channels`.
    pub(super) fn channels_listed(&mut self, answer: &Answer, now: Now) {
        let list = answer.body().and_then(|body| Channel::parse_list(body).ok());
        let Some(resync) = &mut self.resync else { return };
        match list {
            Some(list) => resync.channels = Some(list),
            None => return self.ask_again(Purpose::Channels, "/channels"),
        }
        self.reconcile(now);
    }

    /// The answer to `GET /bridges`.
    pub(super) fn bridges_listed(&mut self, answer: &Answer, now: Now) {
        let list = answer.body().and_then(|body| Bridge::parse_list(body).ok());
        let Some(resync) = &mut self.resync else { return };
        match list {
            Some(list) => resync.bridges = Some(list),
            None => return self.ask_again(Purpose::Bridges, "/bridges"),
        }
        self.reconcile(now);
    }

    /// The linkedid of a listed channel that was dialled before we looked: it is an end of that call.
    pub(super) fn linkedid_answered(&mut self, id: &str, answer: &Answer, now: Now) {
        let linkedid = answer.body().and_then(|body| parse_variable(body).ok()).unwrap_or_default();
        let Some(seen) = self.world.get(id).filter(|seen| seen.role == Role::Unplaced) else { return };
        let channel = seen.channel.clone();
        if self.calls.contains_key(&linkedid) {
            self.place_leg(&linkedid, &channel, "", now);
            self.settle(&linkedid, now);
        }
    }

    fn ask_again(&mut self, purpose: Purpose, path: &str) {
        if let Some(resync) = &mut self.resync
            && resync.attempts < ATTEMPTS
        {
            resync.attempts += 1;
            self.request(purpose, Method::Get, path.into(), vec![], None);
        }
    }

    fn reconcile(&mut self, now: Now) {
        let complete = |resync: &mut Resync| resync.channels.is_some() && resync.bridges.is_some();
        let Some(Resync { channels: Some(channels), bridges: Some(bridges), destroyed, .. }) =
            self.resync.take_if(complete)
        else {
            return;
        };
        let listed: BTreeSet<&str> = channels.iter().map(|channel| channel.id.as_str()).collect();
        self.world.set_bridges(&bridges);
        self.infer_passing(&channels, &listed, now);
        for id in self.world.missing(self.epoch, &listed) {
            self.destroyed(&id, None, now);
        }
        for call in self.calls.values_mut() {
            call.legs.iter_mut().for_each(|leg| leg.unheard = false);
        }
        for channel in channels.iter().filter(|channel| !destroyed.contains(&channel.id)) {
            self.channel(channel, now);
            if self.world.role(&channel.id) == Some(&Role::Unplaced) && !self.is_own(&channel.id) {
                let path = format!("/channels/{}/variable", segment(&channel.id));
                let query = vec![("variable", "CHANNEL(linkedid)".into())];
                self.request(Purpose::Linkedid(channel.id.clone()), Method::Get, path, query, None);
            }
        }
        let own_channels = channels.iter().map(|channel| channel.id.as_str());
        let own: Vec<&str> =
            own_channels.chain(bridges.iter().map(|b| b.id.as_str())).filter(|id| self.is_own(id)).collect();
        self.taps_listed(&own, now);
        let keys: Vec<String> = self.calls.keys().cloned().collect();
        for key in keys {
            self.settle(&key, now);
        }
    }
}

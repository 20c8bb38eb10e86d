//! The contexts that wait for a call, by number and token; bounded, and gone when they expire.

use std::collections::{BTreeSet, HashMap};

use uuid::Uuid;

use super::{Fresh, Post, Posted, Refused, Settings, Target, id_of};
use crate::time::Wall;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Waiting {
    by_id: HashMap<Uuid, (String, Posted)>,
    by_target: HashMap<(String, Target), Vec<Uuid>>,
    expiries: BTreeSet<(Wall, Uuid)>,
}

impl Waiting {
    /// Takes what a source posts for a number or token of a site.
    ///
    /// # Errors
    /// [`Refused::KeyReused`], [`Refused::TooMuch`] and [`Refused::Full`].
    pub fn post(
        &mut self,
        now: Wall,
        site: &str,
        from: &str,
        post: Post,
        settings: &Settings,
    ) -> Result<(Posted, Fresh), Refused> {
        let before = self.by_id.get(&id_of(site, from, &post.target)).map(|(_, posted)| posted);
        let before = before.filter(|posted| posted.expires > now);
        let (posted, fresh) = Posted::accept(now, site, from, post, before, settings)?;
        if before.is_none() && self.by_id.len() >= settings.max_waiting {
            return Err(Refused::Full);
        }
        if fresh != Fresh::Repeated {
            self.insert(site, posted.clone());
        }
        Ok((posted, fresh))
    }

    /// Puts one in, in place of an earlier version.
    pub fn insert(&mut self, site: &str, posted: Posted) {
        self.remove(posted.id);
        self.expiries.insert((posted.expires, posted.id));
        self.by_target.entry((site.into(), posted.target.clone())).or_default().push(posted.id);
        self.by_id.insert(posted.id, (site.into(), posted));
    }

    /// What waits for this number or token of this site.
    pub fn find(&self, now: Wall, site: &str, target: &Target) -> Vec<Posted> {
        if self.by_id.is_empty() {
            return Vec::new();
        }
        let ids = self.by_target.get(&(site.to_string(), target.clone()));
        let all = ids.into_iter().flatten().filter_map(|id| self.by_id.get(id));
        all.map(|(_, posted)| posted).filter(|posted| posted.expires > now).cloned().collect()
    }

    /// One of them, with its site.
    pub fn get(&self, id: Uuid) -> Option<(&str, &Posted)> {
        self.by_id.get(&id).map(|(site, posted)| (site.as_str(), posted))
    }

    /// Takes one out.
    pub fn remove(&mut self, id: Uuid) -> Option<Posted> {
        let (site, posted) = self.by_id.remove(&id)?;
        self.expiries.remove(&(posted.expires, id));
        let target = (site, posted.target.clone());
        if let Some(ids) = self.by_target.get_mut(&target) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.by_target.remove(&target);
            }
        }
        Some(posted)
    }

    /// Takes out what has expired; gives the ids.
    pub fn expire(&mut self, now: Wall) -> Vec<Uuid> {
        let mut gone = Vec::new();
        while self.expiries.first().is_some_and(|(expires, _)| *expires <= now) {
            let Some((_, id)) = self.expiries.pop_first() else { break };
            self.remove(id);
            gone.push(id);
        }
        gone
    }

    /// When the next one expires.
    pub fn next_expiry(&self) -> Option<Wall> {
        self.expiries.first().map(|(expires, _)| *expires)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}

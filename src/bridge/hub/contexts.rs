//! What is known before the call: taken from the API, kept on disk until its call comes or it expires, attached to the contacts that it is about.

use std::time::Duration;

use uuid::Uuid;

use super::Hub;
use crate::bridge::Stored;
use crate::call::ContactId;
use crate::call::context::{Accepted, Fresh, Post, Posted, Refused, Target, Waiting, Wish};
use crate::call::note::{self, Annotation};
use crate::outbox::ContextRow;
use crate::time::{Mono, Now};
use crate::transcript::mask::mask;

/// Shortest time between two sweeps of what has expired; nothing that has is ever found before that.
const SWEEP: Duration = Duration::from_secs(10);
/// Longest number that can be an extension, in characters.
const EXTENSION: usize = 8;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Contexts {
    waiting: Waiting,
    /// When expired ones are looked for next.
    sweep: Option<Mono>,
}

type Done<T, E> = Result<(T, Stored), E>;

impl Hub {
    /// Takes up what waited when the bridge stopped.
    pub(super) fn load_contexts(&mut self, now: Now) {
        let rows = match self.setup.outbox.contexts() {
            Ok(rows) => rows,
            Err(error) => {
                tracing::error!(%error, "contexts that wait for calls cannot be read; they wait until the next start");
                return;
            }
        };
        let (mut gone, mut unread) = (Vec::new(), 0);
        for row in rows {
            match serde_json::from_str::<Posted>(&row.body) {
                Ok(posted) if posted.expires > now.wall => self.contexts.waiting.insert(&row.site, posted),
                Ok(_) => gone.push(row.id),
                Err(_) => {
                    unread += 1;
                    gone.extend(Some(row.id).filter(|_| row.expires <= now.wall));
                }
            }
        }
        if unread > 0 {
            tracing::error!(unread, "contexts were written by another version and are not used");
        }
        tracing::debug!(waiting = self.contexts.waiting.len(), expired = gone.len(), "contexts that wait for calls");
        self.forget_contexts(gone);
        self.plan_sweep(now);
    }

    /// What a source posts or takes back. The receiver resolves when it is on disk.
    pub(super) fn context(&mut self, now: Now, from: &str, wish: Wish) -> Done<Accepted, Refused> {
        if self.stop.is_some() {
            return Err(Refused::Full);
        }
        let accepted = match wish {
            Wish::Post(post) => self.post(now, from, *post)?,
            Wish::Delete(id) => self.delete(now, from, id)?,
        };
        // without a writer nobody tells that it is on disk, and the source is told to try again
        let flushed = self.setup.outbox.flush().map_err(|_| Refused::Full)?;
        Ok((accepted, flushed))
    }

    fn post(&mut self, now: Now, from: &str, mut post: Post) -> Result<Accepted, Refused> {
        if let Target::Contact(contact) = post.target {
            return self.post_to(now, from, contact, post);
        }
        let site = match (&post.site, self.setup.sites.as_slice()) {
            (Some(id), sites) => sites.iter().find(|setup| setup.site.id == *id),
            (None, [only]) => Some(only),
            (None, _) => None,
        };
        let site = site.ok_or(Refused::Site)?.site.clone();
        post.known = post.known.map_texts(|text| mask(text, site.mask).text);
        let (posted, fresh) = self.contexts.waiting.post(now.wall, &site.id, from, post, &self.setup.context)?;
        if fresh != Fresh::Repeated {
            let body = serde_json::to_string(&posted).unwrap_or_default();
            let row = ContextRow { id: posted.id, site: site.id.clone(), expires: posted.expires, body };
            self.setup.outbox.keep(row).map_err(|_| Refused::Full)?;
            self.plan_sweep(now);
        }
        let attached = self.attach_running(now, &site.id, &posted);
        Ok(accepted(&posted, fresh, attached))
    }

    /// Attaches to one running contact; nothing waits.
    fn post_to(&mut self, now: Now, from: &str, contact: ContactId, mut post: Post) -> Result<Accepted, Refused> {
        let session = self.sessions.get(&contact).filter(|session| session.contact().ended.is_none());
        let session = session.ok_or(Refused::Unknown)?;
        let site = session.contact().site.clone();
        if post.site.as_ref().is_some_and(|wanted| *wanted != site) {
            return Err(Refused::Site);
        }
        let policy = self.setup.sites.iter().find(|setup| setup.site.id == site).map(|setup| setup.site.mask);
        post.known = post.known.map_texts(|text| mask(text, policy.unwrap_or_default()).text);
        let before = session.context(crate::call::context::id_of(&site, from, &post.target));
        let (posted, fresh) = Posted::accept(now.wall, &site, from, post, before, &self.setup.context)?;
        let mut attached = false;
        self.with(contact, |session| attached = session.attach(now, posted.clone()));
        if attached { Ok(accepted(&posted, fresh, vec![contact])) } else { Err(Refused::Full) }
    }

    fn delete(&mut self, now: Now, from: &str, id: Uuid) -> Result<Accepted, Refused> {
        let own = |posted: &Posted| from == crate::call::context::PANEL || posted.from == from;
        let has = |session: &crate::session::Session| {
            session.contact().ended.is_none() && session.context(id).is_some_and(own)
        };
        let having: Vec<ContactId> = self.sessions.values().filter(|session| has(session)).map(|s| s.id()).collect();
        let in_use = having.first().and_then(|id_of| self.sessions.get(id_of)).and_then(|s| s.context(id)).cloned();
        let waiting = self.contexts.waiting.get(id).map(|(_, posted)| posted).filter(|posted| own(posted)).cloned();
        let Some(posted) = waiting.or(in_use) else { return Err(Refused::Unknown) };
        if self.contexts.waiting.remove(id).is_some() {
            self.forget_contexts(vec![id]);
        }
        for contact in &having {
            self.with(*contact, |session| _ = session.detach(now, id));
        }
        Ok(accepted(&posted, Fresh::Changed, having))
    }

    /// Attaches what was posted to every running contact of its number or token.
    fn attach_running(&mut self, now: Now, site: &str, posted: &Posted) -> Vec<ContactId> {
        let is_meant = |session: &crate::session::Session| {
            let contact = session.contact();
            contact.ended.is_none() && contact.site == site && session.found_by().contains(&posted.target)
        };
        let mut found: Vec<ContactId> = self.sessions.values().filter(|s| is_meant(s)).map(|s| s.id()).collect();
        found.retain(|contact| {
            let mut attached = false;
            self.with(*contact, |session| attached = session.attach(now, posted.clone()));
            attached
        });
        found
    }

    /// Attaches what waits for a contact whose caller or tokens became known.
    pub(super) fn attach_waiting(&mut self, now: Now, contact: ContactId) {
        if self.contexts.waiting.is_empty() {
            return;
        }
        let Some(session) = self.sessions.get(&contact) else { return };
        let site = session.contact().site.clone();
        let targets = session.found_by();
        let found = targets.iter().flat_map(|target| self.contexts.waiting.find(now.wall, &site, target));
        for posted in found.collect::<Vec<Posted>>() {
            self.with(contact, |session| _ = session.attach(now, posted));
        }
    }

    /// A person who has exactly one caller on hold and calls somebody asks about that caller: what is handed over goes along.
    pub(super) fn consultation(&mut self, now: Now, contact: ContactId) {
        let Some(session) = self.sessions.get(&contact) else { return };
        let own = session.contact();
        let Some(number) = own.caller.number.as_deref().filter(|number| number.len() <= EXTENSION) else { return };
        let Some(setup) = self.setup.sites.iter().find(|setup| setup.site.id == own.site) else { return };
        let (agent, _) = setup.site.directory.agent(number);
        let (site, called) = (own.site.clone(), own.called.clone());
        let others = self.sessions.values().filter(|other| other.id() != contact && other.contact().site == site);
        let held: Vec<_> = others.filter_map(|other| Some((other.id(), other.held_by(&agent)?))).take(2).collect();
        if let [(about, leg)] = held.as_slice() {
            let (about, leg) = (*about, *leg);
            self.with(about, |session| session.consults(now, leg, contact, &called));
        }
    }

    /// Marks and notes of a running contact. The receiver resolves when it is on disk.
    pub(super) fn annotate(
        &mut self,
        now: Now,
        contact: ContactId,
        annotation: &Annotation,
    ) -> Done<Option<Uuid>, note::Refused> {
        let mut done = Err(note::Refused::Unknown);
        self.with(contact, |session| done = session.annotate(now, annotation));
        let flushed = self.setup.outbox.flush().map_err(|_| note::Refused::Unknown)?;
        done.map(|mark| (mark, flushed))
    }

    pub(super) fn contexts_due(&self) -> Option<Mono> {
        self.contexts.sweep
    }

    /// Deletes what has expired, when it is time for that.
    pub(super) fn expire_contexts(&mut self, now: Now) {
        if self.contexts.sweep.is_none_or(|at| at > now.mono) {
            return;
        }
        let gone = self.contexts.waiting.expire(now.wall);
        self.forget_contexts(gone);
        self.contexts.sweep = None;
        self.plan_sweep(now);
    }

    fn plan_sweep(&mut self, now: Now) {
        if self.contexts.sweep.is_none() {
            let next = self.contexts.waiting.next_expiry();
            self.contexts.sweep = next.map(|expires| now.mono + expires.since(now.wall).max(SWEEP));
        }
    }

    fn forget_contexts(&self, ids: Vec<Uuid>) {
        if !ids.is_empty() && self.setup.outbox.forget(ids).is_err() {
            tracing::error!("expired contexts could not be deleted; they are at the next start");
        }
    }
}

fn accepted(posted: &Posted, fresh: Fresh, attached: Vec<ContactId>) -> Accepted {
    Accepted { id: posted.id, version: posted.version, expires: posted.expires, fresh, attached }
}

//! All calls: found by our tag, by the INVITE that opened them, by the stream that is being opened; and when each wants its timer. What a
//! message costs does not grow with the number of calls.

use std::collections::btree_map::{BTreeMap, Iter, Keys};
use std::collections::{BTreeSet, HashMap};

use crate::pbx::{CallKey, StreamId};
use crate::time::Mono;

use super::call::Call;
use super::transaction::Key;

/// Calls that may have changed before they are entered anew.
const TOUCHED_MAX: usize = 256;

/// All calls by our tag.
#[derive(Debug, Default)]
pub(super) struct Calls {
    all: BTreeMap<String, Call>,
    keys: HashMap<CallKey, String>,
    invites: HashMap<Key, String>,
    opening: HashMap<StreamId, String>,
    due: BTreeSet<(Mono, String)>,
    /// When each stands in `due`.
    entered: HashMap<String, Mono>,
    /// Calls whose deadline may be another than the one that is entered.
    touched: Vec<String>,
}

impl Calls {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn get(&self, tag: &str) -> Option<&Call> {
        self.all.get(tag)
    }

    pub(super) fn get_mut(&mut self, tag: &str) -> Option<&mut Call> {
        if self.touched.len() >= TOUCHED_MAX {
            self.settle();
        }
        let call = self.all.get_mut(tag)?;
        if self.touched.last().is_none_or(|last| last != tag) {
            self.touched.push(tag.into());
        }
        Some(call)
    }

    pub(super) fn iter(&self) -> Iter<'_, String, Call> {
        self.all.iter()
    }

    pub(super) fn tags(&self) -> Keys<'_, String, Call> {
        self.all.keys()
    }

    pub(super) fn insert(&mut self, tag: String, call: Call) {
        self.keys.insert(call.key.clone(), tag.clone());
        self.invites.insert(call.invite_key, tag.clone());
        self.touched.push(tag.clone());
        self.all.insert(tag, call);
    }

    pub(super) fn remove(&mut self, tag: &str) -> Option<Call> {
        let call = self.all.remove(tag)?;
        if self.keys.get(&call.key).is_some_and(|own| own == tag) {
            self.keys.remove(&call.key);
        }
        self.invites.remove(&call.invite_key);
        self.leave(tag);
        Some(call)
    }

    /// Whether a running call has this key.
    pub(super) fn has_key(&self, key: &CallKey) -> bool {
        self.keys.contains_key(key)
    }

    /// The call that this INVITE opened.
    pub(super) fn of_invite(&self, invite: &Key) -> Option<&String> {
        self.invites.get(invite)
    }

    /// The media stage was asked for this stream of a call.
    pub(super) fn opens(&mut self, stream: StreamId, tag: &str) {
        self.opening.insert(stream, tag.into());
    }

    /// The media stage answered for a stream: whose it is.
    pub(super) fn opened(&mut self, stream: StreamId) -> Option<String> {
        self.opening.remove(&stream)
    }

    /// When the first of them wants its timer, or earlier.
    pub(super) fn deadline(&self) -> Option<Mono> {
        let touched = self.touched.iter().filter_map(|tag| self.all.get(tag)?.deadline());
        self.due.first().map(|(at, _)| *at).into_iter().chain(touched).min()
    }

    /// The calls whose timer is due.
    pub(super) fn due(&mut self, now: Mono) -> Vec<String> {
        self.settle();
        self.due.iter().take_while(|(at, _)| *at <= now).map(|(_, tag)| tag.clone()).collect()
    }

    /// Enters the deadlines of what changed.
    pub(super) fn settle(&mut self) {
        for tag in std::mem::take(&mut self.touched) {
            let at = self.all.get(&tag).and_then(Call::deadline);
            if at != self.entered.get(&tag).copied() {
                self.leave(&tag);
                if let Some(at) = at {
                    self.due.insert((at, tag.clone()));
                    self.entered.insert(tag, at);
                }
            }
        }
    }

    fn leave(&mut self, tag: &str) {
        if let Some((tag, at)) = self.entered.remove_entry(tag) {
            self.due.remove(&(at, tag));
        }
    }
}

//! `Replaces` (RFC 3891): the bridge lets no call take the place of another, and says so as the RFC asks.

use std::collections::VecDeque;

use sha2::{Digest, Sha256};

use crate::time::{Mono, Now};

use super::dialog::Dialog;
use super::header::{param, split_params};
use super::request::Request;
use super::uas::Uas;

/// Dialogs that ended and are remembered.
const ENDED_MAX: usize = 1_024;

/// Dialogs that ended lately, as digests: RFC 3891 §3 tells them from those that never were.
#[derive(Debug, Default)]
pub(super) struct Ended(VecDeque<(Mono, [u8; 32])>);

impl Ended {
    /// Remembers one; when there are too many the oldest is forgotten.
    pub(super) fn add(&mut self, dialog: &Dialog, until: Mono, now: Now) {
        let over = |(until, _): &(Mono, _)| *until <= now.mono;
        while self.0.front().is_some_and(over) || self.0.len() >= ENDED_MAX {
            self.0.pop_front();
        }
        self.0.push_back((until, digest(&dialog.call_id, &dialog.local_tag, &dialog.remote_tag)));
    }

    fn has(&self, call_id: &str, to: &str, from: &str, now: Now) -> bool {
        let wanted = digest(call_id, to, from);
        self.0.iter().any(|(until, own)| *until > now.mono && *own == wanted)
    }
}

fn digest(call_id: &str, local_tag: &str, remote_tag: &str) -> [u8; 32] {
    let hash = [call_id, local_tag, remote_tag].iter().fold(Sha256::new(), |hash, part| {
        hash.chain_update((part.len() as u64).to_be_bytes()).chain_update(part.as_bytes())
    });
    hash.finalize().into()
}

impl Uas {
    /// The status that refuses an INVITE with `Replaces` (RFC 3891 §3): 400 for more than one, or one beside `Join`, which contradicts it
    /// (RFC 3911 §4); 603 for a dialog that ended in the last 64·T1; 481 for one that is not there or rings here; 486 where only a ringing
    /// one was meant; else 403, because nobody is authorized to replace a call of the bridge.
    pub(super) fn refuse_replaces(&self, invite: &Request, now: Now) -> Option<u16> {
        match (invite.message.count("Replaces"), invite.message.count("Join")) {
            (0, _) => return None,
            (1, 0) => {}
            _ => return Some(400),
        }
        let text = invite.message.text("Replaces").unwrap_or_default();
        let Some((call_id, params)) = split_params(&text) else { return Some(400) };
        let (Some(to), Some(from)) = (param(&params, "to-tag"), param(&params, "from-tag")) else { return Some(400) };
        // tag 0 stands for none
        let is_from = |tag: &str| from == tag || (from == "0" && tag.is_empty());
        let is_meant = |dialog: &Dialog| dialog.call_id == call_id && is_from(&dialog.remote_tag);
        let early_only = param(&params, "early-only").is_some();
        Some(match self.calls.get(to).filter(|call| is_meant(&call.dialog)) {
            Some(call) if call.is_answered() && early_only => 486,
            Some(call) if call.is_answered() => 403,
            Some(_) => 481,
            None if self.ended.has(call_id, to, from, now) => 603,
            None if from == "0" && self.ended.has(call_id, to, "", now) => 603,
            None => 481,
        })
    }
}

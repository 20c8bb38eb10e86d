//! `Replaces` (RFC 3891): the bridge lets no call take the place of another, and says so as the RFC asks.

use super::header::{param, split_params};
use super::request::Request;
use super::uas::Uas;

impl Uas {
    /// The status that refuses an INVITE with `Replaces` (RFC 3891 §3): 400 for more than one, 481 for a dialog that is not there or
    /// rings here, 486 where only a ringing one was meant, 501 else.
    pub(super) fn refuse_replaces(&self, invite: &Request) -> Option<u16> {
        match invite.message.count("Replaces") {
            0 => return None,
            1 => {}
            _ => return Some(400),
        }
        let text = invite.message.text("Replaces").unwrap_or_default();
        let Some((call_id, params)) = split_params(&text) else { return Some(400) };
        let (Some(to), Some(from)) = (param(&params, "to-tag"), param(&params, "from-tag")) else { return Some(400) };
        let found = self.calls.get(to).filter(|call| {
            // tag 0 stands for none (RFC 3891 §3)
            let remote = &call.dialog.remote_tag;
            call.dialog.call_id == call_id && (from == remote || (from == "0" && remote.is_empty()))
        });
        Some(match found {
            Some(call) if call.is_answered() && param(&params, "early-only").is_some() => 486,
            Some(call) if call.is_answered() => 501,
            _ => 481,
        })
    }
}

//! The ways a call ends: BYE by us, 487 and other refusals while it rings, the end of the bridge; and what the hub is told of it.

use crate::pbx::{EndCause, Signal};
use crate::time::Now;

use super::uas::{Output, Purpose, Uas};

impl Uas {
    /// The end of the bridge for every call.
    pub(super) fn stop_calls(&mut self, now: Now) {
        let tags: Vec<String> = self.calls.tags().cloned().collect();
        for tag in tags {
            let Some(call) = self.calls.get(&tag) else { continue };
            if call.is_answered() {
                self.drop_pending(&tag, now);
                self.send_bye(&tag, now);
            } else {
                let (invite, key) = (call.invite.clone(), call.invite_key);
                let answer = self.busy(&invite, &tag);
                self.respond(&key, &answer, now);
            }
            self.stop_recording(&tag, now);
            self.close_streams(&tag, now);
            self.calls.remove(&tag);
        }
    }

    /// The caller gave up while it rang: 487.
    pub(super) fn terminate(&mut self, tag: &str, now: Now) {
        let Some(call) = self.calls.get(tag).filter(|call| !call.is_answered()) else { return };
        let (key, answer) = (call.invite_key, call.invite.answer(487, tag));
        self.respond(&key, &answer, now);
        self.end(tag, EndCause::Cancelled, now);
    }

    /// No port: the exchange may try elsewhere.
    pub(super) fn turn_away(&mut self, tag: &str, now: Now) {
        let Some(call) = self.calls.get(tag) else { return };
        let (key, invite) = (call.invite_key, call.invite.clone());
        let answer = self.busy(&invite, tag);
        self.respond(&key, &answer, now);
        self.end(tag, EndCause::Failed, now);
    }

    pub(super) fn send_bye(&mut self, tag: &str, now: Now) {
        self.send_request(tag, "BYE", Purpose::Bye, now);
    }

    /// Ends a call that was not answered, with this answer to its INVITE.
    pub(super) fn reject(&mut self, tag: &str, code: u16, now: Now) {
        let Some(call) = self.calls.get(tag).filter(|call| !call.is_answered()) else { return };
        let (key, answer) = (call.invite_key, call.invite.answer(code, tag));
        self.respond(&key, &answer, now);
        self.end(tag, EndCause::Failed, now);
    }

    /// We hang up.
    pub(super) fn hang_up(&mut self, tag: &str, cause: EndCause, now: Now) {
        self.send_bye(tag, now);
        self.end(tag, cause, now);
    }

    /// The one way a call ends for the hub.
    pub(super) fn end(&mut self, tag: &str, cause: EndCause, now: Now) {
        self.drop_pending(tag, now);
        let recorded = self.end_recording(tag, cause, now);
        self.close_streams(tag, now);
        let Some(call) = self.calls.remove(tag) else { return };
        if call.is_known() {
            self.ended.add(&call.dialog, now.mono + self.times.limit(), now);
        }
        if call.is_known() && !recorded {
            self.out.push_back(call.observed(Signal::LegEnded(call.leg.clone(), cause), now));
            self.out.push_back(call.observed(Signal::CallEnded(cause), now));
        }
    }

    fn close_streams(&mut self, tag: &str, now: Now) {
        let Some(call) = self.calls.get(tag) else { return };
        for stream in call.agreed.heard().iter().filter(|stream| stream.port.is_some()) {
            self.out.push_back(Output::Close(stream.id));
            if call.is_answered() && call.recording.is_none() {
                self.out.push_back(call.observed(Signal::StreamRemoved(stream.id), now));
            }
        }
    }
}

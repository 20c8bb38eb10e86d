//! A call that Asterisk sends to the bridge by a media connection, as signals: one leg, answered from the beginning, the caller heard on it.

use crate::pbx::{EndCause, Fidelity, LegKey, Signal, Speaker, StreamId};

use super::door::Announced;

/// The signals of its beginning; without a stream when the line's policy wants nothing heard.
pub fn begun(leg: &LegKey, call: &Announced, stream: Option<StreamId>) -> Vec<Signal> {
    let (leg, called) = (leg.clone(), call.called.clone());
    let mut signals = vec![
        Signal::CallAppeared {
            caller: call.caller.clone(),
            called: called.clone(),
            keys: call.keys.clone(),
            fidelity: Fidelity::OwnLeg,
        },
        Signal::LegAppeared { leg: leg.clone(), address: called, queue: None },
        Signal::LegRinging(leg.clone()),
        Signal::LegAnswered(leg.clone()),
    ];
    signals.extend(stream.map(|stream| Signal::StreamAdded { leg, stream, speaker: Speaker::Caller }));
    signals
}

/// The signals of its end. A failure says why before the leg ends.
pub fn over(leg: &LegKey, stream: Option<StreamId>, cause: EndCause, reason: &str) -> Vec<Signal> {
    let mut signals = Vec::new();
    if cause == EndCause::Failed && stream.is_some() {
        let (leg, reason) = (leg.clone(), reason.to_string());
        signals.push(Signal::StreamFailed { leg, speaker: Speaker::Caller, reason });
    }
    signals.extend(stream.map(Signal::StreamRemoved));
    signals.extend([Signal::LegEnded(leg.clone(), cause), Signal::CallEnded(cause)]);
    signals
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn a_call_is_told_whole_and_a_failure_with_its_reason() {
        let (leg, stream) = (LegKey("a".into()), StreamId(Uuid::from_u128(1)));
        let call = Announced { called: "7001".into(), ..Announced::default() };
        let begun = begun(&leg, &call, Some(stream));
        assert!(
            matches!(&begun[0], Signal::CallAppeared { called, fidelity: Fidelity::OwnLeg, .. } if called == "7001")
        );
        assert_eq!(begun[4], Signal::StreamAdded { leg: leg.clone(), stream, speaker: Speaker::Caller });
        let normal = over(&leg, Some(stream), EndCause::Normal, "");
        assert_eq!(normal[0], Signal::StreamRemoved(stream));
        assert_eq!(normal.len(), 3);
        let failed = over(&leg, Some(stream), EndCause::Failed, "lost");
        assert!(matches!(&failed[0], Signal::StreamFailed { reason, .. } if reason == "lost"));
        assert_eq!(failed.last(), Some(&Signal::CallEnded(EndCause::Failed)));
        assert_eq!(over(&leg, None, EndCause::Failed, "lost").len(), 2);
    }
}

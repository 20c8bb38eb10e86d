//! Hearing one party: a snoop channel and an external-media channel in a bridge of their own, one stream per speaker. The external media
//! comes by RTP, AudioSocket or chan_websocket.
//!
//! Opening (port asked) → Setting (channels and bridge being made) → Live → Closing. A part that vanishes by itself makes the tap
//! broken; if its party is still there a second later, it is made anew.

use uuid::Uuid;

use crate::events::NAMESPACE;
use crate::pbx::{LegKey, Signal, Speaker, StreamId};
use crate::time::{Mono, Now};

use super::ari::{Ari, Output, Purpose, after};
use super::event::Channel;
use super::request::{Answer, Method, segment};

/// Time for a tap to become live.
const SETTING_MS: u64 = 5_000;
/// How long a vanished part may be the sign of a hang-up that is not reported yet.
const BROKEN_MS: u64 = 1_000;
/// How long the end of external media is awaited before its stream is closed.
const CLOSING_MS: u64 = 1_000;

/// One speaker's tap.
#[derive(Clone, Debug)]
pub(super) struct Tap {
    /// The call.
    pub(super) key: String,
    /// The end during which it is heard.
    leg: String,
    speaker: Speaker,
    /// The channel that is listened to.
    spied: String,
    phase: Phase,
    media: Part,
    snoop: Part,
    bridge: bool,
    /// Why its connection is gone.
    cut: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Opening { until: Mono },
    Setting { until: Mono },
    Live,
    Broken { until: Mono },
    Closing { until: Mono },
}

/// How far one of the two channels is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Asked,
    Arrived,
    Entering,
    In,
}

/// What a request of a tap is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Media,
    Bridge,
    Snoop,
    AddMedia,
    AddSnoop,
    RemoveMedia,
}

impl Tap {
    pub(super) fn deadline(&self) -> Option<Mono> {
        match self.phase {
            Phase::Opening { until }
            | Phase::Setting { until }
            | Phase::Broken { until }
            | Phase::Closing { until } => Some(until),
            Phase::Live => None,
        }
    }

    fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing { .. })
    }
}

impl Ari {
    /// Starts what must be heard and is not: agent and caller of every joined end, the caller only once.
    pub(super) fn ensure_taps(&mut self, key: &str, now: Now) {
        let Some(call) = self.calls.get(key).filter(|_| self.connected) else { return };
        let mut missing = Vec::new();
        for leg in call.legs.iter().filter(|leg| leg.answered && leg.joined && !leg.unheard && !leg.outside) {
            for (speaker, spied) in [(Speaker::Caller, &call.caller.id), (Speaker::Agent, &leg.id)] {
                let heard = |tap: &Tap| {
                    tap.key == key
                        && tap.speaker == speaker
                        && !tap.is_closing()
                        && (speaker == Speaker::Caller || tap.leg == leg.id)
                };
                let planned =
                    |(other, _, _): &(Speaker, String, String)| *other == speaker && speaker == Speaker::Caller;
                if !self.taps.values().any(heard) && !missing.iter().any(planned) {
                    missing.push((speaker, leg.id.clone(), spied.clone()));
                }
            }
        }
        if missing.is_empty() {
            return;
        }
        let wanted = (self.policy)(&call.called);
        if !wanted.record && !wanted.transcribe {
            return;
        }
        for (speaker, leg, spied) in missing {
            let stream = self.new_stream(&leg, speaker, now);
            let phase = Phase::Opening { until: after(now, SETTING_MS) };
            let tap = Tap {
                key: key.into(),
                leg,
                speaker,
                spied,
                phase,
                media: Part::Asked,
                snoop: Part::Asked,
                bridge: false,
                cut: None,
            };
            self.taps.insert(stream, tap);
            let name = self.name_of(stream);
            self.out.push_back(Output::Open { stream, wanted, name });
        }
    }

    /// The media stage answered.
    pub(super) fn tap_opened(&mut self, stream: StreamId, port: Result<u16, String>, now: Now) {
        let Some(tap) = self.taps.get_mut(&stream).filter(|tap| matches!(tap.phase, Phase::Opening { .. })) else {
            if port.is_ok() {
                self.out.push_back(Output::Close(stream));
            }
            return;
        };
        let port = match port {
            Ok(port) => port,
            Err(reason) => {
                let Some(tap) = self.taps.remove(&stream) else { return };
                self.unheard(&tap, reason, now);
                self.finish(&tap.key, false, now);
                return;
            }
        };
        tap.phase = Phase::Setting { until: after(now, SETTING_MS) };
        let (key, leg, speaker, spied) = (tap.key.clone(), LegKey(tap.leg.clone()), tap.speaker, tap.spied.clone());
        self.tell(&key, Signal::StreamAdded { leg, stream, speaker }, now);
        let app = ("app", self.settings.app.clone());
        let mut media = vec![app.clone(), ("channelId", self.part_id(stream, "media"))];
        media.extend(self.media_asked(stream, port));
        self.request(Purpose::Tap(stream, Step::Media), Method::Post, "/channels/externalMedia".into(), media, None);
        let bridge = vec![("type", "mixing".into()), ("bridgeId", self.part_id(stream, "bridge"))];
        self.request(Purpose::Tap(stream, Step::Bridge), Method::Post, "/bridges".into(), bridge, None);
        let snoop = vec![app, ("spy", "in".into()), ("snoopId", self.part_id(stream, "snoop"))];
        let path = format!("/channels/{}/snoop", segment(&spied));
        self.request(Purpose::Tap(stream, Step::Snoop), Method::Post, path, snoop, None);
    }

    /// A request of a tap was answered.
    pub(super) fn tap_answered(&mut self, stream: StreamId, step: Step, answer: &Answer, now: Now) {
        let Some(tap) = self.taps.get_mut(&stream) else { return };
        if tap.is_closing() {
            if step == Step::RemoveMedia {
                self.finish_tap(stream, now);
            }
            return;
        }
        let Some(body) = answer.body() else {
            let what = match step {
                Step::Media => self.media_refused(),
                Step::Bridge => "a bridge (is bridge_simple loaded?)",
                Step::Snoop => "a snoop channel (is res_stasis_snoop loaded? the party may have hung up)",
                Step::AddMedia | Step::AddSnoop | Step::RemoveMedia => "the channels in one bridge",
            };
            self.fail_tap(stream, format!("Asterisk did not make {what}: {}", answer.outcome()), now);
            return;
        };
        match step {
            Step::Media => {
                let made = Channel::parse_list(body).ok().and_then(|list| list.into_iter().next());
                if let Err(reason) = self.media_made(stream, made.unwrap_or_default()) {
                    return self.fail_tap(stream, reason.into(), now);
                }
            }
            Step::Bridge => tap.bridge = true,
            Step::AddMedia => tap.media = Part::In,
            Step::AddSnoop => tap.snoop = Part::In,
            Step::Snoop | Step::RemoveMedia => {}
        }
        self.advance(stream);
    }

    /// One of our channels entered the Stasis application.
    pub(super) fn tap_arrived(&mut self, id: &str) {
        let Some((stream, part)) = self.own_part(id) else { return };
        let Some(tap) = self.taps.get_mut(&stream) else {
            self.delete(id);
            return;
        };
        match part {
            "media" if tap.media == Part::Asked => tap.media = Part::Arrived,
            "snoop" if tap.snoop == Part::Asked => tap.snoop = Part::Arrived,
            _ => {}
        }
        self.advance(stream);
    }

    /// One of our channels is gone.
    pub(super) fn tap_gone(&mut self, id: &str, now: Now) {
        let Some((stream, part)) = self.own_part(id) else { return };
        let Some(tap) = self.taps.get_mut(&stream) else { return };
        match tap.phase {
            Phase::Closing { .. } if part == "media" => self.finish_tap(stream, now),
            Phase::Setting { .. } | Phase::Live => tap.phase = Phase::Broken { until: after(now, BROKEN_MS) },
            _ => {}
        }
    }

    /// The connection of a tap is gone. If its party is still there a moment later, it is made anew.
    pub(super) fn tap_cut(&mut self, stream: StreamId, reason: String, now: Now) {
        let Some(tap) = self.taps.get_mut(&stream) else { return };
        match tap.phase {
            Phase::Setting { .. } | Phase::Live => tap.phase = Phase::Broken { until: after(now, BROKEN_MS) },
            Phase::Broken { .. } => {}
            Phase::Opening { .. } | Phase::Closing { .. } => return,
        }
        tap.cut = Some(reason);
    }

    /// After a connection: taps whose channels are no longer there are made anew, channels without a tap are removed.
    pub(super) fn taps_listed(&mut self, own: &[&str], now: Now) {
        for id in own {
            if !self.own_part(id).is_some_and(|(stream, _)| self.taps.contains_key(&stream)) {
                self.delete(id);
            }
        }
        let streams: Vec<StreamId> = self.taps.keys().copied().collect();
        for stream in streams {
            let there = |part| own.contains(&self.part_id(stream, part).as_str());
            let whole = there("media") && there("snoop");
            if let Some(tap) = self.taps.get_mut(&stream).filter(|tap| tap.phase == Phase::Live && !whole) {
                tap.phase = Phase::Broken { until: now.mono };
            }
        }
    }

    /// Without the event socket nothing more is learned about taps that are not live: they are given up.
    pub(super) fn abandon_unfinished_taps(&mut self, now: Now) {
        let unfinished = |(stream, tap): (&StreamId, &Tap)| (tap.phase != Phase::Live).then_some(*stream);
        let streams: Vec<StreamId> = self.taps.iter().filter_map(unfinished).collect();
        for stream in streams {
            self.finish_tap(stream, now);
        }
    }

    /// Closes what is heard during one end.
    pub(super) fn close_taps_of(&mut self, key: &str, leg: &str, now: Now) {
        self.close_taps(|tap| tap.key == key && tap.leg == leg, now);
    }

    /// Closes what is heard of one speaker.
    pub(super) fn close_taps_of_speaker(&mut self, key: &str, speaker: Speaker, now: Now) {
        self.close_taps(|tap| tap.key == key && tap.speaker == speaker, now);
    }

    /// Closes everything.
    pub(super) fn close_all_taps(&mut self, now: Now) {
        self.close_taps(|_| true, now);
    }

    /// Taps that did not get on.
    pub(super) fn taps_timeout(&mut self, now: Now) {
        let due = |tap: &Tap| tap.deadline().is_some_and(|at| at <= now.mono);
        let streams: Vec<StreamId> = self.taps.iter().filter(|(_, tap)| due(tap)).map(|(stream, _)| *stream).collect();
        for stream in streams {
            match self.taps.get(&stream).map(|tap| (tap.phase, tap.key.clone())) {
                Some((Phase::Closing { .. }, _)) => self.finish_tap(stream, now),
                Some((Phase::Broken { .. }, key)) => {
                    if let Some(tap) = self.taps.get(&stream).cloned()
                        && let Some(reason) = tap.cut
                    {
                        let (leg, speaker) = (LegKey(tap.leg), tap.speaker);
                        self.tell(&key, Signal::StreamFailed { leg, speaker, reason }, now);
                    }
                    self.close_tap(stream, now);
                    self.ensure_taps(&key, now);
                }
                Some(_) => self.fail_tap(stream, format!("media was not ready within {SETTING_MS} ms"), now),
                None => {}
            }
        }
    }

    /// Removes a channel or a bridge of ours.
    pub(super) fn delete(&mut self, id: &str) {
        let what = if id.ends_with(".bridge") { "bridges" } else { "channels" };
        self.request(Purpose::Nothing, Method::Delete, format!("/{what}/{}", segment(id)), vec![], None);
    }

    fn close_taps(&mut self, which: impl Fn(&Tap) -> bool, now: Now) {
        let streams: Vec<StreamId> =
            self.taps.iter().filter(|(_, tap)| which(tap)).map(|(stream, _)| *stream).collect();
        for stream in streams {
            self.close_tap(stream, now);
        }
    }

    fn advance(&mut self, stream: StreamId) {
        let Some(tap) =
            self.taps.get_mut(&stream).filter(|tap| matches!(tap.phase, Phase::Setting { .. }) && tap.bridge)
        else {
            return;
        };
        let mut enter = Vec::new();
        if tap.media == Part::Arrived {
            tap.media = Part::Entering;
            enter.push((Step::AddMedia, "media"));
        }
        if tap.snoop == Part::Arrived {
            tap.snoop = Part::Entering;
            enter.push((Step::AddSnoop, "snoop"));
        }
        if tap.media == Part::In && tap.snoop == Part::In {
            tap.phase = Phase::Live;
        }
        for (step, part) in enter {
            let path = format!("/bridges/{}/addChannel", segment(&self.part_id(stream, "bridge")));
            let channel = vec![("channel", self.part_id(stream, part))];
            self.request(Purpose::Tap(stream, step), Method::Post, path, channel, None);
        }
    }

    fn fail_tap(&mut self, stream: StreamId, reason: String, now: Now) {
        if let Some(tap) = self.taps.get(&stream).cloned() {
            self.unheard(&tap, reason, now);
            self.close_tap(stream, now);
        }
    }

    fn unheard(&mut self, tap: &Tap, reason: String, now: Now) {
        if let Some(leg) =
            self.calls.get_mut(&tap.key).and_then(|call| call.legs.iter_mut().find(|leg| leg.id == tap.leg))
        {
            leg.unheard = true;
        }
        self.tell(&tap.key, Signal::StreamFailed { leg: LegKey(tap.leg.clone()), speaker: tap.speaker, reason }, now);
    }

    fn close_tap(&mut self, stream: StreamId, now: Now) {
        let Some(tap) = self.taps.get_mut(&stream).filter(|tap| !tap.is_closing()) else { return };
        let opening = matches!(tap.phase, Phase::Opening { .. });
        tap.phase = Phase::Closing { until: after(now, CLOSING_MS) };
        if opening {
            self.finish_tap(stream, now);
            return;
        }
        self.delete(&self.part_id(stream, "snoop"));
        let media = format!("/channels/{}", segment(&self.part_id(stream, "media")));
        self.request(Purpose::Tap(stream, Step::RemoveMedia), Method::Delete, media, vec![], None);
        self.delete(&self.part_id(stream, "bridge"));
    }

    fn finish_tap(&mut self, stream: StreamId, now: Now) {
        let Some(tap) = self.taps.remove(&stream) else { return };
        self.out.push_back(Output::Close(stream));
        self.tell(&tap.key, Signal::StreamRemoved(stream), now);
        self.finish(&tap.key, false, now);
    }

    fn new_stream(&mut self, leg: &str, speaker: Speaker, now: Now) -> StreamId {
        self.next_stream += 1;
        let name = format!("{}|{leg}|{speaker:?}|{}|{}", self.pbx.0, now.wall.0, self.next_stream);
        StreamId(Uuid::new_v5(&NAMESPACE, name.as_bytes()))
    }

    pub(super) fn part_id(&self, stream: StreamId, part: &str) -> String {
        format!("{}.{}.{part}", self.settings.app, stream.0)
    }

    /// `kakehashi.<uuid>.snoop` → stream and part.
    fn own_part<'a>(&self, id: &'a str) -> Option<(StreamId, &'a str)> {
        let (uuid, part) = id.strip_prefix(self.settings.app.as_str())?.strip_prefix('.')?.split_once('.')?;
        Uuid::parse_str(uuid).ok().map(|uuid| (StreamId(uuid), part))
    }
}

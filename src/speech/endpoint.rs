//! Cuts the sound of one stream into utterances, in true time.
//!
//! In: samples with their position. Out: [`SpeechEventKind::Started`] once there is enough voice to be worth recognising, then
//! [`SpeechEventKind::Ended`] with the sound; every start has its end. Silence, noise below the floor and short noises give nothing.
//! In between, and only while somebody wants them, [`SpeechEventKind::Running`] with a copy of what was said so far.

use std::time::Duration;

use super::settings::Settings;
use super::vad::Vad;
use super::{SpeechEventKind, Utterance};
use crate::time::MediaTime;

/// Frames with voice in a row that begin an utterance (48 ms).
const ONSET: usize = 3;
/// Sound kept after the last voice, in milliseconds.
const TAIL_MS: u32 = 200;
/// A cut is made in this part of a full-length utterance, in per cent of its length.
const CUT_FROM: usize = 55;
const CUT_TO: usize = 95;
/// Sound kept while music plays, in frames: what is said over or after it is recognised as speech only after a while (1 s).
const LOOK_BACK: usize = 64;
/// Frames for which it is still kept after the music.
const AFTER_MUSIC: usize = 8;
/// Evidence at which it is sure that somebody speaks; without it an utterance is told only at its end.
const SURE: f32 = -4.0;
/// Frames over which the score is averaged to find the quietest place.
const VALLEY: usize = 7;

/// Finds the utterances of one stream. Memory is constant: at most one utterance of the greatest length.
#[derive(Debug)]
pub struct Endpointer {
    vad: Vad,
    rate: u32,
    frame: usize,
    threshold: f32,
    pre_roll: usize,
    tail: u64,
    hangover: u64,
    min_speech: usize,
    longest: usize,
    /// Samples of speech before the first copy of a running utterance.
    first: u64,
    /// New samples before the next one; `None` when no copies are wanted.
    again: Option<u64>,
    /// Position of the next sample.
    next: u64,
    /// Samples that do not fill a frame yet; they end at `next`.
    partial: Vec<i16>,
    /// Judged sound from position `from`: the pre-roll, or the utterance so far.
    sound: Vec<i16>,
    from: u64,
    /// One score for each frame of `sound`; the oldest frame may be cut at its start.
    scores: Vec<f32>,
    /// Frames with voice in a row, before an utterance.
    run: usize,
    /// Frames since the last music.
    since_music: usize,
    speaking: Option<Speaking>,
    number: u32,
}

/// An utterance that is going on.
#[derive(Clone, Copy, Debug)]
struct Speaking {
    /// Frames with voice.
    voiced: usize,
    /// End of the last frame with voice.
    last_voice: u64,
    /// Its start was reported.
    told: bool,
    /// Its first voice.
    began: u64,
    /// The end of what was copied last.
    copied: Option<u64>,
    /// Evidence for music (above 0) or voice at its last voice.
    leans: f32,
}

impl Endpointer {
    /// For a stream of `rate` Hz, 8000 or 16000.
    pub fn new(settings: &Settings, rate: u32) -> Self {
        let frame = Vad::frame(rate);
        let samples = |ms: u32| (u64::from(ms) * u64::from(rate) / 1_000) as usize;
        let hangover = samples(settings.hangover_ms).max(frame);
        Self {
            vad: Vad::new(rate, settings.vad_threshold, settings.energy_floor_dbfs, settings.speech_gate),
            rate,
            frame,
            threshold: settings.vad_threshold,
            pre_roll: samples(settings.pre_roll_ms),
            tail: samples(TAIL_MS).min(hangover) as u64,
            hangover: hangover as u64,
            min_speech: samples(settings.min_speech_ms).div_ceil(frame),
            longest: samples(settings.max_utterance_ms.clamp(2_000, 28_000)),
            first: samples(settings.first_partial_ms) as u64,
            again: None,
            next: 0,
            partial: Vec::with_capacity(frame),
            sound: Vec::new(),
            from: 0,
            scores: Vec::new(),
            run: 0,
            since_music: AFTER_MUSIC,
            speaking: None,
            number: 0,
        }
    }

    /// Takes `samples` (native rate, ±32768) whose first stands at `position`. What is missing before it counts as silence; what was
    /// pushed before is skipped.
    pub fn push(&mut self, position: u64, samples: &[i16], out: &mut Vec<SpeechEventKind>) {
        if position > self.next {
            self.jump(position, out);
        }
        let known = usize::try_from(self.next - position).unwrap_or(usize::MAX);
        if let Some(fresh) = samples.get(known..) {
            self.feed(fresh, out);
        }
    }

    /// From now on a copy of a running utterance is made after so much more of it, the first one once `first_partial_ms` were said; `None`:
    /// none are, as in the beginning.
    pub fn want(&mut self, every: Option<Duration>) {
        let samples = |every: Duration| every.as_micros() * u128::from(self.rate) / 1_000_000;
        self.again = every.map(|every| u64::try_from(samples(every)).unwrap_or(u64::MAX));
    }

    /// The stream has ended: an utterance that is going on ends here.
    pub fn finish(&mut self, out: &mut Vec<SpeechEventKind>) {
        self.again = None;
        if !self.partial.is_empty() {
            let rest = vec![0; self.frame - self.partial.len()];
            self.feed(&rest, out);
            self.next = self.next.saturating_sub(rest.len() as u64);
        }
        if let Some(speaking) = self.speaking {
            // who hangs up in the middle of a word leaves little to tell a voice by, and is asked nothing again
            self.tell(out);
            let end = (speaking.last_voice + self.tail).min(self.next);
            self.close(end, out);
        }
    }

    /// Goes to `position` over silence; a long one ends the utterance and is not walked through.
    fn jump(&mut self, position: u64, out: &mut Vec<SpeechEventKind>) {
        let missing = position - self.next;
        let walked = missing.min(self.hangover + 2 * self.frame as u64);
        self.feed(&vec![0; walked as usize], out);
        if walked < missing {
            self.vad.reset();
            self.partial.clear();
            self.sound.clear();
            self.scores.clear();
            self.run = 0;
            self.since_music = AFTER_MUSIC;
            self.from = position;
            self.next = position;
        }
    }

    fn feed(&mut self, mut samples: &[i16], out: &mut Vec<SpeechEventKind>) {
        self.next += samples.len() as u64;
        while !samples.is_empty() {
            let (now, later) = samples.split_at(samples.len().min(self.frame - self.partial.len()));
            self.partial.extend_from_slice(now);
            samples = later;
            if self.partial.len() == self.frame {
                self.take_frame(out);
            }
        }
    }

    fn take_frame(&mut self, out: &mut Vec<SpeechEventKind>) {
        let verdict = self.vad.judge(&self.partial);
        self.sound.append(&mut self.partial);
        self.scores.push(verdict.score);
        let end = self.from + self.sound.len() as u64;
        self.since_music = if verdict.music { 0 } else { self.since_music.saturating_add(1) };
        if verdict.music && self.speaking.is_some_and(|speaking| !speaking.told) {
            self.speaking = None; // it began like a voice
            self.run = 0;
        }
        let Some(speaking) = &mut self.speaking else {
            self.run = if verdict.voice { self.run + 1 } else { 0 };
            let music = if self.since_music < AFTER_MUSIC { LOOK_BACK } else { 0 };
            self.keep_last(self.pre_roll + self.run.max(1).max(music) * self.frame);
            if self.run >= ONSET {
                let began = end.saturating_sub((self.run * self.frame) as u64);
                let (voiced, leans) = (self.run, verdict.evidence);
                self.speaking = Some(Speaking { voiced, last_voice: end, told: false, began, copied: None, leans });
            }
            return;
        };
        if verdict.voice {
            speaking.voiced += 1;
            speaking.last_voice = end;
            speaking.leans = verdict.evidence;
        } else if verdict.tone && verdict.evidence >= 0.0 && !speaking.told {
            speaking.voiced = 0; // its beginning looked like voice; a held vowel looks like a tone, but the evidence is for a voice
        }
        if speaking.leans <= SURE {
            self.tell(out);
        }
        let Some(speaking) = self.speaking else { return };
        if end - speaking.last_voice >= self.hangover {
            let end = speaking.last_voice + self.tail;
            self.close(end, out);
        } else if self.sound.len() >= self.longest {
            self.cut(out);
        } else {
            self.copy(end, out);
        }
    }

    /// Hands out what was said so far, when that is wanted and there is enough new voice in it.
    fn copy(&mut self, end: u64, out: &mut Vec<SpeechEventKind>) {
        let (Some(again), Some(speaking)) = (self.again, &mut self.speaking) else { return };
        let due = match speaking.copied {
            None => end - speaking.began >= self.first,
            Some(copied) => end - copied >= again && speaking.last_voice > copied,
        };
        if due && speaking.told {
            speaking.copied = Some(end);
            let end = end.min(speaking.last_voice + self.tail);
            out.push(SpeechEventKind::Running(self.utterance(end, false)));
        }
    }

    /// Reports the start of the utterance where it ends, unless more speaks for music than for voice.
    fn tell_unless_music(&mut self, out: &mut Vec<SpeechEventKind>) {
        if self.speaking.is_some_and(|speaking| speaking.leans <= 0.0) {
            self.tell(out);
        }
    }

    /// Reports the start of the utterance once there is enough voice in it.
    fn tell(&mut self, out: &mut Vec<SpeechEventKind>) {
        let enough = |speaking: &&mut Speaking| !speaking.told && speaking.voiced >= self.min_speech;
        if let Some(speaking) = self.speaking.as_mut().filter(enough) {
            speaking.told = true;
            let start = MediaTime::of_sample(self.from, self.rate);
            out.push(SpeechEventKind::Started { utterance: self.number, start });
        }
    }

    /// Ends the utterance at `end`; what follows it is the next one's pre-roll.
    fn close(&mut self, end: u64, out: &mut Vec<SpeechEventKind>) {
        self.tell_unless_music(out);
        let told = self.speaking.take().is_some_and(|speaking| speaking.told);
        self.emit(end, false, told, out);
        self.run = 0;
        self.keep_last(self.pre_roll);
    }

    /// Ends the utterance at the quietest place of its last part; the rest of it goes on as the next one.
    fn cut(&mut self, out: &mut Vec<SpeechEventKind>) {
        let frames = self.scores.len();
        let (from, to) = (frames * CUT_FROM / 100, frames * CUT_TO / 100);
        let around = |at: usize| -> f32 {
            let window = self.scores.get(at.saturating_sub(VALLEY / 2)..=at + VALLEY / 2).unwrap_or_default();
            window.iter().sum::<f32>() / window.len().max(1) as f32
        };
        let quietest = (from..to).min_by(|&a, &b| around(a).total_cmp(&around(b))).unwrap_or(to);
        let after = frames - quietest; // counted from the end, where frames are whole
        let end = self.from + (self.sound.len().saturating_sub(after * self.frame)) as u64;
        self.tell_unless_music(out);
        let Some(before) = self.speaking else { return };
        self.emit(end, true, before.told, out);
        let voiced = self.scores.iter().filter(|score| **score >= self.threshold).count();
        let last_voice = before.last_voice.max(end);
        self.speaking = Some(Speaking { voiced, last_voice, told: false, began: end, copied: None, ..before });
    }

    /// Hands out the sound up to `end` when it is worth recognising, and keeps what follows.
    fn emit(&mut self, end: u64, forced: bool, told: bool, out: &mut Vec<SpeechEventKind>) {
        if told {
            out.push(SpeechEventKind::Ended(self.utterance(end, forced)));
            self.number += 1;
        }
        self.keep_last(self.sound.len() - self.length(end));
    }

    /// Samples of `sound` before `end`.
    fn length(&self, end: u64) -> usize {
        usize::try_from(end.saturating_sub(self.from)).unwrap_or(usize::MAX).min(self.sound.len())
    }

    /// The sound up to `end`.
    fn utterance(&self, end: u64, forced: bool) -> Utterance {
        let length = self.length(end);
        Utterance {
            number: self.number,
            start: MediaTime::of_sample(self.from, self.rate),
            end: MediaTime::of_sample(self.from + length as u64, self.rate),
            forced,
            rate: self.rate,
            pcm: self.sound.get(..length).unwrap_or_default().into(),
        }
    }

    /// Forgets all but the last `samples` of the sound.
    fn keep_last(&mut self, samples: usize) {
        let gone = self.sound.len().saturating_sub(samples);
        self.sound.drain(..gone);
        self.from += gone as u64;
        let frames = self.sound.len().div_ceil(self.frame);
        self.scores.drain(..self.scores.len().saturating_sub(frames));
    }
}

#[cfg(test)]
mod tests;

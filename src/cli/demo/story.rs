//! The demo as a person reads it: one line per thing that happened, times since the call began.

use std::fmt::Write as _;

use crate::events::{Data, Event, LookUp, TranscriptFinal};
use crate::pbx::Speaker;
use crate::time::Wall;

/// Colours on a terminal, plain text elsewhere.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint(pub(super) bool);

impl Paint {
    fn wrap(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }

    pub(super) fn dim(self, text: &str) -> String {
        self.wrap("2", text)
    }

    fn strong(self, text: &str) -> String {
        self.wrap("1", text)
    }

    fn mark(self, text: &str) -> String {
        if self.0 { self.wrap("4;32", text) } else { format!("【{text}】") }
    }
}

/// The line for an event as the panel shows it; `None` for events that say nothing new to a person.
pub(super) fn line(event: &Event, began: Wall, paint: Paint) -> Option<String> {
    let at = event.time.since(began).as_secs_f64();
    let text = match &event.data {
        Data::ScreenPop(pop) => {
            let who = match (pop.lookup, pop.matches.as_slice()) {
                (LookUp::Done, []) => "登録なし".to_string(),
                (LookUp::Done, matches) => {
                    matches.iter().map(|found| found.name.as_str()).collect::<Vec<_>>().join("、")
                }
                (LookUp::Pending, _) => "照会中…".to_string(),
                (LookUp::Failed, _) => "照会できませんでした".to_string(),
                (LookUp::Skipped, _) => "番号なし".to_string(),
            };
            let number = pop.caller.number.as_deref().or(pop.caller.raw.as_deref()).unwrap_or("非通知");
            let agent = pop.agent.name.as_deref().unwrap_or(&pop.agent.extension);
            let head = paint.strong("ポップアップ");
            format!("{head} 第{}版 → {agent}（内線 {}）: {number} {who}", pop.revision, pop.agent.extension)
        }
        Data::CallRinging(_) => "呼出中".to_string(),
        Data::CallAnswered(_) => "応答".to_string(),
        Data::CallEnded(ended) if event.leg.is_none() => format!("終話（{:?}）", ended.reason),
        Data::TranscriptFinal(text) => spoken(text, paint),
        Data::RecordingAvailable(recording) => format!("録音 {} 本", recording.streams.len()),
        Data::TranscriptDocument(document) => {
            let mut summary = format!("記録 第{}版 {} 発話", document.revision, document.turns.len());
            for leg in &document.coverage {
                let c = &leg.coverage;
                let _ = write!(
                    summary,
                    "、{} {:.1} 秒（文字 {:.1}・無音 {:.1}・欠落 {:.1}・未聴取 {:.1}）",
                    name(leg.speaker),
                    c.duration as f64 / 1e3,
                    c.transcribed as f64 / 1e3,
                    c.silent as f64 / 1e3,
                    c.lost as f64 / 1e3,
                    c.unobserved as f64 / 1e3,
                );
            }
            summary
        }
        _ => return None,
    };
    Some(format!("{} {text}", paint.dim(&format!("{at:6.1} s"))))
}

fn name(speaker: Speaker) -> &'static str {
    match speaker {
        Speaker::Caller => "発信者",
        Speaker::Agent => "担当者",
        Speaker::Mixed => "発信者と担当者",
        Speaker::Other => "話者不明",
    }
}

/// The text with what the dictionary corrected marked, and what was heard beside it.
fn spoken(text: &TranscriptFinal, paint: Paint) -> String {
    let mut shown = String::new();
    let mut from = 0;
    let letters: Vec<char> = text.text.chars().collect();
    for correction in &text.corrections {
        let (start, end) = (correction.start.min(letters.len()), correction.end.min(letters.len()));
        shown.extend(letters.get(from..start).unwrap_or_default());
        let word: String = letters.get(start..end).unwrap_or_default().iter().collect();
        shown.push_str(&paint.mark(&word));
        shown.push_str(&paint.dim(&format!("（{}）", correction.from)));
        from = end.max(from);
    }
    shown.extend(letters.get(from..).unwrap_or_default());
    format!("{}「{shown}」", name(text.speaker))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::LegId;
    use crate::events::Correction;

    #[test]
    fn corrections_are_marked_in_place() {
        let text = TranscriptFinal {
            leg: LegId(uuid::Uuid::nil()),
            utterance: String::new(),
            speaker: Speaker::Caller,
            start: Wall(0),
            end: Wall(0),
            start_ms: 0,
            end_ms: 0,
            text: "御幣島に住む".into(),
            text_raw: "ミテジマに住む".into(),
            corrections: vec![Correction {
                start: 0,
                end: 3,
                from: "ミテジマ".into(),
                to: "御幣島".into(),
                reading: "ミテジマ".into(),
                distance: 0.0,
            }],
            confidence: 1.0,
            gaps: Vec::new(),
            model: String::new(),
            dictionary: String::new(),
            caught_up: false,
        };
        assert_eq!(spoken(&text, Paint(false)), "発信者「【御幣島】（ミテジマ）に住む」");
    }
}

//! What is written into a CRM for people to read, in Japanese and in the time of Japan.

use std::fmt::Write;

use crate::call::Tier;
use crate::call::number::Number;
use crate::events::{Agent, Caller, EndReason, LegRecord, TranscriptDocument, Turn};
use crate::pbx::{Speaker, Tag, Verstat, Withheld};
use crate::time::Wall;

/// `2026-11-27 13:59:50`.
pub(super) fn day_and_time(time: Wall) -> String {
    strftime(time, 9, "%Y-%m-%d %H:%M:%S")
}

/// `13:59:50`.
pub(super) fn clock(time: Wall) -> String {
    strftime(time, 9, "%H:%M:%S")
}

/// A time so many hours east of Greenwich.
pub(super) fn strftime(time: Wall, hours_east: i8, format: &str) -> String {
    let stamp = jiff::Timestamp::from_microsecond(time.0).unwrap_or_default();
    stamp.to_zoned(jiff::tz::TimeZone::fixed(jiff::tz::offset(hours_east))).strftime(format).to_string()
}

/// Text without what PostgreSQL refuses.
pub(super) fn clean(text: &str) -> String {
    text.replace('\0', "")
}

/// One line that names the call: `着信 0662081234`.
pub(super) fn title(caller: &Caller) -> String {
    format!("着信 {}", number(caller))
}

/// The caller's number as people in Japan read it, or why there is none: `0662081234`, `非通知`.
pub(super) fn number(caller: &Caller) -> String {
    let number = caller.number.as_deref().map(|number| Number::parse(number).national());
    let who = number.or_else(|| caller.withheld.map(|why| withheld(why).into())).or_else(|| caller.raw.clone());
    clean(who.as_deref().unwrap_or("番号なし"))
}

fn withheld(why: Withheld) -> &'static str {
    match why {
        Withheld::Refused => "非通知",
        Withheld::Payphone => "公衆電話",
        Withheld::ServiceConflict => "サービス競合",
        Withheld::Unavailable => "表示圏外",
    }
}

/// Why a caller is never linked to a contact, whatever the number says; `None` where the number decides.
pub(super) fn unlinkable(caller: &Caller) -> Option<&'static str> {
    if caller.tags.contains(&Tag::Relay) {
        Some("電話リレーサービス経由の着信です。番号は通訳オペレーターのものなので、連絡先には結び付けていません。")
    } else if caller.verstat == Some(Verstat::Failed) {
        Some("発信者番号の検証に失敗しています。番号が偽られているおそれがあるため、連絡先には結び付けていません。")
    } else {
        None
    }
}

/// An agent: `山田（市民課、内線 2001）`.
pub(super) fn agent_text(agent: &Agent) -> String {
    let mut text = agent.name.clone().unwrap_or_default();
    let more: Vec<String> = agent.department.iter().cloned().chain([format!("内線 {}", agent.extension)]).collect();
    let _ = write!(text, "（{}）", more.join("、"));
    text
}

/// One leg in a line.
pub(super) fn leg_text(leg: &LegRecord) -> String {
    let tier = match leg.tier {
        Tier::First => "一次応答",
        Tier::Second => "二次応答",
        Tier::Third => "三次応答",
    };
    let began = leg.answered.or(leg.ringing).unwrap_or(leg.offered);
    let until = leg.ended.map(clock).unwrap_or_default();
    let what = if leg.answered.is_some() { "応対" } else { "呼出（応答なし）" };
    let why = leg.reason.map(|why| format!(" … {}", reason(why))).unwrap_or_default();
    format!("{}–{until} {what} {tier} {}{why}", clock(began), agent_text(&leg.agent))
}

/// Why it ended.
pub(super) fn reason(reason: EndReason) -> &'static str {
    match reason {
        EndReason::CallerHangup => "発信者が切断",
        EndReason::AgentHangup => "担当者が切断",
        EndReason::Hangup => "切断（どちらからかは不明）",
        EndReason::NoAnswer => "応答なし",
        EndReason::Busy => "話中",
        EndReason::Rejected => "着信拒否",
        EndReason::Abandoned => "応答前に発信者が切断",
        EndReason::AnsweredElsewhere => "ほかの担当者が応答",
        EndReason::Transferred => "転送",
        EndReason::Forwarded => "電話機の設定により転送",
        EndReason::Parked => "パーク（保留して引き継ぎ）",
        EndReason::Failed => "交換機または回線の障害",
        EndReason::LostSight => "交換機との接続が切れたため終了を確認できず",
        EndReason::BridgeRestart => "架け橋の再起動により記録を終了",
        EndReason::BridgeError => "架け橋の障害により記録を終了",
    }
}

/// What names a revision of a transcript: `通話の書き起こし（第2版）`.
pub(super) fn revision_text(revision: u32) -> String {
    format!("通話の書き起こし（第{revision}版）")
}

/// Reads [`revision_text`].
pub(super) fn revision_in(text: &str) -> Option<u32> {
    text.split_once("（第")?.1.split_once("版）")?.0.parse().ok()
}

/// The transcript as a text file.
pub(super) fn transcript(document: &TranscriptDocument) -> String {
    let mut lines = vec![revision_text(document.revision)];
    if !document.complete {
        lines.push("※ 文字になっていない発話があります。".into());
    }
    lines.push(String::new());
    let mut spoken: Vec<(Wall, String)> = document.turns.iter().map(|turn| (turn.start, turn_text(turn))).collect();
    for pause in &document.pauses {
        let text = format!("（{} まで一時停止）", clock(pause.to));
        spoken.push((pause.from, format!("{} {text}", day_and_time(pause.from))));
    }
    spoken.sort_by_key(|(at, _)| *at);
    lines.extend(spoken.into_iter().map(|(_, line)| line));
    clean(&lines.join("\n")) + "\n"
}

fn turn_text(turn: &Turn) -> String {
    let who = match turn.speaker {
        Speaker::Caller => "発信者",
        Speaker::Agent => "担当者",
        Speaker::Mixed => "発信者と担当者",
        Speaker::Other => "話者不明",
    };
    let what = turn.text.as_deref().unwrap_or("（認識できませんでした）");
    format!("{} {who}: {what}", day_and_time(turn.start))
}

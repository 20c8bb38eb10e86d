//! What is written into Odoo for people to read, besides what every CRM gets.

use std::fmt::Write;

use super::who::People;
use crate::crm::text::{agent_text, clock, day_and_time, leg_text, reason, strftime};
use crate::events::{Agent, CallEnded, Caller, TranscriptDocument};
use crate::time::Wall;

pub(super) use crate::crm::text::{clean, revision_in, revision_text, title, transcript, unlinkable};

/// As Odoo wants a time: UTC, no zone.
pub(super) fn utc(time: Wall) -> String {
    strftime(time, 0, "%Y-%m-%d %H:%M:%S")
}

/// What a new record says of the call; from then on the field is the operators'.
pub(super) fn description(caller: &Caller, called: &str, agent: Option<&Agent>, people: &People) -> String {
    let mut lines = vec![format!("着信先: {called}")];
    lines.extend(agent.map(|agent| format!("応対: {}", agent_text(agent))));
    lines.extend(unlinkable(caller).map(String::from));
    if people.all.len() > 1 || (people.more && !people.all.is_empty()) {
        let names = people.all.iter().map(|person| format!("{}（ID {}）", person.name, person.id));
        let names: Vec<String> = names.collect();
        let more = if people.more { "、ほか" } else { "" };
        lines.push(format!("この番号の連絡先（結び付けていません）: {}{more}", names.join("、")));
    }
    clean(&lines.join("\n"))
}

/// The call's course leg by leg, as HTML.
pub(super) fn course(ended: &CallEnded, at: Wall) -> String {
    let mut html = String::from("<p>通話の経過</p><ul>");
    let _ = write!(html, "<li>{} 着信（{}）</li>", day_and_time(ended.started), escape(&ended.called));
    for leg in &ended.legs {
        let _ = write!(html, "<li>{}</li>", escape(&leg_text(leg)));
    }
    let _ = write!(html, "<li>{} 終了（{}）</li></ul>", clock(at), reason(ended.reason));
    html
}

/// The same as a message in a record's log, as HTML.
pub(super) fn transcript_html(document: &TranscriptDocument) -> String {
    let text = transcript(document);
    let lines: Vec<String> = text.lines().map(escape).collect();
    format!("<p>{}</p>", lines.join("<br>"))
}

/// Text as it may stand in HTML.
fn escape(text: &str) -> String {
    clean(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

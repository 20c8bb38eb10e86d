//! The report for a terminal: what knocks out first, then every check by group.

use super::check::Area;
use super::report::Report;
use super::{Lang, State, Text};

/// Prints a report.
pub fn print(report: &Report, lang: Lang) -> String {
    let say = |ja: &'static str, en: &'static str| match lang {
        Lang::Ja => ja,
        Lang::En => en,
    };
    let mut out = String::new();
    let about = &report.circumstances;
    line(&mut out, &format!("kakehashi probe {} — {}", about.bridge, about.at_jst));
    for (name, value) in [("SIP", &about.sip), ("ARI", &about.ari), ("PBX", &report.product)] {
        if let Some(value) = value {
            line(&mut out, &format!("{name}: {value}"));
        }
    }
    line(&mut out, "");
    line(&mut out, &format!("■ {}", report.verdict.summary.of(lang)));
    line(&mut out, "");
    line(&mut out, say("ノックアウト条件", "Knock-out conditions"));
    for one in &report.verdict.knock_outs {
        line(&mut out, &format!("  {} {}: {}", mark(one.state, lang), one.title.of(lang), one.evidence.of(lang)));
    }
    line(&mut out, "");
    line(&mut out, say("接続方式", "Ways of connecting"));
    for method in &report.verdict.methods {
        let words = [
            (say("呼出", "ringing"), method.ring),
            (say("両者音声", "both parties"), method.both_parties),
            (say("発信者音声", "caller"), method.caller),
        ]
        .map(|(name, state)| format!("{name} {}", state.word(lang)));
        line(&mut out, &format!("  {}: {}", method.title.of(lang), words.join(" / ")));
        if let Some(why) = &method.not_applicable {
            indented(&mut out, &format!("{}: ", State::Inapplicable.word(lang)), why, lang);
        }
    }
    for area in Area::ALL {
        line(&mut out, "");
        line(&mut out, area.title().of(lang));
        for checked in report.of_area(area) {
            let what = format!("{} {}", checked.id, checked.title.of(lang));
            line(&mut out, &format!("  {} {what} [{}]", mark(checked.state, lang), checked.weight.word().of(lang)));
            indented(&mut out, "", &checked.evidence, lang);
            if let Some(remedy) = &checked.remedy {
                indented(&mut out, "→ ", remedy, lang);
            }
        }
    }
    if !report.left_behind.is_empty() {
        line(&mut out, "");
        line(&mut out, say("PBX に残ったもの（手で消す）", "Left behind on the PBX (remove by hand)"));
        for one in &report.left_behind {
            line(&mut out, &format!("  {one}"));
        }
    }
    let count = |state: State| report.checks.iter().filter(|checked| checked.state == state).count();
    let counts = [State::Pass, State::Fail, State::Unknown, State::Inapplicable]
        .map(|state| format!("{} {}", state.word(lang), count(state)));
    line(&mut out, "");
    line(&mut out, &format!("{} ({:.1} s)", counts.join(" / "), about.seconds));
    out
}

fn mark(state: State, lang: Lang) -> String {
    let sign = match state {
        State::Pass => "○",
        State::Fail => "×",
        State::Unknown => "?",
        State::Inapplicable => "–",
    };
    format!("{sign} {}", state.word(lang))
}

fn indented(out: &mut String, lead: &str, text: &Text, lang: Lang) {
    line(out, &format!("      {lead}{}", text.of(lang)));
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

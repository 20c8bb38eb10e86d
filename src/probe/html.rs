//! The report as one HTML page in Japanese, for the file of a verification report (検証報告書): no outside resources, made for A4 paper.

use super::State;
use super::check::{Area, Weight};
use super::report::{Checked, Report};

const STYLE: &str = include_str!("report.css");

/// The page. Everything that the exchange sent is escaped, and the page may load and run nothing.
pub fn page(report: &Report) -> String {
    let mut out = String::with_capacity(32_768);
    out.push_str("<!doctype html>\n<html lang=\"ja\">\n<head>\n<meta charset=\"utf-8\">\n");
    out.push_str(
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n",
    );
    out.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    out.push_str("<title>IP-PBX 接続検証報告書</title>\n<style>\n");
    out.push_str(STYLE);
    out.push_str("</style>\n</head>\n<body>\n<header>\n<h1>IP-PBX 接続検証報告書</h1>\n");
    out.push_str("<p class=\"sub\">架け橋（Kakehashi）と交換機の接続可否</p>\n</header>\n");
    about(&mut out, report);
    verdict(&mut out, report);
    methods(&mut out, report);
    remedies(&mut out, report);
    checks(&mut out, report);
    figures(&mut out, report);
    left_behind(&mut out, report);
    sign(&mut out);
    out.push_str("</body>\n</html>\n");
    out
}

/// Text of an element or a quoted attribute.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

fn about(out: &mut String, report: &Report) {
    let about = &report.circumstances;
    let missing = || "—".to_string();
    let calls = if about.calls_placed { "試験通話を発信（指定の番号のみ）" } else { "発信なし" };
    let rows = [
        ("実施日時", about.at_jst.clone()),
        ("対象（SIP）", about.sip.clone().unwrap_or_else(missing)),
        ("対象（ARI）", about.ari.clone().unwrap_or_else(missing)),
        ("製品名と版", report.product.clone().unwrap_or_else(missing)),
        ("架け橋の版", format!("kakehashi {}", about.bridge)),
        ("実施した機器", about.machine.clone()),
        ("所要時間", format!("{:.1} 秒", about.seconds)),
        ("通話", calls.to_string()),
    ];
    out.push_str("<table class=\"about\">\n");
    for pair in rows.chunks(2) {
        out.push_str("<tr>");
        for (name, value) in pair {
            out.push_str(&format!("<th>{name}</th><td>{}</td>", escape(value)));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</table>\n");
}

fn class(state: State) -> &'static str {
    match state {
        State::Pass => "pass",
        State::Fail => "fail",
        State::Unknown => "unknown",
        State::Inapplicable => "none",
    }
}

fn badge(state: State) -> String {
    format!("<span class=\"badge {}\">{}</span>", class(state), state.word(super::Lang::Ja))
}

fn verdict(out: &mut String, report: &Report) {
    let verdict = &report.verdict;
    let word = match verdict.state {
        State::Pass => "接続可",
        State::Fail | State::Inapplicable => "接続不可",
        State::Unknown => "未確定",
    };
    let count = |state: State| report.checks.iter().filter(|checked| checked.state == state).count();
    out.push_str("<h2>1. 総合判定</h2>\n");
    out.push_str(&format!(
        "<div class=\"verdict {}\"><strong>{word}</strong><p>{}</p><p class=\"count\">合格 {}　不合格 {}　未確認 {}　該当なし {}</p></div>\n",
        class(verdict.state),
        escape(&verdict.summary.ja),
        count(State::Pass),
        count(State::Fail),
        count(State::Unknown),
        count(State::Inapplicable)
    ));
    out.push_str("<table><tr><th class=\"state\">判定</th><th>ノックアウト条件</th><th>根拠</th></tr>\n");
    for one in &verdict.knock_outs {
        out.push_str(&format!(
            "<tr><td>{}</td><td>{}</td><td>{}</td></tr>\n",
            badge(one.state),
            escape(&one.title.ja),
            escape(&one.evidence.ja)
        ));
    }
    out.push_str("</table>\n");
}

fn methods(out: &mut String, report: &Report) {
    out.push_str("<h2>2. 接続方式</h2>\n<table><tr><th>方式</th><th class=\"state\">呼出と発信者番号</th>");
    out.push_str(
        "<th class=\"state\">両者の音声</th><th class=\"state\">発信者の音声</th><th>妨げている検査</th></tr>\n",
    );
    for method in &report.verdict.methods {
        let because = if method.because.is_empty() { "—".into() } else { method.because.join(", ") };
        let why = method.not_applicable.as_ref();
        let why = why.map(|why| format!("<br><span class=\"why\">該当なし: {}</span>", escape(&why.ja)));
        out.push_str(&format!(
            "<tr><td>{}{}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"mono\">{}</td></tr>\n",
            escape(&method.title.ja),
            why.unwrap_or_default(),
            badge(method.ring),
            badge(method.both_parties),
            badge(method.caller),
            escape(&because)
        ));
    }
    out.push_str("</table>\n");
}

fn remedies(out: &mut String, report: &Report) {
    let failed = |weight: Weight| report.checks.iter().filter(move |c| c.weight == weight && c.remedy.is_some());
    let all: Vec<&Checked> =
        [Weight::Needed, Weight::Recommended, Weight::Optional].into_iter().flat_map(failed).collect();
    out.push_str("<h2>3. PBX 側で直すところ</h2>\n");
    if all.is_empty() {
        out.push_str("<p>なし</p>\n");
        return;
    }
    out.push_str("<table><tr><th class=\"weight\">区分</th><th>検査</th><th>対処</th></tr>\n");
    for checked in all {
        let remedy = checked.remedy.as_ref().map(|remedy| remedy.ja.as_str()).unwrap_or_default();
        out.push_str(&format!(
            "<tr><td>{}</td><td>{}<br><span class=\"mono\">{}</span></td><td>{}</td></tr>\n",
            checked.weight.word().ja,
            escape(&checked.title.ja),
            checked.id,
            escape(remedy)
        ));
    }
    out.push_str("</table>\n");
}

fn checks(out: &mut String, report: &Report) {
    out.push_str("<h2>4. 検査結果と証跡</h2>\n");
    for area in Area::ALL {
        out.push_str(&format!("<h3>{}</h3>\n<table>", area.title().ja));
        out.push_str("<tr><th class=\"state\">判定</th><th class=\"weight\">区分</th><th class=\"what\">検査</th><th>証跡</th></tr>\n");
        for checked in report.of_area(area) {
            out.push_str(&format!(
                "<tr><td>{}</td><td>{}</td><td>{}<br><span class=\"why\">{}</span></td><td>{}</td></tr>\n",
                badge(checked.state),
                checked.weight.word().ja,
                escape(&checked.title.ja),
                escape(&checked.why.ja),
                escape(&checked.evidence.ja)
            ));
        }
        out.push_str("</table>\n");
    }
}

fn figures(out: &mut String, report: &Report) {
    out.push_str("<h2>5. 測定値</h2>\n");
    let all: Vec<_> = report.checks.iter().flat_map(|c| c.figures.iter().map(move |figure| (c.id, figure))).collect();
    if all.is_empty() {
        out.push_str("<p>なし</p>\n");
        return;
    }
    out.push_str(
        "<table class=\"figures\"><tr><th>項目</th><th class=\"number\">値</th><th>単位</th><th>検査</th></tr>\n",
    );
    for (id, figure) in all {
        let unit = match figure.unit {
            "packets" => "個",
            "days" => "日",
            unit => unit,
        };
        let value =
            if figure.value.fract() == 0.0 { format!("{:.0}", figure.value) } else { format!("{:.2}", figure.value) };
        out.push_str(&format!(
            "<tr><td>{}</td><td class=\"number\">{value}</td><td>{unit}</td><td class=\"mono\">{id}</td></tr>\n",
            escape(&figure.title.ja)
        ));
    }
    out.push_str("</table>\n");
}

fn left_behind(out: &mut String, report: &Report) {
    if report.left_behind.is_empty() {
        return;
    }
    out.push_str("<h2>PBX に残ったもの（手で消す）</h2>\n<ul>\n");
    for one in &report.left_behind {
        out.push_str(&format!("<li class=\"mono\">{}</li>\n", escape(one)));
    }
    out.push_str("</ul>\n");
}

fn sign(out: &mut String) {
    out.push_str("<section class=\"end\">\n<h2>6. 所見</h2>\n<div class=\"remarks\"></div>\n<table class=\"sign\">");
    out.push_str("<tr><th>実施者</th><th>確認者</th><th>承認者</th></tr>");
    out.push_str("<tr><td><span>印</span></td><td><span>印</span></td><td><span>印</span></td></tr>");
    out.push_str("<tr class=\"date\"><td>　　年　　月　　日</td><td>　　年　　月　　日</td><td>　　年　　月　　日</td></tr></table>\n");
    out.push_str("<p class=\"note\">電話番号・パスワードはこの報告書に含まれません（桁数のみ）。「未確認」は証跡欄の指定を与えて再実施すると判定できます。</p>\n</section>\n");
}

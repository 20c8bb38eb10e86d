//! Which ways of connecting work, and whether the exchange is knocked out: no way to both parties' sound, or none to ringing with the
//! caller's number. A single missing thing knocks nobody out.

use serde::Serialize;

use super::check::CheckId;
use super::evaluate::Finding;
use super::{Lang, State, Text};

/// A way of connecting.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Method {
    /// Name in JSON: `ari`, `siprec`, `sip-leg`, `dialog-events`.
    pub id: &'static str,
    /// What it is.
    pub title: Text,
    /// Ringing with the caller's number.
    pub ring: State,
    /// The sound of caller and agent, apart from each other.
    pub both_parties: State,
    /// The caller's sound where the bridge itself answers (first tier).
    pub caller: State,
    /// Why something is not applicable, where it is.
    pub not_applicable: Option<Text>,
    /// Checks that decided, when it does not pass.
    pub because: Vec<&'static str>,
}

/// A condition that an exchange must meet.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KnockOut {
    /// Name in JSON: `both-parties`, `ring`.
    pub id: &'static str,
    /// Whether it is met.
    pub state: State,
    /// The condition.
    pub title: Text,
    /// The ways that meet it, or why none does.
    pub evidence: Text,
}

/// What it comes to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// Pass: it can be connected. Fail: it is knocked out. Unknown: something that decides was not seen.
    pub state: State,
    /// One sentence.
    pub summary: Text,
    /// The conditions.
    pub knock_outs: Vec<KnockOut>,
    /// The ways.
    pub methods: Vec<Method>,
}

const ARI_RING: [CheckId; 5] =
    [CheckId::AriReach, CheckId::AriUser, CheckId::AriVersion, CheckId::AriEvents, CheckId::AriIdentity];
const ARI_SOUND: [CheckId; 6] = [
    CheckId::AriReach,
    CheckId::AriUser,
    CheckId::AriWrite,
    CheckId::AriVersion,
    CheckId::AriModules,
    CheckId::AriMedia,
];

/// Concludes from the findings of every check.
pub fn conclude(findings: &[Finding]) -> Verdict {
    let state = |id: CheckId| findings.iter().find(|one| one.id == id).map_or(State::Unknown, |one| one.state);
    let all = |ids: &[CheckId]| State::all(ids.iter().map(|id| state(*id)));
    let because = |ids: &[CheckId]| -> Vec<&'static str> {
        let failed = |wanted: State| ids.iter().filter(move |id| state(**id) == wanted).map(|id| id.check().name);
        let mut names: Vec<&'static str> = failed(State::Fail).collect();
        if names.is_empty() {
            names = failed(State::Unknown).collect();
        }
        names.dedup();
        names
    };
    let siprec = state(CheckId::Siprec);
    let no_ari = findings.iter().find(|one| one.id == CheckId::AriReach && one.state == State::Inapplicable);
    let no_siprec = findings.iter().find(|one| one.id == CheckId::Siprec && one.state == State::Inapplicable);
    let leg = [CheckId::LegCall, CheckId::LegIdentity, CheckId::LegOffer, CheckId::LegMedia];
    let dialog = match state(CheckId::EventsDialog) {
        // the number is told only while it rings, which a subscription at rest does not show
        State::Pass => State::Unknown,
        other => other,
    };
    let ari = [ARI_RING.as_slice(), ARI_SOUND.as_slice()].concat();
    let methods = vec![
        Method {
            id: "ari",
            title: Text::new("ARI（スヌープ＋外部メディア）", "ARI (snoop and external media)"),
            ring: all(&ARI_RING),
            both_parties: all(&ARI_SOUND),
            caller: all(&ARI_SOUND),
            not_applicable: no_ari.map(|finding| finding.evidence.clone()),
            because: sorted(because(&ari)),
        },
        Method {
            id: "siprec",
            title: Text::new("SIPREC（録音連携）", "SIPREC (recording interface)"),
            ring: siprec,
            both_parties: siprec,
            caller: siprec,
            not_applicable: no_siprec.map(|finding| finding.evidence.clone()),
            because: because(&[CheckId::Siprec]),
        },
        Method {
            id: "sip-leg",
            title: Text::new(
                "SIP 着信（橋が自ら応答する一次応答）",
                "SIP call to the bridge (which answers itself, first tier)",
            ),
            ring: all(&[CheckId::LegCall, CheckId::LegIdentity]),
            both_parties: State::Inapplicable,
            caller: all(&[CheckId::LegCall, CheckId::LegOffer, CheckId::LegMedia]),
            not_applicable: Some(Text::new(
                "両者の音声: 橋が通話の一方の端になる方式で、職員の音声は流れない",
                "both parties' sound: the bridge is one end of this call, no agent's sound is in it",
            )),
            because: because(&leg),
        },
        Method {
            id: "dialog-events",
            title: Text::new("dialog イベント（呼出のみ）", "dialog events (ringing only)"),
            ring: dialog,
            both_parties: State::Inapplicable,
            caller: State::Inapplicable,
            not_applicable: Some(Text::new(
                "音声: 購読は電話機の状態だけを知らせ、音声を運ばない",
                "sound: a subscription tells the state of a telephone and carries no sound",
            )),
            because: because(&[CheckId::EventsDialog]),
        },
    ];
    let knock_outs = vec![
        knock_out(
            "both-parties",
            ["市民と職員、両者の音声を渡す方式がある", "a way to both parties' sound"],
            &methods,
            |m| m.both_parties,
        ),
        knock_out(
            "ring",
            ["呼び出し中に発信者番号を知らせる方式がある", "a way to ringing with the caller's number"],
            &methods,
            |m| m.ring,
        ),
    ];
    let state = State::all(knock_outs.iter().map(|one| one.state));
    let summary = summary(state, &methods, &knock_outs);
    Verdict { state, summary, knock_outs, methods }
}

fn sorted(mut names: Vec<&'static str>) -> Vec<&'static str> {
    names.sort_unstable();
    names.dedup();
    names
}

fn knock_out(id: &'static str, [ja, en]: [&'static str; 2], methods: &[Method], of: fn(&Method) -> State) -> KnockOut {
    let state = State::any(methods.iter().map(of));
    let those = |wanted: State| methods.iter().filter(move |method| of(method) == wanted);
    let evidence = match state {
        State::Pass => joined(those(State::Pass)),
        State::Unknown => reasons(those(State::Unknown)),
        State::Fail | State::Inapplicable => reasons(those(State::Fail)).and(&without(those(State::Inapplicable))),
    };
    KnockOut { id, state, title: Text::new(ja, en), evidence }
}

fn joined<'a>(methods: impl Iterator<Item = &'a Method>) -> Text {
    let titles: Vec<&Text> = methods.map(|method| &method.title).collect();
    let list =
        |of: fn(&Text) -> &str, between: &str| titles.iter().map(|title| of(title)).collect::<Vec<_>>().join(between);
    Text::new(list(|text| &text.ja, "、"), list(|text| &text.en, ", "))
}

/// Each way with the checks that are in its way.
fn reasons<'a>(methods: impl Iterator<Item = &'a Method>) -> Text {
    let why: Vec<String> = methods.map(|method| format!("{}: {}", method.id, method.because.join(", "))).collect();
    Text::same(why.join(" / "))
}

/// The ways that have no such thing.
fn without<'a>(methods: impl Iterator<Item = &'a Method>) -> Text {
    let names: Vec<&str> = methods.map(|method| method.id).collect();
    let [ja, en] = [Lang::Ja, Lang::En].map(|lang| State::Inapplicable.word(lang));
    match names.is_empty() {
        true => Text::default(),
        false => Text::new(format!("{ja}: {}", names.join("、")), format!("{en}: {}", names.join(", "))),
    }
}

fn summary(state: State, methods: &[Method], knock_outs: &[KnockOut]) -> Text {
    let works = |method: &&Method| method.ring == State::Pass && method.both_parties == State::Pass;
    let own = methods
        .iter()
        .any(|method| method.id == "sip-leg" && method.ring == State::Pass && method.caller == State::Pass);
    let names = |wanted: State| {
        let these: Vec<&KnockOut> = knock_outs.iter().filter(|one| one.state == wanted).collect();
        let list = |of: fn(&Text) -> &str, between: &str| {
            these.iter().map(|one| of(&one.title)).collect::<Vec<_>>().join(between)
        };
        Text::new(list(|text| &text.ja, "、"), list(|text| &text.en, ", "))
    };
    let mut text = match state {
        State::Pass => {
            let mut ways = joined(methods.iter().filter(works));
            if ways.ja.is_empty() {
                ways = joined(methods.iter().filter(|one| one.ring == State::Pass || one.both_parties == State::Pass));
            }
            Text::new(
                format!("この PBX は {} 方式で接続できます。", ways.ja),
                format!("This PBX can be connected by {}.", ways.en),
            )
        }
        State::Fail | State::Inapplicable => {
            let missing = names(State::Fail);
            Text::new(
                format!("この PBX はこのままでは接続できません（満たさない条件: {}）。", missing.ja),
                format!("This PBX cannot be connected as it is (not met: {}).", missing.en),
            )
        }
        State::Unknown => {
            let open = names(State::Unknown);
            Text::new(
                format!("この PBX を接続できるかは、まだ決まりません（未確認の条件: {}）。", open.ja),
                format!("Whether this PBX can be connected is not decided (not seen: {}).", open.en),
            )
        }
    };
    if own {
        text.ja.push_str("橋が自ら応答する一次応答は SIP 着信で使えます。");
        text.en.push_str(" Calls that the bridge answers itself work by SIP.");
    }
    text
}

//! What a call showed that the exchange sent to the probe.

use super::{Seen, figure, is_good, judge, sound_figures, sound_text};
use crate::probe::Text;
use crate::probe::check::CheckId;
use crate::probe::facts::{Called, Facts, Tried};

pub(super) fn see(id: CheckId, facts: &Facts) -> Option<Seen> {
    let called = &facts.called;
    Some(match id {
        CheckId::LegCall => judge(called, need_own_number(), |called| {
            let agent = called.agent.as_deref().unwrap_or("–");
            let after = called.after_ms.map(|ms| format!(", {ms} ms")).unwrap_or_default();
            let figures =
                called.after_ms.map(|ms| figure("leg.arrival", "着信まで", "until the call arrives", ms as f64, "ms"));
            Seen::new(true, Text::same(format!("INVITE ({}), User-Agent {agent}{after}", called.transport)))
                .with(figures.into_iter().collect())
        }),
        CheckId::LegIdentity => after_call(called, |called| {
            let privacy = called.privacy.as_ref().map(|value| format!(", Privacy: {value}")).unwrap_or_default();
            if called.numbers.is_empty() {
                return Seen::new(
                    false,
                    Text::new(
                        format!("番号を持つヘッダーが無い{privacy}"),
                        format!("no header carries a number{privacy}"),
                    ),
                );
            }
            let say = |digits: &str| {
                called
                    .numbers
                    .iter()
                    .map(|(header, length)| format!("{header} ({length}{digits})"))
                    .collect::<Vec<_>>()
                    .join(", ")
            };
            Seen::new(true, Text::new(format!("{}{privacy}", say(" 桁")), format!("{}{privacy}", say(" digits"))))
        }),
        CheckId::LegDialled => after_call(called, |called| match called.dialled.as_slice() {
            [] => Seen::new(false, Text::new("ダイヤルされた番号がどこにも無い", "the dialled number is nowhere")),
            headers => Seen::new(true, Text::same(headers.join(", "))),
        }),
        CheckId::LegOffer => after_call(called, |called| {
            let common = called.codecs.iter().any(|name| {
                ["PCMU", "PCMA", "G722", "OPUS"].iter().any(|own| name.to_ascii_uppercase().starts_with(own))
            });
            let keys = called.keys.unwrap_or("–");
            let timer = called.timer.map_or("–".to_string(), |seconds| seconds.to_string());
            let text = format!(
                "{} [{}], keys {keys}, Supported: {}, Session-Expires {timer}",
                called.profile,
                called.codecs.join(" "),
                called.supported.join(" ")
            );
            Seen::new(common || called.codecs.is_empty(), Text::same(text))
        }),
        CheckId::LegMedia => after_call(called, |called| match &called.sound {
            Some(sound) => {
                let source = if called.source_as_said {
                    Text::new("送信元は SDP の番地", "from the address in SDP")
                } else {
                    Text::new(
                        "送信元は SDP の番地と異なる（NAT か中継）",
                        "from another address than SDP's (NAT or relay)",
                    )
                };
                let names = ["leg.packets", "leg.loss", "leg.jitter"];
                Seen::new(is_good(sound), sound_text(sound).and(&source)).with(sound_figures(
                    sound,
                    names,
                    "着信",
                    "call to the bridge",
                ))
            }
            None => Seen::new(false, Text::new("RTP が届かない", "no RTP arrives")),
        }),
        CheckId::Siprec => match called {
            Tried::Got(called) if called.siprec => {
                Seen::new(called.lines >= 2, Text::same(format!("Require: siprec, m= ×{}", called.lines)))
            }
            _ if facts.is_asterisk() => Seen::inapplicable(Text::new(
                "Asterisk は SIPREC を送る機能を持たない",
                "Asterisk has no SIPREC client",
            )),
            _ => Seen::unknown(Text::new(
                "交換機の録音先を橋にして、--wait-call の間に 1 通話する",
                "make the bridge the recording server and place one call while --wait-call waits",
            )),
        },
        _ => return None,
    })
}

pub(super) fn need_own_number() -> Text {
    Text::new(
        "通話を伴う検査: 橋に着信する番号を --own-number EXT で与えるか、--wait-call の間に電話する",
        "needs a call: give the number that rings the bridge by --own-number EXT, or call it while --wait-call waits",
    )
}

fn after_call(called: &Tried<Called>, good: impl FnOnce(&Called) -> Seen) -> Seen {
    match called {
        Tried::Failed(_) => Seen::unknown(Text::new("leg.call が先", "leg.call comes first")),
        called => judge(called, need_own_number(), good),
    }
}

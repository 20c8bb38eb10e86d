//! What ARI showed.

use super::{Seen, figure, is_good, judge, median_ms, sound_figures, sound_text};
use crate::probe::asterisk::{EXTRAS, NEEDED, known};
use crate::probe::check::{Area, CheckId};
use crate::probe::facts::{BothMedia, CallEvents, Facts, Failure, Tried};
use crate::probe::{State, Text};

pub(super) fn see(id: CheckId, facts: &Facts) -> Option<Seen> {
    let ari = &facts.ari;
    if id.check().area == Area::Ari
        && matches!(ari.info, Tried::Not)
        && let Some(product) = facts.product().filter(|_| !facts.is_asterisk())
    {
        return Some(Seen::inapplicable(Text::new(
            format!("ARI は Asterisk の機能で、この PBX は {product} と名乗る（Asterisk 系なら --ari を与える）"),
            format!("ARI is Asterisk's, and this exchange calls itself {product} (give --ari if it is made of one)"),
        )));
    }
    Some(match id {
        CheckId::AriReach => match &ari.info {
            Tried::Failed(Failure::Status(code @ (401 | 403), reason)) => {
                Seen::new(true, Text::same(format!("GET /asterisk/info → {code} {reason}")))
            }
            info => judge(info, need_ari(), |info| {
                Seen::new(true, Text::same(format!("GET /asterisk/info → 200, {:.1} ms", median_ms(&info.rtt_us))))
                    .with(vec![figure("ari.rtt", "ARI 往復時間", "ARI round trip", median_ms(&info.rtt_us), "ms")])
            }),
        },
        CheckId::AriUser => match &ari.info {
            Tried::Failed(Failure::Status(code @ (401 | 403), reason)) => {
                Seen::new(false, Text::same(format!("GET /asterisk/info → {code} {reason}")))
            }
            Tried::Failed(_) => after(CheckId::AriReach),
            info => judge(info, need_ari(), |_| Seen::new(true, Text::same("GET /asterisk/info → 200"))),
        },
        CheckId::AriVersion => through(facts, &ari.info, |info| {
            let (good, remark) = known(info);
            let text = Text::same(format!("Asterisk {}", info.version));
            Seen::new(good, remark.map_or(text.clone(), |(ja, en)| text.and(&Text::new(ja, en))))
        }),
        CheckId::AriModules => through(facts, &ari.modules, |modules| {
            let missing: Vec<&str> = NEEDED.into_iter().filter(|name| !modules.iter().any(|own| own == name)).collect();
            modules_seen(&missing, NEEDED.len())
        }),
        CheckId::AriExtras => through(facts, &ari.modules, |modules| {
            let missing: Vec<&str> =
                EXTRAS.iter().map(|(name, ..)| *name).filter(|name| !modules.iter().any(|own| own == name)).collect();
            modules_seen(&missing, EXTRAS.len())
        }),
        CheckId::AriWrite => through(facts, &ari.write, |()| {
            Seen::new(true, Text::new("変更のない書き込みが受け入れられた", "a write that changes nothing was taken"))
        }),
        CheckId::AriEvents => through(facts, &ari.socket, |socket| {
            let latency = median_ms(&socket.latency_us);
            let seen = !socket.latency_us.is_empty();
            let text = if seen {
                Text::new(
                    format!(
                        "WebSocket 接続、全チャネル購読。要求からイベントまで {latency:.1} ms（{} 回）",
                        socket.latency_us.len()
                    ),
                    format!(
                        "websocket open, subscribed to all; request to event {latency:.1} ms ({} times)",
                        socket.latency_us.len()
                    ),
                )
            } else {
                Text::new("WebSocket は開くがイベントが来ない", "the websocket opens, but no event comes")
            };
            let figures = vec![figure("ari.latency", "イベント遅延", "event latency", latency, "ms")];
            let all = Seen::new(seen && socket.all, text);
            if seen { all.with(figures) } else { all }
        }),
        CheckId::AriIdentity => through(facts, &ari.socket, |socket| {
            let word = |seen: bool| if seen { "✓" } else { "–" };
            let text = format!(
                "ChannelCallerId: caller.number {}, caller_presentation {}",
                word(socket.caller_id),
                word(socket.presentation)
            );
            Seen::new(socket.caller_id, Text::same(text))
        }),
        CheckId::AriMedia => through(facts, &ari.media, both),
        CheckId::AriCall => through_call(facts, |call| {
            let words = [("Ringing", call.ringing), ("caller.number", call.number), ("Up", call.answered)];
            let text = words.map(|(word, seen)| format!("{word} {}", if seen { "✓" } else { "–" })).join(", ");
            let figures =
                call.ring_ms.map(|ms| figure("ari.ring", "呼出検知の遅延", "ringing seen after", ms as f64, "ms"));
            Seen::new(call.ringing && call.number && call.answered, Text::same(text))
                .with(figures.into_iter().collect())
        }),
        CheckId::AriTransfer => transfer(facts),
        _ => return None,
    })
}

fn need_ari() -> Text {
    Text::new(
        "ARI を調べるには --ari URL --ari-user --ari-password-file を与える",
        "give --ari URL, --ari-user and --ari-password-file",
    )
}

fn after(id: CheckId) -> Seen {
    let name = id.check().name;
    Seen::unknown(Text::new(format!("{name} が先"), format!("{name} comes first")))
}

/// Judged only when ARI let us in.
fn through<T>(facts: &Facts, tried: &Tried<T>, good: impl FnOnce(&T) -> Seen) -> Seen {
    match &facts.ari.info {
        Tried::Failed(_) => after(CheckId::AriReach),
        Tried::Got(_) => {
            judge(tried, Text::new("時間切れまたは中断で未実施", "not reached: out of time, or stopped"), good)
        }
        _ => Seen::unknown(need_ari()),
    }
}

fn through_call(facts: &Facts, good: impl FnOnce(&CallEvents) -> Seen) -> Seen {
    match &facts.ari.call {
        Tried::Not if facts.ari.info.got().is_some() => Seen::unknown(super::leg::need_own_number()),
        call => through(facts, call, good),
    }
}

fn modules_seen(missing: &[&str], of: usize) -> Seen {
    if missing.is_empty() {
        return Seen::new(true, Text::new(format!("{of} 個すべて動作中"), format!("all {of} run")));
    }
    let names = missing.join(", ");
    Seen::new(false, Text::new(format!("動作していない: {names}"), format!("not running: {names}")))
}

fn both(media: &BothMedia) -> Seen {
    let mut text = Text::default();
    let mut figures = Vec::new();
    let names = [
        ("甲", "party A", ["ari.media.a.packets", "ari.media.a.loss", "ari.media.a.jitter"]),
        ("乙", "party B", ["ari.media.b.packets", "ari.media.b.loss", "ari.media.b.jitter"]),
    ];
    let mut good = true;
    for (((ja, en, names), sound), apart) in names.into_iter().zip(&media.sound).zip(media.apart) {
        let heard = match sound {
            Some(sound) => {
                good &= is_good(sound) && apart;
                figures.extend(sound_figures(sound, names, ja, en));
                sound_text(sound)
            }
            None => {
                good = false;
                Text::new("音声が届かない", "no sound arrives")
            }
        };
        text = text.and(&Text::new(format!("{ja}: {}", heard.ja), format!("{en}: {}", heard.en)));
        if sound.is_some() && !apart {
            text = text.and(&Text::new("相手の音と分かれていない", "not told apart from the other"));
        }
    }
    if let Some(source) = &media.source {
        text = text.and(&Text::new(format!("送信元 {source}"), format!("from {source}")));
    }
    for refused in &media.refused {
        text = text.and(&Text::same(refused.clone()));
    }
    if let Some(ms) = media.first_ms.iter().flatten().max() {
        figures.push(figure("ari.media.first", "両者音声の開始まで", "until both are heard", *ms as f64, "ms"));
    }
    Seen::new(good, text).with(figures)
}

fn transfer(facts: &Facts) -> Seen {
    const EVENTS: [&str; 5] =
        ["BridgeBlindTransfer", "BridgeAttendedTransfer", "ChannelHold", "ChannelUnhold", "ChannelDtmfReceived"];
    through(facts, &facts.ari.events, |events| {
        let missing: Vec<&str> = EVENTS.into_iter().filter(|name| !events.has(name)).collect();
        if !missing.is_empty() {
            let names = missing.join(", ");
            return Seen::new(
                false,
                Text::new(format!("この版に無い: {names}"), format!("not in this version: {names}")),
            );
        }
        let listed = Text::new("この版のイベント一覧にすべてある", "this version lists all of them");
        match facts.ari.call.got() {
            None => Seen { state: State::Pass, evidence: listed, figures: vec![] },
            Some(call) => {
                let word = |seen| if seen { "✓" } else { "–" };
                let text = format!("ChannelHold {}, ChannelDtmfReceived {}", word(call.hold), word(call.digit));
                Seen::new(
                    call.hold && call.digit,
                    listed.and(&Text::new(format!("実呼: {text}"), format!("seen: {text}"))),
                )
            }
        }
    })
}

//! What SIP showed to a client: reachability, versions, registration, test calls.

use super::{Seen, figure, is_good, judge, median_ms, sound_figures, sound_text};
use crate::probe::Text;
use crate::probe::check::CheckId;
use crate::probe::facts::{Facts, Failure, Offered, Options, Tls, Tried, Way};

pub(super) fn see(id: CheckId, facts: &Facts) -> Option<Seen> {
    Some(match id {
        CheckId::SipUdp => options(facts.options(Way::Udp), "sip.udp.rtt", "UDP"),
        CheckId::SipTcp => options(facts.options(Way::Tcp), "sip.tcp.rtt", "TCP"),
        CheckId::SipTls => options(facts.options(Way::Tls), "sip.tls.rtt", "TLS"),
        CheckId::SipIpv6 => options(&facts.ipv6, "sip.ipv6.rtt", "IPv6"),
        CheckId::SipCertificate => certificate(&facts.tls),
        CheckId::SipVersion => match facts.product() {
            Some(product) => Seen::new(true, Text::same(product)),
            None => Seen::unknown(Text::new(
                "Server・User-Agent を名乗らない",
                "it does not name itself in Server or User-Agent",
            )),
        },
        CheckId::SipMethods => spoken(facts, |options| {
            const BETTER: [&str; 5] = ["UPDATE", "PRACK", "REFER", "SUBSCRIBE", "NOTIFY"];
            const NEEDED: [&str; 5] = ["INVITE", "ACK", "CANCEL", "BYE", "OPTIONS"];
            listed("Allow", &options.allow, &[NEEDED, BETTER].concat())
        }),
        CheckId::SipExtensions => {
            spoken(facts, |options| listed("Supported", &options.supported, &["timer", "100rel", "replaces"]))
        }
        CheckId::SipRegister => judge(&facts.register, need_user(), |register| {
            let algorithms = register.algorithms.join(", ");
            let qop = if register.qop { "qop=auth" } else { "–" };
            let text = format!("REGISTER → 200, digest {algorithms}, {qop}");
            let removed = match (register.others, register.removed) {
                (1.., _) => Text::new(
                    format!("登録済みの番地 {} 件（追い出さないよう登録は試さない）", register.others),
                    format!("{} addresses are registered (none is added, so that none is driven out)", register.others),
                ),
                (0, true) => Text::new(
                    format!("登録（Expires {}）し、取り消した", register.expires_s),
                    format!("registered (Expires {}) and taken back", register.expires_s),
                ),
                (0, false) => Text::new(
                    "登録の取り消しに応答なし（期限で消える）",
                    "registered, and not taken back (it expires by itself)",
                ),
            };
            Seen::new(true, Text::same(text).and(&removed))
        }),
        CheckId::SipTimer => judge(facts.call(Offered::Pcmu), need_number(), |answered| match &answered.timer {
            Some((seconds, refresher)) => {
                Seen::new(true, Text::same(format!("Session-Expires: {seconds};refresher={refresher}")))
            }
            None => Seen::new(
                false,
                Text::new(
                    "応答に Session-Expires が無い（提案は 1800）",
                    "no Session-Expires in the answer (1800 was offered)",
                ),
            ),
        }),
        CheckId::CodecPcmu => codec(facts, Offered::Pcmu),
        CheckId::CodecPcma => codec(facts, Offered::Pcma),
        CheckId::CodecG722 => codec(facts, Offered::G722),
        CheckId::CodecOpus => codec(facts, Offered::Opus),
        CheckId::SrtpSdes => sdes(facts),
        CheckId::SrtpDtls => codec(facts, Offered::Dtls),
        CheckId::MediaReceived => judge(facts.call(Offered::Pcmu), need_number(), |answered| match &answered.sound {
            Some(sound) => {
                let names = ["media.packets", "media.loss", "media.jitter"];
                Seen::new(is_good(sound), sound_text(sound)).with(sound_figures(
                    sound,
                    names,
                    "試験番号",
                    "test number",
                ))
            }
            None => Seen::new(false, Text::new("RTP が届かない", "no RTP arrives")),
        }),
        CheckId::EventsDialog => judge(
            &facts.dialog,
            Text::new("購読する内線を --watch EXT で与える", "give the extension to watch by --watch EXT"),
            |dialog| {
                let text = format!(
                    "SUBSCRIBE → NOTIFY state={}, Expires {}, call-id {}, remote identity {}",
                    dialog.state,
                    dialog.expires_s,
                    if dialog.call_ids { "✓" } else { "–" },
                    if dialog.identity { "✓" } else { "–" }
                );
                Seen::new(true, Text::same(text))
            },
        ),
        _ => return None,
    })
}

pub(super) fn need_number() -> Text {
    Text::new(
        "通話を伴う検査: --test-number EXT（自動応答する番号）を与える",
        "needs a call: give --test-number EXT (a number that answers by itself)",
    )
}

fn need_user() -> Text {
    Text::new("--user と --password-file を与える", "give --user and --password-file")
}

fn options(tried: &Tried<Options>, name: &'static str, way: &str) -> Seen {
    judge(tried, Text::new("--sip HOST を与える", "give --sip HOST"), |options| {
        let rtt = median_ms(&options.rtt_us);
        let text = format!("OPTIONS → {} {}, {rtt:.1} ms", options.status, options.reason);
        let title = format!("{way} 往復時間");
        Seen::new(true, Text::same(text)).with(vec![figure(name, &title, &format!("{way} round trip"), rtt, "ms")])
    })
}

fn spoken(facts: &Facts, good: impl FnOnce(&Options) -> Seen) -> Seen {
    match facts.any_options() {
        Some(options) if !(200..300).contains(&options.status) => Seen::unknown(Text::new(
            format!("OPTIONS に {} の応答（橋の番地からの OPTIONS を許可する）", options.status),
            format!("OPTIONS was answered {} (allow it from the bridge's address)", options.status),
        )),
        Some(options) => good(options),
        None => Seen::unknown(Text::new("SIP の応答が先", "SIP must answer first")),
    }
}

fn listed(header: &str, has: &[String], wanted: &[&str]) -> Seen {
    let missing: Vec<&str> =
        wanted.iter().copied().filter(|name| !has.iter().any(|own| own.eq_ignore_ascii_case(name))).collect();
    if has.is_empty() {
        return Seen::unknown(Text::new(format!("{header} ヘッダーが無い"), format!("no {header} header")));
    }
    let all = Text::same(format!("{header}: {}", has.join(", ")));
    if missing.is_empty() {
        return Seen::new(true, all);
    }
    let missing = missing.join(", ");
    Seen::new(false, all.and(&Text::new(format!("無い: {missing}"), format!("missing: {missing}"))))
}

fn certificate(tls: &Tried<Tls>) -> Seen {
    let hint = Text::new("TLS の接続が先", "TLS must answer first");
    match tls {
        Tried::Failed(_) => return Seen::unknown(hint),
        Tried::Got(_) | Tried::Not | Tried::Skipped(_) => {}
    }
    judge(tls, hint, |tls| {
        let days = tls.days_left;
        let mut text = Text::new(
            format!("{} {}、発行者 {}、残り {days} 日", tls.version, tls.cipher, tls.issuer),
            format!("{} {}, issuer {}, {days} days left", tls.version, tls.cipher, tls.issuer),
        );
        if tls.not_yet {
            text = text.and(&Text::new("有効期間がまだ始まっていない", "not valid yet"));
        }
        if !tls.name_matches {
            text = text.and(&Text::new("接続先の名前が証明書に無い", "it does not name the host that was asked for"));
        }
        match tls.trusted {
            Some(true) => text = text.and(&Text::new("認証局で検証できた", "the given authority vouches for it")),
            Some(false) => {
                text = text.and(&Text::new("与えられた認証局の発行ではない", "not issued by the given authority"))
            }
            None => {}
        }
        let good = days >= 0 && !tls.not_yet && tls.name_matches && tls.trusted != Some(false);
        Seen::new(good, text).with(vec![figure(
            "tls.days",
            "証明書の残り日数",
            "certificate: days left",
            days as f64,
            "days",
        )])
    })
}

/// Keys in the description are worth something when the sound comes encrypted with them.
fn sdes(facts: &Facts) -> Seen {
    let agreed = codec(facts, Offered::Sdes);
    let Some(answered) = facts.call(Offered::Sdes).got().filter(|answered| answered.accepted) else { return agreed };
    let mut text = agreed
        .evidence
        .and(&Text::new(format!("呼制御は {}", answered.way.name()), format!("SIP by {}", answered.way.name())));
    if let Some(failure) = &answered.not_by_tls {
        let why = failure.text();
        text = text.and(&Text::new(format!("TLS では {}", why.ja), format!("by TLS: {}", why.en)));
    }
    let secured = answered.secured.clone().unwrap_or_default();
    if secured.suite.is_empty() {
        return Seen::new(false, text.and(&Text::new("応答の鍵が使えない", "the keys of the answer cannot be used")));
    }
    if (secured.opened, secured.refused, secured.replayed) == (0, 0, 0) {
        let none = text.and(&Text::new("暗号化された RTP が届かない", "no encrypted RTP arrives"));
        let mute = facts.call(Offered::Pcmu).got().is_some_and(|plain| plain.sound.is_none());
        // a number that sends nothing in the clear either says nothing about encryption
        return if mute { Seen::unknown(none) } else { Seen::new(false, none) };
    }
    text = text.and(&Text::new(
        format!(
            "{}: 復号できた {} パケット、認証失敗 {}、重複 {}",
            secured.suite, secured.opened, secured.refused, secured.replayed
        ),
        format!(
            "{}: {} packets decrypted, {} failed authentication, {} came twice",
            secured.suite, secured.opened, secured.refused, secured.replayed
        ),
    ));
    let mut figures = vec![figure(
        "srtp.refused",
        "SRTP 認証失敗",
        "SRTP: failed authentication",
        f64::from(secured.refused),
        "packets",
    )];
    if let Some(sound) = &answered.sound {
        text = text.and(&sound_text(sound));
        figures.extend(sound_figures(sound, ["srtp.packets", "srtp.loss", "srtp.jitter"], "SRTP", "SRTP"));
    }
    let good = secured.refused == 0 && answered.sound.as_ref().is_some_and(is_good);
    Seen::new(good, text).with(figures)
}

fn codec(facts: &Facts, offered: Offered) -> Seen {
    match facts.call(offered) {
        // ringing without end, busy or missing says nothing about codecs
        Tried::Failed(failure @ Failure::Status(code, _)) if !matches!(code, 415 | 488 | 606) => {
            Seen::unknown(failure.text())
        }
        Tried::Failed(failure @ Failure::Silent(_)) => Seen::unknown(failure.text()),
        call => judge(call, need_number(), |answered| {
            let text = format!("INVITE → {} m=audio {}, {} ms", answered.status, answered.line, answered.after_ms);
            Seen::new(answered.accepted, Text::same(text))
        }),
    }
}

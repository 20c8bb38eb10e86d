//! The table of checks: what is looked at, what the bridge needs it for, and how much hangs on it.

use serde::Serialize;

use super::Text;

/// Groups of checks, in the order of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Area {
    /// SIP reachability, versions, extensions, registration.
    Sip,
    /// Certificates and encrypted media.
    Security,
    /// Codecs and sound.
    Media,
    /// Calls that the exchange sends to the bridge.
    Leg,
    /// Events by SIP subscription.
    Events,
    /// Asterisk's REST interface.
    Ari,
}

impl Area {
    /// In the order of the report.
    pub const ALL: [Area; 6] = [Area::Ari, Area::Sip, Area::Leg, Area::Media, Area::Security, Area::Events];

    /// Heading.
    pub fn title(self) -> Text {
        match self {
            Area::Sip => Text::new("SIP 接続", "SIP"),
            Area::Security => Text::new("暗号化（TLS・SRTP）", "Encryption (TLS, SRTP)"),
            Area::Media => Text::new("コーデックと音声", "Codecs and sound"),
            Area::Leg => Text::new("橋への着信", "Calls sent to the bridge"),
            Area::Events => Text::new("ダイアログイベント", "Dialog events"),
            Area::Ari => Text::new("Asterisk ARI", "Asterisk ARI"),
        }
    }
}

/// How much hangs on a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Weight {
    /// A way of connecting depends on it.
    Needed,
    /// Connecting works without it, with a loss that the report names.
    Recommended,
    /// Only where the site wants it.
    Optional,
}

impl Weight {
    /// As people read it.
    pub fn word(self) -> Text {
        match self {
            Weight::Needed => Text::new("必須", "needed"),
            Weight::Recommended => Text::new("推奨", "recommended"),
            Weight::Optional => Text::new("任意", "optional"),
        }
    }
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// Which.
    pub id: CheckId,
    /// Name in JSON; never changes its meaning.
    pub name: &'static str,
    /// Group.
    pub area: Area,
    /// How much hangs on it.
    pub weight: Weight,
    /// Japanese and English title.
    pub title: (&'static str, &'static str),
    /// What the bridge needs it for.
    pub why: (&'static str, &'static str),
}

macro_rules! checks {
    ($($(#[$doc:meta])* $id:ident $name:literal $area:ident $weight:ident [$ja:literal, $en:literal] [$why_ja:literal, $why_en:literal])*) => {
        /// Names a check.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum CheckId {
            $($(#[$doc])* $id,)*
        }

        /// All checks in the order of the report.
        pub const CHECKS: &[Check] = &[
            $(Check {
                id: CheckId::$id,
                name: $name,
                area: Area::$area,
                weight: Weight::$weight,
                title: ($ja, $en),
                why: ($why_ja, $why_en),
            },)*
        ];
    };
}

checks! {
    /// ARI answers.
    AriReach "ari.reach" Ari Needed ["ARI の応答", "ARI answers"]
        ["発着信イベントと両者音声の入口", "the way in for call events and both parties' sound"]
    /// ARI takes the user.
    AriUser "ari.user" Ari Needed ["ARI の認証", "ARI takes the user"]
        ["橋が使うユーザーとパスワード", "the bridge's user and password"]
    /// The user may write.
    AriWrite "ari.write" Ari Needed ["ARI の書き込み権限", "The user may write"]
        ["スヌープと外部メディアは書き込み操作", "snoop and external media are writes"]
    /// Version.
    AriVersion "ari.version" Ari Needed ["Asterisk の版", "Version of Asterisk"]
        ["20 以上が必要（22 で試験済み）", "20 or newer is needed (tested with 22)"]
    /// Modules for observing.
    AriModules "ari.modules" Ari Needed ["必要なモジュール", "Modules that are needed"]
        ["Stasis・スヌープ・外部メディア", "Stasis, snoop, external media"]
    /// Modules for more.
    AriExtras "ari.extras" Ari Recommended ["あると良いモジュール", "Modules that are good to have"]
        ["キュー、SRTP、保留、追加の音声方式", "queues, SRTP, parking, further ways of media"]
    /// Event socket.
    AriEvents "ari.events" Ari Needed ["全チャネルのイベント購読", "Events of all channels"]
        ["呼び出し中の画面ポップアップ", "the screen pop while the telephone rings"]
    /// Caller's number in events.
    AriIdentity "ari.identity" Ari Needed ["イベント内の発信者番号", "Caller's number in events"]
        ["市民を特定する（非通知も区別する）", "who calls, withheld numbers told apart"]
    /// Both parties' sound.
    AriMedia "ari.media" Ari Needed ["スヌープ＋外部メディアで両者の音声", "Both parties' sound by snoop and external media"]
        ["市民と職員を別チャネルで文字にする", "caller and agent as text on channels of their own"]
    /// A real call through ARI.
    AriCall "ari.call" Ari Recommended ["実呼の呼出・応答イベント", "Ringing and answer of a real call"]
        ["誰の電話がいつ鳴ったかを知る", "whose telephone rings, and when"]
    /// Transfers, hold, digits.
    AriTransfer "ari.transfer" Ari Recommended ["転送・保留・DTMF のイベント", "Events of transfer, hold and digits"]
        ["三次応答への引き継ぎ、保留中は文字にしない", "hand-over to the department, no text while on hold"]
    /// OPTIONS over UDP.
    SipUdp "sip.udp" Sip Recommended ["SIP over UDP", "SIP over UDP"]
        ["SIP で着信を受ける基本の経路", "the common way for calls sent to the bridge"]
    /// OPTIONS over TCP.
    SipTcp "sip.tcp" Sip Recommended ["SIP over TCP", "SIP over TCP"]
        ["大きなメッセージ（SIPREC 等）が分割されない", "large messages (SIPREC) are not fragmented"]
    /// IPv6.
    SipIpv6 "sip.ipv6" Sip Optional ["IPv6", "IPv6"] ["IPv6 網の庁舎", "sites on IPv6"]
    /// Product and version.
    SipVersion "sip.version" Sip Optional ["製品名と版", "Product and version"]
        ["既知の不具合を引く", "known faults are looked up by it"]
    /// Methods.
    SipMethods "sip.methods" Sip Recommended ["SIP メソッド", "SIP methods"]
        ["通話の更新、転送、購読", "updates, transfers and subscriptions"]
    /// Extensions.
    SipExtensions "sip.extensions" Sip Recommended ["SIP 拡張（timer・100rel・replaces）", "SIP extensions (timer, 100rel, replaces)"]
        ["切れた通話に気付く、呼び出しを確実に伝える、相談転送", "dead calls, reliable ringing, attended transfer"]
    /// Registration.
    SipRegister "sip.register" Sip Optional ["REGISTER とダイジェスト認証", "REGISTER with digest"]
        ["橋が内線として登録する構成", "the bridge registers as an extension"]
    /// Session timers.
    SipTimer "sip.timer" Sip Recommended ["セッションタイマー", "Session timers"]
        ["切れた通話が残らない", "no call stays open after its end"]
    /// The exchange calls the bridge.
    LegCall "leg.call" Leg Needed ["橋の番号への着信", "A call to the bridge's number arrives"]
        ["橋が一次応答する、または分岐を受ける", "the bridge answers itself, or is forked to"]
    /// Identity of the caller.
    LegIdentity "leg.identity" Leg Needed ["着信の発信者番号", "Caller's number in the call"]
        ["市民を特定する", "who calls"]
    /// Dialled number.
    LegDialled "leg.dialled" Leg Recommended ["着信の代表番号", "Dialled number in the call"]
        ["窓口ごとの扱い（録音・文字化・案内）", "what may be done differs by line"]
    /// What is offered.
    LegOffer "leg.offer" Leg Needed ["着信の音声提案", "Media offered to the bridge"]
        ["共通のコーデックと暗号", "a codec and protection in common"]
    /// Sound of the call.
    LegMedia "leg.media" Leg Needed ["着信の音声が届く", "Sound of the call arrives"]
        ["RTP がファイアウォールを通る", "RTP passes the firewalls"]
    /// SIPREC.
    Siprec "siprec.call" Leg Optional ["SIPREC による両者音声", "Both parties' sound by SIPREC"]
        ["録音連携を持つ交換機・SBC", "exchanges and SBCs with a recording interface"]
    /// PCMU.
    CodecPcmu "codec.pcmu" Media Recommended ["PCMU (G.711 µ-law)", "PCMU (G.711 µ-law)"]
        ["国内網の標準", "what the Japanese network uses"]
    /// PCMA.
    CodecPcma "codec.pcma" Media Optional ["PCMA (G.711 A-law)", "PCMA (G.711 A-law)"] ["G.711 の代替", "instead of µ-law"]
    /// G.722.
    CodecG722 "codec.g722" Media Optional ["G.722（広帯域）", "G.722 (wideband)"]
        ["内線の認識精度が上がる", "better recognition of inside calls"]
    /// Opus.
    CodecOpus "codec.opus" Media Optional ["Opus", "Opus"] ["ブラウザーと広帯域の通話", "browsers and wideband calls"]
    /// RTP of a test call.
    MediaReceived "media.received" Media Needed ["試験番号の音声が届く", "Sound of the test number arrives"]
        ["欠落と揺らぎは認識率を下げる", "loss and jitter cost text"]
    /// OPTIONS over TLS.
    SipTls "sip.tls" Security Recommended ["SIP over TLS", "SIP over TLS"]
        ["番号と鍵を網で読まれない", "numbers and keys are not read on the network"]
    /// Certificate.
    SipCertificate "sip.certificate" Security Recommended ["TLS 証明書", "TLS certificate"]
        ["期限と名前が合わない証明書は拒まれる", "one that expired or has another name is refused"]
    /// SDES.
    SrtpSdes "srtp.sdes" Security Recommended ["SRTP (SDES)", "SRTP (SDES)"] ["音声の暗号化", "sound is encrypted"]
    /// DTLS.
    SrtpDtls "srtp.dtls" Security Optional ["SRTP (DTLS)", "SRTP (DTLS)"]
        ["音声の暗号化（鍵も端末間）", "sound is encrypted, keys end to end"]
    /// Dialog events.
    EventsDialog "events.dialog" Events Optional ["dialog イベントの購読", "Subscription to dialog events"]
        ["ARI の無い交換機での呼出検知", "ringing on exchanges without ARI"]
}

impl CheckId {
    /// Its line of the table.
    pub fn check(self) -> &'static Check {
        &CHECKS[self as usize]
    }
}

impl Check {
    /// Title.
    pub fn title(&self) -> Text {
        Text::new(self.title.0, self.title.1)
    }

    /// What the bridge needs it for.
    pub fn why(&self) -> Text {
        Text::new(self.why.0, self.why.1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_name_is_its_own_and_every_id_finds_its_line() {
        let names: BTreeSet<&str> = CHECKS.iter().map(|check| check.name).collect();
        assert_eq!(names.len(), CHECKS.len());
        for check in CHECKS {
            assert_eq!(check.id.check().name, check.name);
            assert!(Area::ALL.contains(&check.area));
        }
    }
}

//! What to change on the exchange, check by check: the line of Asterisk's file, or a sentence for other exchanges.

use super::Text;
use super::check::CheckId;

/// For Asterisk and products made of it, Japanese and English; then for any other exchange.
type Remedy = [&'static str; 4];

/// What to change so that the check passes.
pub fn of(id: CheckId, asterisk: bool) -> Option<Text> {
    let [ja, en, other_ja, other_en] = lines(id)?;
    Some(if asterisk { Text::new(ja, en) } else { Text::new(other_ja, other_en) })
}

fn lines(id: CheckId) -> Option<Remedy> {
    by_ari(id).or_else(|| by_sip(id)).or_else(|| by_call(id))
}

fn by_ari(id: CheckId) -> Option<Remedy> {
    const NO_ARI: [&str; 2] = [
        "ARI の無い交換機では SIPREC または録音用の分岐を使う",
        "without ARI: use SIPREC or a recording leg of the exchange",
    ];
    let [other_ja, other_en] = NO_ARI;
    let asterisk = |ja, en| Some([ja, en, other_ja, other_en]);
    match id {
        CheckId::AriReach => asterisk(
            "http.conf [general] に enabled=yes と橋から届く bindaddr、ari.conf [general] に enabled=yes、modules.conf で res_ari.so を読み込む。ファイアウォールで TCP 8088 を橋から許可する",
            "http.conf [general]: enabled=yes and a bindaddr that the bridge reaches; ari.conf [general]: enabled=yes; load res_ari.so in modules.conf; let TCP 8088 through from the bridge",
        ),
        CheckId::AriUser => asterisk(
            "ari.conf に [kakehashi] type=user、password_format=plain、password=… を書き、module reload res_ari.so",
            "ari.conf: [kakehashi] type=user, password_format=plain, password=…; then module reload res_ari.so",
        ),
        CheckId::AriWrite => asterisk(
            "ari.conf のそのユーザーを read_only=no にして module reload res_ari.so",
            "ari.conf: read_only=no for that user; then module reload res_ari.so",
        ),
        CheckId::AriVersion => asterisk("Asterisk 22（LTS）へ更新する", "update to Asterisk 22 (LTS)"),
        CheckId::AriModules => asterisk(
            "modules.conf の noload を外し、足りないモジュールを load= で読み込む",
            "modules.conf: remove the noload of the missing modules or load= them",
        ),
        CheckId::AriExtras => asterisk(
            "使う機能のモジュールを modules.conf で読み込む（SRTP には libsrtp 付きの res_srtp.so）",
            "load the modules of what the site uses in modules.conf (SRTP: res_srtp.so, built with libsrtp)",
        ),
        CheckId::AriEvents => asterisk(
            "modules.conf で res_ari_events.so と res_http_websocket.so を読み込む。途中の代理サーバーには WebSocket の Upgrade を通させる",
            "load res_ari_events.so and res_http_websocket.so; a proxy in between must pass the websocket upgrade",
        ),
        CheckId::AriIdentity => asterisk(
            "pjsip.conf の回線 endpoint に trust_id_inbound=yes",
            "pjsip.conf: trust_id_inbound=yes on the endpoint of the exchange line",
        ),
        CheckId::AriMedia => asterisk(
            "rtp.conf の rtpstart〜rtpend を橋との間で UDP 許可し、chan_rtp.so と res_stasis_snoop.so を読み込む。橋の rtp_host は Asterisk から届く番地にする",
            "let UDP rtpstart–rtpend (rtp.conf) through between Asterisk and the bridge; load chan_rtp.so and res_stasis_snoop.so; rtp_host must be an address that Asterisk reaches",
        ),
        CheckId::AriCall => asterisk(
            "試験番号が橋を呼ぶこと（Dial）を extensions.conf で確かめる",
            "extensions.conf: see that the number dials the bridge",
        ),
        CheckId::AriTransfer => asterisk(
            "pjsip.conf の電話機に dtmf_mode=rfc4733、保留は re-INVITE（moh_passthrough=no）、転送は REFER を許可（allow_transfer=yes）",
            "pjsip.conf, telephones: dtmf_mode=rfc4733, hold by re-INVITE (moh_passthrough=no), allow_transfer=yes for REFER",
        ),
        _ => None,
    }
}

fn by_sip(id: CheckId) -> Option<Remedy> {
    Some(match id {
        CheckId::SipUdp => [
            "pjsip.conf に type=transport protocol=udp bind=0.0.0.0:5060、橋の番地からの UDP 5060 を許可する",
            "pjsip.conf: type=transport protocol=udp bind=0.0.0.0:5060; let UDP 5060 through from the bridge",
            "SIP over UDP を有効にし、橋の番地を許可する",
            "enable SIP over UDP and allow the bridge's address",
        ],
        CheckId::SipTcp => [
            "pjsip.conf に type=transport protocol=tcp bind=0.0.0.0:5060",
            "pjsip.conf: type=transport protocol=tcp bind=0.0.0.0:5060",
            "SIP over TCP を有効にする",
            "enable SIP over TCP",
        ],
        CheckId::SipTls => [
            "pjsip.conf に type=transport protocol=tls bind=0.0.0.0:5061 method=tlsv1_2 cert_file=… priv_key_file=…",
            "pjsip.conf: type=transport protocol=tls bind=0.0.0.0:5061 method=tlsv1_2 cert_file=… priv_key_file=…",
            "SIP over TLS（1.2 以上）を有効にし、証明書を入れる",
            "enable SIP over TLS (1.2 or newer) with a certificate",
        ],
        CheckId::SipCertificate => [
            "接続する名前を subjectAltName に持つ有効期限内の証明書を、tls の transport の cert_file に置く",
            "cert_file of the tls transport: a certificate that has not expired, with the host's name in subjectAltName",
            "接続する名前を subjectAltName に持つ有効期限内の証明書を入れる",
            "install a certificate that has not expired, with the host's name in subjectAltName",
        ],
        CheckId::SipIpv6 => [
            "pjsip.conf に type=transport protocol=udp bind=[::]:5060",
            "pjsip.conf: type=transport protocol=udp bind=[::]:5060",
            "IPv6 で SIP を受ける",
            "listen for SIP on IPv6",
        ],
        CheckId::SipMethods => [
            "modules.conf で res_pjsip_session.so、res_pjsip_refer.so、res_pjsip_pubsub.so を読み込む",
            "load res_pjsip_session.so, res_pjsip_refer.so, res_pjsip_pubsub.so",
            "UPDATE、PRACK、REFER、SUBSCRIBE を有効にする",
            "enable UPDATE, PRACK, REFER, SUBSCRIBE",
        ],
        CheckId::SipExtensions => [
            "pjsip.conf の endpoint に timers=yes、100rel=yes（peer_supported でもよい）",
            "pjsip.conf, endpoint: timers=yes, 100rel=yes (or peer_supported)",
            "セッションタイマー、100rel、Replaces を有効にする",
            "enable session timers, 100rel and Replaces",
        ],
        CheckId::SipTimer => [
            "pjsip.conf の endpoint に timers=yes timers_sess_expires=1800 timers_min_se=90",
            "pjsip.conf, endpoint: timers=yes timers_sess_expires=1800 timers_min_se=90",
            "セッションタイマー（RFC 4028）を有効にする",
            "enable session timers (RFC 4028)",
        ],
        CheckId::SipRegister => [
            "pjsip.conf: 内線の auth（auth_type=userpass）と aor（max_contacts=1 以上）を確かめる",
            "pjsip.conf: see the extension's auth (auth_type=userpass) and aor (max_contacts=1 or more)",
            "内線の登録とパスワードを確かめる",
            "see that the extension may register and has this password",
        ],
        CheckId::EventsDialog => [
            "extensions.conf に exten => 2001,hint,PJSIP/2001、modules.conf で res_pjsip_exten_state.so と res_pjsip_dialog_info_body_generator.so",
            "extensions.conf: exten => 2001,hint,PJSIP/2001; load res_pjsip_exten_state.so and res_pjsip_dialog_info_body_generator.so",
            "その内線の BLF（dialog イベント）購読を許可する",
            "allow subscribing to dialog events (BLF) of that extension",
        ],
        _ => return None,
    })
}

fn by_call(id: CheckId) -> Option<Remedy> {
    let codec = |ja, en, name: [&'static str; 2]| Some([ja, en, name[0], name[1]]);
    const ALLOW: [&str; 2] = ["その端点でこのコーデックを許可する", "allow this codec for that extension"];
    match id {
        CheckId::CodecPcmu => codec("pjsip.conf の endpoint に allow=ulaw", "pjsip.conf, endpoint: allow=ulaw", ALLOW),
        CheckId::CodecPcma => codec("pjsip.conf の endpoint に allow=alaw", "pjsip.conf, endpoint: allow=alaw", ALLOW),
        CheckId::CodecG722 => codec(
            "pjsip.conf の endpoint に allow=g722（codec_g722.so）",
            "pjsip.conf, endpoint: allow=g722 (codec_g722.so)",
            ALLOW,
        ),
        CheckId::CodecOpus => codec(
            "pjsip.conf の endpoint に allow=opus（変換には codec_opus.so）",
            "pjsip.conf, endpoint: allow=opus (codec_opus.so where it is to be converted)",
            ALLOW,
        ),
        CheckId::SrtpSdes => Some([
            "res_srtp.so を読み込み、pjsip.conf の endpoint に media_encryption=sdes（平文も許すなら media_encryption_optimistic=yes）",
            "load res_srtp.so; pjsip.conf, endpoint: media_encryption=sdes (media_encryption_optimistic=yes to allow plain RTP too)",
            "SRTP（SDES、AES_CM_128_HMAC_SHA1_80）を有効にする",
            "enable SRTP (SDES, AES_CM_128_HMAC_SHA1_80)",
        ]),
        CheckId::SrtpDtls => Some([
            "res_srtp.so を読み込み、pjsip.conf の endpoint に media_encryption=dtls dtls_auto_generate_cert=yes（1 端点に SDES か DTLS の一方）",
            "load res_srtp.so; pjsip.conf, endpoint: media_encryption=dtls dtls_auto_generate_cert=yes (an endpoint has SDES or DTLS, not both)",
            "DTLS-SRTP を有効にする",
            "enable DTLS-SRTP",
        ]),
        CheckId::MediaReceived | CheckId::LegMedia => Some([
            "rtp.conf の範囲の UDP を橋との間で許可し、pjsip.conf の endpoint に rtp_symmetric=yes direct_media=no",
            "let the UDP range of rtp.conf through to the bridge; pjsip.conf, endpoint: rtp_symmetric=yes direct_media=no",
            "RTP の範囲の UDP を橋との間で許可する",
            "let the RTP range through between the exchange and the bridge",
        ]),
        CheckId::LegCall => Some([
            "pjsip.conf に橋への endpoint と aor（contact=sip:kakehashi@橋:5060）、extensions.conf に exten => 7001,1,Dial(PJSIP/${EXTEN}@bridge,30)",
            "pjsip.conf: endpoint and aor for the bridge (contact=sip:kakehashi@BRIDGE:5060); extensions.conf: exten => 7001,1,Dial(PJSIP/${EXTEN}@bridge,30)",
            "その番号の着信先を橋の番地（SIP トランク）にする",
            "route the number to the bridge's address (a SIP trunk)",
        ]),
        CheckId::LegIdentity => Some([
            "pjsip.conf の橋への endpoint に send_pai=yes、回線側に trust_id_inbound=yes",
            "pjsip.conf: send_pai=yes on the bridge's endpoint, trust_id_inbound=yes on the line's",
            "橋へのトランクで P-Asserted-Identity を送る",
            "send P-Asserted-Identity on the trunk to the bridge",
        ]),
        CheckId::LegDialled => Some([
            "Dial(PJSIP/${EXTEN}@bridge) のように、ダイヤルされた番号を Request-URI に載せる（または send_diversion=yes）",
            "dial PJSIP/${EXTEN}@bridge, so that the dialled number is in the Request-URI (or send_diversion=yes)",
            "ダイヤルされた番号を Request-URI、To または Diversion に載せる",
            "send the dialled number in Request-URI, To or Diversion",
        ]),
        CheckId::LegOffer => Some([
            "pjsip.conf の橋への endpoint に allow=ulaw,alaw（広帯域は g722、opus）",
            "pjsip.conf, the bridge's endpoint: allow=ulaw,alaw (wideband: g722, opus)",
            "橋へのトランクで G.711 を許可する",
            "allow G.711 on the trunk to the bridge",
        ]),
        CheckId::Siprec => Some([
            "Asterisk は SIPREC を送らない。ARI を使う",
            "Asterisk does not send SIPREC: use ARI",
            "録音先（SRS）として橋を登録する",
            "set the bridge up as the recording server (SRS)",
        ]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::check::CHECKS;

    #[test]
    fn every_check_but_the_product_says_what_to_change() {
        for check in CHECKS.iter().filter(|check| check.id != CheckId::SipVersion) {
            for asterisk in [true, false] {
                let text = of(check.id, asterisk).unwrap_or_else(|| panic!("{}", check.name));
                assert!(!text.ja.is_empty() && !text.en.is_empty());
            }
        }
    }
}

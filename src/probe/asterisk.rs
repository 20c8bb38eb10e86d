//! What ARI tells of an Asterisk: version, modules, event types; and which of them the bridge needs.

use serde_json::Value;

use super::redact;

/// Most modules and event types that are read.
const MOST: usize = 4_096;

/// `GET /asterisk/info`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// For example `22.10.0`, redacted.
    pub version: String,
    /// First number of the version, when it has one.
    pub major: Option<u32>,
    /// Second number.
    pub minor: Option<u32>,
    /// System name, redacted.
    pub system: String,
    /// Round trips of the request, in microseconds, shortest first.
    pub rtt_us: Vec<u64>,
}

/// `GET /api-docs/events.json`: which events this version has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Events(pub Vec<String>);

impl Events {
    /// Reads the document; `None` when it is none.
    pub fn read(text: &str) -> Option<Events> {
        let value: Value = serde_json::from_str(text).ok()?;
        let models = value.get("models")?.as_object()?;
        Some(Events(models.keys().take(MOST).cloned().collect()))
    }

    /// Whether this version has the event.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|own| own == name)
    }
}

impl Info {
    /// Reads the answer; `None` when it is none of ARI's.
    pub fn read(text: &str, rtt_us: Vec<u64>) -> Option<Info> {
        let value: Value = serde_json::from_str(text).ok()?;
        let part = |outer: &str, inner: &str| value.get(outer)?.get(inner)?.as_str().map(redact::foreign);
        let version = part("system", "version")?;
        // the package's own suffix says nothing that matters
        let version = version.split(['+', '~']).next().unwrap_or_default().trim().to_string();
        let mut numbers = version.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty());
        let major = numbers.next().and_then(|number| number.parse().ok());
        let minor = numbers.next().and_then(|number| number.parse().ok());
        Some(Info { version, major, minor, system: part("config", "name").unwrap_or_default(), rtt_us })
    }
}

/// Reads `GET /asterisk/modules`: names without `.so` of the modules that run; `None` when it is no list.
pub fn read_modules(text: &str) -> Option<Vec<String>> {
    let value: Value = serde_json::from_str(text).ok()?;
    let running = |entry: &&Value| entry.get("status").and_then(Value::as_str).is_none_or(|status| status == "Running");
    let name = |entry: &Value| Some(entry.get("name")?.as_str()?.trim_end_matches(".so").to_string());
    Some(value.as_array()?.iter().take(MOST).filter(running).filter_map(name).collect())
}

/// Modules that the bridge cannot do without.
pub const NEEDED: [&str; 7] = [
    "res_stasis",
    "res_stasis_snoop",
    "res_ari_events",
    "res_ari_channels",
    "res_ari_bridges",
    "chan_rtp",
    "res_rtp_asterisk",
];

/// A module, and what it gives, in Japanese and English.
pub const EXTRAS: [(&str, &str, &str); 8] = [
    ("app_queue", "着信キュー", "queues"),
    ("res_parking", "パーク保留", "parking"),
    ("res_srtp", "SRTP", "SRTP"),
    ("codec_g722", "G.722", "G.722"),
    ("codec_resample", "レート変換", "rate conversion"),
    ("chan_audiosocket", "AudioSocket", "AudioSocket"),
    ("chan_websocket", "WebSocket メディア", "media by websocket"),
    ("res_pjsip_dialog_info_body_generator", "dialog イベント", "dialog events"),
];

/// What is known of a version: whether it will do, and a remark in Japanese and English.
pub fn known(info: &Info) -> (bool, Option<(&'static str, &'static str)>) {
    match (info.major, info.minor) {
        (Some(..20), _) => (false, Some(("20 未満は対象外", "older than 20 is not supported"))),
        (Some(20), _) => (
            true,
            Some((
                "20 系の一部は外部メディアの slin を µ-law に変える（橋は µ-law を使うため影響なし）",
                "some of 20 turn external media in slin into µ-law (the bridge asks for µ-law, so it does not matter)",
            )),
        ),
        (Some(22), Some(..8)) => (
            true,
            Some((
                "22.8 未満の chan_websocket は落ちることがある（WebSocket メディアを使う場合は更新）",
                "chan_websocket before 22.8 can crash: update before media by websocket is used",
            )),
        ),
        (Some(22), _) => (true, None),
        (Some(_), _) => {
            (true, Some(("この版では未試験（22 で試験済み）", "not tested with this version (tested with 22)")))
        }
        (None, _) => (true, Some(("版を読み取れない", "the version cannot be read"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_judged() {
        let judged = |version: &str| {
            let info = Info::read(&format!(r#"{{"system":{{"version":"{version}"}}}}"#), vec![]).unwrap();
            let (good, remark) = known(&info);
            (info.major, good, remark.is_some())
        };
        assert_eq!(judged("22.10.0~dfsg+~cs6.15"), (Some(22), true, false));
        assert_eq!(judged("22.6.1"), (Some(22), true, true));
        assert_eq!(judged("18.9-cert5"), (Some(18), false, true));
        assert_eq!(judged("GIT-master-abc"), (None, true, true));
        assert_eq!(Info::read("[]", vec![]), None);
        assert_eq!(Info::read("<html>", vec![]), None);
    }

    #[test]
    fn only_modules_that_run_count() {
        let text =
            r#"[{"name":"chan_rtp.so","status":"Running"},{"name":"res_srtp.so","status":"Not Running"},{"name":7}]"#;
        assert_eq!(read_modules(text).unwrap(), ["chan_rtp"]);
        assert_eq!(read_modules("{}"), None);
    }
}

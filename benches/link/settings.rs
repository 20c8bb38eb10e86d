//! The configurations of the bridge and of the relay.

use std::path::Path;

use crate::kintone::{ADD, CALLS, CONTACTS, EDIT, Kintone, VIEW};

pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// The extension that is called.
const EXTENSION: &str = "7001";
/// How long it rings, in milliseconds.
const RINGS: u32 = 2_000;

/// The samples' directory with its first agent at the extension that is called.
pub(crate) fn directory(samples: &str) -> String {
    let others = samples.lines().filter(|line| !line.starts_with(EXTENSION));
    others.map(|line| format!("{}\n", line.replacen("2001,", &format!("{EXTENSION},"), 1))).collect()
}

/// All but the endpoints.
pub(crate) fn bridge(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        r#"
[node]
id = "bench"
data_dir = "{folder}/near"
[log]
json = true
[[site]]
id = "osaka"
directory = "{folder}/directory.csv"
contacts = "samples/contacts.csv"
[[pbx]]
id = "exchange"
site = "osaka"
[pbx.sip]
peers = ["127.0.0.1/32"]
[[line]]
number = "{EXTENSION}"
name = "総合コールセンター"
answer_after_ms = {RINGS}
[sip]
enabled = true
listen_udp = ["127.0.0.1:0"]
listen_tcp = []
[media]
first_port = 38000
last_port = 38999
[speech]
model = "models/kakehashi-lab-ja.bin"
[dictionary]
files = ["samples/dictionary.csv"]
[panel]
listen = "127.0.0.1:0"
"#
    )
}

/// A receiver of webhooks. `more`: other lines of it.
pub(crate) fn webhook(id: &str, url: &str, more: &str) -> String {
    format!("[[endpoint]]\nid = \"{id}\"\nurl = \"{url}\"\nsecrets = [\"{SECRET}\"]\n{more}\n")
}

/// The near end of the link.
pub(crate) fn link(folder: &Path, port: u16) -> String {
    let folder = folder.display();
    format!(
        "[[endpoint]]\nid = \"relay\"\nca_file = \"{folder}/ca.pem\"\nclient_cert_file = \"{folder}/bridge.pem\"\n\
         client_key_file = \"{folder}/bridge.key\"\n[endpoint.relay]\nconnect = \"127.0.0.1:{port}\"\npeer = \"relay.test\"\n"
    )
}

/// The far end, and the receiver behind it.
pub(crate) fn relay(folder: &Path, hook: u16) -> String {
    let (folder, hook) = (folder.display(), webhook("crm", &format!("http://127.0.0.1:{hook}/hook"), ""));
    format!(
        r#"
[node]
data_dir = "{folder}/far"
[log]
json = true
[relay]
listen = "127.0.0.1:0"
peer = "bridge.test"
certificate_file = "{folder}/relay.pem"
key_file = "{folder}/relay.key"
ca_file = "{folder}/ca.pem"
{hook}
[metrics]
enabled = false
"#
    )
}

/// The stand-in for kintone, by HTTP without TLS.
pub(crate) fn kintone(stand_in: &Kintone, port: u16) -> String {
    let tokens = [stand_in.token(CALLS, VIEW | ADD | EDIT), stand_in.token(CONTACTS, VIEW)];
    format!(
        r#"
[[endpoint]]
id = "kintone"
url = "http://127.0.0.1:{port}"
secrets = {tokens:?}
[endpoint.kintone]
app = {CALLS}
[endpoint.kintone.fields]
key = "通話キー"
sequence = "通番"
revision = "版"
started = "開始日時"
ended = "終了日時"
seconds = "通話秒数"
number = "発信者番号"
agent = "担当者"
contact = "連絡先"
transcript = "文字起こし"
[endpoint.kintone.contacts]
app = {CONTACTS}
name = "氏名"
numbers = ["検索用番号"]
"#
    )
}

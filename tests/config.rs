//! The configuration files in `config/`: the reference lists every key with its default in one line, and the minimal one is good.
#![cfg(feature = "web")]

use std::path::Path;

use kakehashi::call::line::{Line, Lines};
use kakehashi::config::{Config, Pbx, Site};
use kakehashi::crm::settings::Endpoint;
use toml::{Table, Value};

fn text(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name)).unwrap()
}

/// The reference with its commented sections made real.
fn with_repeated_sections() -> String {
    text("kakehashi.toml").lines().map(|line| line.strip_prefix("#: ").unwrap_or(line)).collect::<Vec<_>>().join("\n")
}

/// `[pbx.sip]` with all its sections.
fn whole_sip() -> kakehashi::pbx::sip::PeerSettings {
    kakehashi::pbx::sip::PeerSettings {
        register: Some(Default::default()),
        watch: Some(Default::default()),
        ..Default::default()
    }
}

/// `[[endpoint]]` with all its sections.
fn whole_endpoint() -> Endpoint {
    Endpoint {
        kintone: Some(Default::default()),
        odoo: Some(Default::default()),
        zammad: Some(Default::default()),
        relay: Some(Default::default()),
        nats: Some(Default::default()),
        ..Endpoint::default()
    }
}

/// Every leaf as `section.key`.
fn leaves(prefix: &str, table: &Table, found: &mut Vec<String>) {
    for (key, value) in table {
        let path = format!("{prefix}{key}");
        match value {
            Value::Table(inner) => leaves(&format!("{path}."), inner, found),
            Value::Array(items) if items.first().is_some_and(Value::is_table) => {
                items.iter().filter_map(Value::as_table).for_each(|inner| leaves(&format!("{path}."), inner, found));
            }
            _ => found.push(path),
        }
    }
}

#[test]
fn the_reference_is_the_default() {
    let read = Config::parse(Path::new("config/kakehashi.toml"), &text("kakehashi.toml")).unwrap();
    assert_eq!(read, Config::default());
}

#[test]
fn the_sections_that_may_be_repeated_stand_there_with_their_defaults() {
    let read: Config = toml::from_str(&with_repeated_sections()).unwrap();
    let ari = Some(kakehashi::pbx::asterisk::Settings::default());
    let sip = Some(whole_sip());
    assert_eq!(read.site, [Site::default()]);
    let (audiosocket, websocket) = (Some(Default::default()), Some(Default::default()));
    let mirror = Some(kakehashi::pbx::mirror::Settings::default());
    let web = Some(kakehashi::pbx::web::PeerSettings::default());
    assert_eq!(read.pbx, [Pbx { ari, sip, audiosocket, websocket, mirror, web, ..Pbx::default() }]);
    assert_eq!(read.line, [Line { number: "*".into(), ..Lines::default().policy("*") }]);
    assert_eq!(read.endpoint, [whole_endpoint()]);
    assert_eq!(read.dictionary.source, [kakehashi::dictionary::settings::SourceSettings::default()]);
    assert_eq!(read.panel.client, [kakehashi::panel::settings::Client::default()]);
}

#[test]
fn no_key_is_missing_and_each_has_one_line_of_explanation() {
    let full = Config {
        site: vec![Site::default()],
        pbx: vec![Pbx {
            ari: Some(Default::default()),
            sip: Some(whole_sip()),
            audiosocket: Some(Default::default()),
            websocket: Some(Default::default()),
            mirror: Some(Default::default()),
            web: Some(Default::default()),
            ..Pbx::default()
        }],
        line: vec![Lines::default().policy("*")],
        endpoint: vec![whole_endpoint()],
        dictionary: kakehashi::dictionary::Settings { source: vec![Default::default()], ..Default::default() },
        panel: kakehashi::panel::Settings { client: vec![Default::default()], ..Default::default() },
        ..Config::default()
    };
    let (mut wanted, mut found) = (Vec::new(), Vec::new());
    leaves("", &Table::try_from(&full).unwrap(), &mut wanted);
    let text = with_repeated_sections();
    leaves("", &text.parse::<Table>().unwrap(), &mut found);
    wanted.sort();
    found.sort();
    assert_eq!(found, wanted);
    let lines: Vec<&str> = text.lines().collect();
    for pair in lines.windows(2).filter(|pair| pair[1].contains(" = ") && !pair[1].starts_with('#')) {
        assert!(pair[0].starts_with("# "), "`{}` has no explanation above it", pair[1]);
    }
}

#[test]
fn the_minimal_file_is_good() {
    let config = Config::parse(Path::new("config/minimal.toml"), &text("minimal.toml")).unwrap();
    assert!(!config.pbx.is_empty() && !config.site.is_empty() && !config.endpoint.is_empty());
}

#[test]
fn a_key_that_does_not_exist_is_refused_everywhere() {
    for section in text("kakehashi.toml").lines().filter(|line| line.starts_with('[')) {
        let error = Config::parse(Path::new("x.toml"), &format!("{section}\nno_such_key = 1\n")).unwrap_err();
        assert!(
            error.to_string().contains("line 2") && error.to_string().contains("no_such_key"),
            "{section}: {error}"
        );
    }
}

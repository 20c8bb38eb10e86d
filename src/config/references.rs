//! Where receivers fetch the events that are sent without their data.

use super::Config;

/// What `dataref` begins with, without a slash at its end; empty where nothing can be fetched.
pub(super) fn base(config: &Config) -> Result<String, (String, String)> {
    let given = config.node.public_url.trim_end_matches('/');
    let wrong = |problem: String| Err(("[node] public_url".to_string(), problem));
    let after = given.strip_prefix("https://").or_else(|| given.strip_prefix("http://"));
    if !given.is_empty() && after.is_none_or(|after| after.is_empty() || after.contains(['?', '#', '@', ' '])) {
        return wrong(format!("\"{given}\" is no address; expected https://host[:port]"));
    }
    let panel = panel(config);
    if let Some(thin) = config.endpoint.iter().find(|endpoint| endpoint.thin) {
        match panel {
            None => {
                let place = format!("[[endpoint]] id = \"{}\": thin", thin.id);
                return Err((
                    place,
                    "its events are fetched from the API of the panel; expected [panel] enabled = true".into(),
                ));
            }
            Some(listen) if given.is_empty() && listen.ip().is_unspecified() => {
                let problem = format!(
                    "empty, and [panel] listen = \"{listen}\" is no address to fetch from, which thin of [[endpoint]] id = \"{}\" needs; \
                     expected https://host[:port]",
                    thin.id
                );
                return wrong(problem);
            }
            Some(_) => {}
        }
    }
    Ok(match panel {
        None => String::new(),
        Some(_) if !given.is_empty() => given.into(),
        Some(listen) => format!("http://{listen}"),
    })
}

#[cfg(feature = "web")]
fn panel(config: &Config) -> Option<std::net::SocketAddr> {
    config.panel.enabled.then_some(config.panel.listen)
}

#[cfg(not(feature = "web"))]
fn panel(_: &Config) -> Option<std::net::SocketAddr> {
    None
}

#[cfg(all(test, feature = "web"))]
mod tests {
    use std::path::Path;

    use super::*;

    fn read(text: &str) -> Result<Config, String> {
        Config::parse(Path::new("k.toml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn thin_events_are_fetched_from_where_the_receiver_reaches_the_panel() {
        let base = |text: &str| read(text).map(|config| config.endpoint[0].public_url.clone());
        let thin = "[[endpoint]]\nid = \"crm\"\nthin = true\n";
        assert_eq!(base(thin).unwrap(), "http://127.0.0.1:8080");
        assert_eq!(
            base(&format!("[node]\npublic_url = \"https://k.example.jp/\"\n{thin}")).unwrap(),
            "https://k.example.jp"
        );
        let open = "[panel]\nlisten = \"0.0.0.0:8080\"\ntoken_file = \"t\"\n";
        for (text, words) in [
            (format!("{thin}[panel]\nenabled = false\n"), ["[[endpoint]] id = \"crm\": thin", "enabled = true"]),
            (format!("{thin}{open}"), ["[node] public_url", "https://host[:port]"]),
            ("[node]\npublic_url = \"k.example.jp\"\n".into(), ["[node] public_url", "https://host[:port]"]),
            ("[node]\npublic_url = \"https://k.example.jp?x\"\n".into(), ["[node] public_url", "https://host[:port]"]),
        ] {
            let error = read(&text).unwrap_err();
            assert!(words.iter().all(|word| error.contains(word)), "{error}");
        }
        let off = read("[panel]\nenabled = false\n[[endpoint]]\n").unwrap();
        assert_eq!(off.endpoint[0].public_url, "");
    }
}

//! Whether an Asterisk's media connections can work as they are configured.

use super::Pbx;
use crate::pbx::asterisk::Carrier;

/// The key that is wrong, and what is expected.
pub(super) fn check(pbx: &Pbx) -> Result<(), (&'static str, String)> {
    if let Some(ari) = &pbx.ari {
        if ari.format().is_none() {
            return Err(("ari.media_rate", format!("found {}; expected 8000 or 16000", ari.media_rate)));
        }
        if ari.media == Carrier::Audiosocket && pbx.audiosocket.is_none() {
            let problem =
                "\"audiosocket\" needs a place where Asterisk connects; add [pbx.audiosocket] with listen and peers";
            return Err(("ari.media", problem.into()));
        }
        if ari.media == Carrier::Websocket && !ari.media_client.is_empty() && pbx.websocket.is_none() {
            let problem =
                "Asterisk is to connect to us; add [pbx.websocket] with listen and peers, or leave media_client empty";
            return Err(("ari.media_client", problem.into()));
        }
    }
    let nobody = "nobody may connect; expected the networks of the Asterisk, such as peers = [\"192.0.2.10/32\"]";
    if let Some(own) = &pbx.audiosocket {
        if own.peers.is_empty() {
            return Err(("audiosocket.peers", nobody.into()));
        }
        if own.rate != 8_000 && own.rate != 16_000 {
            return Err(("audiosocket.rate", format!("found {}; expected 8000 or 16000", own.rate)));
        }
        room("audiosocket.max_connections", own.max_connections, own.max_unknown)?;
    }
    if let Some(own) = &pbx.websocket {
        if own.peers.is_empty() {
            return Err(("websocket.peers", nobody.into()));
        }
        room("websocket.max_connections", own.max_connections, own.max_unknown)?;
    }
    Ok(())
}

fn room(key: &'static str, connections: u32, unknown: u32) -> Result<(), (&'static str, String)> {
    if (1..=10_000).contains(&connections) && (1..=connections).contains(&unknown) {
        return Ok(());
    }
    Err((
        key,
        format!("found {connections}, and max_unknown {unknown}; expected 1 to 10000, and max_unknown of 1 to that"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pbx::asterisk::{AudioSocketSettings, Settings, WebSocketSettings};

    fn wrong(change: impl FnOnce(&mut Pbx)) -> String {
        let peers = vec!["127.0.0.1/32".parse().unwrap()];
        let mut pbx = Pbx {
            ari: Some(Settings { media: Carrier::Audiosocket, ..Settings::default() }),
            audiosocket: Some(AudioSocketSettings { peers: peers.clone(), ..AudioSocketSettings::default() }),
            websocket: Some(WebSocketSettings { peers, ..WebSocketSettings::default() }),
            ..Pbx::default()
        };
        assert_eq!(check(&pbx), Ok(()));
        change(&mut pbx);
        let (key, problem) = check(&pbx).unwrap_err();
        format!("{key}: {problem}")
    }

    #[test]
    fn what_cannot_work_says_what_is_expected() {
        assert!(wrong(|pbx| pbx.audiosocket = None).starts_with("ari.media: \"audiosocket\" needs"));
        let ari = |change: fn(&mut Settings)| move |pbx: &mut Pbx| pbx.ari.iter_mut().for_each(change);
        assert!(wrong(ari(|ari| ari.media_rate = 44_100)).starts_with("ari.media_rate: found 44100"));
        assert!(
            wrong(|pbx| {
                pbx.websocket = None;
                ari(|ari| (ari.media, ari.media_client) = (Carrier::Websocket, "kakehashi".into()))(pbx);
            })
            .starts_with("ari.media_client: ")
        );
        let own =
            |change: fn(&mut AudioSocketSettings)| move |pbx: &mut Pbx| pbx.audiosocket.iter_mut().for_each(change);
        assert!(wrong(own(|own| own.peers.clear())).starts_with("audiosocket.peers: nobody may connect"));
        assert!(wrong(own(|own| own.rate = 0)).starts_with("audiosocket.rate: found 0"));
        assert!(wrong(own(|own| own.max_unknown = 600)).starts_with("audiosocket.max_connections: "));
        assert!(wrong(|pbx| pbx.websocket.iter_mut().for_each(|own| own.peers.clear())).starts_with("websocket.peers"));
        assert!(wrong(|pbx| pbx.websocket.iter_mut().for_each(|own| own.max_connections = 0)).contains("found 0"));
    }
}

//! Whether the address that calls by SIP are told for their sound is one where sound is received.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::Config;
use crate::pbx::sip;

/// What becomes of sound that is sent to an address which a call was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// It is received.
    Whole,
    /// From this machine only.
    Local,
    /// Nobody receives it.
    Nothing,
}

/// `told` stands in the session description (`c=`), `bind` is where RTP is received.
fn reach(told: IpAddr, bind: IpAddr) -> Reach {
    let (told, bind) = (told.to_canonical(), bind.to_canonical());
    match bind {
        // the wildcard of IPv6 receives IPv4 too
        IpAddr::V6(own) if own.is_unspecified() => Reach::Whole,
        _ if told.is_ipv4() != bind.is_ipv4() => Reach::Nothing,
        _ if bind.is_unspecified() || told == bind => Reach::Whole,
        // one of all addresses: the one by which the exchange reaches this machine
        _ if told.is_unspecified() && bind.is_loopback() => Reach::Local,
        _ if told.is_unspecified() => Reach::Whole,
        _ => Reach::Nothing,
    }
}

/// Refuses what can never work: calls are told an address of this machine, and on none of them is sound received.
pub(super) fn check(config: &Config) -> Result<(), (String, String)> {
    let bind = config.media.bind;
    let (told, calls) = (told(config), calls(config));
    if !calls || told.is_empty() || told.iter().any(|(_, address)| reach(address.ip(), bind) != Reach::Nothing) {
        return Ok(());
    }
    let listeners: Vec<String> = told.iter().map(|(key, address)| format!("{key} {address}")).collect();
    let problem = format!(
        "calls by SIP come to [sip] {} and are told to send their sound there, where nothing receives it: no call would be heard; expected \
         {}, or [sip] advertised with the address by which the exchange reaches this one",
        listeners.join(", "),
        remedy(&told)
    );
    Err((format!("[media] bind = \"{bind}\""), problem))
}

/// What may work, and probably was not meant.
pub(super) fn doubts(config: &Config) -> Vec<String> {
    let bind = config.media.bind;
    let advertised = config.sip.advertised.trim();
    if let Ok(address) = advertised.parse::<IpAddr>() {
        let is_other = address.to_canonical().is_ipv4() != bind.to_canonical().is_ipv4();
        let translated = config.sip.enabled && is_other && reach(address, bind) == Reach::Nothing;
        let text = format!(
            "[media] bind = \"{bind}\": calls by SIP are told [sip] advertised = \"{advertised}\" for their sound, of the other family: it \
             arrives only where something on the way translates; expected an address of the same family"
        );
        return translated.then_some(text).into_iter().collect();
    }
    let told = told(config);
    told.iter()
        .filter_map(|(key, address)| {
            let what = match reach(address.ip(), bind) {
                Reach::Whole => return None,
                Reach::Local if config.pbx.iter().all(|pbx| is_local(pbx.sip.as_ref())) => return None,
                Reach::Local => "only exchanges on this machine are heard",
                Reach::Nothing => "they are told to send their sound there, where nothing receives it",
            };
            let expected = remedy(std::slice::from_ref(&(*key, *address)));
            Some(format!("[media] bind = \"{bind}\": of calls by SIP that come to [sip] {key} {address}, {what}; expected {expected}"))
        })
        .collect()
}

/// The addresses that calls are told and some exchange can reach; none when `advertised` is told instead.
fn told(config: &Config) -> Vec<(&'static str, SocketAddr)> {
    let sip = &config.sip;
    if !sip.enabled || !sip.advertised.trim().is_empty() {
        return Vec::new();
    }
    let networks = || config.pbx.iter().filter_map(|pbx| pbx.sip.as_ref()).flat_map(|own| &own.peers);
    let family = |address: &SocketAddr| address.ip().to_canonical().is_ipv4();
    let listeners = [("listen_udp", &sip.listen_udp), ("listen_tcp", &sip.listen_tcp), ("listen_tls", &sip.listen_tls)];
    let all = listeners.into_iter().flat_map(|(key, all)| all.iter().map(move |address| (key, *address)));
    all.filter(|(_, address)| networks().any(|net| net.addr().to_canonical().is_ipv4() == family(address))).collect()
}

/// Whether some exchange sends calls of which something is kept, and does not only tell of them.
fn calls(config: &Config) -> bool {
    let mut exchanges = config.pbx.iter().filter_map(|pbx| pbx.sip.as_ref());
    let others = config.line.iter().find(|line| line.number == "*").is_none_or(|line| line.record || line.transcribe);
    exchanges.any(|own| own.watch.is_none())
        && (others || config.line.iter().any(|line| line.record || line.transcribe))
}

fn is_local(own: Option<&sip::PeerSettings>) -> bool {
    own.is_none_or(|own| own.peers.iter().all(|net| net.addr().to_canonical().is_loopback()))
}

/// The addresses at which what was told is received.
fn remedy(told: &[(&'static str, SocketAddr)]) -> String {
    let own: BTreeSet<IpAddr> = told.iter().map(|(_, address)| address.ip()).collect();
    let own = own.into_iter().filter(|address| *address != IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    let own = own.map(|address| format!("\"{address}\" or ")).collect::<String>();
    format!("{own}\"::\" (every address of both families)")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A configuration with these listeners, this `bind` and one exchange with these networks.
    fn config(listen: &[&str], bind: &str, peers: &[&str]) -> Config {
        let mut config = Config::default();
        config.sip.enabled = true;
        config.sip.listen_udp = listen.iter().map(|address| address.parse().unwrap()).collect();
        config.sip.listen_tcp = Vec::new();
        config.media.bind = bind.parse().unwrap();
        let peers = peers.iter().map(|net| net.parse().unwrap()).collect();
        let own = sip::PeerSettings { peers, ..sip::PeerSettings::default() };
        config.pbx = vec![super::super::Pbx { id: "a".into(), sip: Some(own), ..super::super::Pbx::default() }];
        config
    }

    const BOTH: [&str; 2] = ["192.0.2.0/24", "2001:db8::/32"];

    #[test]
    fn sound_that_no_call_can_ever_be_heard_by_is_refused_with_place_expectation_and_remedy() {
        for (listen, bind) in [
            ("[2001:db8::80]:5060", "0.0.0.0"),
            ("[::]:5060", "192.0.2.80"),
            ("192.0.2.80:5060", "2001:db8::80"),
            ("0.0.0.0:5060", "::1"),
            ("192.0.2.80:5060", "127.0.0.1"),
        ] {
            let (place, problem) = check(&config(&[listen], bind, &BOTH)).unwrap_err();
            assert_eq!(place, format!("[media] bind = \"{bind}\""));
            let own = listen.parse::<SocketAddr>().unwrap().ip();
            for part in [&format!("listen_udp {listen}"), "no call would be heard", &format!("\"{own}\""), "advertised"]
            {
                assert!(problem.contains(part), "{part}: {problem}");
            }
        }
        // the exchange can reach only the address that is not the one for sound
        assert!(check(&config(&["192.0.2.80:5060", "[2001:db8::80]:5060"], "192.0.2.80", &BOTH[1..])).is_err());
    }

    #[test]
    fn what_may_be_heard_is_not_refused() {
        for (listen, bind) in [
            (&["192.0.2.80:5060"][..], "192.0.2.80"),
            (&["192.0.2.80:5060"], "0.0.0.0"),
            (&["192.0.2.80:5060"], "::"),
            (&["[2001:db8::80]:5060"], "::"),
            (&["0.0.0.0:5060"], "192.0.2.80"),
            (&["0.0.0.0:5060"], "127.0.0.1"),
            (&["192.0.2.80:5060", "[2001:db8::80]:5060"], "192.0.2.80"),
            (&[], "192.0.2.80"),
        ] {
            assert_eq!(check(&config(listen, bind, &BOTH)), Ok(()), "{listen:?} {bind}");
        }
        let wrong = || config(&["[2001:db8::80]:5060"], "192.0.2.80", &BOTH);
        let mut advertised = wrong();
        advertised.sip.advertised = "bridge.example.jp".into();
        let mut nothing_kept = wrong();
        let mut line = crate::call::line::Lines::default().policy("*");
        (line.number, line.record, line.transcribe) = ("*".into(), false, false);
        nothing_kept.line = vec![line];
        let mut told_only = wrong();
        told_only.pbx[0].sip.as_mut().unwrap().watch = Some(sip::WatchSettings::default());
        let mut off = wrong();
        off.sip.enabled = false;
        for config in [advertised, nothing_kept, told_only, off] {
            assert_eq!(check(&config), Ok(()));
        }
        assert!(check(&wrong()).is_err());
    }

    #[test]
    fn what_works_for_some_only_is_doubted() {
        let doubts = |config: &Config| doubts(config).join("\n");
        let both = ["192.0.2.80:5060", "[2001:db8::80]:5060"];
        let text = doubts(&config(&both, "192.0.2.80", &BOTH));
        assert!(text.contains("listen_udp [2001:db8::80]:5060") && text.contains("\"2001:db8::80\""), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert_eq!(doubts(&config(&both, "192.0.2.80", &BOTH[..1])), "", "no exchange comes by IPv6");
        let text = doubts(&config(&["0.0.0.0:5060"], "127.0.0.1", &BOTH));
        assert!(text.contains("only exchanges on this machine"), "{text}");
        assert_eq!(doubts(&config(&["0.0.0.0:5060"], "127.0.0.1", &["127.0.0.1/32"])), "");
        let mut other = config(&["192.0.2.80:5060"], "192.0.2.80", &BOTH);
        other.sip.advertised = "2001:db8::80".into();
        assert!(doubts(&other).contains("translates"), "{}", doubts(&other));
        other.media.bind = "::".parse().unwrap();
        assert_eq!(doubts(&other), "");
    }
}

//! Settings of an exchange that is observed passively (`[pbx.mirror]`).

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::pbx::sip::diverted::CalledFrom;

/// From where the packets of one exchange come, and whose they are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// A capture (pcap or pcapng) that is played as it was taken; empty: `interface` is listened to.
    pub file: PathBuf,
    /// The network interface at the mirror port; empty: `file` is played.
    pub interface: String,
    /// How many times faster than it was taken a file is played, 0.1–100.
    pub speed: f64,
    /// The exchange: `ADDRESS`, `ADDRESS/PREFIX`, or `ADDRESS:PORT` where only the SIP of that port is the exchange's.
    pub networks: Vec<Place>,
    /// Lines to the outside (carrier, gateway), written as `networks`; an end that is called over one of them is not listened to.
    pub lines: Vec<Place>,
    /// Believe what the exchange and `lines` say of the caller beyond From (RFC 3325); of others only From is read.
    pub trust_identity: bool,
    /// Where the called line is read, best first, as in `[pbx.sip]`.
    pub called_from: Vec<CalledFrom>,
    /// Ports of SIP over UDP and TCP.
    pub sip_ports: Vec<u16>,
    /// Ports of SIP over TLS: counted, never read.
    pub tls_ports: Vec<u16>,
    /// The telephones speak no SIP where the mirror is: a call is heard at its line, and its agent is the dialled number.
    pub agents_unseen: bool,
    /// Calls at once; more are counted and not observed.
    pub max_calls: u32,
    /// Silence of signalling and sound after which an answered call is given up as lost from sight, in seconds; a held call ten times that.
    pub silent_s: u32,
    /// Frames that wait between the interface and the reader; more are lost and counted.
    pub queue_frames: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            file: PathBuf::new(),
            interface: String::new(),
            speed: 1.0,
            networks: Vec::new(),
            lines: Vec::new(),
            trust_identity: true,
            called_from: vec![CalledFrom::RequestUri, CalledFrom::To],
            sip_ports: vec![5060],
            tls_ports: vec![5061],
            agents_unseen: false,
            max_calls: 600,
            silent_s: 300,
            queue_frames: 16_384,
        }
    }
}

impl Settings {
    /// Refuses what can never work.
    ///
    /// # Errors
    /// The key, and what is expected of it.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        match (self.file.as_os_str().is_empty(), self.interface.is_empty()) {
            (true, true) => {
                return Err((
                    "file, interface",
                    "both are empty; expected a capture file or a network interface".into(),
                ));
            }
            (false, false) => {
                return Err((
                    "file, interface",
                    "both are given; expected one of them, and another [[pbx]] for the other".into(),
                ));
            }
            _ => {}
        }
        if self.interface.len() > 15 || self.interface.contains(['/', ' ', '\0']) {
            let problem = format!("{:?} is no name of an interface; expected one of `ip -brief link`", self.interface);
            return Err(("interface", problem));
        }
        if !(0.1..=100.0).contains(&self.speed) {
            return Err(("speed", format!("{} cannot be; expected 0.1 to 100", self.speed)));
        }
        if self.networks.is_empty() {
            let problem = "empty; expected the addresses of the exchange, else nobody knows who calls and who answers";
            return Err(("networks", problem.into()));
        }
        if self.sip_ports.is_empty() || self.sip_ports.contains(&0) {
            return Err(("sip_ports", "expected the ports of SIP, for example [5060]".into()));
        }
        if let Some(port) = self.tls_ports.iter().find(|port| self.sip_ports.contains(port)) {
            return Err(("tls_ports", format!("{port} stands in sip_ports too; expected it in one of them")));
        }
        let range = |key, value: u32, from: u32, to: u32| match (from..=to).contains(&value) {
            true => Ok(()),
            false => Err((key, format!("{value} cannot be; expected {from} to {to}"))),
        };
        range("max_calls", self.max_calls, 1, 10_000)?;
        range("silent_s", self.silent_s, 10, 86_400)?;
        range("queue_frames", self.queue_frames, 64, 1_000_000)
    }
}

/// Whose an address is: a network, or one port of one host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Every port.
    Net(IpNet),
    /// This one.
    Port(SocketAddr),
}

impl Place {
    /// Reads `ADDRESS`, `ADDRESS/PREFIX` or `ADDRESS:PORT`; IPv6 with a port stands in brackets.
    pub fn parse(text: &str) -> Option<Place> {
        let text = text.trim();
        let address = || text.parse::<IpAddr>().ok().map(|ip| Place::Net(IpNet::from(ip.to_canonical())));
        let port = || {
            text.parse::<SocketAddr>().ok().map(|it| Place::Port(SocketAddr::new(it.ip().to_canonical(), it.port())))
        };
        text.parse::<IpNet>().ok().map(Place::Net).or_else(address).or_else(port)
    }

    /// Whether signalling with this address is of the place.
    pub(super) fn has(&self, address: SocketAddr) -> bool {
        match self {
            Place::Net(net) => net.contains(&address.ip()),
            Place::Port(own) => *own == address,
        }
    }

    /// Whether sound of this address is of the place: its ports are others than those of signalling.
    pub(super) fn has_host(&self, address: IpAddr) -> bool {
        match self {
            Place::Net(net) => net.contains(&address),
            Place::Port(own) => own.ip() == address,
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::Net(net) => net.fmt(f),
            Place::Port(own) => own.fmt(f),
        }
    }
}

impl Serialize for Place {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Place::parse(&text).ok_or_else(|| {
            serde::de::Error::custom(format!(
                "{text:?} is no place; expected an address, a network as 192.0.2.0/28, or an address with a port as 192.0.2.1:5060"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_network_or_one_port() {
        let has = |place: &str, address: &str| Place::parse(place).unwrap().has(address.parse().unwrap());
        assert!(has("192.0.2.0/28", "192.0.2.9:1") && !has("192.0.2.0/28", "192.0.2.16:1"));
        assert!(has("192.0.2.1", "192.0.2.1:9") && has("2001:db8::1", "[2001:db8::1]:9"));
        assert!(has("127.0.0.1:15060", "127.0.0.1:15060") && !has("127.0.0.1:15060", "127.0.0.1:15201"));
        assert!(["", "x", "192.0.2.1/33", "192.0.2.1:x"].iter().all(|text| Place::parse(text).is_none()));
    }

    #[test]
    fn what_cannot_work_is_refused_with_its_key() {
        let good = Settings {
            interface: "lo".into(),
            networks: vec![Place::parse("192.0.2.1").unwrap()],
            ..Settings::default()
        };
        assert_eq!(good.check(), Ok(()));
        let key = |settings: Settings| settings.check().unwrap_err().0;
        assert_eq!(key(Settings::default()), "file, interface");
        assert_eq!(key(Settings { file: "a.pcap".into(), ..good.clone() }), "file, interface");
        assert_eq!(key(Settings { networks: Vec::new(), ..good.clone() }), "networks");
        assert_eq!(key(Settings { speed: 0.0, ..good.clone() }), "speed");
        assert_eq!(key(Settings { speed: f64::NAN, ..good.clone() }), "speed");
        assert_eq!(key(Settings { tls_ports: vec![5060], ..good.clone() }), "tls_ports");
        assert_eq!(key(Settings { max_calls: 0, ..good }), "max_calls");
    }
}

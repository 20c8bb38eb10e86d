//! Which addresses a receiver may have: a name that leads into the bridge's own network, or to the secrets of a cloud machine, is not followed.
//! (Standard Webhooks 1.0.0, "Server side request forgery"; IANA special-purpose address registries)

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// How an address came to be meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    /// It stands in the configuration itself.
    Literal,
    /// `localhost` was resolved to it.
    Localhost,
    /// Another name was resolved to it.
    Name,
}

impl Given {
    /// How a name leads to addresses.
    pub fn of_name(name: &str) -> Given {
        if name.trim_end_matches('.').eq_ignore_ascii_case("localhost") { Given::Localhost } else { Given::Name }
    }
}

/// Whether a receiver may be at `address`: a public one always, one of `networks` always, others when they were written down as they are. Addresses
/// of nobody or of everybody and those where clouds keep machines' secrets must be in `networks`.
///
/// # Errors
/// What kind of address it is.
pub fn judge(address: IpAddr, given: Given, networks: &[IpNet]) -> Result<(), &'static str> {
    let meant = inside(address);
    if networks.iter().any(|network| network.contains(&address) || network.contains(&meant)) {
        return Ok(());
    }
    let kind = match meant {
        IpAddr::V4(address) => kind_of_v4(address),
        IpAddr::V6(address) => kind_of_v6(address),
    };
    match (kind, given) {
        (Kind::Public, _) | (Kind::Near(_), Given::Literal) => Ok(()),
        (Kind::Near(_), Given::Localhost) if meant.is_loopback() => Ok(()),
        (Kind::Near(what) | Kind::Never(what), _) => Err(what),
    }
}

enum Kind {
    Public,
    /// Of this machine or a closed network.
    Near(&'static str),
    /// No receiver's.
    Never(&'static str),
}

/// The IPv4 address that an IPv6 one only wraps: mapped (`::ffff:0:0/96`), NAT64 (`64:ff9b::/96`), 6to4 (`2002::/16`).
fn inside(address: IpAddr) -> IpAddr {
    let IpAddr::V6(outer) = address else { return address };
    let v4 = |high: u16, low: u16| IpAddr::V4(Ipv4Addr::from_bits((u32::from(high) << 16) | u32::from(low)));
    match outer.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        [0x2002, high, low, ..] => v4(high, low),
        // deprecated `::a.b.c.d`; `::` and `::1` are what they are
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => v4(high, low),
        _ => address,
    }
}

fn kind_of_v4(address: Ipv4Addr) -> Kind {
    match address.octets() {
        [0, ..] => Kind::Never("an unspecified address"),
        [10, ..] | [192, 168, ..] => Kind::Near("a private network"),
        [172, second, ..] if second & 0xf0 == 16 => Kind::Near("a private network"),
        [127, ..] => Kind::Near("this machine"),
        [169, 254, ..] => Kind::Never("link-local, where clouds keep the secrets of machines"),
        // where one cloud keeps them instead
        [100, 100, 100, 200] => Kind::Never("where a cloud keeps the secrets of machines"),
        [100, second, ..] if second & 0xc0 == 64 => Kind::Near("a carrier's shared network"),
        [192, 0, 0, _] | [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Kind::Near("a reserved network"),
        [198, 18 | 19, ..] => Kind::Near("a network for measurements"),
        [224..=239, ..] => Kind::Never("a multicast address"),
        [255, 255, 255, 255] => Kind::Never("the broadcast address"),
        [240..=255, ..] => Kind::Near("a reserved network"),
        _ => Kind::Public,
    }
}

fn kind_of_v6(address: Ipv6Addr) -> Kind {
    if address.is_unspecified() {
        return Kind::Never("an unspecified address");
    }
    if address.is_loopback() {
        return Kind::Near("this machine");
    }
    // where one cloud keeps the secrets of machines
    if address == Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254) {
        return Kind::Never("where a cloud keeps the secrets of machines");
    }
    match address.segments() {
        [first, ..] if first & 0xff00 == 0xff00 => Kind::Never("a multicast address"),
        [first, ..] if first & 0xffc0 == 0xfe80 => Kind::Never("link-local"),
        [first, ..] if first & 0xfe00 == 0xfc00 || first & 0xffc0 == 0xfec0 => Kind::Near("a private network"),
        [0x64, 0xff9b, 1, ..] => Kind::Near("a private translation network"),
        [0x100, 0, 0, 0, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] | [0x5f00, ..] => {
            Kind::Near("a reserved network")
        }
        [0x2001, 0..=0x1ff, ..] => Kind::Near("a network for protocols"),
        [0, ..] => Kind::Near("a reserved network"),
        _ => Kind::Public,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(address: &str, given: Given, networks: &[&str]) -> Result<(), &'static str> {
        let networks: Vec<IpNet> = networks.iter().map(|network| network.parse().unwrap()).collect();
        judge(address.parse().unwrap(), given, &networks)
    }

    #[test]
    fn a_name_leads_to_public_addresses_only() {
        for public in ["8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2002:808:808::1", "64:ff9b::808:808"]
        {
            assert_eq!(ask(public, Given::Name, &[]), Ok(()), "{public}");
        }
        for near in [
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "127.0.0.1",
            "127.9.9.9",
            "100.64.0.1",
            "192.0.2.1",
            "198.19.0.1",
            "250.0.0.1",
            "::1",
            "fc00::1",
            "fdff::1",
            "fec0::1",
            "2001:db8::1",
            "2001::1",
            "::ffff:10.0.0.1",
            "::ffff:127.0.0.1",
            "::10.0.0.1",
            "64:ff9b::10.0.0.1",
            "2002:a00:1::",
            "64:ff9b:1::1",
            "100::1",
        ] {
            assert!(ask(near, Given::Name, &[]).is_err(), "{near}");
            assert_eq!(ask(near, Given::Literal, &[]), Ok(()), "{near} written down is meant");
        }
    }

    #[test]
    fn addresses_of_nobody_of_everybody_and_of_clouds_must_be_listed() {
        for never in [
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "224.0.0.1",
            "239.255.255.255",
            "255.255.255.255",
            "100.100.100.200",
            "::",
            "fe80::1",
            "ff02::1",
            "fd00:ec2::254",
            "::ffff:169.254.169.254",
            "::ffff:0.0.0.0",
            "::ffff:224.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::",
        ] {
            for given in [Given::Name, Given::Localhost, Given::Literal] {
                assert!(ask(never, given, &[]).is_err(), "{never}");
            }
            let network = format!("{never}/{}", if never.contains(':') { 128 } else { 32 });
            assert_eq!(ask(never, Given::Name, &[&network]), Ok(()), "{never}");
        }
    }

    #[test]
    fn what_is_listed_may_be_reached_also_where_it_is_wrapped() {
        assert_eq!(ask("10.1.2.3", Given::Name, &["10.1.0.0/16"]), Ok(()));
        assert_eq!(ask("::ffff:10.1.2.3", Given::Name, &["10.1.0.0/16"]), Ok(()));
        assert_eq!(ask("10.2.2.3", Given::Name, &["10.1.0.0/16"]), Err("a private network"));
    }

    #[test]
    fn localhost_is_this_machine_and_nothing_else() {
        assert_eq!(Given::of_name("LocalHost."), Given::Localhost);
        assert_eq!(Given::of_name("localhost.example.jp"), Given::Name);
        for own in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(ask(own, Given::Localhost, &[]), Ok(()), "{own}");
        }
        assert!(ask("10.0.0.1", Given::Localhost, &[]).is_err());
    }
}

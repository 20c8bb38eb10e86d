//! Values of headers: Via, addresses, URIs, CSeq. The one file that uses `rsip`.
//!
//! `rsip` reads the parts that it reads right (host and port, transports, methods) and prints what we say; quotes, users with dots, IPv6,
//! lists and unknown transports are cut here first, because it mistakes them (tests/sip_oracle.rs compares both).

use std::net::{IpAddr, Ipv6Addr};

use super::wire::is_token;

use self::quotes::{find, unquote};

mod quotes;

/// A parameter: lower-case name and its value without quotes.
pub type Param = (String, Option<String>);

/// A URI (RFC 3261 §19.1, RFC 3966).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uri {
    /// Lower case: `sip`, `sips`, `tel`, …
    pub scheme: String,
    /// Before the `@` (or the number of a tel URI), percent-decoded, without password and user parameters.
    pub user: Option<String>,
    /// Parameters inside the user part, as telephone numbers have them (RFC 3261 §19.1.6).
    pub user_params: Vec<Param>,
    /// Host without brackets; empty for other schemes.
    pub host: String,
    /// Port, when given.
    pub port: Option<u16>,
    /// `;name=value`.
    pub params: Vec<Param>,
    /// Whether it carries headers (`?…`).
    pub has_headers: bool,
}

/// A name-addr or addr-spec with parameters: From, To, Contact, Route, P-Asserted-Identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameAddr {
    /// Display name, unquoted.
    pub display: Option<String>,
    /// The address.
    pub uri: Uri,
    /// The address as written, for Request-URIs.
    pub uri_text: String,
    /// Parameters of the header.
    pub params: Vec<Param>,
}

/// One Via (RFC 3261 §20.42).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Via {
    /// Upper case: `UDP`, `TCP`, …
    pub transport: String,
    /// sent-by host without brackets.
    pub host: String,
    /// sent-by port.
    pub port: Option<u16>,
    /// Parameters.
    pub params: Vec<Param>,
}

/// CSeq (RFC 3261 §20.16).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CSeq {
    /// Below 2³¹.
    pub number: u32,
    /// Case-sensitive.
    pub method: String,
}

impl Uri {
    /// Reads a URI; `None` when it breaks the grammar. Schemes other than `sip`, `sips` and `tel` are kept by name only.
    pub fn parse(text: &str) -> Option<Uri> {
        if text.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, '<' | '>' | '"')) {
            return None;
        }
        let (scheme, rest) = text.split_once(':')?;
        let scheme = scheme.to_ascii_lowercase();
        let is_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
        if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !scheme.chars().all(is_scheme) || rest.is_empty() {
            return None;
        }
        match scheme.as_str() {
            "sip" | "sips" => Uri::parse_sip(scheme, rest),
            "tel" => {
                let (number, params) = split_params(rest)?;
                let user = Some(percent_decode(number)).filter(|number| !number.is_empty());
                Some(Uri {
                    scheme,
                    user,
                    user_params: vec![],
                    host: String::new(),
                    port: None,
                    params,
                    has_headers: false,
                })
            }
            _ => Some(Uri {
                scheme,
                user: None,
                user_params: vec![],
                host: String::new(),
                port: None,
                params: vec![],
                has_headers: false,
            }),
        }
    }

    fn parse_sip(scheme: String, rest: &str) -> Option<Uri> {
        let (user, place) = match rest.rsplit_once('@') {
            Some((info, place)) => (Some(info), place),
            None => (None, rest),
        };
        let (user, user_params) = match user {
            Some(info) => {
                let name = info.split(':').next().unwrap_or_default();
                let (name, params) = name.split_once(';').unwrap_or((name, ""));
                let params = split_params(&format!(";{params}")).map(|(_, params)| params).unwrap_or_default();
                (Some(percent_decode(name)).filter(|_| !name.is_empty()), params)
            }
            None => (None, vec![]),
        };
        if user.is_none() && rest.contains('@') {
            return None;
        }
        let (place, headers) = place.split_once('?').map_or((place, None), |(place, headers)| (place, Some(headers)));
        let (host_port, params) = split_params(place)?;
        let (host, port) = host_port_of(host_port)?;
        Some(Uri { scheme, user, user_params, host, port, params, has_headers: headers.is_some() })
    }

    /// A parameter's value; an empty string when it has none.
    pub fn param(&self, name: &str) -> Option<&str> {
        param(&self.params, name)
    }

    /// A parameter of the telephone number, which stands in the user part of SIP URIs, or wrongly behind the host.
    pub fn number_param(&self, name: &str) -> Option<&str> {
        param(&self.user_params, name).or_else(|| self.param(name))
    }

    /// The address, when the host is one.
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

impl NameAddr {
    /// Reads one value; `None` when it breaks the grammar. Blanks and commas in an unquoted name are tolerated (RFC 4475 §3.1.2.15).
    pub fn parse(text: &str) -> Option<NameAddr> {
        let text = text.trim();
        let open = find(text, '<')?;
        let (display, uri, params) = match open {
            Some(open) => {
                let (display, rest) = text.split_at(open);
                let (uri, params) = rest.get(1..)?.split_once('>')?;
                let params = params.trim();
                if !params.is_empty() && !params.starts_with(';') {
                    return None;
                }
                (Some(unquote(display.trim())?).filter(|name| !name.is_empty()), uri, params)
            }
            None => {
                let end = text.find([';', '?', ' ', '\t']).unwrap_or(text.len());
                let (uri, params) = text.split_at(end);
                let params = params.trim();
                if !params.is_empty() && !params.starts_with(';') {
                    return None;
                }
                (None, uri, params)
            }
        };
        let (nothing, params) = split_params(params)?;
        if !nothing.is_empty() {
            return None;
        }
        Some(NameAddr { display, uri: Uri::parse(uri)?, uri_text: uri.into(), params })
    }

    /// The tag, when there is one.
    pub fn tag(&self) -> Option<&str> {
        param(&self.params, "tag").filter(|tag| !tag.is_empty())
    }
}

impl Via {
    /// Reads one value, of any version of SIP: the start line decides about that.
    pub fn parse(text: &str) -> Option<Via> {
        let (protocol, rest) = text.split_once('/')?;
        let (_, rest) = rest.split_once('/')?;
        if !protocol.trim().eq_ignore_ascii_case("SIP") {
            return None;
        }
        let rest = rest.trim_start();
        let (transport, rest) = rest.split_once([' ', '\t'])?;
        if !is_token(transport) {
            return None;
        }
        let (sent_by, params) = split_params(rest)?;
        let sent_by: String = sent_by.chars().filter(|c| !c.is_whitespace()).collect();
        let (host, port) = host_port_of(&sent_by)?;
        let known = transport.to_ascii_uppercase().parse::<rsip::Transport>();
        let transport = known.map_or_else(|_| transport.to_ascii_uppercase(), |transport| transport.to_string());
        Some(Via { transport, host, port, params })
    }

    /// The branch; empty when there is none.
    pub fn branch(&self) -> &str {
        param(&self.params, "branch").unwrap_or_default()
    }

    /// Whether the sender wants the answer at the port it sent from (RFC 3581).
    pub fn wants_rport(&self) -> bool {
        self.params.iter().any(|(name, _)| name == "rport")
    }
}

impl CSeq {
    /// Reads the value.
    pub fn parse(text: &str) -> Option<CSeq> {
        let mut parts = text.split_ascii_whitespace();
        let (number, method) = (parts.next()?, parts.next()?);
        let digits = number.bytes().all(|byte| byte.is_ascii_digit());
        let number = number.parse::<u32>().ok().filter(|number| digits && *number < 1 << 31)?;
        (is_token(method) && parts.next().is_none()).then(|| CSeq { number, method: method.into() })
    }
}

/// Whether `method` is one that RFC 3261 or an extension in wide use defines (so 405, not 501).
pub fn is_known_method(method: &str) -> bool {
    method.parse::<rsip::Method>().is_ok_and(|known| known.to_string() == method)
}

/// The value of our CSeq.
pub fn print_cseq(number: u32, method: &str) -> String {
    match method.parse::<rsip::Method>() {
        Ok(method) => rsip::typed::CSeq { seq: number, method }.to_string(),
        Err(_) => format!("{number} {method}"),
    }
}

/// The value of our Via, which asks for the answer at the port it is sent from.
pub fn print_via(transport: &str, host: &str, port: u16, branch: &str) -> String {
    let params = vec![rsip::Param::Branch(branch.into()), rsip::Param::Other("rport".into(), None)];
    let via = rsip::typed::Via {
        version: rsip::Version::V2,
        transport: transport.parse().unwrap_or_default(),
        uri: rsip::Uri { host_with_port: host_port(host, port), ..rsip::Uri::default() },
        params,
    };
    via.to_string()
}

/// The value of our Contact inside a dialog that was asked for by `sips:`; that it is reached over TLS needs no parameter (RFC 5630 §3.1.4).
pub fn print_secure_contact(user: &str, host: &str, port: u16) -> String {
    format!("<sips:{user}@{}:{port}>", bracketed(host))
}

/// The value of our Contact.
pub fn print_contact(user: &str, host: &str, port: u16, transport: &str) -> String {
    let params = match transport.parse::<rsip::Transport>() {
        Ok(rsip::Transport::Udp) | Err(_) => vec![],
        Ok(other) => vec![rsip::Param::Other("transport".into(), Some(other.to_string().to_ascii_lowercase().into()))],
    };
    let uri = rsip::Uri {
        scheme: Some(rsip::Scheme::Sip),
        auth: Some(rsip::Auth { user: user.into(), password: None }),
        host_with_port: host_port(host, port),
        params,
        headers: vec![],
    };
    rsip::typed::Contact { display_name: None, uri, params: vec![] }.to_string()
}

/// A host as it stands in a URI: IPv6 in brackets.
pub fn bracketed(host: &str) -> String {
    if host.parse::<Ipv6Addr>().is_ok() { format!("[{host}]") } else { host.into() }
}

fn host_port(host: &str, port: u16) -> rsip::HostWithPort {
    let host = rsip::Host::Domain(bracketed(host).into());
    rsip::HostWithPort { host, port: Some(port.into()) }
}

/// `host[:port]`; rsip reads names and IPv4, IPv6 is cut here.
fn host_port_of(text: &str) -> Option<(String, Option<u16>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, port) = rest.split_once(']')?;
        host.parse::<Ipv6Addr>().ok()?;
        let port = match port.strip_prefix(':') {
            Some(port) => Some(port.parse().ok()?),
            None if port.is_empty() => None,
            None => return None,
        };
        return Some((host.into(), port));
    }
    let read = rsip::HostWithPort::try_from(text).ok()?;
    let host = read.host.to_string();
    let is_host = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    is_host.then(|| (host, read.port.map(|port| *port.value())))
}

/// The value of a parameter, case-insensitive by name; an empty string when it has no value.
pub fn param<'a>(params: &'a [Param], name: &str) -> Option<&'a str> {
    params.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_deref().unwrap_or_default())
}

/// `value;name=value;…` → value and parameters; an empty parameter is tolerated at the end only.
pub fn split_params(text: &str) -> Option<(&str, Vec<Param>)> {
    let mut pieces = split(text, ';').into_iter().map(str::trim).peekable();
    let value = pieces.next().unwrap_or_default();
    let mut params = Vec::new();
    while let Some(piece) = pieces.next() {
        let (name, value) = match piece.split_once('=') {
            Some((name, value)) => (name.trim(), Some(unquote(value.trim())?)),
            None if piece.is_empty() && pieces.peek().is_none() => break,
            None => (piece, None),
        };
        if name.is_empty() || name.contains([' ', '\t', ',', '"', '<', '>']) {
            return None;
        }
        params.push((name.to_ascii_lowercase(), value));
    }
    Some((value, params))
}

/// Splits at `separator` outside quotes and angle brackets.
pub fn split(text: &str, separator: char) -> Vec<&str> {
    let mut pieces = Vec::new();
    let (mut start, mut quoted, mut escaped, mut inside) = (0, false, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '<' if !quoted => inside = true,
            '>' if !quoted => inside = false,
            _ if c == separator && !quoted && !inside => {
                pieces.push(text.get(start..at).unwrap_or_default());
                start = at + c.len_utf8();
            }
            _ => {}
        }
    }
    pieces.push(text.get(start..).unwrap_or_default());
    pieces
}

/// `%41` → `A`; what is not an escape stays.
pub fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escape = if *first == b'%' { after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok()) } else { None };
        match escape.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    super::message::decode(&bytes).into_owned()
}

#[cfg(test)]
mod tests;

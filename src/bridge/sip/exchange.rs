//! Settings of an exchange that must be right before anything starts; its password files are read here.

use super::Error;
use crate::pbx::PbxId;
use crate::pbx::sip::settings::host_and_port;
use crate::pbx::sip::{PeerSettings, RegisterSettings, WatchSettings};

/// Watched extensions of one exchange.
const WATCHED_MAX: usize = 500;
const PLAIN: &str = "1 to 128 letters, digits and signs, without quotes and backslashes";
const SECONDS: &str = "60 to 86400";

/// Reads the password files of an exchange into its settings, and checks what its sections hold.
pub(super) fn complete(pbx: &PbxId, own: &mut PeerSettings) -> Result<(), Error> {
    let place = Place { pbx, section: "pbx.sip" };
    if own.username.is_empty() {
        if !own.password.is_empty() || !own.password_file.is_empty() {
            return place.wrong("username", "", "the user that the password belongs to");
        }
    } else {
        place.plain("username", &own.username)?;
        place.plain("realm", &own.realm)?;
        if own.digests.is_empty() {
            return place.wrong("digests", "[]", "`sha-256`, `md5` or both");
        }
        own.password = place.password(&own.password, &own.password_file)?;
        if own.password.is_empty() {
            return place.wrong(
                "password",
                "",
                "the password that the exchange proves itself with, or its `password_file`",
            );
        }
    }
    if let Some(register) = &mut own.register {
        registering(&Place { pbx, section: "pbx.sip.register" }, register)?;
    }
    match &own.watch {
        Some(watch) => watching(&Place { pbx, section: "pbx.sip.watch" }, watch, own.register.as_ref()),
        None => Ok(()),
    }
}

fn registering(place: &Place<'_>, own: &mut RegisterSettings) -> Result<(), Error> {
    if host_and_port(&own.registrar, own.transport).is_none() {
        return place.wrong("registrar", &own.registrar, "HOST or HOST:PORT of the exchange");
    }
    if !is_user(&own.user) {
        return place.wrong("user", &own.user, "the extension: 1 to 64 letters, digits and -_.+*#");
    }
    if !own.domain.is_empty() && host_and_port(&own.domain, own.transport).is_none() {
        return place.wrong("domain", &own.domain, "a host name or address, or nothing");
    }
    if !own.username.is_empty() {
        place.plain("username", &own.username)?;
    }
    if !(60..=86_400).contains(&own.expires_s) {
        return place.wrong("expires_s", &own.expires_s.to_string(), SECONDS);
    }
    own.password = place.password(&own.password, &own.password_file)?;
    Ok(())
}

fn watching(place: &Place<'_>, own: &WatchSettings, register: Option<&RegisterSettings>) -> Result<(), Error> {
    if own.extensions.is_empty() || own.extensions.len() > WATCHED_MAX {
        return place.wrong("extensions", &format!("{} extensions", own.extensions.len()), "1 to 500");
    }
    let server = if own.server.is_empty() { register.map_or("", |register| &register.registrar) } else { &own.server };
    if host_and_port(server, own.transport).is_none() {
        return place.wrong("server", server, "HOST or HOST:PORT of the exchange, or a [pbx.sip.register]");
    }
    if !own.domain.is_empty() && host_and_port(&own.domain, own.transport).is_none() {
        return place.wrong("domain", &own.domain, "a host name or address, or nothing");
    }
    if let Some(extension) = own.extensions.iter().find(|extension| !is_user(extension)) {
        return place.wrong("extensions", extension, "extensions of 1 to 64 letters, digits and -_.+*#");
    }
    if let Some(register) = register.filter(|register| own.extensions.contains(&register.user)) {
        return place.wrong("extensions", &register.user, "others than the bridge's own: its calls are told already");
    }
    if !(60..=86_400).contains(&own.expires_s) {
        return place.wrong("expires_s", &own.expires_s.to_string(), SECONDS);
    }
    Ok(())
}

/// Where a setting stands.
struct Place<'a> {
    pbx: &'a PbxId,
    section: &'static str,
}

impl Place<'_> {
    fn wrong<T>(&self, key: &'static str, found: &str, expected: &'static str) -> Result<T, Error> {
        Err(Error::Peer { pbx: self.pbx.0.clone(), section: self.section, key, found: found.into(), expected })
    }

    fn password(&self, given: &str, file: &str) -> Result<String, Error> {
        if !given.is_empty() || file.is_empty() {
            return Ok(given.into());
        }
        let (pbx, section, path) = (self.pbx.0.clone(), self.section, file.to_string());
        let text = std::fs::read_to_string(file);
        let text = text.map_err(|reason| Error::PasswordFile { pbx, section, path, reason })?;
        Ok(text.lines().next().unwrap_or_default().trim().to_string())
    }

    /// What stands between quotes in a header without being escaped.
    fn plain(&self, key: &'static str, text: &str) -> Result<(), Error> {
        let plain = !text.chars().any(|c| c.is_control() || matches!(c, '"' | '\\'));
        if (1..=128).contains(&text.len()) && plain { Ok(()) } else { self.wrong(key, text, PLAIN) }
    }
}

/// The user part of an address, without escapes.
fn is_user(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.+*#".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(plain)
}

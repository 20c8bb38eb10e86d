//! Passwords of the exchanges: read from their files before anything starts, and refused where they cannot work.

use super::Error;
use crate::pbx::PbxId;
use crate::pbx::sip::PeerSettings;

/// Reads the password files of an exchange into its settings.
pub(super) fn complete(pbx: &PbxId, own: &mut PeerSettings) -> Result<(), Error> {
    let section = "pbx.sip";
    let wrong = |key, found: &str, expected| {
        Err(Error::Peer { pbx: pbx.0.clone(), section, key, found: found.into(), expected })
    };
    if own.username.is_empty() {
        if !own.password.is_empty() || !own.password_file.is_empty() {
            return wrong("username", "", "the user that the password belongs to");
        }
        return Ok(());
    }
    if !is_plain(&own.username) {
        return wrong("username", &own.username, "1 to 128 letters, digits and signs, without quotes and backslashes");
    }
    if !is_plain(&own.realm) {
        return wrong("realm", &own.realm, "1 to 128 letters, digits and signs, without quotes and backslashes");
    }
    own.password = password(pbx, section, &own.password, &own.password_file)?;
    if own.password.is_empty() {
        return wrong("password", "", "the password that the exchange proves itself with, or its `password_file`");
    }
    Ok(())
}

fn password(pbx: &PbxId, section: &'static str, given: &str, file: &str) -> Result<String, Error> {
    if !given.is_empty() || file.is_empty() {
        return Ok(given.into());
    }
    let text = std::fs::read_to_string(file).map_err(|reason| Error::PasswordFile {
        pbx: pbx.0.clone(),
        section,
        path: file.into(),
        reason,
    })?;
    Ok(text.lines().next().unwrap_or_default().trim().to_string())
}

/// What stands between quotes in a header without being escaped.
fn is_plain(text: &str) -> bool {
    (1..=128).contains(&text.len()) && !text.chars().any(|c| c.is_control() || matches!(c, '"' | '\\'))
}

//! `kakehashi webhook`: makes the keys that webhooks are signed with.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};

use crate::crm::key::{ed25519_secret, hmac_secret};

/// Make keys that webhooks are signed with (Standard Webhooks 1.0.0).
#[derive(Debug, Args)]
pub struct WebhookArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: WebhookCommand,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum WebhookCommand {
    /// Make a key into a file that only this user can read, for `secret_file`; prints the public key of an Ed25519 pair.
    Key {
        /// The file; it must not be there yet.
        file: PathBuf,
        /// What the receiver can verify.
        #[arg(long, value_enum, default_value_t = Kind::Ed25519)]
        kind: Kind,
        /// Put it behind the keys of a file that is there: all of them sign, until the old one is taken out.
        #[arg(long)]
        add: bool,
    },
}

/// Kinds of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// A pair: the receiver gets the public key only, and cannot sign itself.
    Ed25519,
    /// HMAC-SHA256: the receiver has the same secret. Every library of Standard Webhooks knows it.
    Hmac,
}

/// Runs the subcommand.
///
/// # Errors
/// When the file cannot be made, or is there already.
pub fn run(args: &WebhookArgs) -> super::Result {
    let WebhookCommand::Key { file, kind, add } = &args.command;
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(|error| format!("no random numbers from the system: {error}"))?;
    let (secret, public) = match kind {
        Kind::Hmac => (hmac_secret(&random), None),
        Kind::Ed25519 => {
            let (secret, public) = ed25519_secret(&random).ok_or("these random numbers are no key; try again")?;
            (secret, Some(public))
        }
    };
    keep(file, &secret, *add).map_err(|problem| format!("{}: {problem}", file.display()))?;
    match public {
        Some(public) => println!("{public}"),
        None => eprintln!("The receiver verifies with the same secret: give it the new line of {}.", file.display()),
    }
    Ok(())
}

/// Writes the secret as the last line of the file, mode 0600.
fn keep(path: &Path, secret: &str, add: bool) -> Result<(), String> {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    let mut file = match add {
        true => {
            options.read(true).append(true).open(path).map_err(|error| format!("{error}; expected a file with keys"))?
        }
        false => options.write(true).create_new(true).open(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => {
                "it is there already; --add puts the new key behind its keys".to_string()
            }
            _ => format!("{error}; expected a path in a folder that this user may write"),
        })?,
    };
    let written = lines_up(&mut file, add).and_then(|()| writeln!(file, "{secret}")).and_then(|()| file.sync_all());
    written.map_err(|error| error.to_string())
}

/// Ends the last line of a file that is added to, and takes its secrets from everybody else's sight.
fn lines_up(file: &mut File, add: bool) -> std::io::Result<()> {
    if !add {
        return Ok(());
    }
    file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    if text.is_empty() || text.ends_with('\n') { Ok(()) } else { file.write_all(b"\n") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crm::settings::{Endpoint, Secret};
    use crate::crm::webhook::Webhook;

    fn make(file: &Path, kind: Kind, add: bool) -> Result<(), String> {
        let command = WebhookCommand::Key { file: file.into(), kind, add };
        run(&WebhookArgs { command }).map_err(|error| error.to_string())
    }

    #[test]
    fn keys_are_made_and_added_for_this_user_only_and_all_of_them_sign() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        make(&file, Kind::Hmac, false).unwrap();
        let again = make(&file, Kind::Ed25519, false).unwrap_err();
        assert!(again.contains("--add"), "{again}");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        make(&file, Kind::Ed25519, true).unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let text = std::fs::read_to_string(&file).unwrap();
        let secrets: Vec<Secret> = text.lines().map(|line| Secret(line.into())).collect();
        assert!(secrets[0].0.starts_with("whsec_") && secrets[1].0.starts_with("whsk_") && secrets.len() == 2);
        assert!(Webhook::new(&Endpoint::default(), &secrets).is_ok());
    }

    #[test]
    fn a_line_without_its_end_is_ended_first() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        assert!(make(&file, Kind::Hmac, true).unwrap_err().contains("expected a file"));
        std::fs::write(&file, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        make(&file, Kind::Hmac, true).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 2);
    }
}

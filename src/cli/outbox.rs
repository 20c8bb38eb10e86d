//! `kakehashi outbox`: what waits, what was delivered, what became a dead letter; replay and discard; whether all of it is whole.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::bridge::now;
use crate::config::Config;
use crate::outbox::store::{Listed, Outbox, Verdict, verify};

/// Look at deliveries; send dead letters again or set them aside.
#[derive(Debug, Args)]
pub struct OutboxArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: OutboxCommand,
}

/// The file that names the data folder.
#[derive(Clone, Debug, Args)]
pub struct Place {
    /// Configuration file (it names the data folder and the endpoints).
    #[arg(long, short, value_name = "FILE")]
    pub config: PathBuf,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum OutboxCommand {
    /// List deliveries, newest first.
    List {
        /// Where.
        #[command(flatten)]
        place: Place,
        /// Only deliveries in this state.
        #[arg(long, value_enum)]
        status: Option<Status>,
        /// The most that are listed.
        #[arg(long, default_value_t = 50, value_name = "N")]
        limit: u32,
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Print one event as it is sent (it holds personal data).
    Show {
        /// Where.
        #[command(flatten)]
        place: Place,
        /// Event id, as `list` shows it.
        event: String,
    },
    /// Read the whole outbox through: pages, texts against their digests, each contact's chain of digests. The bridge may run meanwhile.
    Check {
        /// Where.
        #[command(flatten)]
        place: Place,
    },
    /// Send dead letters again; a running bridge takes them within seconds, else they go at its next start.
    Replay(Chosen),
    /// Set dead letters aside for good; the events themselves stay in the record.
    Discard {
        /// Which.
        #[command(flatten)]
        chosen: Chosen,
        /// Why; kept with them.
        #[arg(long, default_value = "discarded by hand", value_name = "TEXT")]
        note: String,
    },
}

/// Which dead letters.
#[derive(Clone, Debug, Args)]
pub struct Chosen {
    /// Where.
    #[command(flatten)]
    pub place: Place,
    /// Numbers of deliveries, as `list` shows them.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub delivery: Vec<i64>,
    /// Every dead letter.
    #[arg(long)]
    pub all: bool,
}

impl Chosen {
    fn ids(&self) -> Option<&[i64]> {
        (!self.all).then_some(self.delivery.as_slice())
    }
}

/// States of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Status {
    /// Waits to be sent.
    Pending,
    /// The endpoint has it.
    Delivered,
    /// Given up; waits for a person.
    Dead,
    /// A dead letter that will be sent again.
    Replay,
    /// Set aside.
    Discarded,
}

impl Status {
    fn name(self) -> &'static str {
        match self {
            Status::Pending => "pending",
            Status::Delivered => "delivered",
            Status::Dead => "dead",
            Status::Replay => "replay",
            Status::Discarded => "discarded",
        }
    }
}

/// Runs the subcommand.
///
/// # Errors
/// When the outbox cannot be used or what was named is not there.
pub fn run(args: &OutboxArgs) -> super::Result {
    match &args.command {
        OutboxCommand::List { place, status, limit, json } => {
            let listed = open(place)?.list(status.map(Status::name), *limit)?;
            print(&listed, *json)
        }
        OutboxCommand::Show { place, event } => {
            let body = open(place)?.event(event)?;
            let body = body.ok_or_else(|| format!("{event}: no such event; `kakehashi outbox list` shows ids"))?;
            println!("{body}");
            Ok(())
        }
        OutboxCommand::Check { place } => check(place),
        OutboxCommand::Replay(chosen) => {
            let count = open(&chosen.place)?.replay(chosen.ids(), now().wall)?;
            tell(count, "to be sent again", chosen)
        }
        OutboxCommand::Discard { chosen, note } => {
            let count = open(&chosen.place)?.discard(chosen.ids(), note)?;
            tell(count, "set aside", chosen)
        }
    }
}

fn check(place: &Place) -> super::Result {
    let path = store_of(&super::load_config(&place.config)?)?;
    let verdict = verify(&path)?;
    let Verdict { events, contacts, deliveries, wrong, problems } = verdict;
    println!("{}: {events} events of {contacts} contacts, {deliveries} deliveries", path.display());
    if wrong == 0 {
        return Ok(());
    }
    problems.iter().for_each(|problem| println!("  {problem}"));
    Err(format!(
        "{}: {wrong} things are wrong; with [outbox] second_copy the bridge takes the copy at its next start, else restore a backup",
        path.display()
    )
    .into())
}

/// The file of the outbox, which is there.
pub(super) fn store_of(config: &Config) -> Result<PathBuf, Box<dyn std::error::Error + Send + Sync>> {
    let path = config.node.data_dir.join("outbox.db");
    if path.exists() {
        return Ok(path);
    }
    Err(format!("{}: there is no outbox yet; the bridge makes it at its first start", path.display()).into())
}

fn open(place: &Place) -> Result<Outbox, Box<dyn std::error::Error + Send + Sync>> {
    let config = super::load_config(&place.config)?;
    store_of(&config)?;
    let endpoints = config.endpoint.iter().map(|endpoint| endpoint.id.as_str());
    Ok(Outbox::open_beside(&config.node.data_dir, &config.outbox, endpoints)?)
}

fn tell(count: usize, what: &str, chosen: &Chosen) -> super::Result {
    if count < chosen.delivery.len() {
        let asked = chosen.delivery.len();
        return Err(format!(
            "{count} of {asked} {what}: the others are no dead letters; see `outbox list --status dead`"
        )
        .into());
    }
    println!("{count} {what}");
    Ok(())
}

fn print(listed: &[Listed], json: bool) -> super::Result {
    let mut out = std::io::stdout().lock();
    for one in listed {
        if json {
            writeln!(out, "{}", serde_json::to_string(one)?)?;
            continue;
        }
        write!(
            out,
            "{:>8}  {:9}  {:>2}×  {:12}  {}  {} {}",
            one.delivery, one.status, one.attempts, one.endpoint, one.event, one.kind, one.sequence
        )?;
        let more = [one.next_at.as_deref().map(|at| format!("next {at}")), one.error.clone()];
        for text in more.into_iter().flatten() {
            write!(out, "  {text}")?;
        }
        writeln!(out)?;
    }
    Ok(())
}

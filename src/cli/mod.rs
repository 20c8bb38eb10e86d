//! The command line: one file per subcommand; this one reads the arguments and turns errors into exit codes.

pub mod backup;
pub mod check;
#[cfg(feature = "web")]
pub mod demo;
pub mod describe;
pub mod dictionary;
pub mod eval;
pub mod export;
pub mod interval;
pub mod log;
pub mod model;
pub mod outbox;
pub mod probe;
pub mod relay;
pub mod score;
pub mod serve;
pub mod transcribe;
pub mod webhook;
pub mod worker;

use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{Config, ConfigError};

/// What a subcommand gives back: nothing, or an error whose text names the place, the expectation and the remedy.
pub type Result = std::result::Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// 架け橋: the bridge from a telephone exchange to a CRM.
///
/// Exit codes: 0 done, 1 it failed (the last line on standard error says what, where and what to do), 2 wrong usage; `probe`: its verdict.
#[derive(Debug, Parser)]
#[command(name = "kakehashi", version, about, max_term_width = 120)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::ServeArgs),
    Check(check::CheckArgs),
    Eval(eval::EvalArgs),
    Transcribe(transcribe::TranscribeArgs),
    Dictionary(dictionary::DictionaryArgs),
    Model(model::command::ModelArgs),
    Worker(worker::WorkerArgs),
    Export(export::ExportArgs),
    Outbox(outbox::OutboxArgs),
    Describe(describe::DescribeArgs),
    Backup(backup::BackupArgs),
    Restore(backup::RestoreArgs),
    Webhook(webhook::WebhookArgs),
    Relay(relay::RelayArgs),
    Probe(Box<probe::ProbeArgs>),
    #[cfg(feature = "web")]
    Demo(demo::DemoArgs),
}

/// Reads the arguments, runs the subcommand and gives the exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Command::Probe(args) = &cli.command {
        return probe::run(args);
    }
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kakehashi: {}", chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result {
    match command {
        Command::Serve(args) => serve::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Eval(args) => eval::run(args),
        Command::Transcribe(args) => transcribe::run(args),
        Command::Dictionary(args) => dictionary::run(&args),
        Command::Model(args) => model::command::run(args),
        Command::Worker(args) => worker::run(args),
        Command::Export(args) => export::run(&args),
        Command::Outbox(args) => outbox::run(&args),
        Command::Describe(args) => describe::run(&args),
        Command::Backup(args) => backup::backup(&args),
        Command::Restore(args) => backup::restore(&args),
        Command::Webhook(args) => webhook::run(&args),
        Command::Relay(args) => relay::run(&args),
        Command::Probe(_) => Ok(()),
        #[cfg(feature = "web")]
        Command::Demo(args) => demo::run(&args),
    }
}

/// Reads a configuration file.
fn load_config(path: &Path) -> std::result::Result<Config, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.into(), source })?;
    Config::parse(path, &text)
}

/// The runtime of the edge.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

/// The error and its causes in one line, without repeating what the outer text already says.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = cause.source();
    }
    text
}

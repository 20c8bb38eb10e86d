//! The command line: one file per subcommand; this one reads the arguments and turns errors into exit codes.

pub mod eval;
pub mod model;
pub mod score;
pub mod transcribe;
pub mod worker;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub mod export;

/// What a subcommand gives back: nothing, or an error whose text names the place, the expectation and the remedy.
pub type Result = std::result::Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// 架け橋: the bridge from a telephone exchange to a CRM.
///
/// Exit codes: 0 done, 1 it failed (the last line on standard error says what, where and what to do), 2 wrong usage.
#[derive(Debug, Parser)]
#[command(name = "kakehashi", version, about, max_term_width = 120)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Eval(eval::EvalArgs),
    Transcribe(transcribe::TranscribeArgs),
    #[command(hide = true)]
    Worker(worker::WorkerArgs),
}

/// Reads the arguments, runs the subcommand and gives the exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
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
        Command::Eval(args) => eval::run(args),
        Command::Transcribe(args) => transcribe::run(args),
        Command::Worker(args) => worker::run(args),
    }
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

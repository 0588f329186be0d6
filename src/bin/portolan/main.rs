//! The command `portolan`: makes, fills, searches, measures and checks database files. Uses the
//! public API of the library alone, as any application would.
//!
//! Results go to standard output, for people or with `--json` for scripts; messages and progress
//! go to standard error. Exit codes: 0 done, 1 failed, 2 wrong usage.

#![deny(clippy::expect_used, clippy::unwrap_used)]

mod agent;
mod agent_args;
mod agent_export;
mod args;
mod ask;
mod ask_args;
mod bench_ann;
mod bench_args;
mod bench_churn;
mod bench_filter;
mod bench_growth;
mod bench_open;
mod chat_args;
mod create;
mod documents;
mod embed_pending;
mod eval;
mod eval_agent;
mod eval_args;
mod eval_course;
mod eval_figures;
mod eval_html;
mod eval_mode;
mod eval_plots;
mod eval_set;
mod failure;
mod find_args;
mod generate;
mod growth_fit;
mod growth_plot;
mod index_field;
mod index_text;
mod ingest;
mod ingest_again;
mod ingest_words;
mod inspect;
mod mode;
mod model_args;
mod models;
mod nim_args;
mod nim_cures;
mod nim_doctor;
mod open;
mod output;
mod progress;
mod question;
mod rejects;
mod repair;
mod search;
mod stages;
mod svg;
mod text_language;
mod timing;
mod trial;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};
use failure::{Failure, Result};
use output::{Output, printable};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // help and version end here too, with code 0
        Err(message) => {
            let _ = message.print();
            return ExitCode::from(u8::try_from(message.exit_code()).unwrap_or(2));
        }
    };
    let database = cli.command.database().map(Path::to_owned);
    let knows = match cli.command {
        Command::Repair(_) => Known::Cure,
        Command::Verify(_) => Known::Damage,
        _ => Known::Nothing,
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        // whoever read the output has seen enough, as with `| head`
        Err(Failure::OutputClosed) => ExitCode::SUCCESS,
        Err(Failure::Usage(reason)) => {
            report(&format!("{reason}\n\nFor more information, try '--help'."));
            ExitCode::from(2)
        }
        Err(Failure::Failed(reason)) => {
            report(&printable(&reason));
            ExitCode::FAILURE
        }
        Err(Failure::Damaged(reason)) => {
            report(&printable(&damage(&reason, database.as_deref(), knows)));
            ExitCode::FAILURE
        }
    }
}

/// What is known of a damaged file already, so that no command advises what it does itself.
#[derive(Clone, Copy)]
enum Known {
    Nothing,
    Damage,
    Cure,
}

/// What is damaged, and what can be done.
fn damage(reason: &str, database: Option<&Path>, knows: Known) -> String {
    let Some(path) = database.map(Path::display) else { return reason.to_owned() };
    let cure = format!("`portolan repair {path} NEW` saves what is whole");
    match knows {
        Known::Nothing => {
            format!("{path}: {reason}; `portolan verify {path}` lists what is damaged, {cure}")
        }
        Known::Damage => format!("{path}: {reason}; {cure}"),
        Known::Cure => format!("{path}: {reason}"),
    }
}

/// Writes to standard error; that it may be closed is no reason to panic.
fn report(message: &str) {
    let _ = writeln!(std::io::stderr(), "error: {message}");
}

fn run(cli: Cli) -> Result<()> {
    let out = Output::new(cli.json);
    match cli.command {
        Command::Create(args) => create::run(&args, &out),
        Command::Ingest(args) => ingest::run(&args, &out),
        Command::EmbedPending(args) => embed_pending::run(&args, &out),
        Command::IndexText(args) => index_text::run(&args, &out),
        Command::IndexField(args) => index_field::run(&args, &out),
        Command::Search(args) => search::run(&args, &out),
        Command::Ask(args) => ask::run(&args, &out),
        Command::Agent(args) => agent::run(&args, &out),
        Command::Eval(args) => eval::run(&args, &out),
        Command::Info(args) => inspect::info(&args, &out),
        Command::Verify(args) => inspect::verify(&args, &out),
        Command::Repair(args) => repair::run(&args, &out),
        Command::Compact(args) => inspect::compact(&args, &out),
        Command::BenchAnn(args) => bench_ann::run(&args, &out),
        Command::BenchChurn(args) => bench_churn::run(&args, &out),
        Command::BenchOpen(args) => bench_open::run(&args, &out),
        Command::BenchGrowth(args) => bench_growth::run(&args, &out),
        Command::BenchFilter(args) => bench_filter::run(&args, &out),
        Command::Nim(args) => nim_doctor::run(&args, &out),
        Command::GenerateVectors(args) => generate::run(&args, &out),
    }
}

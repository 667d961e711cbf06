//! `sluice`: the command line. Wiring only; every decision is made in the crates below it.

mod admin;
mod apply;
mod argument;
mod audit;
#[cfg(test)]
mod canned;
mod change;
mod check;
mod cli;
mod client;
mod completions;
mod config;
mod control;
mod data;
mod demo;
mod diff;
mod document;
mod drift;
mod events;
mod explain;
mod export;
mod force;
mod freeze;
mod get;
mod history;
mod logging;
mod moment;
mod open_files;
mod overrides;
mod plan;
mod proxy;
mod rollback;
mod run;
mod serve;
mod shift;
mod show;
mod status;
mod terminal;
mod token;
mod upgrade;
mod value;
mod wait;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command, Exit};

/// The system's allocator keeps what a burst of connections took, and its threads wait for each other.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse_from(cli::arguments(std::env::args_os()));
    match dispatch(cli.command, cli.color) {
        Ok(exit) => exit.into(),
        Err(error) => fail(&error, cli.color).into(),
    }
}

fn dispatch(command: Command, color: terminal::Color) -> anyhow::Result<Exit> {
    match command {
        Command::Run(args) => run::run(&args, color),
        Command::Control(args) => control::run(&args, color),
        Command::Apply(args) => apply::run(&args, color),
        Command::Plan(args) => plan::run(&args, color),
        Command::Diff(args) => diff::run(&args, color),
        Command::History(args) => history::run(&args, color),
        Command::Rollback(args) => rollback::run(&args, color),
        Command::Export(args) => export::run(&args, color),
        Command::Drift(args) => drift::run(&args, color),
        Command::Shift(args) => shift::run(&args, color),
        Command::Freeze(args) => freeze::run(&args, color),
        Command::Unfreeze(args) => freeze::lift(&args, color),
        Command::Endpoint { command } => force::endpoint(&command, color),
        Command::Breaker { command } => force::breaker(&command, color),
        Command::Get { command } => get::run(&command, color),
        Command::Status(args) => status::run(&args, color),
        Command::Events(args) => events::run(&args, color),
        Command::Audit(args) => audit::run(&args, color),
        Command::Token(args) => token::run(&args, color),
        Command::Upgrade(args) => upgrade::run(&args, color),
        Command::Proxy(args) => proxy::run(*args, color),
        Command::Check(args) => check::run(&args, color),
        Command::Config { command } => config::run(&command, color),
        Command::Explain(args) => explain::run(&args, color),
        Command::Demo(args) => demo::run(&args, color),
        Command::Completions(args) => completions::run(&args),
    }
}

/// Tells an error on standard error. A reader that went away (`sluice explain ... | head`) is none.
fn fail(error: &anyhow::Error, color: terminal::Color) -> Exit {
    let gone = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
    };
    if error.chain().any(gone) {
        return Exit::Done;
    }
    if let Some(failure) = error.downcast_ref::<client::Failure>() {
        return failure.show(color);
    }
    let word = color.stderr().tone(terminal::Tone::Bad, "error");
    terminal::warn(&format!("{word}: {error:#}"));
    Exit::Refused
}

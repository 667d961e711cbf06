//! `sluice`: the command line. Wiring only; every decision is made in the crates below it.

mod check;
mod cli;
mod completions;
mod config;
mod demo;
mod document;
mod explain;
mod logging;
mod open_files;
mod proxy;
mod run;
mod serve;
mod terminal;
mod value;

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
    let word = color.stderr().tone(terminal::Tone::Bad, "error");
    terminal::warn(&format!("{word}: {error:#}"));
    Exit::Refused
}

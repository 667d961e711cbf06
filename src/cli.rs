//! What can be typed: the subcommands, the flags that all share, and the exit codes.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::show::LookArgs;
use crate::terminal::Color;
use crate::{
    apply, audit, check, completions, config, control, demo, diff, explain, export, force, freeze, get, history, plan,
    proxy, rollback, run, shift, token, upgrade,
};

/// A reverse proxy that decides, for every request, which region and which version of a service answers it
#[derive(Debug, Parser)]
#[command(name = "sluice", version, arg_required_else_help = true, max_term_width = 100, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// When to colour; NO_COLOR is honoured
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: Color,
}

const EXIT_CODES: &str =
    "Exit codes: 0 done, 1 refused or failed, 2 usage, 4 undecided or timed out, 5 server unreachable.";

/// One subcommand.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the proxy by a document, and follow the document's changes
    Run(run::RunArgs),
    /// Run a proxy that follows a control plane elsewhere, and serves on without it
    Proxy(Box<proxy::ProxyArgs>),
    /// Run the control plane alone, for proxies on other machines
    Control(control::ControlArgs),
    /// Let the process that runs start the program that is installed now, and hand over to it: no request is lost
    Upgrade(upgrade::UpgradeArgs),
    /// Make a document what runs
    Apply(apply::ApplyArgs),
    /// Tell what applying a document would change, and how much traffic would move
    Plan(plan::PlanArgs),
    /// Tell what changed between two revisions
    Diff(diff::DiffArgs),
    /// List every change of every kind, newest first
    History(history::HistoryArgs),
    /// Run an earlier document again
    Rollback(rollback::RollbackArgs),
    /// Print the document with the live weights written in, for version control
    Export(export::ExportArgs),
    /// Tell where what is live is not what the document says
    Drift(LookArgs),
    /// Share a service's new requests among its versions: `sluice shift shop v2=5%`
    Shift(shift::ShiftArgs),
    /// Let automation change nothing for a while: a document's file is not applied
    Freeze(freeze::FreezeArgs),
    /// Lift a freeze
    Unfreeze(freeze::UnfreezeArgs),
    /// Force an endpoint in or out for a while, or release it
    Endpoint {
        #[command(subcommand)]
        command: force::EndpointCommand,
    },
    /// Force a breaker open or closed for a while, or release it
    Breaker {
        #[command(subcommand)]
        command: force::BreakerCommand,
    },
    /// List what there is
    Get {
        #[command(subcommand)]
        command: get::GetCommand,
    },
    /// Tell how the control plane stands, on one screen
    Status(LookArgs),
    /// Follow what happens, until Ctrl-C
    Events(LookArgs),
    /// List what was changed, denied and refused, and by whom
    Audit(audit::AuditArgs),
    /// Draw a token for the control plane
    Token(token::TokenArgs),
    /// Tell whether a document is sound, or all of its problems
    Check(check::CheckArgs),
    /// Show a document as Sluice reads it
    Config {
        #[command(subcommand)]
        command: config::ConfigCommand,
    },
    /// Tell which route, service, region, version and endpoints a request would get, and why
    Explain(explain::ExplainArgs),
    /// See it work: sample origins, the proxy, a gentle load and a region that fails; needs nothing installed
    Demo(demo::DemoArgs),
    /// Print the completions for a shell
    Completions(completions::CompletionsArgs),
}

/// How a result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Table,
    /// One JSON value.
    Json,
    /// One YAML document.
    Yaml,
}

/// The choice of the output's form.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct OutputArg {
    /// The form of the result
    #[arg(long, short, value_enum, value_name = "FORM", default_value = "table")]
    pub(crate) output: Output,
}

/// How the process ends. Most errors of usage end it in the parser, with the code of [`Exit::Misused`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// What was asked for is done.
    Done,
    /// It was refused, or failed.
    Refused,
    /// What was typed means nothing.
    Misused,
    /// It is done as far as it goes, and the nodes have not all followed in the time that was given.
    Undecided,
    /// No control plane answered.
    Unreachable,
}

/// Tells an error of usage that the parser cannot see, in the parser's form.
pub(crate) fn misused(command: &str, words: &str) -> Exit {
    let mut cli = Cli::command();
    cli.build();
    let command = cli.find_subcommand_mut(command).expect("every command is defined");
    let error = command.error(ErrorKind::ValueValidation, words);
    // If standard error cannot be written to, there is nowhere to say so.
    let _ = error.print();
    Exit::Misused
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Done => Self::SUCCESS,
            Exit::Refused => Self::FAILURE,
            Exit::Misused => Self::from(2),
            Exit::Undecided => Self::from(4),
            Exit::Unreachable => Self::from(5),
        }
    }
}

/// What was typed, with `sluice help --help` as what is meant by it: the parser would take the flag for a command.
pub(crate) fn arguments(typed: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut all: Vec<OsString> = typed.into_iter().collect();
    if all.len() == 3 && all[1] == "help" && (all[2] == "--help" || all[2] == "-h") {
        all.remove(1);
    }
    all
}

/// Words that name the variable which a refused text may come from: the parser names the flag only.
pub(crate) fn source(variable: &str, text: &str) -> String {
    let set = std::env::var_os(variable).is_some_and(|value| value == *text);
    if set { format!(" (the environment has {variable}={text})") } else { String::new() }
}

#[cfg(test)]
mod tests;

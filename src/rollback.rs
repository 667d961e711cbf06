//! `sluice rollback`: an earlier document runs again.

use clap::Args;
use sluice_config::value::RevisionId;
use sluice_control::api::view::RollBack;

use crate::argument::revision;
use crate::change::{ChangeArgs, finish};
use crate::cli::{Exit, OutputArg};
use crate::client::{Call, ServerArgs};
use crate::terminal::Color;
use crate::wait::WaitArgs;

/// Back to what.
#[derive(Debug, Args)]
pub(crate) struct RollbackArgs {
    /// The revision whose document is to run again; `sluice history` lists them
    #[arg(value_name = "N", value_parser = revision)]
    to: RevisionId,
    /// Restore its weights too; else those that are live stay
    #[arg(long)]
    weights: bool,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    output: OutputArg,
    #[command(flatten)]
    server: ServerArgs,
}

/// Rolls back, and tells what it did.
///
/// # Errors
/// Nobody is reached, or it is refused.
pub(crate) fn run(args: &RollbackArgs, color: Color) -> anyhow::Result<Exit> {
    let client = args.server.client(args.output.output, color)?;
    let order = RollBack { to: args.to, weights: args.weights, reason: args.change.reason.clone() };
    let answer = client.call(&Call::post("/v1/rollback").json(&order).expecting(args.change.if_revision))?;
    finish(&client, &answer, &args.wait)
}

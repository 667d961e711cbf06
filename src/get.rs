//! `sluice get`: what there is.

mod endpoints;
mod nodes;
mod overrides;
mod services;

use clap::Subcommand;

use crate::cli::Exit;
use crate::client::Call;
use crate::history::{self, HistoryArgs};
use crate::moment::now;
use crate::show::{LookArgs, show};
use crate::terminal::Color;

/// What to list.
#[derive(Debug, Subcommand)]
pub(crate) enum GetCommand {
    /// Services: their versions, shares, owners and health
    Services(LookArgs),
    /// Nodes: what each runs and why it does not run what is wanted
    Nodes(LookArgs),
    /// Endpoints as a proxy sees them: health, breakers, requests, and why one is not chosen
    Endpoints(endpoints::EndpointsArgs),
    /// Overrides that are laid, and when they end
    Overrides(LookArgs),
    /// Revisions, as `sluice history`
    Revisions(HistoryArgs),
}

/// Lists them.
///
/// # Errors
/// Nobody is reached, or it is refused.
pub(crate) fn run(command: &GetCommand, color: Color) -> anyhow::Result<Exit> {
    let now = now();
    match command {
        GetCommand::Services(look) => {
            show(&look.client(color)?, &Call::get("/v1/services"), |all, paint| services::table(all, now).lines(paint))
        }
        GetCommand::Nodes(look) => {
            show(&look.client(color)?, &Call::get("/v1/nodes"), |all, paint| nodes::lines(all, now, paint))
        }
        GetCommand::Endpoints(args) => endpoints::run(args, color),
        GetCommand::Overrides(look) => {
            show(&look.client(color)?, &Call::get("/v1/overrides"), |all, paint| overrides::lines(all, now, paint))
        }
        GetCommand::Revisions(args) => history::run(args, color),
    }
}

//! `sluice diff`: what changed between two revisions.

use anyhow::Context;
use clap::Args;
use sluice_config::value::RevisionId;
use sluice_control::api::view::{Difference, Status};

use crate::argument::revision;
use crate::cli::Exit;
use crate::client::{Call, Client};
use crate::show::{LookArgs, show};
use crate::terminal::Color;

/// Which revisions.
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// One revision: what it changed. Two: what changed from the first to the second [default: what the newest changed]
    #[arg(value_name = "N", value_parser = revision, num_args = 0..=2)]
    revisions: Vec<RevisionId>,
    #[command(flatten)]
    look: LookArgs,
}

/// Tells what changed.
///
/// # Errors
/// Nobody is reached, or there is no such revision.
pub(crate) fn run(args: &DiffArgs, color: Color) -> anyhow::Result<Exit> {
    let client = args.look.client(color)?;
    let (from, to) = match args.revisions[..] {
        [from, to, ..] => (Some(from), to),
        [to] => (None, to),
        [] => (None, head(&client)?),
    };
    let call = Call::get(format!("/v1/revisions/{to}/diff")).query("from", from);
    show(&client, &call, |difference: &Difference, _| lines(difference))
}

fn head(client: &Client) -> anyhow::Result<RevisionId> {
    let status: Status = client.call(&Call::get("/v1/status"))?.read()?;
    let head = status.head.context("there is no revision yet; apply a document first: sluice apply FILE")?;
    Ok(head.id)
}

fn lines(difference: &Difference) -> Vec<String> {
    let Difference { from, to, changes } = difference;
    let first = match changes.len() {
        0 => format!("revision {to} behaves as {from} does"),
        1 => format!("1 change from revision {from} to {to}"),
        count => format!("{count} changes from revision {from} to {to}"),
    };
    std::iter::once(first).chain(changes.iter().map(|change| format!("  {change}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_change_is_told_too() {
        let difference = |changes: &[&str]| Difference {
            from: RevisionId(3),
            to: RevisionId(5),
            changes: changes.iter().map(ToString::to_string).collect(),
        };
        assert_eq!(lines(&difference(&[])), ["revision 5 behaves as 3 does"]);
        assert_eq!(lines(&difference(&["x"])), ["1 change from revision 3 to 5", "  x"]);
        assert_eq!(lines(&difference(&["x", "y"]))[0], "2 changes from revision 3 to 5");
    }
}

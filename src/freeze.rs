//! `sluice freeze` and `sluice unfreeze`: automation changes nothing for a while.

use std::time::Duration;

use anyhow::bail;
use clap::Args;
use sluice_config::overlay::{Action, Reason};
use sluice_config::value::RevisionId;
use sluice_control::api::view::{Lasts, OverrideRequest, Overrides};

use crate::argument::{lasting, reason, revision};
use crate::change::{ChangeArgs, finish};
use crate::cli::{Exit, OutputArg};
use crate::client::{Call, Client, ServerArgs};
use crate::terminal::Color;
use crate::wait::WaitArgs;

/// For how long, and why.
#[derive(Debug, Args)]
pub(crate) struct FreezeArgs {
    /// How long: at most 72h
    #[arg(long = "for", value_name = "TIME", value_parser = lasting)]
    lasts: Duration,
    /// Why, in one line: whoever finds it at night must know
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    reason: Reason,
    /// Only if this revision is still the newest one
    #[arg(long, value_name = "N", value_parser = revision)]
    if_revision: Option<RevisionId>,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    output: OutputArg,
    #[command(flatten)]
    server: ServerArgs,
}

/// Which freeze.
#[derive(Debug, Args)]
pub(crate) struct UnfreezeArgs {
    /// The number of the freeze: the revision that laid it [default: the only one there is]
    #[arg(value_name = "N", value_parser = revision)]
    id: Option<RevisionId>,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    output: OutputArg,
    #[command(flatten)]
    server: ServerArgs,
}

/// Freezes, and tells what it did.
///
/// # Errors
/// Nobody is reached, or it is refused.
pub(crate) fn run(args: &FreezeArgs, color: Color) -> anyhow::Result<Exit> {
    let client = args.server.client(args.output.output, color)?;
    let order = OverrideRequest { action: Action::Freeze, lasts: Lasts(args.lasts), reason: args.reason.clone() };
    let answer = client.call(&Call::post("/v1/overrides").json(&order).expecting(args.if_revision))?;
    finish(&client, &answer, &args.wait)
}

/// Lifts a freeze, and tells what it did.
///
/// # Errors
/// There is none, or there are several and none was named; nobody is reached, or it is refused.
pub(crate) fn lift(args: &UnfreezeArgs, color: Color) -> anyhow::Result<Exit> {
    let client = args.server.client(args.output.output, color)?;
    let id = args.id.map_or_else(|| find(&client), Ok)?;
    let call = Call::delete(format!("/v1/overrides/{id}"))
        .query("reason", args.change.reason.as_ref())
        .expecting(args.change.if_revision);
    finish(&client, &client.call(&call)?, &args.wait)
}

fn find(client: &Client) -> anyhow::Result<RevisionId> {
    only(&client.call(&Call::get("/v1/overrides"))?.read()?)
}

fn only(overrides: &Overrides) -> anyhow::Result<RevisionId> {
    let freezes = overrides.overrides.iter().filter(|(_, one)| one.action == Action::Freeze);
    let ids: Vec<u64> = freezes.map(|(id, _)| *id).collect();
    match ids[..] {
        [] => bail!("nothing is frozen; `sluice get overrides` lists what is laid"),
        [id] => Ok(RevisionId(id)),
        [..] => {
            let list: Vec<String> = ids.iter().map(ToString::to_string).collect();
            bail!("there are several freezes: {}; name one: sluice unfreeze {}", list.join(", "), list[0])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canned;

    #[test]
    fn the_only_freeze_needs_no_name() {
        let laid =
            |ids: &[u64]| Overrides { overrides: ids.iter().map(|id| (*id, canned::read(canned::freeze()))).collect() };
        assert_eq!(only(&laid(&[7])).unwrap(), RevisionId(7));
        assert!(only(&laid(&[])).unwrap_err().to_string().contains("nothing is frozen"));
        assert!(only(&laid(&[7, 9])).unwrap_err().to_string().contains("sluice unfreeze 7"));
    }
}

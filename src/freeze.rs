//! `sluice freeze` and `sluice unfreeze`: automation changes nothing for a while.

use clap::Args;
use sluice_config::overlay::Action;
use sluice_config::value::RevisionId;
use sluice_control::api::view::Overrides;
use sluice_control_core::change::Wish;

use crate::argument::revision;
use crate::cli::Exit;
use crate::overrides::{LayArgs, LiftArgs};
use crate::terminal::Color;

/// For how long, and why.
#[derive(Debug, Args)]
pub(crate) struct FreezeArgs {
    #[command(flatten)]
    lay: LayArgs,
}

/// Which freeze.
#[derive(Debug, Args)]
pub(crate) struct UnfreezeArgs {
    /// The number of the freeze: the revision that laid it [default: the only one there is]
    #[arg(value_name = "N", value_parser = revision)]
    id: Option<RevisionId>,
    #[command(flatten)]
    lift: LiftArgs,
}

/// Freezes, and tells what it did.
///
/// # Errors
/// Nobody is reached, or it is refused.
pub(crate) fn run(args: &FreezeArgs, color: Color) -> anyhow::Result<Exit> {
    args.lay.lay(Wish::Freeze, color)
}

/// Lifts a freeze, and tells what it did.
///
/// # Errors
/// There is none, or there are several and none was named; nobody is reached, or it is refused.
pub(crate) fn lift(args: &UnfreezeArgs, color: Color) -> anyhow::Result<Exit> {
    args.lift.lift(args.id, only, color)
}

fn only(overrides: &Overrides) -> anyhow::Result<RevisionId> {
    crate::overrides::only(
        overrides,
        |one| one.action == Action::Freeze,
        || "nothing is frozen; `sluice get overrides` lists what is laid".to_owned(),
        |several| {
            let list: Vec<String> = several.iter().map(|(id, _)| id.to_string()).collect();
            format!("there are several freezes: {}; name one: sluice unfreeze {}", list.join(", "), list[0])
        },
    )
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
        let mut forced = laid(&[7]);
        forced.overrides.insert(8, canned::read(canned::force()));
        assert_eq!(only(&forced).unwrap(), RevisionId(7), "what holds an endpoint is no freeze");
    }
}

//! What commands have in common that lay an override or lift one: for how long, why, and which.

use std::time::Duration;

use clap::Args;
use sluice_config::overlay::{Override, Reason};
use sluice_config::value::RevisionId;
use sluice_control::api::view::{Lasts, OverrideRequest, Overrides};
use sluice_control_core::change::Wish;

use crate::argument::{lasting, reason, revision};
use crate::change::{ChangeArgs, finish};
use crate::cli::{Exit, OutputArg};
use crate::client::{Call, ServerArgs};
use crate::terminal::Color;
use crate::wait::WaitArgs;

/// For how long, and why.
#[derive(Debug, Args)]
pub(crate) struct LayArgs {
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

/// How an override is lifted.
#[derive(Debug, Args)]
pub(crate) struct LiftArgs {
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    output: OutputArg,
    #[command(flatten)]
    server: ServerArgs,
}

impl LayArgs {
    /// Lays it, and tells what that did.
    ///
    /// # Errors
    /// Nobody is reached, or it is refused.
    pub(crate) fn lay(&self, action: Wish, color: Color) -> anyhow::Result<Exit> {
        let client = self.server.client(self.output.output, color)?;
        let order = OverrideRequest { action, lasts: Lasts(self.lasts), reason: self.reason.clone() };
        let answer = client.call(&Call::post("/v1/overrides").json(&order).expecting(self.if_revision))?;
        finish(&client, &answer, &self.wait)
    }
}

impl LiftArgs {
    /// Lifts the override of this number, or the one that is found among those that are laid; tells what that did.
    ///
    /// # Errors
    /// None is found; nobody is reached, or it is refused.
    pub(crate) fn lift(
        &self,
        id: Option<RevisionId>,
        find: impl FnOnce(&Overrides) -> anyhow::Result<RevisionId>,
        color: Color,
    ) -> anyhow::Result<Exit> {
        let client = self.server.client(self.output.output, color)?;
        let id = match id {
            Some(id) => id,
            None => find(&client.call(&Call::get("/v1/overrides"))?.read()?)?,
        };
        let call = Call::delete(format!("/v1/overrides/{id}"))
            .query("reason", self.change.reason.as_ref())
            .expecting(self.change.if_revision);
        finish(&client, &client.call(&call)?, &self.wait)
    }
}

/// The only override that is meant. The words are for none, and for several of them.
///
/// # Errors
/// There is none, or there are several.
pub(crate) fn only(
    overrides: &Overrides,
    is_meant: impl Fn(&Override) -> bool,
    none: impl FnOnce() -> String,
    several: impl FnOnce(&[(RevisionId, &Override)]) -> String,
) -> anyhow::Result<RevisionId> {
    let meant = overrides.overrides.iter().filter(|(_, one)| is_meant(one));
    let meant: Vec<_> = meant.map(|(id, one)| (RevisionId(*id), one)).collect();
    match meant[..] {
        [] => Err(anyhow::Error::msg(none())),
        [(id, _)] => Ok(id),
        [..] => Err(anyhow::Error::msg(several(&meant))),
    }
}

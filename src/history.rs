//! `sluice history`: every change, newest first, or one of them.

use clap::Args;
use sluice_config::Timestamp;
use sluice_config::value::RevisionId;
use sluice_control::api::view::Revisions;
use sluice_control_core::revision::Revision;

use crate::argument::revision;
use crate::cli::Exit;
use crate::client::Call;
use crate::moment::{between, now};
use crate::show::{LookArgs, show};
use crate::terminal::{Color, Table};

/// Which changes.
#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// One change, with all that is known about it [default: the newest ones]
    #[arg(value_name = "N", value_parser = revision, conflicts_with_all = ["limit", "before"])]
    id: Option<RevisionId>,
    /// At most so many
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=500))]
    limit: u16,
    /// Only those before this revision
    #[arg(long, value_name = "N", value_parser = revision)]
    before: Option<RevisionId>,
    #[command(flatten)]
    look: LookArgs,
}

/// Lists changes, or shows one.
///
/// # Errors
/// Nobody is reached, or there is no such revision.
pub(crate) fn run(args: &HistoryArgs, color: Color) -> anyhow::Result<Exit> {
    let client = args.look.client(color)?;
    let now = now();
    if let Some(id) = args.id {
        let call = Call::get(format!("/v1/revisions/{id}"));
        return show(&client, &call, |revision: &Revision, _| one(revision, now));
    }
    let call = Call::get("/v1/revisions").query("limit", Some(args.limit)).query("before", args.before);
    show(&client, &call, |revisions: &Revisions, paint| {
        let mut lines = table(revisions, now).lines(paint);
        lines.extend(revisions.before.map(|id| format!("there are earlier ones: --before {id}")));
        lines
    })
}

fn table(revisions: &Revisions, now: Timestamp) -> Table {
    let mut table = Table::new(&[">REVISION", "KIND", ">AGE", "AUTHOR", "REASON"]);
    for revision in &revisions.revisions {
        let restores = revision.restores.map(|id| format!("back to {id}: ")).unwrap_or_default();
        table.row([
            revision.id.to_string().into(),
            revision.kind.to_string().into(),
            between(revision.at, now).into(),
            revision.author.as_str().into(),
            format!("{restores}{}", revision.reason).into(),
        ]);
    }
    table
}

fn one(revision: &Revision, now: Timestamp) -> Vec<String> {
    let mut lines = vec![
        format!("revision  {} ({})", revision.id, revision.kind),
        format!("made      {} ago, {}, by {}", between(revision.at, now), revision.at, revision.author),
        format!("reason    {}", revision.reason),
        format!("digest    {}", revision.digest),
        format!("document  {}", revision.document),
    ];
    lines.extend(revision.parent.map(|id| format!("after     {id}")));
    lines.extend(revision.restores.map(|id| format!("restores  {id}")));
    lines.extend(revision.parked.map(|digest| format!("parked    the file's text {:.12}", digest.to_string())));
    for (service, weights) in &revision.overlay.weights {
        lines.push(format!("weights   {service} {} ({}, {})", weights.shares, weights.owner, weights.author));
    }
    for (id, one) in &revision.overlay.overrides {
        lines.push(format!("override  {id} {} until {} ({}: {})", one.action, one.expires, one.author, one.reason));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canned;
    use crate::terminal::Paint;

    #[test]
    fn changes_are_told_newest_first() {
        let mut back = canned::revision(17, "document");
        back.restores = Some(RevisionId(12));
        let mut first = canned::revision(16, "document");
        first.at = "2026-11-20T09:00:00Z".parse().unwrap();
        let revisions =
            Revisions { revisions: vec![canned::revision(18, "weights"), back.clone(), first], before: None };
        let mut text = table(&revisions, canned::now()).lines(Paint::NONE).join("\n");
        back.overlay.overrides.insert(RevisionId(9), canned::read(canned::freeze()));
        back.parked = Some(back.digest);
        text += &format!("\n\n{}", one(&back, canned::now()).join("\n"));
        insta::assert_snapshot!(text);
    }
}

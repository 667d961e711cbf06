//! What all commands have in common that change something: why, on top of what, and how long to wait for the nodes.

use clap::Args;
use serde_json::{Value, json};
use sluice_config::overlay::Reason;
use sluice_config::value::RevisionId;
use sluice_control::api::view::{Changed, Difference};

use crate::argument::{reason, revision};
use crate::cli::{Exit, Output};
use crate::client::{Answer, Call, Client};
use crate::terminal::print;
use crate::value::render;
use crate::wait::{WaitArgs, Waited};

/// What a change says beside what it changes.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ChangeArgs {
    /// Why, in one line; kept with the revision and in the audit log
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub(crate) reason: Option<Reason>,
    /// Only if this revision is still the newest one
    #[arg(long, value_name = "N", value_parser = revision)]
    pub(crate) if_revision: Option<RevisionId>,
}

/// Tells what a change did, and waits for the nodes if that was asked for.
///
/// # Errors
/// The answer is not understood, nobody is reached any more, or nobody reads what is told.
pub(crate) fn finish(client: &Client, answer: &Answer, wait: &WaitArgs) -> anyhow::Result<Exit> {
    let changed: Changed = answer.read()?;
    let difference = difference(client, &changed);
    if client.form == Output::Table {
        print(lines(&changed, difference.as_ref()))?;
    }
    let waited = wait.wait(client, changed.revision.id)?;
    match (client.form, &waited) {
        (Output::Table, Some(waited)) => print(waited.lines())?,
        (Output::Table, None) => {}
        (form, _) => print([render(&told(answer.value()?, difference, waited.as_ref()), form)?])?,
    }
    Ok(waited.map_or(Exit::Done, |waited| waited.exit))
}

/// What the change did, in words. It was made, so that they cannot be had is no failure.
fn difference(client: &Client, changed: &Changed) -> Option<Difference> {
    changed.revision.parent.filter(|_| changed.changed)?;
    let call = Call::get(format!("/v1/revisions/{}/diff", changed.revision.id));
    client.call(&call).ok()?.read().ok()
}

fn lines(changed: &Changed, difference: Option<&Difference>) -> Vec<String> {
    let revision = &changed.revision;
    if !changed.changed {
        let why = changed.note.clone().unwrap_or_else(|| format!("revision {} is as it is wanted", revision.id));
        return vec![format!("nothing changed: {why}")];
    }
    let restores = revision.restores.map(|id| format!(", back to {id}")).unwrap_or_default();
    let head =
        format!("revision {}: {}{restores}, by {}: {}", revision.id, revision.kind, revision.author, revision.reason);
    let changes = difference.iter().flat_map(|difference| &difference.changes).map(|change| format!("  {change}"));
    let caution = changed.note.iter().map(|note| format!("warning: {note}"));
    std::iter::once(head).chain(changes).chain(caution).collect()
}

fn told(mut answer: Value, difference: Option<Difference>, waited: Option<&Waited>) -> Value {
    if let Some(difference) = difference {
        answer["changes"] = json!(difference.changes);
    }
    if let Some(waited) = waited {
        answer["progress"] = waited.told.clone();
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canned;

    #[test]
    fn a_change_is_told_with_what_it_did() {
        let mut changed = Changed { changed: true, revision: canned::revision(18, "weights"), note: None };
        let changes = vec!["version shop/v1: weight 100 -> 95".to_owned(), "version shop/v2: weight 0 -> 5".to_owned()];
        let difference = Difference { from: RevisionId(17), to: RevisionId(18), changes };
        let mut text = lines(&changed, Some(&difference)).join("\n");
        changed.note = Some("no endpoint of shop/v1 is left".to_owned());
        text += &format!("\n\n{}", lines(&changed, None).join("\n"));
        changed.note = None;
        changed.revision.restores = Some(RevisionId(12));
        text += &format!("\n\n{}", lines(&changed, None).join("\n"));
        changed.changed = false;
        text += &format!("\n\n{}", lines(&changed, None).join("\n"));
        insta::assert_snapshot!(text);
    }
}

//! `sluice apply`: a document becomes what runs.

use std::path::PathBuf;

use clap::Args;
use sluice_config::value::RevisionId;
use sluice_control::api::view::Changed;

use crate::change::{ChangeArgs, finish};
use crate::cli::{Exit, Output, OutputArg};
use crate::client::{Answer, Call, Client, ServerArgs};
use crate::document::{Sent, sent};
use crate::terminal::{Color, print};
use crate::value::render;
use crate::wait::WaitArgs;

/// Which document, and on which terms.
#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// The document, YAML or JSON
    file: PathBuf,
    /// Let weights that an operator shifted become the document's again
    #[arg(long)]
    take_weights: bool,
    /// Tell whether it would be done, and do nothing
    #[arg(long, conflicts_with = "wait")]
    dry_run: bool,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
    #[command(flatten)]
    output: OutputArg,
    #[command(flatten)]
    server: ServerArgs,
}

/// Proves the document here, sends it, and tells what it did.
///
/// # Errors
/// The file cannot be read, nobody is reached, or it is refused.
pub(crate) fn run(args: &ApplyArgs, color: Color) -> anyhow::Result<Exit> {
    let form = args.output.output;
    let document = match sent(&args.file)? {
        Ok(document) => document,
        Err(unsound) => return unsound.tell(form, color),
    };
    let client = args.server.client(form, color)?;
    let answer =
        client.call(&call(args, &document)).map_err(|failure| failure.about(&document.name, &document.text))?;
    if args.dry_run { rehearsed(&client, &answer, &document) } else { finish(&client, &answer, &args.wait) }
}

fn call(args: &ApplyArgs, document: &Sent) -> Call {
    Call::put("/v1/document")
        .flag("take_weights", args.take_weights)
        .flag("dry_run", args.dry_run)
        .query("reason", args.change.reason.as_ref())
        .expecting(args.change.if_revision)
        .document(document.text.clone())
}

fn rehearsed(client: &Client, answer: &Answer, document: &Sent) -> anyhow::Result<Exit> {
    match client.form {
        Output::Table => {
            let changed: Changed = answer.read()?;
            print([rehearsal(changed.changed, changed.revision.id, &document.name)])?;
        }
        form @ (Output::Json | Output::Yaml) => print([render(&answer.value()?, form)?])?,
    }
    Ok(Exit::Done)
}

fn rehearsal(changes: bool, head: RevisionId, name: &str) -> String {
    if changes {
        format!("{name} would follow revision {head}; `sluice plan` tells what it would change")
    } else {
        format!("{name} would change nothing: revision {head} is as it is wanted")
    }
}

//! `sluice check`: whether a document is sound.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};
use sluice_config::Validated;

use crate::cli::{Exit, Output, OutputArg};
use crate::document::{Document, Unsound, open};
use crate::terminal::{Color, print};
use crate::value;

/// Which document.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The document, YAML or JSON
    file: PathBuf,
    #[command(flatten)]
    output: OutputArg,
}

/// Tells that the document is sound, or all of its problems.
///
/// # Errors
/// The file cannot be read, or nobody reads the result.
pub(crate) fn run(args: &CheckArgs, color: Color) -> anyhow::Result<Exit> {
    let opened = open(&args.file)?;
    match args.output.output {
        Output::Table => match &opened {
            Ok(document) => print([summary(document)])?,
            Err(unsound) => unsound.show(color),
        },
        form @ (Output::Json | Output::Yaml) => print([value::render(&verdict(&opened), form)?])?,
    }
    Ok(if opened.is_ok() { Exit::Done } else { Exit::Refused })
}

fn summary(document: &Document) -> String {
    let Validated { listeners, regions, services, routes, digest, .. } = &document.source.validated;
    let endpoints: usize =
        services.iter().flat_map(|s| &s.versions).flat_map(|v| &v.pools).map(|p| p.endpoints.len()).sum();
    format!(
        "{} is sound: {}, {}, {}, {}, {}; digest {:.12}",
        document.path.display(),
        count(listeners.len(), "listener"),
        count(regions.len(), "region"),
        count(services.len(), "service"),
        count(endpoints, "endpoint"),
        count(routes.len(), "route"),
        digest.to_string(),
    )
}

fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

fn verdict(opened: &Result<Document, Unsound>) -> Value {
    match opened {
        Ok(document) => json!({ "sound": true, "digest": document.source.validated.digest, "problems": [] }),
        Err(unsound) => json!({
            "sound": false,
            "problems": unsound.problems.problems,
            "omitted": unsound.problems.omitted,
        }),
    }
}

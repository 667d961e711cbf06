//! `sluice check`: whether a document is sound.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};
use sluice_config::Validated;

use crate::cli::{Exit, Output, OutputArg};
use crate::document::{Document, open_with_files};
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
    let form = args.output.output;
    let document = match open_with_files(&args.file)? {
        Ok(document) => document,
        Err(unsound) => return unsound.tell(form, color),
    };
    match form {
        Output::Table => print([summary(&document)])?,
        Output::Json | Output::Yaml => print([value::render(&verdict(&document), form)?])?,
    }
    Ok(Exit::Done)
}

fn summary(document: &Document) -> String {
    let Validated { listeners, regions, services, routes, digest, .. } = &document.source.validated;
    let pools = || services.iter().flat_map(|service| &service.versions).flat_map(|version| &version.pools);
    let endpoints: usize = pools().map(|pool| pool.endpoints.len()).sum();
    let sources: usize = pools().map(|pool| pool.sources.len()).sum();
    let found = if sources > 0 { format!(" and those of {}", count(sources, "source")) } else { String::new() };
    format!(
        "{} is sound: {}, {}, {}, {}{found}, {}; digest {:.12}",
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

fn verdict(document: &Document) -> Value {
    json!({ "sound": true, "digest": document.source.validated.digest, "problems": [] })
}

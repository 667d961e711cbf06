//! `sluice export`: the document with the live weights written in, for version control.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use crate::cli::{Exit, Output};
use crate::client::{Call, ServerArgs};
use crate::terminal::{Color, print};

/// Where to.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Write it to this file [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    server: ServerArgs,
}

/// Prints or writes the document.
///
/// # Errors
/// Nobody is reached, or the file cannot be written.
pub(crate) fn run(args: &ExportArgs, color: Color) -> anyhow::Result<Exit> {
    let text = args.server.client(Output::Table, color)?.call(&Call::get("/v1/export"))?.text();
    match &args.out {
        Some(path) => std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?,
        None => print([text.strip_suffix('\n').unwrap_or(&text)])?,
    }
    Ok(Exit::Done)
}

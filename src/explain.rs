//! `sluice explain`: what would become of a request, and why. Every rule is asked of the core; none is told here again.

mod outcome;
mod request;
mod retries;
mod show;

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;

use crate::cli::{Exit, Output, OutputArg, misused};
use crate::document::open;
use crate::terminal::{Color, print};
use crate::value;
use outcome::Explanation;
use request::{Header, Typed};

/// Which request.
#[derive(Debug, Args)]
#[command(override_usage = "sluice explain [OPTIONS] <FILE> [METHOD] <URL>")]
pub(crate) struct ExplainArgs {
    /// The document, YAML or JSON
    file: PathBuf,
    /// The method (default GET) and the URL, such as `http://shop.example.com/api?page=2`, or only its path
    #[arg(value_name = "URL", num_args = 1..=2, required = true)]
    pub(crate) request: Vec<String>,
    /// A header of the request; may be given more than once
    #[arg(long, short = 'H', value_name = "NAME: VALUE")]
    pub(crate) header: Vec<Header>,
    /// The address of the client, for splits that are sticky by it
    #[arg(long, value_name = "IP")]
    client: Option<IpAddr>,
    #[command(flatten)]
    output: OutputArg,
}

/// Explains one request offline: every endpoint counts as verified.
///
/// # Errors
/// The file cannot be read, or nobody reads the result.
pub(crate) fn run(args: &ExplainArgs, color: Color) -> anyhow::Result<Exit> {
    let typed = match Typed::read(&args.request, &args.header, args.client) {
        Ok(typed) => typed,
        Err(words) => return Ok(misused("explain", &words)),
    };
    let document = match open(&args.file)? {
        Ok(document) => document.source.validated,
        Err(unsound) => {
            unsound.show(color);
            return Ok(Exit::Refused);
        }
    };
    let explanation = Explanation::of(&document, &typed)?;
    match args.output.output {
        Output::Table => print(show::lines(&explanation, color.stdout()))?,
        form @ (Output::Json | Output::Yaml) => print([value::render(&serde_json::to_value(&explanation)?, form)?])?,
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests;

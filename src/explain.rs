//! `sluice explain`: what would become of a request, and why. Every rule is asked of the core; none is told here again.

mod outcome;
mod request;
mod retries;
mod show;

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;
use sluice_config::Validated;
use sluice_config::validated::Listener;

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
    /// The listener that the client comes to, for its limits and its policy of paths; default: the first of the document
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
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
    let listener = match listener(&document, args.listener.as_deref()) {
        Ok(listener) => listener,
        Err(words) => return Ok(misused("explain", &words)),
    };
    let explanation = Explanation::of(&document, listener, &typed)?;
    match args.output.output {
        Output::Table => print(show::lines(&explanation, color.stdout()))?,
        form @ (Output::Json | Output::Yaml) => print([value::render(&serde_json::to_value(&explanation)?, form)?])?,
    }
    Ok(Exit::Done)
}

fn listener<'a>(document: &'a Validated, name: Option<&str>) -> Result<&'a Listener, String> {
    let all = &document.listeners;
    match name {
        None => Ok(all.first().expect("a proven document has a listener")),
        Some(name) => all.iter().find(|listener| listener.name.as_str() == name).ok_or_else(|| {
            let names: Vec<_> = all.iter().map(|listener| listener.name.as_str()).collect();
            format!("the document has no listener `{name}`; it has {}", names.join(", "))
        }),
    }
}

#[cfg(test)]
mod tests;

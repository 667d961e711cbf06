//! `sluice explain`: what would become of a request, and why: by a document alone, or by the proxy that runs.

mod show;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use anyhow::Context;
use clap::Args;
use sluice_proxy::explain::{Explanation, Header, Question, Typed, listener};

use crate::cli::{Exit, Output, OutputArg, misused};
use crate::client::{STATUS, StatusListener};
use crate::document::open;
use crate::run::status;
use crate::terminal::{Color, print};
use crate::value;

/// Which request.
#[derive(Debug, Args)]
#[command(
    override_usage = "sluice explain [OPTIONS] <FILE> [METHOD] <URL>\n       sluice explain [OPTIONS] --live [METHOD] <URL>"
)]
pub(crate) struct ExplainArgs {
    /// The document, YAML or JSON (none with --live); the method (default GET); and the URL, such as
    /// `http://shop.example.com/api?page=2`, or only its path
    #[arg(value_name = "FILE METHOD URL", num_args = 1..=3, required = true)]
    words: Vec<String>,
    /// A header of the request; may be given more than once
    #[arg(long, short = 'H', value_name = "NAME: VALUE")]
    pub(crate) header: Vec<Header>,
    /// The address of the client, for splits that are sticky by it
    #[arg(long, value_name = "IP")]
    client: Option<IpAddr>,
    /// The listener that the client comes to, for its limits and its policy of paths; default: the first of the document
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// Ask the proxy that runs, with its endpoints as they are now
    #[arg(long)]
    live: bool,
    /// The status listener of the proxy to ask; goes with --live [default: 127.0.0.1:9901]
    #[arg(long, value_name = "ADDRESS", value_parser = status, requires = "live")]
    status: Option<SocketAddr>,
    #[command(flatten)]
    output: OutputArg,
}

impl ExplainArgs {
    /// The document, if one is looked at, and the words of the request.
    pub(crate) fn split(&self) -> (Option<&Path>, &[String]) {
        match (self.live, &self.words[..]) {
            (true, words) => (None, words),
            (false, [file, words @ ..]) => (Some(Path::new(file)), words),
            (false, []) => (None, &[]),
        }
    }
}

/// Explains one request: offline every endpoint counts as verified, live it is as it stands.
///
/// # Errors
/// The file cannot be read, no proxy answers, or nobody reads the result.
pub(crate) fn run(args: &ExplainArgs, color: Color) -> anyhow::Result<Exit> {
    let (file, words) = args.split();
    let typed = match Typed::read(words, &args.header, args.client) {
        Ok(typed) => typed,
        Err(words) => return Ok(misused("explain", &words)),
    };
    let explanation = match file {
        None => live(args, words)?,
        Some(file) => match offline(args, file, &typed, color)? {
            Ok(explanation) => explanation,
            Err(exit) => return Ok(exit),
        },
    };
    match args.output.output {
        Output::Table => print(show::lines(&explanation, color.stdout()))?,
        form @ (Output::Json | Output::Yaml) => print([value::render(&serde_json::to_value(&explanation)?, form)?])?,
    }
    Ok(Exit::Done)
}

/// By the proxy that runs.
fn live(args: &ExplainArgs, words: &[String]) -> anyhow::Result<Explanation> {
    let (headers, listener) = (args.header.clone(), args.listener.clone());
    let question = Question { words: words.to_vec(), headers, client: args.client, listener };
    let answer = StatusListener(args.status.unwrap_or(STATUS)).get(&format!("/api/explain?{}", question.write()))?;
    serde_json::from_value(answer).context("the answer is not understood; is the proxy's version another?")
}

/// By a document. What is wrong with it was told where the inner result is how to end.
fn offline(
    args: &ExplainArgs,
    file: &Path,
    typed: &Typed<'_>,
    color: Color,
) -> anyhow::Result<Result<Explanation, Exit>> {
    let document = match open(file)? {
        Ok(document) => document.source.validated,
        Err(unsound) => {
            unsound.show(color);
            return Ok(Err(Exit::Refused));
        }
    };
    match listener(&document, args.listener.as_deref()) {
        Ok(listener) => Ok(Ok(Explanation::offline(&document, listener, typed)?)),
        Err(words) => Ok(Err(misused("explain", &words))),
    }
}

#[cfg(test)]
mod tests;

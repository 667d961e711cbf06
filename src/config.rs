//! `sluice config`: a document as Sluice reads it.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use sluice_config::Environment;

use crate::cli::{Exit, Output};
use crate::document::{Document, open};
use crate::terminal::{Color, print};
use crate::value;

/// What to do with a document.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print a document with its environment filled in
    Show(ShowArgs),
}

/// Which document, and how.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The document, YAML or JSON
    file: PathBuf,
    /// Print every setting, with its default where the document has none
    #[arg(long)]
    effective: bool,
    /// The form of the result
    #[arg(long, short, value_enum, value_name = "FORM", default_value = "yaml")]
    output: Form,
}

/// How a document is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// One JSON value.
    Json,
    /// One YAML document.
    Yaml,
}

/// Runs the subcommand.
///
/// # Errors
/// The file cannot be read, or nobody reads the result.
pub(crate) fn run(command: &ConfigCommand, color: Color) -> anyhow::Result<Exit> {
    let ConfigCommand::Show(args) = command;
    match open(&args.file)? {
        Ok(document) => {
            print([text(&document, args)?])?;
            Ok(Exit::Done)
        }
        Err(unsound) => {
            unsound.show(color);
            Ok(Exit::Refused)
        }
    }
}

fn text(document: &Document, args: &ShowArgs) -> anyhow::Result<String> {
    let json = match (args.effective, args.output) {
        (true, Form::Yaml) => return Ok(effective(document)),
        // The effective document is a document, and reading one gives it as JSON.
        (true, Form::Json) => sluice_config::read(&effective(document), &Environment::empty())?.json,
        (false, _) => document.source.json.clone(),
    };
    let form = match args.output {
        Form::Json => Output::Json,
        Form::Yaml => Output::Yaml,
    };
    value::render(&serde_json::from_str(&json)?, form)
}

fn effective(document: &Document) -> String {
    sluice_config::effective_yaml(&document.source.validated).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use sluice_config::read;

    use super::*;

    const SHORT: &str = "\
listeners: [{ name: web, address: \"127.0.0.1:8080\" }]
services: [{ name: shop, endpoints: [\"${HOST}:9000\"] }]
routes: [{ service: shop }]
";

    fn shown(effective: bool, output: Form) -> String {
        let environment: Environment = [("HOST", "127.0.0.1")].into_iter().collect();
        let source = read(SHORT, &environment).unwrap();
        let document = Document { path: PathBuf::new(), source };
        text(&document, &ShowArgs { file: PathBuf::new(), effective, output }).unwrap()
    }

    #[test]
    fn every_form_is_the_same_document() {
        let digest = |text: &str| read(text, &Environment::empty()).unwrap().validated.digest;
        let mut all = String::new();
        for (effective, form) in [(false, Form::Yaml), (false, Form::Json), (true, Form::Yaml), (true, Form::Json)] {
            let text = shown(effective, form);
            assert_eq!(digest(&text), digest(&SHORT.replace("${HOST}", "127.0.0.1")), "{text}");
            writeln!(all, "--- effective: {effective}, {form:?}\n{text}").unwrap();
        }
        insta::assert_snapshot!(all);
    }
}

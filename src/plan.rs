//! `sluice plan`: what applying a document would change, and how much traffic would move.

use std::path::PathBuf;

use clap::Args;
use sluice_control_core::plan::Plan;

use crate::cli::{Exit, OutputArg};
use crate::client::{Call, ServerArgs};
use crate::document::sent;
use crate::show::tell;
use crate::terminal::Color;

/// Which document.
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// The document, YAML or JSON
    file: PathBuf,
    /// As if weights that an operator shifted became the document's again
    #[arg(long)]
    take_weights: bool,
    #[command(flatten)]
    output: OutputArg,
    #[command(flatten)]
    server: ServerArgs,
}

/// Proves the document here, and tells what it would do.
///
/// # Errors
/// The file cannot be read, nobody is reached, or the document would be refused.
pub(crate) fn run(args: &PlanArgs, color: Color) -> anyhow::Result<Exit> {
    let form = args.output.output;
    let document = match sent(&args.file)? {
        Ok(document) => document,
        Err(unsound) => return unsound.tell(form, color),
    };
    let client = args.server.client(form, color)?;
    let call = Call::post("/v1/plan").flag("take_weights", args.take_weights).document(document.text.clone());
    let answer = client.call(&call).map_err(|failure| failure.about(&document.name, &document.text))?;
    tell(&client, &answer, |plan: &Plan, _| lines(plan))
}

fn lines(plan: &Plan) -> Vec<String> {
    plan.to_string().lines().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::canned;

    #[test]
    fn a_plan_is_told_in_the_words_of_operators() {
        let part = |version: &str, share: f64| json!({ "region": "us-east-1", "version": version, "share": share });
        let plan: Plan = canned::read(json!({
            "changes": [
                { "noun": "route", "name": "shop.test/api", "change": "added" },
                { "noun": "version", "name": "shop/v2", "change": "changed", "field": "weight", "from": "0", "to": "5" },
            ],
            "moves": [{ "service": "shop", "from": [part("v1", 1.0)], "to": [part("v1", 0.95), part("v2", 0.05)],
                        "moved": 0.05, "per_second": 61.7, "routes": 2 }],
        }));
        insta::assert_snapshot!(lines(&plan).join("\n"));
        let none: Plan = canned::read(json!({ "changes": [], "moves": [] }));
        assert_eq!(lines(&none), ["nothing changes"]);
    }
}

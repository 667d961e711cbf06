//! `sluice token`: a new token, and the line that lets it in.

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde_json::json;
use sluice_config::name::NodeName;
use sluice_config::value::Digest;
use sluice_control_core::access::Role;

use crate::cli::{Exit, Output, OutputArg};
use crate::terminal::{Color, print};
use crate::value::render;

/// For whom.
#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    /// Who will show it: a person, a machine or a node. The audit log tells it
    #[arg(value_parser = name)]
    name: NodeName,
    /// What it may do: viewer reads, operator also shifts and overrides, admin also applies and rolls back, node follows as
    /// a proxy
    #[arg(value_parser = roles())]
    role: Role,
    #[command(flatten)]
    output: OutputArg,
}

fn roles() -> impl TypedValueParser<Value = Role> {
    let find = |text: String| Role::ALL.into_iter().find(|role| role.as_str() == text).ok_or("there is no such role");
    PossibleValuesParser::new(Role::ALL.map(Role::as_str)).try_map(find)
}

fn name(text: &str) -> Result<NodeName, String> {
    text.parse().map_err(|error| format!("{error}"))
}

/// Draws a token and prints it, this once.
///
/// # Errors
/// Nobody reads it.
pub(crate) fn run(args: &TokenArgs, _: Color) -> anyhow::Result<Exit> {
    let token = format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>());
    print(told(args, &token)?)?;
    Ok(Exit::Done)
}

fn told(args: &TokenArgs, token: &str) -> anyhow::Result<Vec<String>> {
    let line = format!("{} {} sha256:{}", args.name, args.role, Digest::of(token.as_bytes()));
    Ok(match args.output.output {
        Output::Table => vec![
            "# a line for the control plane's --admin-tokens file; it does not hold the token itself".to_owned(),
            line,
            String::new(),
            "# the token: put it alone into a file of mode 600, for --token-file. It is not shown again".to_owned(),
            token.to_owned(),
        ],
        form @ (Output::Json | Output::Yaml) => vec![render(&json!({ "line": line, "token": token }), form)?],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_has_the_hash_and_not_the_token() {
        let args =
            |output| TokenArgs { name: "ann".parse().unwrap(), role: Role::Operator, output: OutputArg { output } };
        let token = "0123456789abcdef".repeat(4);
        let lines = told(&args(Output::Table), &token).unwrap();
        assert!(!lines[1].contains(&token));
        insta::assert_snapshot!(lines.join("\n"));
        assert!(told(&args(Output::Json), &token).unwrap()[0].contains("ann operator sha256:"));
    }
}

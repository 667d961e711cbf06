//! `sluice token`: a new token, and the line that lets it in.

use clap::{Args, ValueEnum};
use serde_json::json;
use sluice_config::name::NodeName;
use sluice_config::value::Digest;

use crate::cli::{Exit, Output, OutputArg};
use crate::terminal::{Color, print};
use crate::value::render;

/// For whom.
#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    /// Who will show it: a person, a machine or a node. The audit log tells it
    #[arg(value_parser = name)]
    name: NodeName,
    /// What it may do
    #[arg(value_enum)]
    role: Role,
    #[command(flatten)]
    output: OutputArg,
}

/// What a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Role {
    /// Read
    Viewer,
    /// Read, shift weights, lay overrides
    Operator,
    /// Everything but follow as a proxy
    Admin,
    /// Follow as a proxy, and nothing else
    Node,
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
    let role = args.role.to_possible_value().expect("every role has a name").get_name().to_owned();
    let line = format!("{} {role} sha256:{}", args.name, Digest::of(token.as_bytes()));
    Ok(match args.output.output {
        Output::Table => vec![
            "# a line for the control plane's --admin-tokens file; it does not hold the token itself".to_owned(),
            line,
            String::new(),
            format!("# the token: put it alone into a file of mode 600, for --token-file. It is not shown again"),
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

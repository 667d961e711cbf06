//! `sluice upgrade`: the process that runs starts the program that is installed now, and hands over to it.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use sluice_proxy::{UpgradeError, Upgraded};

use crate::argument::lasting;
use crate::cli::{Exit, Output, OutputArg};
use crate::data::folder;
use crate::terminal::{Color, Tone, print, warn};
use crate::value::render;

/// Which process, and how long it may take.
#[derive(Debug, Args)]
pub(crate) struct UpgradeArgs {
    /// The data folder of the process [default: $STATE_DIRECTORY, else ./.sluice]
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// How long the new process may take until it serves; after that it is ended, and the old one serves as before
    #[arg(long, value_name = "TIME", value_parser = lasting, default_value = "30s")]
    deadline: Duration,
    #[command(flatten)]
    output: OutputArg,
}

/// Asks for it, tells each step, and then what became of it.
///
/// # Errors
/// The result cannot be written.
pub(crate) fn run(args: &UpgradeArgs, color: Color) -> anyhow::Result<Exit> {
    let data = args.data.clone().unwrap_or_else(folder);
    let paint = color.stderr();
    let mut step = |words: &str| warn(&paint.tone(Tone::Faint, words));
    match sluice_proxy::upgrade(&data, Some(args.deadline), &mut step) {
        Ok(upgraded) => tell(&upgraded, args.output.output).map(|()| Exit::Done),
        Err(error) => {
            if let UpgradeError::Failed { last, .. } = &error {
                last.iter().for_each(|line| warn(&paint.tone(Tone::Faint, &format!("  {line}"))));
            }
            warn(&format!("{}: {error}", paint.tone(Tone::Bad, "error")));
            Ok(exit(&error))
        }
    }
}

const fn exit(error: &UpgradeError) -> Exit {
    match error {
        UpgradeError::Nobody(..) => Exit::Unreachable,
        UpgradeError::Busy | UpgradeError::Failed { .. } => Exit::Refused,
        UpgradeError::Lost(_) => Exit::Undecided,
    }
}

fn tell(upgraded: &Upgraded, form: Output) -> anyhow::Result<()> {
    let Upgraded { old, new, seconds } = upgraded;
    match form {
        Output::Table => print([format!("process {new} serves after {seconds:.2} s; process {old} drains")])?,
        Output::Json | Output::Yaml => print([render(&json!({"old": old, "new": new, "seconds": seconds}), form)?])?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn each_outcome_has_its_code() {
        let failed = UpgradeError::Failed { why: String::new(), last: Vec::new() };
        assert_eq!(exit(&failed), Exit::Refused);
        assert_eq!(exit(&UpgradeError::Busy), Exit::Refused);
        assert_eq!(exit(&UpgradeError::Nobody(PathBuf::new(), io::Error::other("gone"))), Exit::Unreachable);
        assert_eq!(exit(&UpgradeError::Lost(io::Error::other("gone"))), Exit::Undecided);
    }
}

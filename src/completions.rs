//! `sluice completions`: what a shell needs to complete commands, flags and their values.

use std::io::{self, Write};

use clap::{Args, CommandFactory, ValueEnum};
use clap_complete::{Shell, generate};

use crate::cli::{Cli, Exit};

/// Which shell.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell that will read them
    #[arg(value_enum)]
    shell: Known,
}

/// The shells that are tested.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Known {
    /// `sluice completions bash > /etc/bash_completion.d/sluice`
    Bash,
    /// `sluice completions zsh > "${fpath[1]}/_sluice"`
    Zsh,
    /// `sluice completions fish > ~/.config/fish/completions/sluice.fish`
    Fish,
}

/// Prints them.
///
/// # Errors
/// Standard output cannot be written to.
pub(crate) fn run(args: &CompletionsArgs) -> anyhow::Result<Exit> {
    let mut out = io::stdout().lock();
    out.write_all(&script(args.shell))?;
    out.flush()?;
    Ok(Exit::Done)
}

fn script(shell: Known) -> Vec<u8> {
    let mut script = Vec::new();
    let shell = match shell {
        Known::Bash => Shell::Bash,
        Known::Zsh => Shell::Zsh,
        Known::Fish => Shell::Fish,
    };
    generate(shell, &mut Cli::command(), "sluice", &mut script);
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_knows_every_command() {
        for shell in [Known::Bash, Known::Zsh, Known::Fish] {
            let script = String::from_utf8(script(shell)).unwrap();
            for command in ["run", "control", "apply", "shift", "rollback", "get", "check", "explain", "completions"] {
                assert!(script.contains(command), "{shell:?} lacks {command}");
            }
        }
    }
}

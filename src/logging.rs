//! The process's own log, on standard error. Requests are told in the access log, not here.

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

use crate::cli::source;
use crate::terminal::Color;

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// One line an event, for people.
    Text,
    /// One JSON object an event, for machines.
    Json,
}

/// The settings of the log.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Log")]
pub(crate) struct LogArgs {
    /// What is logged to standard error: off, error, warn, info, debug or trace, and for single parts of the program, as in
    /// `warn,sluice_proxy=debug` [default: info; of the demo: error]
    #[arg(long, value_name = "LEVEL", env = "RUST_LOG", hide_env_values = true, value_parser = level)]
    log_level: Option<String>,
    /// How it is written
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    log_format: Format,
}

/// pingora reports each failed attempt at error level, h2 each odd frame as a warning, hickory each odd packet; what became of
/// the request is told in the access log, connections that are cut and sources that fail are told by the proxy.
const QUIET: &str = "pingora_core=off,pingora_pool=off,pingora_rustls=off,h2=off,\
                     hickory_net=error,hickory_proto=error,hickory_resolver=error";

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Narrower than the filter's own grammar: that takes a bare word for a part of the program, so that a misspelt level
/// would log nothing at all.
fn level(text: &str) -> Result<String, String> {
    for directive in text.split(',').map(str::trim).filter(|directive| !directive.is_empty()) {
        check(directive).map_err(|fault| {
            let levels = LEVELS.join(", ");
            let source = source("RUST_LOG", text);
            format!("{fault}; write LEVEL or PART=LEVEL, several with commas, LEVEL being one of {levels}{source}")
        })?;
    }
    Ok(text.to_owned())
}

fn check(directive: &str) -> Result<(), String> {
    let is_level = |word: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
    let is_part =
        |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"_:-".contains(&b));
    match directive.split_once('=') {
        None if is_level(directive) => Ok(()),
        None => Err(format!("`{directive}` is not a level")),
        Some((part, _)) if !is_part(part) => Err(format!("`{part}` is not a part of a program")),
        Some((_, level)) if !is_level(level) => Err(format!("`{level}` is not a level")),
        Some(_) => EnvFilter::try_new(directive).map(drop).map_err(|e| e.to_string()),
    }
}

impl LogArgs {
    /// Begins to log, at this level unless another was asked for. Later calls change nothing.
    pub(crate) fn start(&self, level: &str, color: Color) {
        let log = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(self.directives(level)))
            .with_writer(std::io::stderr)
            .with_ansi(color.stderr().is_on());
        // This carries the records of the `log` facade over, too. It fails only where a log is already set.
        let _ = match self.log_format {
            Format::Text => log.compact().try_init(),
            Format::Json => log.json().try_init(),
        };
    }

    /// The last directive for a part holds, so what the operator wrote comes after what holds without it.
    fn directives(&self, level: &str) -> String {
        format!("{QUIET},{level},{}", self.log_level.as_deref().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_level_is_refused_with_what_would_be_one() {
        for bad in
            ["blah", "inof", "sluice_proxy", "sluice_proxy=loud", "=debug", "a=b=c", "[x]=debug", "info,blah", "7"]
        {
            let words = level(bad).unwrap_err();
            assert!(words.contains("off, error, warn, info, debug, trace"), "{bad}: {words}");
        }
        for good in ["off", "info", "WARN", "sluice_proxy=debug", "warn, sluice_proxy::probe=trace", ""] {
            assert_eq!(level(good).as_deref(), Ok(good));
        }
    }

    /// Whether an event of this level and part would be logged.
    fn logs(asked: &str, level: &str) -> bool {
        let log = LogArgs { log_level: Some(asked.to_owned()), log_format: Format::Text };
        let filter = EnvFilter::new(log.directives("info")).to_string();
        filter.split(',').any(|directive| directive == level)
    }

    #[test]
    fn a_part_is_named_besides_what_holds_without_it() {
        assert!(
            logs("", "info") && logs("sluice_proxy=debug", "info") && logs("sluice_proxy=debug", "sluice_proxy=debug")
        );
        assert!(logs("warn", "warn") && !logs("warn", "info"), "a level takes the place of the default");
        assert!(logs("pingora_core=error", "pingora_core=error") && !logs("pingora_core=error", "pingora_core=off"));
    }
}

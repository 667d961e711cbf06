//! The process's own log, on standard error. Requests are told in the access log, not here.

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

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
    /// What is logged to standard error: off, error, warn, info, debug, trace, or directives such as `sluice_proxy=debug`
    /// [default: info; of the demo: error]
    #[arg(long, value_name = "LEVEL", env = "RUST_LOG", hide_env_values = true, value_parser = level)]
    log_level: Option<String>,
    /// How it is written
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    log_format: Format,
}

/// pingora reports each failed attempt at error level; what became of the request is told in the access log.
const QUIET: &str = "pingora_core=off,pingora_pool=off,pingora_rustls=off";

fn level(text: &str) -> Result<String, String> {
    EnvFilter::try_new(text).map(|_| text.to_owned()).map_err(|e| e.to_string())
}

impl LogArgs {
    /// Begins to log, at this level unless another was asked for. Later calls change nothing.
    pub(crate) fn start(&self, level: &str, color: Color) {
        // The last directive for a target holds, so what the operator wrote comes after what is quiet by itself.
        let filter = EnvFilter::builder()
            .with_default_directive(LevelFilter::INFO.into())
            .parse_lossy(format!("{QUIET},{}", self.log_level.as_deref().unwrap_or(level)));
        let log = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(color.stderr().is_on());
        // This carries the records of the `log` facade over, too. It fails only where a log is already set.
        let _ = match self.log_format {
            Format::Text => log.compact().try_init(),
            Format::Json => log.json().try_init(),
        };
    }
}

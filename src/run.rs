//! `sluice run`: the proxy and its control plane in one process, by one file.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;

use crate::cli::Exit;
use crate::logging::LogArgs;
use crate::serve::{AccessLog, Service};
use crate::terminal::Color;

/// How to run.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The document, YAML or JSON. It is read again when it changes, and at once on SIGHUP
    file: PathBuf,
    /// Threads that serve requests [default: one per core]
    #[arg(long, value_name = "N", default_value_t = cores(), hide_default_value = true)]
    pub(crate) workers: NonZeroUsize,
    /// Where health, readiness, metrics and what runs are told; read-only
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "SLUICE_STATUS",
        hide_env_values = true,
        default_value = "127.0.0.1:9901"
    )]
    pub(crate) status: SocketAddr,
    /// Where each request is told in a line of JSON: `stdout`, `off` or a file
    #[arg(long, value_name = "TARGET", default_value = "stdout")]
    access_log: AccessLog,
    #[command(flatten)]
    log: LogArgs,
}

/// One worker for each core that this process may use.
pub(crate) fn cores() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// Runs until the process is told to leave and every request under way has ended.
///
/// # Errors
/// The document cannot be read, an address cannot be bound, or a thread cannot be started.
pub(crate) fn run(args: &RunArgs, color: Color) -> anyhow::Result<Exit> {
    args.log.start("info", color);
    let service = match Service::open(&args.file)? {
        Ok(service) => service,
        Err(unsound) => {
            unsound.show(color);
            return Ok(Exit::Refused);
        }
    };
    service.run(args.workers, args.status, &args.access_log)?;
    Ok(Exit::Done)
}

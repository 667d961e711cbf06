//! `sluice run`: the proxy and its control plane in one process, by one file.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use sluice_config::name::ZoneName;
use sluice_proxy::Inherited;

use crate::admin::AdminArgs;
use crate::argument::name;
use crate::cli::{Exit, misused, source};
use crate::data::DataArgs;
use crate::logging::LogArgs;
use crate::open_files;
use crate::serve::{AccessLog, Service};
use crate::terminal::Color;

/// How to run.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The document, YAML or JSON. It is read again when it changes, and at once on SIGHUP
    file: PathBuf,
    /// Threads that serve requests [default: one per core]
    #[arg(long, value_name = "N", value_parser = workers, default_value_t = cores(), hide_default_value = true)]
    pub(crate) workers: NonZeroUsize,
    /// Where health, readiness, metrics and what runs are told; read-only
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "SLUICE_STATUS",
        hide_env_values = true,
        value_parser = status,
        default_value = "127.0.0.1:9901"
    )]
    pub(crate) status: SocketAddr,
    /// Where each request is told in a line of JSON: `stdout`, `off` or a file
    #[arg(long, value_name = "TARGET", default_value = "stdout")]
    access_log: AccessLog,
    /// The zone where this proxy stands; services with `zones` prefer endpoints of the same zone
    #[arg(long, value_name = "NAME", env = "SLUICE_ZONE", hide_env_values = true, value_parser = name::<ZoneName>)]
    zone: Option<ZoneName>,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    admin: AdminArgs,
    #[command(flatten)]
    log: LogArgs,
}

/// The most workers. More than there are cores serve nothing, and each costs a thread with sockets of its own.
const MAX_WORKERS: NonZeroUsize = NonZeroUsize::new(1024).expect("it is not 0");

/// One worker for each core that this process may use.
pub(crate) fn cores() -> NonZeroUsize {
    std::thread::available_parallelism().map_or(NonZeroUsize::MIN, |cores| cores.min(MAX_WORKERS))
}

/// Reads a number of workers.
pub(crate) fn workers(text: &str) -> Result<NonZeroUsize, String> {
    let number: u64 = text.parse().map_err(|_| format!("write a whole number from 1 to {MAX_WORKERS}"))?;
    let fits = usize::try_from(number).unwrap_or(usize::MAX);
    match NonZeroUsize::new(fits) {
        None => Err("at least 1 is needed".to_owned()),
        Some(number) if number > MAX_WORKERS => {
            Err(format!("at most {MAX_WORKERS} are possible; one per core is best"))
        }
        Some(number) => Ok(number),
    }
}

/// Reads the address of a status listener.
pub(crate) fn status(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!("write an IP address and a port, such as 127.0.0.1:9901 or [::1]:9901{}", source("SLUICE_STATUS", text))
    })
}

/// Runs until the process is told to leave and every request under way has ended.
///
/// # Errors
/// The document cannot be read, an address cannot be bound, or a thread cannot be started.
pub(crate) fn run(args: &RunArgs, color: Color) -> anyhow::Result<Exit> {
    if let Some(words) = args.admin.exposed() {
        return Ok(misused("run", &words));
    }
    args.log.start("info", color);
    let inherited = Inherited::claim()?;
    let (admin, data, file) = (args.admin.clone(), args.data.open()?, args.file.clone());
    let set_up = move || admin.options(data.clone(), Some(file.clone()));
    let service = match Service::open(Box::new(set_up), inherited)? {
        Ok(service) => service,
        Err(unsound) => {
            unsound.show(color);
            return Ok(Exit::Refused);
        }
    };
    open_files::prepare(&args.file);
    service.run(args.workers, args.status, &args.access_log, args.zone.clone())?;
    Ok(Exit::Done)
}

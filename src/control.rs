//! `sluice control`: the control plane alone, for proxies on other machines.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow};
use clap::Args;
use sluice_control::{Control, OpenError, Options, serve_status};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use crate::admin::AdminArgs;
use crate::cli::{Exit, misused};
use crate::data::DataArgs;
use crate::document::{Unsound, unreadable};
use crate::logging::LogArgs;
use crate::run::status;
use crate::terminal::Color;

/// How to run it.
#[derive(Debug, Args)]
pub(crate) struct ControlArgs {
    /// The document to follow, YAML or JSON: it is applied when it changes, and at once on SIGHUP [default: documents come by
    /// `sluice apply`]
    file: Option<PathBuf>,
    /// Where health, readiness and metrics are told; read-only
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "SLUICE_STATUS",
        hide_env_values = true,
        value_parser = status,
        default_value = "127.0.0.1:9901"
    )]
    status: SocketAddr,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    admin: AdminArgs,
    #[command(flatten)]
    log: LogArgs,
}

/// Runs until the process is told to leave.
///
/// # Errors
/// The data folder, an address or a file cannot be used.
pub(crate) fn run(args: &ControlArgs, color: Color) -> anyhow::Result<Exit> {
    if let Some(words) = args.admin.exposed() {
        return Ok(misused("control", &words));
    }
    args.log.start("info", color);
    let options = args.admin.options(args.data.open()?, args.file.clone())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        match open(options).await? {
            Ok(control) => serve(control, args.status).await.map(|()| Exit::Done),
            Err(unsound) => {
                unsound.show(color);
                Ok(Exit::Refused)
            }
        }
    });
    // A network file system may keep a look at the file waiting for ever; nobody waits for it.
    runtime.shutdown_background();
    ended
}

/// Opens a control plane. A document that is not sound is the inner error.
///
/// # Errors
/// It cannot begin for another reason.
async fn open(options: Options) -> anyhow::Result<Result<Control, Unsound>> {
    let path = options.file.clone().unwrap_or_default();
    match Control::open(options).await {
        Ok(control) => Ok(Ok(control)),
        Err(error) => refused(&path, error).map(Err),
    }
}

/// Why a control plane cannot begin: a document that is not sound, or an error.
///
/// # Errors
/// It is not the document.
pub(crate) fn refused(path: &Path, error: OpenError) -> anyhow::Result<Unsound> {
    match error {
        OpenError::Unreadable(why) => Err(unreadable(path, &why)),
        OpenError::Refused { content, problems } => Ok(Unsound { path: path.to_owned(), content, problems }),
        error @ (OpenError::Store(_) | OpenError::Failed(_) | OpenError::OtherFile { .. } | OpenError::Admin(..)) => {
            Err(error).context("cannot start the control plane")
        }
    }
}

async fn serve(control: Control, status: SocketAddr) -> anyhow::Result<()> {
    for address in control.addresses() {
        tracing::info!(%address, "the API is served");
    }
    let (plane, bell) = (control.plane(), control.bell());
    tokio::select! {
        () = control.run() => Err(anyhow!("the control plane has ended by itself; the log says why")),
        ended = serve_status(plane, status) => {
            let choose = "choose another address with --status";
            ended.with_context(|| format!("cannot serve status on {status}; {choose}"))
        }
        () = ring_on_hangup(bell) => Err(anyhow!("signals are not heard any more")),
        left = leave() => left.context("signals are not to be heard"),
    }
}

/// Returns when the process is told to leave.
async fn leave() -> std::io::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    tracing::info!("told to leave");
    Ok(())
}

/// Has the file read at once on SIGHUP. Ends only when signals end.
pub(crate) async fn ring_on_hangup(bell: Arc<Notify>) {
    match signal(SignalKind::hangup()) {
        Ok(mut hangups) => {
            while hangups.recv().await.is_some() {
                bell.notify_one();
            }
        }
        Err(error) => {
            tracing::warn!(%error, "SIGHUP is not heard");
            std::future::pending().await
        }
    }
}

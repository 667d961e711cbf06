//! `sluice demo`: the proxy at work, with nothing to install and nothing to prepare.

mod client;
mod fault;
mod fleet;
mod intended;
mod load;
mod origin;
mod picture;
mod plan;
mod report;
mod standing;
mod story;
mod tally;
mod view;

use std::cell::Cell;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;
use sluice_proxy::Inherited;
use tokio::net::TcpSocket;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::LocalSet;

use crate::admin::AdminArgs;
use crate::cli::Exit;
use crate::logging::LogArgs;
use crate::run::{cores, workers};
use crate::serve::{AccessLog, Service};
use crate::terminal::{Color, columns};
use fault::{Fail, Slow};
use load::CONNECTIONS;
use origin::Origins;
use plan::{ROUND, SHORTEST, STORY};
use report::{changes, slack, summary};
use story::{Seen, Stage, play};
use view::View;

/// How the demo goes.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Play the story once in this time, print a summary and end; at least 20s. Without it the story is played until Ctrl-C
    #[arg(long = "for", value_name = "TIME", value_parser = length)]
    length: Option<Duration>,
    /// Threads that serve requests [default: one per core]
    #[arg(
        long,
        value_name = "N",
        value_parser = workers,
        default_value_t = cores(),
        hide_default_value = true,
        conflicts_with = "fleet"
    )]
    workers: NonZeroUsize,
    /// Instead of one proxy, a control plane and six proxies in three regions, each a process; takes at least 40s
    #[arg(long)]
    fleet: bool,
    /// Let origins answer late, such as us-east-1/v2=200ms; may be given more than once
    #[arg(long, value_name = "REGION/VERSION=TIME")]
    slow: Vec<Slow>,
    /// Let origins fail a share of requests, such as eu-west-1/v1=5%; may be given more than once
    #[arg(long, value_name = "REGION/VERSION=SHARE")]
    fail: Vec<Fail>,
    #[command(flatten)]
    log: LogArgs,
}

fn length(text: &str) -> Result<Duration, String> {
    let length = sluice_config::duration::parse(text).map_err(|e| format!("it {e}; write it like `30s`"))?;
    if length < SHORTEST {
        return Err(format!("the story takes {} s: a region goes out after three probes", SHORTEST.as_secs()));
    }
    Ok(length)
}

/// Plays the story and tells whether everything held.
///
/// # Errors
/// A port, thread or file is not to be had, the proxy did not start, or nobody reads the output.
pub(crate) fn run(args: &DemoArgs, color: Color) -> anyhow::Result<Exit> {
    // The view tells what happens; log lines in between would tear its table.
    args.log.start("error", color);
    if args.fleet {
        return fleet::run(args, color);
    }
    let folder = tempfile::Builder::new().prefix("sluice-demo-").tempdir().context("cannot make a folder")?;
    let (web, status) = (Port::reserve()?, Port::reserve()?);
    let stage = Stage {
        origins: Origins::start(&args.slow, &args.fail).context("cannot start the sample origins")?,
        document: folder.path().join("sluice.yaml"),
        web: web.address,
        status: status.address,
        slack: slack(args.workers.get(), CONNECTIONS as usize),
        round: args.length.unwrap_or(ROUND),
        endless: args.length.is_none(),
    };
    std::fs::write(&stage.document, stage.text(STORY[0].weights)).context("cannot write the document")?;
    let proxy = start_proxy(args.workers, &stage)?;
    let mut view = View::new(color.stdout());
    view.finish(&announcement(&stage))?;
    let told = Cell::new(false);
    let seen = on_stage(&stage, &mut view, &proxy, &told);
    // What the proxy says of its end is nearer to the cause than what its clients say.
    stop(proxy, told.get())?;
    let seen = seen?;
    view.finish(&summary(
        &seen.parts,
        &changes(&seen.parts),
        &seen.tally,
        &seen.complaints,
        columns(),
        color.stdout(),
    ))?;
    Ok(if seen.complaints.is_empty() { Exit::Done } else { Exit::Refused })
}

fn announcement(stage: &Stage) -> Vec<String> {
    vec![
        format!("proxy     curl -i http://{}/", stage.web),
        format!("status    curl http://{}/metrics", stage.status),
        format!("document  {} (edit it while the demo runs)", stage.document.display()),
        String::new(),
    ]
}

/// A port of loopback that is ours before anybody listens on it. The proxy's sockets share it; no client reaches this one.
struct Port {
    address: SocketAddr,
    _socket: TcpSocket,
}

impl Port {
    fn reserve() -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.set_reuseport(true)?;
        socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        Ok(Self { address: socket.local_addr()?, _socket: socket })
    }
}

type Proxy = JoinHandle<anyhow::Result<()>>;

/// Starts the proxy by the same way as `sluice run`.
fn start_proxy(workers: NonZeroUsize, stage: &Stage) -> anyhow::Result<Proxy> {
    let folder = stage.document.parent().context("a document is in a folder")?.to_owned();
    let (admin, document) = (AdminArgs::near(&folder), stage.document.clone());
    let set_up = move || admin.options(folder.clone(), Some(document.clone()));
    let service =
        Service::open(Box::new(set_up), Inherited::default())?.map_err(|unsound| anyhow!("{}", unsound.problems))?;
    let status = stage.status;
    let serve = move || service.run(workers, status, &AccessLog::Off, None);
    std::thread::Builder::new().name("proxy".to_owned()).spawn(serve).context("cannot start a thread")
}

/// Waits until the proxy has drained. It is asked to leave as an operator would, unless it was told already: a second
/// signal would cut what is left.
fn stop(proxy: Proxy, told: bool) -> anyhow::Result<()> {
    if !told && !proxy.is_finished() {
        let ourselves = rustix::process::getpid();
        rustix::process::kill_process(ourselves, rustix::process::Signal::TERM).context("cannot stop the proxy")?;
    }
    proxy.join().map_err(|_| anyhow!("the proxy panicked; the log says where"))?.context("the proxy failed")
}

/// Plays, and sets `told` if the process was told to leave meanwhile.
fn on_stage(stage: &Stage, view: &mut View, proxy: &Proxy, told: &Cell<bool>) -> anyhow::Result<Seen> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let stop = watch::Sender::new(false);
    LocalSet::new().block_on(&runtime, async {
        tokio::select! {
            seen = play(stage, view, &stop) => seen,
            end = watch_for_end(&stop, proxy, told) => Err(end),
        }
    })
}

/// How often the proxy's thread is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Sets `stop` on Ctrl-C or SIGTERM, which the proxy hears too. Returns only if the proxy has ended by itself.
async fn watch_for_end(stop: &watch::Sender<bool>, proxy: &Proxy, told: &Cell<bool>) -> anyhow::Error {
    let (mut interrupt, mut terminate) = match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
        (Ok(interrupt), Ok(terminate)) => (interrupt, terminate),
        (Err(e), _) | (_, Err(e)) => return anyhow::Error::new(e).context("signals are not to be heard"),
    };
    loop {
        tokio::select! {
            _ = interrupt.recv() => told.set(true),
            _ = terminate.recv() => told.set(true),
            () = tokio::time::sleep(LOOK) => if proxy.is_finished() && !told.get() {
                return anyhow!("the proxy ended while the demo was running");
            },
        }
        if told.get() {
            stop.send_replace(true);
        }
    }
}

//! `sluice proxy`: a proxy alone, by the revisions of a control plane elsewhere.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use sluice_config::name::{ListenerName, NodeName, RegionName, ZoneName};
use sluice_proxy::control::{ControlOptions, ControlUrl, CredentialFiles};
use sluice_proxy::{Inherited, Options, Source};

use crate::cli::{Exit, misused, source};
use crate::data::DataArgs;
use crate::logging::LogArgs;
use crate::open_files;
use crate::run::{cores, status, workers};
use crate::serve::AccessLog;
use crate::terminal::Color;

/// How to run a proxy alone.
#[derive(Debug, Args)]
pub(crate) struct ProxyArgs {
    /// The control plane: https://HOST[:PORT], or http:// on this machine. The proxy serves on while it is away
    #[arg(long, value_name = "URL", env = "SLUICE_CONTROL", hide_env_values = true, value_parser = control)]
    control: ControlUrl,
    /// The region where this proxy stands
    #[arg(long, value_name = "NAME", value_parser = name::<RegionName>)]
    region: Option<RegionName>,
    /// The zone in its region where this proxy stands; services with `zones` prefer endpoints of the same zone
    #[arg(long, value_name = "NAME", env = "SLUICE_ZONE", hide_env_values = true, value_parser = name::<ZoneName>)]
    zone: Option<ZoneName>,
    /// The name of this proxy, unique in its fleet [default: the machine's]
    #[arg(long, value_name = "NAME", value_parser = name::<NodeName>)]
    node: Option<NodeName>,
    /// Bind a listener of the document at this address of this machine in place of the document's; may be given more than once
    #[arg(long, value_name = "NAME=ADDRESS", value_parser = listener)]
    listen: Vec<(ListenerName, SocketAddr)>,
    /// Threads that serve requests [default: one per core]
    #[arg(long, value_name = "N", value_parser = workers, default_value_t = cores(), hide_default_value = true)]
    workers: NonZeroUsize,
    /// Where health, readiness, metrics and what runs are told; read-only
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "SLUICE_STATUS",
        hide_env_values = true,
        value_parser = status,
        default_value = "127.0.0.1:9901"
    )]
    status: SocketAddr,
    /// Where each request is told in a line of JSON: `stdout`, `off` or a file
    #[arg(long, value_name = "TARGET", default_value = "stdout")]
    access_log: AccessLog,
    /// Where relative paths of files that the document names, such as certificates, begin [default: the working folder]
    #[arg(long, value_name = "FOLDER")]
    files: Option<PathBuf>,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    credentials: CredentialArgs,
    #[command(flatten)]
    log: LogArgs,
}

/// What the proxy shows to its control plane, and by what it knows it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Credentials (read again for each connection)")]
struct CredentialArgs {
    /// A file with a bearer token, which others cannot read
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The certificates that sign the control plane's [default: those that the system trusts]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// This proxy's certificate with its chain, in PEM form
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// The key of that certificate, in PEM form
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
}

fn control(text: &str) -> Result<ControlUrl, String> {
    text.parse().map_err(|error| format!("{error}{}", source("SLUICE_CONTROL", text)))
}

/// Reads a name of any kind.
fn name<N: std::str::FromStr<Err = sluice_config::name::NameError>>(text: &str) -> Result<N, String> {
    text.parse().map_err(|error: sluice_config::name::NameError| error.to_string())
}

fn listener(text: &str) -> Result<(ListenerName, SocketAddr), String> {
    let form = "write the listener's name and an address, such as web=127.0.0.1:8080";
    let (listener, address) = text.split_once('=').ok_or(form)?;
    let address: SocketAddr = address.parse().map_err(|_| form)?;
    if address.port() == 0 {
        return Err("a port of 0 is a different one at each start: choose one".to_owned());
    }
    Ok((name(listener)?, address))
}

/// Runs until the process is told to leave and every request under way has ended.
///
/// # Errors
/// The status address cannot be bound, another process uses the folder, or a thread cannot be started.
pub(crate) fn run(args: ProxyArgs, color: Color) -> anyhow::Result<Exit> {
    args.log.start("info", color);
    let mut listen = BTreeMap::new();
    for (name, address) in args.listen {
        if listen.insert(name.clone(), address).is_some() {
            return Ok(misused("proxy", &format!("--listen names {name} twice: which address is meant?")));
        }
    }
    let inherited = Inherited::claim()?;
    open_files::raise();
    let CredentialArgs { token_file, ca, cert, key } = args.credentials;
    let credentials = CredentialFiles { token: token_file, ca, identity: cert.zip(key) };
    sluice_proxy::run(Options {
        workers: args.workers,
        status: args.status,
        access_log: args.access_log.target(),
        source: Source::Control(ControlOptions { url: args.control, credentials }),
        data: Some(args.data.open()?),
        node: args.node,
        region: args.region,
        zone: args.zone,
        listen,
        health: None,
        document: None,
        files: args.files.unwrap_or_default(),
        inherited,
        own: Vec::new(),
        beside: None,
    })?;
    Ok(Exit::Done)
}

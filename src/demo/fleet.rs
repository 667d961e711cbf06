//! `sluice demo --fleet`: one control plane and six proxies in three regions, each a process of its own.

mod picture;
mod plan;
mod process;
mod stage;
mod story;

use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::LocalSet;

use super::DemoArgs;
use super::origin::Origins;
use super::plan::ROUND;
use super::report::{Part, changes, latency, seconds, summary};
use super::view::View;
use crate::cli::{Exit, misused};
use crate::terminal::{Color, columns};
use plan::{RESTARTED, SEATS};
use stage::Stage;
use story::{Played, Round, play};

/// The shortest time the whole story fits in: a proxy waits up to 10 s before it asks again for a control plane that was
/// away, and takes a lost region out after three probes.
const SHORTEST: Duration = Duration::from_secs(40);

/// Plays the story of the fleet and tells whether everything held.
///
/// # Errors
/// A port or process is not to be had, a process ended by itself, or nobody reads the output.
pub(super) fn run(args: &DemoArgs, color: Color) -> anyhow::Result<Exit> {
    if args.length.is_some_and(|length| length < SHORTEST) {
        return Ok(misused("demo", &format!("the story of the fleet takes {} s", SHORTEST.as_secs())));
    }
    let origins = Origins::start(&args.slow, &args.fail).context("cannot start the sample origins")?;
    let mut stage = Stage::reserve(origins)?;
    let mut view = View::new(color.stdout());
    view.finish(&announcement(&stage))?;
    let round = Round { length: args.length.unwrap_or(ROUND), endless: args.length.is_none() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let stop = watch::Sender::new(false);
    let played = LocalSet::new().block_on(&runtime, async {
        tokio::select! {
            played = play(&mut stage, &mut view, &round, &stop) => played,
            error = heed(&stop) => Err(error),
        }
    });
    drop(stage);
    let Played { seen, restart } = played?;
    let told = told(&seen.parts, restart);
    view.finish(&summary(&seen.parts, &told, &seen.tally, &seen.complaints, columns(), color.stdout()))?;
    Ok(if seen.complaints.is_empty() { Exit::Done } else { Exit::Refused })
}

fn announcement(stage: &Stage) -> Vec<String> {
    let admin = stage.admin.address;
    let mut lines: Vec<String> = SEATS
        .iter()
        .zip(&stage.nodes)
        .map(|(seat, node)| format!("{:<9} curl -i http://{}/", seat.name, node.web.address))
        .collect();
    lines.push(format!("control   sluice get nodes --server http://{admin}"));
    lines.push(format!("logs      {}/*.log", stage.folder.path().display()));
    lines.push(String::new());
    lines
}

/// Sets `stop` on Ctrl-C or SIGTERM. Returns only if they cannot be heard.
async fn heed(stop: &watch::Sender<bool>) -> anyhow::Error {
    let (mut interrupt, mut terminate) = match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
        (Ok(interrupt), Ok(terminate)) => (interrupt, terminate),
        (Err(e), _) | (_, Err(e)) => return anyhow::Error::new(e).context("signals are not to be heard"),
    };
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        stop.send_replace(true);
    }
}

/// What is said of the parts below their table.
fn told(parts: &[Part], restart: Option<Duration>) -> Vec<String> {
    let part = |name: &str| parts.iter().find(|part| part.phase.name == name);
    let mut lines = Vec::new();
    if let Some(took) = part("shift").and_then(|part| part.followed) {
        lines.push(format!("Shift: all {} proxies ran it after {}.", SEATS.len(), seconds(took)));
    }
    let alone =
        || ["control lost", "restarted"].into_iter().filter_map(part).flat_map(|part| [&part.change, &part.steady]);
    let (requests, failed) = alone().fold((0, 0), |(all, bad), count| (all + count.requests, bad + count.failed));
    if requests > 0 {
        lines.push(format!("Without a control plane: {requests} requests, {failed} failed."));
    }
    if let Some(took) = restart {
        let name = SEATS[RESTARTED].name;
        lines.push(format!(
            "Restart of {name} without one: in service after {}, from its last known good.",
            seconds(took)
        ));
    }
    if let Some(part) = part("control back")
        && let Some(took) = part.followed
    {
        lines.push(format!(
            "Control plane back: all {} proxies ran its new revision after {}; until then the slowest 1 % took above {}.",
            SEATS.len(),
            seconds(took),
            latency(&part.change, 0.99),
        ));
    }
    lines.extend(changes(parts));
    lines
}

//! Waiting until a share of the nodes runs a revision.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value;
use sluice_config::duration;
use sluice_config::name::NodeName;
use sluice_config::share::Share;
use sluice_config::value::RevisionId;
use sluice_control::api::view::Progress;
use sluice_control_core::fleet::{Applied, Refusing};

use crate::argument::{lasting, share};
use crate::cli::Exit;
use crate::client::{Call, Client, understand};
use crate::terminal::status_line;

/// Whether to wait, for whom, and for how long.
#[derive(Debug, Clone, Args)]
pub(crate) struct WaitArgs {
    /// Wait until this share of the nodes that are heard from runs it
    #[arg(
        long,
        value_name = "SHARE",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "100%",
        value_parser = share
    )]
    pub(crate) wait: Option<Share>,
    /// How long to wait
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = lasting)]
    pub(crate) timeout: Duration,
}

/// How the waiting ended.
#[derive(Debug)]
pub(crate) struct Waited {
    progress: Progress,
    /// As the control plane told it.
    pub(crate) told: Value,
    pub(crate) exit: Exit,
    timeout: Duration,
}

/// How long one look takes where somebody watches, and where nobody does.
const WATCHED: Duration = Duration::from_secs(1);
const UNWATCHED: Duration = Duration::from_secs(60);

impl WaitArgs {
    /// Waits, if that was asked for.
    ///
    /// # Errors
    /// Nobody is reached any more, or it is refused.
    pub(crate) fn wait(&self, client: &Client, id: RevisionId) -> anyhow::Result<Option<Waited>> {
        let Some(share) = self.wait else { return Ok(None) };
        let watched = std::io::stderr().is_terminal();
        let begun = Instant::now();
        let waited = loop {
            let left = self.timeout.saturating_sub(begun.elapsed());
            let slice = left.min(if watched { WATCHED } else { UNWATCHED });
            let (asked, told) = (Instant::now(), look(client, id, share, slice)?);
            let progress: Progress = understand(told.clone())?;
            let ends_early = asked.elapsed() < slice;
            if let Some(exit) = verdict(&progress, ends_early, slice == left) {
                break Waited { progress, told, exit, timeout: self.timeout };
            }
            if watched {
                status_line(&head(&progress));
            }
        };
        if watched {
            status_line("");
        }
        Ok(Some(waited))
    }
}

fn look(client: &Client, id: RevisionId, share: Share, time: Duration) -> anyhow::Result<Value> {
    let call = Call::get(format!("/v1/revisions/{id}/applied"))
        .query("share", Some(share))
        .query("timeout", Some(duration::write(time)))
        .patience(time);
    client.call(&call)?.value()
}

/// How it ends, if it does. The control plane answers early only when the share is reached or so many refused the revision
/// that it cannot be.
const fn verdict(progress: &Progress, is_early: bool, is_last: bool) -> Option<Exit> {
    match (progress.reached, is_early, is_last) {
        (true, _, _) => Some(Exit::Done),
        (false, true, _) => Some(Exit::Refused),
        (false, false, true) => Some(Exit::Undecided),
        (false, false, false) => None,
    }
}

fn head(progress: &Progress) -> String {
    match progress.nodes.heard {
        0 => format!("revision {} runs nowhere: no node is heard from", progress.revision),
        heard => format!("revision {} runs on {} of {heard} nodes", progress.revision, progress.nodes.running),
    }
}

impl Waited {
    /// How far it got, and who is missing.
    pub(crate) fn lines(&self) -> Vec<String> {
        let Applied { nacked, pending, away, .. } = &self.progress.nodes;
        let late = match self.exit {
            Exit::Undecided => format!("after {}: ", duration::write(self.timeout)),
            Exit::Done | Exit::Refused | Exit::Misused | Exit::Unreachable => String::new(),
        };
        let first = format!("{late}{}", head(&self.progress));
        let others = [list(pending, "not yet"), list(away, "not heard from, not waited for")];
        std::iter::once(first).chain(nacked.iter().map(refusal)).chain(others.into_iter().flatten()).collect()
    }
}

fn refusal(refusing: &Refusing) -> String {
    let Refusing { node, revision, problems, retries } = refusing;
    let tries = if *retries { "; it tries again" } else { "" };
    format!("  {node} refused revision {revision}: {}{tries}", problems.join("; "))
}

fn list(nodes: &[NodeName], what: &str) -> Option<String> {
    let names: Vec<&str> = nodes.iter().map(NodeName::as_str).collect();
    (!names.is_empty()).then(|| format!("  {what}: {}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::canned;

    fn progress(running: usize, heard: usize, reached: bool) -> Progress {
        canned::read(json!({ "revision": 18, "reached": reached, "nodes": {
            "share": "0%", "running": running, "heard": heard, "nacked": [], "pending": [], "away": [] } }))
    }

    #[test]
    fn waiting_ends_when_it_is_reached_cannot_be_or_takes_too_long() {
        assert_eq!(verdict(&progress(5, 6, false), false, false), None);
        assert_eq!(verdict(&progress(6, 6, true), true, false), Some(Exit::Done));
        assert_eq!(verdict(&progress(6, 6, true), false, true), Some(Exit::Done));
        assert_eq!(verdict(&progress(5, 6, false), true, false), Some(Exit::Refused));
        assert_eq!(verdict(&progress(5, 6, false), false, true), Some(Exit::Undecided));
    }

    #[test]
    fn who_is_missing_is_named() {
        let mut some = progress(3, 6, false);
        let why =
            json!({ "node": "edge-3", "revision": 18, "problems": ["listener web: address in use"], "retries": true });
        some.nodes.nacked = canned::read(json!([why]));
        some.nodes.pending = canned::read(json!(["edge-4", "edge-5"]));
        some.nodes.away = canned::read(json!(["edge-9"]));
        let lines = |progress, exit| {
            let told = Value::Null;
            Waited { progress, told, exit, timeout: Duration::from_secs(60) }.lines().join("\n")
        };
        let all = [
            lines(progress(6, 6, true), Exit::Done),
            lines(some.clone(), Exit::Undecided),
            lines(some, Exit::Refused),
            lines(progress(0, 0, false), Exit::Undecided),
        ];
        insta::assert_snapshot!(all.join("\n\n"));
    }
}

//! `sluice status`: how the control plane stands, on one screen.

use std::time::Duration;

use sluice_config::Timestamp;
use sluice_control::api::view::{File, Mode, Status};
use sluice_control_core::fleet::Summary;
use sluice_control_core::revision::Revision;

use crate::cli::Exit;
use crate::client::Call;
use crate::moment::{between, now, short};
use crate::show::{LookArgs, show};
use crate::terminal::{Cell, Color, Paint, Tone};

/// Tells how it stands.
///
/// # Errors
/// Nobody is reached, or it is refused.
pub(crate) fn run(args: &LookArgs, color: Color) -> anyhow::Result<Exit> {
    let now = now();
    show(&args.client(color)?, &Call::get("/v1/status"), |status, paint| lines(status, now, paint))
}

fn lines(status: &Status, now: Timestamp, paint: Paint) -> Vec<String> {
    let head = status.head.as_ref();
    let mut rows: Vec<(&str, Cell)> = vec![("source", source(status))];
    rows.extend(status.file.as_ref().map(|file| ("file", standing(file))));
    rows.push(match head {
        Some(head) => ("head", revision(head, now).into()),
        None => ("head", Cell::new("none yet; apply a document: sluice apply FILE", Tone::Bad)),
    });
    rows.extend(head.map(|head| ("digest", head.digest.to_string().into())));
    rows.extend(head.into_iter().flat_map(|head| owned(head, now)).map(|text| ("weights", text.into())));
    for (id, one) in &status.overrides {
        let ends = between(now, one.expires);
        let text = format!("{id} {} by {}: {}; ends in {ends}", one.action, one.author, one.reason);
        rows.push(("override", Cell::new(text, Tone::Bad)));
    }
    rows.push(("nodes", nodes(&status.nodes)));
    let uptime = short(Duration::from_secs(status.uptime_seconds));
    rows.push(("server", format!("sluice {}, up {uptime}, history {}", status.version, status.history).into()));
    rows.into_iter()
        .map(|(name, cell)| format!("{} {}", paint.tone(Tone::Faint, &format!("{name:<9}")), cell.painted(paint)))
        .collect()
}

fn source(status: &Status) -> Cell {
    match (status.mode, &status.file) {
        (Mode::File, Some(file)) => format!("the file {}", file.path),
        (Mode::File, None) => "a file".to_owned(),
        (Mode::Api, _) => "the API: sluice apply FILE".to_owned(),
    }
    .into()
}

fn standing(file: &File) -> Cell {
    let parked = file.parked.map(|digest| format!("; its text {:.12} is parked until it changes", digest.to_string()));
    let text = format!("{}{}", file.standing, parked.unwrap_or_default());
    Cell::new(text, if file.accepted { Tone::Good } else { Tone::Bad })
}

fn revision(head: &Revision, now: Timestamp) -> String {
    format!("{} ({}), {} ago by {}: {}", head.id, head.kind, between(head.at, now), head.author, head.reason)
}

/// The services whose weights are not the document's.
fn owned(head: &Revision, now: Timestamp) -> Vec<String> {
    let told = |(service, weights): (_, &sluice_config::overlay::LiveWeights)| {
        let until = weights.until.as_ref().map(|until| format!("; ends in {}", between(now, until.at)));
        let since = between(weights.since, now);
        format!(
            "{service} {}: the {}'s, {since} ago by {}: {}{}",
            weights.shares,
            weights.owner,
            weights.author,
            weights.reason,
            until.unwrap_or_default()
        )
    };
    head.overlay.weights.iter().map(told).collect()
}

fn nodes(summary: &Summary) -> Cell {
    let Summary { nodes, applied, pending, refused, away, .. } = *summary;
    let parts = [(pending, "pending"), (refused, "refused it"), (away, "away")];
    let others: String =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!(", {count} {what}")).collect();
    let tone = if refused + away > 0 { Tone::Bad } else { Tone::Plain };
    if nodes == 0 { "none yet".into() } else { Cell::new(format!("{applied} of {nodes} run it{others}"), tone) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::canned;

    #[test]
    fn one_screen_tells_how_it_stands() {
        let file = json!({ "path": "shop.yaml", "accepted": false, "standing": "parked by a rollback", "parked": "a".repeat(64),
            "refused": 2 });
        let counts = |applied: u32, pending: u32, away: u32| {
            json!({ "nodes": applied + pending + away, "connected": applied + pending, "applied": applied,
                    "pending": pending, "refused": 0, "away": away })
        };
        let status = |mode: &str, head: Value, file: Value, overrides: Value, nodes: Value| {
            let status = canned::read(json!({ "history": "0123456789abcdef", "mode": mode, "head": head, "file": file,
                "overrides": overrides, "nodes": nodes, "uptime_seconds": 7_400, "version": "0.1.0" }));
            lines(&status, canned::now(), Paint::NONE).join("\n")
        };
        let head = canned::revision_value(18, "weights");
        let all = [
            status("file", head, file, json!({ "7": canned::freeze() }), counts(5, 1, 1)),
            status("api", Value::Null, Value::Null, json!({}), counts(0, 0, 0)),
        ];
        insta::assert_snapshot!(all.join("\n\n"));
    }
}

//! The proxies that follow the control plane.

use std::time::Duration;

use sluice_config::Timestamp;
use sluice_control::api::view::Nodes;
use sluice_control_core::fleet::{NodeStanding, Numbered, State};

use crate::moment::{between, short};
use crate::terminal::{Cell, Paint, Table, Tone};

/// A row for each node; those that are missing are counted below.
pub(super) fn lines(nodes: &Nodes, now: Timestamp, paint: Paint) -> Vec<String> {
    if nodes.nodes.is_empty() {
        return vec!["no node has connected; start one with `sluice proxy --control URL`".to_owned()];
    }
    let head = ["NODE", "REGION", "STATE", ">RUNS", ">WANTED", ">BEHIND", "VERSION", ">HEARD", "WHY"];
    let mut table = Table::new(&head);
    nodes.nodes.iter().for_each(|node| table.row(row(node, now)));
    let mut lines = table.lines(paint);
    let missing: Vec<&str> =
        nodes.nodes.iter().filter(|node| node.state == State::Away).map(|one| one.node.as_str()).collect();
    if !missing.is_empty() {
        lines.push(format!("{} of {} missing: {}", missing.len(), nodes.nodes.len(), missing.join(", ")));
    }
    lines
}

fn row(node: &NodeStanding, now: Timestamp) -> [Cell; 9] {
    let (state, why) = state(node);
    let number = |revision: &Option<Numbered>| {
        let id = revision.as_ref().map(|revision| revision.id.to_string());
        id.unwrap_or_else(|| "-".to_owned())
    };
    [
        node.node.as_str().into(),
        node.region.as_ref().map(|region| region.as_str().to_owned()).unwrap_or_default().into(),
        state,
        number(&node.running).into(),
        number(&node.wanted).into(),
        node.age_ms.map(|age| short(Duration::from_millis(age))).unwrap_or_default().into(),
        node.version.as_str().into(),
        format!("{} ago", between(node.last_heard, now)).into(),
        why.into(),
    ]
}

fn state(node: &NodeStanding) -> (Cell, String) {
    let rival = node.rival.as_ref().map(|rival| format!("another process at {} has its name", rival.address));
    let (state, why) = match &node.state {
        State::Applied => (Cell::new("applied", Tone::Good), None),
        State::Pending => (Cell::from("pending"), None),
        State::Refused { problems, retries } => {
            let tries = if *retries { "; it tries again" } else { "" };
            (Cell::new("refused", Tone::Bad), Some(format!("{}{tries}", problems.join("; "))))
        }
        State::Away => (Cell::new("away", Tone::Bad), None),
    };
    (state, why.into_iter().chain(rival).collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::canned;

    fn node(name: &str, running: u64, more: Value) -> Value {
        let revision = |id: u64| json!({ "id": id, "digest": "0".repeat(64) });
        let mut node = json!({
            "node": name, "region": "us-east-1", "version": "0.1.0", "connected": true, "address": "10.0.0.1:4711",
            "since": "2026-11-26T09:00:00Z", "running": revision(running), "wanted": revision(18),
            "last_heard": "2026-11-26T09:59:57Z",
        });
        node.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        node
    }

    #[test]
    fn nodes_are_told_with_what_is_wrong() {
        let rival = json!({ "address": "10.0.0.9:5000", "at": "2026-11-26T09:59:00Z" });
        let why = json!(["listener web: address in use"]);
        let nodes = canned::read(json!({ "wanted": 18, "nodes": [
            node("edge-1", 18, json!({ "state": "applied" })),
            node("edge-2", 17, json!({ "state": "pending", "age_ms": 1400 })),
            node("edge-3", 16, json!({ "state": "refused", "problems": why, "retries": true, "age_ms": 192_000 })),
            node("edge-4", 17, json!({ "state": "away", "last_heard": "2026-11-26T08:00:00Z", "age_ms": 192_000 })),
            node("edge-5", 18, json!({ "state": "applied", "rival": rival, "region": null })),
        ] }));
        let text = lines(&nodes, canned::now(), Paint::NONE).join("\n");
        insta::assert_snapshot!(text);
        let none = canned::read(json!({ "wanted": null, "nodes": [] }));
        assert!(lines(&none, canned::now(), Paint::NONE)[0].contains("sluice proxy"));
    }
}

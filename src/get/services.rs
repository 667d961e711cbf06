//! Services and their weights.

use sluice_config::Timestamp;
use sluice_config::share::Share;
use sluice_control::api::view::{Service, Services, Version, WeightsOwner};

use crate::moment::between;
use crate::terminal::{Cell, Table, Tone};

/// A row for each version. What is of the service stands in the first of its rows.
pub(super) fn table(services: &Services, now: Timestamp) -> Table {
    let head = ["SERVICE", "VERSION", ">SHARE", ">DOCUMENT", ">HEALTHY", ">REQ/S", "OWNER", "REASON"];
    let mut table = Table::new(&head);
    for service in &services.services {
        for (place, version) in service.versions.iter().enumerate() {
            table.row(row(service, version, place == 0, now));
        }
    }
    table
}

fn row(service: &Service, version: &Version, is_first: bool, now: Timestamp) -> [Cell; 8] {
    let first = |text: String| if is_first { text } else { String::new() };
    let rate = service.requests_per_second.map(|rate| format!("{rate:.1}")).unwrap_or_default();
    let differs = version.share != version.document_share;
    [
        first(service.name.as_str().to_owned()).into(),
        version.name.as_str().into(),
        Cell::new(version.share.to_string(), if version.share == Share::NONE { Tone::Faint } else { Tone::Plain }),
        if differs { version.document_share.to_string() } else { String::new() }.into(),
        health(version),
        first(rate).into(),
        first(owner(service, now)).into(),
        first(service.shift.as_ref().map(|shift| shift.reason.to_string()).unwrap_or_default()).into(),
    ]
}

/// How many endpoints may be chosen, of how many. Unknown while no proxy reports.
fn health(version: &Version) -> Cell {
    let all: usize = version.pools.iter().map(|pool| pool.endpoints).sum();
    let healthy: Option<u32> = version.pools.iter().map(|pool| pool.healthy).sum();
    match healthy {
        None => Cell::new(format!("?/{all}"), Tone::Faint),
        Some(healthy) => {
            let is_whole = usize::try_from(healthy).is_ok_and(|healthy| healthy >= all);
            Cell::new(format!("{healthy}/{all}"), if is_whole { Tone::Good } else { Tone::Bad })
        }
    }
}

fn owner(service: &Service, now: Timestamp) -> String {
    let owner = match service.owner {
        WeightsOwner::Document => return "document".to_owned(),
        WeightsOwner::Operator => "operator",
    };
    let Some(shift) = &service.shift else { return owner.to_owned() };
    let until = shift.until.map(|until| format!(", {} more", between(now, until))).unwrap_or_default();
    format!("{owner} ({}, {} ago{until})", shift.author, between(shift.since, now))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::canned;
    use crate::terminal::Paint;

    #[test]
    fn services_are_told_with_whose_their_weights_are() {
        let pool = |region: &str, endpoints: usize, healthy: Option<u32>| {
            json!({ "region": region, "endpoints": endpoints, "healthy": healthy, "requests": [0, 9, 0, 0, 1, 0],
                    "latency": canned::latency() })
        };
        let version = |name: &str, share: &str, document: &str, pools: [serde_json::Value; 2]| json!({ "name": name, "share": share, "document_share": document, "pools": pools });
        let shift = json!({ "author": "ann", "reason": "try v2 on a few", "since": "2026-11-26T09:56:48Z",
                            "until": "2026-11-26T11:56:48Z" });
        let services = canned::read(json!({ "services": [
            { "name": "shop", "owner": "operator", "shift": shift, "requests_per_second": 1234.56, "versions": [
                version("v1", "95%", "100%", [pool("us-east-1", 2, Some(2)), pool("us-west-2", 1, Some(1))]),
                version("v2", "5%", "0%", [pool("us-east-1", 1, Some(1)), pool("us-west-2", 1, Some(0))]),
            ] },
            { "name": "books", "owner": "document", "shift": null, "requests_per_second": null, "versions": [
                version("v1", "100%", "100%", [pool("us-east-1", 2, None), pool("us-west-2", 1, Some(1))]),
            ] },
        ] }));
        insta::assert_snapshot!(table(&services, canned::now()).lines(Paint::NONE).join("\n"));
    }
}

//! Endpoints as one proxy sees them.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use sluice_config::Timestamp;
use sluice_config::endpoints::{Breaker, Endpoint, Endpoints, Pool, Source, Trouble};
use sluice_config::name::ServiceName;
use sluice_config::overlay::Force;

use crate::argument::name;
use crate::cli::{Exit, Output, OutputArg};
use crate::client::{STATUS, StatusListener};
use crate::moment::{between, left};
use crate::run::status;
use crate::terminal::{Cell, Color, Paint, Table, Tone, print};
use crate::value::render;

/// Whose, and which proxy is asked.
#[derive(Debug, Args)]
pub(crate) struct EndpointsArgs {
    /// Only those of this service
    #[arg(value_parser = name::<ServiceName>)]
    service: Option<ServiceName>,
    /// The status listener of the proxy that is asked
    #[arg(long, value_name = "ADDRESS", default_value_t = STATUS, value_parser = status)]
    status: SocketAddr,
    #[command(flatten)]
    output: OutputArg,
}

/// Asks, and prints the answer.
///
/// # Errors
/// No proxy answers, it has no such service, or nobody reads the result.
pub(super) fn run(args: &EndpointsArgs, color: Color) -> anyhow::Result<Exit> {
    let service = args.service.as_ref().map(|service| format!("?service={service}"));
    let told = StatusListener(args.status).get(&format!("/api/endpoints{}", service.unwrap_or_default()))?;
    match args.output.output {
        Output::Table => {
            let endpoints = serde_json::from_value(told);
            let endpoints = endpoints.context("the answer is not understood; is the proxy's version another?")?;
            print(lines(&endpoints, color.stdout()))?;
        }
        form @ (Output::Json | Output::Yaml) => print([render(&told, form)?])?,
    }
    Ok(Exit::Done)
}

/// A table of pools, and one of their endpoints.
fn lines(endpoints: &Endpoints, paint: Paint) -> Vec<String> {
    let (pools, now) = (&endpoints.pools, endpoints.at);
    let mut table = Table::new(&["POOL", "REGION", ">ELIGIBLE", ">HEALTHY", "BREAKER", ">REQUESTS"]);
    pools.iter().for_each(|pool| table.row(pool_row(pool, now)));
    let mut lines = table.lines(paint);
    lines.push(String::new());
    let head = ["POOL", "REGION", "ENDPOINT", ">WEIGHT", "HEALTH", "BREAKER", ">REQUESTS", ">LATENCY", "STATE"];
    let mut table = Table::new(&head);
    for pool in pools {
        for (place, endpoint) in pool.endpoints.iter().enumerate() {
            table.row(row(pool, endpoint, place == 0, now));
        }
        if pool.endpoints.is_empty() {
            pool.sources.iter().enumerate().for_each(|(place, source)| table.row(lack(pool, source, place == 0, now)));
        }
    }
    lines.extend(table.lines(paint));
    lines
}

fn pool_name(pool: &Pool) -> String {
    format!("{}/{}", pool.service, pool.version)
}

fn pool_row(pool: &Pool, now: Timestamp) -> [Cell; 6] {
    let all = pool.endpoints.len();
    let of_all = |count: usize| {
        let tone = match count {
            0 => Tone::Bad,
            _ if count == all => Tone::Good,
            _ => Tone::Plain,
        };
        Cell::new(format!("{count}/{all}"), tone)
    };
    [
        pool_name(pool).into(),
        pool.region.as_str().into(),
        if pool.panic { Cell::new(format!("{}/{all} panic", pool.eligible), Tone::Bad) } else { of_all(pool.eligible) },
        of_all(pool.healthy),
        breaker(pool.breaker.as_ref(), now),
        pool.in_flight.to_string().into(),
    ]
}

/// Why a source has brought nothing to a pool that has nothing.
fn lack(pool: &Pool, source: &Source, is_first: bool, now: Timestamp) -> [Cell; 9] {
    let why = match &source.trouble {
        Some(Trouble { message, since, .. }) => format!("{message} (for {})", between(*since, now)),
        None if source.endpoints == 0 => "it has not answered yet".to_owned(),
        None => "it has addresses, which are not in place yet".to_owned(),
    };
    let [first, region] = place(pool, is_first);
    let why = Cell::new(format!("none yet: {why}"), Tone::Bad);
    let [weight, health, breaker, requests, latency] = Default::default();
    [first, region, source.source.as_str().into(), weight, health, breaker, requests, latency, why]
}

/// The pool's name and region, in its first row only.
fn place(pool: &Pool, is_first: bool) -> [Cell; 2] {
    if is_first { [pool_name(pool).into(), pool.region.as_str().into()] } else { Default::default() }
}

fn row(pool: &Pool, endpoint: &Endpoint, is_first: bool, now: Timestamp) -> [Cell; 9] {
    let [first, region] = place(pool, is_first);
    let zone = endpoint.zone.as_ref().map(|zone| format!(" ({zone})")).unwrap_or_default();
    let latency = endpoint.latency_us.map(|us| latency(Duration::from_micros(us)));
    [
        first,
        region,
        format!("{}{zone}", endpoint.address).into(),
        weight(endpoint).into(),
        health(endpoint),
        breaker(endpoint.breaker.as_ref(), now),
        endpoint.in_flight.to_string().into(),
        latency.unwrap_or_default().into(),
        state(endpoint, now),
    ]
}

/// The weight, and how much of it counts now.
fn weight(endpoint: &Endpoint) -> String {
    match endpoint.level {
        1_000.. => endpoint.weight.to_string(),
        level => format!("{} x {}.{} %", endpoint.weight, level / 10, level % 10),
    }
}

fn latency(time: Duration) -> String {
    match time.as_micros() {
        us @ 0..10_000 => format!("{}.{} ms", us / 1_000, us % 1_000 / 100),
        us => format!("{} ms", us / 1_000),
    }
}

fn health(endpoint: &Endpoint) -> Cell {
    let health = &endpoint.health;
    let cause = health.cause.as_ref().map(|cause| format!(": {cause}")).unwrap_or_default();
    let tone = match health.standing.as_str() {
        "verified" => Tone::Good,
        "out" => Tone::Bad,
        _ => Tone::Faint,
    };
    Cell::new(format!("{}{cause}", health.standing), tone)
}

fn breaker(breaker: Option<&Breaker>, now: Timestamp) -> Cell {
    let Some(breaker) = breaker else { return Cell::default() };
    let until = breaker.until.map(|until| format!(" for {}", left(now, until))).unwrap_or_default();
    let why = match (&breaker.force, &breaker.reason) {
        (Some(_), _) => " (forced)".to_owned(),
        (None, _) if breaker.admits.is_some() => format!(" ({} at once)", breaker.admits.unwrap_or_default()),
        (None, Some(reason)) => format!(" ({reason})"),
        (None, None) => String::new(),
    };
    let tone = if breaker.state == "closed" { Tone::Good } else { Tone::Bad };
    Cell::new(format!("{}{until}{why}", breaker.state.replace('_', "-")), tone)
}

/// Whether it may be chosen; if not, why.
fn state(endpoint: &Endpoint, now: Timestamp) -> Cell {
    let Some(obstacle) = &endpoint.obstacle else {
        return match endpoint.force {
            Some(Force::In) => Cell::new("forced in", Tone::Bad),
            Some(Force::Out) | None => Cell::new("eligible", Tone::Good),
        };
    };
    let words = match (obstacle.as_str(), &endpoint.ejection) {
        ("forced", _) => "forced out".to_owned(),
        ("ejected", Some(ejection)) => {
            let (until, times) = (left(now, ejection.until), ejection.times);
            let times = if times == 1 { "once".to_owned() } else { format!("{times} times") };
            format!("ejected for {until}, {times} lately: {}", ejection.reason)
        }
        ("weight", _) => "its weight is 0".to_owned(),
        ("unprobed", _) => "not probed yet".to_owned(),
        ("out", _) => "its probes fail".to_owned(),
        ("breaker", _) => "its breaker is open".to_owned(),
        ("draining", _) => "it drains".to_owned(),
        ("full", _) => "no room".to_owned(),
        ("trial", _) => "a trial is under way".to_owned(),
        ("level", _) => "it asks for nothing".to_owned(),
        ("pool_breaker", _) => "the pool's breaker is open".to_owned(),
        ("panic", _) => "too few of its pool are left".to_owned(),
        ("zone", _) => "another zone takes everything".to_owned(),
        (other, _) => other.replace('_', " "),
    };
    Cell::new(words, Tone::Bad)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::canned;

    fn endpoint(last: u8, more: Value) -> Value {
        let mut endpoint = json!({
            "address": format!("10.0.1.{last}:8080"), "weight": 1, "level": 1000, "health": { "standing": "verified" },
            "in_flight": 3, "latency_us": 1_940, "eligible": true,
        });
        endpoint.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        endpoint
    }

    #[test]
    fn endpoints_are_told_with_why_not() {
        let no = |obstacle: &str| json!({ "eligible": false, "obstacle": obstacle });
        let with = |more: Value, other: Value| {
            let mut all = more;
            all.as_object_mut().unwrap().extend(other.as_object().unwrap().clone());
            all
        };
        let open = json!({ "state": "open", "reason": "ratio", "until": "2026-11-26T10:00:04Z" });
        let ejection = json!({ "until": "2026-11-26T10:00:25Z", "times": 2, "reason": "success_rate" });
        let out = json!({ "health": { "standing": "out", "cause": "refused" }, "latency_us": null, "in_flight": 0 });
        let first = [
            endpoint(10, json!({ "zone": "us-east-1a" })),
            endpoint(11, json!({ "level": 350, "weight": 2, "latency_us": 12_400 })),
            endpoint(12, with(no("out"), out.clone())),
            endpoint(13, with(no("forced"), json!({ "force": "out" }))),
            endpoint(14, with(out, json!({ "force": "in" }))),
            endpoint(15, with(no("breaker"), json!({ "breaker": open }))),
            endpoint(16, with(no("ejected"), json!({ "ejection": ejection }))),
            endpoint(17, with(no("trial"), json!({ "breaker": { "state": "half_open", "reason": "consecutive" } }))),
        ];
        let pool = |version: &str, breaker: Value, eligible: usize, endpoints: &[Value]| {
            json!({ "service": "shop", "version": version, "region": "us-east-1", "in_flight": 21, "healthy": 6,
                    "eligible": eligible, "breaker": breaker, "endpoints": endpoints })
        };
        let forced = json!({ "state": "open", "force": "open" });
        let one = [endpoint(20, with(no("unprobed"), json!({ "health": { "standing": "unprobed" } })))];
        let trouble =
            json!({ "result": "no_name", "message": "there is no such name", "since": "2026-11-26T09:58:00Z" });
        let empty = json!({ "service": "cart", "version": "default", "region": "us-east-1", "in_flight": 0, "healthy": 0,
            "eligible": 0, "endpoints": [], "sources": [
                { "source": "dns cart.internal:8080", "endpoints": 0, "trouble": trouble },
                { "source": "file cart.yaml", "endpoints": 0 },
            ] });
        let endpoints = canned::read(json!({ "revision": 17, "at": "2026-11-26T10:00:00Z", "pools": [
            pool("v1", json!({ "state": "closed" }), 3, &first), pool("v2", forced, 0, &one), empty,
        ] }));
        insta::assert_snapshot!(lines(&endpoints, Paint::NONE).join("\n"));
    }
}

//! Whether a health check can find anything out.

use std::collections::BTreeMap;
use std::time::Duration;

use super::judge::Judge;
use crate::duration::write;
use crate::problem::{Code, Path, quote};
use crate::schema::health_check as written;
use crate::schema::service::Service;
use crate::validated::{GrpcProbe, HealthCheck, HttpProbe, Probe, ProbeMethod, Protocol, StatusRange, TcpProbe};

/// How many of the last probes the unsteady threshold counts among.
const WINDOW: u32 = 10;
/// Bad ones among them when nothing is said.
const UNSTEADY: u32 = 6;
/// The least interval in doubt when none is said.
const LEAST_IN_DOUBT: Duration = Duration::from_secs(1);
/// What belongs to a connection or a body, and is Sluice's own affair; lower case.
const OWN_FIELDS: [&str; 9] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "expect",
];

pub(super) fn resolve(
    judge: &mut Judge<'_>,
    service: &Path,
    of: &Service,
    check: &written::HealthCheck,
) -> HealthCheck {
    let path = service.clone().field("health_check");
    let (interval, timeout) = (check.interval.0, check.timeout.0);
    let probe = resolve_probe(judge, service, &path, of, check);
    check_agent(judge, &path, check);
    check_timeout(judge, &path, check);
    check_in_doubt(judge, &path, check);
    check_without_traffic(judge, &path, check);
    check_unsteady(judge, &path, check);
    let in_doubt = (interval / 5).max(LEAST_IN_DOUBT).max(timeout).min(interval);
    let unsteady = possible(check.failure_threshold).map(|(least, most)| UNSTEADY.clamp(least, most));
    HealthCheck {
        probe,
        port: check.port,
        agent: check.agent,
        interval,
        interval_in_doubt: check.interval_in_doubt.map_or(in_doubt, |span| span.0),
        interval_without_traffic: check.interval_without_traffic.0,
        timeout,
        failure_threshold: check.failure_threshold,
        recovery_threshold: check.recovery_threshold,
        unsteady_threshold: check.unsteady_threshold.map_or(unsteady, written::UnsteadyThreshold::get),
    }
}

fn resolve_probe(
    judge: &mut Judge<'_>,
    service: &Path,
    path: &Path,
    of: &Service,
    check: &written::HealthCheck,
) -> Probe {
    let asked = [check.http.is_some(), check.tcp.is_some(), check.grpc.is_some()];
    let names = ["http", "tcp", "grpc"];
    let mut present = names.into_iter().zip(asked).filter(|(_, asked)| *asked).map(|(name, _)| name);
    let (first, second) = (present.next(), present.next());
    let is_lost = names.iter().any(|name| judge.gaps.lost(path, name));
    match (first, second) {
        (None, _) if !is_lost && !judge.gaps.lost(service, "health_check") => {
            let hint = "write `http: { path: /healthz }`, `tcp: {}` or `grpc: {}`".to_owned();
            judge.report(Code::MissingField, path.clone(), "it is not said what endpoints are asked", Some(hint));
        }
        (Some(first), Some(second)) => {
            let message = format!("there is `{first}` already: endpoints are asked in one way");
            judge.report(Code::Conflict, path.clone().field(second), message, Some("remove one of them".to_owned()));
        }
        (None | Some(_), _) => {}
    }
    match (&check.http, &check.tcp, &check.grpc) {
        (Some(http), ..) => Probe::Http(resolve_http(judge, &path.clone().field("http"), http)),
        (None, Some(tcp), _) => Probe::Tcp(TcpProbe { send: tcp.send.clone(), expect: tcp.expect.clone() }),
        (None, None, grpc) => {
            if grpc.is_some() {
                check_protocol(judge, service, path, of);
            }
            Probe::Grpc(GrpcProbe { service: grpc.as_ref().and_then(|grpc| grpc.service.clone()) })
        }
    }
}

fn check_protocol(judge: &mut Judge<'_>, service: &Path, path: &Path, of: &Service) {
    if of.protocol == Protocol::Http1 && !judge.gaps.lost(service, "protocol") {
        let message = "gRPC needs HTTP/2, and the service speaks HTTP/1.1";
        let hint = "write `protocol: http2` in the service, or ask by `http` or `tcp`".to_owned();
        judge.report(Code::Conflict, path.clone().field("grpc"), message, Some(hint));
    }
}

fn resolve_http(judge: &mut Judge<'_>, path: &Path, http: &written::HttpProbe) -> HttpProbe {
    if http.body.is_some() && http.method == ProbeMethod::Head && !judge.gaps.lost(path, "method") {
        let hint = "ask by GET, or remove `body`".to_owned();
        judge.report(Code::Conflict, path.clone().field("body"), "an answer to HEAD has no body", Some(hint));
    }
    HttpProbe {
        path: http.path.clone(),
        host: http.host.clone(),
        method: http.method,
        headers: resolve_headers(judge, &path.clone().field("headers"), &http.headers),
        statuses: resolve_statuses(judge, &path.clone().field("statuses"), &http.statuses),
        body: http.body.clone(),
    }
}

fn resolve_headers(judge: &mut Judge<'_>, path: &Path, headers: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let mut resolved = BTreeMap::new();
    for (name, value) in headers {
        let lower = name.to_ascii_lowercase();
        let place = path.clone().field(name);
        if lower == "host" {
            let hint = "write it as `host`, beside `path`".to_owned();
            judge.report_key(Code::BadField, place.clone(), "Host has a field of its own", hint);
        } else if OWN_FIELDS.contains(&lower.as_str()) {
            let message = format!("{} is about the connection or the body, which are Sluice's own affair", quote(name));
            judge.report_key(Code::BadField, place.clone(), message, "remove it".to_owned());
        }
        if resolved.insert(lower, value.clone()).is_some() {
            let message = format!("the header {} stands here twice", quote(name));
            let hint = "names of headers differ by more than case: remove one of them".to_owned();
            judge.report_key(Code::DuplicateKey, place, message, hint);
        }
    }
    resolved.into_iter().collect()
}

/// Sorted; one that another one holds in part is told.
fn resolve_statuses(judge: &mut Judge<'_>, path: &Path, statuses: &[written::Statuses]) -> Vec<StatusRange> {
    let mut ranges: Vec<(StatusRange, usize)> =
        statuses.iter().enumerate().map(|(place, statuses)| (statuses.range(), place)).collect();
    ranges.sort_unstable();
    for pair in ranges.windows(2) {
        let ((before, one), (after, other)) = (pair[0], pair[1]);
        if before.last >= after.first {
            let (range, twice) = if one > other { (after, before) } else { (before, after) };
            let message = format!("{twice} has statuses that {range} has already");
            let path = path.clone().item(one.max(other));
            judge.report(Code::DuplicateValue, path, message, Some("let ranges not overlap".to_owned()));
        }
    }
    ranges.into_iter().map(|(range, _)| range).collect()
}

fn check_agent(judge: &mut Judge<'_>, path: &Path, check: &written::HealthCheck) {
    if check.agent && check.grpc.is_some() {
        let message = "the health service of gRPC has no place for an agent's word";
        let hint = "ask by `http` or `tcp`, or remove `agent`".to_owned();
        judge.report(Code::Conflict, path.clone().field("agent"), message, Some(hint));
    }
}

/// Whether none of these fields is lost.
fn are_known(judge: &Judge<'_>, path: &Path, fields: &[&str]) -> bool {
    !fields.iter().any(|field| judge.gaps.lost(path, field))
}

fn check_timeout(judge: &mut Judge<'_>, path: &Path, check: &written::HealthCheck) {
    let (interval, timeout) = (check.interval.0, check.timeout.0);
    if timeout > interval && are_known(judge, path, &["interval", "timeout"]) {
        let message = format!("the timeout {} is longer than the interval {}", write(timeout), write(interval));
        let hint =
            "a probe must be over before the next one starts: raise the interval or lower the timeout".to_owned();
        judge.report(Code::TimeoutAboveInterval, path.clone().field("timeout"), message, Some(hint));
    }
}

fn check_in_doubt(judge: &mut Judge<'_>, path: &Path, check: &written::HealthCheck) {
    let Some(in_doubt) = check.interval_in_doubt.map(|span| span.0) else { return };
    let (interval, timeout) = (check.interval.0, check.timeout.0);
    let place = path.clone().field("interval_in_doubt");
    if in_doubt > interval && are_known(judge, path, &["interval", "interval_in_doubt"]) {
        let message = format!("{} is longer than the interval {}", write(in_doubt), write(interval));
        let hint = "what is in doubt is asked sooner, not later: lower it, or leave it out".to_owned();
        judge.report(Code::Conflict, place, message, Some(hint));
    } else if in_doubt < timeout && timeout <= interval && are_known(judge, path, &["timeout", "interval_in_doubt"]) {
        let message = format!("the timeout {} is longer than {}", write(timeout), write(in_doubt));
        let hint = "a probe must be over before the next one starts: raise it or lower the timeout".to_owned();
        judge.report(Code::TimeoutAboveInterval, place, message, Some(hint));
    }
}

fn check_without_traffic(judge: &mut Judge<'_>, path: &Path, check: &written::HealthCheck) {
    let (Some(idle), interval) = (check.interval_without_traffic.0, check.interval.0) else { return };
    if idle < interval && are_known(judge, path, &["interval", "interval_without_traffic"]) {
        let message = format!("{} is shorter than the interval {}", write(idle), write(interval));
        let hint = "what has no traffic is asked later, not sooner: raise it, or write `off`".to_owned();
        judge.report(Code::Conflict, path.clone().field("interval_without_traffic"), message, Some(hint));
    }
}

/// What the unsteady threshold can be beside so many bad probes in a row: not fewer, or the streak would never be met first;
/// and no more than ten probes can have without so many in a row, or it would itself never be met first.
fn possible(failure_threshold: u32) -> Option<(u32, u32)> {
    let most = WINDOW - WINDOW / failure_threshold.max(1);
    (failure_threshold <= most).then_some((failure_threshold, most))
}

fn check_unsteady(judge: &mut Judge<'_>, path: &Path, check: &written::HealthCheck) {
    let Some(unsteady) = check.unsteady_threshold.and_then(written::UnsteadyThreshold::get) else { return };
    let failures = check.failure_threshold;
    if !are_known(judge, path, &["failure_threshold", "unsteady_threshold"]) {
        return;
    }
    let (message, hint) = match possible(failures) {
        Some((least, most)) if (least..=most).contains(&unsteady) => return,
        Some((least, most)) if unsteady < least => (
            format!("{unsteady} of the last {WINDOW} is less than {failures} in a row, which would never be met"),
            format!("write {least} to {most}, or lower `failure_threshold`"),
        ),
        Some((least, most)) => (
            format!("it is never met: {unsteady} bad probes of {WINDOW} have {failures} in a row among them"),
            format!("write {least} to {most}, or `off`"),
        ),
        None => (
            format!("it is never met first where `failure_threshold` is {failures}"),
            "write `off`, or leave it out".to_owned(),
        ),
    };
    judge.report(Code::Conflict, path.clone().field("unsteady_threshold"), message, Some(hint));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The formula against all 1,024 courses of ten probes.
    #[test]
    fn the_unsteady_threshold_can_be_met_before_the_streak() {
        let longest = |course: u32| {
            (0..WINDOW).fold((0, 0), |(run, longest): (u32, u32), at| {
                let run = if course >> at & 1 == 1 { run + 1 } else { 0 };
                (run, longest.max(run))
            })
        };
        for failures in 1..=12 {
            let courses = (0..1_u32 << WINDOW).filter(|course| longest(*course).1 < failures);
            let most = courses.map(u32::count_ones).max().expect("ten good probes have no bad one");
            assert_eq!(possible(failures), (failures <= most).then_some((failures, most)), "{failures}");
        }
    }
}

//! Whether what is said about the choice inside of a pool, and about what is kept out of it, can work.

use std::time::Duration;

use super::judge::Judge;
use crate::duration::write;
use crate::problem::{Code, Path};
use crate::schema::balancer::SlowStart;
use crate::schema::breaker as written_breaker;
use crate::schema::endpoint::Endpoint;
use crate::schema::service as written;
use crate::schema::split::{Split, StickyKey};
use crate::share::Share;
use crate::validated::{
    Balancer, Breaker, Breakers, Fallback, OutlierEjection, Panic, PoolLimits, ServiceLimits, Session, Zones,
};

/// What a service says about its pools.
pub(super) struct Resolved {
    pub(super) balancer: Balancer,
    pub(super) slow_start: Option<crate::validated::SlowStart>,
    pub(super) zones: Option<Zones>,
    pub(super) session: Option<Session>,
    pub(super) panic: Option<Panic>,
    pub(super) outlier_ejection: Option<OutlierEjection>,
    pub(super) breaker: Breakers,
    pub(super) limits: ServiceLimits,
    pub(super) fallback: Fallback,
}

pub(super) fn resolve(judge: &mut Judge<'_>, path: &Path, service: &written::Service) -> Resolved {
    let resolved = Resolved {
        balancer: (&service.balancer).into(),
        slow_start: service.slow_start.as_ref().map(Into::into),
        zones: service.zones.as_ref().map(Into::into),
        session: service.session.as_ref().map(Into::into),
        panic: service.panic.as_ref().map(Into::into),
        outlier_ejection: service.outlier_ejection.as_ref().map(Into::into),
        breaker: breakers(service.breaker.as_ref()),
        limits: (&service.limits).into(),
        fallback: service.fallback,
    };
    check_balancer(judge, path, &resolved);
    check_session(judge, path, &resolved);
    check_cookie(judge, path, service, resolved.session.as_ref());
    check_times(judge, path, &resolved);
    check_slow_start(judge, path, service.slow_start.as_ref());
    check_zones(judge, path, service, &resolved);
    check_panic(judge, path, &resolved);
    check_ejection(judge, path, service, resolved.outlier_ejection.as_ref());
    check_good_probe(judge, path, service, resolved.outlier_ejection.as_ref());
    check_breakers(judge, path, service, &resolved.breaker);
    check_slow_calls(judge, path, service, &resolved);
    check_limits(judge, path, service, &resolved.limits);
    check_fallback(judge, path, service, &resolved);
    resolved
}

fn breakers(written: Option<&written_breaker::Breakers>) -> Breakers {
    let Some(written) = written else { return Breakers::default() };
    Breakers {
        endpoint: written.endpoint.as_ref().map(|breaker| breaker.resolve(Some(Breaker::STREAK))),
        pool: written.pool.as_ref().map(|breaker| breaker.resolve(None)),
    }
}

fn check_balancer(judge: &mut Judge<'_>, path: &Path, resolved: &Resolved) {
    let Balancer::Maglev { bounded_load, .. } = &resolved.balancer else { return };
    let balancer = path.clone().field("balancer");
    if let Some(bound) = bounded_load
        && bound.get() < 100
    {
        let path = balancer.clone().field("maglev").field("bounded_load");
        let message = format!("at {bound} of the average the endpoints together could not take all requests");
        judge.report(Code::OutOfRange, path, message, Some("100% or more; 125% is usual".to_owned()));
    }
}

/// A session leads every request by its own key, so that a balancer would have nothing to choose.
fn check_session(judge: &mut Judge<'_>, path: &Path, resolved: &Resolved) {
    let decides = resolved.balancer == Balancer::RoundRobin || judge.gaps.lost(path, "balancer");
    if resolved.session.is_some() && !decides {
        let message = "a session chooses the endpoint by its own key, and the balancer would have nothing to choose";
        let hint = "remove one of them, or let maglev hash the cookie that the application sets".to_owned();
        judge.report(Code::Conflict, path.clone().field("session"), message, Some(hint));
    }
}

/// A session sets its cookie: under a name that somebody else uses it would destroy what is there.
fn check_cookie(judge: &mut Judge<'_>, path: &Path, service: &written::Service, session: Option<&Session>) {
    let (Some(session), Split::Sticky(StickyKey::Cookie(name))) = (session, &service.split) else { return };
    if session.cookie == *name {
        let message = format!("the session would overwrite the cookie `{name}`, by which the versions are split");
        let hint = "give them different names, or remove `split`: a session keeps its version, too".to_owned();
        judge.report(Code::Conflict, path.clone().field("session").field("cookie"), message, Some(hint));
    }
}

fn check_slow_start(judge: &mut Judge<'_>, path: &Path, slow: Option<&SlowStart>) {
    let Some(floor) = slow.map(|slow| slow.floor.0) else { return };
    let path = path.clone().field("slow_start").field("floor");
    if floor == Share::NONE {
        let message = "an endpoint that begins with nothing is never warmed up";
        judge.report(Code::OutOfRange, path, message, Some("above 0%: 10%".to_owned()));
    } else if floor == Share::WHOLE {
        let message = "an endpoint that begins with its whole weight is not warmed up";
        judge.report(Code::OutOfRange, path, message, Some("below 100%: 10%, or remove `slow_start`".to_owned()));
    }
}

fn check_zones(judge: &mut Judge<'_>, path: &Path, service: &written::Service, resolved: &Resolved) {
    let Some(zones) = &resolved.zones else { return };
    if !service.members().any(Endpoint::may_have_zone) && judge.knows_members(path, service) {
        let message = "no endpoint says in which zone it is, so none is preferred";
        let hint = "write { address: \"IP:PORT\", zone: NAME } for the endpoints, or remove it".to_owned();
        judge.report(Code::Conflict, path.clone().field("zones"), message, Some(hint));
    }
    if zones.overprovisioning.get() < 100 {
        let path = path.clone().field("zones").field("overprovisioning");
        let message = format!("{} would send traffic away from a zone that is wholly healthy", zones.overprovisioning);
        judge.report(Code::OutOfRange, path, message, Some("100% or more; 140% is usual".to_owned()));
    }
}

fn check_panic(judge: &mut Judge<'_>, path: &Path, resolved: &Resolved) {
    if resolved.panic.is_some_and(|panic| panic.below == Share::NONE) {
        let path = path.clone().field("panic").field("below");
        let hint = "above 0%, or remove `panic`".to_owned();
        judge.report(Code::OutOfRange, path, "no share is below 0%: it would never happen", Some(hint));
    }
}

fn check_ejection(judge: &mut Judge<'_>, path: &Path, service: &written::Service, ejection: Option<&OutlierEjection>) {
    let Some(ejection) = ejection else { return };
    let path = path.clone().field("outlier_ejection");
    check_detectors(judge, &path, ejection);
    if ejection.max_ejected == Share::NONE {
        let hint = "above 0%, or remove `outlier_ejection`".to_owned();
        judge.report(Code::OutOfRange, path.clone().field("max_ejected"), "nothing could ever be ejected", Some(hint));
    }
    check_order(judge, &path, ("base_time", ejection.base_time), ("max_time", ejection.max_time));
    check_pools(judge, &path, ejection, service);
}

fn check_detectors(judge: &mut Judge<'_>, path: &Path, ejection: &OutlierEjection) {
    let OutlierEjection { consecutive_failures, consecutive_gateway_failures, .. } = ejection;
    let by_traffic =
        [ejection.success_rate.is_some(), ejection.failure_percentage.is_some(), ejection.latency.is_some()];
    let none = consecutive_failures.is_none() && consecutive_gateway_failures.is_none() && !by_traffic.contains(&true);
    if none && !judge.gaps.is_damaged(path) {
        let hint = "give one of them: consecutive_failures, consecutive_gateway_failures, success_rate, \
                    failure_percentage or latency";
        let message = "there is no reason for which an endpoint would be ejected";
        judge.report(Code::Conflict, path.clone(), message, Some(hint.to_owned()));
    } else if !by_traffic.contains(&true) {
        check_interval(judge, path, ejection);
    }
    check_gateway(judge, path, ejection);
    if ejection.failure_percentage.is_some_and(|failures| failures.threshold == Share::NONE) {
        let path = path.clone().field("failure_percentage").field("threshold");
        judge.report(
            Code::OutOfRange,
            path,
            "an endpoint without a failure would be ejected",
            Some("above 0%".to_owned()),
        );
    }
    if ejection.latency.is_some_and(|latency| latency.factor.get() <= 100) {
        let path = path.clone().field("latency").field("factor");
        let hint = "above 100%; 300% is usual".to_owned();
        judge.report(Code::OutOfRange, path, "half of the pool is above its median", Some(hint));
    }
}

fn check_interval(judge: &mut Judge<'_>, path: &Path, ejection: &OutlierEjection) {
    let detectors = ["success_rate", "failure_percentage", "latency"];
    let is_known = !detectors.iter().any(|detector| judge.gaps.lost(path, detector));
    if ejection.interval != OutlierEjection::default().interval && is_known {
        let message = "nothing is looked at in intervals: failures in a row are counted as they come";
        let hint = "give success_rate, failure_percentage or latency, or remove it".to_owned();
        judge.report(Code::Conflict, path.clone().field("interval"), message, Some(hint));
    }
}

/// Every gateway failure is a failure, so a streak of them is never longer.
fn check_gateway(judge: &mut Judge<'_>, path: &Path, ejection: &OutlierEjection) {
    let (Some(gateway), Some(all)) = (ejection.consecutive_gateway_failures, ejection.consecutive_failures) else {
        return;
    };
    if gateway >= all && !judge.gaps.lost(path, "consecutive_failures") {
        let message = format!("they are failures, too, and {all} in a row are enough by `consecutive_failures`");
        let hint = match all {
            1 => "remove it, or write `consecutive_failures: off`".to_owned(),
            _ => format!("below {all}, or write `consecutive_failures: off`"),
        };
        judge.report(Code::Conflict, path.clone().field("consecutive_gateway_failures"), message, Some(hint));
    }
}

fn check_good_probe(
    judge: &mut Judge<'_>,
    path: &Path,
    service: &written::Service,
    ejection: Option<&OutlierEjection>,
) {
    let is_probed = service.health_check.is_some() || judge.gaps.lost(path, "health_check");
    if ejection.is_some_and(|ejection| !ejection.return_on_good_probe) && !is_probed {
        let path = path.clone().field("outlier_ejection").field("return_on_good_probe");
        let hint = "remove it, or give the service a `health_check`".to_owned();
        judge.report(Code::Conflict, path, "there are no probes: the service has no `health_check`", Some(hint));
    }
}

/// A comparison needs a pool that is large enough. Of pools that are not fully written here nothing is known.
fn check_pools(judge: &mut Judge<'_>, path: &Path, ejection: &OutlierEjection, service: &written::Service) {
    let Some(largest) = largest(service).filter(|_| judge.gaps.is_empty()) else { return };
    if largest < 2 {
        let message = "no pool has two endpoints, and the last one is never ejected";
        let hint = "`breaker: { endpoint: {} }` stops traffic to a single endpoint that fails".to_owned();
        judge.report(Code::Conflict, path.clone(), message, Some(hint));
        return;
    }
    let far = check_deviations(judge, path, ejection, largest);
    let comparisons = [
        ("success_rate", ejection.success_rate.filter(|_| !far).map(|rate| rate.min_endpoints)),
        ("failure_percentage", ejection.failure_percentage.map(|failures| failures.min_endpoints)),
        ("latency", ejection.latency.map(|latency| latency.min_endpoints)),
    ];
    for (name, least) in comparisons {
        let Some(least) = least.filter(|least| usize::try_from(*least).is_ok_and(|least| least > largest)) else {
            continue;
        };
        let path = path.clone().field(name).field("min_endpoints");
        let message = format!("it needs {least} endpoints to compare, and the largest pool has {largest}");
        judge.report(Code::Conflict, path, message, Some(format!("at most {largest}")));
    }
}

/// The most endpoints that a pool has. Nothing if one of them may come to have any number, or there is none.
fn largest(service: &written::Service) -> Option<usize> {
    let bound = |pool: &Vec<Endpoint>| (!pool.iter().any(Endpoint::is_source)).then_some(pool.len());
    service.pools().map(bound).try_fold(0, |largest, bound| Some(largest.max(bound?))).filter(|largest| *largest > 0)
}

/// Whether the comparison of success rates is refused since no endpoint can be so far away from the mean: one of n values is
/// at most √(n − 1) standard deviations away (Samuelson, "How deviant can you be?", 1968).
fn check_deviations(judge: &mut Judge<'_>, path: &Path, ejection: &OutlierEjection, largest: usize) -> bool {
    let Some(rate) = ejection.success_rate else { return false };
    let possible = ((largest - 1) as f64).sqrt();
    if rate.deviations.factor() < possible {
        return false;
    }
    let path = path.clone().field("success_rate");
    let message = format!(
        "no endpoint can be {} of a standard deviation below the mean where the largest pool has {largest} endpoints",
        rate.deviations
    );
    let hint = "consecutive_failures and failure_percentage find it in small pools".to_owned();
    judge.report(Code::Conflict, path, message, Some(hint));
    true
}

fn check_breakers(judge: &mut Judge<'_>, path: &Path, service: &written::Service, breakers: &Breakers) {
    let Some(written) = &service.breaker else { return };
    let path = path.clone().field("breaker");
    if written.endpoint.is_none() && written.pool.is_none() && !judge.gaps.is_damaged(&path) {
        let hint = "write `endpoint: {}`, `pool: {}` or both for the defaults".to_owned();
        judge.report(Code::Conflict, path.clone(), "it says of nothing that it has a breaker", Some(hint));
    }
    let both = [
        ("endpoint", written.endpoint.as_ref(), breakers.endpoint.as_ref()),
        ("pool", written.pool.as_ref(), breakers.pool.as_ref()),
    ];
    for (name, written, breaker) in both {
        if let (Some(written), Some(breaker)) = (written, breaker) {
            check_breaker(judge, &path.clone().field(name), written, breaker);
        }
    }
}

fn check_breaker(judge: &mut Judge<'_>, path: &Path, written: &written_breaker::Breaker, breaker: &Breaker) {
    let none = breaker.consecutive_failures.is_none() && breaker.failure_ratio.is_none() && breaker.slow.is_none();
    if none && !judge.gaps.is_damaged(path) {
        let hint = "give one of them: consecutive_failures, failure_ratio or slow_after".to_owned();
        judge.report(Code::Conflict, path.clone(), "there is no reason for which it would open", Some(hint));
    } else if breaker.failure_ratio.is_none() && breaker.slow.is_none() {
        check_window(judge, path, breaker);
    }
    let ratios = [("failure_ratio", breaker.failure_ratio), ("slow_ratio", written.slow_ratio.map(|ratio| ratio.0))];
    for (name, _) in ratios.into_iter().filter(|(_, ratio)| *ratio == Some(Share::NONE)) {
        let hint = "above 0%; 50% is usual".to_owned();
        let message = "it would open without a reason";
        judge.report(Code::OutOfRange, path.clone().field(name), message, Some(hint));
    }
    if written.slow_ratio.is_some() && written.slow_after.is_none() && !judge.gaps.lost(path, "slow_after") {
        let hint = "say beside it what is slow: `slow_after: 1s`".to_owned();
        judge.report(Code::Conflict, path.clone().field("slow_ratio"), "nothing is slow", Some(hint));
    }
    if !(WINDOW.0..=WINDOW.1).contains(&breaker.window) {
        let message = format!("{} is not between {} and {}", write(breaker.window), write(WINDOW.0), write(WINDOW.1));
        judge.report(Code::OutOfRange, path.clone().field("window"), message, None);
    }
    check_order(judge, path, ("open_time", breaker.open_time), ("max_open_time", breaker.max_open_time));
}

/// What only a ratio needs, where none is looked at.
fn check_window(judge: &mut Judge<'_>, path: &Path, breaker: &Breaker) {
    if ["failure_ratio", "slow_after"].iter().any(|ratio| judge.gaps.lost(path, ratio)) {
        return;
    }
    let default = Breaker::default();
    let set =
        [("min_requests", breaker.min_requests != default.min_requests), ("window", breaker.window != default.window)];
    for (name, _) in set.into_iter().filter(|(_, differs)| *differs) {
        let hint = "give `failure_ratio` or `slow_after` a value, or remove it".to_owned();
        let message = "no ratio is looked at: failures in a row are counted without it";
        judge.report(Code::Conflict, path.clone().field(name), message, Some(hint));
    }
}

/// A time that no attempt takes makes none slow.
fn check_slow_calls(judge: &mut Judge<'_>, path: &Path, service: &written::Service, resolved: &Resolved) {
    let limits = path.clone().field("limits");
    let is_known = judge.knows(path, "timeouts", &["connect", "per_try", "total"])
        && judge.knows(path, "limits", &["endpoint"])
        && judge.knows(&limits, "endpoint", &["connections"]);
    let Some(longest) = longest(service, resolved).filter(|_| is_known) else { return };
    let breakers = [("endpoint", &resolved.breaker.endpoint), ("pool", &resolved.breaker.pool)];
    for (of, breaker) in breakers {
        let slow = breaker.as_ref().and_then(|breaker| breaker.slow);
        if slow.is_some_and(|slow| slow.after > longest) {
            let path = path.clone().field("breaker").field(of).field("slow_after");
            let message = format!("nothing is so slow: an attempt is given up after {}", write(longest));
            let hint = "lower it, or raise `timeouts.per_try` or `timeouts.total`".to_owned();
            judge.report(Code::Conflict, path, message, Some(hint));
        }
    }
}

/// The longest that an attempt can wait for the head of an answer, if that is known. Connecting counts; so does the wait
/// for a connection where their number is limited, whose length the document does not say.
fn longest(service: &written::Service, resolved: &Resolved) -> Option<Duration> {
    let timeouts = &service.timeouts;
    let per_try = timeouts.per_try.0.filter(|_| resolved.limits.endpoint.connections.is_none());
    let per_try = per_try.map(|per_try| per_try.saturating_add(timeouts.connect.0));
    per_try.into_iter().chain(timeouts.total.0).min()
}

/// How far back a breaker may look.
const WINDOW: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(600));

fn check_order(judge: &mut Judge<'_>, path: &Path, first: (&str, Duration), last: (&str, Duration)) {
    let is_known = !judge.gaps.lost(path, first.0) && !judge.gaps.lost(path, last.0);
    if first.1 > last.1 && is_known {
        let message = format!("{} is above `{}`, {}", write(first.1), last.0, write(last.1));
        let hint = format!("raise `{}` or lower `{}`", last.0, first.0);
        judge.report(Code::Conflict, path.clone().field(first.0), message, Some(hint));
    }
}

/// Below this nothing is any shorter: time is told to endpoints and pools so often.
const TICK: Duration = Duration::from_millis(100);

fn check_times(judge: &mut Judge<'_>, path: &Path, resolved: &Resolved) {
    let of_ejection = resolved.outlier_ejection.iter().flat_map(|ejection| {
        [("outlier_ejection", "interval", ejection.interval), ("outlier_ejection", "base_time", ejection.base_time)]
    });
    let of_start = resolved.slow_start.iter().map(|slow| ("slow_start", "window", slow.window));
    for (part, field, time) in of_ejection.chain(of_start) {
        check_tick(judge, path.clone().field(part).field(field), time);
    }
    let breakers = [("endpoint", &resolved.breaker.endpoint), ("pool", &resolved.breaker.pool)];
    for (of, breaker) in breakers {
        if let Some(breaker) = breaker {
            check_tick(judge, path.clone().field("breaker").field(of).field("open_time"), breaker.open_time);
        }
    }
}

fn check_tick(judge: &mut Judge<'_>, path: Path, time: Duration) {
    if time < TICK {
        let message = format!("{} is shorter than {}, how often it is looked at", write(time), write(TICK));
        judge.report(Code::OutOfRange, path, message, Some(format!("at least {}", write(TICK))));
    }
}

fn check_limits(judge: &mut Judge<'_>, path: &Path, service: &written::Service, limits: &ServiceLimits) {
    let total = service.timeouts.total.0.filter(|_| judge.knows(path, "timeouts", &["total"]));
    let path = path.clone().field("limits");
    if judge.gaps.is_damaged(&path) {
        return;
    }
    check_empty(judge, &path);
    if limits.pool.requests.is_none() && limits.endpoint.requests.is_none() {
        check_unlimited(judge, &path, limits);
    } else {
        check_wait(judge, &path, limits, total);
    }
    check_endpoint(judge, path, limits);
}

/// A map with nothing in it promises a limit where there is none.
fn check_empty(judge: &mut Judge<'_>, path: &Path) {
    for place in [path.clone(), path.clone().field("pool"), path.clone().field("endpoint")] {
        if judge.is_empty(&place) {
            let hint = "write `limits: { pool: { requests: .. } }`, say, or remove it".to_owned();
            judge.report(Code::EmptyList, place, "there is no limit in it", Some(hint));
        }
    }
}

fn check_unlimited(judge: &mut Judge<'_>, path: &Path, limits: &ServiceLimits) {
    let default = PoolLimits::default();
    let set = [
        ("pending", limits.pool.pending != default.pending),
        ("pending_timeout", limits.pool.pending_timeout != default.pending_timeout),
    ];
    for (name, _) in set.into_iter().filter(|(_, differs)| *differs) {
        let hint = "give `pool.requests` or `endpoint.requests` a bound, or remove it".to_owned();
        let path = path.clone().field("pool").field(name);
        judge.report(Code::Conflict, path, "nothing waits: there is no limit on requests", Some(hint));
    }
}

/// How long a request waits, where none does or where it is over before. `total`: when it is over, if that is known.
fn check_wait(judge: &mut Judge<'_>, path: &Path, limits: &ServiceLimits, total: Option<Duration>) {
    let PoolLimits { pending, pending_timeout, .. } = limits.pool;
    if pending_timeout == PoolLimits::default().pending_timeout {
        return;
    }
    let place = path.clone().field("pool").field("pending_timeout");
    if pending == 0 {
        let hint = "let `pending` be 1 or more, or remove it".to_owned();
        judge.report(Code::Conflict, place, "nothing waits: `pending` is 0", Some(hint));
    } else if let Some(total) = total.filter(|total| pending_timeout > *total) {
        let message = format!("nothing waits for so long: a request is over after {}, `timeouts.total`", write(total));
        let hint = format!("at most {}, or raise `timeouts.total`", write(total));
        judge.report(Code::Conflict, place, message, Some(hint));
    }
}

fn check_endpoint(judge: &mut Judge<'_>, path: Path, limits: &ServiceLimits) {
    let (Some(one), Some(pool)) = (limits.endpoint.requests, limits.pool.requests) else { return };
    if one > pool {
        let message = format!("no endpoint can have so many: its whole pool has {pool} at most, `pool.requests`");
        let hint = format!("{pool} or less, or raise `pool.requests`");
        judge.report(Code::Conflict, path.field("endpoint").field("requests"), message, Some(hint));
    }
}

fn check_fallback(judge: &mut Judge<'_>, path: &Path, service: &written::Service, resolved: &Resolved) {
    let single = service.versions.as_ref().map_or(1, Vec::len) < 2;
    if resolved.fallback == Fallback::Baseline && single && !judge.gaps.is_damaged(&path.clone().field("versions")) {
        let hint = "`other_region`, which is the default, or `reject`".to_owned();
        let message = "the service has one version, which is its own baseline";
        judge.report(Code::Conflict, path.clone().field("fallback"), message, Some(hint));
    }
}

#[cfg(test)]
mod tests {
    use crate::{Environment, validate};

    #[test]
    fn a_pool_that_may_grow_is_not_judged_by_the_size_of_another() {
        let document = |west: &str| {
            format!(
                "listeners: [{{ name: web, address: \"127.0.0.1:8080\" }}]\n\
                 regions: [{{ name: east }}, {{ name: west }}]\n\
                 services:\n\
                 - name: shop\n  outlier_ejection: {{}}\n  endpoints: {{ east: [\"10.0.0.1:80\"], west: [{west}] }}\n\
                 routes: [{{ service: shop }}]\n"
            )
        };
        assert!(validate(&document("{ dns: shop.west.internal, port: 80 }"), &Environment::empty()).is_ok());
        assert!(validate(&document("\"10.0.1.1:80\""), &Environment::empty()).is_err());
    }
}

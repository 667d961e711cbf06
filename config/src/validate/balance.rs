//! Whether what is said about the choice inside of a pool, and about what is kept out of it, can work.

use std::time::Duration;

use super::judge::Judge;
use crate::duration::write;
use crate::problem::{Code, Path};
use crate::schema::balancer::SlowStart;
use crate::schema::breaker as written_breaker;
use crate::schema::service as written;
use crate::schema::split::{Split, StickyKey};
use crate::share::Share;
use crate::validated::{
    Balancer, Breaker, Breakers, Fallback, OutlierEjection, Panic, PoolLimits, ServiceLimits, Session, Version, Zones,
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

pub(super) fn resolve(
    judge: &mut Judge<'_>,
    path: &Path,
    service: &written::Service,
    versions: &[Version],
) -> Resolved {
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
    check_zones(judge, path, &resolved);
    check_panic(judge, path, &resolved);
    check_ejection(judge, path, resolved.outlier_ejection.as_ref(), versions);
    check_breakers(judge, path, service, &resolved.breaker);
    check_limits(judge, path, &resolved.limits);
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
    if slow.is_some_and(|slow| slow.floor.0 == Share::NONE) {
        let path = path.clone().field("slow_start").field("floor");
        let message = "an endpoint that begins with nothing is never warmed up";
        judge.report(Code::OutOfRange, path, message, Some("above 0%: 10%".to_owned()));
    }
}

fn check_zones(judge: &mut Judge<'_>, path: &Path, resolved: &Resolved) {
    let Some(zones) = &resolved.zones else { return };
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

fn check_ejection(judge: &mut Judge<'_>, path: &Path, ejection: Option<&OutlierEjection>, versions: &[Version]) {
    let Some(ejection) = ejection else { return };
    let path = path.clone().field("outlier_ejection");
    check_detectors(judge, &path, ejection);
    if ejection.max_ejected == Share::NONE {
        let hint = "above 0%, or remove `outlier_ejection`".to_owned();
        judge.report(Code::OutOfRange, path.clone().field("max_ejected"), "nothing could ever be ejected", Some(hint));
    }
    check_order(judge, &path, ("base_time", ejection.base_time), ("max_time", ejection.max_time));
    check_pools(judge, &path, ejection, versions);
}

fn check_detectors(judge: &mut Judge<'_>, path: &Path, ejection: &OutlierEjection) {
    let OutlierEjection { consecutive_failures, consecutive_gateway_failures, .. } = ejection;
    let by_traffic =
        [ejection.success_rate.is_some(), ejection.failure_percentage.is_some(), ejection.latency.is_some()];
    let none = consecutive_failures.is_none() && consecutive_gateway_failures.is_none() && !by_traffic.contains(&true);
    if none && !judge.gaps.is_damaged(path) {
        let hint = "give one of them: consecutive_failures, success_rate, failure_percentage or latency".to_owned();
        let message = "there is no reason for which an endpoint would be ejected";
        judge.report(Code::Conflict, path.clone(), message, Some(hint));
    }
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

/// A comparison needs a pool that is large enough. Of pools that are not fully written here nothing is known.
fn check_pools(judge: &mut Judge<'_>, path: &Path, ejection: &OutlierEjection, versions: &[Version]) {
    let pools = versions.iter().flat_map(|version| &version.pools);
    let Some(largest) = pools.map(crate::validated::Pool::bound).max() else { return };
    let Some(largest) = largest.filter(|_| judge.gaps.is_empty()) else { return };
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

fn check_limits(judge: &mut Judge<'_>, path: &Path, limits: &ServiceLimits) {
    let path = path.clone().field("limits");
    if limits.pool.requests.is_some() || limits.endpoint.requests.is_some() || judge.gaps.is_damaged(&path) {
        return;
    }
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

fn check_fallback(judge: &mut Judge<'_>, path: &Path, service: &written::Service, resolved: &Resolved) {
    let single = service.versions.as_ref().map_or(1, Vec::len) < 2;
    if resolved.fallback == Fallback::Baseline && single && !judge.gaps.is_damaged(&path.clone().field("versions")) {
        let hint = "`other_region`, which is the default, or `reject`".to_owned();
        let message = "the service has one version, which is its own baseline";
        judge.report(Code::Conflict, path.clone().field("fallback"), message, Some(hint));
    }
}

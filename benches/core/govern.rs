//! What attempts and time cost a service's endpoints: a note, a breaker's step, a probe's verdict, a tick.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use rand::SeedableRng;
use rand::rngs::StdRng;
use sluice_benches::addresses;
use sluice_config::validated::{Breaker, Region};
use sluice_config::{Environment, validate};
use sluice_proxy_core::breaker::{Cause, Circuit, Event};
use sluice_proxy_core::endpoint::Registry;
use sluice_proxy_core::health::{Health, Policy, Standing, Verdict};
use sluice_proxy_core::outlier::{Stats, sweep};
use sluice_proxy_core::sample::{Class, Sample};
use sluice_proxy_core::select::Spot;
use sluice_proxy_core::service::{Service, identities};

const SIZES: [usize; 3] = [10, 1_000, 10_000];
const EAST: &str = "a service with one pool";

/// A service with every policy on, and one pool of so many endpoints.
fn service(endpoints: usize) -> (Service, Policy) {
    let text = format!(
        "listeners: [{{ name: web, address: \"127.0.0.1:8080\" }}]\n\
         routes: [{{ service: shop }}]\n\
         services:\n  - name: shop\n    health_check: {{ http: {{ path: /h }} }}\n\
        \x20   outlier_ejection: {{ success_rate: {{}}, failure_percentage: {{}}, latency: {{}} }}\n\
        \x20   breaker: {{ endpoint: {{}}, pool: {{ consecutive_failures: off }} }}\n\
        \x20   slow_start: {{ window: 30s }}\n\
        \x20   endpoints: {}\n",
        addresses(0, endpoints)
    );
    let document = validate(&text, &Environment::empty()).expect(EAST);
    let registry = Registry::default().carry(identities(&document.regions, &document.services));
    let regions: Arc<[Region]> = document.regions.clone().into();
    let policy = Policy::from(document.services[0].health_check.as_ref().expect(EAST));
    (Service::new(&regions, &document.services[0], &registry), policy)
}

/// What each attempt costs, by how it went.
fn note(c: &mut Criterion) {
    let mut group = c.benchmark_group("note");
    for count in SIZES {
        let (service, _) = service(count);
        let mut rng = StdRng::seed_from_u64(1);
        let spot = Spot { region: 0, version: 0, endpoint: count / 2 };
        let flight = service.pool(0, 0)[spot.endpoint].endpoint.begin().expect("no cap is set");
        let mut now = Instant::now();
        let good = Sample { class: Class::Success, took: Some(Duration::from_millis(3)), busy: None };
        let bad = Sample { class: Class::Failure, ..good };
        group.bench_function(BenchmarkId::new("success", count), |b| {
            b.iter(|| {
                now += Duration::from_micros(10);
                service.note(&flight, &spot, black_box(&good), now, &mut rng)
            });
        });
        // One failure in ten trips nothing: the common bad day.
        let mut turn = 0_u32;
        group.bench_function(BenchmarkId::new("one in ten fails", count), |b| {
            b.iter(|| {
                now += Duration::from_micros(10);
                turn += 1;
                let sample = if turn.is_multiple_of(10) { &bad } else { &good };
                service.note(&flight, &spot, black_box(sample), now, &mut rng)
            });
        });
    }
    group.finish();
}

/// From closed to closed again: open, half-open, and as many trials as close it.
fn breaker(c: &mut Criterion) {
    let policy = Breaker::default();
    let mut rng = StdRng::seed_from_u64(1);
    let mut now = Instant::now();
    let mut circuit = Circuit::default();
    c.bench_function("breaker/round", |b| {
        b.iter(|| {
            circuit.step(Event::Tripped(Cause::Consecutive(5)), &policy, now, &mut rng);
            now += policy.max_open_time;
            circuit.step(Event::Time { full: false }, &policy, now, &mut rng);
            for _ in 0..policy.close_after {
                circuit.step(black_box(Event::Success), &policy, now, &mut rng);
            }
            circuit.state()
        });
    });
}

fn health(c: &mut Criterion) {
    let mut group = c.benchmark_group("health");
    let (_, policy) = service(10);
    let mut machine = Health::new(Standing::Verified);
    group.bench_function("machine", |b| b.iter(|| machine.step(black_box(Verdict::Good), &policy)));
    for count in SIZES {
        let (service, policy) = service(count);
        let mut at = 0;
        group.bench_function(BenchmarkId::new("endpoint", count), |b| {
            b.iter(|| {
                at = (at + 1) % count;
                service.pool(0, 0)[at].endpoint.step(black_box(Verdict::Good), &policy)
            });
        });
    }
    group.finish();
}

/// A tick with nothing due, and one in which an endpoint is.
fn tick(c: &mut Criterion) {
    let mut group = c.benchmark_group("tick");
    for count in SIZES {
        let (service, policy) = service(count);
        let mut rng = StdRng::seed_from_u64(1);
        let mut now = Instant::now();
        service.pool(0, 0).iter().for_each(|member| {
            member.endpoint.step(Verdict::Good, &policy);
        });
        (0..3).for_each(|_| drop(service.tick(now, &mut rng)));
        group.bench_function(BenchmarkId::new("idle", count), |b| b.iter(|| service.tick(black_box(now), &mut rng)));
        group.bench_function(BenchmarkId::new("sweep", count), |b| {
            b.iter(|| {
                now += Duration::from_secs(10);
                service.tick(black_box(now), &mut rng)
            });
        });
    }
    group.finish();
}

/// The comparison of a pool by itself.
fn outliers(c: &mut Criterion) {
    let mut group = c.benchmark_group("outliers");
    for count in SIZES {
        let (service, _) = service(10);
        let policy = service.policies().outlier.clone().expect(EAST);
        let typical = Duration::from_millis(3);
        let stats: Vec<Stats> =
            (0..count as u32).map(|at| Stats { requests: 200, failures: at % 5, typical }).collect();
        group.bench_function(BenchmarkId::from_parameter(count), |b| b.iter(|| sweep(black_box(&stats), &policy)));
    }
    group.finish();
}

criterion_group!(benches, note, breaker, health, tick, outliers);
criterion_main!(benches);

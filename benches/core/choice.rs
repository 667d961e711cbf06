//! The choice of an endpoint: split, pick, and all of it.

use std::hint::black_box;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use rand::SeedableRng;
use rand::rngs::StdRng;
use sluice_benches::addresses;
use sluice_config::percentage::Percentage;
use sluice_config::validated::{self, Balancer, Capability, HashKey, Region, Split};
use sluice_config::{Environment, validate};
use sluice_proxy_core::endpoint::{Force, Registry};
use sluice_proxy_core::histogram::Histogram;
use sluice_proxy_core::select::{Ask, Selector};
use sluice_proxy_core::service::{Service, identities};
use sluice_proxy_core::split::{Shares, Strata, Ticket, rendezvous};

fn split(c: &mut Criterion) {
    let mut group = c.benchmark_group("split");
    for weights in [vec![95, 5], vec![80, 5, 5, 5, 5], vec![10; 12]] {
        let mut strata = Strata::new(Shares::of(weights.iter().copied()));
        let mut rng = StdRng::seed_from_u64(1);
        group.bench_function(BenchmarkId::new("random", weights.len()), |b| b.iter(|| strata.choose(&mut rng)));
    }
    for count in [2, 5] {
        let tickets: Vec<Ticket> = (0..count).map(ticket).collect();
        group.bench_function(BenchmarkId::new("sticky", count), |b| {
            b.iter(|| rendezvous(tickets.iter().copied().enumerate(), black_box(b"0123456789abcdef")));
        });
    }
    group.finish();
}

fn ticket(at: usize) -> Ticket {
    Ticket::new(&"shop".parse().expect("a name"), &format!("v{at}").parse().expect("a name"), 10)
}

const SIZES: [usize; 3] = [10, 1_000, 10_000];

fn balancers() -> Vec<(&'static str, Balancer)> {
    let peak = Balancer::PeakEwma { decay: Duration::from_secs(10), failure_penalty: Duration::from_secs(5) };
    let maglev = |bounded_load| Balancer::Maglev { key: HashKey::Path, bounded_load };
    vec![
        ("round_robin", Balancer::RoundRobin),
        ("least_request", Balancer::LeastRequest { choices: 2 }),
        ("peak_ewma", peak),
        ("maglev", maglev(None)),
        ("maglev bounded", maglev(Percentage::new(125))),
        ("random", Balancer::Random),
    ]
}

/// A service with one pool of so many endpoints, and one worker.
struct Bench {
    service: Service,
    selector: Selector,
    rng: StdRng,
}

impl Bench {
    fn new(balancer: Balancer, count: usize) -> Self {
        let (regions, document) = document(&[("a", 50)], count);
        let mut document = validated::Service { split: Split::Random, balancer, ..document };
        document.versions.truncate(1);
        let registry = Registry::default().carry(identities(&regions, std::slice::from_ref(&document)));
        let service = Service::new(&regions, &document, &registry);
        let mut rng = StdRng::seed_from_u64(1);
        let selector = Selector::new(&service, None, &mut rng);
        Self { service, selector, rng }
    }
}

/// With all that surrounds it: placement and split among one, the endpoints' own counts.
fn pick(c: &mut Criterion) {
    let mut group = c.benchmark_group("pick");
    for (name, balancer) in balancers() {
        for count in SIZES {
            let Bench { service, mut selector, mut rng } = Bench::new(balancer.clone(), count);
            let mut key = 0_u64;
            group.bench_function(BenchmarkId::new(name, count), |b| {
                b.iter(|| {
                    key += 1;
                    let bytes = key.to_le_bytes();
                    selector.choose(&service, &Ask { key: Some(&bytes), ..ask() }, &mut rng)
                });
            });
        }
    }
    group.finish();
}

/// One endpoint falls out or returns, and the next request is the first to see it.
fn refresh(c: &mut Criterion) {
    let mut group = c.benchmark_group("refresh");
    for (name, balancer) in balancers() {
        for count in SIZES {
            let Bench { service, mut selector, mut rng } = Bench::new(balancer.clone(), count);
            let endpoint = Arc::clone(&service.pool(0, 0)[1].endpoint);
            let mut out = false;
            group.bench_function(BenchmarkId::new(name, count), |b| {
                b.iter(|| {
                    out = !out;
                    endpoint.force(out.then_some(Force::Out));
                    selector.choose(&service, &ask(), &mut rng)
                });
            });
        }
    }
    group.finish();
}

fn ask() -> Ask<'static> {
    Ask::plain(Capability::Read, now())
}

/// The clock is not what is measured.
fn now() -> Instant {
    static NOW: LazyLock<Instant> = LazyLock::new(Instant::now);
    *NOW
}

/// A service with two versions in three regions, and so many endpoints in each pool.
fn select(c: &mut Criterion) {
    let mut group = c.benchmark_group("select");
    for count in [3, 100] {
        let (regions, document) = document(&[("a", 50), ("b", 30), ("c", 20)], count);
        let registry = Registry::default().carry(identities(&regions, std::slice::from_ref(&document)));
        let service = Service::new(&regions, &document, &registry);
        let mut rng = StdRng::seed_from_u64(1);
        let mut selector = Selector::new(&service, None, &mut rng);
        let ask = ask();
        group.bench_function(BenchmarkId::new("random", count), |b| {
            b.iter(|| selector.choose(&service, &ask, &mut rng));
        });
        let ask = Ask { sticky_key: Some(b"0123456789abcdef"), ..ask };
        group.bench_function(BenchmarkId::new("sticky", count), |b| {
            b.iter(|| selector.choose(&service, &ask, &mut rng));
        });
    }
    group.finish();
}

/// These regions with their weights, and a service with two versions and so many endpoints in each pool.
fn document(regions: &[(&str, u32)], endpoints: usize) -> (Arc<[Region]>, validated::Service) {
    let named = regions.iter().map(|(name, weight)| format!("{{ name: {name}, weight: {weight} }}"));
    let pools = regions.iter().enumerate().map(|(at, (name, _))| format!("{name}: {}", addresses(at, endpoints)));
    let (named, pools) = (named.collect::<Vec<_>>().join(", "), pools.collect::<Vec<_>>().join(", "));
    let text = format!(
        "listeners: [{{ name: web, address: \"127.0.0.1:8080\" }}]\nregions: [{named}]\nroutes: [{{ service: shop }}]\n\
         services:\n  - name: shop\n    split: {{ sticky: client_address }}\n    versions:\n\
        \x20     - {{ name: v1, weight: 95, endpoints: {{ {pools} }} }}\n\
        \x20     - {{ name: v2, weight: 5, endpoints: {{ {pools} }} }}\n"
    );
    let mut document = validate(&text, &Environment::empty()).expect("a sound document");
    (document.regions.into(), document.services.remove(0))
}

fn record(c: &mut Criterion) {
    let histogram = Histogram::default();
    let mut micros = 1;
    c.bench_function("histogram", |b| {
        b.iter(|| {
            micros = (micros * 31) % 10_000_019;
            histogram.record(micros);
        });
    });
}

criterion_group!(benches, split, pick, refresh, select, record);
criterion_main!(benches);

//! The choice of an endpoint: split, pick, and all of it.

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use rand::SeedableRng;
use rand::rngs::StdRng;
use sluice_config::percentage::Percentage;
use sluice_config::validated::{
    self, Balancer, Breakers, Capabilities, Capability, Connections, Discovery, Endpoint, Fallback, Forces, HashKey,
    Pool, Protocol, Region, Retries, Role, ServiceLimits, Split, StickyKey, Timeouts, Version,
};
use sluice_config::value::Weight;
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

const SIZES: [u16; 3] = [10, 1_000, 10_000];

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
    fn new(balancer: Balancer, count: u16) -> Self {
        let regions: Arc<[Region]> = Arc::new([region("a", 50)]);
        let mut document = validated::Service { split: Split::Random, balancer, ..document(count) };
        document.versions.truncate(1);
        document.versions[0].pools.truncate(1);
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
    Ask {
        capability: Capability::Read,
        sticky_key: None,
        key: None,
        version: None,
        previous: None,
        waited: None,
        tried: &[],
        now: now(),
    }
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
        let regions: Arc<[Region]> = Arc::new([region("a", 50), region("b", 30), region("c", 20)]);
        let document = document(count);
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

fn region(name: &str, share: u32) -> Region {
    let capabilities = Capabilities { read: true, write: true, admin: true };
    Region { name: name.parse().expect("a name"), role: Role::Secondary, weight: weight(share), capabilities }
}

fn weight(value: u32) -> Weight {
    Weight::new(value).expect("within the range")
}

fn document(endpoints: u16) -> validated::Service {
    let address = |region: usize, port: u16| SocketAddr::from(([10, 0, 0, 1 + region as u8], 8000 + port));
    let pool = |region: usize| {
        let endpoint = |port| Endpoint { address: address(region, port), weight: weight(1), zone: None };
        Pool {
            region,
            endpoints: (0..endpoints).map(endpoint).collect(),
            sources: Vec::new(),
            forces: Forces::default(),
        }
    };
    let version = |name: &str, share: u32| Version {
        name: name.parse().expect("a name"),
        weight: weight(share),
        pools: (0..3).map(pool).collect(),
    };
    validated::Service {
        name: "shop".parse().expect("a name"),
        split: Split::Sticky(StickyKey::ClientAddress),
        health_check: None,
        protocol: Protocol::Http1,
        tls: None,
        connections: Connections { idle: 256, idle_timeout: Duration::from_secs(50), streams: 100 },
        timeouts: Timeouts {
            connect: Duration::from_secs(2),
            per_try: None,
            idle: None,
            total: None,
            tunnel_idle: None,
        },
        retries: Retries::default(),
        balancer: Balancer::RoundRobin,
        slow_start: None,
        zones: None,
        session: None,
        panic: None,
        outlier_ejection: None,
        breaker: Breakers::default(),
        limits: ServiceLimits::default(),
        fallback: Fallback::OtherRegion,
        discovery: Discovery::default(),
        versions: vec![version("v1", 95), version("v2", 5)],
    }
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

//! The route table at 10 to 100,000 routes. 10,000 routes may cost at most 4 times what 10 cost.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use sluice_config::validated::{HostMatch, Match, PathMatch, Priority, Route};
use sluice_proxy_core::route::{Fields, RequestView, RouteTable};

struct NoFields;

impl Fields for NoFields {
    fn first(&self, _: &str) -> Option<&[u8]> {
        None
    }
}

/// A tenth as many hosts as routes, each with nine prefixes and one exact path.
fn routes(count: usize) -> Vec<Route> {
    (0..count).map(|at| route(host(at / 10), if at % 10 == 9 { exact(at) } else { prefix(at) })).collect()
}

fn host(at: usize) -> String {
    format!("shop-{at}.example.com")
}

fn exact(at: usize) -> PathMatch {
    PathMatch::Exact(format!("/health/{}", at % 10))
}

fn prefix(at: usize) -> PathMatch {
    PathMatch::Prefix(format!("/api/v{}", at % 10))
}

fn route(host: String, path: PathMatch) -> Route {
    let host = HostMatch::Exact(host);
    let matches = Match { host, path, methods: Vec::new(), headers: Vec::new(), query: Vec::new() };
    Route { name: String::new(), matches, service: 0, version: None, capability: None, priority: Priority::Normal }
}

/// Requests over all hosts, so that large tables pay for their cache misses.
fn find(c: &mut Criterion) {
    let mut group = c.benchmark_group("route");
    for count in [10, 1_000, 10_000, 100_000] {
        let table = RouteTable::build(&routes(count)).expect("no regular expressions");
        let hosts: Vec<String> = (0..count / 10).map(host).collect();
        let mut at = 0;
        group.bench_function(BenchmarkId::new("find", count), |b| {
            b.iter(|| {
                // A step prime to every count visits all hosts.
                at = (at + 7_919) % hosts.len();
                let host = hosts[at].as_str();
                let fields = &NoFields;
                let request = RequestView { method: "GET", host, path: "/api/v3/items/42", query: None, fields };
                black_box(table.find(&request))
            });
        });
    }
    group.finish();
}

fn build(c: &mut Criterion) {
    let mut group = c.benchmark_group("route");
    group.sample_size(10);
    for count in [10, 1_000, 10_000] {
        let routes = routes(count);
        group.bench_function(BenchmarkId::new("build", count), |b| b.iter(|| RouteTable::build(black_box(&routes))));
    }
    group.finish();
}

criterion_group!(benches, find, build);
criterion_main!(benches);

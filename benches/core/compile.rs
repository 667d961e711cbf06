//! What a new revision costs before it is swapped in: the proven document compiled, as a first revision and as the next
//! one, which takes over the states of its endpoints.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use sluice_config::value::RevisionId;
use sluice_config::{Environment, Validated};
use sluice_proxy::live::compile;
use sluice_proxy::metrics::{Metrics, SERIES_BUDGET};

/// A hundred routes for each service, each service with two versions of three endpoints.
fn document(routes: usize) -> Arc<Validated> {
    let services = routes.div_ceil(100);
    let mut text = String::from("listeners: [{ name: web, address: \"127.0.0.1:8080\" }]\nservices:\n");
    for at in 0..services {
        let address = |version: usize, port: usize| format!("\"10.{}.{}.{version}:{port}\"", at / 200, at % 200);
        let pool = |version| format!("[{}, {}, {}]", address(version, 1), address(version, 2), address(version, 3));
        text += &format!("  - {{ name: s{at}, versions: [{{ name: v1, endpoints: {} }}, ", pool(1));
        text += &format!("{{ name: v2, weight: 0, endpoints: {} }}] }}\n", pool(2));
    }
    text += "routes:\n";
    for at in 0..routes {
        text +=
            &format!("  - {{ match: {{ host: h{}.example.com, path: /p{at} }}, service: s{} }}\n", at % 50, at / 100);
    }
    let document = sluice_config::validate(&text, &Environment::empty()).expect("the document of the bench is sound");
    Arc::new(document)
}

fn compiling(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("compile");
    group.sample_size(10);
    for routes in [10, 1_000, 10_000] {
        let document = document(routes);
        let metrics = Metrics::new(2, SERIES_BUDGET);
        let run =
            |before| compile(RevisionId(1), Arc::clone(&document), before, &metrics).expect("no regular expressions");
        group.bench_function(BenchmarkId::new("first", routes), |bench| bench.iter(|| black_box(run(None))));
        let before = run(None);
        group.bench_function(BenchmarkId::new("next", routes), |bench| bench.iter(|| black_box(run(Some(&before)))));
    }
}

criterion_group!(benches, compiling);
criterion_main!(benches);

//! What a new revision costs before it is swapped in: the proven document compiled, as a first revision and as the next
//! one, which takes over the states of its endpoints.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use sluice_config::value::RevisionId;
use sluice_config::{Environment, Validated};
use sluice_proxy::live::compile;
use sluice_proxy::metrics::{Metrics, SERIES_BUDGET};

fn proven(routes: usize) -> Arc<Validated> {
    let text = sluice_benches::document(routes);
    Arc::new(sluice_config::validate(&text, &Environment::empty()).expect("the document of the bench is sound"))
}

fn compiling(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("compile");
    group.sample_size(10);
    for routes in [10, 1_000, 10_000] {
        let document = proven(routes);
        let metrics = Metrics::new(2, SERIES_BUDGET);
        let run = |before| {
            compile(RevisionId(1), Arc::clone(&document), before, &metrics, std::path::Path::new(""))
                .expect("no regular expressions")
        };
        group.bench_function(BenchmarkId::new("first", routes), |bench| bench.iter(|| black_box(run(None))));
        let before = run(None);
        group.bench_function(BenchmarkId::new("next", routes), |bench| bench.iter(|| black_box(run(Some(&before)))));
    }
}

criterion_group!(benches, compiling);
criterion_main!(benches);

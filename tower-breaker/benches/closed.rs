//! What a closed breaker adds to a call that succeeds: with either clock, with and without slow-call timing, on one
//! thread and on two that share the breaker.
//!
//! Each iteration is ready + call + await + drop of the typed layer over a service that answers at once. A Prometheus
//! recorder is installed. That every call succeeded and was counted is asserted while it runs; allocations are
//! counted in `examples/peers`.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

mod support;

use criterion::{Criterion, criterion_group, criterion_main};
use support::{Bare, clocks, guarded, once, settings, two};

fn bench(criterion: &mut Criterion) {
    let _ = metrics_exporter_prometheus::PrometheusBuilder::new().install_recorder();
    let mut bare = Bare { calls: 0 };
    criterion.bench_function("closed/bare", |bencher| bencher.iter(|| once(&mut bare, 7).unwrap()));
    for (name, clock) in clocks() {
        for slow in [false, true] {
            let name = if slow { format!("{name}, slow calls") } else { name.to_owned() };
            let breaker = settings(clock, slow).build().unwrap();
            let mut service = guarded(&breaker);
            once(&mut service, 7).unwrap();
            criterion.bench_function(&format!("closed/{name}, 1 thread"), |bencher| {
                bencher.iter_custom(|times| {
                    let start = std::time::Instant::now();
                    for _ in 0..times {
                        once(&mut service, 7).unwrap();
                    }
                    start.elapsed()
                });
            });
            let mut services = [guarded(&breaker), guarded(&breaker)];
            criterion.bench_function(&format!("closed/{name}, 2 threads"), |bencher| {
                bencher.iter_custom(|times| two(&mut services, times, Result::is_ok));
            });
            assert!(breaker.snapshot().calls > 0);
        }
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);

//! What an open breaker's rejection costs, the reading of the clock and the error with name and wait included.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

mod support;

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use support::{clocks, guarded, once, settings, two};
use tower_breaker::State;

fn bench(criterion: &mut Criterion) {
    let _ = metrics_exporter_prometheus::PrometheusBuilder::new().install_recorder();
    for (name, clock) in clocks() {
        let settings = settings(clock, false).open_for(Duration::from_secs(86_400));
        let breaker = settings.initial_state(State::Open).build().unwrap();
        let mut service = guarded(&breaker);
        let _ = once(&mut service, 7).unwrap_err();
        criterion.bench_function(&format!("open/{name}, 1 thread"), |bencher| {
            bencher.iter_custom(|times| {
                let start = std::time::Instant::now();
                for _ in 0..times {
                    let error = once(&mut service, 7).unwrap_err();
                    assert!(std::hint::black_box(error).rejection().is_some());
                }
                start.elapsed()
            });
        });
        // The name is given out by reference count, which the two threads share.
        let mut services = [guarded(&breaker), guarded(&breaker)];
        criterion.bench_function(&format!("open/{name}, 2 threads"), |bencher| {
            bencher.iter_custom(|times| two(&mut services, times, Result::is_err));
        });
        assert_eq!(breaker.state(), State::Open);
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);

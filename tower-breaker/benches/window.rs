//! That a call costs the same whatever the window holds, from a hundred samples to ten million; and what a failure costs,
//! which looks at the rates.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

mod support;

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use support::{clocks, guarded, once, settings};

fn bench(criterion: &mut Criterion) {
    for (name, clock) in clocks() {
        for samples in [100, 10_000, 1_000_000, 10_000_000_u64] {
            // Long enough that nothing leaves while it is measured.
            let breaker = settings(clock, false).time_window(Duration::from_secs(3_600)).build().unwrap();
            let mut service = guarded(&breaker);
            for _ in 0..samples {
                once(&mut service, 7).unwrap();
            }
            assert_eq!(breaker.snapshot().calls, samples);
            criterion.bench_function(&format!("window/{name}, success, {samples} samples"), |bencher| {
                bencher.iter(|| once(&mut service, 7).unwrap());
            });
        }
    }
    for samples in [100, 1_000_000_u64] {
        let settings = settings(clocks()[0].1, false).time_window(Duration::from_secs(3_600));
        let breaker = settings.failure_rate(1.0).build().unwrap();
        let mut service = guarded(&breaker);
        for _ in 0..samples {
            once(&mut service, 7).unwrap();
        }
        criterion.bench_function(&format!("window/default clock, failure, {samples} samples"), |bencher| {
            bencher.iter(|| once(&mut service, 1_000).unwrap_err());
        });
        assert!(breaker.snapshot().failures > 100);
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);

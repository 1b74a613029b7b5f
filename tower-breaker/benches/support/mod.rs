//! What the three benches share: the service behind the breaker, a call, and two threads at once.
#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used, reason = "a benchmark")]

use std::future::{Future, Ready, ready};
use std::pin::pin;
use std::sync::Barrier;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tower::Service;
use tower_breaker::{Breaker, BreakerBuilder, BreakerLayer, Clock, layer::BreakerService};

/// Answers at once, and well below 1,000.
#[derive(Clone)]
pub struct Bare {
    pub calls: u64,
}

impl Service<u64> for Bare {
    type Response = u64;
    type Error = u64;
    type Future = Ready<Result<u64, u64>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), u64>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u64) -> Self::Future {
        self.calls += 1;
        ready(if request < 1_000 { Ok(request) } else { Err(request) })
    }
}

/// The settings of every row: the defaults but for what the row says.
pub fn settings(clock: Clock, slow: bool) -> BreakerBuilder {
    let builder = Breaker::builder("bench").clock(clock);
    if slow { builder.slow_calls(Duration::from_secs(1), 0.5) } else { builder }
}

pub fn guarded(breaker: &Breaker) -> BreakerService<Bare> {
    tower::Layer::layer(&BreakerLayer::new(breaker.clone()), Bare { calls: 0 })
}

/// The clocks, with their names.
pub fn clocks() -> Vec<(&'static str, Clock)> {
    vec![("default clock", Clock::Tokio), ("fast clock", Clock::Fast)]
}

/// Ready, call, await, drop.
pub fn once<S: Service<u64>>(service: &mut S, request: u64) -> Result<S::Response, S::Error> {
    let mut cx = Context::from_waker(Waker::noop());
    match service.poll_ready(&mut cx) {
        Poll::Ready(Ok(())) => {}
        Poll::Ready(Err(error)) => return Err(error),
        Poll::Pending => unreachable!("nothing in here waits"),
    }
    match pin!(service.call(std::hint::black_box(request))).poll(&mut cx) {
        Poll::Ready(result) => result,
        Poll::Pending => unreachable!("nothing in here waits"),
    }
}

/// The time that `times` calls take when two threads make them at once, each on a service of its own.
pub fn two<S: Service<u64> + Send>(
    services: &mut [S; 2],
    times: u64,
    check: fn(&Result<S::Response, S::Error>) -> bool,
) -> Duration {
    let barrier = Barrier::new(2);
    let times = times.max(1);
    std::thread::scope(|scope| {
        let threads = services.each_mut().map(|service| {
            let barrier = &barrier;
            scope.spawn(move || {
                barrier.wait();
                let start = Instant::now();
                for _ in 0..times {
                    assert!(check(&once(service, 7)));
                }
                start.elapsed()
            })
        });
        threads.map(|thread| thread.join().unwrap()).into_iter().max().unwrap_or_default()
    })
}

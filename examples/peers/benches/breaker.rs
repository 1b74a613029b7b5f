//! A closed and an open breaker beside tower-resilience-circuitbreaker, failsafe and recloser.
//!
//! `cargo bench --features breaker --bench breaker`. Rounds are interleaved: each contestant runs once per round, on one
//! thread and then on two that share the breaker. Figures are nanoseconds of CPU time per call above the bare service:
//! ready + call + await + drop where the contestant is a layer, call + await where it is not. Everybody has a window
//! of 10 s or its nearest relative, a threshold of one half and a minimum of 20 calls. That calls are answered, or
//! rejected without being made, is asserted while it runs.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::future::{Future, Ready, ready};
use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use cpu_time::ThreadTime;
use peers::allocations;
use recloser::{AsyncRecloser, Recloser};
use tower::{Layer, Service};
use tower_breaker::{Breaker, BreakerLayer, Clock, State};
use tower_resilience_circuitbreaker::CircuitBreakerLayer;

#[global_allocator]
static COUNTING: peers::Counting = peers::Counting;

const CALLS: u32 = 20_000;
const ROUNDS: usize = 41;
const OPEN: Duration = Duration::from_secs(86_400);

/// Answers at once.
#[derive(Clone)]
struct Bare;

impl Service<u64> for Bare {
    type Response = u64;
    type Error = u64;
    type Future = Ready<Result<u64, u64>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), u64>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u64) -> Self::Future {
        ready(answer(request))
    }
}

/// Requests from 1,000 on fail.
fn answer(request: u64) -> Result<u64, u64> {
    if black_box(request) < 1_000 { Ok(request) } else { Err(request) }
}

fn now_or_never<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("nothing in here waits"),
    }
}

/// One call; whether it was answered.
type Call = Box<dyn FnMut(u64) -> bool + Send>;

/// Makes callers that share one breaker, one for each thread.
struct Row {
    name: String,
    open: bool,
    /// Not where waiting for the other thread needs a runtime.
    two: bool,
    make: Box<dyn Fn() -> Call>,
}

impl Row {
    fn kind(&self) -> &'static str {
        if self.open { "open" } else { "closed" }
    }
}

/// In cache lines of its own: a service writes to itself.
#[repr(align(128))]
struct Apart<S>(S);

fn layered<S>(service: &S) -> Call
where
    S: Service<u64> + Clone + Send + 'static,
{
    let mut service = Apart(service.clone());
    Box::new(move |request| {
        let service = &mut service;
        let answered = now_or_never(async {
            std::future::poll_fn(|cx| service.0.poll_ready(cx)).await?;
            service.0.call(request).await
        });
        black_box(answered).is_ok()
    })
}

fn ours(name: &str, clock: Clock, slow: bool, open: bool) -> Row {
    let mut settings = Breaker::builder("bench").clock(clock).open_for(OPEN);
    if slow {
        settings = settings.slow_calls(Duration::from_secs(1), 0.5);
    }
    if open {
        settings = settings.initial_state(State::Open);
    }
    let service = BreakerLayer::new(settings.build().unwrap()).layer(Bare);
    let make = Box::new(move || layered(&service));
    Row { name: format!("tower-breaker, {name}"), open, two: true, make }
}

fn rivals(open: bool) -> Vec<Row> {
    let layer = CircuitBreakerLayer::builder()
        .failure_rate_threshold(0.5)
        .sliding_window_type(tower_resilience_circuitbreaker::SlidingWindowType::CountBased)
        .sliding_window_size(100)
        .minimum_number_of_calls(20)
        .wait_duration_in_open(OPEN)
        .build()
        .unwrap();
    let resilience = layer.layer(Bare);
    let recloser = Arc::new(AsyncRecloser::from(
        Recloser::custom().error_rate(0.5).closed_len(100).open_wait(OPEN).build(),
    ));
    vec![
        Row {
            name: "tower-resilience-circuitbreaker 0.14, last 100 calls".into(),
            open,
            two: false,
            make: Box::new(move || layered(&resilience)),
        },
        failsafe(open),
        Row {
            name: "recloser 1.4, last 100 calls".into(),
            open,
            two: true,
            make: Box::new(move || {
                let recloser = Arc::clone(&recloser);
                Box::new(move |request| {
                    black_box(now_or_never(recloser.call(async { answer(request) }))).is_ok()
                })
            }),
        },
    ]
}

/// Closed by its rate over a time window; opened by failures in a row, since its average does not move within a
/// millisecond.
fn failsafe(open: bool) -> Row {
    fn calls<B>(breaker: B) -> Box<dyn Fn() -> Call>
    where
        B: failsafe::futures::CircuitBreaker + Clone + Send + 'static,
    {
        Box::new(move || {
            let breaker = breaker.clone();
            Box::new(move |request| black_box(now_or_never(breaker.call(async { answer(request) }))).is_ok())
        })
    }
    let wait = failsafe::backoff::constant(OPEN);
    if open {
        let policy = failsafe::failure_policy::consecutive_failures(20, wait);
        let make = calls(failsafe::Config::new().failure_policy(policy).build());
        return Row { name: "failsafe 1.3, failures in a row".into(), open, two: true, make };
    }
    let window = Duration::from_secs(10);
    let policy = failsafe::failure_policy::success_rate_over_time_window(0.5, 20, window, wait);
    let make = calls(failsafe::Config::new().failure_policy(policy).build());
    Row { name: "failsafe 1.3, rate over 10 s".into(), open, two: true, make }
}

/// `read`, and then the bare service.
fn reading(name: &str, read: impl Fn() + Clone + Send + 'static) -> Row {
    let make = Box::new(move || -> Call {
        let (read, mut bare) = (read.clone(), layered(&Bare));
        Box::new(move |request| {
            read();
            bare(request)
        })
    });
    Row { name: name.into(), open: false, two: true, make }
}

/// What a call cannot be without, each by itself: the clocks, and a step of a word that another thread may read.
fn floors() -> [Row; 6] {
    let clock = quanta::Clock::new();
    let fast = move || {
        black_box(clock.delta_as_nanos(0, clock.raw()));
    };
    let twice = fast.clone();
    let tokio = || {
        black_box(tokio::time::Instant::now());
    };
    let (added, shared) = (Arc::new(Apart(AtomicU64::new(0))), Arc::new(Apart(0_u64)));
    [
        reading("one reading of tokio's Instant alone", tokio),
        reading("two readings of tokio's Instant alone", move || {
            tokio();
            tokio();
        }),
        reading("one reading of the fast clock alone", fast),
        reading("two readings of the fast clock alone", move || {
            twice();
            twice();
        }),
        reading("one step of an atomic word alone", move || {
            black_box(added.0.fetch_add(1, Ordering::AcqRel));
        }),
        reading("clone and drop of an Arc alone", move || {
            black_box(Arc::clone(&shared));
        }),
    ]
}

/// The handle alone.
fn permits() -> Row {
    let breaker = Breaker::builder("bench").clock(Clock::Fast).build().unwrap();
    let make = Box::new(move || -> Call {
        let breaker = breaker.clone();
        Box::new(move |request| {
            let permit = breaker.try_acquire().unwrap();
            permit.success();
            answer(request).is_ok()
        })
    });
    Row { name: "tower-breaker, fast clock, permits alone".into(), open: false, two: true, make }
}

fn rows() -> Vec<Row> {
    let bare = || Row { name: "bare".into(), open: false, two: true, make: Box::new(|| layered(&Bare)) };
    let mut rows = vec![
        bare(),
        ours("default clock", Clock::Tokio, false, false),
        ours("default clock, slow calls", Clock::Tokio, true, false),
        ours("fast clock", Clock::Fast, false, false),
        ours("fast clock, slow calls", Clock::Fast, true, false),
    ];
    rows.push(permits());
    rows.extend(floors());
    rows.extend(rivals(false));
    rows.extend([
        ours("default clock", Clock::Tokio, false, true),
        ours("fast clock", Clock::Fast, false, true),
    ]);
    rows.extend(rivals(true));
    rows
}

/// CPU nanoseconds per call.
fn run(call: &mut Call, open: bool, calls: u32) -> f64 {
    let start = ThreadTime::now();
    for _ in 0..calls {
        assert!(call(black_box(7)) != open);
    }
    start.elapsed().as_nanos() as f64 / f64::from(calls)
}

/// The same on two threads at once: the mean of the two, if there was a moment in a few tries in which both had a
/// processor nearly all of the time.
fn run_two(calls: &mut [Call; 2], open: bool) -> Option<f64> {
    (0..60).find_map(|_| try_two(calls, open))
}

fn try_two(calls: &mut [Call; 2], open: bool) -> Option<f64> {
    let waiting = AtomicU64::new(2);
    let spans = std::thread::scope(|scope| {
        let threads = calls.each_mut().map(|call| {
            let waiting = &waiting;
            scope.spawn(move || {
                // A thread that sleeps would begin later than the one that wakes it.
                waiting.fetch_sub(1, Ordering::AcqRel);
                while waiting.load(Ordering::Acquire) > 0 {
                    std::hint::spin_loop();
                }
                let start = Instant::now();
                (run(call, open, CALLS), start, Instant::now())
            })
        });
        threads.map(|thread| thread.join().unwrap())
    });
    let [(one, started, ended), (other, began, over)] = spans;
    let both = ended.min(over).saturating_duration_since(started.max(began)).as_secs_f64();
    let whole = (ended.max(over) - started.min(began)).as_secs_f64();
    let busy = (one + other) / 2.0 * f64::from(CALLS) / 1e9;
    (both >= 0.9 * whole && busy >= 0.9 * whole).then_some((one + other) / 2.0)
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn main() {
    let _ = metrics_exporter_prometheus::PrometheusBuilder::new().install_recorder();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _entered = runtime.enter();
    let filter = std::env::args().nth(1).filter(|filter| !filter.starts_with("--"));
    let mut rows = rows();
    // The bare service stays: it is what the others are compared with.
    let wanted = |row: &Row| format!("{} {}", row.kind(), row.name);
    rows.retain(|row| {
        row.name == "bare" || filter.as_ref().is_none_or(|filter| wanted(row).contains(filter))
    });
    let mut callers: Vec<[Call; 3]> =
        rows.iter().map(|row| [(row.make)(), (row.make)(), (row.make)()]).collect();
    for (row, [call, ..]) in rows.iter().zip(&mut callers) {
        // Rivals are opened by failures.
        for _ in 0..if row.open { 1_000 } else { 0 } {
            call(1_000);
        }
        assert!(call(7) != row.open, "{}", row.name);
    }
    let mut figures = vec![(Vec::new(), Vec::new()); rows.len()];
    let mut allocated = vec![0.0; rows.len()];
    for _ in 0..ROUNDS {
        for (index, row) in rows.iter().enumerate() {
            let [one, pair @ ..] = &mut callers[index];
            let before = allocations();
            figures[index].0.push(run(one, row.open, CALLS));
            allocated[index] = (allocations() - before) as f64 / f64::from(CALLS);
            if row.two {
                figures[index].1.extend(run_two(pair, row.open));
            }
        }
    }
    let bare = (
        median(figures[0].0.clone()),
        if figures[0].1.is_empty() { median(figures[0].0.clone()) } else { median(figures[0].1.clone()) },
    );
    println!(
        "{ROUNDS} rounds of {CALLS} calls; medians of CPU time; bare {:.1} ns, two threads {:.1} ns",
        bare.0, bare.1
    );
    println!(
        "| | | added, ns | of 10 % of rounds below | two threads, ns | two : one | rounds with both | allocations |"
    );
    for ((row, (one, two)), allocated) in rows.iter().zip(figures).zip(allocated).skip(1) {
        let mut sorted = one.clone();
        sorted.sort_by(f64::total_cmp);
        let low = sorted[sorted.len() / 10] - bare.0;
        let one = median(one) - bare.0;
        let rounds = two.len();
        let two = if two.is_empty() { None } else { Some(median(two) - bare.1) };
        let (second, ratio) =
            two.map_or(("".into(), "".into()), |two| (format!("{two:.1}"), format!("{:.2}", two / one)));
        println!(
            "| {} | {} | {one:.1} | {low:.1} | {second} | {ratio} | {rounds} | {allocated:.2} |",
            row.kind(),
            row.name
        );
    }
}

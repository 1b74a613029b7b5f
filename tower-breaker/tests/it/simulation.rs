//! Upstreams that fail in every shape, under paused time, from seeds. The long form runs with `TOWER_ASSURE`.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::time::Duration;

use tower_breaker::{Breaker, BreakerBuilder, CancelPolicy, OpenPeriod, Permit, State};

use crate::support::Seed;

fn long() -> bool {
    std::env::var_os("TOWER_ASSURE").is_some()
}

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// How often each thing happened.
#[derive(Debug, Default)]
struct Reached {
    opened: u64,
    half_open: u64,
    closed: u64,
    stale: u64,
    cancelled: u64,
    cancelled_probes: u64,
    panicked: u64,
    hung: u64,
    ignored: u64,
    late: u64,
}

/// Any settings a sane person might choose.
fn settings(seed: &mut Seed) -> BreakerBuilder {
    let mut builder = Breaker::builder("simulated")
        .min_calls(1 + seed.below(8) as u32)
        .failure_rate(0.2 + 0.2 * seed.below(5) as f64)
        .open_for(OpenPeriod::exponential(SECOND, SECOND * (1 + seed.below(4) as u32)))
        .probes(1 + seed.below(4) as u32)
        .probe_lease(SECOND * (1 + seed.below(5) as u32))
        .half_open_limit(SECOND * (2 + seed.below(10) as u32))
        .on_cancel(match seed.below(3) {
            0 => CancelPolicy::Ignore,
            1 => CancelPolicy::Failure,
            _ => CancelPolicy::FailureIfOlderThan(SECOND),
        });
    if seed.chance(30) {
        builder = builder.count_window(1 + seed.below(20) as u32);
    }
    if seed.chance(30) {
        builder = builder.slow_calls(MILLI * 500, 0.5);
    }
    if seed.chance(30) {
        builder = builder.consecutive_failures(1 + seed.below(5) as u32);
    }
    if seed.chance(20) {
        builder = builder.ramp_up(SECOND * 2);
    }
    builder
}

/// One schedule of everything that can happen to calls, and then a healthy upstream: the breaker has to come back.
async fn schedule(number: u64, reached: &mut Reached) {
    let mut seed = Seed(number);
    let breaker = settings(&mut seed).build().unwrap();
    let mut held: VecDeque<(Permit, u64)> = VecDeque::new();
    let mut before = breaker.snapshot();
    for _ in 0..40 + seed.below(80) {
        match seed.below(10) {
            0..=4 => {
                if let Ok(permit) = breaker.try_acquire() {
                    held.push_back((permit, breaker.snapshot().generation));
                }
            }
            5..=8 => {
                let place = seed.next() as usize % held.len().max(1);
                let Some((permit, generation)) = held.remove(place) else { continue };
                let now = breaker.snapshot();
                reached.stale += u64::from(now.generation != generation);
                let probe = now.state == State::HalfOpen && now.generation == generation;
                match seed.below(6) {
                    0 => permit.success(),
                    1 | 2 => permit.failure(),
                    3 => {
                        reached.ignored += 1;
                        permit.ignore();
                    }
                    4 => {
                        reached.cancelled += 1;
                        reached.cancelled_probes += u64::from(probe);
                        drop(permit);
                    }
                    _ => {
                        reached.panicked += 1;
                        let holds = std::panic::AssertUnwindSafe(move || {
                            let _permit = permit;
                            std::panic::resume_unwind(Box::new(()));
                        });
                        assert!(std::panic::catch_unwind(holds).is_err());
                    }
                }
            }
            _ => tokio::time::advance(MILLI * (seed.below(4000) as u32)).await,
        }
        let now = breaker.snapshot();
        if now.generation != before.generation {
            reached.opened += u64::from(now.state == State::Open);
            reached.half_open += u64::from(now.state == State::HalfOpen);
            reached.closed += u64::from(now.state == State::Closed);
        }
        before = now;
    }
    // What is still held hangs for ever. Everybody else is well from now on.
    reached.hung += held.len() as u64;
    let mut well = 0;
    for _ in 0..400 {
        if let Ok(permit) = breaker.try_acquire() {
            permit.success();
            well += u64::from(breaker.state() == State::Closed);
        }
        tokio::time::advance(MILLI * 250).await;
    }
    assert_eq!(breaker.state(), State::Closed, "schedule {number} wedged: {breaker:?}");
    assert!(well > 40, "schedule {number} let {well} calls pass");
    reached.late += held.len() as u64;
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn no_schedule_of_cancel_panic_hang_and_ignore_wedges_it() {
    let schedules = if long() { 1_000_000 } else { 400 };
    let mut reached = Reached::default();
    for number in 0..schedules {
        schedule(number, &mut reached).await;
    }
    println!("{schedules} schedules, 0 wedged: {reached:?}");
    let least = [
        reached.opened,
        reached.half_open,
        reached.closed,
        reached.stale,
        reached.cancelled,
        reached.cancelled_probes / 2,
        reached.panicked,
        reached.hung,
        reached.ignored,
        reached.late,
    ];
    assert!(least.iter().all(|count| *count >= schedules / 20), "{reached:?}");
}

#[tokio::test(start_paused = true)]
async fn no_outcome_is_lost() {
    let calls = if long() { 10_000_000_u64 } else { 50_000 };
    let breaker = Breaker::builder("simulated").count_window(1 << 16).build().unwrap();
    breaker.metrics_only();
    let runtime = tokio::runtime::Handle::current();
    let rounds = calls.div_ceil(50_000);
    for _ in 0..rounds {
        breaker.reset();
        breaker.metrics_only();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (breaker, runtime) = (&breaker, &runtime);
                scope.spawn(move || {
                    let _clock = runtime.enter();
                    for call in 0..12_500 {
                        let permit = breaker.try_acquire().unwrap();
                        if (call + thread) % 5 == 0 { permit.failure() } else { permit.success() }
                    }
                });
            }
        });
        let seen = breaker.snapshot();
        assert_eq!((seen.calls, seen.failures), (50_000, 10_000));
    }
    println!("{} outcomes from 4 threads, 0 lost", rounds * 50_000);
}

/// How an upstream is at a moment: the share of failures in percent, and how long an answer takes.
type Shape = fn(Duration) -> (u64, Duration);

const FAULT: Duration = Duration::from_secs(20);
const REPAIR: Duration = Duration::from_secs(60);

fn faulty(at: Duration) -> bool {
    (FAULT..REPAIR).contains(&at)
}

const SHAPES: [(&str, Shape); 6] = [
    ("step", |at| (if faulty(at) { 100 } else { 0 }, MILLI * 20)),
    ("ramp", |at| {
        let share = at.saturating_sub(FAULT).as_secs() * 100 / 40;
        (if faulty(at) { share } else { 0 }, MILLI * 20)
    }),
    ("flap", |at| (if faulty(at) && at.as_secs() % 6 < 3 { 100 } else { 0 }, MILLI * 20)),
    ("brownout", |at| (if faulty(at) { 60 } else { 0 }, if faulty(at) { MILLI * 800 } else { MILLI * 20 })),
    ("hang", |at| (0, if faulty(at) { SECOND * 3600 } else { MILLI * 20 })),
    ("slow body", |at| (0, if faulty(at) { SECOND * 4 } else { MILLI * 20 })),
];

/// A hundred seconds of fifty calls each, with an outer timeout of a second and two retries within a budget.
struct Run {
    /// Answers in time, by second.
    good: RefCell<Vec<u64>>,
    /// What reached the upstream, by second.
    arrived: RefCell<Vec<u64>>,
    opened: Cell<u64>,
}

async fn run(number: u64, shape: Shape, retries: u32) -> Run {
    let breaker = Breaker::builder("simulated")
        .slow_calls(SECOND, 0.5)
        .open_for(OpenPeriod::exponential(SECOND, SECOND * 2))
        .build()
        .unwrap();
    let start = tokio::time::Instant::now();
    let run =
        Run { good: RefCell::new(vec![0; 110]), arrived: RefCell::new(vec![0; 110]), opened: Cell::new(0) };
    let budget = Cell::new(10.0_f64);
    let call = async |mut seed: Seed| {
        budget.set((budget.get() + 0.1).min(10.0));
        for attempt in 0..=retries {
            if attempt > 0 {
                if budget.get() < 1.0 {
                    return;
                }
                budget.set(budget.get() - 1.0);
                tokio::time::sleep(MILLI * (20 + seed.below(50) as u32)).await;
            }
            let upstream = async {
                run.arrived.borrow_mut()[start.elapsed().as_secs() as usize] += 1;
                let (failing, takes) = shape(start.elapsed());
                tokio::time::sleep(takes.mul_f64(0.5 + seed.below(100) as f64 / 100.0)).await;
                if seed.chance(failing) { Err(()) } else { Ok(()) }
            };
            let answer = tokio::time::timeout(SECOND, breaker.call(upstream)).await;
            if let Ok(Ok(())) = answer {
                run.good.borrow_mut()[start.elapsed().as_secs() as usize] += 1;
                return;
            }
        }
    };
    let mut seed = Seed(number);
    let mut calls = futures_util::stream::FuturesUnordered::new();
    let mut generation = 0;
    for _ in 0..100 * 50 {
        calls.push(call(Seed(seed.next())));
        let tick = tokio::time::sleep(MILLI * 20);
        tokio::pin!(tick);
        loop {
            use futures_util::StreamExt;
            tokio::select! {
                biased;
                () = &mut tick => break,
                Some(()) = calls.next() => {}
            }
        }
        let now = breaker.snapshot();
        run.opened
            .set(run.opened.get() + u64::from(now.generation != generation && now.state == State::Open));
        generation = now.generation;
    }
    drop(calls);
    run
}

fn sum(counts: &RefCell<Vec<u64>>, seconds: std::ops::Range<usize>) -> u64 {
    counts.borrow()[seconds].iter().sum()
}

#[tokio::test(start_paused = true)]
async fn every_fault_is_cut_off_and_recovered_from_within_five_seconds() {
    let seeds = if long() { 100 } else { 2 };
    for (name, shape) in SHAPES {
        let (mut worst, mut dead) = (u64::MAX, 0);
        for number in 0..seeds {
            let run = run(number, shape, 2).await;
            // Goodput from five seconds after the repair on, of fifty a second.
            let good = sum(&run.good, 66..96) * 100 / (30 * 50);
            assert!(good >= 95, "{name}, seed {number}: {good} %");
            worst = worst.min(good);
            assert!(run.opened.get() > 0, "{name}, seed {number} never opened");
            // Once it has opened, a dead upstream sees probes: three in each period of a second or two.
            if matches!(name, "step" | "hang") {
                let arrived = sum(&run.arrived, 25..60);
                assert!(arrived <= 35 * 3 * 2, "{name}, seed {number}: {arrived} calls");
                dead = dead.max(arrived);
            }
        }
        println!("{name}: {seeds} seeds, at least {worst} % of goodput; dead 35 s saw at most {dead} calls");
    }
}

#[tokio::test(start_paused = true)]
async fn no_run_with_retries_stays_down_after_the_repair() {
    let seeds: u64 = if long() { 1_000 } else { 8 };
    let mut opened = 0;
    for number in 0..seeds {
        let (name, shape) = SHAPES[number as usize % SHAPES.len()];
        let run = run(number.wrapping_mul(0x9e37), shape, 2).await;
        let good = sum(&run.good, 66..96);
        assert!(good * 100 >= 95 * 30 * 50, "{name}, seed {number}: {good} good answers");
        opened += run.opened.get();
    }
    println!("{seeds} runs with retries, 0 metastable, opened {opened} times");
    assert!(opened >= seeds);
}

//! The behaviours of the README of tower-breaker, as far as they can be seen from outside within milliseconds, asked of
//! tower-breaker, tower-resilience-circuitbreaker, failsafe and recloser alike.
//!
//! `cargo bench --features breaker --bench breaker_behaviours`. Each is a function that gets a maker of circuit breakers:
//! "yes" when it holds, "no" when it does not, "-" when the crate has no such setting. Where a crate calls it differently,
//! the nearest setting is used; the minimum of recloser is the length of its ring. Time is the system's, for not all of
//! them follow tokio's. The other behaviours (HTTP, gRPC, keys, metrics-only and so on) none of the three others offers,
//! or they need a virtual clock; ours are tests of the crate.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

mod subjects;

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use subjects::{
    Job, Reply, Subject, Wanted, Window, failsafe, recloser, tower_breaker, tower_resilience, wanted,
};
use tokio::sync::oneshot;

const WAIT: Duration = Duration::from_millis(100);
/// Longer than [`WAIT`] on a busy machine too.
const WAITED: Duration = Duration::from_millis(130);

fn drive<T>(mut future: Pin<Box<dyn Future<Output = T> + Send>>) -> T {
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return output;
        }
        std::thread::yield_now();
    }
}

/// A call under way; dropped, it is cancelled.
struct Held {
    reply: Reply,
    end: oneshot::Sender<Result<u64, u64>>,
}

impl Held {
    fn end(self, result: Result<u64, u64>) {
        self.end.send(result).unwrap();
        let _ = drive(self.reply);
    }
}

impl Subject {
    fn call(&self, result: Result<u64, u64>) -> bool {
        drive((self.calls[0])(Job::new(async move { result }))).is_some()
    }

    fn ok(&self) -> bool {
        self.call(Ok(1))
    }

    fn tell(&self, outcomes: &str) {
        outcomes.chars().for_each(|outcome| {
            self.call(if outcome == 'S' { Ok(1) } else { Err(1) });
        });
    }

    /// Opens it. More failures than should be needed: one of them looks at its ring only before it writes there.
    fn trip(&self) {
        self.tell("FFFFFFFF");
    }

    fn hold(&self) -> Option<Held> {
        let (end, job) = oneshot::channel();
        let mut reply = (self.calls[0])(Job::new(async move { job.await.unwrap_or(Err(1)) }));
        match reply.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(_) => None,
            Poll::Pending => Some(Held { reply, end }),
        }
    }

    /// How many of five calls at once are let through.
    fn at_once(&self) -> (usize, Vec<Held>) {
        let held: Vec<_> = (0..5).filter_map(|_| self.hold()).collect();
        (held.len(), held)
    }
}

fn pass(time: Duration) {
    std::thread::sleep(time);
}

type Make<'a> = &'a dyn Fn(Wanted) -> Option<Subject>;
type Check = fn(Make<'_>) -> Option<bool>;

const BEHAVIOURS: &[(u32, &str, Check)] = &[
    (1, "starts closed", |make| Some(make(wanted())?.ok())),
    (2, "below the minimum it never opens", |make| {
        let it = make(wanted())?;
        it.tell("FFF");
        Some(it.ok())
    }),
    (3, "a rate at the threshold opens", |make| {
        let it = make(wanted())?;
        it.tell("SSFF");
        Some(!it.ok())
    }),
    (4, "a rate just below does not", |make| {
        let it = make(Wanted { minimum: 100, ..wanted() })?;
        it.tell(&("S".repeat(51) + &"F".repeat(49)));
        Some(it.ok())
    }),
    (5, "the rate of slow calls opens", |make| {
        let it = make(Wanted { slow: Some(Duration::from_millis(20)), ..wanted() })?;
        let (count, held) = it.at_once();
        pass(Duration::from_millis(40));
        held.into_iter().for_each(|held| held.end(Ok(1)));
        Some(count == 5 && !it.ok())
    }),
    (8, "samples older than the window are forgotten", |make| {
        let it = make(Wanted { window: Window::Time(Duration::from_millis(200)), ..wanted() })?;
        it.tell("FFF");
        pass(Duration::from_millis(260));
        it.tell("F");
        Some(it.ok())
    }),
    (9, "failures in several slices open together", |make| {
        let it = make(Wanted { window: Window::Time(Duration::from_secs(2)), wait: WAIT * 100, ..wanted() })?;
        for _ in 0..4 {
            it.tell("F");
            pass(Duration::from_millis(250));
        }
        Some(!it.ok())
    }),
    (13, "the ring evicts the oldest", |make| {
        let it = make(Wanted { window: Window::Calls(10), ..wanted() })?;
        it.tell(&"S".repeat(100));
        it.tell(&"F".repeat(5));
        Some(!it.ok())
    }),
    (15, "an error that is not listed is no failure", |make| {
        let it = make(Wanted { listed: true, ..wanted() })?;
        (0..8).for_each(|_| assert!(it.call(Err(2))));
        let unharmed = it.ok();
        it.trip();
        it.trip();
        Some(unharmed && !it.ok())
    }),
    (18, "a result may be a failure", |make| {
        let it = make(Wanted { answers: true, ..wanted() })?;
        (0..4).for_each(|_| assert!(it.call(Ok(9))));
        Some(!it.ok())
    }),
    (19, "settings out of range are refused", |make| {
        let refused =
            |rate| catch_unwind(AssertUnwindSafe(|| make(Wanted { rate, ..wanted() }).is_some())).is_err();
        Some(refused(2.0) && refused(-0.5) && refused(f64::NAN))
    }),
    (20, "the longest durations do not overflow", |make| {
        let it = make(Wanted { wait: Duration::MAX, ..wanted() })?;
        it.trip();
        Some(!it.ok() && !it.ok())
    }),
    (21, "open it rejects without calling", |make| {
        let it = make(wanted())?;
        it.trip();
        let made = Arc::new(AtomicUsize::new(0));
        let counts = Arc::clone(&made);
        let rejected = drive((it.calls[0])(Job::new(async move {
            counts.fetch_add(1, Ordering::Relaxed);
            Ok(1)
        })));
        Some(rejected.is_none() && made.load(Ordering::Relaxed) == 0)
    }),
    (23, "no call passes before the deadline", |make| {
        let it = make(Wanted { wait: WAIT * 5, ..wanted() })?;
        it.trip();
        pass(WAIT * 2);
        Some(!it.ok())
    }),
    (24, "the first call after it probes", |make| {
        let it = make(wanted())?;
        it.trip();
        let shut = !it.ok();
        pass(WAITED);
        Some(shut && it.ok())
    }),
    (25, "the wait may grow with each reopening", |make| {
        let it = make(Wanted { grows: true, wait: WAIT * 2, ..wanted() })?;
        it.trip();
        pass(WAITED * 2);
        let probed = it.call(Err(1));
        it.tell("F");
        pass(WAITED * 2);
        let longer = !it.ok();
        pass(WAITED * 2);
        Some(probed && longer && it.ok())
    }),
    (26, "closing resets the growth", |make| {
        let it = make(Wanted { grows: true, wait: WAIT * 2, ..wanted() })?;
        it.trip();
        pass(WAITED * 2);
        it.tell("F");
        pass(WAITED * 4);
        let closed = it.ok();
        it.trip();
        let shut = !it.ok();
        pass(WAITED * 2);
        Some(closed && shut && it.ok())
    }),
    (27, "a late result neither tells again nor extends", |make| {
        let told = Arc::new(AtomicUsize::new(0));
        let counts = Arc::clone(&told);
        let opened: Arc<dyn Fn() + Send + Sync> = Arc::new(move || {
            counts.fetch_add(1, Ordering::Relaxed);
        });
        let it = make(Wanted { opened: Some(opened), wait: WAIT * 2, ..wanted() })?;
        let late = it.hold()?;
        it.trip();
        pass(WAIT);
        late.end(Err(1));
        pass(WAITED);
        Some(told.load(Ordering::Relaxed) == 1 && it.ok())
    }),
    (29, "exactly so many probes pass", |make| {
        let it = make(Wanted { probes: Some(2), ..wanted() })?;
        it.trip();
        pass(WAITED);
        Some(it.at_once().0 == 2)
    }),
    (30, "successful probes close and clear", |make| {
        let it = make(wanted())?;
        it.trip();
        pass(WAITED);
        it.tell("SS");
        let (count, held) = it.at_once();
        held.into_iter().for_each(|held| held.end(Ok(1)));
        it.tell("F");
        Some(count == 5 && it.ok())
    }),
    (31, "a failing share of probes reopens", |make| {
        let it = make(wanted())?;
        it.trip();
        pass(WAITED);
        let probed = it.call(Err(1));
        it.tell("F");
        Some(probed && !it.ok())
    }),
    (32, "slow probes reopen", |make| {
        let it = make(Wanted { slow: Some(Duration::from_millis(20)), ..wanted() })?;
        it.trip();
        pass(WAITED);
        let probe = it.hold()?;
        pass(Duration::from_millis(40));
        probe.end(Ok(1));
        Some(!it.ok())
    }),
    (34, "a cancelled probe gives its slot back", |make| {
        let it = make(wanted())?;
        it.trip();
        pass(WAITED);
        drop(it.at_once());
        Some(it.ok())
    }),
    (35, "a probe phase has a limit: probes that hang do not keep it half open", |make| {
        let it = make(wanted())?;
        it.trip();
        pass(WAITED);
        let hung = it.at_once();
        let again = (0..40).any(|_| {
            pass(Duration::from_millis(20));
            it.ok()
        });
        drop(hung);
        Some(again)
    }),
    (36, "after each period there are new probes", |make| {
        let it = make(wanted())?;
        it.trip();
        Some((0..3).all(|_| {
            pass(WAITED);
            let probed = it.call(Err(1));
            it.tell("F");
            probed && !it.ok()
        }))
    }),
    (37, "of many at the deadline one probes", |make| {
        let it = make(wanted())?;
        it.trip();
        pass(WAITED);
        Some(it.at_once().0 == 1)
    }),
    (38, "forced open outlives the timer", |make| {
        let it = make(wanted())?;
        it.force_open.as_ref()?();
        pass(WAITED);
        Some(!it.ok())
    }),
    (41, "reset clears", |make| {
        let it = make(wanted())?;
        it.tell("FFF");
        it.reset.as_ref()?();
        it.tell("FFF");
        let closed = it.ok();
        it.trip();
        let shut = !it.ok();
        it.reset.as_ref()?();
        Some(closed && shut && it.ok())
    }),
    (43, "each transition is told once", |make| {
        let told = Arc::new(AtomicUsize::new(0));
        let counts = Arc::clone(&told);
        let opened: Arc<dyn Fn() + Send + Sync> = Arc::new(move || {
            counts.fetch_add(1, Ordering::Relaxed);
        });
        let it = make(Wanted { opened: Some(opened), ..wanted() })?;
        it.trip();
        let once = told.load(Ordering::Relaxed) == 1;
        pass(WAITED);
        it.tell("F");
        Some(once && told.load(Ordering::Relaxed) == 2)
    }),
    (47, "a handler that panics hurts nobody", |make| {
        let it = make(Wanted { opened: Some(Arc::new(|| panic!("a handler"))), ..wanted() })?;
        it.trip();
        let shut = !it.ok();
        pass(WAITED);
        Some(shut && it.ok())
    }),
    (48, "pipelines share it", |make| {
        let it = make(wanted())?;
        let other = (it.calls[1])(Job::new(async { Ok(1) }));
        let well = drive(other).is_some();
        it.trip();
        Some(well && drive((it.calls[1])(Job::new(async { Ok(1) }))).is_none())
    }),
    (49, "a result from before a transition is ignored", |make| {
        let it = make(wanted())?;
        let late = it.hold()?;
        it.trip();
        pass(WAITED);
        let probe = it.hold()?;
        late.end(Err(1));
        probe.end(Ok(1));
        Some(it.ok() && it.ok())
    }),
    (50, "a panic is a failure", |make| {
        let it = make(wanted())?;
        for _ in 0..4 {
            let call = (it.calls[0])(Job::new(async { panic!("a call") }));
            assert!(catch_unwind(AssertUnwindSafe(|| drive(call))).is_err());
        }
        Some(!it.ok())
    }),
    (60, "a hung probe loses its slot and its say", |make| {
        let it = make(wanted())?;
        it.trip();
        pass(WAITED);
        let hung = it.hold()?;
        pass(WAITED * 2);
        // By now it has failed or another one may pass: a late success of the first closes nothing.
        let again = (0..20).any(|_| {
            pass(Duration::from_millis(20));
            it.call(Err(1))
        });
        hung.end(Ok(1));
        Some(again && !it.ok())
    }),
];

/// A crate by its name, and how one of its breakers is made.
type Named = (&'static str, fn(&Wanted) -> Option<Subject>);

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _entered = runtime.enter();
    // Some of them panic, which is a result like any other.
    std::panic::set_hook(Box::new(|_| {}));
    let subjects: [Named; 4] = [
        ("tower-breaker", tower_breaker),
        ("tower-resilience-circuitbreaker 0.14", tower_resilience),
        ("failsafe 1.3", failsafe),
        ("recloser 1.4", recloser),
    ];
    println!("| | behaviour | {} |", subjects.map(|(name, _)| name).join(" | "));
    println!("|---|---|---|---|---|---|");
    let mut held = [0; 4];
    for (number, text, check) in BEHAVIOURS {
        print!("| {number} | {text} |");
        for (index, (_, make)) in subjects.iter().enumerate() {
            let make = |wanted: Wanted| make(&wanted);
            let score = catch_unwind(AssertUnwindSafe(|| check(&make))).unwrap_or(Some(false));
            held[index] += u32::from(score == Some(true));
            print!(" {} |", score.map_or("-", |holds| if holds { "yes" } else { "no" }));
        }
        println!();
    }
    println!("| | of {} | {} |", BEHAVIOURS.len(), held.map(|count| count.to_string()).join(" | "));
    assert_eq!(held[0] as usize, BEHAVIOURS.len(), "ours have tests of their own");
}

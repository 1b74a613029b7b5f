//! What a question has at hand: makers of breakers, the time they read, and what can be done to one.

use std::cell::RefCell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::subjects::{Contestant, Job, Keyed, Lack, Readiness, Reply, Subject, Told, Wanted, Web, wanted};

pub const WAIT: Duration = Duration::from_millis(100);
/// Longer than [`WAIT`] on a busy machine too.
pub const WAITED: Duration = Duration::from_millis(130);
pub const SECOND: Duration = Duration::from_secs(1);

/// Whether it holds, or why that cannot be.
pub type Answer = Result<bool, Lack>;
/// The number of the README, the text, and how it is found out.
pub type Question = (u32, &'static str, fn(&World<'_>) -> Answer);

/// Which time a crate reads.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Time {
    /// That of the system, for it lets in no other.
    System,
    Tokio,
    /// The mock of failsafe, a public item that its documentation leaves out.
    Failsafe,
}

/// One contestant and its time.
pub struct World<'a> {
    pub who: &'a Contestant,
    pass: RefCell<&'a mut dyn FnMut(Duration)>,
}

impl World<'_> {
    /// Asks in a world of its own. A panic is a no.
    pub fn ask(who: &Contestant, question: fn(&World<'_>) -> Answer) -> Answer {
        let ask = |pass: &mut dyn FnMut(Duration)| {
            let world = World { who, pass: RefCell::new(pass) };
            catch_unwind(AssertUnwindSafe(|| question(&world))).unwrap_or(Ok(false))
        };
        let tokio = runtime(who.time != Time::System);
        let _entered = tokio.enter();
        match who.time {
            Time::System => ask(&mut std::thread::sleep),
            Time::Tokio => ask(&mut |time| advance(&tokio, time)),
            Time::Failsafe => failsafe::clock::freeze(|clock| ask(&mut |time| clock.advance(time))),
        }
    }

    pub fn make(&self, wanted: Wanted) -> Result<Subject, Lack> {
        (self.who.make)(&wanted)
    }

    /// Whether such settings are refused.
    pub fn refuses(&self, settings: Wanted) -> Answer {
        match catch_unwind(AssertUnwindSafe(|| self.make(settings))) {
            Ok(made) => made.map(|_| false),
            Err(_) => Ok(true),
        }
    }

    pub fn web(&self) -> Result<Web, Lack> {
        (self.who.web)(&Wanted { minimum: 1, ..wanted() })
    }

    pub fn keyed(&self, capacity: usize) -> Result<Keyed, Lack> {
        (self.who.keyed)(capacity)
    }

    pub fn readiness(&self, gate: bool) -> Result<Readiness, Lack> {
        (self.who.readiness)(gate)
    }

    pub fn pass(&self, time: Duration) {
        (self.pass.borrow_mut())(time);
    }

    /// For what the time of a busy machine cannot tell.
    pub fn exact(&self) -> Result<(), Lack> {
        match self.who.time {
            Time::System => Err(Lack::Absent("reads std's Instant: no test can set its clock")),
            Time::Tokio | Time::Failsafe => Ok(()),
        }
    }

    /// For what needs a clock that steps back.
    pub fn back(&self) -> Result<(), Lack> {
        match self.who.time {
            Time::Tokio => Ok(()),
            Time::System => Err(Lack::Absent("reads std's Instant, which does not step back")),
            Time::Failsafe => Err(Lack::Absent(
                "reads std's Instant, which does not step back; its mock can only `advance`",
            )),
        }
    }

    /// A breaker that is open, and its wait over.
    pub fn due(&self, wanted: Wanted) -> Result<Subject, Lack> {
        let it = self.make(wanted)?;
        it.trip();
        self.pass(WAITED);
        Ok(it)
    }
}

pub fn runtime(paused: bool) -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(paused).build().unwrap()
}

/// Moves tokio's time, and lets the tasks of the runtime see it.
pub fn advance(tokio: &Runtime, time: Duration) {
    tokio.block_on(async {
        tokio::time::advance(time).await;
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
    });
}

pub fn drive<T>(mut future: Pin<Box<dyn Future<Output = T> + Send>>) -> T {
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return output;
        }
        std::thread::yield_now();
    }
}

/// A call under way; dropped, it is cancelled.
pub struct Held {
    reply: Reply,
    end: oneshot::Sender<Result<u64, u64>>,
}

impl Held {
    pub fn end(self, result: Result<u64, u64>) {
        self.end.send(result).unwrap();
        let _ = drive(self.reply);
    }
}

/// What a call comes to: 1 is well or fails; see [`Wanted`] for the others.
fn result(outcome: char) -> Result<u64, u64> {
    match outcome {
        'S' => Ok(1),
        'F' => Err(1),
        _ => Err(3),
    }
}

impl Subject {
    /// Whether it was let through.
    pub fn call(&self, result: Result<u64, u64>) -> bool {
        drive((self.calls[0])(Job::new(async move { result }))).is_ok()
    }

    pub fn ok(&self) -> bool {
        self.call(Ok(1))
    }

    /// `S`uccesses, `F`ailures and `I`gnored calls.
    pub fn tell(&self, outcomes: &str) {
        for outcome in outcomes.chars() {
            self.call(result(outcome));
        }
    }

    /// Opens it. More failures than should be needed: one of them looks at its ring only before it writes there.
    pub fn trip(&self) {
        self.tell("FFFFFFFF");
    }

    pub fn hold(&self) -> Option<Held> {
        let (end, job) = oneshot::channel();
        let mut reply = (self.calls[0])(Job::new(async move { job.await.unwrap_or(Err(1)) }));
        match reply.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(_) => None,
            Poll::Pending => Some(Held { reply, end }),
        }
    }

    /// How many of five calls at once are let through.
    pub fn at_once(&self) -> (usize, Vec<Held>) {
        let held: Vec<_> = (0..5).filter_map(|_| self.hold()).collect();
        (held.len(), held)
    }
}

/// What a breaker tells of itself.
#[derive(Clone, Default)]
pub struct Heard(Arc<Mutex<Vec<Told>>>);

impl Heard {
    /// A breaker's ear; what the making of it tells is not asked for.
    pub fn of(&self) -> Option<crate::subjects::Ear> {
        let heard = Arc::clone(&self.0);
        Some(Arc::new(move |told| heard.lock().unwrap().push(told)))
    }

    pub fn forget(&self) {
        self.0.lock().unwrap().clear();
    }

    pub fn so_far(&self) -> Vec<Told> {
        self.0.lock().unwrap().clone()
    }

    pub fn count(&self, told: Told) -> usize {
        self.so_far().into_iter().filter(|other| *other == told).count()
    }
}

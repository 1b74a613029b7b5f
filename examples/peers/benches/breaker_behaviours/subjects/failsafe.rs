use std::convert::Infallible;
use std::time::Duration;

use failsafe::futures::CircuitBreaker as _;
use failsafe::futures::stream::BreakerStream;
use failsafe::{Config, Error, FailurePolicy, StateMachine, failure_policy};
use http_body_util::{BodyExt, BodyStream, StreamBody};

use super::{
    Call, Contestant, Ear, Keyed, Lack, Mode, Readiness, Rejection, Script, Subject, Told, Wanted, Web,
    Window, wanted,
};
use crate::asked::{Time, drive};

pub const FAILSAFE: Contestant =
    Contestant { name: "failsafe 1.3", time: Time::Failsafe, make, web, keyed, readiness };

/// What there is no item for.
fn lacks(wanted: &Wanted) -> Result<(), Lack> {
    let lack = if wanted.slow.is_some() {
        "nothing times a call"
    } else if wanted.answers {
        "`FailurePredicate` sees errors only"
    } else if wanted.probes.is_some() {
        "half open, `is_call_permitted` lets every call pass; no setting"
    } else if matches!(wanted.window, Window::Calls(_)) {
        "no policy counts the last calls"
    } else if wanted.opens_on_success.is_some() {
        "no setting: `record_success` opens nothing"
    } else if wanted.timed {
        "nothing runs by itself: `is_call_permitted` ends the wait"
    } else if wanted.mode != Mode::Normal {
        "no such mode"
    } else if wanted.starts_open || wanted.nonsense {
        "by hand only `reset`"
    } else if wanted.layered {
        "no layer"
    } else {
        return Ok(());
    };
    Err(Lack::Absent(lack))
}

struct Hears(Option<Ear>);

impl Hears {
    fn tell(&self, told: Told) {
        if let Some(ear) = &self.0 {
            ear(told);
        }
    }
}

impl failsafe::Instrument for Hears {
    fn on_call_rejected(&self) {}

    fn on_open(&self) {
        self.tell(Told::Opened);
    }

    fn on_half_open(&self) {
        self.tell(Told::HalfOpened);
    }

    fn on_closed(&self) {
        self.tell(Told::Closed);
    }
}

/// Failures in a row, for its rate is a mean over time, which does not move while time stands still; that one where the
/// question is of a time window or of the rate itself.
fn make(wanted: &Wanted) -> Result<Subject, Lack> {
    lacks(wanted)?;
    let (minimum, waits) = (wanted.minimum as u32, Waits::new(wanted));
    let settings = Config::new().instrument(Hears(wanted.ear.clone()));
    match wanted.window {
        Window::Time(window) => {
            let success = 1.0 - wanted.rate;
            let rate = failure_policy::success_rate_over_time_window(success, minimum, window, waits);
            Ok(subject(wanted, settings.failure_policy(rate).build()))
        }
        _ => {
            let row = failure_policy::consecutive_failures(minimum, waits);
            Ok(subject(wanted, settings.failure_policy(row).build()))
        }
    }
}

fn subject<P>(wanted: &Wanted, breaker: StateMachine<P, Hears>) -> Subject
where
    P: FailurePolicy + Send + Sync + 'static,
{
    let (failed, ignores) = (wanted.failed(), wanted.ignores);
    let calls = [0, 1].map(|_| -> Call {
        let (failed, breaker) = (failed.clone(), breaker.clone());
        Box::new(move |job| {
            let (failed, breaker) = (failed.clone(), breaker.clone());
            if !ignores {
                let call = breaker.call_with(move |error: &u64| failed(Err(error)), job);
                return Box::pin(async move { answer(call.await) });
            }
            // What is to count nothing is not told: its steps are public.
            Box::pin(async move {
                if !breaker.is_call_permitted() {
                    return answer(Err(Error::Rejected));
                }
                let result = job.await;
                match &result {
                    Err(3) => {}
                    Err(error) if failed(Err(error)) => breaker.on_error(),
                    _ => breaker.on_success(),
                }
                Ok(result)
            })
        })
    });
    Subject {
        calls,
        force_open: Err(Lack::Absent("by hand only `reset`")),
        reset: Ok(Box::new(move || breaker.reset())),
        listen: Err(Lack::Fails("the `Instrument` is given to the configuration, and stays")),
    }
}

fn answer(result: Result<u64, Error<u64>>) -> Result<Result<u64, u64>, Rejection> {
    match result {
        Ok(answer) => Ok(Ok(answer)),
        Err(Error::Inner(error)) => Ok(Err(error)),
        Err(Error::Rejected) => Err(Rejection { says: Error::<u64>::Rejected.to_string(), wait: None }),
    }
}

/// The open periods: a backoff is an iterator. Its own are of whole seconds.
#[derive(Debug, Clone)]
struct Waits {
    next: Duration,
    grows: bool,
}

impl Waits {
    fn new(wanted: &Wanted) -> Self {
        Self { next: wanted.wait, grows: wanted.grows }
    }
}

impl Iterator for Waits {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let wait = self.next;
        if self.grows {
            self.next = wait * 2;
        }
        Some(wait)
    }
}

/// The body is read through its stream, frame by frame.
fn web(asked: &Wanted) -> Result<Web, Lack> {
    let policy = failure_policy::consecutive_failures(asked.minimum as u32, Waits::new(&wanted()));
    let breaker = Config::new().failure_policy(policy).build();
    let ask = move |script: Script, frames: usize| {
        if script.rejection {
            return Err(Lack::Absent("nothing can be both: what is to be ignored is not told at all"));
        }
        let response = async move { Ok::<_, Infallible>(script.response()) };
        let Ok(response) = drive(Box::pin(breaker.call(response))) else { return Ok(false) };
        let body = BreakerStream::new(breaker.clone(), BodyStream::new(response.into_body()));
        let body = StreamBody::new(Box::pin(body)).boxed_unsync();
        drive(Box::pin(super::read(body, frames)));
        Ok(true)
    };
    Ok(Web { ask: Box::new(ask) })
}

fn keyed(_: usize) -> Result<Keyed, Lack> {
    Err(Lack::Absent("no names, no registry, no keys"))
}

fn readiness(_: bool) -> Result<Readiness, Lack> {
    Err(Lack::Absent("no tower service"))
}

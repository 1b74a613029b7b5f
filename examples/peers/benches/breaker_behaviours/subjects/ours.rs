use std::convert::Infallible;
use std::future::{pending, poll_fn, ready};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use http::Request;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_breaker::{
    Breaker, BreakerBuilder, BreakerLayer, Error, Event, HttpBreakerLayer, KeyedBreaker, OpenPeriod, Outcome,
    Rejected, State, Verdict,
};

use super::{
    Call, Contestant, Ear, Job, Keyed, Lack, Mode, Place, Readiness, Rejection, Runs, Script, Subject, Told,
    Wanted, Web, Window, read, wanted,
};
use crate::asked::{Time, WAIT, drive};

pub const OURS: Contestant =
    Contestant { name: "tower-breaker", time: Time::Tokio, make, web, keyed, readiness };

fn settings(wanted: &Wanted) -> BreakerBuilder {
    let mut settings = Breaker::builder("peer").min_calls(wanted.minimum as u32).failure_rate(wanted.rate);
    settings = settings.open_for(if wanted.grows {
        OpenPeriod::exponential(wanted.wait, wanted.wait * 8).jitter(false)
    } else {
        OpenPeriod::from(wanted.wait)
    });
    settings = settings.probes(wanted.probes.unwrap_or(1) as u32).probe_lease(WAIT);
    settings = match wanted.window {
        Window::Any => settings,
        Window::Calls(calls) => settings.count_window(calls as u32),
        Window::Time(window) => settings.time_window(window),
    };
    if let Some(slow) = wanted.slow {
        settings = settings.slow_calls(slow, 0.5);
    }
    if let Some(opens) = wanted.opens_on_success {
        settings = settings.open_on_success(opens);
    }
    if wanted.nonsense {
        settings = settings.after_half_open_limit(State::HalfOpen);
    }
    settings.initial_state(match (wanted.mode, wanted.starts_open) {
        (Mode::Disabled, _) => State::Disabled,
        (Mode::MetricsOnly, _) => State::MetricsOnly,
        (Mode::Normal, true) => State::Open,
        (Mode::Normal, false) => State::Closed,
    })
}

fn hears(ear: &Ear) -> impl Fn(Event) + Send + Sync + use<> {
    let ear = Arc::clone(ear);
    move |event| match event {
        Event::WouldOpen => ear(Told::Crossed),
        Event::Transition { to: State::Open | State::ForcedOpen, .. } => ear(Told::Opened),
        Event::Transition { to: State::HalfOpen, .. } => ear(Told::HalfOpened),
        Event::Transition { to: State::Closed, .. } => ear(Told::Closed),
        _ => {}
    }
}

fn make(wanted: &Wanted) -> Result<Subject, Lack> {
    let breaker = settings(wanted).build().unwrap();
    if let Some(ear) = &wanted.ear {
        let _ = breaker.on_event(hears(ear));
    }
    if wanted.timed {
        tokio::spawn(breaker.timed_transitions());
    }
    let (failed, ignores) = (wanted.failed(), wanted.ignores);
    let judge = move |result: Result<&u64, &u64>| match result {
        Err(3) if ignores => Verdict::from(Outcome::Ignored),
        _ if failed(result) => Verdict::from(Outcome::Failure),
        _ => Verdict::from(Outcome::Success),
    };
    let layer = BreakerLayer::new(breaker.clone()).classify(judge);
    let calls = [0, 1].map(|_| -> Call {
        let service = layer.layer(Runs);
        Box::new(move |job| {
            let service = service.clone();
            Box::pin(async move {
                match service.oneshot(job).await {
                    Ok(answer) => Ok(Ok(answer)),
                    Err(Error::Inner(error)) => Ok(Err(error)),
                    Err(Error::Rejected(rejected)) => Err(rejection(&rejected)),
                    Err(_) => unreachable!(),
                }
            })
        })
    });
    let (open, reset) = (breaker.clone(), breaker.clone());
    Ok(Subject {
        calls,
        force_open: Ok(Box::new(move || open.force_open())),
        reset: Ok(Box::new(move || reset.reset())),
        listen: Ok(Box::new(move |ear| {
            let place = Arc::new(breaker.on_event(hears(&ear)));
            let remove = Arc::clone(&place);
            Place {
                replace: Box::new(move |ear| place.replace(hears(&ear))),
                remove: Box::new(move || Arc::into_inner(remove).unwrap().remove()),
            }
        })),
    })
}

fn rejection(rejected: &Rejected) -> Rejection {
    Rejection { says: rejected.to_string(), wait: rejected.retry_after() }
}

fn web(wanted: &Wanted) -> Result<Web, Lack> {
    let breaker = settings(wanted).build().unwrap();
    let layer = HttpBreakerLayer::new(breaker);
    // Another one, further in.
    let shut = settings(&super::wanted()).initial_state(State::ForcedOpen).build().unwrap();
    let ask = move |script: Script, frames| {
        let rejected = script.rejection.then(|| shut.try_acquire().unwrap_err());
        let passed = Arc::new(AtomicBool::new(false));
        let passes = Arc::clone(&passed);
        let service = layer.layer(service_fn(move |_: Request<()>| {
            passes.store(true, Ordering::Relaxed);
            let mut response = script.response();
            if let Some(rejected) = rejected.clone() {
                response.extensions_mut().insert(rejected);
            }
            ready(Ok::<_, Infallible>(response))
        }));
        let Ok(response) = drive(Box::pin(service.oneshot(Request::new(()))));
        drive(Box::pin(read(response.into_body(), frames)));
        Ok(passed.load(Ordering::Relaxed))
    };
    Ok(Web { ask: Box::new(ask) })
}

fn keyed(capacity: usize) -> Result<Keyed, Lack> {
    let family = KeyedBreaker::builder(settings(&wanted())).capacity(capacity).build::<u32>().unwrap();
    let call = move |key, result: Result<u64, u64>| {
        let family = family.clone();
        let call = async move { family.call(key, ready(result)).await };
        !matches!(drive(Box::pin(call)), Err(Error::Rejected(_)))
    };
    Ok(Keyed { call: Box::new(call) })
}

fn readiness(gate: bool) -> Result<Readiness, Lack> {
    let breaker = settings(&wanted()).build().unwrap();
    let mode = if gate { tower_breaker::Mode::Gate } else { tower_breaker::Mode::Reject };
    let service = BreakerLayer::new(breaker.clone()).mode(mode).layer(Runs);
    let service = Arc::new(Mutex::new(service));
    let again = Arc::clone(&service);
    Ok(Readiness {
        ready: Box::new(move || {
            let mut service = service.lock().unwrap();
            let poll = poll_fn(|cx| Poll::Ready(Service::<Job>::poll_ready(&mut *service, cx).is_ready()));
            futures_now(poll)
        }),
        open: Box::new(move || breaker.force_open()),
        call: Box::new(move || {
            let call = again.lock().unwrap().call(Job::new(pending()));
            let mut call = Box::pin(call);
            futures_now(poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx).is_pending())))
        }),
    })
}

/// What is ready at once.
pub fn futures_now<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!(),
    }
}

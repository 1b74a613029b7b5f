use std::convert::Infallible;
use std::future::{pending, poll_fn, ready};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use http::Request;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_resilience_circuitbreaker::{
    CircuitBreakerError, CircuitBreakerLayer, CircuitState, SlidingWindowType,
};

use super::ours::futures_now;
use super::{
    Call, Contestant, Hand, Job, Keyed, Lack, Mode, Readiness, Rejection, Runs, Script, Scripted, Subject,
    Told, Wanted, Web, Window, read,
};
use crate::asked::{Time, drive};

pub const TOWER_RESILIENCE: Contestant = Contestant {
    name: "tower-resilience-circuitbreaker 0.14",
    time: Time::System,
    make,
    web,
    keyed,
    readiness,
};

/// What the builder has no method for.
fn lacks(wanted: &Wanted) -> Result<(), Lack> {
    let lack = if wanted.grows {
        "the wait is one `Duration`, `wait_duration_in_open`"
    } else if wanted.ignores {
        "`FailureClassifier::classify` is a bool: what is no failure is a success"
    } else if wanted.opens_on_success.is_some() {
        "no setting: `record_success` always looks at the window"
    } else if wanted.timed {
        "nothing runs by itself: `try_acquire` ends the wait"
    } else if wanted.nonsense {
        "only `force_open`, `force_closed` and `reset`, which make sense in every state"
    } else {
        return Ok(());
    };
    Err(Lack::Absent(lack))
}

fn make(wanted: &Wanted) -> Result<Subject, Lack> {
    lacks(wanted)?;
    let mut settings = CircuitBreakerLayer::builder()
        .name("peer")
        .failure_rate_threshold(wanted.rate)
        .minimum_number_of_calls(wanted.minimum)
        .wait_duration_in_open(wanted.wait)
        .permitted_calls_in_half_open(wanted.probes.unwrap_or(1));
    settings = match wanted.window {
        Window::Calls(calls) => {
            settings.sliding_window_type(SlidingWindowType::CountBased).sliding_window_size(calls)
        }
        Window::Any => settings
            .sliding_window_type(SlidingWindowType::TimeBased)
            .sliding_window_duration(Duration::from_secs(10)),
        Window::Time(window) => {
            settings.sliding_window_type(SlidingWindowType::TimeBased).sliding_window_duration(window)
        }
    };
    if let Some(slow) = wanted.slow {
        settings = settings.slow_call_duration_threshold(slow).slow_call_rate_threshold(0.5);
    }
    if wanted.mode != Mode::Normal {
        settings = settings.manual_mode();
    }
    if let Some(ear) = wanted.ear.clone() {
        settings = settings.on_state_transition(move |_, to| {
            ear(match to {
                CircuitState::Open => Told::Opened,
                CircuitState::HalfOpen => Told::HalfOpened,
                CircuitState::Closed => Told::Closed,
            });
        });
    }
    let failed = wanted.failed();
    let settings = settings.failure_classifier(move |result: &Result<u64, u64>| failed(result.as_ref()));
    let (services, handle) = if wanted.layered {
        let layer = settings.build().unwrap();
        ([0, 1].map(|_| layer.layer(Runs)), None)
    } else {
        let (layer, handle) = settings.build_with_handle().unwrap();
        ([0, 1].map(|_| layer.layer(Runs)), Some(handle))
    };
    if let (Some(handle), true) = (handle.clone(), wanted.starts_open) {
        drive(Box::pin(async move { handle.force_open().await }));
    }
    let calls = services.map(|service| -> Call {
        Box::new(move |job| {
            let mut service = service.clone();
            Box::pin(async move {
                let answer = match service.ready().await {
                    Ok(service) => service.call(job).await,
                    Err(error) => Err(error),
                };
                match answer {
                    Ok(answer) => Ok(Ok(answer)),
                    Err(CircuitBreakerError::Inner(error)) => Ok(Err(error)),
                    Err(open) => Err(Rejection { says: open.to_string(), wait: None }),
                }
            })
        })
    });
    let no_handle = Lack::Absent("a layer made without a handle");
    let (open, reset) = (handle.clone(), handle);
    let force_open: Hand = open.ok_or(no_handle).map(|open| -> Box<dyn Fn() + Send + Sync> {
        Box::new(move || {
            let open = open.clone();
            drive(Box::pin(async move { open.force_open().await }));
        })
    });
    let reset: Hand = reset.ok_or(no_handle).map(|reset| -> Box<dyn Fn() + Send + Sync> {
        Box::new(move || {
            let reset = reset.clone();
            drive(Box::pin(async move { reset.reset().await }));
        })
    });
    let listen = Err(Lack::Fails("the builder takes handlers, which stay: `EventListeners` can only `add`"));
    Ok(Subject { calls, force_open, reset, listen })
}

/// With a classifier that sees all that there is to see, the head of the response.
fn web(wanted: &Wanted) -> Result<Web, Lack> {
    let classify = |result: &Result<http::Response<Scripted>, Infallible>| {
        result.as_ref().is_ok_and(|response| {
            response.status().is_server_error()
                || response.headers().get("grpc-status").is_some_and(|status| status != "0")
        })
    };
    let (layer, _handle) = CircuitBreakerLayer::builder()
        .sliding_window_size(wanted.minimum)
        .failure_classifier(classify)
        .build_with_handle()
        .unwrap();
    let ask = move |script: Script, frames| {
        if script.rejection {
            return Err(Lack::Absent("nothing can be ignored, so nothing can be both"));
        }
        let service =
            layer.layer(service_fn(move |_: Request<()>| ready(Ok::<_, Infallible>(script.response()))));
        let Ok(response) = drive(Box::pin(service.oneshot(Request::new(())))) else { return Ok(false) };
        drive(Box::pin(read(response.into_body(), frames)));
        Ok(true)
    };
    Ok(Web { ask: Box::new(ask) })
}

fn keyed(_: usize) -> Result<Keyed, Lack> {
    Err(Lack::Absent("a name is a label of events, and nothing is found by it: no registry, no keys"))
}

fn readiness(gate: bool) -> Result<Readiness, Lack> {
    let settings = CircuitBreakerLayer::builder();
    let settings = if gate { settings.backpressure() } else { settings };
    let (layer, handle) = settings.build_with_handle().unwrap();
    let service = Arc::new(Mutex::new(layer.layer(Runs)));
    let again = Arc::clone(&service);
    Ok(Readiness {
        ready: Box::new(move || {
            let mut service = service.lock().unwrap();
            futures_now(poll_fn(|cx| Poll::Ready(Service::<Job>::poll_ready(&mut *service, cx).is_ready())))
        }),
        open: Box::new(move || {
            let handle = handle.clone();
            drive(Box::pin(async move { handle.force_open().await }));
        }),
        call: Box::new(move || {
            let mut call = again.lock().unwrap().call(Job::new(pending()));
            futures_now(poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx).is_pending())))
        }),
    })
}

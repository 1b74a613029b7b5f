//! The same breaker made of four crates, as far as each has the settings.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use recloser::{AsyncRecloser, Recloser};
use tower::{Layer, Service, ServiceExt};
use tower_breaker::{Breaker, BreakerLayer, Error, OpenPeriod, Outcome};
use tower_resilience_circuitbreaker::{CircuitBreakerLayer, SlidingWindowType};

use super::{WAIT, drive};

/// What a call does.
pub struct Job(Pin<Box<dyn Future<Output = Result<u64, u64>> + Send>>);

impl Job {
    pub fn new(future: impl Future<Output = Result<u64, u64>> + Send + 'static) -> Self {
        Self(Box::pin(future))
    }
}

impl Future for Job {
    type Output = Result<u64, u64>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

/// `None` is a rejection.
pub type Reply = Pin<Box<dyn Future<Output = Option<Result<u64, u64>>> + Send>>;
type Call = Box<dyn Fn(Job) -> Reply>;

/// The inner service: a request is the work.
#[derive(Clone)]
struct Runs;

impl Service<Job> for Runs {
    type Response = u64;
    type Error = u64;
    type Future = Job;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), u64>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, job: Job) -> Job {
        job
    }
}

/// Two pipelines that ought to share one breaker, and what the hand may do.
pub struct Subject {
    pub calls: [Call; 2],
    pub force_open: Option<Box<dyn Fn()>>,
    pub reset: Option<Box<dyn Fn()>>,
}

#[derive(Clone)]
pub enum Window {
    Any,
    Calls(usize),
    Time(Duration),
}

#[derive(Clone)]
pub struct Wanted {
    pub minimum: usize,
    pub rate: f64,
    pub wait: Duration,
    pub grows: bool,
    pub probes: Option<usize>,
    pub window: Window,
    pub slow: Option<Duration>,
    /// Errors other than 1 are none.
    pub listed: bool,
    /// An answer of 9 is a failure.
    pub answers: bool,
    /// Hears of each opening.
    pub opened: Option<Arc<dyn Fn() + Send + Sync>>,
}

pub fn wanted() -> Wanted {
    Wanted {
        minimum: 4,
        rate: 0.5,
        wait: WAIT,
        grows: false,
        probes: None,
        window: Window::Any,
        slow: None,
        listed: false,
        answers: false,
        opened: None,
    }
}

fn failed(wanted: &Wanted) -> impl Fn(Result<&u64, &u64>) -> bool + Clone + Send + Sync + 'static {
    let (listed, answers) = (wanted.listed, wanted.answers);
    move |result| match result {
        Ok(answer) => answers && *answer == 9,
        Err(error) => !listed || *error == 1,
    }
}

pub fn tower_breaker(wanted: &Wanted) -> Option<Subject> {
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
    let breaker = settings.build().unwrap();
    if let Some(opened) = wanted.opened.clone() {
        let _ = breaker.on_event(move |event| {
            if matches!(event, tower_breaker::Event::Transition { to: tower_breaker::State::Open, .. }) {
                opened();
            }
        });
    }
    let failed = failed(wanted);
    let judge = move |result: Result<&u64, &u64>| {
        if failed(result) { Outcome::Failure } else { Outcome::Success }
    };
    let layer = BreakerLayer::new(breaker.clone()).classify(judge);
    let call = |layer: &BreakerLayer<_>| -> Call {
        let service = layer.layer(Runs);
        Box::new(move |job| {
            let service = service.clone();
            Box::pin(async move {
                match service.oneshot(job).await {
                    Ok(answer) => Some(Ok(answer)),
                    Err(Error::Inner(error)) => Some(Err(error)),
                    Err(_) => None,
                }
            })
        })
    };
    let (open, reset) = (breaker.clone(), breaker);
    Some(Subject {
        calls: [call(&layer), call(&layer)],
        force_open: Some(Box::new(move || open.force_open())),
        reset: Some(Box::new(move || reset.reset())),
    })
}

pub fn tower_resilience(wanted: &Wanted) -> Option<Subject> {
    if wanted.grows {
        return None;
    }
    let mut settings = CircuitBreakerLayer::builder()
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
    if let Some(opened) = wanted.opened.clone() {
        settings = settings.on_state_transition(move |_, to| {
            if to == tower_resilience_circuitbreaker::CircuitState::Open {
                opened();
            }
        });
    }
    let failed = failed(wanted);
    let layer = settings
        .failure_classifier(move |result: &Result<u64, u64>| failed(result.as_ref()))
        .build()
        .unwrap();
    let services = [0, 1].map(|_| layer.layer(Runs));
    let (open, reset) = (services[0].clone(), services[0].clone());
    let calls = services.map(|service| -> Call {
        Box::new(move |job| {
            let mut service = service.clone();
            Box::pin(async move {
                let answer = match service.ready().await {
                    Ok(service) => service.call(job).await,
                    Err(error) => Err(error),
                };
                match answer {
                    Ok(answer) => Some(Ok(answer)),
                    Err(error) => error.into_inner().map(Err),
                }
            })
        })
    });
    Some(Subject {
        calls,
        force_open: Some(Box::new(move || {
            drive(Box::pin({
                let open = open.clone();
                async move { open.force_open().await }
            }))
        })),
        reset: Some(Box::new(move || {
            drive(Box::pin({
                let reset = reset.clone();
                async move { reset.reset().await }
            }))
        })),
    })
}

pub fn failsafe(wanted: &Wanted) -> Option<Subject> {
    use failsafe::futures::CircuitBreaker;
    struct Heard(Option<Arc<dyn Fn() + Send + Sync>>);
    impl failsafe::Instrument for Heard {
        fn on_call_rejected(&self) {}
        fn on_open(&self) {
            if let Some(opened) = &self.0 {
                opened();
            }
        }
        fn on_half_open(&self) {}
        fn on_closed(&self) {}
    }
    if wanted.slow.is_some()
        || wanted.answers
        || wanted.probes.is_some()
        || !matches!(wanted.window, Window::Any)
    {
        return None;
    }
    assert!((0.0..=1.0).contains(&wanted.rate));
    // Its rate is an average over time, which does not move within milliseconds: failures in a row are the nearest.
    let policy = failsafe::failure_policy::consecutive_failures(wanted.minimum as u32, Waits::new(wanted));
    let breaker =
        failsafe::Config::new().failure_policy(policy).instrument(Heard(wanted.opened.clone())).build();
    let failed = failed(wanted);
    let (one, other, reset) = (breaker.clone(), breaker.clone(), breaker);
    let calls = [one, other].map(|breaker| -> Call {
        let failed = failed.clone();
        Box::new(move |job| {
            let failed = failed.clone();
            let call = breaker.call_with(move |error: &u64| failed(Err(error)), job);
            Box::pin(async move {
                match call.await {
                    Ok(answer) => Some(Ok(answer)),
                    Err(failsafe::Error::Inner(error)) => Some(Err(error)),
                    Err(failsafe::Error::Rejected) => None,
                }
            })
        })
    });
    Some(Subject { calls, force_open: None, reset: Some(Box::new(move || reset.reset())) })
}

/// The open periods of failsafe: a backoff is an iterator.
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

pub fn recloser(wanted: &Wanted) -> Option<Subject> {
    if wanted.slow.is_some() || wanted.answers || wanted.opened.is_some() {
        return None;
    }
    let ring = match wanted.window {
        Window::Any => wanted.minimum,
        Window::Calls(calls) => calls,
        Window::Time(_) => return None,
    };
    let settings = Recloser::custom().error_rate(wanted.rate as f32).closed_len(ring);
    let settings = settings.half_open_len(wanted.probes.unwrap_or(1)).open_wait(wanted.wait);
    let breaker = if wanted.grows {
        settings.open_wait_strategy(|failures: u32, wait: Duration| {
            wait * 2_u32.pow(failures.min(8))
        })
    } else {
        settings
    };
    let breaker = Arc::new(AsyncRecloser::from(breaker.build()));
    let failed = failed(wanted);
    let calls = [0, 1].map(|_| -> Call {
        let (breaker, failed) = (Arc::clone(&breaker), failed.clone());
        Box::new(move |job| {
            let failed = failed.clone();
            let call = breaker.call_with(move |error: &u64| failed(Err(error)), job);
            Box::pin(async move {
                match call.await {
                    Ok(answer) => Some(Ok(answer)),
                    Err(recloser::Error::Inner(error)) => Some(Err(error)),
                    Err(recloser::Error::Rejected) => None,
                }
            })
        })
    });
    Some(Subject { calls, force_open: None, reset: None })
}

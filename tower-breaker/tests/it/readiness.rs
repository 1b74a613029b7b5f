//! The contract of `poll_ready`, alone and under tower's own middleware.

use std::future::{poll_fn, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;
use tower::balance::p2c::Balance;
use tower::buffer::BufferLayer;
use tower::discover::ServiceList;
use tower::limit::ConcurrencyLimitLayer;
use tower::load::Constant;
use tower::load_shed::LoadShedLayer;
use tower::retry::{Policy, RetryLayer};
use tower::steer::Steer;
use tower::util::BoxCloneService;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_breaker::layer::BreakerService;
use tower_breaker::{
    BoxError, Breaker, BreakerLayer, CancelPolicy, Error, Mode, RejectReason, State, find_rejection,
};
use tower_test::{assert_request_eq, mock};

use crate::support::{touchy, trip};

const SECOND: Duration = Duration::from_secs(1);

/// What a poll of readiness says right now.
fn poll<S: Service<R>, R>(service: &mut S) -> Poll<bool> {
    match poll_fn(|cx| service.poll_ready(cx)).now_or_never() {
        Some(result) => Poll::Ready(result.is_ok()),
        None => Poll::Pending,
    }
}

const READY: Poll<bool> = Poll::Ready(true);

type Guarded = BreakerService<mock::Mock<u8, u8>>;

/// A mocked service behind a breaker.
fn mocked(breaker: &Breaker, mode: Mode) -> (mock::Spawn<Guarded>, mock::Handle<u8, u8>) {
    mock::spawn_layer(BreakerLayer::new(breaker.clone()).mode(mode))
}

#[tokio::test(start_paused = true)]
async fn closed_it_is_as_ready_as_the_inner_service_and_calls_that_instance() {
    for mode in [Mode::Reject, Mode::Gate] {
        let breaker = touchy("test").build().unwrap();
        let (mut service, mut handle) = mocked(&breaker, mode);
        handle.allow(0);
        assert!(service.poll_ready().is_pending());
        handle.allow(1);
        assert!(service.is_woken());
        assert!(service.poll_ready().is_ready());
        let call = service.call(7);
        assert_request_eq!(handle, 7).send_response(8);
        assert_eq!(call.await.unwrap(), 8);
        handle.send_error("gone");
        let Poll::Ready(Err(error)) = service.poll_ready() else { panic!("no error") };
        assert!(matches!(error, Error::Inner(_)));
    }
}

#[tokio::test(start_paused = true)]
async fn open_it_is_ready_without_asking_and_rejects() {
    let breaker = touchy("test").build().unwrap();
    let (mut service, mut handle) = mocked(&breaker, Mode::Reject);
    handle.allow(0);
    trip(&breaker);
    assert!(service.poll_ready().is_ready());
    let rejected = service.call(7).await.unwrap_err();
    assert_eq!(rejected.rejection().unwrap().reason(), RejectReason::Open);
    // After the period the inner service is asked again.
    tokio::time::advance(SECOND).await;
    assert!(service.poll_ready().is_pending());
    handle.allow(1);
    assert!(service.poll_ready().is_ready());
    let probe = service.call(7);
    assert_request_eq!(handle, 7).send_response(8);
    probe.await.unwrap();
    assert_eq!(breaker.state(), State::Closed);
}

/// Ready was said while nobody asked the inner service, so it is not called, whatever the hand has done since.
#[tokio::test(start_paused = true)]
async fn closed_by_hand_between_ready_and_call_it_calls_no_inner_service_that_was_not_ready() {
    let breaker = touchy("test").build().unwrap();
    let (mut service, mut handle) = mocked(&breaker, Mode::Reject);
    handle.allow(0);
    breaker.force_open();
    assert!(service.poll_ready().is_ready());
    breaker.force_close();
    assert!(service.call(7).await.unwrap_err().rejection().is_some());
    assert!(service.poll_ready().is_pending());
    handle.allow(1);
    assert!(service.poll_ready().is_ready());
    let call = service.call(7);
    assert_request_eq!(handle, 7).send_response(8);
    assert_eq!(call.await.unwrap(), 8);
}

/// Probes and what comes in a ramp take another way in.
#[tokio::test(start_paused = true)]
async fn each_probe_and_each_call_of_a_ramp_asks_for_readiness_of_its_own() {
    for mode in [Mode::Reject, Mode::Gate] {
        let breaker = touchy("test").probes(2).ramp_up(SECOND).build().unwrap();
        let (mut service, mut handle) = mocked(&breaker, mode);
        trip(&breaker);
        tokio::time::advance(SECOND).await;
        for (number, state) in [State::HalfOpen, State::Closed, State::Closed].into_iter().enumerate() {
            handle.allow(0);
            assert!(service.poll_ready().is_pending(), "{number}");
            handle.allow(1);
            assert!(service.poll_ready().is_ready());
            let call = service.call(7);
            assert_request_eq!(handle, 7).send_response(8);
            assert_eq!((call.await.unwrap(), breaker.state()), (8, state));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_the_inner_service_hears_that_it_opened() {
    let breaker = touchy("test").build().unwrap();
    let (mut service, mut handle) = mocked(&breaker, Mode::Reject);
    handle.allow(0);
    assert!(service.poll_ready().is_pending());
    trip(&breaker);
    assert!(service.is_woken());
    assert!(service.poll_ready().is_ready());
    assert!(service.call(7).await.unwrap_err().rejection().is_some());
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_the_inner_service_hears_that_the_probes_are_taken() {
    let breaker = touchy("test").open_for(SECOND).probes(1).build().unwrap();
    let (mut service, mut handle) = mocked(&breaker, Mode::Reject);
    trip(&breaker);
    tokio::time::advance(SECOND).await;
    handle.allow(0);
    assert!(service.poll_ready().is_pending());
    let probe = breaker.try_acquire().unwrap();
    assert!(service.is_woken());
    assert!(service.poll_ready().is_ready());
    let rejected = service.call(1).await.unwrap_err();
    assert_eq!(rejected.rejection().unwrap().reason(), RejectReason::ProbesTaken);
    // The slot is free again: there is something to wait for.
    drop(probe);
    assert!(service.poll_ready().is_pending());
}

/// A balancer keeps what is ready, and asks again before it calls: the first call after the period is no rejection.
#[tokio::test(start_paused = true)]
async fn ready_to_reject_it_looks_again_when_it_is_asked_again() {
    let breaker = touchy("test").open_for(SECOND * 4).build().unwrap();
    let (mut service, mut handle) = mocked(&breaker, Mode::Reject);
    handle.allow(0);
    trip(&breaker);
    assert!(service.poll_ready().is_ready());
    tokio::time::advance(SECOND).await;
    assert!(service.poll_ready().is_ready());
    let rejected = service.call(1).await.unwrap_err();
    assert_eq!(rejected.rejection().unwrap().retry_after(), Some(SECOND * 3));
    assert!(service.poll_ready().is_ready());
    tokio::time::advance(SECOND * 3).await;
    // The inner service is not ready: what was said is not taken back.
    assert!(service.poll_ready().is_ready());
    handle.allow(1);
    assert!(service.poll_ready().is_ready() && service.poll_ready().is_ready());
    let probe = service.call(7);
    assert_request_eq!(handle, 7).send_response(8);
    assert_eq!((probe.await.unwrap(), breaker.state()), (8, State::Closed));
    // Closed meanwhile, it has nothing to say about a wait.
    handle.allow(0);
    trip(&breaker);
    assert!(service.poll_ready().is_ready());
    breaker.force_close();
    assert!(service.poll_ready().is_ready());
    let rejected = service.call(1).await.unwrap_err();
    assert_eq!(rejected.rejection().unwrap().retry_after(), Some(Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn the_gate_shuts_and_wakes_at_the_deadline() {
    let breaker = touchy("test").build().unwrap();
    let (mut service, mut handle) = mocked(&breaker, Mode::Gate);
    handle.allow(9);
    trip(&breaker);
    assert!(service.poll_ready().is_pending());
    tokio::time::advance(SECOND - Duration::from_millis(2)).await;
    assert!(!service.is_woken() && service.poll_ready().is_pending());
    tokio::time::sleep(Duration::from_millis(3)).await;
    assert!(service.is_woken());
    assert!(service.poll_ready().is_ready());
    // Being ready takes no probe: that is taken by the call.
    assert_eq!(breaker.state(), State::Open);
    let probe = service.call(7);
    assert_eq!(breaker.state(), State::HalfOpen);
    assert_request_eq!(handle, 7).send_response(8);
    probe.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_gate_wakes_everybody_when_it_is_closed_by_hand() {
    let breaker = touchy("test").build().unwrap();
    breaker.force_open();
    let mut gates: Vec<_> = (0..3).map(|_| mocked(&breaker, Mode::Gate)).collect();
    for (service, handle) in &mut gates {
        handle.allow(1);
        assert!(service.poll_ready().is_pending());
    }
    breaker.force_close();
    for (service, _handle) in &mut gates {
        assert!(service.is_woken());
        assert!(service.poll_ready().is_ready());
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_ready_gate_holds_no_probe_and_the_late_one_is_rejected() {
    let breaker = touchy("test").build().unwrap();
    trip(&breaker);
    tokio::time::advance(SECOND).await;
    let (mut idle, mut idle_handle) = mocked(&breaker, Mode::Gate);
    let (mut busy, mut busy_handle) = mocked(&breaker, Mode::Gate);
    idle_handle.allow(1);
    busy_handle.allow(1);
    assert!(idle.poll_ready().is_ready() && busy.poll_ready().is_ready());
    let probe = busy.call(1);
    // Readiness once given is kept, though the only probe is taken.
    assert!(idle.poll_ready().is_ready());
    let rejected = idle.call(2).await.unwrap_err();
    assert_eq!(rejected.rejection().unwrap().reason(), RejectReason::ProbesTaken);
    assert!(idle.poll_ready().is_pending());
    assert_request_eq!(busy_handle, 1).send_response(1);
    probe.await.unwrap();
    assert!(idle.is_woken() && idle.poll_ready().is_ready());
    // The readiness of the inner service was kept, too: one was allowed, and one is used.
    let call = idle.call(3);
    assert_request_eq!(idle_handle, 3).send_response(3);
    assert_eq!(call.await.unwrap(), 3);
}

/// Long before its lease is over, and though the state is the same afterwards.
#[tokio::test(start_paused = true)]
async fn a_probe_slot_that_comes_back_wakes_who_waits_at_the_gate() {
    let breaker = touchy("test").on_cancel(CancelPolicy::Ignore).build().unwrap();
    let (mut waits, mut handle) = mocked(&breaker, Mode::Gate);
    handle.allow(1);
    trip(&breaker);
    tokio::time::advance(SECOND).await;
    for ignored in [true, false] {
        let probe = breaker.try_acquire().unwrap();
        assert!(waits.poll_ready().is_pending());
        assert!(!waits.is_woken());
        if ignored {
            probe.ignore();
        } else {
            drop(probe);
        }
        assert!(waits.is_woken());
    }
    assert!(waits.poll_ready().is_ready());
}

#[tokio::test(start_paused = true)]
async fn rejecting_clones_give_the_probes_permit_back_when_told_to() {
    for release in [false, true] {
        let breaker = touchy("test").build().unwrap();
        let limited = ConcurrencyLimitLayer::new(1).layer(service_fn(|n: u8| ready(Ok::<_, BoxError>(n))));
        let service = BreakerLayer::new(breaker.clone()).layer(limited);
        let mut first = if release { service.release_on_reject() } else { service };
        let mut second = first.clone();
        assert_eq!(poll(&mut first), READY);
        trip(&breaker);
        assert!(first.call(1).await.is_err());
        tokio::time::advance(SECOND).await;
        // The only permit is where the rejected call left it.
        assert_eq!(poll(&mut second).is_ready(), release);
        assert_eq!(poll(&mut first).is_ready(), !release);
    }
}

fn numbers() -> impl Service<u8, Response = u8, Error = BoxError, Future: Send> + Clone {
    service_fn(|n: u8| ready(if n == 0 { Err(BoxError::from("down")) } else { Ok(n) }))
}

/// Errors as boxes, as tower's middleware wants them.
fn guarded(breaker: &Breaker, mode: Mode) -> BoxCloneService<u8, u8, BoxError> {
    BreakerLayer::new(breaker.clone()).mode(mode).layer(numbers()).map_err(Error::into_box).boxed_clone()
}

#[tokio::test(start_paused = true)]
async fn under_buffer_the_worker_survives() {
    let breaker = touchy("test").build().unwrap();
    let service = BufferLayer::new(4).layer(guarded(&breaker, Mode::Reject));
    assert_eq!(service.clone().oneshot(1).await.unwrap(), 1);
    trip(&breaker);
    let error = service.clone().oneshot(1).await.unwrap_err();
    assert_eq!(find_rejection(&*error).unwrap().reason(), RejectReason::Open);
    tokio::time::advance(SECOND).await;
    assert_eq!(service.clone().oneshot(1).await.unwrap(), 1);
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn under_balance_the_gate_moves_calls_to_the_other_endpoint() {
    let breakers = [touchy("a").build().unwrap(), touchy("b").build().unwrap()];
    let calls = Arc::new([const { AtomicUsize::new(0) }; 2]);
    let endpoint = |index: usize| {
        let calls = calls.clone();
        let service = service_fn(move |n: u8| {
            calls[index].fetch_add(1, Ordering::Relaxed);
            ready(Ok::<_, BoxError>(n))
        });
        let service = BreakerLayer::new(breakers[index].clone()).mode(Mode::Gate).layer(service);
        Constant::new(service.map_err(Error::into_box), 1)
    };
    let mut balance = Balance::new(ServiceList::new::<u8>([endpoint(0), endpoint(1)]));
    let seen = || [0, 1].map(|index| calls[index].swap(0, Ordering::Relaxed));
    for _ in 0..100 {
        balance.ready().await.unwrap().call(1).await.unwrap();
    }
    assert!(seen().iter().all(|calls| *calls > 10));
    breakers[0].force_open();
    // An endpoint that was ready already may be picked once more.
    let mut rejected = 0;
    for _ in 0..100 {
        let answer = balance.ready().await.unwrap().call(1).await;
        rejected += usize::from(answer.is_err_and(|error| find_rejection(&*error).is_some()));
    }
    assert!(rejected <= 1);
    assert_eq!(seen(), [0, 100 - rejected]);
    // With all of them shut the balancer waits, and goes on when one comes back.
    breakers[1].force_open();
    while poll(&mut balance) == READY {
        let _ = balance.call(1).await;
    }
    breakers[0].force_close();
    tokio::time::timeout(SECOND, balance.ready()).await.unwrap().unwrap().call(1).await.unwrap();
    assert_eq!(seen()[0], 1);
}

#[derive(Clone)]
struct Again(usize);

impl Policy<u8, u8, BoxError> for Again {
    type Future = std::future::Ready<()>;

    fn retry(&mut self, _: &mut u8, result: &mut Result<u8, BoxError>) -> Option<Self::Future> {
        self.0 = self.0.checked_sub(usize::from(result.is_err()))?;
        result.is_err().then(|| ready(()))
    }

    fn clone_request(&mut self, request: &u8) -> Option<u8> {
        Some(*request)
    }
}

#[tokio::test(start_paused = true)]
async fn under_retry_a_rejection_is_an_answer_and_nothing_hangs() {
    let breaker = touchy("test").build().unwrap();
    let service = RetryLayer::new(Again(9)).layer(guarded(&breaker, Mode::Reject));
    assert_eq!(service.clone().oneshot(1).await.unwrap(), 1);
    let error = tokio::time::timeout(SECOND, service.clone().oneshot(0)).await.unwrap().unwrap_err();
    assert!(find_rejection(&*error).is_some());
    tokio::time::advance(SECOND).await;
    assert_eq!(service.oneshot(1).await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn under_a_concurrency_limit_rejections_use_no_permit_for_long() {
    let breaker = touchy("test").build().unwrap();
    let service = ConcurrencyLimitLayer::new(1).layer(guarded(&breaker, Mode::Reject));
    trip(&breaker);
    for _ in 0..10 {
        assert!(service.clone().oneshot(1).await.is_err());
    }
    tokio::time::advance(SECOND).await;
    assert_eq!(service.clone().oneshot(1).await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn under_load_shed_the_gate_sheds_and_reject_mode_says_why() {
    for mode in [Mode::Reject, Mode::Gate] {
        let breaker = touchy("test").build().unwrap();
        let service = LoadShedLayer::new().layer(guarded(&breaker, mode));
        assert_eq!(service.clone().oneshot(1).await.unwrap(), 1);
        trip(&breaker);
        let error = service.clone().oneshot(1).await.unwrap_err();
        assert_eq!(find_rejection(&*error).is_some(), mode == Mode::Reject);
        assert_eq!(error.is::<tower::load_shed::error::Overloaded>(), mode == Mode::Gate);
        tokio::time::advance(SECOND).await;
        assert_eq!(service.clone().oneshot(1).await.unwrap(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn under_steer_one_open_breaker_does_not_hold_the_others_up() {
    let breakers = [touchy("a").build().unwrap(), touchy("b").build().unwrap()];
    let services = breakers.each_ref().map(|breaker| guarded(breaker, Mode::Reject));
    let mut steer = Steer::new(services, |n: &u8, _: &[_]| usize::from(*n > 100));
    trip(&breakers[0]);
    assert_eq!(poll(&mut steer), READY);
    assert!(find_rejection(&*steer.call(1).await.unwrap_err()).is_some());
    assert_eq!(steer.ready().await.unwrap().call(101).await.unwrap(), 101);
    assert_eq!(breakers[1].state(), State::Closed);
}

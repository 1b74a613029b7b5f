//! What one would try in order to wedge, starve or crash a breaker.

use std::future::{Future, pending, poll_fn, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::FutureExt;
use http::{HeaderMap, Request, Response};
use tower::balance::p2c::Balance;
use tower::discover::ServiceList;
use tower::load::Constant;
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};
use tower_breaker::classify::{ClassifyHttp, Head};
use tower_breaker::{
    Breaker, BreakerLayer, Bulkhead, CancelPolicy, Error, HttpBreakerLayer, KeyedBreaker, KeyedBreakerLayer,
    Mode, Permit, State, Verdict, find_rejection, keyed,
};

use crate::support::{Piece, TestBody, read, response, touchy, trip};

const SECOND: Duration = Duration::from_secs(1);

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    future.poll_unpin(&mut Context::from_waker(Waker::noop()))
}

/// With every endpoint open the balancer waits, no longer than the shortest period, and nobody is asked meanwhile.
#[tokio::test(start_paused = true)]
async fn a_balancer_with_all_endpoints_open_waits_for_the_first_period_only() {
    let asked = Arc::new(AtomicUsize::new(0));
    let breakers = [3, 1, 2].map(|seconds| touchy("endpoint").open_for(SECOND * seconds).build().unwrap());
    let endpoints = breakers.each_ref().map(|breaker| {
        let asked = asked.clone();
        let inner = service_fn(move |_: ()| {
            asked.fetch_add(1, Ordering::SeqCst);
            ready(Ok::<_, std::io::Error>(()))
        });
        let endpoint = BreakerLayer::new(breaker.clone()).mode(Mode::Gate).layer(inner);
        Constant::new(endpoint.map_err(Error::into_box), 1)
    });
    let mut balanced = Balance::new(ServiceList::new::<()>(endpoints));
    // Known to the balancer while they were ready; then all are shut.
    balanced.ready().await.unwrap().call(()).await.unwrap();
    breakers.iter().for_each(trip);
    let start = tokio::time::Instant::now();
    balanced.ready().await.unwrap();
    let waited = start.elapsed();
    let answer = balanced.call(()).await;
    match answer {
        // One that was ready when they opened is given out once more, and rejects.
        Err(error) => assert!(find_rejection(&*error).is_some()),
        Ok(()) => assert!(waited >= SECOND),
    }
    while balanced.ready().await.unwrap().call(()).await.is_err() {}
    let waited = start.elapsed();
    assert!((SECOND..SECOND + SECOND / 10).contains(&waited), "{waited:?}");
    assert_eq!((asked.load(Ordering::SeqCst), breakers[1].state()), (2, State::Closed));
}

/// A handler that does everything a handler can do to its own breaker, on each event.
#[tokio::test(start_paused = true)]
async fn a_handler_may_do_anything_to_the_breaker_it_hears() {
    let breaker = touchy("test").build().unwrap();
    let heard = Arc::new(AtomicUsize::new(0));
    let (within, count) = (breaker.clone(), heard.clone());
    let subscription = breaker.on_event(move |_| {
        let number = count.fetch_add(1, Ordering::SeqCst);
        let _ = (within.state(), within.snapshot(), within.subscribe(), format!("{within:?}"));
        let _ = within.try_acquire().map(Permit::failure);
        let _ = within.on_event(|_| {});
        match number {
            0 => within.force_open(),
            1 => within.reset(),
            2 => within.reconfigure(&touchy("test")).unwrap(),
            _ => {}
        }
        assert!(number > 3, "a panic besides");
    });
    trip(&breaker);
    assert!(heard.load(Ordering::SeqCst) >= 3);
    subscription.remove();
    breaker.reset();
    assert!(breaker.try_acquire().is_ok());
}

/// The judge of an end panics: that call is a failure, the next ones are judged.
#[tokio::test(start_paused = true)]
async fn a_judge_that_panics_at_the_end_of_a_body_hurts_its_own_call_only() {
    #[derive(Clone)]
    struct Panics(bool);
    impl ClassifyHttp for Panics {
        fn head(&mut self, response: &Response<()>) -> Head {
            self.0 = response.headers().contains_key("x-panic");
            Head::AtEnd
        }

        fn end(&mut self, _: Option<&HeaderMap>) -> Verdict {
            assert!(!self.0, "on purpose");
            Verdict::SUCCESS
        }
    }
    let breaker = Breaker::builder("test").build().unwrap();
    let inner = service_fn(|request: Request<bool>| {
        let fields: &[_] = if *request.body() { &[("x-panic", "1")] } else { &[] };
        ready(Ok::<_, BoxError>(response(200, fields, &[Piece::Data("x")])))
    });
    let service = HttpBreakerLayer::new(breaker.clone()).classify(Panics(false)).layer(inner);
    for (panics, failures) in [(false, 0), (true, 1), (false, 1)] {
        let body = service.clone().oneshot(Request::new(panics)).await.unwrap().into_body();
        let end = AssertUnwindSafe(read(body)).catch_unwind().await;
        assert_eq!((end.is_err(), breaker.snapshot().failures), (panics, failures));
    }
    assert_eq!(breaker.snapshot().calls, 3);
}

/// Dropped before the first poll, while waiting, between head and body, and within the body: no probe slot, bulkhead
/// slot or place in the queue is lost.
#[tokio::test(start_paused = true)]
async fn dropped_at_each_point_a_probe_gives_everything_back() {
    let family: KeyedBreaker<u8> = KeyedBreaker::builder(
        touchy("partners").on_cancel(CancelPolicy::Ignore).half_open_limit(SECOND * 9999),
    )
    .bulkhead(Bulkhead::builder("partners").limit(1).queue(1).max_wait(SECOND))
    .build()
    .unwrap();
    let inner =
        service_fn(|hangs: bool| async move { if hangs { pending().await } else { Ok::<_, BoxError>(()) } });
    let mut service = KeyedBreakerLayer::new(family.clone(), |_: &bool| Some(1_u8)).layer(inner);
    let breaker = family.get(1);
    for point in 0..5 {
        trip(&breaker);
        tokio::time::advance(SECOND).await;
        let bulkhead = family.find_bulkhead(&1).unwrap();
        match point {
            0 => drop(service.ready().await.unwrap().call(true)),
            1 => {
                let mut call = Box::pin(service.ready().await.unwrap().call(true));
                assert!(poll(&mut call).is_pending());
                assert_eq!((bulkhead.in_use(), breaker.state()), (1, State::HalfOpen));
            }
            2 => {
                let slot = bulkhead.try_acquire().unwrap();
                let mut call = Box::pin(service.ready().await.unwrap().call(true));
                assert!(poll(&mut call).is_pending());
                assert_eq!(bulkhead.waiting(), 1);
                drop(call);
                drop(slot);
            }
            // The slot is handed over, and the one who waited for it goes before taking it.
            3 => {
                let slot = bulkhead.try_acquire().unwrap();
                let mut call = Box::pin(service.ready().await.unwrap().call(true));
                assert!(poll(&mut call).is_pending());
                drop(slot);
                drop(call);
            }
            _ => {
                let mut call = Box::pin(family.call(1, pending::<Result<(), ()>>()));
                assert!(poll(&mut call).is_pending());
            }
        }
        assert_eq!((bulkhead.in_use(), bulkhead.waiting()), (0, 0), "{point}");
        service.ready().await.unwrap().call(false).await.unwrap();
        assert_eq!(breaker.state(), State::Closed, "{point}");
    }
}

/// Threads fill the family with keys of their own; a circuit that somebody has opened stays open whatever others do.
#[test]
fn under_pressure_of_new_keys_no_open_circuit_is_forgotten() {
    let each = touchy("partners").open_for(SECOND * 86_400);
    let family: KeyedBreaker<u64> =
        KeyedBreaker::builder(each).capacity(64).idle(SECOND * 864_000).build().unwrap();
    let opened: Vec<u64> = std::thread::scope(|scope| {
        let threads = [0_u64, 1, 2, 3].map(|thread| {
            let family = &family;
            scope.spawn(move || {
                let mut opened = Vec::new();
                for number in 0..5_000 {
                    let key = number * 4 + thread;
                    let breaker = family.get(key);
                    if number % 500 == 0 {
                        let _ = breaker.try_acquire().map(Permit::failure);
                        let _ = breaker.try_acquire().map(Permit::failure);
                        if family.find(&key).is_some_and(|found| found.state() == State::Open) {
                            opened.push(key);
                        }
                    } else {
                        let _ = breaker.try_acquire().map(Permit::success);
                    }
                    assert!(family.len() <= 64);
                }
                opened
            })
        });
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(opened.len() >= 20, "{} opened", opened.len());
    for key in opened {
        assert_eq!(family.find(&key).map(|breaker| breaker.state()), Some(State::Open), "{key}");
    }
}

/// A service that panics in `call` itself, before there is a future.
#[tokio::test(start_paused = true)]
async fn a_service_that_panics_in_its_call_has_failed() {
    let breaker = touchy("test").build().unwrap();
    let inner = service_fn(|_: ()| -> std::future::Ready<Result<(), BoxError>> { panic!("on purpose") });
    let mut service = BreakerLayer::new(breaker.clone()).layer(inner);
    for failures in 1..=2 {
        poll_fn(|cx| service.poll_ready(cx)).await.unwrap();
        assert!(catch_unwind(AssertUnwindSafe(|| drop(service.call(())))).is_err());
        assert!(breaker.snapshot().failures == failures || breaker.state() == State::Open);
    }
    assert_eq!(breaker.state(), State::Open);
}

/// Polled again after its end it waits, and nothing is counted twice.
#[tokio::test(start_paused = true)]
async fn a_call_that_is_polled_after_its_rejection_counts_once() {
    let breaker = touchy("test").build().unwrap();
    trip(&breaker);
    let inner =
        service_fn(|_: Request<()>| ready(Ok::<Response<TestBody>, BoxError>(response(200, &[], &[]))));
    let mut service = HttpBreakerLayer::new(breaker.clone()).layer(inner);
    poll_fn(|cx| service.poll_ready(cx)).await.unwrap();
    let mut call = pin!(service.call(Request::new(())));
    assert_eq!(call.as_mut().await.unwrap().status(), 503);
    assert!(poll(&mut call).is_pending());
}

/// Hosts as an attacker would write them.
#[test]
fn a_key_from_hostile_requests_is_bounded() {
    let family: KeyedBreaker<http::uri::Authority> =
        KeyedBreaker::builder(touchy("partners")).capacity(4).build().unwrap();
    for number in 0..1_000 {
        let request = Request::builder().uri(format!("http://h{number}.example:{number}/")).body(()).unwrap();
        drop(keyed::host(&request).map(|host| family.get(host)));
    }
    for field in ["", "a b", "\u{7f}", "a,b", "[::1", "@"] {
        let Ok(request) = Request::builder().uri("/").header("host", field).body(()) else { continue };
        drop(keyed::host(&request).map(|host| family.get(host)));
    }
    assert!(family.len() <= 4);
}

#[cfg(feature = "retry")]
mod retries {
    use http::Method;
    use tower_breaker::retry::HttpPolicy;

    use super::*;
    use crate::retry_support::{Upstream, Whole, request, send};

    /// Who accepts any wait gets any wait, and no overflow.
    #[tokio::test(start_paused = true)]
    async fn absurd_waits_are_waits() {
        let patient = || HttpPolicy::builder().retry_after_up_to(Duration::MAX).total_timeout(None);
        let absurd = [
            &[("retry-after", "18446744073709551615")][..],
            &[("retry-after", "99999999999999999999999999")],
            &[("retry-after", "Fri, 31 Dec 9999 23:59:59 GMT")],
        ];
        for fields in absurd {
            let upstream = Upstream::new(move |_| Whole(503, fields));
            let answer = send(patient(), &upstream, request(Method::GET, ""));
            assert!(tokio::time::timeout(SECOND * 3600, answer).await.is_err(), "{fields:?}");
            assert_eq!(upstream.count(), 1);
        }
        // The same for waits of our own, which are drawn up to the longest.
        let own =
            HttpPolicy::builder().backoff(Duration::MAX).backoff_up_to(Duration::MAX).total_timeout(None);
        let upstream = Upstream::new(|_| Whole(503, &[]));
        assert!(
            tokio::time::timeout(SECOND * 60, send(own, &upstream, request(Method::GET, ""))).await.is_err()
        );
        // And with the defaults, nobody comes back.
        for fields in absurd {
            let upstream = Upstream::new(move |_| Whole(503, fields));
            let answer = send(HttpPolicy::builder(), &upstream, request(Method::GET, "")).await.unwrap();
            assert_eq!((answer.status().as_u16(), upstream.count()), (503, 1));
        }
    }
}

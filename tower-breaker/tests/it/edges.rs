//! Corners that are seldom reached, each of which somebody would notice.

use std::convert::Infallible;
use std::future::ready;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_breaker::bulkhead::HttpBulkheadLayer;
use tower_breaker::classify::HttpClassifier;
use tower_breaker::fallback::HttpFallbackLayer;
use tower_breaker::{BoxError, Breaker, Bulkhead, HttpBreakerLayer, KeyedBreaker, OpenPeriod, State};

use crate::support::{read, response, touchy, trip};

const SECOND: Duration = Duration::from_secs(1);

/// So many octets in single ones, of so many promised; it knows its own end.
struct Counted {
    left: u64,
    promised: u64,
}

impl Body for Counted {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        (self.left, self.promised) = (self.left - 1, self.promised - 1);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x")))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.promised)
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_ends_short_of_the_length_it_knows_is_a_failure() {
    for (left, promised, failures) in [(2, 2, 0), (2, 3, 1), (0, 1, 1)] {
        let breaker = touchy("orders").build().unwrap();
        let answer =
            move |_: Request<()>| ready(Ok::<_, BoxError>(Response::new(Counted { left, promised })));
        let service = HttpBreakerLayer::new(breaker.clone()).layer(service_fn(answer));
        read(service.oneshot(Request::new(())).await.unwrap().into_body()).await.unwrap();
        let seen = breaker.snapshot();
        assert_eq!((seen.calls, seen.failures), (1, failures), "{left} of {promised}");
    }
}

/// hyper asks no body for more once it says that it has ended.
#[tokio::test(start_paused = true)]
async fn a_slot_is_free_once_the_body_has_ended_not_once_it_is_dropped() {
    let bulkhead = Bulkhead::builder("orders").limit(1).build().unwrap();
    let ask = async |left| {
        let answer =
            move |_: Request<()>| ready(Ok::<_, BoxError>(Response::new(Counted { left, promised: left })));
        let service = HttpBulkheadLayer::new(bulkhead.clone()).layer(service_fn(answer));
        service.oneshot(Request::new(())).await.unwrap()
    };
    let empty = ask(0).await;
    assert_eq!(bulkhead.in_use(), 0);
    let mut two = ask(2).await;
    for in_use in [1, 0] {
        assert!(two.frame().await.unwrap().unwrap().is_data());
        assert_eq!(bulkhead.in_use(), in_use);
    }
    drop((empty, two));
}

#[tokio::test(start_paused = true)]
async fn a_date_in_retry_after_is_compared_with_the_clock_of_the_day() {
    fn noon() -> SystemTime {
        // Thu, 01 Jan 2026 12:00:00 GMT
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_268_800)
    }
    for (date, expected) in [("Thu, 01 Jan 2026 12:00:09 GMT", 9), ("Thu, 01 Jan 2026 11:00:00 GMT", 1)] {
        let period = OpenPeriod::fixed(SECOND).retry_after_up_to(SECOND * 30);
        let breaker = touchy("orders").open_for(period).build().unwrap();
        let answer = service_fn(|_: Request<()>| {
            ready(Ok::<_, BoxError>(response(503, &[("retry-after", date)], &[])))
        });
        let layer = HttpBreakerLayer::new(breaker.clone()).classify(HttpClassifier::new().wall_clock(noon));
        for _ in 0..2 {
            layer.layer(answer).oneshot(Request::new(())).await.unwrap();
        }
        assert_eq!(breaker.snapshot().retry_after, Some(SECOND * expected), "{date}");
    }
}

#[tokio::test(start_paused = true)]
async fn waits_are_told_in_whole_seconds_or_milliseconds_never_too_early() {
    for (period, seconds, millis) in [(500, "1", "1"), (1_000_000, "1", "1000"), (1_000_001, "2", "1000")] {
        let breaker = touchy("orders").open_for(Duration::from_micros(period)).build().unwrap();
        trip(&breaker);
        let inner =
            service_fn(|_: Request<()>| ready(Ok::<_, BoxError>(Response::new(Full::<Bytes>::default()))));
        let service = HttpBreakerLayer::new(breaker).layer(inner);
        let answer = service.clone().oneshot(Request::new(())).await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["retry-after"]),
            (503, &seconds.parse().unwrap())
        );
        let call = Request::builder().header("content-type", "application/grpc").body(()).unwrap();
        let answer = service.oneshot(call).await.unwrap();
        assert_eq!(answer.headers()["grpc-retry-pushback-ms"], millis);
    }
}

/// There is no wait any more, but a call that comes at once would be too early for this instance.
#[tokio::test(start_paused = true)]
async fn a_wait_that_is_over_is_told_as_the_shortest() {
    let breaker = touchy("orders").build().unwrap();
    let inner =
        service_fn(|_: Request<()>| ready(Ok::<_, BoxError>(Response::new(Full::<Bytes>::default()))));
    let service = HttpBreakerLayer::new(breaker.clone()).layer(inner);
    for (kind, field) in [("text/plain", "retry-after"), ("application/grpc", "grpc-retry-pushback-ms")] {
        breaker.force_open();
        let mut service = service.clone();
        std::future::poll_fn(|cx| Service::<Request<()>>::poll_ready(&mut service, cx)).await.unwrap();
        breaker.force_close();
        let call = Request::builder().header("content-type", kind).body(()).unwrap();
        assert_eq!(service.call(call).await.unwrap().headers()[field], "1");
    }
}

#[tokio::test(start_paused = true)]
async fn a_fallback_answers_for_an_error_when_it_may() {
    let inner = service_fn(|_: Request<()>| ready(Err::<Response<Full<Bytes>>, _>(BoxError::from("down"))));
    let stale =
        service_fn(|_: Request<()>| ready(Ok::<_, BoxError>(Response::new(Full::<Bytes>::default()))));
    assert!(HttpFallbackLayer::new(stale).layer(inner).oneshot(Request::new(())).await.is_err());
    let always = HttpFallbackLayer::new(stale).on_failure().layer(inner);
    assert_eq!(always.oneshot(Request::new(())).await.unwrap().status(), 200);
    for (status, answered) in [(404, 404), (499, 499), (500, 200)] {
        let inner = service_fn(move |_: Request<()>| ready(Ok::<_, BoxError>(response(status, &[], &[]))));
        let always = HttpFallbackLayer::new(stale).on_failure().layer(inner);
        assert_eq!(always.oneshot(Request::new(())).await.unwrap().status(), answered);
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_in_use_or_was_set_by_hand_makes_no_room() {
    let bulkhead = Bulkhead::builder("partners").limit(1);
    let family: KeyedBreaker<u32> =
        KeyedBreaker::builder(touchy("partners")).capacity(1).bulkhead(bulkhead).build().unwrap();
    let _ = family.get(0);
    let busy = family.find_bulkhead(&0).unwrap().try_acquire().unwrap();
    let _ = family.get(1);
    assert!(family.find(&0).is_some() && family.find(&1).is_none());
    drop(busy);
    let _ = family.get(1);
    assert!(family.find(&0).is_none());
    let hands: [fn(&Breaker); 3] = [Breaker::disable, Breaker::metrics_only, Breaker::force_open];
    for by_hand in hands {
        by_hand(&family.get(1));
        tokio::time::advance(SECOND * 3_600).await;
        family.expire();
        let _ = family.get(2);
        assert!(family.find(&1).is_some() && family.find(&2).is_none());
    }
}

/// The share of keys that may be shut out is not used up by such as nobody knows any more.
#[tokio::test(start_paused = true)]
async fn keys_that_have_left_count_no_longer_among_the_shut_out() {
    let family: KeyedBreaker<u32> =
        KeyedBreaker::builder(touchy("replicas")).max_ejected(0.5).idle(SECOND * 60).build().unwrap();
    let refused = async |key| family.call(key, ready(Ok::<_, &str>(()))).await.is_err();
    for key in 0..4 {
        let _ = family.get(key);
    }
    for key in 0..2 {
        trip(&family.get(key));
        assert!(refused(key).await);
    }
    trip(&family.get(2));
    assert!(!refused(2).await, "half of them are shut out");
    tokio::time::advance(SECOND * 3_600).await;
    assert_eq!(family.expire(), 4);
    for key in 4..8 {
        let _ = family.get(key);
    }
    for key in 4..6 {
        trip(&family.get(key));
        assert!(refused(key).await, "{key}");
    }
    assert_eq!(family.get(4).state(), State::Open);
}

/// A watcher whose waker panics, as a runtime of another make might.
#[tokio::test(start_paused = true)]
async fn a_waker_that_panics_hurts_neither_the_call_nor_the_handlers() {
    struct Panics;
    impl std::task::Wake for Panics {
        fn wake(self: std::sync::Arc<Self>) {
            panic!("on purpose");
        }
    }
    let breaker = touchy("orders").build().unwrap();
    let heard = crate::behaviours::listen(&breaker);
    let mut states = breaker.subscribe();
    let mut changed = Box::pin(states.changed());
    let waker = std::task::Waker::from(std::sync::Arc::new(Panics));
    assert!(changed.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    trip(&breaker);
    breaker.force_close();
    assert_eq!(crate::behaviours::to(&heard), [State::Open, State::Closed]);
}

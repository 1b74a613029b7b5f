use std::future::ready;
use std::time::Duration;

use http::Request;
use tower::{Layer, ServiceExt, service_fn};
use tower_breaker::keyed::host;
use tower_breaker::{
    BoxError, Breaker, Bulkhead, Error, HttpKeyedBreakerLayer, KeyedBreaker, KeyedBreakerLayer, OpenPeriod,
    RejectReason, Rejected, State,
};

use crate::support::{Piece, read, response, touchy, trip};

const SECOND: Duration = Duration::from_secs(1);

fn family(capacity: usize) -> KeyedBreaker<u32> {
    KeyedBreaker::builder(touchy("partners")).capacity(capacity).idle(SECOND * 10).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn one_key_opens_and_the_others_stay_closed() {
    let family = family(8);
    for _ in 0..2 {
        assert!(family.call(1, ready(Err::<(), _>("down"))).await.is_err());
    }
    let rejected = family.call(1, ready(Ok::<_, &str>(()))).await.unwrap_err();
    assert_eq!(rejected.rejection().unwrap().breaker(), "partners");
    assert!(family.call(2, ready(Ok::<_, &str>(()))).await.is_ok());
    assert_eq!((family.get(1).state(), family.get(2).state(), family.len()), (State::Open, State::Closed, 2));
    assert!(family.find(&3).is_none());
    let mut seen = Vec::new();
    family.clone().for_each(|key, breaker| seen.push((*key, breaker.state())));
    seen.sort_by_key(|(key, _)| *key);
    assert_eq!(seen, [(1, State::Open), (2, State::Closed)]);
}

#[tokio::test(start_paused = true)]
async fn eviction_never_forgets_an_open_circuit() {
    let family = family(4);
    trip(&family.get(0));
    for key in 1..10_000 {
        family.get(key).try_acquire().unwrap().success();
        assert!(family.len() <= 4);
        assert_eq!(family.find(&0).unwrap().state(), State::Open, "{key}");
    }
    // All of them shut, by the machine or by hand: nobody leaves, and newcomers share a bucket.
    let kept: Vec<u32> = (0..10_000).filter(|key| family.find(key).is_some()).collect();
    assert_eq!(kept.len(), 4);
    for &key in &kept {
        family.get(key).force_open();
    }
    tokio::time::advance(SECOND * 1000).await;
    assert_eq!(family.expire(), 0);
    family.get(70_000).force_open();
    assert_eq!(family.get(80_000).state(), State::ForcedOpen);
    assert_eq!((family.overflow().state(), family.len()), (State::ForcedOpen, 4));
    for key in kept {
        assert_eq!(family.find(&key).unwrap().state(), State::ForcedOpen);
    }
}

#[tokio::test(start_paused = true)]
async fn idle_keys_go_and_failures_in_the_window_are_kept_from_newcomers() {
    let family = family(2);
    for key in 0..2 {
        family.get(key).try_acquire().unwrap().failure();
    }
    // A flood of new keys does not wash the failures away.
    for key in 2..100 {
        assert_eq!(
            family.get(key).try_acquire().map(drop).is_ok(),
            family.overflow().state() == State::Closed
        );
    }
    assert_eq!((family.find(&0).unwrap().snapshot().failures, family.len()), (1, 2));
    tokio::time::advance(SECOND * 9).await;
    assert_eq!(family.get(0).state(), State::Closed);
    tokio::time::advance(SECOND).await;
    assert_eq!((family.expire(), family.len()), (1, 1));
    assert!(family.find(&0).is_some() && family.find(&1).is_none());
}

/// Whatever rule would open it, and however long ago its failures were.
#[tokio::test(start_paused = true)]
async fn failures_of_a_count_window_or_in_a_row_are_kept_from_newcomers() {
    let each = || touchy("partners").consecutive_failures(3);
    for each in [each(), touchy("partners").count_window(4).time_window(SECOND).min_calls(3)] {
        let family: KeyedBreaker<u32> =
            KeyedBreaker::builder(each).capacity(1).idle(SECOND * 100).build().unwrap();
        for _ in 0..2 {
            family.get(0).try_acquire().unwrap().failure();
        }
        tokio::time::advance(SECOND * 30).await;
        let _ = family.get(1);
        assert!(family.find(&0).is_some() && family.find(&1).is_none());
        family.get(0).try_acquire().unwrap().failure();
        assert_eq!(family.get(0).state(), State::Open);
    }
    let slow = touchy("partners").slow_calls(SECOND, 1.0).min_calls(2).time_window(SECOND * 100);
    let family: KeyedBreaker<u32> = KeyedBreaker::builder(slow).capacity(1).build().unwrap();
    let call = family.get(0).try_acquire().unwrap();
    tokio::time::advance(SECOND).await;
    call.success();
    let _ = family.get(1);
    assert_eq!(family.find(&0).unwrap().snapshot().slow, 1);
    // Once there is nothing to be missed, it goes.
    let family: KeyedBreaker<u32> = KeyedBreaker::builder(each()).capacity(1).build().unwrap();
    family.get(0).try_acquire().unwrap().failure();
    family.get(0).try_acquire().unwrap().success();
    tokio::time::advance(SECOND * 30).await;
    let _ = family.get(1);
    assert!(family.find(&1).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_circuit_whose_period_is_over_may_go_once_it_is_idle() {
    let family = family(1);
    trip(&family.get(0));
    tokio::time::advance(SECOND * 9).await;
    assert_eq!(family.get(0).state(), State::Open);
    let _ = family.get(1);
    assert!(family.find(&1).is_none());
    tokio::time::advance(SECOND * 10).await;
    let _ = family.get(1);
    assert!(family.find(&1).is_some() && family.find(&0).is_none());
}

#[tokio::test(start_paused = true)]
async fn no_more_than_a_share_of_the_keys_is_shut_out() {
    let family: KeyedBreaker<u32> =
        KeyedBreaker::builder(touchy("replicas")).max_ejected(0.5).build().unwrap();
    for key in 0..4 {
        trip(&family.get(key));
    }
    let asks = async |key| family.call(key, ready(Ok::<_, &str>(()))).await.is_ok();
    // The first two that are asked are kept off; the rest is let through, uncounted.
    assert_eq!([asks(0).await, asks(1).await, asks(2).await, asks(3).await], [false, false, true, true]);
    assert_eq!(family.get(2).state(), State::Open);
    // One comes back, and a third may be shut out instead.
    family.get(0).force_close();
    tokio::time::advance(Duration::from_millis(100)).await;
    assert_eq!([asks(2).await, asks(3).await, asks(1).await], [false, true, false]);
}

#[tokio::test(start_paused = true)]
async fn the_only_key_may_be_shut_out() {
    let family: KeyedBreaker<u32> =
        KeyedBreaker::builder(touchy("replicas")).max_ejected(0.1).build().unwrap();
    trip(&family.get(0));
    assert!(family.call(0, ready(Ok::<_, &str>(()))).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn the_typed_layer_takes_a_key_of_the_request_and_a_bulkhead_for_each() {
    let bulkhead = Bulkhead::builder("each").limit(1).queue(1).max_wait(SECOND);
    let family = KeyedBreaker::builder(touchy("partners")).bulkhead(bulkhead).build().unwrap();
    let inner = service_fn(|(_, millis): (u32, u64)| async move {
        tokio::time::sleep(Duration::from_millis(millis)).await;
        if millis == 7 { Err(BoxError::from("down")) } else { Ok(millis) }
    });
    let service = KeyedBreakerLayer::new(family.clone(), |request: &(u32, u64)| Some(request.0)).layer(inner);
    let calls = [(1, 100), (1, 200), (1, 300), (2, 300)].map(|request| service.clone().oneshot(request));
    let results = futures_util::future::join_all(calls).await;
    assert_eq!((results[0].as_ref().unwrap(), results[1].as_ref().unwrap()), (&100, &200));
    let Err(Error::Rejected(full)) = &results[2] else { panic!("{results:?}") };
    assert_eq!(full.reason(), RejectReason::Full);
    assert_eq!(results[3].as_ref().unwrap(), &300);
    assert_eq!(family.find_bulkhead(&1).unwrap().in_use(), 0);
    for _ in 0..2 {
        service.clone().oneshot((1, 7)).await.unwrap_err();
    }
    // One that queued while the circuit closed behind it is judged when its turn comes.
    assert_eq!(
        service.clone().oneshot((1, 1)).await.unwrap_err().rejection().unwrap().reason(),
        RejectReason::Open
    );
    assert!(service.oneshot((2, 1)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_http_layer_has_a_breaker_per_host() {
    let family = KeyedBreaker::builder(touchy("partners")).build().unwrap();
    let inner = service_fn(|request: Request<()>| {
        let bad = request.uri().host().is_some_and(|host| host.eq_ignore_ascii_case("bad.example"));
        ready(Ok::<_, BoxError>(response(if bad { 500 } else { 200 }, &[], &[Piece::Data("x")])))
    });
    let service = HttpKeyedBreakerLayer::new(family.clone(), host).layer(inner);
    let ask = async |uri: &str| {
        let answer = service.clone().oneshot(Request::get(uri).body(()).unwrap()).await.unwrap();
        let rejected = answer.extensions().get::<Rejected>().cloned();
        let (status, wait) = (answer.status().as_u16(), answer.headers().get("retry-after").cloned());
        read(answer.into_body()).await.unwrap();
        (status, wait, rejected)
    };
    assert_eq!(ask("http://bad.example/").await.0, 500);
    assert_eq!(ask("http://user@BAD.example/").await.0, 500);
    let (status, wait, rejected) = ask("http://bad.example/").await;
    assert_eq!((status, wait.unwrap().to_str().unwrap()), (503, "1"));
    assert_eq!(rejected.unwrap().reason(), RejectReason::Open);
    assert_eq!(ask("http://bad.example:81/").await.0, 500);
    assert_eq!(ask("http://good.example/").await.0, 200);
    assert_eq!(family.len(), 3);
    assert_eq!(family.find(&"good.example".parse().unwrap()).unwrap().snapshot().calls, 1);
}

#[test]
fn the_host_is_that_of_the_uri_or_the_field() {
    let of = |uri: &str, field: &str| {
        let request = Request::get(uri).header("host", field).body(()).unwrap();
        host(&request).map(|host| host.to_string())
    };
    assert_eq!(of("http://a.example:81/", "b.example").as_deref(), Some("a.example:81"));
    assert_eq!(of("http://user:pass@a.example/", "").as_deref(), Some("a.example"));
    assert_eq!(of("/path", "b.example").as_deref(), Some("b.example"));
    assert_eq!(of("/path", "not a host"), None);
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let each = || Breaker::builder("partners").open_for(OpenPeriod::exponential(SECOND, SECOND * 60));
    let fine = || KeyedBreaker::builder(each()).idle(SECOND * 61);
    assert!(fine().build::<u8>().is_ok());
    let fault = |builder: tower_breaker::keyed::KeyedBreakerBuilder| {
        builder.build::<u8>().unwrap_err().field().to_owned()
    };
    assert_eq!(fault(fine().idle(SECOND * 60)), "idle");
    assert_eq!(fault(fine().capacity(0)), "capacity");
    for share in [0.0, 1.1, f64::NAN] {
        assert_eq!(fault(fine().max_ejected(share)), "max_ejected");
    }
    assert_eq!(fault(fine().bulkhead(Bulkhead::builder("each").limit(0))), "limit");
    assert_eq!(fault(KeyedBreaker::builder(each().probes(0))), "probes");
}

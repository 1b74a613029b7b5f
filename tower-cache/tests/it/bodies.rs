use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body::Body;
use http_body_util::BodyExt;
use tower::ServiceExt;
use tower_cache::Cache;

use crate::support::{Origin, Piece, TestBody, URI, answer, get, request, seconds, settle};

fn pieces(fields: &'static [(&'static str, &'static str)], body: fn() -> Vec<Piece>) -> Origin {
    Origin::new(move |_| answer(fields, "").map(|_| TestBody::new(body())))
}

fn data(text: &'static str) -> Piece {
    Piece::Data(Bytes::from_static(text.as_bytes()))
}

fn trailers() -> HeaderMap {
    HeaderMap::from_iter([("x-checksum".parse().unwrap(), "42".parse().unwrap())])
}

const FRESH: &[(&str, &str)] = &[("cache-control", "max-age=60")];

#[tokio::test(start_paused = true)]
async fn data_and_trailers_are_kept() {
    let origin = pieces(FRESH, || vec![data("one "), data("two"), Piece::Trailers(trailers())]);
    let cache = origin.behind(Cache::builder());
    for outcome in ["miss", "hit"] {
        let got = get(&cache, &[]).await;
        assert_eq!((got.outcome(), &*got.body, got.trailers), (outcome, "one two", Some(trailers())));
    }
}

/// Counts how often it is woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn who_reads_is_not_woken_for_what_it_reads_already() {
    let cache = pieces(FRESH, || vec![data("one "), data("two")]).behind(Cache::builder());
    let response = cache.clone().oneshot(request(Method::GET, URI, &[])).await.unwrap();
    let mut body = pin!(response.into_body());
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut cx = Context::from_waker(&waker);
    for expected in ["one ", "two"] {
        let Poll::Ready(Some(Ok(frame))) = body.as_mut().poll_frame(&mut cx) else { panic!("{expected}") };
        assert_eq!(&frame.into_data().unwrap()[..], expected.as_bytes());
    }
    assert!(matches!(body.as_mut().poll_frame(&mut cx), Poll::Ready(None)));
    assert_eq!(woken.0.load(Ordering::Relaxed), 0);
    assert_eq!(get(&cache, &[]).await.outcome(), "hit");
}

#[tokio::test(start_paused = true)]
async fn a_hit_announces_its_length_unless_trailers_follow() {
    let plain: fn() -> Vec<Piece> = || vec![data("one "), data("two")];
    let trailed: fn() -> Vec<Piece> = || vec![data("one "), data("two"), Piece::Trailers(trailers())];
    for (body, exact) in [(plain, Some(7)), (trailed, None)] {
        let cache = pieces(FRESH, body).behind(Cache::builder());
        assert_eq!(get(&cache, &[]).await.outcome(), "miss");
        let hit = cache.clone().oneshot(request(Method::GET, URI, &[])).await.unwrap().into_body();
        assert_eq!((hit.size_hint().exact(), hit.size_hint().lower()), (exact, 7));
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_octet_goes_out_before_the_last_has_come() {
    let origin = pieces(FRESH, || vec![data("first"), Piece::Pause(Duration::from_secs(10)), data("last")]);
    let cache = origin.behind(Cache::builder());
    let began = tokio::time::Instant::now();
    let response = cache.clone().oneshot(request(Method::GET, URI, &[])).await.unwrap();
    let mut body = response.into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!((&first[..], began.elapsed()), (&b"first"[..], Duration::ZERO));
    let last = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!((&last[..], began.elapsed().as_secs()), (&b"last"[..], 10));
    // It is stored though nobody asks what comes after the last frame: servers do not where the body says it is over.
    assert!(body.is_end_stream());
    drop(body);
    assert_eq!(get(&cache, &[]).await.outcome(), "hit");
}

#[tokio::test(start_paused = true)]
async fn what_fails_or_is_too_short_or_too_long_is_not_stored() {
    let length: &[(&str, &str)] = &[("cache-control", "max-age=60"), ("content-length", "8")];
    let whole = pieces(length, || vec![data("12345678")]);
    let cache = whole.behind(Cache::builder());
    get(&cache, &[]).await;
    assert_eq!(get(&cache, &[]).await.outcome(), "hit");
    for origin in [
        pieces(length, || vec![data("1234567")]),
        pieces(length, || vec![data("123456789")]),
        pieces(length, || vec![data("1234567"), Piece::Fail]),
        pieces(FRESH, || vec![data("12345678"), Piece::Fail]),
        pieces(FRESH, || vec![Piece::Fail]),
    ] {
        let cache = origin.behind(Cache::builder());
        for _ in 0..2 {
            let response = cache.clone().oneshot(request(Method::GET, URI, &[])).await.unwrap();
            let _ = response.into_body().collect().await;
        }
        assert_eq!(origin.calls(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_of_the_wrong_length_passes_as_it_is_and_is_an_error_to_those_who_read_along() {
    let length: &[(&str, &str)] = &[("cache-control", "max-age=60"), ("content-length", "8")];
    let origin = pieces(length, || vec![data("1234"), Piece::Pause(Duration::from_secs(1)), data("567")]);
    let cache = origin.behind(Cache::builder());
    let ask = || async {
        let response = cache.clone().oneshot(request(Method::GET, URI, &[])).await.unwrap();
        response.into_body().collect().await.map(http_body_util::Collected::to_bytes)
    };
    let (leader, follower) = tokio::join!(ask(), ask());
    assert_eq!(leader.unwrap(), "1234567");
    assert!(follower.is_err());
    assert_eq!(origin.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_leaves_no_entry() {
    let origin = pieces(FRESH, || vec![data("first"), Piece::Pause(Duration::from_secs(1)), data("last")]);
    let cache = origin.behind(Cache::builder());
    let response = cache.clone().oneshot(request(Method::GET, URI, &[])).await.unwrap();
    let mut body = response.into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    settle().await;
    seconds(10).await;
    assert_eq!(get(&cache, &[]).await.body, "firstlast");
    assert_eq!(origin.calls(), 2);
    assert_eq!(get(&cache, &[]).await.outcome(), "hit");
}

#[tokio::test(start_paused = true)]
async fn one_that_has_all_that_was_announced_may_leave_before_the_end() {
    let length: &[(&str, &str)] = &[("cache-control", "max-age=60"), ("content-length", "5")];
    let origin = pieces(length, || vec![data("whole"), Piece::Pause(Duration::from_secs(1))]);
    let cache = origin.behind(Cache::builder());
    let response = cache.clone().oneshot(request(Method::GET, URI, &[])).await.unwrap();
    let mut body = response.into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    let hit = get(&cache, &[]).await;
    assert_eq!((hit.outcome(), &*hit.body), ("hit", "whole"));
}

#[tokio::test(start_paused = true)]
async fn sizes_and_ends_are_told_as_they_are() {
    let origin = Origin::new(|parts| {
        let hinted = answer(FRESH, "12345678").map(|body| body.hinting(8));
        if parts.method == Method::POST {
            answer(&[], "12345678").map(|body| body.hinting(8))
        } else {
            hinted
        }
    });
    let cache = origin.behind(Cache::builder());
    for (method, case) in [(Method::POST, "passed"), (Method::GET, "recorded"), (Method::GET, "stored")] {
        let response = cache.clone().oneshot(request(method, URI, &[])).await.unwrap();
        let mut body = response.into_body();
        assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(8), false), "{case}");
        body.frame().await.unwrap().unwrap();
        assert!(body.is_end_stream(), "{case}");
    }
    let head = cache.clone().oneshot(request(Method::HEAD, URI, &[])).await.unwrap().into_body();
    assert_eq!((head.size_hint().exact(), head.is_end_stream()), (Some(0), true));
}

#[tokio::test(start_paused = true)]
async fn a_hit_copies_no_content() {
    let origin = pieces(FRESH, || vec![data("shared")]);
    let cache = origin.behind(Cache::builder());
    get(&cache, &[]).await;
    let mut places = Vec::new();
    for _ in 0..2 {
        let response = cache.clone().oneshot(request(Method::GET, URI, &[])).await.unwrap();
        let data = response.into_body().frame().await.unwrap().unwrap().into_data().unwrap();
        places.push(data.as_ptr());
    }
    assert_eq!(places[0], places[1]);
}

#[tokio::test(start_paused = true)]
async fn an_empty_body_is_stored_at_once() {
    let origin = pieces(FRESH, Vec::new);
    let cache = origin.behind(Cache::builder());
    drop(cache.clone().oneshot(request(Method::GET, URI, &[])).await.unwrap());
    assert_eq!(get(&cache, &[]).await.outcome(), "hit");
}

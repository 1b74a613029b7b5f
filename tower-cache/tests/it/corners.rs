//! Corners of the RFCs that a hostile reading found, one by one.

use std::time::Duration;

use http::{Method, StatusCode};
use tower_cache::Cache;

use crate::support::{Answer, Origin, Piece, TestBody, URI, answer, get, request, seconds, send, settle};

const FRESH: (&str, &str) = ("cache-control", "max-age=60");

fn with_status(status: u16, fields: &[(&str, &str)], body: &str) -> Answer {
    let mut response = answer(fields, body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

#[tokio::test(start_paused = true)]
async fn only_content_that_a_post_brings_answers_gets() {
    // RFC 9110 §8.7: in other responses than these, Content-Location names no representation that is enclosed.
    for (status, stored) in [(200, true), (203, true), (201, false), (204, false), (205, false), (303, false)]
    {
        let origin = Origin::new(move |parts| match parts.method == Method::POST {
            true => with_status(status, &[FRESH, ("content-location", URI), ("location", "/x")], ""),
            false => answer(&[FRESH], "from GET"),
        });
        let cache = origin.behind(Cache::builder());
        send(&cache, request(Method::POST, URI, &[])).await;
        let got = get(&cache, &[]).await;
        assert_eq!(got.outcome(), if stored { "hit" } else { "miss" }, "{status}");
        assert_eq!(got.status, if stored { status } else { 200 });
    }
}

#[tokio::test(start_paused = true)]
async fn a_range_means_nothing_to_head() {
    // RFC 9110 §14.2: Range is defined for GET alone.
    let origin = Origin::new(|parts| match parts.method == Method::GET {
        true => with_status(206, &[FRESH, ("content-range", "bytes 0-3/9")], "0123"),
        false => answer(&[("content-length", "9")], ""),
    });
    let cache = origin.behind(Cache::builder());
    let range = ("range", "bytes=0-3");
    get(&cache, &[range]).await;
    assert_eq!(get(&cache, &[range]).await.outcome(), "hit");
    let head = send(&cache, request(Method::HEAD, URI, &[range])).await;
    assert_eq!((head.status.as_u16(), head.outcome()), (200, "miss"));
}

#[tokio::test(start_paused = true)]
async fn what_has_no_content_has_no_length() {
    // RFC 9110 §8.6: no Content-Length in a 204.
    let origin = Origin::new(|_| with_status(204, &[FRESH], ""));
    let cache = origin.behind(Cache::builder());
    get(&cache, &[]).await;
    let head = send(&cache, request(Method::HEAD, URI, &[])).await;
    assert_eq!((head.status.as_u16(), head.outcome(), head.header("content-length")), (204, "hit", None));
}

#[tokio::test(start_paused = true)]
async fn the_end_of_nothing_is_nothing() {
    // RFC 9110 §14.1.2: a suffix that is not empty can be satisfied, also of no content, which no 206 can say.
    let origin = Origin::sends(&[FRESH]);
    let origin = Origin { handler: std::sync::Arc::new(|_| answer(&[FRESH], "")), ..origin };
    let cache = origin.behind(Cache::builder());
    get(&cache, &[]).await;
    for (range, status) in [("bytes=-5", 200), ("bytes=-0", 416), ("bytes=0-", 416), ("bytes=0-0", 416)] {
        let got = get(&cache, &[("range", range)]).await;
        assert_eq!((got.status.as_u16(), got.outcome()), (status, "hit"), "{range}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_part_stays_the_answer_to_what_it_was_asked_for() {
    let origin = Origin::new(|parts| match parts.headers.contains_key("if-none-match") {
        true => with_status(304, &[("cache-control", "max-age=10")], ""),
        false => with_status(
            206,
            &[("cache-control", "max-age=10"), ("etag", "\"a\""), ("content-range", "bytes 0-5/9")],
            "012345",
        ),
    });
    let cache = origin.behind(Cache::builder());
    let ask = |range| get_range(&cache, range);
    ask("bytes=0-5").await;
    seconds(10).await;
    let inner = ask("bytes=2-3").await;
    assert_eq!(
        (inner.outcome(), &*inner.body, inner.header("content-range")),
        ("revalidated", "23", Some("bytes 2-3/9"))
    );
    for (range, body) in [("bytes=2-3", "23"), ("bytes=0-5", "012345"), ("bytes=4-4", "4")] {
        let got = ask(range).await;
        assert_eq!((got.status.as_u16(), got.outcome(), &*got.body), (206, "hit", body), "{range}");
    }
}

async fn get_range<S>(service: &S, range: &str) -> crate::support::Got
where
    S: tower::Service<
            http::Request<http_body_util::Full<bytes::Bytes>>,
            Response = http::Response<tower_cache::ResponseBody<TestBody>>,
            Error = std::convert::Infallible,
        > + Clone,
{
    get(service, &[("range", range)]).await
}

#[tokio::test(start_paused = true)]
async fn a_part_that_is_longer_than_it_says_is_not_kept() {
    for (range, body, kept) in [
        ("bytes 0-5/9", "012345", true),
        ("bytes 0-5/9", "0123", true),
        ("bytes 0-5/9", "01234567", false),
        ("bytes 3-8/9", "345678", true),
    ] {
        let origin = Origin::new(move |_| with_status(206, &[FRESH, ("content-range", range)], body));
        let cache = origin.behind(Cache::builder());
        let first = get(&cache, &[("range", "bytes=0-5")]).await;
        assert_eq!(first.body, body, "as it came");
        let next = get(&cache, &[("range", "bytes=0-5")]).await;
        assert_eq!(next.outcome() == "hit", kept, "{range} {body}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_quote_that_is_never_closed_hides_nothing() {
    let modified = ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT");
    for (control, stored) in [
        ("x=\"a\", max-age=60", true),
        ("x=\"a, no-store\", max-age=60", true),
        ("x=\"a, no-store, max-age=60", false),
        ("private=\"x-a, max-age=60", false),
        ("x=\"a\\\", no-store", false),
    ] {
        let origin = Origin::new(move |_| answer(&[("cache-control", control), modified], ""));
        let cache = origin.behind(Cache::builder());
        get(&cache, &[]).await;
        assert_eq!(get(&cache, &[]).await.outcome() == "hit", stored, "{control}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_confirmation_of_another_weak_entity_tag_updates_nothing() {
    // RFC 9111 §4.3.4: no validator of it corresponds to that of what is stored.
    for (stored, newer, updated) in [
        ("\"a\"", "W/\"a\"", true),
        ("W/\"a\"", "W/\"a\"", true),
        ("W/\"a\"", "\"a\"", true),
        ("W/\"a\"", "W/\"b\"", false),
        ("\"a\"", "W/\"b\"", false),
        ("W/\"a\"", "\"b\"", false),
    ] {
        let origin = Origin::new(move |parts| match parts.headers.contains_key("if-none-match") {
            true => with_status(304, &[FRESH, ("etag", newer)], ""),
            false => answer(&[FRESH, ("etag", stored)], "content"),
        });
        let cache = origin.behind(Cache::builder());
        get(&cache, &[]).await;
        seconds(60).await;
        assert_eq!(get(&cache, &[]).await.outcome(), "revalidated");
        assert_eq!(
            get(&cache, &[]).await.outcome(),
            if updated { "hit" } else { "miss" },
            "{stored} {newer}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_asterisk_is_no_path() {
    let origin = Origin::sends(&[FRESH]);
    let cache = origin.behind(Cache::builder());
    let ask = |uri: &'static str| send(&cache, request(Method::GET, uri, &[("host", "example.com")]));
    assert_eq!(ask("*").await.outcome(), "bypass");
    assert_eq!(ask("/*").await.outcome(), "miss");
    assert_eq!(ask("/*").await.outcome(), "hit");
}

#[tokio::test(start_paused = true)]
async fn times_without_end_are_long_and_nothing_else() {
    let ever = Duration::MAX;
    let origin = Origin { delay: Duration::from_secs(1), ..Origin::sends(&[FRESH]) };
    let builder = Cache::builder().override_ttl(ever).stale_while_revalidate(ever).stale_if_error(ever);
    let builder =
        builder.stale_if_unreachable(ever).negative_ttl(ever).store_timeout(ever).background(9, ever);
    let cache = origin.behind(builder.refresh_ahead(0.5).ttl_jitter(1.0));
    let together = tokio::join!(get(&cache, &[]), get(&cache, &[]), get(&cache, &[]));
    assert_eq!(
        [&together.0, &together.1, &together.2].map(crate::support::Got::outcome),
        ["miss", "collapsed", "collapsed"]
    );
    let refresher = tokio::spawn(cache.clone().refresher(ever, || vec![request(Method::GET, URI, &[])]));
    settle().await;
    seconds(5).await;
    settle().await;
    assert!(!refresher.is_finished());
    refresher.abort();
    assert_eq!(origin.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_panics_ends_for_all_and_is_asked_no_more() {
    use std::pin::Pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll};

    use bytes::Bytes;
    use http_body::{Body, Frame};
    use http_body_util::BodyExt;
    use tower::{Layer, ServiceExt};

    /// A piece, a wait, and a panic; whoever asked again would be told that this was all.
    struct Panics(Arc<AtomicUsize>, Pin<Box<tokio::time::Sleep>>);
    impl Body for Panics {
        type Data = Bytes;
        type Error = tower_cache::BoxError;
        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            if self.0.load(Ordering::SeqCst) > 0 {
                std::task::ready!(self.1.as_mut().poll(cx));
            }
            match self.0.fetch_add(1, Ordering::SeqCst) {
                0 => Poll::Ready(Some(Ok(Frame::data("half".into())))),
                1 => panic!("in the middle of a body"),
                _ => Poll::Ready(None),
            }
        }
    }

    let polls = Arc::new(AtomicUsize::new(0));
    let inner = tower::service_fn({
        let polls = Arc::clone(&polls);
        move |_: http::Request<http_body_util::Full<Bytes>>| {
            let body = Panics(Arc::clone(&polls), Box::pin(tokio::time::sleep(Duration::from_secs(1))));
            let response = http::Response::builder().header("cache-control", "max-age=60").body(body);
            async move { Ok::<_, std::convert::Infallible>(response.unwrap()) }
        }
    });
    let service = tower_cache::CacheLayer::shared(tower_cache::MemoryStore::default()).layer(inner);
    let ask = || {
        let service = service.clone();
        tokio::spawn(async move {
            let response = service.oneshot(request(Method::GET, URI, &[])).await.unwrap();
            response.into_body().collect().await.map(http_body_util::Collected::to_bytes)
        })
    };
    let readers: Vec<_> = (0..3).map(|_| ask()).collect();
    let mut panicked = 0;
    for reader in readers {
        match reader.await {
            Ok(read) => assert!(read.is_err(), "no half is a whole"),
            Err(error) => panicked += usize::from(error.is_panic()),
        }
    }
    assert_eq!(
        (panicked, polls.load(Ordering::SeqCst)),
        (1, 2),
        "one task goes down with it, and nobody asks again"
    );
    assert!(ask().await.unwrap().is_ok(), "what is next is fetched anew");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_panics_is_polled_no_more() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tower::{Layer, ServiceExt};

    let polls = Arc::new(AtomicUsize::new(0));
    let inner = tower::service_fn({
        let polls = Arc::clone(&polls);
        move |request: http::Request<http_body_util::Full<bytes::Bytes>>| {
            let (polls, mut waited) =
                (Arc::clone(&polls), Box::pin(tokio::time::sleep(Duration::from_secs(1))));
            let panics = request.headers().contains_key("x-panic");
            std::future::poll_fn(move |cx| {
                std::task::ready!(std::future::Future::poll(waited.as_mut(), cx));
                if panics {
                    assert!(polls.fetch_add(1, Ordering::SeqCst) > 0, "in the middle of a call");
                    return std::task::Poll::Pending;
                }
                let body = TestBody::new(vec![Piece::Data("whole".into())]);
                let response = http::Response::builder().header("cache-control", "max-age=60").body(body);
                std::task::Poll::Ready(Ok::<_, std::convert::Infallible>(response.unwrap()))
            })
        }
    });
    let service = tower_cache::CacheLayer::shared(tower_cache::MemoryStore::default()).layer(inner);
    let leader = tokio::spawn(service.clone().oneshot(request(Method::GET, URI, &[("x-panic", "1")])));
    settle().await;
    let began = tokio::time::Instant::now();
    let follower = get(&service, &[]).await;
    assert!(leader.await.unwrap_err().is_panic());
    assert_eq!((follower.outcome(), &*follower.body), ("miss", "whole"));
    assert_eq!((polls.load(Ordering::SeqCst), began.elapsed()), (1, Duration::from_secs(2)));
}

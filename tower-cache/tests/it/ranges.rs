use std::sync::Arc;

use http::Method;
use tower_cache::Cache;

use crate::support::{Origin, Piece, TestBody, URI, answer, get, request, seconds, send};

fn digits(fields: &'static [(&'static str, &'static str)]) -> Origin {
    Origin::new(move |_| {
        let pieces =
            ["0123", "4567", "89"].map(|text| Piece::Data(bytes::Bytes::from_static(text.as_bytes())));
        answer(fields, "").map(|_| TestBody::new(pieces.into()))
    })
}

#[tokio::test(start_paused = true)]
async fn ranges_are_cut_from_what_is_stored() {
    let origin = digits(&[("cache-control", "max-age=60"), ("etag", "\"a\"")]);
    let cache = origin.behind(Cache::builder());
    assert_eq!(get(&cache, &[]).await.body, "0123456789");
    for (range, body, described) in [
        ("bytes=0-1", "01", "bytes 0-1/10"),
        ("bytes=3-8", "345678", "bytes 3-8/10"),
        ("bytes=4-", "456789", "bytes 4-9/10"),
        ("bytes=-3", "789", "bytes 7-9/10"),
    ] {
        let got = get(&cache, &[("range", range)]).await;
        assert_eq!((got.status.as_u16(), got.outcome(), &*got.body), (206, "hit", body), "{range}");
        assert_eq!(got.header("content-range"), Some(described));
        assert_eq!(got.header("content-length"), Some(&*body.len().to_string()));
    }
    let outside = get(&cache, &[("range", "bytes=10-")]).await;
    assert_eq!((outside.status.as_u16(), outside.header("content-range")), (416, Some("bytes */10")));
    let held = get(&cache, &[("range", "bytes=0-1"), ("if-range", "\"a\"")]).await;
    assert_eq!(held.status.as_u16(), 206);
    for ignored in
        [[("range", "bytes=0-1"), ("if-range", "\"b\"")], [("range", "bytes=0-1,3-4"), ("accept", "*/*")]]
    {
        let got = get(&cache, &ignored).await;
        assert_eq!((got.status.as_u16(), got.outcome(), &*got.body), (200, "hit", "0123456789"));
    }
    let unchanged = get(&cache, &[("range", "bytes=0-1"), ("if-none-match", "\"a\"")]).await;
    assert_eq!(unchanged.status.as_u16(), 304, "the condition comes first");
    let head = send(&cache, request(Method::HEAD, URI, &[("range", "bytes=0-1")])).await;
    assert_eq!(head.status.as_u16(), 200, "ranges are for GET");
    assert_eq!(origin.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stale_response_is_validated_before_a_range_is_cut() {
    let origin = Origin::new(|parts| {
        let mut response = answer(&[("cache-control", "max-age=60"), ("etag", "\"a\"")], "0123456789");
        if parts.headers.contains_key("if-none-match") {
            *response.status_mut() = http::StatusCode::NOT_MODIFIED;
            *response.body_mut() = TestBody::of(&[]);
        }
        response
    });
    let cache = origin.behind(Cache::builder());
    get(&cache, &[]).await;
    seconds(60).await;
    let got = get(&cache, &[("range", "bytes=2-3")]).await;
    assert_eq!((got.status.as_u16(), got.outcome(), &*got.body), (206, "revalidated", "23"));
    assert!(!origin.last().contains_key("range"), "the whole is validated");
}

/// Answers every range with octets 4 to 8 of ten.
fn partial() -> Origin {
    Origin::new(|parts| {
        if !parts.headers.contains_key("range") {
            return answer(&[("cache-control", "max-age=60")], "0123456789");
        }
        let mut response =
            answer(&[("cache-control", "max-age=60"), ("content-range", "bytes 4-8/10")], "45678");
        *response.status_mut() = http::StatusCode::PARTIAL_CONTENT;
        response
    })
}

#[tokio::test(start_paused = true)]
async fn parts_are_stored_and_answer_what_lies_within() {
    let origin = partial();
    let cache = origin.behind(Cache::builder());
    let ask = |range: &'static str| {
        let cache = cache.clone();
        async move { get(&cache, &[("range", range)]).await }
    };
    assert_eq!(ask("bytes=4-8").await.outcome(), "miss");
    let same = ask("bytes=4-8").await;
    assert_eq!((same.status.as_u16(), same.outcome(), &*same.body), (206, "hit", "45678"));
    let within = ask("bytes=5-6").await;
    assert_eq!(
        (within.outcome(), &*within.body, within.header("content-range")),
        ("hit", "56", Some("bytes 5-6/10"))
    );
    assert_eq!(ask("bytes=5-9").await.outcome(), "miss", "there is no octet 9");
    assert_eq!(get(&cache, &[]).await.body, "0123456789", "a part is not the whole");
    assert_eq!(ask("bytes=5-9").await.body, "56789", "from the whole, once that is stored");
    assert_eq!(origin.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn parts_that_cannot_be_placed_are_not_stored() {
    for range in ["bytes 4-8/*", "bytes 8-4/10", "bytes 4-10/10", "pages 4-8/10"] {
        let range = Arc::new(range);
        let origin = Origin::new(move |_| {
            let mut response = answer(&[("cache-control", "max-age=60"), ("content-range", *range)], "45678");
            *response.status_mut() = http::StatusCode::PARTIAL_CONTENT;
            response
        });
        let cache = origin.behind(Cache::builder());
        for _ in 0..2 {
            assert_eq!(get(&cache, &[("range", "bytes=4-8")]).await.outcome(), "miss");
        }
    }
}

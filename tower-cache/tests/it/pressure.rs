//! What stored responses and those on their way take, beside what is counted for them.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tower_cache::{Cache, CacheLayer, MemoryStore};

use crate::support::{Origin, Piece, TestBody, URI, answer, get, request, seconds, send, settle};

const FRESH: (&str, &str) = ("cache-control", "max-age=60");

/// A value that is a slice of a large buffer, as those are that come over a connection.
fn slice_of(buffer: &Bytes, value: &str) -> HeaderValue {
    assert!(buffer.starts_with(value.as_bytes()));
    HeaderValue::from_maybe_shared(buffer.slice(..value.len())).unwrap()
}

/// Whether the buffer of a request's field is given back once its response is stored.
async fn gives_back(
    name: &'static str,
    value: &str,
    fields: &'static [(&'static str, &'static str)],
) -> bool {
    let origin = Origin::new(move |parts| {
        let part = parts.headers.contains_key("range");
        let mut response = answer(fields, "0123");
        if part {
            *response.status_mut() = http::StatusCode::PARTIAL_CONTENT;
        }
        response
    });
    let cache = origin.behind(Cache::builder());
    let buffer = Bytes::from([value.as_bytes(), &[b'x'; 10_000]].concat());
    let ask = || {
        let mut request = request(Method::GET, URI, &[]);
        request.headers_mut().insert(HeaderName::from_static(name), slice_of(&buffer, value));
        send(&cache, request)
    };
    ask().await;
    assert_eq!(ask().await.outcome(), "hit", "{name}");
    origin.asked.lock().unwrap().clear();
    buffer.is_unique()
}

#[tokio::test(start_paused = true)]
async fn what_is_stored_holds_no_buffer_of_the_connection_it_came_by() {
    assert!(gives_back("x-other", "1", &[FRESH]).await);
    assert!(gives_back("x-kind", "1", &[FRESH, ("vary", "x-kind")]).await, "chosen by it");
    assert!(gives_back("range", "bytes=0-3", &[FRESH, ("content-range", "bytes 0-3/9")]).await, "part");
}

#[tokio::test(start_paused = true)]
async fn trailers_hold_no_buffer_either() {
    let buffer = Bytes::from(vec![b'1'; 10_000]);
    let trailers = HeaderMap::from_iter([(HeaderName::from_static("x-sum"), slice_of(&buffer, "1"))]);
    let once = std::sync::Mutex::new(Some(trailers));
    let origin = Origin::new(move |_| {
        let trailers = once.lock().unwrap().take().unwrap();
        answer(&[FRESH], "")
            .map(|_| TestBody::new(vec![Piece::Data("a".into()), Piece::Trailers(trailers.clone())]))
    });
    let cache = origin.behind(Cache::builder());
    for outcome in ["miss", "hit"] {
        let got = get(&cache, &[]).await;
        assert_eq!((got.outcome(), got.trailers.unwrap()["x-sum"].as_bytes()), (outcome, &b"1"[..]));
    }
    assert!(buffer.is_unique());
}

#[tokio::test(start_paused = true)]
async fn keys_of_all_variants_are_weighed() {
    let origin = Origin::sends(&[FRESH, ("vary", "x-kind")]);
    let layer = CacheLayer::shared(MemoryStore::new(64 << 20));
    let service = tower::Layer::layer(&layer, origin.clone());
    let uri = format!("http://example.com/{}", "a".repeat(50_000));
    for kind in 0..20 {
        send(&service, request(Method::GET, &uri, &[("x-kind", &kind.to_string())])).await;
    }
    let weighed = layer.handle().statistics().store.bytes;
    assert!(weighed > 20 * 50_000, "{weighed}");
}

#[tokio::test(start_paused = true)]
async fn variants_of_one_key_do_not_push_out_everything_else() {
    let origin = Origin::new(|parts| {
        let large = parts.uri.path() == "/large";
        answer(&[FRESH, ("vary", "x-kind")], &"x".repeat(if large { 100_000 } else { 1000 }))
    });
    let layer = CacheLayer::shared(MemoryStore::new(4 << 20));
    let service = tower::Layer::layer(&layer, origin.clone());
    let get = |path: String, kind: usize| {
        let service = service.clone();
        async move {
            let uri = format!("http://example.com/{path}");
            send(&service, request(Method::GET, &uri, &[("x-kind", &kind.to_string())])).await.outcome()
        }
    };
    for _ in 0..3 {
        for n in 0..500 {
            get(n.to_string(), 0).await;
        }
    }
    let before = layer.handle().statistics().store.entries;
    assert_eq!(before, 500);
    get("large".into(), 0).await;
    assert_eq!(get("large".into(), 0).await, "hit");
    for kind in 0..64 {
        get("large".into(), kind).await;
    }
    assert_eq!(get("large".into(), 63).await, "hit");
    let mut left = 0;
    for n in 0..500 {
        left += usize::from(get(n.to_string(), 0).await == "hit");
    }
    assert!(left > 400, "{left}");
}

#[tokio::test(start_paused = true)]
async fn what_only_passes_is_not_held() {
    // A response of unknown length that turns out too large to be stored is let go of piece by piece.
    let pieces = || (0..50).map(|_| Piece::Data(Bytes::from(vec![b'x'; 1000])));
    let origin = Origin::new(move |parts| match parts.uri.path() {
        "/large" => {
            let rest = [Piece::Pause(Duration::from_secs(5)), Piece::Data("end".into())];
            answer(&[FRESH], "").map(|_| TestBody::new(pieces().chain(rest).collect()))
        }
        _ => answer(&[FRESH], "small"),
    });
    let cache = origin.behind(Cache::builder().max_body(10_000).max_held(20_000));
    let reading = tokio::spawn({
        let cache = cache.clone();
        async move { send(&cache, request(Method::GET, "http://example.com/large", &[])).await.body.len() }
    });
    settle().await;
    get(&cache, &[]).await;
    assert_eq!(get(&cache, &[]).await.outcome(), "hit", "a large one that passes meanwhile does not matter");
    seconds(5).await;
    assert_eq!(reading.await.unwrap(), 50_003);
}

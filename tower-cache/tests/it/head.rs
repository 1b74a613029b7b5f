//! Responses to HEAD update what GET has left behind, or show that it is no longer current (RFC 9111 §4.3.5).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Method;
use tower_cache::Cache;

use crate::support::{Origin, URI, answer, get, request, seconds, send};

/// The outcome of a GET after what is stored became stale and a HEAD was answered with these fields besides.
async fn after_head(fields: &'static [(&'static str, &'static str)]) -> (&'static str, Option<String>) {
    let heads = Arc::new(AtomicUsize::new(0));
    let origin = Origin::new(move |parts| {
        let stored = [("cache-control", "max-age=10"), ("etag", "\"a\""), ("x-new", "no")];
        if parts.method == Method::HEAD {
            heads.fetch_add(1, Ordering::Relaxed);
            return answer(fields, "");
        }
        answer(&stored, "content")
    });
    let cache = origin.behind(Cache::builder());
    get(&cache, &[]).await;
    seconds(10).await;
    let head = send(&cache, request(Method::HEAD, URI, &[])).await;
    assert_eq!((head.outcome(), &*head.body), ("miss", ""));
    let got = get(&cache, &[]).await;
    assert_eq!(got.body, "content");
    (got.outcome(), got.header("x-new").map(Into::into))
}

#[tokio::test(start_paused = true)]
async fn head_updates_or_invalidates() {
    assert_eq!(after_head(&[FRESH, ("etag", "\"a\""), ("x-new", "yes")]).await, ("hit", Some("yes".into())));
    assert_eq!(after_head(&[FRESH, ("content-length", "7")]).await.0, "hit");
    for changed in [&[FRESH, ("etag", "\"b\"")], &[FRESH, ("content-length", "8")]] {
        assert_eq!(after_head(changed).await, ("miss", Some("no".into())), "{changed:?}");
    }
    assert_eq!(after_head(&[("cache-control", "no-store"), ("etag", "\"a\"")]).await.0, "miss");
}

const FRESH: (&str, &str) = ("cache-control", "max-age=60");

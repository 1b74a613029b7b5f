//! Responses to POST may answer GET, where they say that they do (RFC 9110 §9.3.3).

use http::Method;
use tower_cache::Cache;

use crate::support::{Origin, URI, answer, get, request, send};

async fn get_after_post(fields: &'static [(&'static str, &'static str)]) -> (&'static str, String) {
    let origin = Origin::new(move |parts| {
        let body = if parts.method == Method::POST { "posted" } else { "got" };
        answer(fields, body)
    });
    let cache = origin.behind(Cache::builder());
    let posted = send(&cache, request(Method::POST, URI, &[])).await;
    assert_eq!((posted.outcome(), &*posted.body), ("bypass", "posted"));
    let got = get(&cache, &[]).await;
    (got.outcome(), got.body)
}

#[tokio::test(start_paused = true)]
async fn a_response_that_is_what_is_at_the_target_answers_get() {
    const FRESH: (&str, &str) = ("cache-control", "max-age=60");
    const HERE: (&str, &str) = ("content-location", URI);
    assert_eq!(get_after_post(&[FRESH, HERE]).await, ("hit", "posted".into()));
    for fields in [
        &[FRESH][..],
        &[HERE],
        &[FRESH, ("content-location", "/other")],
        &[HERE, ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")],
        &[HERE, ("cache-control", "max-age=60, no-store")],
    ] {
        assert_eq!(get_after_post(fields).await, ("miss", "got".into()), "{fields:?}");
    }
}

use tower_cache::Cache;

use crate::support::{Origin, get};

const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

#[tokio::test(start_paused = true)]
async fn a_clients_condition_is_answered_from_the_store() {
    let origin = Origin::sends(&[
        ("cache-control", "max-age=60"),
        ("etag", "\"a\""),
        ("last-modified", MODIFIED),
        ("content-type", "text/plain"),
        ("content-length", "1"),
    ]);
    let cache = origin.behind(Cache::builder());
    get(&cache, &[]).await;
    assert_eq!(get(&cache, &[]).await.status.as_u16(), 200);
    for condition in
        [("if-none-match", "\"a\""), ("if-none-match", "W/\"a\""), ("if-modified-since", MODIFIED)]
    {
        let got = get(&cache, &[condition]).await;
        assert_eq!((got.status.as_u16(), got.outcome(), &*got.body), (304, "hit", ""), "{condition:?}");
        assert_eq!(got.header("etag"), Some("\"a\""));
        assert_eq!((got.header("content-length"), got.header("content-type")), (None, None));
    }
    for condition in [
        ("if-none-match", "\"b\""),
        ("if-modified-since", "Sun, 06 Nov 1994 08:49:36 GMT"),
        ("if-modified-since", "x"),
    ] {
        assert_eq!(get(&cache, &[condition]).await.status.as_u16(), 200, "{condition:?}");
    }
    assert_eq!(origin.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_304_to_a_clients_own_condition_passes_and_is_not_stored() {
    let origin = Origin::new(|parts| {
        let mut response = crate::support::answer(&[("cache-control", "max-age=60"), ("etag", "\"a\"")], "");
        if parts.headers.contains_key("if-none-match") {
            *response.status_mut() = http::StatusCode::NOT_MODIFIED;
        }
        response
    });
    let cache = origin.behind(Cache::builder());
    assert_eq!(get(&cache, &[("if-none-match", "\"a\"")]).await.status.as_u16(), 304);
    let got = get(&cache, &[]).await;
    assert_eq!((got.status.as_u16(), got.outcome()), (200, "miss"));
}

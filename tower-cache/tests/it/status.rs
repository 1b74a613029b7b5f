use http::Method;
use tower_cache::Cache;

use crate::support::{Origin, URI, get, request, seconds, send};

#[tokio::test(start_paused = true)]
async fn cache_status_says_what_happened() {
    let origin = Origin::sends(&[("cache-control", "max-age=60")]);
    let cache = origin.behind(Cache::builder().name("gw"));
    assert_eq!(
        get(&cache, &[]).await.header("cache-status"),
        Some("gw; fwd=uri-miss; fwd-status=200; stored")
    );
    seconds(3).await;
    assert_eq!(get(&cache, &[]).await.header("cache-status"), Some("gw; hit; ttl=57"));
    let post = send(&cache, request(Method::POST, URI, &[])).await;
    assert_eq!(post.header("cache-status"), Some("gw; fwd=method; fwd-status=200"));
    let silent = origin.behind(Cache::builder().without_cache_status());
    for outcome in ["miss", "hit"] {
        let got = get(&silent, &[]).await;
        assert_eq!((got.outcome(), got.header("cache-status")), (outcome, None));
    }
    assert_eq!(Cache::builder().name("").build().unwrap_err().field(), "name");
}

#[tokio::test(start_paused = true)]
async fn caches_nearer_to_the_origin_come_first() {
    let origin = Origin::sends(&[("cache-control", "max-age=60"), ("cache-status", "inner; fwd=uri-miss")]);
    let cache = origin.behind(Cache::builder().name("outer"));
    for own in ["outer; fwd=uri-miss; fwd-status=200; stored", "outer; hit; ttl=60"] {
        let got = get(&cache, &[]).await;
        let members: Vec<_> = got.headers.get_all("cache-status").iter().collect();
        assert_eq!(members, ["inner; fwd=uri-miss", own]);
    }
}

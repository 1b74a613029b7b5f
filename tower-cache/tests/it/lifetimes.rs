//! How long responses live when the operator has a say in it.

use std::time::Duration;

use http::Method;
use tower_cache::{Cache, CacheBuilder, CacheService};

use crate::support::{Origin, answer, get, request, seconds, send};

/// An origin that answers with this status and these fields, behind a cache.
fn cached(
    cache: CacheBuilder,
    status: u16,
    fields: &'static [(&'static str, &'static str)],
) -> (Origin, CacheService<Origin>) {
    let origin = Origin::new(move |_| {
        let mut response = answer(fields, "content");
        *response.status_mut() = status.try_into().unwrap();
        response
    });
    let service = origin.behind(cache);
    (origin, service)
}

/// Whole seconds for which a response answers a second request, at most 100.
async fn life(
    cache: CacheBuilder,
    status: u16,
    request: &[(&str, &str)],
    fields: &'static [(&'static str, &'static str)],
) -> u64 {
    let (_, service) = cached(cache, status, fields);
    get(&service, request).await;
    let mut life = 0;
    while life < 100 && get(&service, request).await.outcome() == "hit" {
        seconds(1).await;
        life += 1;
    }
    life
}

fn overriding() -> CacheBuilder {
    Cache::builder().override_ttl(Duration::from_secs(30))
}

#[tokio::test(start_paused = true)]
async fn override_ttl_replaces_what_answers_say() {
    for fields in [
        &[][..],
        &[("cache-control", "max-age=5")],
        &[("cache-control", "max-age=0")],
        &[("cache-control", "max-age=5, s-maxage=90")],
        &[("expires", "0")],
        &[("cdn-cache-control", "max-age=5")],
    ] {
        assert_eq!(life(overriding(), 200, &[], fields).await, 30, "{fields:?}");
    }
    assert_eq!(life(overriding(), 200, &[], &[("age", "10")]).await, 20, "what it was before counts");
    let (_, service) = cached(overriding(), 200, &[("cache-control", "max-age=5")]);
    get(&service, &[]).await;
    let hit = get(&service, &[]).await;
    assert_eq!((hit.outcome(), hit.header("cache-control")), ("hit", Some("max-age=5")), "as it came");
    for status in [302, 404, 500] {
        assert_eq!(life(overriding(), status, &[], &[("cache-control", "max-age=5")]).await, 5, "{status}");
        assert_eq!(life(overriding(), status, &[], &[]).await, 0, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn override_ttl_never_stores_what_must_not_be() {
    let fields = &[("cache-control", "max-age=5")];
    assert_eq!(life(overriding(), 200, &[], fields).await, 30);
    for forbidden in [
        &[("cache-control", "max-age=5, no-store")][..],
        &[("cache-control", "max-age=5, private")],
        &[("cache-control", "max-age=5, no-cache")],
        &[("cache-control", "max-age=5"), ("vary", "*")],
        &[("cache-control", "max-age=5"), ("set-cookie", "a=b")],
    ] {
        assert_eq!(life(overriding(), 200, &[], forbidden).await, 0, "{forbidden:?}");
    }
    for personal in [("authorization", "Bearer a"), ("cookie", "a=b")] {
        assert_eq!(life(overriding(), 200, &[personal], fields).await, 0, "{personal:?}");
        let public = &[("cache-control", "max-age=5, public")];
        assert_eq!(life(overriding(), 200, &[personal], public).await, 5, "{personal:?}: its own word");
        assert_eq!(life(overriding().private(), 200, &[personal], fields).await, 30, "one user's cache");
    }
}

#[tokio::test(start_paused = true)]
async fn override_ttl_leaves_must_revalidate_alone() {
    let fields = &[("cache-control", "max-age=5, must-revalidate")];
    let (_, service) = cached(overriding().stale_while_revalidate(Duration::from_secs(60)), 200, fields);
    get(&service, &[]).await;
    seconds(29).await;
    assert_eq!(get(&service, &[]).await.outcome(), "hit");
    seconds(1).await;
    assert_eq!(get(&service, &[]).await.outcome(), "miss", "never stale");
}

#[tokio::test(start_paused = true)]
async fn negative_ttl_is_for_errors_that_are_about_the_resource() {
    let negative = || Cache::builder().negative_ttl(Duration::from_secs(10));
    for status in [404, 405, 410, 414, 501] {
        assert_eq!(life(negative(), status, &[], &[]).await, 10, "{status}");
        assert_eq!(life(negative(), status, &[], &[("cache-control", "max-age=20")]).await, 20, "{status}");
        assert_eq!(life(negative(), status, &[], &[("cache-control", "no-store")]).await, 0, "{status}");
        assert_eq!(life(negative(), status, &[("cookie", "a=b")], &[]).await, 0, "{status}");
        let modified = &[("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")];
        assert_eq!(life(negative(), status, &[], modified).await, 10, "{status}: no guess");
        assert_eq!(life(Cache::builder(), status, &[], modified).await, 100, "{status}: a guess");
        assert_eq!(life(Cache::builder(), status, &[], &[]).await, 0, "{status}: by default");
    }
    for status in [200, 302, 401, 403, 429, 500, 502, 503, 504] {
        assert_eq!(life(negative(), status, &[], &[]).await, 0, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn jitter_shortens_lives_by_no_more_than_its_share() {
    let origin = Origin::sends(&[("cache-control", "max-age=100")]);
    for (share, shortest) in [(0.0, 100), (0.2, 80)] {
        let service = origin.behind(Cache::builder().ttl_jitter(share));
        let mut lives = Vec::new();
        for page in 0..200 {
            let ask =
                || send(&service, request(Method::GET, &format!("http://example.com/{share}/{page}"), &[]));
            ask().await;
            let hit = ask().await;
            let (_, ttl) = hit.header("cache-status").unwrap().split_once("ttl=").unwrap();
            lives.push(ttl.parse::<u64>().unwrap());
        }
        assert!(lives.iter().all(|life| (shortest..=100).contains(life)), "{lives:?}");
        let different: std::collections::BTreeSet<_> = lives.iter().collect();
        assert_eq!(different.len() > 10, share > 0.0, "{lives:?}");
    }
    for wrong in [-0.1, 1.1, f64::NAN] {
        let error = Cache::builder().ttl_jitter(wrong).build().unwrap_err();
        assert_eq!(error.field(), "ttl_jitter", "{wrong}");
    }
}

use http::Method;
use tower_cache::tags::{CacheTags, MAX_TAGS};
use tower_cache::{Cache, CacheService};

use crate::support::{Origin, answer, request, send, settle};

/// Answers with the tags that the path says, in one field or the other or as an extension.
fn origin() -> Origin {
    Origin::new(|request| {
        let (way, tags) = request.uri.path()[1..].split_once('/').unwrap();
        let fields = [("cache-control", "max-age=600, stale-while-revalidate=60"), (way, tags)];
        let fields = if way == "extension" { &fields[..1] } else { &fields[..] };
        let mut response = answer(fields, "");
        if way == "extension" {
            response.extensions_mut().insert(CacheTags::new(tags.split(',')));
        }
        response
    })
}

async fn outcome(service: &CacheService<Origin>, path: &str) -> &'static str {
    send(service, request(Method::GET, &format!("http://example.com/{path}"), &[])).await.outcome()
}

#[tokio::test(start_paused = true)]
async fn a_purge_reaches_all_that_have_the_tag_and_nothing_else() {
    let cache = Cache::builder().build().unwrap();
    let (service, handle) = (origin().behind_cache(&cache), cache.handle());
    let tagged = ["cache-tag/a,b", "surrogate-key/a", "extension/a", "extension/x,a"];
    let others = ["cache-tag/b", "surrogate-key/ab", "extension/x", "other/a"];
    for (soft, expected) in [(false, "miss"), (true, "stale")] {
        for path in tagged.iter().chain(&others) {
            outcome(&service, path).await;
            settle().await;
            assert_eq!(outcome(&service, path).await, "hit", "{path}");
        }
        if soft {
            handle.soft_purge_tag("a").await.unwrap();
        } else {
            handle.purge_tag("a").await.unwrap();
        }
        for path in tagged {
            assert_eq!(outcome(&service, path).await, expected, "{path}");
        }
        for path in others {
            assert_eq!(outcome(&service, path).await, "hit", "{path}");
        }
        settle().await;
    }
}

#[tokio::test(start_paused = true)]
async fn requests_bring_tags_along() {
    let cache = Cache::builder().build().unwrap();
    let (service, handle) = (origin().behind_cache(&cache), cache.handle());
    let ask = || {
        let mut request = request(Method::GET, "http://example.com/cache-tag/a", &[]);
        let mut tags = CacheTags::default();
        tags.add("tenant-7");
        request.extensions_mut().insert(tags);
        send(&service, request)
    };
    ask().await;
    assert_eq!(ask().await.outcome(), "hit");
    handle.purge_tag("tenant-8").await.unwrap();
    assert_eq!(ask().await.outcome(), "hit");
    handle.purge_tag("tenant-7").await.unwrap();
    assert_eq!(ask().await.outcome(), "miss");
}

#[tokio::test(start_paused = true)]
async fn a_fill_that_began_before_a_purge_never_lands_after_it() {
    let cache = Cache::builder().build().unwrap();
    let origin = Origin { delay: std::time::Duration::from_secs(1), ..origin() };
    let (service, handle) = (origin.behind_cache(&cache), cache.handle());
    let fill = tokio::spawn({
        let service = service.clone();
        async move { outcome(&service, "cache-tag/a").await }
    });
    settle().await;
    handle.purge_tag("a").await.unwrap();
    assert_eq!(fill.await.unwrap(), "miss");
    assert_eq!(outcome(&service, "cache-tag/a").await, "miss");
    assert_eq!(outcome(&service, "cache-tag/a").await, "hit");
}

#[tokio::test(start_paused = true)]
async fn more_tags_than_a_purge_could_reach_are_not_stored() {
    let cache = Cache::builder().build().unwrap();
    let service = origin().behind_cache(&cache);
    let path = |count: usize| {
        format!("cache-tag/{}", (0..count).map(|n| n.to_string()).collect::<Vec<_>>().join(","))
    };
    for (count, expected) in [(MAX_TAGS, "hit"), (MAX_TAGS + 1, "miss")] {
        assert_eq!(outcome(&service, &path(count)).await, "miss");
        assert_eq!(outcome(&service, &path(count)).await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn softly_is_softly_also_after_other_purges() {
    for before in ["nothing", "uri", "all", "tag"] {
        let cache = Cache::builder().build().unwrap();
        let (service, handle) = (origin().behind_cache(&cache), cache.handle());
        match before {
            "uri" => handle.purge(&"http://example.com/cache-tag/a".parse().unwrap()).await.unwrap(),
            "all" => handle.purge_all().await.unwrap(),
            "tag" => handle.purge_tag("a").await.unwrap(),
            _ => {}
        }
        assert_eq!(outcome(&service, "cache-tag/a").await, "miss");
        assert_eq!(outcome(&service, "cache-tag/a").await, "hit");
        handle.soft_purge_tag("a").await.unwrap();
        assert_eq!(outcome(&service, "cache-tag/a").await, "stale", "{before}");
        settle().await;
        assert_eq!(outcome(&service, "cache-tag/a").await, "hit", "{before}");
        handle.soft_purge_tag("a").await.unwrap();
        handle.purge_all().await.unwrap();
        assert_eq!(outcome(&service, "cache-tag/a").await, "miss", "{before}");
    }
}

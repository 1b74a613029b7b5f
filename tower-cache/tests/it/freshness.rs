use std::time::Duration;

use tower_cache::Cache;

use crate::support::{Origin, get, seconds};

#[tokio::test(start_paused = true)]
async fn a_response_answers_as_long_as_it_is_fresh() {
    let origin = Origin::sends(&[("cache-control", "max-age=60")]);
    let cache = origin.behind(Cache::builder());
    let first = get(&cache, &[]).await;
    assert_eq!((first.outcome(), first.header("age"), &*first.body), ("miss", None, "1"));
    seconds(59).await;
    let second = get(&cache, &[]).await;
    assert_eq!((second.outcome(), second.header("age"), &*second.body), ("hit", Some("59"), "1"));
    seconds(1).await;
    let third = get(&cache, &[]).await;
    assert_eq!((third.outcome(), &*third.body), ("miss", "2"));
    assert_eq!(get(&cache, &[]).await.header("age"), Some("0"), "it has taken the place of the first");
    assert_eq!(origin.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn age_that_came_with_it_counts() {
    let origin = Origin::sends(&[("cache-control", "max-age=60"), ("age", "50")]);
    let cache = origin.behind(Cache::builder());
    assert_eq!(get(&cache, &[]).await.header("age"), Some("50"), "passed on as it came");
    seconds(9).await;
    let hit = get(&cache, &[]).await;
    assert_eq!((hit.outcome(), hit.header("age")), ("hit", Some("59")));
    seconds(1).await;
    assert_eq!(get(&cache, &[]).await.outcome(), "miss");
}

#[tokio::test(start_paused = true)]
async fn s_maxage_is_for_shared_caches_alone() {
    let origin = Origin::sends(&[("cache-control", "max-age=10, s-maxage=100")]);
    let (shared, private) = (origin.behind(Cache::builder()), origin.behind(Cache::builder().private()));
    for cache in [&shared, &private] {
        get(cache, &[]).await;
        assert_eq!(get(cache, &[]).await.outcome(), "hit");
    }
    seconds(50).await;
    assert_eq!(get(&shared, &[]).await.outcome(), "hit");
    assert_eq!(get(&private, &[]).await.outcome(), "miss");
}

#[tokio::test(start_paused = true)]
async fn default_ttl_is_for_those_who_say_nothing() {
    let silent = Origin::sends(&[]);
    let cache = silent.behind(Cache::builder());
    get(&cache, &[]).await;
    assert_eq!(get(&cache, &[]).await.outcome(), "miss", "nothing is guessed");
    let with_default = || Cache::builder().default_ttl(Duration::from_secs(30));
    let cache = silent.behind(with_default());
    get(&cache, &[]).await;
    seconds(29).await;
    assert_eq!(get(&cache, &[]).await.outcome(), "hit");
    seconds(1).await;
    assert_eq!(get(&cache, &[]).await.outcome(), "miss");
    for word in ["no-store", "private", "no-cache", "max-age=0"] {
        let origin = Origin::new(move |_| crate::support::answer(&[("cache-control", word)], ""));
        let cache = origin.behind(with_default());
        get(&cache, &[]).await;
        assert_eq!(get(&cache, &[]).await.outcome(), "miss", "{word}");
    }
}

#[tokio::test(start_paused = true)]
async fn last_modified_allows_a_guess() {
    let fields = [("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")];
    let origin = Origin::new(move |_| crate::support::answer(&fields, ""));
    let cache = origin.behind(Cache::builder());
    get(&cache, &[]).await;
    seconds(24 * 60 * 60 - 1).await;
    assert_eq!(get(&cache, &[]).await.outcome(), "hit");
    seconds(1).await;
    assert_eq!(get(&cache, &[]).await.outcome(), "miss", "a day at most");
    let cache = origin.behind(Cache::builder().heuristics(false));
    get(&cache, &[]).await;
    assert_eq!(get(&cache, &[]).await.outcome(), "miss");
}

#[tokio::test(start_paused = true)]
async fn requests_may_ask_for_less_unless_that_is_switched_off() {
    let origin = Origin::sends(&[("cache-control", "max-age=60")]);
    let cache = origin.behind(Cache::builder());
    let deaf = origin.behind(Cache::builder().honour_request_directives(false));
    for cache in [&cache, &deaf] {
        get(cache, &[]).await;
    }
    seconds(10).await;
    for wish in ["no-cache", "max-age=5", "min-fresh=55"] {
        let fields = [("cache-control", wish)];
        assert_eq!(get(&deaf, &fields).await.outcome(), "hit", "{wish}");
        assert_eq!(get(&cache, &fields).await.outcome(), "miss", "{wish}");
        seconds(10).await;
    }
}

#[tokio::test(start_paused = true)]
async fn only_if_cached_never_reaches_the_origin() {
    let origin = Origin::sends(&[("cache-control", "max-age=60")]);
    let cache = origin.behind(Cache::builder());
    let only = [("cache-control", "only-if-cached")];
    let refused = get(&cache, &only).await;
    assert_eq!((refused.status.as_u16(), refused.outcome()), (504, "not_cached"));
    assert_eq!(refused.header("content-type"), Some("application/problem+json"));
    assert!(refused.body.contains("https://docs.rs/tower-cache/latest/tower_cache/#not-cached"));
    assert_eq!(origin.calls(), 0);
    get(&cache, &[]).await;
    assert_eq!(get(&cache, &only).await.outcome(), "hit");
    seconds(60).await;
    assert_eq!(get(&cache, &only).await.outcome(), "not_cached");
}

#[tokio::test(start_paused = true)]
async fn targeted_fields_take_the_place_of_cache_control() {
    let fields = [("cdn-cache-control", "max-age=60"), ("cache-control", "no-store"), ("expires", "0")];
    let origin = Origin::new(move |_| crate::support::answer(&fields, ""));
    let outcome = |cache: tower_cache::CacheBuilder| {
        let cache = origin.behind(cache);
        async move {
            get(&cache, &[]).await;
            get(&cache, &[]).await.outcome()
        }
    };
    assert_eq!(outcome(Cache::builder()).await, "hit");
    assert_eq!(outcome(Cache::builder().targeted([])).await, "miss", "switched off");
    assert_eq!(outcome(Cache::builder().private()).await, "miss", "not for private caches");
    for field in ["no-store", "no-cache", "private", "max-age=0"] {
        let fields = [("cdn-cache-control", field), ("cache-control", "max-age=60")];
        let origin = Origin::new(move |_| crate::support::answer(&fields, ""));
        let cache = origin.behind(Cache::builder());
        get(&cache, &[]).await;
        assert_eq!(get(&cache, &[]).await.outcome(), "miss", "{field}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_targeted_field_that_is_no_dictionary_is_ignored() {
    let outcome = |targeted: &'static str, general: &'static str| async move {
        let fields = [("cdn-cache-control", targeted), ("cache-control", general)];
        let origin = Origin::new(move |_| crate::support::answer(&fields, ""));
        let cache = origin.behind(Cache::builder());
        get(&cache, &[]).await;
        get(&cache, &[]).await.outcome()
    };
    assert_eq!(outcome("max-age=10000", "no-store").await, "hit", "valid: it alone counts");
    for invalid in ["max-age=10000, &&&&&", "max-age=\"10000\""] {
        assert_eq!(outcome(invalid, "no-store").await, "miss", "{invalid}");
        assert_eq!(outcome(invalid, "max-age=60").await, "hit", "{invalid}: Cache-Control counts then");
    }
}

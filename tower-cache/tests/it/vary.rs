use tower_cache::{Cache, MemoryStore};

use crate::support::{Origin, answer, get};

fn echo(vary: &'static str) -> Origin {
    Origin::new(move |parts| {
        let said = parts.headers.get("x-kind").map_or("none", |value| value.to_str().unwrap());
        answer(&[("cache-control", "max-age=60"), ("vary", vary)], said)
    })
}

#[tokio::test(start_paused = true)]
async fn each_variant_answers_its_requests() {
    let origin = echo("x-kind");
    let cache = origin.behind(Cache::builder());
    let kinds: [&[(&str, &str)]; 4] = [&[], &[("x-kind", "")], &[("x-kind", "a")], &[("x-kind", "b")]];
    for kind in kinds {
        assert_eq!(get(&cache, kind).await.outcome(), "miss");
    }
    for kind in kinds {
        let hit = get(&cache, kind).await;
        let expected = kind.first().map_or("none", |(_, value)| *value);
        assert_eq!((hit.outcome(), &*hit.body), ("hit", expected));
    }
    assert_eq!(origin.calls(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_miss_says_whether_it_is_for_the_variant() {
    let origin = echo("x-kind");
    let cache = origin.behind(Cache::builder());
    assert_eq!(get(&cache, &[]).await.outcome.unwrap().reason(), "uri-miss");
    assert_eq!(get(&cache, &[("x-kind", "a")]).await.outcome.unwrap().reason(), "vary-miss");
}

#[tokio::test(start_paused = true)]
async fn variants_are_bounded_and_the_oldest_goes() {
    let origin = echo("x-kind");
    let store = MemoryStore::builder().max_variants(2).build();
    let cache = origin.behind(Cache::builder().store(store));
    for kind in ["a", "b", "c"] {
        get(&cache, &[("x-kind", kind)]).await;
    }
    assert_eq!(get(&cache, &[("x-kind", "b")]).await.outcome(), "hit");
    assert_eq!(get(&cache, &[("x-kind", "c")]).await.outcome(), "hit");
    assert_eq!(get(&cache, &[("x-kind", "a")]).await.outcome(), "miss");
}

#[tokio::test(start_paused = true)]
async fn lines_and_white_space_do_not_make_variants() {
    let origin = echo("Accept-Encoding");
    let cache = origin.behind(Cache::builder());
    get(&cache, &[("accept-encoding", "gzip, br")]).await;
    assert_eq!(get(&cache, &[("accept-encoding", "GZIP"), ("accept-encoding", "br")]).await.outcome(), "hit");
    assert_eq!(get(&cache, &[("accept-encoding", "gzip")]).await.outcome(), "miss");
}

#[tokio::test(start_paused = true)]
async fn of_several_that_match_the_latest_date_counts() {
    let now = std::time::SystemTime::now();
    let origin = Origin::new(move |parts| {
        let (vary, body, seconds) = match parts.headers.contains_key("x-kind") {
            true => ("x-kind", "later", 5),
            false => ("x-other", "earlier", 20),
        };
        let date = now - std::time::Duration::from_secs(seconds);
        let date = httpdate::fmt_http_date(date);
        answer(&[("cache-control", "max-age=60"), ("vary", vary), ("date", &date)], body)
    });
    let cache = origin.behind(Cache::builder());
    assert_eq!(&*get(&cache, &[("x-kind", "a")]).await.body, "later");
    // Stored last, and older.
    assert_eq!(&*get(&cache, &[("x-other", "b")]).await.body, "earlier");
    let hit = get(&cache, &[("x-kind", "a"), ("x-other", "b")]).await;
    assert_eq!((hit.outcome(), &*hit.body), ("hit", "later"));
}

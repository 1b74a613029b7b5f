//! What the random users of `leaks_model` have found, one by one.

use std::time::Duration;

use http::Method;
use tower_cache::Cache;

use crate::support::{Origin, URI, answer, get, request, seconds, send, settle};

/// A response that was asked for before a purge is no answer to who asks after it, however many still wait for it.
#[tokio::test(start_paused = true)]
async fn nobody_joins_what_was_asked_for_before_a_purge() {
    for purge in ["none", "uri", "soft", "prefix", "all", "delete"] {
        let origin = Origin::new(|parts| {
            let who = parts.headers.get("x-who").map_or("", |who| who.to_str().unwrap());
            answer(&[("cache-control", "max-age=60")], who)
        });
        let origin = Origin { delay: Duration::from_secs(1), ..origin };
        let cache = Cache::builder().build().unwrap();
        let (service, handle) = (origin.behind_cache(&cache), cache.handle());
        let ask = |who| {
            let service = service.clone();
            tokio::spawn(async move { get(&service, &[("x-who", who)]).await })
        };
        let first = ask("first");
        settle().await;
        match purge {
            "uri" => handle.purge(&URI.parse().unwrap()).await.unwrap(),
            "soft" => handle.soft_purge(&URI.parse().unwrap()).await.unwrap(),
            "prefix" => handle.purge_prefix("http://example.com/").await.unwrap(),
            "all" => handle.purge_all().await.unwrap(),
            "delete" => {
                let fast = Origin { delay: Duration::ZERO, ..origin.clone() }.behind_cache(&cache);
                send(&fast, request(Method::DELETE, URI, &[])).await;
            }
            _ => {}
        }
        let second = ask("second");
        settle().await;
        let joined = ask("third");
        let (first, second, joined) = (first.await.unwrap(), second.await.unwrap(), joined.await.unwrap());
        assert_eq!(first.body, "first");
        let expected = if purge == "none" { ("collapsed", "first") } else { ("miss", "second") };
        assert_eq!((second.outcome(), &*second.body), expected, "{purge}");
        assert_eq!((joined.outcome(), &*joined.body), ("collapsed", expected.1), "{purge}");
    }
}

/// An absolute URI with the `Host` of somebody else (RFC 9112 §3.2.2): handlers that read `Host` must not poison.
#[tokio::test(start_paused = true)]
async fn a_host_other_than_that_of_the_uri_has_answers_of_its_own() {
    let origin = Origin::new(|parts| {
        let host = parts.headers.get("host").map_or("none", |host| host.to_str().unwrap());
        answer(&[("cache-control", "max-age=60")], host)
    });
    let cache = origin.behind(Cache::builder());
    assert_eq!(get(&cache, &[("host", "evil.example")]).await.body, "evil.example");
    let sincere = get(&cache, &[("host", "example.com")]).await;
    assert_eq!((sincere.outcome(), &*sincere.body), ("miss", "example.com"));
    for same in [&[("host", "example.com")][..], &[("host", "EXAMPLE.com:80")], &[]] {
        assert_eq!(get(&cache, same).await.body, "example.com", "{same:?}");
    }
    assert_eq!(get(&cache, &[("host", "evil.example")]).await.outcome(), "hit", "its own");
}

/// RFC 9111 §4.3.4: what a 304 says counts, also where it says that nothing is to be kept.
#[tokio::test(start_paused = true)]
async fn a_confirmation_that_forbids_to_keep_reaches_the_client_as_it_is() {
    for control in ["no-store", "private, max-age=60", "max-age=60, no-cache=\"x-user\""] {
        let origin = Origin::new(move |parts| {
            if parts.headers.contains_key("if-none-match") {
                let mut confirmed = answer(&[("cache-control", control), ("x-user", "bob")], "");
                *confirmed.status_mut() = http::StatusCode::NOT_MODIFIED;
                return confirmed;
            }
            answer(&[("cache-control", "max-age=60"), ("etag", "\"a\"")], "content")
        });
        let cache = origin.behind(Cache::builder());
        get(&cache, &[]).await;
        seconds(60).await;
        let got = get(&cache, &[]).await;
        assert_eq!((got.outcome(), &*got.body), ("revalidated", "content"), "{control}");
        assert_eq!((got.header("cache-control"), got.header("x-user")), (Some(control), Some("bob")));
        assert_eq!(got.header("etag"), Some("\"a\""));
        let next = get(&cache, &[]).await;
        match control {
            "max-age=60, no-cache=\"x-user\"" => {
                assert_eq!((next.outcome(), next.header("x-user")), ("hit", None));
            }
            _ => assert_eq!(next.outcome(), "miss", "{control}: it is gone"),
        }
    }
}

/// Content that was chosen by a field stays with it when a confirmation names another one.
#[tokio::test(start_paused = true)]
async fn a_confirmation_does_not_widen_whom_content_is_for() {
    let origin = Origin::new(|parts| {
        let kind = parts.headers.get("x-kind").map_or("", |kind| kind.to_str().unwrap());
        if parts.headers.contains_key("if-none-match") {
            let mut confirmed = answer(&[("cache-control", "max-age=60"), ("vary", "accept")], "");
            *confirmed.status_mut() = http::StatusCode::NOT_MODIFIED;
            return confirmed;
        }
        answer(&[("cache-control", "max-age=60"), ("vary", "x-kind"), ("etag", "\"a\"")], kind)
    });
    let cache = origin.behind(Cache::builder());
    assert_eq!(get(&cache, &[("x-kind", "a")]).await.body, "a");
    seconds(60).await;
    assert_eq!(get(&cache, &[("x-kind", "a")]).await.outcome(), "revalidated");
    assert_eq!(get(&cache, &[("x-kind", "a")]).await.outcome(), "hit");
    let other = get(&cache, &[("x-kind", "b")]).await;
    assert_eq!((other.outcome(), &*other.body), ("miss", "b"));
}

/// RFC 9111 §4.4: a POST that offers an upgrade, as curl does with `h2c`, changes what is stored like any other.
#[tokio::test(start_paused = true)]
async fn an_unsafe_request_invalidates_also_when_it_offers_an_upgrade() {
    for fields in [&[][..], &[("connection", "upgrade, http2-settings"), ("upgrade", "h2c")]] {
        let origin = Origin::sends(&[("cache-control", "max-age=60")]);
        let cache = origin.behind(Cache::builder());
        get(&cache, &[]).await;
        assert_eq!(get(&cache, &[]).await.outcome(), "hit");
        send(&cache, request(Method::POST, URI, fields)).await;
        assert_eq!(get(&cache, &[]).await.outcome(), "miss", "{fields:?}");
    }
}

/// RFC 9111 §3.5: content made for somebody's credentials is shared as long as the response says so, and no longer than
/// that, whoever's request brings the news.
#[tokio::test(start_paused = true)]
async fn what_was_declared_for_all_is_not_once_that_is_taken_back() {
    for (before, after, kept) in [
        ("s-maxage=60", "s-maxage=60", true),
        ("s-maxage=60", "max-age=60, public", true),
        ("s-maxage=60", "max-age=60", false),
        ("max-age=60, public", "max-age=60", false),
        ("max-age=60, must-revalidate", "max-age=60, must-revalidate", true),
        ("max-age=60, must-revalidate", "max-age=60", false),
    ] {
        let origin = Origin::new(move |parts| {
            if parts.headers.contains_key("if-none-match") {
                let mut confirmed = answer(&[("cache-control", after)], "");
                *confirmed.status_mut() = http::StatusCode::NOT_MODIFIED;
                return confirmed;
            }
            let who = parts.headers.get("authorization").map_or("nobody", |who| who.to_str().unwrap());
            answer(&[("cache-control", before), ("etag", "\"a\"")], who)
        });
        let cache = origin.behind(Cache::builder());
        get(&cache, &[("authorization", "alice")]).await;
        seconds(60).await;
        assert_eq!(get(&cache, &[]).await.outcome(), "revalidated", "{before}, {after}");
        let next = get(&cache, &[]).await;
        let expected = if kept { ("hit", "alice") } else { ("miss", "nobody") };
        assert_eq!((next.outcome(), &*next.body), expected, "{before}, {after}");
    }
}

//! Requests and responses out of the published lists of cache poisoning, cache deception and denial of service by
//! poisoned caches, and corners of the RFCs that other caches got wrong.

use http::{Method, StatusCode};
use tower_cache::{Cache, CacheBuilder};

use crate::support::{Answer, Origin, Piece, TestBody, URI, answer, get, request, seconds, send};

fn with_status(status: u16, fields: &[(&str, &str)], body: &str) -> Answer {
    let mut response = answer(fields, body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

const FRESH: (&str, &str) = ("cache-control", "max-age=60");

#[tokio::test(start_paused = true)]
async fn a_range_outside_does_not_become_the_answer_for_all() {
    // Static file servers send their Cache-Control with a 416 too.
    let origin = Origin::new(|parts| match parts.headers.contains_key("range") {
        true => with_status(416, &[FRESH, ("content-range", "bytes */3")], ""),
        false => answer(&[FRESH], "all"),
    });
    let cache = origin.behind(Cache::builder());
    let outside = get(&cache, &[("range", "bytes=9-")]).await;
    assert_eq!((outside.status.as_u16(), outside.outcome()), (416, "miss"));
    let whole = get(&cache, &[]).await;
    assert_eq!((whole.status.as_u16(), whole.outcome(), &*whole.body), (200, "miss", "all"));
    // One that is made here is stored by no cache in front of this one either.
    let made = get(&cache, &[("range", "bytes=9-")]).await;
    assert_eq!((made.status.as_u16(), made.outcome()), (416, "hit"));
    for name in ["cache-control", "expires", "last-modified", "content-type"] {
        assert_eq!(made.header(name), None, "{name}");
    }
    assert_eq!(origin.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_date_that_is_no_strong_validator_holds_no_range_together() {
    // RFC 9110 §13.1.5 with §8.8.2.2: changed within the second it was sent in, it may have changed again.
    let ask = |date: &'static str| async move {
        let modified = "Sun, 06 Nov 1994 08:49:37 GMT";
        let origin = Origin::new(move |_| {
            answer(
                &[("cache-control", "max-age=999999999"), ("last-modified", modified), ("date", date)],
                "0123",
            )
        });
        let cache = origin.behind(
            Cache::builder()
                .wall_clock(|| std::time::UNIX_EPOCH + std::time::Duration::from_secs(784_111_900)),
        );
        get(&cache, &[]).await;
        let got = get(&cache, &[("range", "bytes=0-1"), ("if-range", modified)]).await;
        assert_eq!(got.outcome(), "hit");
        got.status.as_u16()
    };
    assert_eq!(ask("Sun, 06 Nov 1994 08:49:38 GMT").await, 206);
    assert_eq!(ask("Sun, 06 Nov 1994 08:49:37 GMT").await, 200);
    assert_eq!(ask("Sun, 06 Nov 1994 08:49:36 GMT").await, 200);
}

#[tokio::test(start_paused = true)]
async fn a_confirmation_says_nothing_about_the_content_that_is_stored() {
    // RFC 9111 §3.2: neither where the stored response has such a field nor where it has none.
    for field in [("content-length", "0"), ("content-encoding", "gzip"), ("content-range", "bytes 0-0/1")] {
        let origin = Origin::new(move |parts| match parts.headers.contains_key("if-none-match") {
            true => with_status(304, &[FRESH, ("etag", "\"a\""), ("x-new", "1"), field], ""),
            false => answer(&[FRESH, ("etag", "\"a\"")], "content"),
        });
        let cache = origin.behind(Cache::builder());
        assert_eq!(get(&cache, &[]).await.header(field.0), None);
        seconds(60).await;
        for outcome in ["revalidated", "hit"] {
            let got = get(&cache, &[]).await;
            assert_eq!((got.outcome(), &*got.body, got.header("x-new")), (outcome, "content", Some("1")));
            assert_eq!(got.header(field.0), None, "{field:?} {outcome}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_confirmation_of_another_entity_tag_updates_nothing() {
    // RFC 9111 §4.3.4: a strong validator that is not that of what is stored is about something else.
    for (tag, updated) in [("\"a\"", true), ("\"b\"", false)] {
        let origin = Origin::new(move |parts| match parts.headers.contains_key("if-none-match") {
            true => with_status(304, &[FRESH, ("etag", tag), ("x-new", "1")], ""),
            false => answer(&[FRESH, ("etag", "\"a\"")], "content"),
        });
        let cache = origin.behind(Cache::builder());
        get(&cache, &[]).await;
        seconds(60).await;
        let validated = get(&cache, &[]).await;
        assert_eq!((validated.outcome(), &*validated.body), ("revalidated", "content"));
        assert_eq!(validated.header("x-new").is_some(), updated, "{tag}");
        let next = get(&cache, &[]).await;
        assert_eq!(next.outcome(), if updated { "hit" } else { "miss" }, "{tag}");
    }
}

/// Whether two requests with these queries share an answer.
async fn share(cache: CacheBuilder, one: &str, other: &str) -> bool {
    let origin = Origin::sends(&[FRESH]);
    let cache = origin.behind(cache);
    for query in [one, other] {
        send(&cache, request(Method::GET, &format!("http://example.com/?{query}"), &[])).await;
    }
    origin.calls() == 1
}

#[tokio::test(start_paused = true)]
async fn parameters_do_not_hide_in_those_that_are_ignored() {
    let ignoring = || Cache::builder().ignore_query(["utm_*", "sid"]);
    assert!(share(ignoring(), "q=a&utm_content=x", "q=a").await);
    // Some frameworks divide at ";" or at a second "?" too, and take the last of two.
    for cloak in ["utm_content=x;q=b", "sid=1;q=b", "utm_content=x?q=b", "utm_x;q=b"] {
        assert!(!share(ignoring(), &format!("q=a&{cloak}"), "q=a").await, "{cloak}");
    }
}

#[tokio::test(start_paused = true)]
async fn parameters_that_may_be_one_keep_their_order() {
    let sorting = || Cache::builder().sort_query(true);
    assert!(share(sorting(), "a=1&b=2", "b=2&a=1").await);
    for (one, other) in [
        ("a=1&a=2", "a=2&a=1"),
        ("A=1&a=2", "a=2&A=1"),
        ("%61=1&a=2", "a=2&%61=1"),
        ("a=1&b=2;a=3", "b=2;a=3&a=1"),
        ("a[]=1&a[0]=2", "a[0]=2&a[]=1"),
        ("a.b=1&a_b=2", "a_b=2&a.b=1"),
        ("a+b=1&a%20b=2", "a%20b=2&a+b=1"),
    ] {
        assert!(!share(sorting(), one, other).await, "{one}");
    }
}

#[tokio::test(start_paused = true)]
async fn references_are_resolved_before_they_invalidate() {
    for (reference, named) in [
        ("7", "/a/7"),
        ("./7", "/a/7"),
        ("../7", "/7"),
        ("../../7", "/7"),
        ("b/../7", "/a/7"),
        ("7#there", "/a/7"),
        ("?x=7", "/a/orders?x=7"),
        ("/b/./7", "/b/7"),
        ("//example.com/7", "/7"),
        ("http:/7", "/a/orders"),
    ] {
        let origin = Origin::new(move |parts| match parts.method == Method::POST {
            true => with_status(201, &[("location", reference)], ""),
            false => answer(&[FRESH], ""),
        });
        let cache = origin.behind(Cache::builder());
        let named = format!("http://example.com{named}");
        let get = || send(&cache, request(Method::GET, &named, &[]));
        get().await;
        assert_eq!(get().await.outcome(), "hit", "{reference}");
        send(&cache, request(Method::POST, "http://example.com/a/orders?page=1", &[])).await;
        let gone = !named.ends_with("/a/orders");
        assert_eq!(get().await.outcome(), if gone { "miss" } else { "hit" }, "{reference}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_turns_out_too_large_ends_what_is_stored() {
    for (second, survives) in [("tiny", true), ("far too much to be kept", false)] {
        let origin = Origin::new(move |parts| {
            let control = ("cache-control", "max-age=1, stale-while-revalidate=0, stale-if-error=600");
            match parts.headers.get("x-second").map(|_| second) {
                Some("tiny") => {
                    answer(&[control], "").map(|_| TestBody::new(vec![Piece::Data("ti".into()), Piece::Fail]))
                }
                Some(second) => answer(&[control], second),
                None if parts.headers.contains_key("x-fail") => with_status(503, &[], ""),
                None => answer(&[control], "first"),
            }
        });
        let cache = origin.behind(Cache::builder().max_body(10));
        get(&cache, &[]).await;
        seconds(2).await;
        let reading = tokio::spawn({
            let cache = cache.clone();
            async move { get(&cache, &[("x-second", "1")]).await.body }
        });
        let _ = reading.await;
        let failed = get(&cache, &[("x-fail", "1")]).await;
        // A response that breaks off says nothing; one that is only too large to keep is newer than what is stored.
        assert_eq!(failed.status.as_u16() == 200, survives, "{second}");
    }
}

#[tokio::test(start_paused = true)]
async fn fields_by_which_frameworks_are_misled_neither_poison_nor_are_answered() {
    let ordinary = [("x-request-id", "1"), ("user-agent", "x"), ("accept", "*/*")];
    let misleading = [
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-scheme", "http"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-port", "1"),
        ("x-forwarded-prefix", "/evil"),
        ("x-forwarded-server", "evil.example"),
        ("x-forward-host", "evil.example"),
        ("x-http-host-override", "evil.example"),
        ("x-host", "evil.example"),
        ("x-original-host", "evil.example"),
        ("x-backend-host", "evil.example"),
        ("x-original-uri", "/evil"),
        ("x-original-url", "/evil"),
        ("x-rewrite-url", "/evil"),
        ("x-http-destinationurl", "http://evil.example"),
        ("x-http-method-override", "POST"),
        ("x-http-method", "POST"),
        ("x-method-override", "POST"),
        ("forwarded", "host=evil.example"),
        ("forwarded", "for=192.0.2.1;HOST=evil.example"),
    ];
    for (fields, shared) in
        ordinary.iter().map(|field| (field, true)).chain(misleading.iter().map(|field| (field, false)))
    {
        let origin = Origin::sends(&[FRESH]);
        let cache = origin.behind(Cache::builder());
        get(&cache, &[*fields]).await;
        assert_eq!(get(&cache, &[]).await.outcome() == "hit", shared, "{fields:?} first");
        let origin = Origin::sends(&[FRESH]);
        let cache = origin.behind(Cache::builder());
        get(&cache, &[]).await;
        assert_eq!(get(&cache, &[*fields]).await.outcome() == "hit", shared, "{fields:?} second");
    }
}

#[tokio::test(start_paused = true)]
async fn what_an_origin_allowed_to_one_site_is_not_the_answer_to_another() {
    // Access-Control-Allow-Origin that repeats the request's Origin, without the Vary that belongs to it.
    let origin = Origin::new(|parts| match parts.headers.get("origin") {
        Some(site) => {
            let site = site.to_str().unwrap();
            answer(&[FRESH, ("access-control-allow-origin", site)], "")
        }
        None => answer(&[FRESH], ""),
    });
    let cache = origin.behind(Cache::builder());
    assert_eq!(get(&cache, &[("origin", "https://evil.example")]).await.outcome(), "miss");
    for outcome in ["miss", "hit"] {
        let good = get(&cache, &[("origin", "https://good.example")]).await;
        assert_eq!(good.header("access-control-allow-origin"), Some("https://good.example"));
        assert_eq!(good.outcome(), outcome);
    }
    // For everybody is for everybody.
    let open = Origin::sends(&[FRESH, ("access-control-allow-origin", "*")]);
    let cache = open.behind(Cache::builder());
    get(&cache, &[("origin", "https://a.example")]).await;
    assert_eq!(get(&cache, &[("origin", "https://b.example")]).await.outcome(), "hit");
}

#[tokio::test(start_paused = true)]
async fn pages_of_one_person_are_not_kept_whatever_their_path_looks_like() {
    // What deceives caches that go by extensions and folders: this one goes by what the origin says.
    let paths = [
        "/my-account/wcd.css",
        "/my-account;wcd.css",
        "/my-account%00wcd.css",
        "/my-account%23wcd.css",
        "/my-account%3fwcd.css",
        "/static/..%2fmy-account",
        "/static/../my-account",
        "/resources/..%2f..%2fmy-account?wcd",
        "/my-account%2f%2e%2e%2frobots.txt",
        "/robots.txt",
        "//my-account/favicon.ico",
    ];
    let modified = ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT");
    for path in paths {
        for fields in [&[][..], &[modified]] {
            let fields = fields.to_vec();
            let origin = Origin::new(move |_| answer(&fields, "secret"));
            let cache = origin.behind(Cache::builder().default_ttl(std::time::Duration::from_secs(60)));
            let uri = format!("http://example.com{path}");
            let get = |fields: &[(&str, &str)]| send(&cache, request(Method::GET, &uri, fields));
            get(&[("cookie", "session=victim")]).await;
            assert_eq!(get(&[]).await.outcome(), "miss", "{path}");
            get(&[("authorization", "Bearer victim")]).await;
            assert_eq!(get(&[]).await.outcome(), "hit", "{path}: without either it is kept");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn spellings_of_a_path_have_answers_of_their_own() {
    let origin = Origin::sends(&[FRESH]);
    let cache = origin.behind(Cache::builder());
    let spellings = [
        "/a", "/a?", "/a/", "//a", "/%61", "/A", "/./a", "/b/../a", "/a;x", "/a%3Fx", "/a?x", "/a%00",
        "/%2561",
    ];
    for path in spellings {
        let uri = format!("http://example.com{path}");
        assert_eq!(send(&cache, request(Method::GET, &uri, &[])).await.outcome(), "miss", "{path}");
    }
    assert_eq!(origin.calls(), spellings.len());
}

#[tokio::test(start_paused = true)]
async fn content_in_a_get_is_no_part_of_what_is_kept() {
    for field in [("content-length", "9"), ("transfer-encoding", "chunked")] {
        let origin = Origin::sends(&[FRESH]);
        let cache = origin.behind(Cache::builder());
        assert_eq!(get(&cache, &[field]).await.outcome(), "bypass");
        assert_eq!(get(&cache, &[]).await.outcome(), "miss");
        assert_eq!(get(&cache, &[field]).await.outcome(), "bypass");
    }
    let query = Method::from_bytes(b"QUERY").unwrap();
    let origin = Origin::sends(&[FRESH]);
    let cache = origin.behind(Cache::builder());
    get(&cache, &[]).await;
    for method in [query, Method::OPTIONS, Method::TRACE] {
        assert_eq!(send(&cache, request(method, URI, &[])).await.outcome(), "bypass");
        assert_eq!(get(&cache, &[]).await.outcome(), "hit", "a safe method changes nothing");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_about_one_request_alone_is_not_the_answer_to_others() {
    // RFC 6585 forbids to store 428, 429, 431 and 511; the others answer a field or a connection of their request.
    for status in [407, 412, 416, 417, 421, 425, 428, 429, 431, 511] {
        let origin = Origin::new(move |parts| match parts.headers.contains_key("x-once") {
            true => with_status(status, &[("cache-control", "public, max-age=60")], ""),
            false => answer(&[FRESH], "all"),
        });
        let cache = origin.behind(Cache::builder());
        assert_eq!(get(&cache, &[("x-once", "1")]).await.status, status);
        let next = get(&cache, &[]).await;
        assert_eq!((next.status.as_u16(), next.outcome()), (200, "miss"), "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn fields_that_connection_takes_away_from_the_origin_do_not_choose_a_variant() {
    // A proxy behind the cache removes what Connection names; the origin answers as if it were not there.
    let origin = Origin::new(|parts| {
        let taken = parts.headers.get("connection").is_some_and(|names| names == "close, Accept-Language");
        let language = parts.headers.get("accept-language").filter(|_| !taken);
        let language = language.map_or("default", |language| language.to_str().unwrap());
        answer(&[FRESH, ("vary", "accept-language")], language)
    });
    let cache = origin.behind(Cache::builder());
    let german = ("accept-language", "de");
    let poison = get(&cache, &[german, ("connection", "close, Accept-Language")]).await;
    assert_eq!((poison.outcome(), &*poison.body), ("bypass", "default"));
    assert_eq!(get(&cache, &[german]).await.body, "de");
    for ordinary in ["close", "keep-alive", "Keep-Alive, TE", "te, trailers", "Upgrade, HTTP2-Settings", ""] {
        assert_eq!(get(&cache, &[german, ("connection", ordinary)]).await.outcome(), "hit", "{ordinary}");
    }
}

#[tokio::test(start_paused = true)]
async fn underscores_are_dashes_to_some() {
    // CGI and what came of it write both alike.
    for (name, outcome) in [
        ("x_forwarded_host", "miss"),
        ("x-forwarded_host", "miss"),
        ("x_http_method_override", "bypass"),
        ("x-original_url", "bypass"),
        ("x_request_id", "hit"),
    ] {
        let origin = Origin::sends(&[FRESH]);
        let cache = origin.behind(Cache::builder());
        get(&cache, &[]).await;
        assert_eq!(get(&cache, &[(name, "evil")]).await.outcome(), outcome, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_post_in_disguise_answers_no_get() {
    for (field, stored) in [
        (("x-request-id", "1"), true),
        (("x-http-method-override", "PUT"), false),
        (("x-original-url", "/evil"), false),
        (("connection", "content-type"), false),
    ] {
        let origin = Origin::sends(&[FRESH, ("content-location", URI)]);
        let cache = origin.behind(Cache::builder());
        get(&cache, &[]).await;
        send(&cache, request(Method::POST, URI, &[field])).await;
        let next = get(&cache, &[]).await;
        assert_eq!(
            (next.outcome() == "hit", &*next.body),
            (stored, if stored { "2" } else { "3" }),
            "{field:?}"
        );
    }
}

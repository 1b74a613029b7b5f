//! What the tests of other caches ask (those of nginx for `Cache-Control`, of http-cache-semantics for responses and of
//! Traffic Server for ranges), as far as it is a matter of the RFCs.

use http::StatusCode;
use tower_cache::{Cache, CacheBuilder};

use crate::support::{Origin, answer, get};

type Fields = [(&'static str, &'static str)];

const FUTURE: (&str, &str) = ("expires", "Fri, 31 Dec 9999 23:59:59 GMT");
const PAST: (&str, &str) = ("expires", "Thu, 01 Jan 1970 00:00:01 GMT");
const OLD: (&str, &str) = ("last-modified", "Mon, 07 Mar 2016 11:52:56 GMT");

const fn control(value: &'static str) -> (&'static str, &'static str) {
    ("cache-control", value)
}

async fn is_hit(cache: CacheBuilder, status: u16, fields: &Fields) -> bool {
    let fields = fields.to_vec();
    let origin = Origin::new(move |_| {
        let mut response = answer(&fields, "content");
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        response
    });
    let cache = origin.behind(cache);
    get(&cache, &[]).await;
    get(&cache, &[]).await.outcome() == "hit"
}

#[tokio::test(start_paused = true)]
async fn responses_that_nginx_is_tested_with() {
    let cases: [(&Fields, bool); 16] = [
        (&[FUTURE], true),
        (&[control("max-age=60")], true),
        (&[control("max-age=9223372036854775808")], true),
        (&[control("max-age=60"), PAST], true),
        (&[PAST, control("max-age=60")], true),
        (&[control("no-cache"), FUTURE], false),
        (&[FUTURE, control("no-cache")], false),
        (&[control("no-cache, max-age=60")], false),
        (&[control("no-cache"), control("max-age=60")], false),
        (&[("set-cookie", "foo"), PAST, control("max-age=60")], false),
        (&[control("x-max-age=60")], false),
        (&[control("foo-s-maxage=60")], false),
        (&[control("max-age-x=60")], false),
        (&[control("private"), control("max-age=60")], false),
        (&[control("max-age=60"), control("no-store")], false),
        (&[control("max-age=0"), FUTURE], false),
    ];
    for (fields, hit) in cases {
        assert_eq!(is_hit(Cache::builder(), 204, fields).await, hit, "{fields:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn responses_that_http_cache_semantics_is_tested_with() {
    let cases: [(u16, &Fields, bool, bool); 20] = [
        (200, &[], false, false),
        (200, &[control("public, max-age=999999")], true, true),
        (200, &[control("public"), FUTURE], true, true),
        (200, &[OLD], true, true),
        // RFC 9111 §5.4: in responses it means nothing.
        (200, &[("pragma", "no-cache"), OLD], true, true),
        (200, &[control("no-store, public, max-age=1")], false, false),
        (200, &[control("private, max-age=1234")], false, true),
        (200, &[("set-cookie", "foo=bar"), control("max-age=99")], false, true),
        (200, &[("set-cookie", "foo=bar"), control("max-age=5, public")], true, true),
        (200, &[control("public, max-age=0")], false, false),
        (301, &[OLD], true, true),
        (303, &[OLD], false, false),
        (303, &[control("max-age=1000")], true, true),
        // Explicit freshness is enough for a 503 (RFC 9111 §3).
        (503, &[control("public, max-age=1000")], true, true),
        (412, &[control("public, max-age=1000")], false, false),
        (200, &[control("public, max-age=9999"), PAST], true, true),
        (200, &[control("public, s-maxage=9999"), PAST], true, false),
        (200, &[control("public, max-age=333"), FUTURE], true, true),
        (200, &[control("immutable"), OLD], true, true),
        (200, &[control("max-age=60, immutable, no-cache")], false, false),
    ];
    for (status, fields, shared, private) in cases {
        assert_eq!(is_hit(Cache::builder(), status, fields).await, shared, "{status} {fields:?}");
        assert_eq!(is_hit(Cache::builder().private(), status, fields).await, private, "{status} {fields:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn ranges_that_traffic_server_is_tested_with() {
    // An origin that knows no ranges: what it sends is whole, and stored.
    let origin = Origin::sends(&[("cache-control", "max-age=300"), ("content-length", "1")]);
    let cache = origin.behind(Cache::builder());
    let whole = get(&cache, &[("range", "bytes=0-10")]).await;
    assert_eq!(
        (whole.status.as_u16(), whole.outcome()),
        (200, "miss"),
        "a range may be ignored (RFC 9110 §14.2)"
    );
    let part = get(&cache, &[("range", "bytes=0-5")]).await;
    assert_eq!((part.status.as_u16(), part.outcome()), (206, "hit"));
    assert_eq!(part.header("content-range"), Some("bytes 0-0/1"));
    let whole = get(&cache, &[]).await;
    assert_eq!((whole.status.as_u16(), whole.outcome()), (200, "hit"));
    let older = ("if-modified-since", "Wed, 16 Mar 2022 22:52:09 GMT");
    let part = get(&cache, &[("range", "bytes=0-10"), older]).await;
    assert_eq!((part.status.as_u16(), part.outcome()), (206, "hit"), "it is newer than that");
    assert_eq!(origin.calls(), 1);
}

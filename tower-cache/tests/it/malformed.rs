//! Nothing that comes over the wire makes it panic.

use http::{HeaderName, HeaderValue};
use proptest::prelude::*;
use tower_cache::Cache;

use crate::support::{Origin, TestBody, get};

const RESPONSE: [&str; 14] = [
    "cache-control",
    "expires",
    "age",
    "date",
    "vary",
    "etag",
    "last-modified",
    "content-length",
    "connection",
    "cache-status",
    "location",
    "set-cookie",
    "pragma",
    "content-range",
];
const REQUEST: [&str; 12] = [
    "cache-control",
    "pragma",
    "if-none-match",
    "if-modified-since",
    "range",
    "if-range",
    "forwarded",
    "x-forwarded-host",
    "cookie",
    "authorization",
    "accept-encoding",
    "if-match",
];

fn value() -> impl Strategy<Value = HeaderValue> {
    let wild = proptest::collection::vec(any::<u8>(), 0..40);
    let near = proptest::collection::vec(
        proptest::sample::select(vec![
            "max-age",
            "s-maxage",
            "no-cache",
            "private",
            "=",
            "\"",
            ",",
            ";",
            " ",
            "\\",
            "-1",
            "0",
            "60",
            "99999999999999999999",
            "*",
            "W/",
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "x-a",
            "bytes=0-",
            "\t",
            "host=",
            "stale-while-revalidate",
            "stale-if-error",
            "must-understand",
        ]),
        0..10,
    );
    prop_oneof![wild, near.prop_map(|parts| parts.concat().into_bytes())]
        .prop_filter_map("no field value", |bytes| HeaderValue::from_bytes(&bytes).ok())
}

fn fields(names: &'static [&'static str]) -> impl Strategy<Value = Vec<(&'static str, HeaderValue)>> {
    proptest::collection::vec((proptest::sample::select(names), value()), 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn never_a_panic(
        requests in proptest::collection::vec(fields(&REQUEST), 1..4),
        response in fields(&RESPONSE),
        private: bool,
        advance in 0_u64..100,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let origin = Origin::new(move |_| {
                let mut answer = http::Response::new(TestBody::of(&["content"]));
                for (name, value) in &response {
                    answer.headers_mut().append(HeaderName::from_static(name), value.clone());
                }
                answer
            });
            let cache = if private { Cache::builder().private() } else { Cache::builder() };
            let cache = origin.behind(cache);
            for fields in requests {
                let mut request = crate::support::request(http::Method::GET, crate::support::URI, &[]);
                for (name, value) in fields {
                    request.headers_mut().append(HeaderName::from_static(name), value);
                }
                crate::support::send(&cache, request).await;
                crate::support::seconds(advance).await;
                get(&cache, &[]).await;
            }
        });
    }
}

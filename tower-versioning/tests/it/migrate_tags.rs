//! Entity tags and conditions: each version has its own, and no tag is good for two.

use http::{Method, Response, StatusCode};
use http_body_util::Full;
use proptest::prelude::*;
use serde_json::Value;
use tower_versioning::Version;
use tower_versioning::migrate::{Change, Document, Migrations};

use crate::migrate::{Answer, Arrived, get, json_answer, request, send_to};
use crate::migrate_http::{migrations, order};
use crate::support::{V1, V2};

/// Evaluates conditions as RFC 9110 §13.2.2 has it, for one tag.
fn conditional(tag: &'static str, arrived: &Arrived) -> Answer {
    let list = |name: &str| {
        let lines = arrived.head.headers.get_all(name).iter().map(|line| line.to_str().unwrap());
        let lines: Vec<_> = lines.flat_map(|line| line.split(", ")).map(str::to_owned).collect();
        (!lines.is_empty()).then_some(lines)
    };
    let mut answer = json_answer(&order());
    let strong = |listed: &String| listed == tag && !listed.starts_with("W/");
    let weak = |listed: &String| listed.trim_start_matches("W/") == tag.trim_start_matches("W/");
    if list("if-match").is_some_and(|tags| !tags.iter().any(|listed| listed == "*" || strong(listed))) {
        *answer.status_mut() = StatusCode::PRECONDITION_FAILED;
    } else if list("if-none-match")
        .is_some_and(|tags| tags.iter().any(|listed| listed == "*" || weak(listed)))
    {
        answer = Response::new(Full::default());
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
    }
    answer.headers_mut().insert("etag", tag.parse().unwrap());
    answer
}

async fn tagged(
    tag: &'static str,
    version: Version,
    method: Method,
    condition: Option<(&'static str, &str)>,
) -> (u16, String) {
    let mut request = request(version, method, "/orders/7", &Value::Null);
    if let Some((name, value)) = condition {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    let (head, ..) = send_to(&migrations(), request, move |arrived| conditional(tag, arrived)).await;
    let tag = head.headers.get("etag").map_or("-", |tag| tag.to_str().unwrap());
    (head.status.as_u16(), tag.to_owned())
}

/// RFC 9110 §8.8.3: one tag, one representation.
#[tokio::test]
async fn each_version_has_tags_of_its_own() {
    for (tag, first) in [("\"abc\"", "\"abc;1\""), ("W/\"abc\"", "W/\"abc;1\""), ("\"\"", "\";1\"")] {
        assert_eq!(tagged(tag, V1, Method::GET, None).await, (200, first.to_owned()));
        assert_eq!(tagged(tag, V2, Method::GET, None).await, (200, tag.to_owned()));
        assert_eq!(tagged(tag, V1, Method::HEAD, None).await, (200, first.to_owned()));
    }
    for malformed in ["abc", "\"abc", "\"a\"b", "w/\"a\""] {
        assert_eq!(tagged(malformed, V1, Method::GET, None).await, (200, "-".to_owned()), "{malformed}");
    }
}

#[tokio::test]
async fn validation_works_in_each_version_and_across_none() {
    let asked = async |version, tags: &str| {
        tagged("\"abc\"", version, Method::GET, Some(("if-none-match", tags))).await
    };
    assert_eq!(asked(V1, "\"abc;1\"").await, (304, "\"abc;1\"".to_owned()));
    assert_eq!(asked(V1, "W/\"abc;1\"").await, (304, "\"abc;1\"".to_owned()));
    assert_eq!(asked(V1, "\"x\",, \"abc;1\" ,\"y;1\"").await, (304, "\"abc;1\"".to_owned()));
    assert_eq!(asked(V1, "*").await.0, 304);
    // What a cache knows of another version is nothing here.
    assert_eq!(asked(V1, "\"abc\"").await, (200, "\"abc;1\"".to_owned()));
    assert_eq!(asked(V1, "\"abc;2\", \"abc\"").await.0, 200);
    assert_eq!(asked(V2, "\"abc\"").await, (304, "\"abc\"".to_owned()));
    assert_eq!(asked(V2, "\"abc;1\"").await.0, 200);
}

#[tokio::test]
async fn lost_updates_are_prevented_in_each_version() {
    let put =
        async |version, tags: &str| tagged("\"abc\"", version, Method::PUT, Some(("if-match", tags))).await.0;
    assert_eq!(put(V1, "\"abc;1\"").await, 200);
    assert_eq!(put(V1, "\"old;1\", \"abc;1\"").await, 200);
    assert_eq!(put(V1, "*").await, 200);
    assert_eq!(put(V1, "\"old;1\"").await, 412);
    assert_eq!(put(V1, "W/\"abc;1\"").await, 412);
    assert_eq!(put(V1, "\"abc\"").await, 412);
    assert_eq!(put(V2, "\"abc\"").await, 200);
}

/// GET is brought down, PUT up, and DELETE is none of theirs: the tag that GET told is good for all three.
#[tokio::test]
async fn lost_updates_are_prevented_where_changes_are_limited_to_methods() {
    let touch = |body: &mut Document<'_>| body.as_object_mut().map(|_| ()).ok_or("no object".into());
    let down = Change::new("down").method(Method::GET).response_body(touch);
    let up = Change::new("up").method(Method::PUT).request_body(touch);
    let migrations = Migrations::builder().change(V2, down).change(V2, up).build().unwrap();
    let asked = async |version, method: Method, tag: &str| {
        let mut request = request(version, method, "/orders/7", &order());
        request.headers_mut().insert("if-match", tag.parse().unwrap());
        let (head, ..) = send_to(&migrations, request, |arrived| conditional("\"abc\"", arrived)).await;
        head.status.as_u16()
    };
    let (told, ..) =
        send_to(&migrations, get(V1, "/orders/7"), |arrived| conditional("\"abc\"", arrived)).await;
    assert_eq!(told.headers["etag"], "\"abc;1\"");
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        assert_eq!(asked(V1, method.clone(), "\"abc;1\"").await, 200, "{method}");
        assert_eq!(asked(V1, method.clone(), "\"x\", \"abc;1\"").await, 200, "{method}");
        for other in ["\"old;1\"", "\"abc;3\"", "W/\"abc;1\"", "\"abc;1"] {
            assert_eq!(asked(V1, method.clone(), other).await, 412, "{method} {other}");
        }
        assert_eq!(asked(V2, method.clone(), "\"abc;1\"").await, 412, "{method}");
    }
    // What PUT tells is the service's own.
    assert_eq!(asked(V1, Method::PUT, "\"abc\"").await, 200);
}

proptest! {
    #[test]
    fn no_tag_and_no_list_of_tags_makes_it_panic(tag in "[\"W/a;1, *é\\t]{0,12}", list in "[\"W/a;1, *é]{0,24}") {
        let mut sent = get(V1, "/");
        for name in ["if-match", "if-none-match"] {
            if let Ok(value) = http::HeaderValue::from_bytes(list.as_bytes()) {
                sent.headers_mut().insert(name, value);
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (head, ..) = runtime.block_on(send_to(&migrations(), sent, |_| {
            let mut answer = json_answer(&order());
            if let Ok(value) = http::HeaderValue::from_bytes(tag.as_bytes()) {
                answer.headers_mut().insert("etag", value);
            }
            answer
        }));
        prop_assert_eq!(head.status, 200);
        prop_assert!(head.headers.get("etag").is_none_or(|tag| tag.as_bytes().ends_with(b";1\"")));
    }
}

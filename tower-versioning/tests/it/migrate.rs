//! One newest implementation behind many versions: what is brought up and down, in which order, and what is untouched.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody};
use serde_json::{Value, json};
use tower::{Layer, ServiceExt, service_fn};
use tower_versioning::migrate::{
    Change, MigrateBody, MigrateError, MigrateErrorKind, MigrateLayer, Migrations, MigrationsBuilder, Query,
};
use tower_versioning::{ApiVersion, Registry, Source, Version, VersionLayer};

use crate::support::{V1, V2, name};

pub(crate) const V3: Version = Version::major(3);

pub(crate) type Answer = Response<Full<Bytes>>;

/// What arrived at the newest implementation.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) head: http::request::Parts,
    pub(crate) body: Bytes,
}

pub(crate) fn versions() -> VersionLayer {
    let registry = Registry::builder().version(V1, |v| v).version(V2, |v| v).version(V3, |v| v);
    VersionLayer::new(registry.default_latest().build().unwrap())
        .sources([Source::header(name("api-version"))])
}

pub(crate) fn one(change: Change) -> MigrationsBuilder {
    Migrations::builder().change(V2, change)
}

/// Sends a request through version and migration layers to a service that answers with `answer`.
pub(crate) async fn send_to(
    migrations: &Migrations,
    request: Request<String>,
    answer: impl Fn(&Arrived) -> Answer + Clone,
) -> (http::response::Parts, Bytes, Option<Arrived>) {
    let arrived = Arc::new(Mutex::new(None));
    let inner = service_fn(async |request: Request<MigrateBody<String>>| {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let seen = Arrived { head, body };
        let response = answer(&seen);
        *arrived.lock().unwrap() = Some(seen);
        Ok::<_, Infallible>(response)
    });
    let layer = MigrateLayer::new(migrations.clone());
    let service = versions().reports(tower_versioning::settings::Reports::None).layer(layer.layer(inner));
    let (parts, body) = service.oneshot(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let arrived = arrived.lock().unwrap().take();
    (parts, body, arrived)
}

pub(crate) fn request(version: Version, method: Method, uri: &str, body: &Value) -> Request<String> {
    Request::builder()
        .method(method)
        .uri(uri)
        .header("api-version", version.to_string())
        .header("content-type", "application/json")
        .body(if body.is_null() { String::new() } else { body.to_string() })
        .unwrap()
}

pub(crate) fn get(version: Version, uri: &str) -> Request<String> {
    request(version, Method::GET, uri, &Value::Null)
}

pub(crate) fn json_answer(body: &Value) -> Answer {
    Response::builder().header("content-type", "application/json").body(body.to_string().into()).unwrap()
}

/// Each change signs what passes.
fn signing(sign: &'static str) -> Change {
    Change::new(sign)
        .request(move |head| {
            head.headers.append("signed", sign.parse()?);
            Ok(())
        })
        .request_query(move |query| {
            query.set("signed", &format!("{}{sign}", query.get("signed").unwrap_or_default()));
            Ok(())
        })
        .request_body(move |body| {
            body["signed"].as_array_mut().ok_or("nothing to sign")?.push(sign.into());
            Ok(())
        })
        .response(move |head| {
            head.headers.append("signed", sign.parse()?);
            Ok(())
        })
        .response_body(move |body| {
            body["signed"].as_array_mut().ok_or("nothing to sign")?.push(sign.into());
            Ok(())
        })
}

fn signed(headers: &http::HeaderMap) -> String {
    headers.get_all("signed").iter().map(|line| line.to_str().unwrap()).collect()
}

#[tokio::test]
async fn requests_go_up_in_order_and_responses_come_down_in_reverse() {
    let migrations = Migrations::builder()
        .change(V2, signing("a"))
        .change(V2, signing("b"))
        .change(V3, signing("c"))
        .build()
        .unwrap();
    for (version, up, down) in [(V1, "abc", "cba"), (V2, "c", "c"), (V3, "", "")] {
        let request = request(version, Method::POST, "/x?k", &json!({"signed": []}));
        let (head, body, arrived) =
            send_to(&migrations, request, |_| json_answer(&json!({"signed": []}))).await;
        let arrived = arrived.unwrap();
        let in_body = |body: &[u8]| {
            let body: Value = serde_json::from_slice(body).unwrap();
            let signs =
                body["signed"].as_array().unwrap().iter().map(|sign| sign.as_str().unwrap().to_owned());
            signs.collect::<String>()
        };
        assert_eq!(signed(&arrived.head.headers), up);
        let query = if up.is_empty() { "k".to_owned() } else { format!("k&signed={up}") };
        assert_eq!(arrived.head.uri.query(), Some(&*query));
        assert_eq!(in_body(&arrived.body), up);
        assert_eq!(signed(&head.headers), down);
        assert_eq!(in_body(&body), down);
        // The handler still knows what was asked for.
        assert_eq!(arrived.head.extensions.get::<ApiVersion>().unwrap().version(), version);
    }
}

#[tokio::test]
async fn lengths_are_those_of_the_translated_bodies() {
    let migrations = one(signing("a")).build().unwrap();
    let mut request = request(V1, Method::POST, "/x", &json!({"signed": []}));
    request.headers_mut().insert("content-length", 13.into());
    let (head, body, arrived) = send_to(&migrations, request, |_| {
        let mut answer = json_answer(&json!({"signed": []}));
        answer.headers_mut().insert("content-length", 13.into());
        answer
    })
    .await;
    let arrived = arrived.unwrap();
    assert_eq!(arrived.body.len(), 16);
    assert_eq!(arrived.head.headers["content-length"], "16");
    assert_eq!(body.len(), 16);
    assert_eq!(head.headers["content-length"], "16");
}

/// Not even white space, escapes or the order of members change where nothing applies.
#[tokio::test]
async fn without_a_change_every_octet_stays() {
    const ODD: &str = "{ \"b\" : 1.10 , \"a\":\"\\u0041\", \"a\":12345678901234567890123 }";
    let migrations = Migrations::builder()
        .change(V2, signing("a").path("/other"))
        .change(V2, signing("b").method(Method::PUT))
        .change(V2, signing("c").when(|head| head.headers.contains_key("never")))
        .build()
        .unwrap();
    for version in [V1, V2, V3] {
        let mut request = request(version, Method::POST, "/x?%61&&b=+", &Value::Null);
        *request.body_mut() = ODD.to_owned();
        for (name, value) in [
            ("range", "bytes=0-1"),
            ("accept-encoding", "br"),
            ("if-none-match", "\"x\""),
            ("content-digest", "d"),
        ] {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        let sent = request.headers().clone();
        let (head, body, arrived) = send_to(&migrations, request, |_| {
            let mut answer = json_answer(&Value::Null).map(|_| ODD.into());
            answer.headers_mut().insert("etag", "\"x\"".parse().unwrap());
            answer.headers_mut().insert("content-digest", "d".parse().unwrap());
            answer
        })
        .await;
        let arrived = arrived.unwrap();
        assert_eq!((&*arrived.body, &*body), (ODD.as_bytes(), ODD.as_bytes()));
        assert_eq!(arrived.head.headers, sent);
        assert_eq!(arrived.head.uri, "/x?%61&&b=+");
        assert_eq!(
            (&head.headers["etag"], &head.headers["content-digest"]),
            (&"\"x\"".parse().unwrap(), &"d".parse().unwrap())
        );
    }
}

#[tokio::test]
async fn a_request_without_a_version_is_untouched() {
    let migrations = one(signing("a")).build().unwrap();
    let inner = service_fn(async |request: Request<MigrateBody<String>>| {
        assert!(signed(request.headers()).is_empty());
        Ok::<_, Infallible>(json_answer(&json!({"signed": []})))
    });
    let answer = MigrateLayer::new(migrations).layer(inner).oneshot(get(V1, "/x")).await.unwrap();
    assert!(signed(answer.headers()).is_empty());
}

async fn applies(change: Change, method: Method, uri: &str) -> bool {
    let mark = |head: &mut http::request::Parts| {
        head.headers.insert("signed", "x".parse()?);
        Ok(())
    };
    let migrations = one(change.request(mark)).build().unwrap();
    let sent = request(V1, method, uri, &Value::Null);
    let (_, _, arrived) = send_to(&migrations, sent, |_| json_answer(&Value::Null)).await;
    arrived.unwrap().head.headers.contains_key("signed")
}

#[tokio::test]
async fn patterns_of_paths() {
    for (pattern, path, expected) in [
        ("/", "/", true),
        ("/", "/x", false),
        ("/a/b", "/a/b?c", true),
        ("/a/b", "/a/b/", false),
        ("/a/b", "/a", false),
        ("/a/{id}", "/a/1", true),
        ("/a/{id}", "/a/", false),
        ("/a/{id}", "/a/1/2", false),
        ("/a/{id}/c", "/a/%2F/c", true),
        ("/{*rest}", "/", false),
        ("/{*rest}", "/a/b/", true),
        ("/a/{*rest}", "/a", false),
        ("/a/{*rest}", "/a/b", true),
        ("/a", "/A", false),
    ] {
        assert_eq!(
            applies(Change::new("c").path(pattern), Method::GET, path).await,
            expected,
            "{pattern} {path}"
        );
    }
    assert!(applies(Change::new("c").path("/a").path("/b"), Method::GET, "/b").await);
}

#[tokio::test]
async fn methods_and_predicates_limit_a_change() {
    let posts = || Change::new("c").method(Method::POST);
    assert!(applies(posts(), Method::POST, "/").await);
    assert!(!applies(posts(), Method::PUT, "/").await);
    assert!(applies(posts().method(Method::PUT), Method::PUT, "/").await);
    assert!(applies(Change::new("c").method(Method::GET), Method::HEAD, "/").await);
    let asked = || Change::new("c").when(|head| head.uri.query() == Some("on"));
    assert!(applies(asked(), Method::GET, "/?on").await);
    assert!(!applies(asked(), Method::GET, "/?off").await);
}

/// A predicate sees what older changes made of the request.
#[tokio::test]
async fn a_later_change_sees_the_request_as_earlier_ones_left_it() {
    let moved = Change::new("moved").path("/old").request(|head| {
        head.uri = "/new".parse()?;
        Ok(())
    });
    let migrations =
        Migrations::builder().change(V2, moved).change(V3, signing("c").path("/new")).build().unwrap();
    let (head, _, arrived) =
        send_to(&migrations, get(V1, "/old"), |_| json_answer(&json!({"signed": []}))).await;
    let arrived = arrived.unwrap();
    assert_eq!((arrived.head.uri.path(), signed(&arrived.head.headers)), ("/new", "c".to_owned()));
    assert_eq!(signed(&head.headers), "c");
}

/// Without the member not even white space changes.
#[tokio::test]
async fn members_limit_a_change_of_bodies() {
    let nulled = |name: &'static str| {
        Change::new(name).member(name).response_body(move |body| {
            body[name] = Value::Null;
            Ok(())
        })
    };
    let migrations =
        Migrations::builder().change(V2, nulled("late")).change(V3, nulled("early")).build().unwrap();
    for (before, after) in [
        ("{ \"x\" : 1.10 }", "{ \"x\" : 1.10 }"),
        ("{ \"early\" : 1 }", "{\"early\":null,\"late\":null}"),
        ("{ \"late\" : 1 }", "{\"late\":null}"),
        // Written with an escape it is the same name (RFC 8259 §7).
        ("{ \"l\\u0061te\" : 1 }", "{\"early\":null,\"late\":null}"),
    ] {
        let (head, body, _) = send_to(&migrations, get(V1, "/"), |_| {
            let mut answer = json_answer(&Value::Null).map(|_| before.into());
            answer.headers_mut().insert("etag", "\"abc\"".parse().unwrap());
            answer.headers_mut().insert("repr-digest", "d".parse().unwrap());
            answer
        })
        .await;
        assert_eq!(&*body, after.as_bytes());
        assert_eq!(head.headers.contains_key("repr-digest"), before == after);
        assert_eq!(head.headers["etag"], "\"abc;1\"");
    }
}

#[tokio::test]
async fn queries_keep_what_is_not_touched() {
    async fn query(change: fn(&mut Query), before: &str) -> String {
        let change = Change::new("c").request_query(move |query| {
            change(query);
            Ok(())
        });
        let migrations = one(change).build().unwrap();
        let sent = get(V1, &format!("/x{before}"));
        let (_, _, arrived) = send_to(&migrations, sent, |_| json_answer(&Value::Null)).await;
        arrived.unwrap().head.uri.to_string().split_off(2)
    }
    assert_eq!(query(|q| q.rename("a", "b c"), "?x=%20+&a=1%2f&a&y=").await, "?x=%20+&b%20c=1%2f&b%20c&y=");
    assert_eq!(query(|q| q.set("a", "ü&=+"), "?b&a=1&c&a=2").await, "?b&a=%C3%BC%26%3D%2B&c");
    assert_eq!(query(|q| q.set("a", "1"), "").await, "?a=1");
    assert_eq!(
        query(|q| assert_eq!(q.remove("a b").as_deref(), Some("x y")), "?a%20b=x+y&c&a+b").await,
        "?c"
    );
    assert_eq!(query(|q| assert_eq!(q.remove("a"), Some(String::new())), "?a").await, "");
    assert_eq!(query(|q| assert_eq!(q.remove("z"), None), "?%zz=%4&&").await, "?%zz=%4&&");
    assert_eq!(query(|q| assert_eq!(q.get("%z").as_deref(), Some("%4")), "?%z=%4").await, "?%z=%4");
}

#[tokio::test]
async fn responses_are_brought_down_by_status() {
    async fn touched(change: Change, status: u16) -> bool {
        let migrations = one(change).build().unwrap();
        let (head, body, _) = send_to(&migrations, get(V1, "/"), |_| {
            let mut answer = json_answer(&json!({"signed": []}));
            *answer.status_mut() = StatusCode::from_u16(status).unwrap();
            answer
        })
        .await;
        assert_eq!(signed(&head.headers) == "a", body.len() > 13);
        signed(&head.headers) == "a"
    }
    for (status, expected) in [(200, true), (201, true), (302, false), (400, false), (500, false)] {
        assert_eq!(touched(signing("a"), status).await, expected, "{status}");
        let inverse = signing("a").statuses(|status| !status.is_success());
        assert_eq!(touched(inverse, status).await, !expected, "{status}");
    }
}

#[test]
fn wrong_changes_are_found_when_they_are_built() {
    let field = |builder: MigrationsBuilder| builder.build().unwrap_err().field().to_owned();
    let good =
        || Migrations::builder().change(V2, signing("a")).change(V2, signing("b")).change(V3, signing("c"));
    assert!(good().build().is_ok());
    assert_eq!(field(good().change(V2, signing("d"))), "change");
    assert_eq!(field(good().change(V3, Change::new("nothing").path("/"))), "change");
    for pattern in ["", "a", "/{", "/{}", "/{*}", "/{*a}/b", "/a{b}", "/{a}b", "/a?b"] {
        assert_eq!(field(good().change(V3, signing("d").path(pattern))), "path", "{pattern}");
    }
    assert_eq!(field(good().max_request_body(0)), "max_request_body");
    assert_eq!(field(good().max_response_body(0)), "max_response_body");
}

/// The problem document of an answer, and the error in its extensions.
pub(crate) fn problem(head: &http::response::Parts, body: &[u8]) -> (MigrateErrorKind, u16, String) {
    let error = head.extensions.get::<MigrateError>().unwrap();
    assert_eq!(head.headers["content-type"], "application/problem+json");
    let body: Value = serde_json::from_slice(body).unwrap();
    assert_eq!(body["status"], head.status.as_u16());
    let kind = body["type"].as_str().unwrap().rsplit_once('#').unwrap().1.to_owned();
    (error.kind(), head.status.as_u16(), kind)
}

#[tokio::test]
async fn a_request_beyond_the_limit_is_413() {
    let migrations = one(signing("a")).max_request_body(20).build().unwrap();
    let fits = json!({"signed": [], "x": 1});
    assert_eq!(fits.to_string().len(), 19);
    let answer = |_: &Arrived| json_answer(&json!({"signed": []}));
    let (head, ..) = send_to(&migrations, request(V1, Method::POST, "/", &fits), answer).await;
    assert_eq!(head.status, 200);
    let large = json!({"signed": [], "x": 100});
    let (head, body, arrived) = send_to(&migrations, request(V1, Method::POST, "/", &large), answer).await;
    let expected = (MigrateErrorKind::RequestTooLarge, 413, "request-too-large".to_owned());
    assert_eq!(problem(&head, &body), expected);
    assert!(arrived.is_none());
}

#[tokio::test]
async fn a_response_beyond_the_limit_is_500() {
    let migrations = one(signing("a")).max_response_body(20).build().unwrap();
    let (head, ..) =
        send_to(&migrations, get(V1, "/"), |_| json_answer(&json!({"signed": [], "x": 1}))).await;
    assert_eq!(head.status, 200);
    let large = |_: &Arrived| json_answer(&json!({"signed": [], "x": 100}));
    let mut request = get(V1, "/");
    request.headers_mut().insert("x-request-id", "id-1".parse().unwrap());
    let (head, body, _) = send_to(&migrations, request, large).await;
    let expected = (MigrateErrorKind::ResponseTooLarge, 500, "untranslatable-response".to_owned());
    assert_eq!(problem(&head, &body), expected);
    assert!(std::str::from_utf8(&body).unwrap().contains("\"correlation_id\":\"id-1\""));
    // In its own version it is what it is.
    let (head, ..) = send_to(&migrations, get(V2, "/"), large).await;
    assert_eq!(head.status, 200);
}

/// Without an announced length too, and in pieces.
#[tokio::test]
async fn the_limit_holds_for_streams_of_pieces() {
    let migrations = one(signing("a")).max_request_body(20).build().unwrap();
    let inner = service_fn(async |request: Request<_>| {
        let body = BodyExt::collect(request.into_body()).await.ok().unwrap().to_bytes();
        Ok::<_, Infallible>(Response::new(Full::new(body)))
    });
    let service = versions().layer(MigrateLayer::new(migrations).layer(inner));
    for (text, status) in [("{\"signed\":[], \"x\":1}", 200), ("{\"signed\":[], \"x\":10}", 413)] {
        let pieces = text
            .as_bytes()
            .chunks(3)
            .map(|piece| Ok::<_, Infallible>(http_body::Frame::data(Bytes::copy_from_slice(piece))));
        let body = StreamBody::new(futures_util::stream::iter(pieces.collect::<Vec<_>>()));
        let sent = request(V1, Method::POST, "/", &Value::Null).map(|_| body);
        let answer = service.clone().oneshot(sent).await.unwrap();
        assert_eq!(answer.status(), status, "{text}");
        if status == 200 {
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), json!({"signed": ["a"], "x": 1}));
        }
    }
}

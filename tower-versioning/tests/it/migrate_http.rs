//! Migration and the rest of HTTP: fields, conditions, codings, streams, errors.

use std::convert::Infallible;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Channel, Full};
use proptest::prelude::*;
use serde_json::{Value, json};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_versioning::migrate::{
    Change, Migrate, MigrateBody, MigrateErrorKind, MigrateLayer, Migrations, ResponseFuture,
};

use crate::migrate::{Answer, Arrived, V3, get, json_answer, one, problem, request, send_to, versions};
use crate::support::{V1, V2};

/// Version 2 called it `customer`, version 1 `name`.
fn renamed() -> Change {
    fn rename(body: &mut Value, from: &str, to: &str) {
        if let Some(value) = body.as_object_mut().and_then(|body| body.remove(from)) {
            body[to] = value;
        }
    }
    Change::new("name became customer")
        .request_body(|body| {
            rename(body, "name", "customer");
            Ok(())
        })
        .response_body(|body| {
            rename(body, "customer", "name");
            Ok(())
        })
}

pub(crate) fn migrations() -> Migrations {
    one(renamed()).build().unwrap()
}

pub(crate) fn order() -> Value {
    json!({"customer": "Ada", "id": 7})
}

#[tokio::test]
async fn head_and_empty_answers_keep_their_fields_without_a_length() {
    let answer = |_: &Arrived| {
        let mut answer = json_answer(&order()).map(|_| Full::default());
        for (name, value) in
            [("content-length", "27"), ("etag", "\"abc\""), ("accept-ranges", "bytes"), ("repr-digest", "d")]
        {
            answer.headers_mut().insert(name, value.parse().unwrap());
        }
        answer
    };
    let (head, body, _) = send_to(&migrations(), request(V1, Method::HEAD, "/", &Value::Null), answer).await;
    assert!(body.is_empty());
    let names: Vec<_> =
        head.headers.keys().map(http::HeaderName::as_str).filter(|name| *name != "vary").collect();
    assert_eq!(names, ["content-type", "etag"]);
    for status in [204, 304] {
        let (head, ..) = send_to(&migrations(), get(V1, "/"), |arrived| {
            let mut answer = answer(arrived);
            answer.headers_mut().remove("content-type");
            *answer.status_mut() = StatusCode::from_u16(status).unwrap();
            answer
        })
        .await;
        assert_eq!(head.headers["etag"], "\"abc;1\"", "{status}");
        assert!(!head.headers.contains_key("content-length"));
    }
}

#[tokio::test]
async fn the_service_is_asked_for_the_whole_without_a_coding() {
    let mut sent = get(V1, "/");
    for (name, value) in [("range", "bytes=0-9"), ("if-range", "\"abc;1\""), ("accept-encoding", "gzip, br")]
    {
        sent.headers_mut().insert(name, value.parse().unwrap());
    }
    let (_, _, arrived) = send_to(&migrations(), sent, |_| json_answer(&order())).await;
    let headers = arrived.unwrap().head.headers;
    assert!(!headers.contains_key("range") && !headers.contains_key("if-range"));
    assert_eq!(headers["accept-encoding"], "identity");
    let (_, _, arrived) = send_to(&migrations(), get(V1, "/"), |_| json_answer(&order())).await;
    assert!(!arrived.unwrap().head.headers.contains_key("accept-encoding"));
}

/// One field is added to an answer that is brought down without it.
async fn answered_with(
    name: &'static str,
    value: &'static str,
    status: u16,
) -> (http::response::Parts, Bytes) {
    let (head, body, _) = send_to(&migrations(), get(V1, "/"), |_| {
        let mut answer = json_answer(&order());
        answer.headers_mut().insert(name, value.parse().unwrap());
        *answer.status_mut() = StatusCode::from_u16(status).unwrap();
        answer
    })
    .await;
    (head, body)
}

#[tokio::test]
async fn a_coded_or_partial_response_is_500() {
    let (head, body) = answered_with("content-encoding", "identity", 200).await;
    assert_eq!((head.status.as_u16(), &*body), (200, &b"{\"id\":7,\"name\":\"Ada\"}"[..]));
    let (head, body) = answered_with("content-encoding", "gzip", 200).await;
    let coded = (MigrateErrorKind::ResponseEncoded, 500, "untranslatable-response".to_owned());
    assert_eq!(problem(&head, &body), coded);
    let (head, body) = answered_with("content-range", "bytes 0-26/100", 206).await;
    let partial = (MigrateErrorKind::ResponsePartial, 500, "untranslatable-response".to_owned());
    assert_eq!(problem(&head, &body), partial);
}

#[tokio::test]
async fn a_coded_request_is_415() {
    let sent = || request(V1, Method::POST, "/", &json!({"name": "Ada"}));
    let (head, _, arrived) = send_to(&migrations(), sent(), |_| json_answer(&order())).await;
    assert_eq!((head.status.as_u16(), &*arrived.unwrap().body), (200, &b"{\"customer\":\"Ada\"}"[..]));
    let mut coded = sent();
    coded.headers_mut().insert("content-encoding", "gzip".parse().unwrap());
    let (head, body, arrived) = send_to(&migrations(), coded, |_| json_answer(&order())).await;
    let expected = (MigrateErrorKind::RequestEncoded, 415, "request-encoded".to_owned());
    assert_eq!(problem(&head, &body), expected);
    assert_eq!(head.headers["accept-encoding"], "identity");
    assert!(arrived.is_none());
}

#[tokio::test]
async fn digests_of_what_was_translated_are_dropped() {
    let mut sent = request(V1, Method::POST, "/", &json!({"name": "Ada"}));
    for name in ["content-digest", "repr-digest", "digest", "content-md5"] {
        sent.headers_mut().insert(name, "d".parse().unwrap());
    }
    let (_, _, arrived) = send_to(&migrations(), sent, |_| json_answer(&order())).await;
    let headers = arrived.unwrap().head.headers;
    assert!(
        ["content-digest", "repr-digest", "digest", "content-md5"]
            .iter()
            .all(|name| !headers.contains_key(*name))
    );
    assert!(!answered_with("content-digest", "d", 200).await.0.headers.contains_key("content-digest"));
    assert!(!answered_with("accept-ranges", "bytes", 200).await.0.headers.contains_key("accept-ranges"));
}

#[tokio::test]
async fn trailers_pass_without_digests() {
    let inner = service_fn(async |_: Request<MigrateBody<String>>| {
        let trailers =
            HeaderMap::from_iter([("repr-digest", "d"), ("server-timing", "t")].map(|(name, value)| {
                (http::HeaderName::from_static(name), http::HeaderValue::from_static(value))
            }));
        let body = Full::new(Bytes::from(order().to_string())).with_trailers(async { Some(Ok(trailers)) });
        Ok::<_, Infallible>(json_answer(&Value::Null).map(|_| body))
    });
    let service = versions().layer(MigrateLayer::new(migrations()).layer(inner));
    let answer = service.oneshot(get(V1, "/")).await.unwrap().into_body().collect().await.unwrap();
    let trailers = answer.trailers().unwrap();
    assert_eq!(trailers.len(), 1);
    assert_eq!(trailers["server-timing"], "t");
}

/// RFC 6839 for suffixes; what is no JSON keeps every octet.
#[tokio::test]
async fn bodies_that_are_no_json_stay_as_they_are() {
    for (content_type, translated) in [
        ("application/json", true),
        ("Application/JSON ; charset=utf-8", true),
        ("application/vnd.orders.v1+JSON", true),
        ("application/problem+json", true),
        ("text/event-stream", false),
        ("application/jsonl", false),
        ("application/x-ndjson", false),
        ("application/json-seq", false),
        ("text/plain", false),
        ("json", false),
        ("", false),
    ] {
        let mut sent = request(V1, Method::POST, "/", &json!({"name": "Ada"}));
        sent.headers_mut().insert("content-type", content_type.parse().unwrap());
        let (head, body, arrived) = send_to(&migrations(), sent, |_| {
            let mut answer = json_answer(&order());
            answer.headers_mut().insert("content-type", content_type.parse().unwrap());
            answer.headers_mut().insert("etag", "\"abc\"".parse().unwrap());
            answer
        })
        .await;
        assert_eq!(arrived.unwrap().body.starts_with(b"{\"customer\""), translated, "{content_type}");
        assert_eq!(body.ends_with(b"\"name\":\"Ada\"}"), translated, "{content_type}");
        assert_eq!(head.headers["etag"], if translated { "\"abc;1\"" } else { "\"abc\"" });
    }
}

#[tokio::test]
async fn grpc_and_connect_pass_untouched() {
    let marking = Change::new("mark").request(|head| {
        head.headers.insert("signed", "x".parse()?);
        Ok(())
    });
    let migrations = one(marking.response_body(|_| Err("not here".into()))).build().unwrap();
    for (method, content_type, untouched) in [
        (Method::POST, "application/json", false),
        (Method::POST, "application/grpc+proto", true),
        (Method::CONNECT, "application/json", true),
    ] {
        let mut sent = request(V1, method, "/", &Value::Null);
        sent.headers_mut().insert("content-type", content_type.parse().unwrap());
        let (head, _, arrived) = send_to(&migrations, sent, |_| json_answer(&order())).await;
        assert_eq!(head.status == 200, untouched, "{content_type}");
        assert_eq!(arrived.unwrap().head.headers.contains_key("signed"), !untouched);
    }
}

#[tokio::test]
async fn an_upgrade_passes_untouched() {
    let everything = renamed().statuses(|_| true).response(|_| Err("not here".into()));
    let migrations = one(everything).build().unwrap();
    let (head, ..) = send_to(&migrations, get(V1, "/"), |_| {
        let mut answer = json_answer(&order());
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        answer
    })
    .await;
    assert_eq!(head.status, 101);
}

/// An event stream arrives while it is being sent; so does a request that no change is about.
#[tokio::test]
async fn nothing_is_buffered_without_need() {
    let inner = service_fn(async |request: Request<MigrateBody<Channel<Bytes>>>| {
        let content_type = request.headers()["content-type"].clone();
        let answer = Response::builder().header("content-type", content_type);
        Ok::<_, Infallible>(answer.body(request.into_body()).unwrap())
    });
    let service = versions().layer(MigrateLayer::new(migrations()).layer(inner));
    for (version, content_type) in
        [(V1, "text/event-stream"), (V2, "application/json"), (V3, "application/json")]
    {
        let (mut sender, body) = Channel::<Bytes>::new(1);
        let mut sent = request(version, Method::POST, "/", &Value::Null);
        sent.headers_mut().insert("content-type", content_type.parse().unwrap());
        let mut body = service.clone().oneshot(sent.map(|_| body)).await.unwrap().into_body();
        for piece in ["one", "two"] {
            sender.send_data(Bytes::from(piece)).await.unwrap();
            assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), piece);
        }
    }
}

#[tokio::test]
async fn a_failing_change_is_500_and_says_which() {
    for (change, kind, called) in [
        (Change::new("c").request(|_| Err("no".into())), MigrateErrorKind::RequestChange, false),
        (Change::new("c").request_query(|_| Err("no".into())), MigrateErrorKind::RequestChange, false),
        (Change::new("c").request_body(|_| Err("no".into())), MigrateErrorKind::RequestChange, false),
        (Change::new("c").response(|_| Err("no".into())), MigrateErrorKind::ResponseChange, true),
        (Change::new("c").response_body(|_| Err("no".into())), MigrateErrorKind::ResponseChange, true),
    ] {
        let migrations = Migrations::builder().change(V2, change).build().unwrap();
        let sent = |version| request(version, Method::POST, "/", &json!({"name": "Ada"}));
        let (head, ..) = send_to(&migrations, sent(V2), |_| json_answer(&order())).await;
        assert_eq!(head.status, 200);
        let (head, body, arrived) = send_to(&migrations, sent(V1), |_| json_answer(&order())).await;
        assert_eq!(problem(&head, &body), (kind, 500, "change-failed".to_owned()));
        assert_eq!(arrived.is_some(), called);
        let error = head.extensions.get::<tower_versioning::migrate::MigrateError>().unwrap();
        assert_eq!((error.change(), error.changed_in()), (Some("c"), Some(V2)));
        assert_eq!(std::error::Error::source(error).unwrap().to_string(), "no");
        assert!(error.to_string().ends_with(": `c` of version 2"));
        // What went wrong is nobody's business outside.
        assert!(!std::str::from_utf8(&body).unwrap().contains("\"no\""));
    }
}

#[tokio::test]
async fn malformed_json_goes_to_nobody() {
    let mut sent = request(V1, Method::POST, "/", &Value::Null);
    *sent.body_mut() = "{\"name\": ".to_owned();
    let (head, body, arrived) = send_to(&migrations(), sent, |_| json_answer(&order())).await;
    let expected = (MigrateErrorKind::RequestMalformed, 400, "request-malformed".to_owned());
    assert_eq!(problem(&head, &body), expected);
    assert!(arrived.is_none());
    let (head, body, _) =
        send_to(&migrations(), get(V1, "/"), |_| json_answer(&order()).map(|_| "{".into())).await;
    let expected = (MigrateErrorKind::ResponseMalformed, 500, "untranslatable-response".to_owned());
    assert_eq!(problem(&head, &body), expected);
}

#[tokio::test]
async fn an_error_of_a_body_comes_through() {
    type Boxed = UnsyncBoxBody<Bytes, &'static str>;
    fn broken() -> Boxed {
        let (mut sender, body) = Channel::<Bytes, &'static str>::new(2);
        sender.try_send(http_body::Frame::data(Bytes::from_static(b"{\"name\""))).unwrap();
        sender.abort("gone");
        body.boxed_unsync()
    }
    let inner = service_fn(async |request: Request<MigrateBody<Boxed>>| {
        let mut body = request.into_body();
        assert_eq!(body.frame().await.unwrap().unwrap_err(), "gone");
        assert!(body.frame().await.is_none());
        Ok::<_, Infallible>(json_answer(&Value::Null).map(|_| broken()))
    });
    let service = versions().layer(MigrateLayer::new(migrations()).layer(inner));
    let sent = request(V1, Method::POST, "/", &Value::Null).map(|_| broken());
    let mut body = service.oneshot(sent).await.unwrap().into_body();
    assert_eq!(body.frame().await.unwrap().unwrap_err(), "gone");
}

#[tokio::test]
async fn the_instance_that_was_ready_is_called() {
    /// Ready once, and after a clone not any more.
    struct Once(bool);
    impl Clone for Once {
        fn clone(&self) -> Self {
            Self(false)
        }
    }
    impl Service<Request<MigrateBody<String>>> for Once {
        type Response = Answer;
        type Error = &'static str;
        type Future = std::future::Ready<Result<Answer, &'static str>>;
        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
            self.0 = true;
            Poll::Ready(Ok(()))
        }
        fn call(&mut self, _: Request<MigrateBody<String>>) -> Self::Future {
            let ready = std::mem::take(&mut self.0);
            std::future::ready(if ready { Ok(json_answer(&order())) } else { Err("not ready") })
        }
    }
    let mut service = versions().layer(MigrateLayer::new(migrations()).layer(Once(false)));
    for (version, body) in [(V1, json!({"name": "Ada"})), (V1, Value::Null), (V2, order())] {
        let answer = service.ready().await.unwrap().call(request(version, Method::POST, "/", &body)).await;
        assert_eq!(answer.unwrap().status(), 200);
    }
}

#[test]
fn layers_and_services_are_send_sync_clone() {
    fn all<T: Send + Sync + Clone + std::fmt::Debug + Unpin + 'static>() {}
    all::<Migrations>();
    all::<MigrateLayer>();
    all::<Migrate<()>>();
    all::<Change>();
    all::<tower_versioning::migrate::MigrateError>();
    fn sent<T: Send + 'static>() {}
    type Inner = tower::util::BoxCloneSyncService<Request<MigrateBody<Full<Bytes>>>, Answer, Infallible>;
    sent::<ResponseFuture<Inner, Full<Bytes>, Full<Bytes>>>();
}

/// A plain axum router takes the translated body as any other.
#[tokio::test]
async fn it_stands_around_an_axum_router() {
    use axum::routing::post;
    let echo = async |axum::Json(order): axum::Json<Value>| axum::Json(order);
    let router: axum::Router = axum::Router::new().route("/orders", post(echo));
    let inside = router.clone().layer(MigrateLayer::new(migrations()));
    let around = MigrateLayer::new(migrations()).layer(router);
    let sent = || request(V1, Method::POST, "/orders", &json!({"name": "Ada"})).map(axum::body::Body::from);
    let one = versions().layer(around).oneshot(sent()).await.unwrap();
    let two = versions().layer(inside).oneshot(sent()).await.unwrap();
    assert_eq!((one.status(), two.status()), (StatusCode::OK, StatusCode::OK));
    assert_eq!(one.into_body().collect().await.unwrap().to_bytes(), "{\"name\":\"Ada\"}");
    assert_eq!(two.into_body().collect().await.unwrap().to_bytes(), "{\"name\":\"Ada\"}");
}

#[cfg(feature = "metrics")]
#[test]
fn what_was_translated_and_what_failed_is_counted() {
    use metrics_util::debugging::{DebugValue, DebuggingRecorder};
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let migrations = one(renamed()).max_request_body(30).max_response_body(30).build().unwrap();
            for body in [json!({"name": "Ada"}), json!({"name": "Ada Augusta King of Lovelace"}), Value::Null]
            {
                let sent = request(V1, Method::POST, "/", &body);
                send_to(&migrations, sent, |_| json_answer(&order())).await;
            }
            send_to(&migrations, get(V1, "/"), |_| json_answer(&order()).map(|_| "{".into())).await;
            send_to(&migrations, get(V2, "/"), |_| json_answer(&order())).await;
        });
    });
    let counts = snapshotter.snapshot().into_vec().into_iter().filter_map(|(key, _, _, value)| {
        let labels: Vec<_> = key.key().labels().map(|label| label.value().to_owned()).collect();
        let DebugValue::Counter(count @ 1..) = value else { return None };
        (key.key().name() == "tower_versioning_migrations_total").then(|| (labels.join(" "), count))
    });
    let expected = [
        ("request too_large", 1),
        ("request translated", 1),
        ("response malformed", 1),
        ("response translated", 2),
    ];
    let expected = expected.map(|(labels, count)| (labels.to_owned(), count));
    assert_eq!(counts.collect::<std::collections::BTreeMap<_, _>>(), expected.into());
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z\"\\\\é]{0,3}", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    /// Up and down again is where it began, through ten changes, for any document.
    #[test]
    fn up_and_down_again_is_the_same_document(document in values()) {
        let wrap = |step: usize| {
            Change::new(format!("wrapped {step}"))
                .request_body(move |body| {
                    **body = json!({ "of": step, "it": body.take() });
                    Ok(())
                })
                .response_body(move |body| {
                    if body["of"] != step {
                        return Err("another change's".into());
                    }
                    **body = body["it"].take();
                    Ok(())
                })
        };
        let migrations = (0..10).fold(Migrations::builder(), |builder, step| builder.change(V2, wrap(step)));
        let migrations = migrations.build().unwrap();
        let mut sent = request(V1, Method::POST, "/", &Value::Null);
        *sent.body_mut() = document.to_string();
        let echo = |arrived: &Arrived| json_answer(&Value::Null).map(|_| Full::new(arrived.body.clone()));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (head, body, _) = runtime.block_on(send_to(&migrations, sent, echo));
        prop_assert_eq!(head.status, 200);
        prop_assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), document);
    }
}

//! Hostile documents and conditions: no document passes into another version untranslated.

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Method, Response, StatusCode};
use http_body_util::{BodyExt, Channel, Full};
use serde_json::{Value, json};
use tower::{Layer, ServiceExt, service_fn};
use tower_versioning::migrate::{Change, MigrateBody, MigrateErrorKind, MigrateLayer};

use crate::migrate::{get, json_answer, one, problem, request, send_to, versions};
use crate::migrate_http::{migrations, order};
use crate::support::V1;

/// Readers of JSON differ in what they skip: `serde` skips depth, numbers and octets in members that it does not know,
/// which no `Value` can hold. Passed on as they are, they would be read as the newest version.
#[tokio::test]
async fn what_cannot_be_read_is_refused() {
    let deep = format!("{{\"name\":\"Ada\",\"x\":{}{}}}", "[".repeat(200), "]".repeat(200));
    let bodies: [&[u8]; 7] = [
        deep.as_bytes(),
        br#"{"name":"Ada","x":1e999}"#,
        b"{\"name\":\"Ada\",\"x\":\"\xff\"}",
        b"\xef\xbb\xbf{\"name\":\"Ada\"}",
        br#"{"name":"Ada"}}"#,
        br#"{"name":"Ada","x":"\ud800"}"#,
        br#"{"name": "#,
    ];
    let service = |sent: Bytes| async move {
        let inner = service_fn(async |request: http::Request<MigrateBody<Full<Bytes>>>| {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            Ok::<_, std::convert::Infallible>(Response::new(Full::new(body)))
        });
        let sent = request(V1, Method::POST, "/", &Value::Null).map(|_| Full::new(sent));
        let service = versions().layer(MigrateLayer::new(migrations()).layer(inner));
        let (head, body) = service.oneshot(sent).await.unwrap().into_parts();
        (head, body.collect().await.unwrap().to_bytes())
    };
    assert_eq!(service(Bytes::from_static(br#"{"name":"Ada"}"#)).await.1, "{\"customer\":\"Ada\"}");
    // Of two members of one name the last counts, and one is left.
    assert_eq!(service(Bytes::from_static(br#"{"name":1,"name":2}"#)).await.1, "{\"customer\":2}");
    // Nothing is not a document; the service says what it thinks of that.
    assert_eq!(service(Bytes::new()).await.1, "");
    for sent in bodies {
        let (head, body) = service(Bytes::copy_from_slice(sent)).await;
        let expected = (MigrateErrorKind::RequestMalformed, 400, "request-malformed".to_owned());
        assert_eq!(problem(&head, &body), expected, "{}", String::from_utf8_lossy(sent));
    }
}

/// What is left of a response that breaks is in the newest form, so nothing of it is passed on.
#[tokio::test]
async fn a_response_that_breaks_shows_nothing_of_another_version() {
    let inner = service_fn(async |_: http::Request<MigrateBody<String>>| {
        let (mut sender, body) = Channel::<Bytes, &'static str>::new(2);
        sender.try_send(http_body::Frame::data(Bytes::from_static(b"{\"customer\""))).unwrap();
        sender.abort("gone");
        Ok::<_, std::convert::Infallible>(json_answer(&Value::Null).map(|_| body))
    });
    let service = versions().layer(MigrateLayer::new(migrations()).layer(inner));
    let mut body = service.oneshot(get(V1, "/")).await.unwrap().into_body();
    assert_eq!(body.frame().await.unwrap().unwrap_err(), "gone");
    assert!(body.frame().await.is_none());
}

async fn arrived_with(fields: &[(&'static str, &str)]) -> http::HeaderMap {
    let mut sent = get(V1, "/");
    for (name, value) in fields {
        sent.headers_mut().append(*name, value.parse().unwrap());
    }
    send_to(&migrations(), sent, |_| json_answer(&order())).await.2.unwrap().head.headers
}

/// RFC 9110 §13.1.3 and §13.1.4: next to a list of tags a date says nothing, also where no tag of the list is left.
#[tokio::test]
async fn a_date_does_not_take_the_place_of_tags() {
    const DATE: &str = "Thu, 05 Mar 2026 00:00:00 GMT";
    let own = arrived_with(&[("if-none-match", "\"a;1\""), ("if-modified-since", DATE)]).await;
    assert_eq!(
        (&own["if-none-match"], &own["if-modified-since"]),
        (&"\"a\"".parse().unwrap(), &DATE.parse().unwrap())
    );
    let foreign = arrived_with(&[("if-none-match", "\"a\""), ("if-modified-since", DATE)]).await;
    assert!(!foreign.contains_key("if-none-match") && !foreign.contains_key("if-modified-since"));
    let date = arrived_with(&[("if-modified-since", DATE)]).await;
    assert_eq!(date["if-modified-since"], DATE);
}

/// A list that is none must not be read more kindly behind: nothing is validated, and nothing is overwritten.
#[tokio::test]
async fn malformed_conditions_hold_for_nobody() {
    for malformed in ["\"a\", \"b", "\"a\" b", "a", "\"a;1\", *"] {
        let headers = arrived_with(&[("if-none-match", malformed), ("if-match", malformed)]).await;
        assert!(!headers.contains_key("if-none-match"), "{malformed}");
        assert_eq!(headers["if-match"], "W/\"another-version\"", "{malformed}");
    }
    let any = arrived_with(&[("if-none-match", "*"), ("if-match", "*")]).await;
    assert_eq!((&any["if-none-match"], &any["if-match"]), (&"*".parse().unwrap(), &"*".parse().unwrap()));
    assert_eq!(
        arrived_with(&[("if-match", "\"a;1\""), ("if-match", "\"b\"")]).await["if-match"],
        "\"a\", W/\"another-version\""
    );
}

/// The future may go at any point; nothing is called that was not to be.
#[tokio::test]
async fn a_future_that_is_dropped_while_it_reads_calls_nobody() {
    let called = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let inner = {
        let called = called.clone();
        service_fn(move |_: http::Request<MigrateBody<Channel<Bytes>>>| {
            called.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            async { Ok::<_, std::convert::Infallible>(json_answer(&json!({}))) }
        })
    };
    let service = versions().layer(MigrateLayer::new(migrations()).layer(inner));
    for completes in [false, true] {
        let (mut sender, body) = Channel::<Bytes>::new(1);
        let mut future =
            Box::pin(service.clone().oneshot(request(V1, Method::POST, "/", &Value::Null).map(|_| body)));
        assert!((&mut future).now_or_never().is_none());
        sender.send_data(Bytes::from_static(b"{}")).await.unwrap();
        assert!((&mut future).now_or_never().is_none());
        if completes {
            drop(sender);
            assert_eq!(future.await.unwrap().status(), StatusCode::OK);
        }
    }
    assert_eq!(called.load(std::sync::atomic::Ordering::Relaxed), 1);
}

/// A body that says it is too large.
struct Announced;

impl http_body::Body for Announced {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        unreachable!("it is read although it is too large")
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(21)
    }
}

#[tokio::test]
async fn what_is_announced_as_too_large_is_not_read() {
    let migrations = one(Change::new("c").request_body(|_| Ok(()))).max_request_body(20).build().unwrap();
    let inner = service_fn(async |_: http::Request<MigrateBody<Announced>>| {
        Ok::<_, std::convert::Infallible>(json_answer(&order()))
    });
    let app = versions().layer(MigrateLayer::new(migrations).layer(inner));
    let sent = request(V1, Method::POST, "/", &order()).map(|_| Announced);
    assert_eq!(app.oneshot(sent).await.unwrap().status(), StatusCode::PAYLOAD_TOO_LARGE);
}

/// The change of the front page: what is no order goes on as it is, to be refused by those who know why.
#[tokio::test]
async fn a_change_meets_documents_of_any_shape() {
    let customers = Change::new("customers are objects")
        .request_body(|order| {
            if let Some(customer) = order.get_mut("customer") {
                *customer = json!({ "name": customer.take() });
            }
            Ok(())
        })
        .response_body(|order| {
            let name = order.pointer_mut("/customer/name").map(Value::take);
            if let (Some(customer), Some(name)) = (order.get_mut("customer"), name) {
                *customer = name;
            }
            Ok(())
        });
    let migrations = one(customers).build().unwrap();
    for (body, arrives) in [
        (json!({ "customer": "Ada" }), json!({ "customer": { "name": "Ada" } })),
        (json!({ "customer": ["Ada"] }), json!({ "customer": { "name": ["Ada"] } })),
        (json!([1]), json!([1])),
        (json!("x"), json!("x")),
        (json!(1), json!(1)),
        (json!({}), json!({})),
    ] {
        let sent = request(V1, Method::POST, "/", &body);
        let echo = |arrived: &crate::migrate::Arrived| {
            json_answer(&Value::Null).map(|_| arrived.body.clone().into())
        };
        let (head, back, arrived) = send_to(&migrations, sent, echo).await;
        assert_eq!((head.status, back), (StatusCode::OK, Bytes::from(body.to_string())));
        assert_eq!(arrived.unwrap().body, arrives.to_string());
    }
}

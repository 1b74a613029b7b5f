//! The id comes back whatever becomes of the request: nine outcomes by three kinds of inbound id.

use std::time::Duration;

use axum::body::Body;
use axum::error_handling::HandleErrorLayer;
use axum::routing::{get, post};
use axum::{Router, response::IntoResponse};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};
use tower_correlation::{CorrelationLayer, Validation, problem::ProblemIdLayer};

async fn streaming() -> Response<Body> {
    let chunks = futures_util::stream::iter(["a", "b"].map(Ok::<_, std::io::Error>));
    Response::new(Body::from_stream(chunks))
}

async fn trailers_only() -> impl IntoResponse {
    ([("content-type", "application/grpc"), ("grpc-status", "12")], ())
}

async fn panics() -> StatusCode {
    if std::hint::black_box(true) { panic!("on purpose") } else { StatusCode::OK }
}

fn app() -> Router {
    let layer = CorrelationLayer::new();
    let fails = || service_fn(async |_: Request<Body>| Err::<Response<Body>, BoxError>("no upstream".into()));
    let answer = || HandleErrorLayer::new(async |_: BoxError| StatusCode::BAD_GATEWAY);
    let slow = || {
        service_fn(async |_: Request<Body>| {
            tokio::time::sleep(Duration::from_secs(60)).await;
            Ok::<_, BoxError>(Response::new(Body::empty()))
        })
    };
    let patience = || tower::timeout::TimeoutLayer::new(Duration::from_secs(1));
    // The error leaves the layer; the handler outside of it makes a response, the mapper outside of that names it.
    let failing = ServiceBuilder::new()
        .layer(layer.echo_mapper())
        .layer(answer())
        .layer(layer.clone())
        .service(fails());
    // So it is with a time limit and a catcher of panics that stand outside.
    let late = ServiceBuilder::new()
        .layer(layer.echo_mapper())
        .layer(answer())
        .layer(patience())
        .layer(layer.clone())
        .service(slow());
    let caught = ServiceBuilder::new()
        .layer(layer.echo_mapper())
        .layer(tower_http::catch_panic::CatchPanicLayer::new())
        .layer(layer.clone())
        .service(get(panics));
    Router::new()
        .route("/ok", get(async || "ok"))
        .route("/teapot", get(async || StatusCode::IM_A_TEAPOT))
        .route("/broken", get(async || StatusCode::INTERNAL_SERVER_ERROR))
        .route("/panic", get(panics).layer(tower_http::catch_panic::CatchPanicLayer::new()))
        .route_service("/slow", ServiceBuilder::new().layer(answer()).layer(patience()).service(slow()))
        .route_service("/mapped", ServiceBuilder::new().layer(answer()).service(fails()))
        .route("/stream", get(streaming))
        .route("/grpc", post(trailers_only))
        .fallback(async || StatusCode::NOT_FOUND)
        .layer(layer)
        .route_service("/error", failing)
        .route_service("/late", late)
        .route_service("/caught", caught)
}

#[tokio::test(start_paused = true)]
async fn nine_outcomes_by_three_inbound_cases() {
    let outcomes = [
        ("GET", "/ok", 200),
        ("GET", "/teapot", 418),
        ("GET", "/broken", 500),
        ("GET", "/nowhere", 404),
        ("GET", "/mapped", 502),
        ("GET", "/panic", 500),
        ("GET", "/slow", 502),
        ("GET", "/stream", 200),
        ("POST", "/grpc", 200),
    ];
    echoed(&outcomes).await;
}

#[tokio::test(start_paused = true)]
async fn what_becomes_a_response_outside_of_the_layer_is_named_by_the_mapper() {
    echoed(&[("GET", "/error", 502), ("GET", "/late", 502), ("GET", "/caught", 500)]).await;
    // Without the mapper it is not, as nothing of the request is left by then.
    let bare = ServiceBuilder::new()
        .layer(HandleErrorLayer::new(async |_: BoxError| StatusCode::BAD_GATEWAY))
        .layer(CorrelationLayer::new())
        .service(service_fn(async |_: Request<Body>| Err::<Response<Body>, BoxError>("no upstream".into())));
    let response = bare.oneshot(Request::new(Body::empty())).await.unwrap();
    assert!(!response.headers().contains_key("x-request-id"));
}

/// Whoever stands between layer and mapper may have said something else on purpose.
#[tokio::test]
async fn the_mapper_adds_and_does_not_replace() {
    let layer = CorrelationLayer::new();
    for (own, expected) in [(None, "m-2"), (Some("theirs"), "theirs")] {
        let app = ServiceBuilder::new()
            .layer(layer.echo_mapper())
            .map_response(move |mut response: Response<_>| {
                response.headers_mut().remove("x-request-id");
                if let Some(own) = own {
                    response.headers_mut().insert("x-request-id", own.parse().unwrap());
                }
                response
            })
            .layer(layer.clone())
            .service(service_fn(async |_: Request<Body>| Ok::<_, BoxError>(Response::new(Body::empty()))));
        let request = Request::builder().header("x-request-id", "m-2").body(Body::empty()).unwrap();
        let response = app.oneshot(request).await.unwrap();
        assert_eq!(response.headers()["x-request-id"], expected);
    }
}

/// One mapper outside of a router, another on a route: each names what is made inside of it.
#[tokio::test]
async fn mappers_within_mappers_agree() {
    let layer = CorrelationLayer::new();
    for outer in [layer.echo_mapper(), layer.clone().response("x-outer".parse().unwrap()).echo_mapper()] {
        let app = ServiceBuilder::new()
            .layer(outer)
            .layer(HandleErrorLayer::new(async |_: BoxError| StatusCode::BAD_GATEWAY))
            .layer(layer.echo_mapper())
            .layer(layer.clone())
            .service(service_fn(async |_: Request<Body>| {
                Err::<Response<Body>, BoxError>("no upstream".into())
            }));
        let request = Request::builder().header("x-request-id", "m-1").body(Body::empty()).unwrap();
        let response = app.oneshot(request).await.unwrap();
        assert!(response.headers().values().any(|value| value == "m-1"), "{:?}", response.headers());
    }
}

async fn echoed(outcomes: &[(&str, &str, u16)]) {
    let app = app();
    for (method, path, status) in outcomes {
        for inbound in [Some("good-1"), Some("not good"), None] {
            let mut request = Request::builder().method(*method).uri(*path);
            if let Some(id) = inbound {
                request = request.header("x-request-id", id);
            }
            let response = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
            assert_eq!(response.status().as_u16(), *status, "{path}");
            let ids: Vec<_> = response.headers().get_all("x-request-id").iter().collect();
            assert_eq!(ids.len(), 1, "{path} {inbound:?}");
            match inbound {
                Some("good-1") => assert_eq!(ids[0], "good-1"),
                _ => assert!(ids[0].len() == 32 && ids[0] != "not good", "{path}"),
            }
        }
    }
}

async fn document(content_type: &'static str, body: &'static str) -> (HeaderMap, String) {
    let app = ServiceBuilder::new().layer(CorrelationLayer::new()).layer(ProblemIdLayer::new()).service(
        service_fn(move |_: Request<Body>| async move {
            let response =
                Response::builder().header("content-type", content_type).header("content-length", body.len());
            Ok::<_, std::convert::Infallible>(response.body(Body::from(body)).unwrap())
        }),
    );
    let request = Request::builder().header("x-request-id", "p-1").body(Body::empty()).unwrap();
    let response = app.oneshot(request).await.unwrap();
    let headers = response.headers().clone();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (headers, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn problem_documents_carry_the_id_on_request() {
    let problem = "application/problem+json; charset=utf-8";
    for (body, expected) in [
        (r#"{"title":"No"}"#, r#"{"correlation_id":"p-1","title":"No"}"#),
        (" { }", r#" { "correlation_id":"p-1"}"#),
        (r#"{"correlation_id":"x"}"#, r#"{"correlation_id":"x"}"#),
        ("[1]", "[1]"),
        ("{", "{"),
        ("{broken", "{broken"),
        ("", ""),
    ] {
        let (headers, text) = document(problem, body).await;
        assert_eq!(text, expected);
        assert!(!headers.contains_key("content-length"), "the length is the transport's to find");
    }
    let (headers, text) = document("application/json", r#"{"title":"No"}"#).await;
    assert!(text == r#"{"title":"No"}"# && headers["content-length"] == "14");
}

/// Whoever writes the document decides where frames end.
#[tokio::test]
async fn problem_documents_carry_the_id_however_they_are_cut() {
    use http_body::Frame;
    use http_body_util::StreamBody;

    let document = "\n { \"title\": \"No\", \"status\": 503 }";
    for parts in [vec![document], vec!["{", "}"], vec![" ", "{ ", "\t}"], vec!["", "{", "", "\"a\":1}"]]
        .into_iter()
        .chain((1..document.len()).map(|at| vec![&document[..at], &document[at..]]))
    {
        let before: serde_json::Value = serde_json::from_str(&parts.concat()).unwrap();
        let frames = parts
            .iter()
            .map(|part| Ok::<_, std::io::Error>(Frame::data(bytes::Bytes::copy_from_slice(part.as_bytes()))));
        let frames = frames.collect::<Vec<_>>();
        let body = std::sync::Mutex::new(Some(StreamBody::new(futures_util::stream::iter(frames))));
        let app = ServiceBuilder::new().layer(CorrelationLayer::new()).layer(ProblemIdLayer::new()).service(
            service_fn(move |_: Request<Body>| {
                let response = Response::builder().header("content-type", "application/problem+json");
                let body = body.lock().unwrap().take().unwrap();
                std::future::ready(Ok::<_, std::convert::Infallible>(response.body(body).unwrap()))
            }),
        );
        let request = Request::builder().header("x-request-id", "p-1").body(Body::empty()).unwrap();
        let body = app.oneshot(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
        let mut after: serde_json::Value = serde_json::from_slice(&body).expect("still JSON");
        let id = after.as_object_mut().unwrap().remove("correlation_id");
        assert_eq!(id, Some("p-1".into()), "{parts:?}");
        assert_eq!(after, before);
    }
}

/// What has a digest or an encoding keeps its bytes and their length; HEAD is told of no other length than GET.
#[tokio::test]
async fn documents_that_must_not_change_are_left_alone() {
    let ask = async |method: &str, field: &'static str| {
        let app = ServiceBuilder::new().layer(CorrelationLayer::new()).layer(ProblemIdLayer::new()).service(
            service_fn(move |_: Request<Body>| async move {
                let response = Response::builder()
                    .header("content-type", "application/problem+json")
                    .header("content-length", "2")
                    .header(field, "x");
                Ok::<_, std::convert::Infallible>(response.body(Body::from("{}")).unwrap())
            }),
        );
        let request = Request::builder().method(method).body(Body::empty()).unwrap();
        let response = app.oneshot(request).await.unwrap();
        let told = response.headers().get("content-length").cloned();
        (told, response.into_body().collect().await.unwrap().to_bytes().len())
    };
    assert_eq!(ask("GET", "x-other").await, (None, r#"{"correlation_id":""}"#.len() + 32));
    let same = (Some(http::HeaderValue::from_static("2")), 2);
    assert_eq!(ask("HEAD", "x-other").await.0, None);
    for field in
        ["content-encoding", "content-range", "content-digest", "repr-digest", "digest", "content-md5"]
    {
        assert_eq!(ask("GET", field).await, same, "{field}");
        assert_eq!(ask("HEAD", field).await, same, "{field}");
    }
}

/// What is sent differs from request to request, so its tag promises the same meaning and not the same octets (RFC 9110
/// §8.8.1).
#[tokio::test]
async fn documents_with_an_id_have_no_strong_entity_tag() {
    let tag = async |kind: &'static str, tag: &'static str| {
        let app = Router::new()
            .route("/", get(async move || ([("content-type", kind), ("etag", tag)], "{}")))
            .layer(ProblemIdLayer::new())
            .layer(CorrelationLayer::new());
        let response = app.oneshot(Request::new(Body::empty())).await.unwrap();
        response.headers()["etag"].clone()
    };
    assert_eq!(tag("application/json", "\"a\"").await, "\"a\"");
    assert_eq!(tag("application/problem+json", "\"a\"").await, "W/\"a\"");
    assert_eq!(tag("application/problem+json", "W/\"a\"").await, "W/\"a\"");
}

/// Whoever allows them in ids does not break documents with them.
#[tokio::test]
async fn ids_that_json_would_have_to_escape_stay_out_of_documents() {
    for (id, named) in [("a:b", true), ("a\"b", false), ("a\\b", false)] {
        let app = Router::new()
            .route("/", get(async || ([("content-type", "application/problem+json")], r#"{"status":500}"#)))
            .layer(ProblemIdLayer::new())
            .layer(CorrelationLayer::new().validate(Validation::builder().also(b":\"\\").build().unwrap()));
        let request = Request::builder().header("x-request-id", id).body(Body::empty()).unwrap();
        let response = app.oneshot(request).await.unwrap();
        assert_eq!(response.headers()["x-request-id"], id);
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let document: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(document.get("correlation_id").is_some(), named, "{document}");
        assert_eq!(document["status"], 500);
    }
}

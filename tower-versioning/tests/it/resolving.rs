//! From request to version, and what comes back.

use std::convert::Infallible;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use tower::{Layer, ServiceExt, service_fn};
use tower_versioning::settings::AfterSunset;
use tower_versioning::{ApiVersion, Registry, Source, Version, VersionError, VersionErrorKind, VersionLayer};

const V1: Version = Version::major(1);
const V2: Version = Version::major(2);

fn day(number: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(number * 86_400)
}

fn registry(after: AfterSunset) -> Registry {
    Registry::builder()
        .version(V1, |v| v.deprecated(day(10)).sunset(day(20)).successor(V2).after_sunset(after))
        .version(V2, |v| v)
        .build()
        .unwrap()
}

fn layer() -> VersionLayer {
    VersionLayer::new(registry(AfterSunset::KeepServing))
        .sources([Source::path("/api"), Source::header(http::HeaderName::from_static("api-version"))])
}

/// Answers with the version and the URI that the handler saw.
async fn send(layer: &VersionLayer, request: Request<String>) -> (Response<()>, String) {
    let inner = service_fn(async |request: Request<String>| {
        let version = request.extensions().get::<ApiVersion>().map(|v| v.version().to_string());
        Ok::<_, Infallible>(Response::new(format!("{} {}", version.unwrap_or_default(), request.uri())))
    });
    let (parts, body) = layer.layer(inner).oneshot(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (Response::from_parts(parts, ()), String::from_utf8(body.to_vec()).unwrap())
}

fn get(uri: &str) -> Request<String> {
    Request::get(uri).body(String::new()).unwrap()
}

#[tokio::test]
async fn the_path_names_the_version_and_the_rest_stays_byte_for_byte() {
    let (_, seen) = send(&layer(), get("/api/v2/orders/%2F?a=%20b&&c")).await;
    assert_eq!(seen, "2 /api/orders/%2F?a=%20b&&c");
    let (_, seen) = send(&layer(), get("/api/V1?x")).await;
    assert_eq!(seen, "1 /api?x");
}

#[tokio::test]
async fn the_header_names_the_version() {
    let mut request = get("/api/orders");
    request.headers_mut().insert("api-version", "1.0".parse().unwrap());
    let (response, seen) = send(&layer(), request).await;
    assert_eq!(seen, "1 /api/orders");
    assert_eq!(response.headers()["vary"], "api-version");
    assert_eq!(response.headers()["api-version"], "1");
}

#[tokio::test]
async fn path_and_header_must_agree() {
    let mut request = get("/api/v1/orders");
    request.headers_mut().insert("api-version", "1.0".parse().unwrap());
    let (response, _) = send(&layer(), request.clone()).await;
    assert_eq!(response.status(), StatusCode::OK);
    request.headers_mut().insert("api-version", "2".parse().unwrap());
    let (response, body) = send(&layer(), request).await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert_eq!(response.extensions().get::<VersionError>().unwrap().kind(), VersionErrorKind::Ambiguous);
    assert!(body.contains("/#ambiguous-version\""), "{body}");
}

#[tokio::test]
async fn deprecation_sunset_and_successor_are_reported() {
    let (response, _) = send(&layer(), get("/api/v1/orders/7")).await;
    let headers = response.headers();
    assert_eq!(headers["deprecation"], "@864000");
    assert_eq!(headers["sunset"], "Wed, 21 Jan 1970 00:00:00 GMT");
    assert_eq!(headers["link"], "<../../v2/orders/7>; rel=\"successor-version\"");
    assert_eq!(headers["api-supported-versions"], "2");
    assert_eq!(headers["api-deprecated-versions"], "1");
    let (response, _) = send(&layer(), get("/api/v2/orders/7")).await;
    assert!(!response.headers().contains_key("deprecation"));
}

#[tokio::test]
async fn an_unsupported_version_names_those_that_are() {
    let (response, body) = send(&layer(), get("/api/v9/orders")).await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    assert!(body.contains("\"supported\":[\"1\",\"2\"]") && body.contains("\"requested\":\"9\""), "{body}");
    let url_only = layer().sources([Source::path("/api")]);
    let (response, _) = send(&url_only, get("/api/v9/orders")).await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert!(!response.headers().contains_key("vary"));
}

#[tokio::test]
async fn after_the_sunset_a_version_serves_on_or_is_gone() {
    for (after, status) in [(AfterSunset::KeepServing, StatusCode::OK), (AfterSunset::Gone, StatusCode::GONE)]
    {
        let before = VersionLayer::new(registry(after)).wall_clock(|| day(20) - Duration::from_secs(1));
        assert_eq!(send(&before, get("/v1/orders")).await.0.status(), StatusCode::OK);
        assert_eq!(send(&before.wall_clock(|| day(20)), get("/v1/orders")).await.0.status(), status);
    }
}

#[tokio::test]
async fn a_request_without_version_needs_a_default() {
    let (response, _) = send(&layer(), get("/api/orders")).await;
    assert_eq!(response.extensions().get::<VersionError>().unwrap().kind(), VersionErrorKind::Missing);
    let registry = Registry::builder().version(V2, |v| v).default_version(V2).build().unwrap();
    let (_, seen) = send(&VersionLayer::new(registry), get("/orders")).await;
    assert_eq!(seen, "2 /orders");
}

#[test]
fn a_wrong_registry_names_the_field() {
    let field = |builder: tower_versioning::RegistryBuilder| builder.build().unwrap_err().field().to_owned();
    assert_eq!(field(Registry::builder()), "version");
    assert_eq!(field(Registry::builder().version(V1, |v| v).version(Version::new(1, 0), |v| v)), "version");
    assert_eq!(field(Registry::builder().version(V1, |v| v).default_version(V2)), "default_version");
    assert_eq!(field(Registry::builder().version(V1, |v| v.successor(V2))), "successor");
    assert_eq!(field(Registry::builder().version(V1, |v| v.deprecated(day(2)).sunset(day(1)))), "sunset");
}

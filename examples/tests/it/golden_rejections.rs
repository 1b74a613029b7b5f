//! What the crates repeat on purpose is the same everywhere: the files, and what they put on the wire.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use tower::{Layer, ServiceExt, service_fn};
use tower_auth::{AuthLayer, RequireScopes};
use tower_breaker::{Breaker, HttpBreakerLayer};
use tower_cache::{CacheLayer, MemoryStore};
use tower_versioning::{Registry, Source, Version, VersionLayer};

use crate::tokens::{authenticator, token};

type Sent = Request<Full<Bytes>>;

/// The files of one name, one for each crate that has it unchanged.
macro_rules! copies {
    ($file:literal: $($of:literal),+) => {
        [$(($of, include_str!(concat!("../../../tower-", $of, "/src/", $file)))),+]
    };
}

#[test]
fn the_copies_are_the_same() {
    // The bodies of tower-cache and tower-correlation do more.
    let body = copies!("body.rs": "auth", "breaker", "versioning");
    let problem = copies!("problem.rs": "auth", "breaker", "cache", "versioning");
    let grpc = copies!("grpc.rs": "auth", "breaker", "cache", "versioning");
    for (file, copies) in [("body.rs", &body[..]), ("problem.rs", &problem[..]), ("grpc.rs", &grpc[..])] {
        for (of, copy) in copies {
            assert!(*copy == copies[0].1, "{file} of {of} differs from the one of {}", copies[0].0);
        }
    }
}

#[test]
fn config_error_is_the_same() {
    let errors = copies!("error.rs": "auth", "breaker", "cache", "versioning");
    let code = |source: &'static str| {
        let start = source.find("pub struct ConfigError").unwrap();
        let end = source.find("impl std::error::Error for ConfigError {}").unwrap();
        &source[start..end]
    };
    for (of, source) in errors {
        assert_eq!(code(source), code(errors[0].1), "{of}");
    }
}

/// One refusal as it goes over the wire.
struct Golden {
    /// Headers of a request that is let through.
    accepted: &'static [(&'static str, &'static str)],
    /// The same with one thing changed.
    refused: &'static [(&'static str, &'static str)],
    status: u16,
    /// Without the closing brace, behind which the id of the request would stand.
    problem: &'static str,
    /// Header fields besides the type and the length.
    headers: &'static [(&'static str, &'static str)],
    /// Status and message of the answer to gRPC; the cache lets gRPC pass.
    grpc: Option<(&'static str, &'static str)>,
}

type Answer = (StatusCode, HeaderMap, Bytes);

fn request(method: Method, headers: &[(&'static str, &str)]) -> Sent {
    let mut request = Request::new(Full::default());
    *request.method_mut() = method;
    *request.uri_mut() = "http://api.example/things".parse().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(HeaderName::from_static(name), value.parse().unwrap());
    }
    request
}

async fn whole<B>(response: Response<B>) -> Answer
where
    B: http_body::Body<Data = Bytes>,
    B::Error: std::fmt::Debug,
{
    let (parts, body) = response.into_parts();
    (parts.status, parts.headers, body.collect().await.unwrap().to_bytes())
}

async fn inner(_: Sent) -> Result<Response<Full<Bytes>>, Infallible> {
    let response = Response::builder().header("cache-control", "public, max-age=60");
    Ok(response.body(Full::from("all is well")).unwrap())
}

/// Checks a golden refusal: the first service lets the accepted request through, the second refuses the other one.
macro_rules! assert_golden {
    ($accepting:expr, $refusing:expr, $golden:expr) => {{
        let golden: &Golden = &$golden;
        let accepted = $accepting.oneshot(request(Method::GET, golden.accepted)).await.unwrap();
        assert_eq!(whole(accepted).await.0, 200, "the accepted request");

        let service = $refusing;
        let send = async |request: Sent| whole(service.clone().oneshot(request).await.unwrap()).await;
        let (status, headers, body) = send(request(Method::GET, golden.refused)).await;
        assert_eq!(status, golden.status);
        assert_eq!(body, format!("{}}}", golden.problem));
        assert_eq!(headers["content-type"], "application/problem+json");
        assert_eq!(headers["content-length"], body.len().to_string());
        for (name, value) in golden.headers {
            assert_eq!(headers[*name], *value);
        }
        assert_eq!(headers.len(), 2 + golden.headers.len(), "{headers:?}");

        // HEAD: the same header fields and no content (RFC 9110 §9.3.2).
        let (status, head, nothing) = send(request(Method::HEAD, golden.refused)).await;
        assert_eq!((status, &head), (StatusCode::from_u16(golden.status).unwrap(), &headers));
        assert!(nothing.is_empty());

        // The id of the request is told when it is fit to print.
        for (id, told) in [("call-7", ",\"correlation_id\":\"call-7\"}"), ("<script>", "}")] {
            let refused = [golden.refused, &[("x-request-id", id)]].concat();
            let (_, _, body) = send(request(Method::GET, &refused)).await;
            let supported = golden.problem.split_once(",\"supported\"");
            let expected = match supported {
                // tower-versioning puts its list behind everything else.
                Some((start, list)) => format!("{start}{},\"supported\"{list}}}", told.trim_end_matches('}')),
                None => format!("{}{told}", golden.problem),
            };
            assert_eq!(body, expected);
        }

        let media_types = [
            "application/grpc+proto",
            "application/grpc",
            "application/grpc-web",
            "Application/gRPC-Web-Text;x",
        ];
        for ((grpc_status, message), media_type) in
            golden.grpc.iter().flat_map(|said| media_types.map(|of| (*said, of)))
        {
            let refused = [golden.refused, &[("content-type", media_type)]].concat();
            let (status, headers, body) = send(request(Method::POST, &refused)).await;
            assert_eq!(status, 200);
            assert!(body.is_empty(), "trailers only");
            assert_eq!(headers["content-type"], media_type);
            assert_eq!(headers["grpc-status"], grpc_status);
            assert_eq!(headers["grpc-message"], message);
        }
    }};
}

/// Leaks a header list that holds a token made at run time.
fn with_token(scope: &str) -> &'static [(&'static str, &'static str)] {
    let bearer: &'static str = format!("Bearer {}", token("ada", scope)).leak();
    vec![("authorization", bearer)].leak()
}

#[tokio::test]
async fn auth_without_a_token() {
    let golden = Golden {
        accepted: with_token("read"),
        refused: &[],
        status: 401,
        problem: "{\"type\":\"https://docs.rs/tower-auth/latest/tower_auth/#missing-token\",\"title\":\"Missing token\",\
                  \"status\":401,\"detail\":\"An access token is required\"",
        headers: &[("www-authenticate", "Bearer realm=\"api\""), ("cache-control", "no-store")],
        grpc: Some(("16", "An access token is required")),
    };
    let service = AuthLayer::new(authenticator()).layer(service_fn(inner));
    assert_golden!(service.clone(), service, golden);
}

#[tokio::test]
async fn auth_without_the_scope() {
    let golden = Golden {
        accepted: with_token("read write"),
        refused: with_token("read"),
        status: 403,
        problem: "{\"type\":\"https://docs.rs/tower-auth/latest/tower_auth/#insufficient-scope\",\
                  \"title\":\"Insufficient scope\",\"status\":403,\
                  \"detail\":\"The access token does not grant what this needs\"",
        headers: &[
            (
                "www-authenticate",
                "Bearer error=\"insufficient_scope\", \
                 error_description=\"The access token does not grant what this needs\", scope=\"write\"",
            ),
            ("cache-control", "no-store"),
        ],
        grpc: Some(("7", "The access token does not grant what this needs")),
    };
    let scoped = RequireScopes::all(["write"]).unwrap().layer(service_fn(inner));
    let service = AuthLayer::new(authenticator()).layer(scoped);
    assert_golden!(service.clone(), service, golden);
}

#[tokio::test(start_paused = true)]
async fn breaker_that_is_open() {
    let golden = Golden {
        accepted: &[],
        refused: &[],
        status: 503,
        problem: "{\"type\":\"https://docs.rs/tower-breaker/latest/tower_breaker/#circuit-open\",\
                  \"title\":\"the upstream is failing and was not called\",\"status\":503,\"breaker\":\"things\"",
        headers: &[("retry-after", "30")],
        grpc: Some(("14", "the upstream is failing and was not called")),
    };
    let breaker = Breaker::builder("things").consecutive_failures(1).open_for(Duration::from_secs(30));
    let (closed, open) = (breaker.clone().build().unwrap(), breaker.build().unwrap());
    open.try_acquire().unwrap().failure();
    let service = |breaker| HttpBreakerLayer::new(breaker).layer(service_fn(inner));
    assert_golden!(service(closed), service(open), golden);
}

#[tokio::test]
async fn cache_that_may_not_ask() {
    let golden = Golden {
        accepted: &[],
        refused: &[("cache-control", "only-if-cached")],
        status: 504,
        problem: "{\"type\":\"https://docs.rs/tower-cache/latest/tower_cache/#not-cached\",\"title\":\"Not cached\",\
                  \"status\":504,\"detail\":\"no stored response can answer the request, which asks for no other\"",
        headers: &[("cache-status", "tower-cache; detail=\"only-if-cached\"")],
        // The cache lets gRPC pass.
        grpc: None,
    };
    let service = || CacheLayer::shared(MemoryStore::new(1 << 20)).layer(service_fn(inner));
    assert_golden!(service(), service(), golden);
}

#[tokio::test]
async fn versioning_without_such_a_version() {
    let golden = Golden {
        accepted: &[("api-version", "2")],
        refused: &[("api-version", "9")],
        status: 400,
        problem: "{\"type\":\"https://docs.rs/tower-versioning/latest/tower_versioning/#unsupported-version\",\
                  \"title\":\"the API version is not supported\",\"status\":400,\"requested\":\"9\",\
                  \"supported\":[\"1\",\"2\"]",
        headers: &[("api-supported-versions", "1, 2"), ("vary", "api-version")],
        grpc: Some(("12", "the API version is not supported")),
    };
    let registry = Registry::builder().version(Version::major(1), |v| v).version(Version::major(2), |v| v);
    let header = Source::header(HeaderName::from_static("api-version"));
    let service = VersionLayer::new(registry.build().unwrap()).sources([header]).layer(service_fn(inner));
    assert_golden!(service.clone(), service, golden);
}

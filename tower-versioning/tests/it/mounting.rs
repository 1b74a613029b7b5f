//! Where the layer stands in an axum program, and what happens elsewhere.

use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, OriginalUri};
use axum::routing::get;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use tower::{Layer, ServiceExt};
use tower_versioning::{ApiVersion, Source, VersionLayer, VersionRouter};

use crate::support::{V1, V2, name, registry};

async fn show(path: MatchedPath, original: OriginalUri, version: ApiVersion) -> String {
    format!("{} {} {}", version.version(), path.as_str(), original.0)
}

fn users() -> Router {
    Router::new().route("/users/{id}", get(show))
}

fn layer() -> VersionLayer {
    VersionLayer::new(registry(&["1", "2"])).sources([Source::path("")])
}

async fn ask<S, B>(service: S, uri: &str) -> (StatusCode, String)
where
    S: tower::Service<Request<Body>, Response = http::Response<B>, Error = std::convert::Infallible>,
    B: http_body::Body<Data = bytes::Bytes, Error: std::fmt::Debug>,
{
    let response = service.oneshot(Request::get(uri).body(Body::empty()).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (parts.status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn around_the_router() {
    let layer = layer();
    let (status, body) = ask(layer.layer(users()), "/v1/users/7?q").await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, "1 /users/{id} /v1/users/7?q"));
    assert!(!layer.is_misplaced());
}

#[tokio::test]
async fn around_a_router_by_version() {
    let one = users();
    let two = Router::new().route("/people/{id}", get(show));
    let app = layer().layer(VersionRouter::new(Router::new()).version(V1, one).version(V2, two));
    assert_eq!(ask(app.clone(), "/v1/users/7").await.1, "1 /users/{id} /v1/users/7");
    assert_eq!(ask(app.clone(), "/v2/people/7").await.1, "2 /people/{id} /v2/people/7");
    // 404 and 405 of a router stay the router's.
    assert_eq!(ask(app.clone(), "/v2/users/7").await, (StatusCode::NOT_FOUND, String::new()));
    let post = Request::post("/v1/users/7").body(Body::empty()).unwrap();
    let response = app.oneshot(post).await.unwrap();
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(response.headers()["allow"], "GET,HEAD");
}

#[tokio::test]
async fn as_the_fallback_service_and_nested_service_of_a_router() {
    let outer = Router::new().route("/health", get(async || "well")).fallback_service(layer().layer(users()));
    assert_eq!(ask(outer.clone(), "/health").await.1, "well");
    assert_eq!(ask(outer, "/v1/users/7?q").await.1, "1 /users/{id} /v1/users/7?q");
    let nested = Router::new().nest_service("/api", layer().layer(users()));
    assert_eq!(ask(nested, "/api/v1/users/7").await.1, "1 /api/users/{id} /api/v1/users/7");
}

#[tokio::test]
async fn axum_serves_it_as_a_fallback() {
    let app: Router = Router::new().fallback_service(layer().layer(users()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(axum::serve(listener, app).into_future());
    let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new());
    let answer =
        client.build_http::<Body>().get(format!("http://{address}/v1/users/7").parse().unwrap()).await;
    let answer = answer.unwrap().into_body().collect().await.unwrap().to_bytes();
    assert_eq!(answer, "1 /users/{id} /v1/users/7");
    server.abort();
}

/// Whoever takes the start of a path away, a router or a proxy: the link leads from where the client is
/// (RFC 3986 §5.2; the references are resolved by hand here).
#[tokio::test]
async fn the_successor_is_found_below_any_prefix() {
    let registry = || {
        let registry = tower_versioning::Registry::builder().version(V1, |v| v.successor(V2));
        registry.version(V2, |v| v).build().unwrap()
    };
    let any = Router::new().fallback(async || "");
    let nested = Router::new().nest_service("/api", VersionLayer::new(registry()).layer(any.clone()));
    let app = VersionLayer::new(registry()).layer(any);
    let link = async |service: axum::Router, uri: &str| {
        let response = service.oneshot(Request::get(uri).body(Body::empty()).unwrap()).await.unwrap();
        response.headers().get("link").map(|link| link.to_str().unwrap().to_owned())
    };
    let app = Router::new().fallback_service(app);
    for (uri, target) in [
        ("/v1", "./v2"),
        ("/v1/", "../v2/"),
        ("/v1/users", "../v2/users"),
        ("/v1/users/7?q", "../../v2/users/7"),
        ("/v1//a", "../../v2//a"),
        ("/v1/a:b", "../v2/a:b"),
    ] {
        let expected = format!("<{target}>; rel=\"successor-version\"");
        assert_eq!(link(app.clone(), uri).await.as_ref(), Some(&expected), "{uri}");
        assert_eq!(link(nested.clone(), &format!("/api{uri}")).await.as_ref(), Some(&expected), "{uri}");
    }
    // From these a client would count otherwise, or the reference grows too long.
    for uri in ["/v1/../x", "/v1/./x", "/v1/..", &format!("/v1{}", "/a".repeat(33))] {
        assert_eq!(link(app.clone(), uri).await, None, "{uri}");
    }
}

/// A preflight carries no field of its own, so it names no version; and who may read a refusal is for CORS to say.
#[tokio::test]
async fn cors_stands_outside() {
    use tower_http::cors::{Any, CorsLayer};
    let cors = || CorsLayer::new().allow_origin(Any).allow_headers([name("api-version")]);
    let versions = VersionLayer::new(registry(&["1"])).sources([Source::header(name("api-version"))]);
    let preflight = || {
        let request = Request::options("/users/7").header("origin", "https://web.example");
        let request = request.header("access-control-request-method", "GET");
        request.header("access-control-request-headers", "api-version").body(Body::empty()).unwrap()
    };
    let refused = || {
        let request = Request::get("/users/7").header("origin", "https://web.example");
        request.header("api-version", "9").body(Body::empty()).unwrap()
    };
    let allowed = |headers: &http::HeaderMap| headers.contains_key("access-control-allow-origin");
    let outside = cors().layer(versions.clone().layer(users()));
    let response = outside.clone().oneshot(preflight()).await.unwrap();
    assert_eq!((response.status(), allowed(response.headers())), (StatusCode::OK, true));
    let response = outside.oneshot(refused()).await.unwrap();
    assert_eq!((response.status(), allowed(response.headers())), (StatusCode::BAD_REQUEST, true));
    // Inside it sees neither, unless preflights are neutral.
    let inside = || users().layer(cors());
    let response = versions.layer(inside()).oneshot(preflight()).await.unwrap();
    assert_eq!((response.status(), allowed(response.headers())), (StatusCode::BAD_REQUEST, false));
    let neutral = versions.neutral(|parts| {
        parts.method == http::Method::OPTIONS && parts.headers.contains_key("access-control-request-method")
    });
    let response = neutral.layer(inside()).oneshot(preflight()).await.unwrap();
    assert_eq!((response.status(), allowed(response.headers())), (StatusCode::OK, true));
}

#[tokio::test]
async fn neutral_paths_keep_the_original_target_too() {
    let shown = Router::new().route("/health", get(async |original: OriginalUri| original.0.to_string()));
    let app = layer().neutral_path("/health").layer(shown);
    assert_eq!(ask(app.clone(), "/health?q").await.1, "/health?q");
    assert_eq!(ask(app, "/v1/health?q").await.1, "/v1/health?q");
}

#[tokio::test]
async fn two_apis_with_schemes_of_their_own() {
    let header = VersionLayer::new(registry(&["2"])).sources([Source::header(name("api-version"))]);
    let app = Router::new()
        .nest_service("/orders", layer().layer(users()))
        .nest_service("/stock", header.layer(users()));
    assert_eq!(ask(app.clone(), "/orders/v1/users/7").await.0, StatusCode::OK);
    assert_eq!(ask(app.clone(), "/orders/users/7").await.0, StatusCode::NOT_FOUND);
    assert_eq!(ask(app, "/stock/users/7").await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_rewrite_inside_of_router_layer_comes_too_late_and_is_noticed() {
    let outside = layer();
    assert_eq!(ask(outside.layer(users()), "/v1/users/7").await.0, StatusCode::OK);
    let inside = layer();
    let wrong = users().layer(inside.clone());
    assert!(!inside.is_misplaced());
    assert_eq!(ask(wrong, "/v1/users/7").await.0, StatusCode::NOT_FOUND);
    assert!(inside.is_misplaced());
    // A segment that stays may be routed as part of the path.
    let kept = layer().sources([Source::path_kept("")]);
    let router = Router::new().route("/{version}/users/{id}", get(show)).layer(kept.clone());
    assert_eq!(ask(router, "/v1/users/7").await.1, "1 /{version}/users/{id} /v1/users/7");
    assert!(!kept.is_misplaced());
}

#[tokio::test]
async fn a_handler_that_needs_a_version_without_the_layer_is_500() {
    let optional = async |version: Option<ApiVersion>| format!("{}", version.is_some());
    let router = Router::new().route("/need", get(async |_: ApiVersion| "")).route("/may", get(optional));
    assert_eq!(ask(router.clone(), "/may").await.1, "false");
    assert_eq!(ask(router, "/need").await.0, StatusCode::INTERNAL_SERVER_ERROR);
}

#[cfg(feature = "migrate")]
#[tokio::test]
async fn changes_around_the_versions_translate_nothing_and_it_is_noticed() {
    use tower_versioning::migrate::{Change, MigrateLayer, Migrations};
    let stack = || {
        let change = Change::new("users move").request(|parts| {
            parts.uri = "/people/7".parse()?;
            Ok(())
        });
        let migrate = MigrateLayer::new(Migrations::builder().change(V2, change).build().unwrap());
        let versions =
            VersionLayer::new(registry(&["1", "2"])).sources([Source::header(name("api-version"))]);
        (migrate, versions.neutral_path("/health").neutral(|parts| parts.uri.path() == "/ready"))
    };
    let router = || {
        // A handler without versions that says one itself.
        let own = get(async || ([("api-version", "7")], "own"));
        let routes = Router::new().route("/health/own", own.clone()).route("/ready", own);
        routes.fallback(async |uri: http::Uri| uri.to_string())
    };
    let ask = async |service: Router, uri: &str| {
        let request = Request::get(uri).header("api-version", "1").body(Body::empty()).unwrap();
        let body = service.oneshot(request).await.unwrap().into_body().collect().await.unwrap();
        String::from_utf8(body.to_bytes().to_vec()).unwrap()
    };
    // The later layer of a router is outside.
    let (migrate, versions) = stack();
    let right = router().layer(migrate.clone()).layer(versions);
    assert_eq!(ask(right.clone(), "/users/7").await, "/people/7");
    assert_eq!(ask(right.clone(), "/health").await, "/health");
    assert_eq!(ask(right.clone(), "/health/own").await, "own");
    assert_eq!(ask(right, "/ready").await, "own");
    assert!(!migrate.is_misplaced());
    let (migrate, versions) = stack();
    let wrong = router().layer(versions).layer(migrate.clone());
    assert_eq!(ask(wrong.clone(), "/health").await, "/health");
    assert!(!migrate.is_misplaced(), "nothing is known from what has no version");
    assert_eq!(ask(wrong, "/users/7").await, "/users/7");
    assert!(migrate.is_misplaced());
}

//! Nested routers of axum, which see URIs without the prefix.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{OriginalUri, Path};
use axum::http::{Method, Request};
use axum::routing::get;
use tower::ServiceExt;
use tower_cache::{Cache, CacheLayer, CacheOutcome};

/// `/{id}`, answered with the name of the router.
fn router(name: &'static str) -> Router {
    let show = get(move |Path(id): Path<String>| async move {
        ([("cache-control", "max-age=60")], format!("{name} {id}"))
    });
    Router::new().route("/{id}", show.put(async || "changed"))
}

async fn ask(app: &Router, method: Method, path: &str) -> (String, Option<CacheOutcome>) {
    let request = Request::builder().method(method).uri(path).header("host", "example.com");
    let response = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let outcome = response.extensions().get().copied();
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (String::from_utf8(body.to_vec()).unwrap(), outcome)
}

/// Each gets what is its own, from the origin and then from the cache, and a change reaches what it is about.
async fn assert_apart(app: &Router) {
    for turn in 0..2 {
        for name in ["orders", "customers"] {
            let (body, outcome) = ask(app, Method::GET, &format!("/{name}/7?x=1")).await;
            assert_eq!(body, format!("{name} 7"));
            assert_eq!(outcome == Some(CacheOutcome::Hit), turn == 1, "{name}: {outcome:?}");
        }
    }
    assert_eq!(ask(app, Method::PUT, "/orders/7?x=1").await.0, "changed");
    assert_ne!(ask(app, Method::GET, "/orders/7?x=1").await.1, Some(CacheOutcome::Hit));
}

fn inside(cache: &Cache) -> Router {
    let nested = |name| router(name).layer(CacheLayer::new(cache.clone()));
    Router::new().nest("/orders", nested("orders")).nest("/customers", nested("customers"))
}

#[tokio::test]
async fn around_the_router_that_nests_each_uri_is_whole() {
    let app = Router::new().nest("/orders", router("orders")).nest("/customers", router("customers"));
    assert_apart(&app.layer(CacheLayer::new(Cache::builder().build().unwrap()))).await;
}

#[tokio::test]
async fn a_partition_tells_nested_routers_apart() {
    let cache = Cache::builder().partition(|request, key| {
        key.add_optional(request.extensions.get().map(|OriginalUri(uri)| uri.path()));
    });
    assert_apart(&inside(&cache.build().unwrap())).await;
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn a_rewritten_path_is_the_only_one_where_it_is_said_to_be() {
    let app = |builder: tower_cache::CacheBuilder| {
        let cached = router("things").layer(CacheLayer::new(builder.build().unwrap()));
        Router::new().nest("/v2", cached.clone()).fallback_service(cached)
    };
    for (builder, one) in [(Cache::builder(), false), (Cache::builder().without_original_path(), true)] {
        let app = app(builder);
        assert_eq!(ask(&app, Method::GET, "/v2/7").await.0, "things 7");
        assert_eq!(ask(&app, Method::GET, "/7").await.1 == Some(CacheOutcome::Hit), one);
    }
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn with_the_feature_the_prefix_is_part_of_the_key() {
    assert_apart(&inside(&Cache::builder().build().unwrap())).await;
    // Parameters that are no part of the key do not come back through the original URI, and one that is served below
    // two prefixes is two resources.
    let app = inside(&Cache::builder().ignore_query(["utm_*"]).build().unwrap());
    let app = Router::new().nest("/v1", app.clone()).nest("/v2", app);
    assert_eq!(ask(&app, Method::GET, "/v1/orders/7?utm_a=1").await.0, "orders 7");
    assert_eq!(ask(&app, Method::GET, "/v1/orders/7?utm_a=2").await.1, Some(CacheOutcome::Hit));
    assert_ne!(ask(&app, Method::GET, "/v2/orders/7?utm_a=2").await.1, Some(CacheOutcome::Hit));
}

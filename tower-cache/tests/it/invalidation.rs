use http::{Method, StatusCode};
use tower_cache::Cache;

use crate::support::{Origin, answer, request, send};

fn origin(status: u16, fields: &'static [(&'static str, &'static str)]) -> Origin {
    Origin::new(move |parts| {
        if parts.method == Method::GET {
            return answer(&[("cache-control", "max-age=60")], "");
        }
        let mut response = answer(fields, "");
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        response
    })
}

/// Whether a GET of `uri` is still answered by the cache after such a request to `/orders` was answered like this.
async fn survives(
    method: &str,
    status: u16,
    fields: &'static [(&'static str, &'static str)],
    uri: &'static str,
) -> bool {
    let origin = origin(status, fields);
    let cache = origin.behind(Cache::builder().partition(|parts, key| {
        key.add_optional(parts.headers.get("x-tenant"));
    }));
    let get = || send(&cache, request(Method::GET, uri, &[("x-tenant", "a")]));
    get().await;
    assert_eq!(get().await.outcome(), "hit");
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    send(&cache, request(method, "http://example.com/orders", &[("x-tenant", "b")])).await;
    get().await.outcome() == "hit"
}

#[tokio::test(start_paused = true)]
async fn an_unsafe_request_that_succeeds_invalidates_the_target_in_all_partitions() {
    let target = "http://example.com/orders";
    for method in ["POST", "PUT", "DELETE", "PATCH", "M-SEARCH"] {
        for status in [200, 201, 204, 302] {
            assert!(!survives(method, status, &[], target).await, "{method} {status}");
        }
        for status in [400, 404, 500] {
            assert!(survives(method, status, &[], target).await, "{method} {status}");
        }
    }
    assert!(survives("OPTIONS", 200, &[], target).await);
    assert!(survives("POST", 200, &[], "http://example.com/other").await);
}

#[tokio::test(start_paused = true)]
async fn so_it_does_with_what_the_response_names_of_the_same_origin() {
    let named = "http://example.com/orders/7";
    assert!(survives("POST", 201, &[], named).await);
    for fields in [
        &[("location", "/orders/7")],
        &[("location", "http://example.com/orders/7")],
        &[("location", "http://EXAMPLE.com:80/orders/7")],
        &[("content-location", "/orders/7")],
    ] {
        assert!(!survives("POST", 201, fields, named).await, "{fields:?}");
    }
    assert!(survives("POST", 201, &[("location", "http://example.com.evil.example/orders/7")], named).await);
    let foreign = "http://other.example/orders/7";
    assert!(survives("POST", 201, &[("location", "http://other.example/orders/7")], foreign).await);
}

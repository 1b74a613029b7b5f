//! The program with three dated versions, as its clients see it.

#[path = "../../src/bin/dated-api.rs"]
#[allow(dead_code, unreachable_pub, reason = "a program of its own, whose main is not called here")]
mod program;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

const VERSIONS: [&str; 3] = ["2025-03-01", "2025-09-01", "2026-03-01"];

async fn send(version: &str, method: Method, uri: &str, body: Option<&Value>) -> (StatusCode, Value) {
    let mut request = Request::builder().method(method).uri(uri);
    if !version.is_empty() {
        request = request.header("api-version", version);
    }
    if body.is_some() {
        request = request.header("content-type", "application/json");
    }
    let request = request.body(body.map_or_else(Body::empty, |body| body.to_string().into())).unwrap();
    let answer = program::app().unwrap().oneshot(request).await.unwrap();
    let newest = if version.is_empty() { VERSIONS[2] } else { version };
    assert_eq!(answer.headers()["api-version"], newest);
    let status = answer.status();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

/// An order as each version has it.
fn orders(id: u64) -> [Value; 3] {
    [
        json!({"id": id, "customer": "Ada Lovelace", "total": 12.5}),
        json!({"id": id, "customer": {"name": "Ada Lovelace"}, "total": 12.5}),
        json!({"id": id, "customer": {"name": "Ada Lovelace"}, "total": {"amount": 1250, "currency": "EUR"}}),
    ]
}

#[tokio::test]
async fn each_version_reads_its_own_form() {
    for (version, order) in VERSIONS.into_iter().zip(orders(7)) {
        assert_eq!(send(version, Method::GET, "/orders/7", None).await, (StatusCode::OK, order));
    }
    assert_eq!(send("", Method::GET, "/orders/7", None).await.1, orders(7)[2]);
}

#[tokio::test]
async fn each_version_writes_its_own_form() {
    for (version, (sent, stored)) in VERSIONS.into_iter().zip(orders(9).into_iter().zip(orders(3))) {
        let answer = send(version, Method::POST, "/orders", Some(&sent)).await;
        assert_eq!(answer, (StatusCode::OK, stored), "{version}");
    }
    // The form of another version is refused by the implementation, in its own words.
    let (status, _) = send(VERSIONS[2], Method::POST, "/orders", Some(&orders(9)[0])).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn each_version_has_its_own_parameter() {
    for (version, parameter) in VERSIONS.into_iter().zip(["limit", "limit", "page_size"]) {
        let (_, list) = send(version, Method::GET, &format!("/orders?{parameter}=1"), None).await;
        assert_eq!(list.as_array().map(Vec::len), Some(1), "{version}");
    }
    let (_, list) = send(VERSIONS[2], Method::GET, "/orders?limit=1", None).await;
    assert_eq!(list.as_array().map(Vec::len), Some(2));
}

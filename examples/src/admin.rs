//! The admin endpoints that every instance has, on a listener of their own.

use std::collections::HashMap;

use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::json;
use tower_correlation::observe::Observe;

use crate::component::Log;

#[derive(Clone)]
struct Admin {
    instance: String,
    prometheus: PrometheusHandle,
    log: Log,
    observe: Observe,
}

/// `/health`, `/info`, `/metrics`, `/logs`, `/sampling`.
pub(crate) fn router(instance: &str, prometheus: PrometheusHandle, log: Log, observe: Observe) -> Router {
    Router::new()
        .route("/health", get(async || "ok"))
        .route("/info", get(info))
        .route("/metrics", get(metrics))
        .route("/logs", get(logs))
        .route("/sampling", put(sampling))
        .with_state(Admin { instance: instance.to_owned(), prometheus, log, observe })
}

async fn info(State(admin): State<Admin>) -> Json<serde_json::Value> {
    Json(json!({ "instance": admin.instance, "version": env!("CARGO_PKG_VERSION") }))
}

async fn metrics(State(admin): State<Admin>) -> Response {
    admin.prometheus.run_upkeep();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], admin.prometheus.render()).into_response()
}

/// The recent log lines, one JSON object a line; `?correlation_id=` keeps those of one request.
async fn logs(State(admin): State<Admin>, Query(query): Query<HashMap<String, String>>) -> Response {
    let needle = query.get("correlation_id").map(String::as_str).unwrap_or_default();
    let mut lines = admin.log.lines(needle).join("\n");
    lines.push('\n');
    ([(header::CONTENT_TYPE, "application/jsonl")], lines).into_response()
}

/// Changes the share of calls that is written down: `{"rate": 0.1}`.
async fn sampling(State(admin): State<Admin>, Json(wanted): Json<serde_json::Value>) -> Response {
    let changed = wanted["rate"].as_f64().ok_or_else(|| "`rate` is no number".to_owned());
    match changed.and_then(|rate| admin.observe.set_sample(rate).map_err(|error| error.to_string())) {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, error).into_response(),
    }
}

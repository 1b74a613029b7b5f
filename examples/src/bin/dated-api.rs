//! An API with three dated versions and one implementation: handlers know the newest one, changes know the rest.
//!
//! `curl localhost:3000/orders/1 -H 'api-version: 2025-03-01'` and without the field are the same order in two forms.

use std::collections::HashMap;

use axum::extract::{Path, Query};
use axum::routing::{get, post};
use axum::{Json, Router, http::HeaderName};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tower::Layer;
use tower_versioning::migrate::{Change, ChangeResult, MigrateLayer, Migrations};
use tower_versioning::{ConfigError, Registry, Source, Version, VersionLayer};

const FIRST: Version = Version::literal("2025-03-01");
const CUSTOMERS: Version = Version::literal("2025-09-01");
const MONEY: Version = Version::literal("2026-03-01");

/// As the newest version has it, and the only form that the handlers know.
#[derive(Serialize, Deserialize)]
struct Order {
    #[serde(default)]
    id: u64,
    customer: Customer,
    total: Money,
}

#[derive(Serialize, Deserialize)]
struct Customer {
    name: String,
}

#[derive(Serialize, Deserialize)]
struct Money {
    amount: i64,
    currency: String,
}

fn order(id: u64) -> Order {
    let customer = Customer { name: "Ada Lovelace".to_owned() };
    Order { id, customer, total: Money { amount: 1250, currency: "EUR".to_owned() } }
}

/// 2025-09-01: the customer, a text before, became an object.
fn customers() -> Change {
    Change::new("customers are objects")
        .path("/orders/{id}")
        .path("/orders")
        .request_body(|order| {
            if order["customer"].is_string() {
                order["customer"] = json!({ "name": order["customer"].take() });
            }
            Ok(())
        })
        .response_body(|body| {
            each(body, |order| {
                order["customer"] = order["customer"]["name"].take();
                Ok(())
            })
        })
}

/// 2026-03-01: totals, euros before, became cents with a currency; `limit` became `page_size`.
fn money() -> Change {
    Change::new("totals have a currency")
        .path("/orders/{id}")
        .path("/orders")
        .request_query(|query| {
            query.rename("limit", "page_size");
            Ok(())
        })
        .request_body(|order| {
            if let Some(euros) = order["total"].as_f64() {
                order["total"] = json!({ "amount": (euros * 100.0).round() as i64, "currency": "EUR" });
            }
            Ok(())
        })
        .response_body(|body| {
            each(body, |order| {
                let cents = order["total"]["amount"].as_i64().ok_or("an order without a total")?;
                order["total"] = json!(cents as f64 / 100.0);
                Ok(())
            })
        })
}

/// One order, or a list of them.
fn each(body: &mut Value, change: impl Fn(&mut Value) -> ChangeResult) -> ChangeResult {
    match body.as_array_mut() {
        Some(orders) => orders.iter_mut().try_for_each(change),
        None => change(body),
    }
}

/// The API.
pub fn app() -> Result<Router, ConfigError> {
    let newest = Router::new()
        .route("/orders/{id}", get(async |Path(id): Path<u64>| Json(order(id))))
        .route("/orders", post(async |Json(new): Json<Order>| Json(Order { id: 3, ..new })))
        .route(
            "/orders",
            get(async |page: Query<HashMap<String, u64>>| {
                Json((1..=page.get("page_size").copied().unwrap_or(2)).map(order).collect::<Vec<_>>())
            }),
        );
    let changes = Migrations::builder().change(CUSTOMERS, customers()).change(MONEY, money()).build()?;
    let versions = Registry::builder().version(FIRST, |v| v).version(CUSTOMERS, |v| v).version(MONEY, |v| v);
    let layer = VersionLayer::new(versions.default_latest().build()?)
        .sources([Source::header(HeaderName::from_static("api-version"))]);
    Ok(Router::new().fallback_service(layer.layer(MigrateLayer::new(changes).layer(newest))))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!("listening on http://{}", listener.local_addr()?);
    Ok(axum::serve(listener, app()?).await?)
}

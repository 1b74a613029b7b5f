//! `orders`: two versions of one API over one table; asks `inventory` about stock.

use std::path::PathBuf;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use rusqlite::{OptionalExtension, Row};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::database::Database;
use super::inventory_client::{self, InventoryClient, Stock};
use super::problem::Problem;
use super::{CACHEABLE, Layers, UNCACHEABLE, around};
use crate::BoxError;
use crate::component::{Context, Parts, Serve};
use crate::fault::Fault;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS orders (
        id INTEGER PRIMARY KEY AUTOINCREMENT, article TEXT NOT NULL, quantity INTEGER NOT NULL, customer TEXT NOT NULL);
    INSERT OR IGNORE INTO orders VALUES (1, 'bolt', 12, 'ada'), (2, 'nut', 40, 'grace'), (3, 'washer', 7, 'edsger');
";

/// Configuration of one replica.
#[derive(Debug, Clone)]
pub struct Config {
    /// The database file of the service.
    pub database: PathBuf,
    /// The layers around it.
    pub layers: Layers,
    /// How it calls `inventory`.
    pub inventory: inventory_client::Config,
}

#[derive(Debug, Clone)]
struct Orders {
    database: Database,
    inventory: InventoryClient,
}

#[derive(Debug, Clone)]
struct Order {
    id: i64,
    article: String,
    quantity: u32,
    customer: String,
}

/// What version 1 knew: no customer.
#[derive(Debug, Deserialize)]
struct NewOrderV1 {
    article: String,
    quantity: u32,
}

#[derive(Debug, Deserialize)]
struct NewOrderV2 {
    item: Item,
    customer: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Item {
    article: String,
    quantity: u32,
}

/// One version of the representation.
trait Shape: 'static {
    const VERSION: u16;
    type New: for<'de> Deserialize<'de> + Send;
    fn show(order: Order) -> Value;
    fn read(new: Self::New) -> Order;
}

enum V1 {}
enum V2 {}

impl Shape for V1 {
    const VERSION: u16 = 1;
    type New = NewOrderV1;

    fn show(order: Order) -> Value {
        json!({ "id": order.id, "article": order.article, "quantity": order.quantity })
    }

    fn read(new: NewOrderV1) -> Order {
        Order { id: 0, article: new.article, quantity: new.quantity, customer: "unknown".to_owned() }
    }
}

impl Shape for V2 {
    const VERSION: u16 = 2;
    type New = NewOrderV2;

    fn show(order: Order) -> Value {
        let item = Item { article: order.article, quantity: order.quantity };
        json!({ "id": order.id, "item": item, "customer": order.customer })
    }

    fn read(new: NewOrderV2) -> Order {
        Order { id: 0, article: new.item.article, quantity: new.item.quantity, customer: new.customer }
    }
}

/// Builds one replica.
///
/// # Errors
///
/// When the database cannot be opened or the client of `inventory` cannot be built.
pub async fn build(context: Context, config: Config) -> Result<Parts, BoxError> {
    let database = Database::open(&config.database, SCHEMA).await?;
    let inventory = InventoryClient::new(&config.inventory, &context.observe)?;
    let fault = Fault::default();
    let orders = Orders { database, inventory };
    let api = Router::new().nest("/v1", routes::<V1>()).nest("/v2", routes::<V2>()).with_state(orders);
    Ok(Parts { serve: Serve::Http(around(api, &context, &config.layers, &fault)?), admin: fault.router() })
}

fn routes<S: Shape>() -> Router<Orders> {
    Router::new()
        .route("/orders", get(list::<S>).post(create::<S>))
        .route("/orders/{id}", get(read::<S>).put(replace::<S>).delete(delete))
        .route("/orders/{id}/availability", get(availability))
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<Order> {
    Ok(Order { id: row.get(0)?, article: row.get(1)?, quantity: row.get(2)?, customer: row.get(3)? })
}

async fn list<S: Shape>(State(orders): State<Orders>) -> Result<Response, Problem> {
    let all = orders.database.query(|connection| {
        let mut statement = connection
            .prepare_cached("SELECT id, article, quantity, customer FROM orders ORDER BY id LIMIT 100")?;
        statement.query_map([], from_row)?.collect::<rusqlite::Result<Vec<_>>>()
    });
    let all: Vec<Value> = all.await?.into_iter().map(S::show).collect();
    Ok(([CACHEABLE], Json(all)).into_response())
}

impl Orders {
    async fn find(&self, id: i64) -> Result<Order, Problem> {
        let order = self.database.query(move |connection| {
            connection
                .prepare_cached("SELECT id, article, quantity, customer FROM orders WHERE id = ?1")?
                .query_row([id], from_row)
                .optional()
        });
        order.await?.ok_or(Problem::NotFound)
    }
}

async fn read<S: Shape>(State(orders): State<Orders>, Path(id): Path<i64>) -> Result<Response, Problem> {
    Ok(([CACHEABLE], Json(S::show(orders.find(id).await?))).into_response())
}

async fn create<S: Shape>(
    State(orders): State<Orders>,
    new: Result<Json<S::New>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(new) = new?;
    let mut order = S::read(new);
    // What is promised must be there.
    let stock = orders.inventory.stock_now(&order.article).await.map_err(Problem::Dependency)?;
    if stock.quantity.unwrap_or(0) < u64::from(order.quantity) {
        return Err(Problem::Conflict("not enough of the article in stock"));
    }
    let row = order.clone();
    let inserted = orders.database.query(move |connection| {
        connection.execute(
            "INSERT INTO orders (article, quantity, customer) VALUES (?1, ?2, ?3)",
            (row.article, row.quantity, row.customer),
        )?;
        Ok(connection.last_insert_rowid())
    });
    order.id = inserted.await?;
    let location = format!("/api/v{}/orders/{}", S::VERSION, order.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(S::show(order))).into_response())
}

async fn replace<S: Shape>(
    State(orders): State<Orders>,
    Path(id): Path<i64>,
    new: Result<Json<S::New>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(new) = new?;
    let order = Order { id, ..S::read(new) };
    let row = order.clone();
    let updated = orders.database.query(move |connection| {
        connection.execute(
            "UPDATE orders SET article = ?2, quantity = ?3, customer = ?4 WHERE id = ?1",
            (row.id, row.article, row.quantity, row.customer),
        )
    });
    if updated.await? == 0 { Err(Problem::NotFound) } else { Ok(Json(S::show(order)).into_response()) }
}

async fn delete(State(orders): State<Orders>, Path(id): Path<i64>) -> Result<StatusCode, Problem> {
    let deleted =
        orders.database.query(move |connection| connection.execute("DELETE FROM orders WHERE id = ?1", [id]));
    if deleted.await? == 0 { Err(Problem::NotFound) } else { Ok(StatusCode::NO_CONTENT) }
}

/// Whether the order could be filled from stock. The number is at most a refresh period old, or as old as `inventory` has
/// been gone; who does not want that sends `no-cache`. Never cached as a whole: it is put together anew each time.
async fn availability(
    State(orders): State<Orders>,
    Path(id): Path<i64>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let order = orders.find(id).await?;
    let stock = match wants_the_truth(&headers) {
        true => orders.inventory.stock_now(&order.article).await,
        false => orders.inventory.stock(&order.article).await,
    };
    let Stock { quantity, kept } = stock.map_err(Problem::Dependency)?;
    let stock = quantity.unwrap_or(0);
    let available = stock >= u64::from(order.quantity);
    let body =
        json!({ "id": id, "article": order.article, "available": available, "stock": stock, "kept": kept });
    Ok(([UNCACHEABLE], Json(body)).into_response())
}

/// `Cache-Control: no-cache` (RFC 9111 §5.2.1.4).
fn wants_the_truth(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(header::CACHE_CONTROL).iter().filter_map(|line| line.to_str().ok());
    lines.any(|line| line.split(',').any(|directive| directive.trim().eq_ignore_ascii_case("no-cache")))
}

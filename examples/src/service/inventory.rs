//! `inventory`: how many of an article are in stock.

use std::path::PathBuf;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use rusqlite::OptionalExtension;
use serde::{Deserialize, Serialize};

use super::database::Database;
use super::problem::Problem;
use super::{CACHEABLE, Layers, around};
use crate::BoxError;
use crate::component::{Context, Parts, Serve};
use crate::fault::Fault;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS stock (article TEXT PRIMARY KEY, quantity INTEGER NOT NULL);
    INSERT OR IGNORE INTO stock VALUES ('bolt', 500), ('nut', 300), ('washer', 1000), ('spring', 0);
";

/// Configuration of one replica.
#[derive(Debug, Clone)]
pub struct Config {
    /// The database file of the service.
    pub database: PathBuf,
    /// The layers around it.
    pub layers: Layers,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Stock {
    #[serde(default)]
    article: String,
    quantity: u32,
}

/// Builds one replica.
///
/// # Errors
///
/// When the database cannot be opened.
pub async fn build(context: Context, config: Config) -> Result<Parts, BoxError> {
    let database = Database::open(&config.database, SCHEMA).await?;
    let fault = Fault::default();
    let stock = Router::new()
        .route("/stock", get(list))
        .route("/stock/{article}", get(read).put(replace).delete(delete));
    // Nothing about stock changed between the versions of the API.
    let api = Router::new().nest("/v1", stock.clone()).nest("/v2", stock).with_state(database);
    Ok(Parts { serve: Serve::Http(around(api, &context, &config.layers, &fault)?), admin: fault.router() })
}

async fn list(State(database): State<Database>) -> Result<Response, Problem> {
    let all = database.query(|connection| {
        let mut statement =
            connection.prepare_cached("SELECT article, quantity FROM stock ORDER BY article")?;
        let rows =
            statement.query_map([], |row| Ok(Stock { article: row.get(0)?, quantity: row.get(1)? }))?;
        rows.collect::<rusqlite::Result<Vec<_>>>()
    });
    Ok(([CACHEABLE], Json(all.await?)).into_response())
}

async fn read(State(database): State<Database>, Path(article): Path<String>) -> Result<Response, Problem> {
    let name = article.clone();
    let quantity = database.query(move |connection| {
        connection
            .prepare_cached("SELECT quantity FROM stock WHERE article = ?1")?
            .query_row([name], |row| row.get(0))
            .optional()
    });
    let quantity = quantity.await?.ok_or(Problem::NotFound)?;
    Ok(([CACHEABLE], Json(Stock { article, quantity })).into_response())
}

/// PUT creates or replaces (RFC 9110 §9.3.4).
async fn replace(
    State(database): State<Database>,
    Path(article): Path<String>,
    stock: Result<Json<Stock>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(stock) = stock?;
    let stock = Stock { article, ..stock };
    let row = stock.clone();
    let created = database.query(move |connection| {
        let transaction = connection.transaction()?;
        let known = transaction
            .execute("UPDATE stock SET quantity = ?2 WHERE article = ?1", (&row.article, row.quantity))?;
        if known == 0 {
            transaction.execute("INSERT INTO stock VALUES (?1, ?2)", (&row.article, row.quantity))?;
        }
        transaction.commit()?;
        Ok(known == 0)
    });
    Ok(match created.await? {
        true => {
            let location = format!("/api/v2/stock/{}", stock.article);
            (StatusCode::CREATED, [(header::LOCATION, location)], Json(stock)).into_response()
        }
        false => Json(stock).into_response(),
    })
}

async fn delete(
    State(database): State<Database>,
    Path(article): Path<String>,
) -> Result<StatusCode, Problem> {
    let deleted = database
        .query(move |connection| connection.execute("DELETE FROM stock WHERE article = ?1", [article]));
    if deleted.await? == 0 { Err(Problem::NotFound) } else { Ok(StatusCode::NO_CONTENT) }
}

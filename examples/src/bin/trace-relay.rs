//! The standard validation service for W3C trace context.
//!
//! ```text
//! cargo run --release -p examples --bin trace-relay -- --listen 127.0.0.1:5055
//! ```
//!
//! `POST /test` takes a JSON array of `{"url": …, "arguments": […]}` and posts each item's `arguments` as JSON to its
//! `url`. No line here deals with trace headers: `CorrelationLayer` reads them, `PropagateLayer` writes them.
//! `scripts/trace-context-suite` runs the suite against it.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::{Json, Router, routing::post};
use clap::Parser;
use examples::with_causes;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use serde_json::Value;
use tower::{Layer, ServiceExt};
use tower_correlation::{CorrelationLayer, Propagate, PropagateLayer};

/// Relays calls as the W3C trace context validation suite asks for.
#[derive(Debug, Parser)]
struct Arguments {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

/// One call to make.
#[derive(Debug, Deserialize)]
struct Call {
    url: String,
    arguments: Value,
}

type Outbound = Propagate<Client<HttpConnector, Full<Bytes>>>;

/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(10);

async fn relay(State(client): State<Outbound>, body: Bytes) -> Result<Json<Value>, (StatusCode, String)> {
    let calls: Vec<Call> =
        serde_json::from_slice(&body).map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?;
    for call in calls {
        let request = Request::post(&call.url)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::from(call.arguments.to_string()))
            .map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?;
        match tokio::time::timeout(PATIENCE, client.clone().oneshot(request)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err((StatusCode::BAD_GATEWAY, with_causes(&error))),
            Err(_) => return Err((StatusCode::GATEWAY_TIMEOUT, format!("no answer from {}", call.url))),
        }
    }
    Ok(Json(Value::Null))
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match serve(arguments.listen).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("trace-relay: {}: {error}", arguments.listen);
            ExitCode::from(2)
        }
    }
}

async fn serve(address: SocketAddr) -> std::io::Result<()> {
    let client = PropagateLayer::new().layer(Client::builder(TokioExecutor::new()).build_http());
    let app = Router::new().route("/test", post(relay)).with_state(client).layer(CorrelationLayer::new());
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app)
        .with_graceful_shutdown(async {
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        })
        .await
}

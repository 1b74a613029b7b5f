//! Faults that the admin listener injects: an instance breaks on request, over HTTP, and heals the same way.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

/// What is wrong with an instance; by default nothing is.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Every request is answered with this status.
    pub status: Option<u16>,
    /// Every request waits this long first, in milliseconds.
    pub delay_ms: u64,
    /// Requests are never answered.
    pub hang: bool,
    /// What the store of the response cache does.
    pub store: StoreFault,
}

/// What the store of a response cache does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreFault {
    /// It works.
    #[default]
    Ok,
    /// Every operation fails.
    Fail,
    /// No operation ever ends.
    Hang,
}

/// The faults of one instance; clones are the same ones.
#[derive(Debug, Clone, Default)]
pub struct Fault(Arc<Mutex<Faults>>);

impl Fault {
    /// What is wrong now.
    #[must_use]
    pub fn now(&self) -> Faults {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// `GET /fault` tells, `PUT /fault` replaces; `{}` heals.
    pub fn router(&self) -> Router {
        let replace = async |State(fault): State<Self>, Json(faults): Json<Faults>| {
            *fault.0.lock().unwrap_or_else(PoisonError::into_inner) = faults;
            Json(fault.now())
        };
        let tell = async |State(fault): State<Self>| Json(fault.now());
        Router::new().route("/fault", get(tell).put(replace)).with_state(self.clone())
    }
}

/// Middleware that suffers the faults in front of everything else an instance does.
pub async fn suffer(State(fault): State<Fault>, request: Request, next: Next) -> Response {
    let faults = fault.now();
    if faults.hang {
        std::future::pending::<()>().await;
    }
    if faults.delay_ms > 0 {
        tokio::time::sleep(Duration::from_millis(faults.delay_ms)).await;
    }
    match faults.status.map(StatusCode::from_u16) {
        Some(Ok(status)) => status.into_response(),
        _ => next.run(request).await,
    }
}

//! The token issuer: client credentials (RFC 6749 §4.4), access tokens (RFC 9068), a key set over HTTP (RFC 7517).

mod keys;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::rejection::FormRejection;
use axum::extract::{Form, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use tower_correlation::CorrelationLayer;
use tower_correlation::observe::ObserveLayer;

use crate::BoxError;
use crate::cli::Layer;
use crate::component::{Context, Parts, Serve, stopped};
use crate::fault::{Fault, suffer};
use crate::service::Layers;
use keys::Keys;

/// The audience of every token: the API behind the gateways.
pub const AUDIENCE: &str = "https://api.example";

/// A client that may ask for tokens.
#[derive(Clone)]
pub struct RegisteredClient {
    /// Its `client_id`.
    pub id: String,
    /// Its secret.
    pub secret: String,
    /// What it may ask for; all of it when it asks for nothing in particular.
    pub scopes: Vec<String>,
}

impl std::fmt::Debug for RegisteredClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegisteredClient")
            .field("id", &self.id)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

/// Configuration of the issuer.
#[derive(Debug, Clone)]
pub struct Config {
    /// Who may ask.
    pub clients: Vec<RegisteredClient>,
    /// How long a token lives.
    pub token_life: Duration,
    /// Replaces the signing key on a period; `None`: only when the admin endpoint is asked to.
    pub rotate_every: Option<Duration>,
    /// Which layers are in place.
    pub layers: Layers,
}

struct Issuer {
    url: String,
    config: Config,
    keys: Mutex<Keys>,
    issued: metrics::Counter,
}

impl Issuer {
    fn keys(&self) -> std::sync::MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Builds the issuer; its name in tokens is the URL it serves at.
///
/// # Errors
///
/// When no key can be made.
pub async fn build(context: Context, config: Config) -> Result<Parts, BoxError> {
    let keys = Keys::new(config.token_life)?;
    let (rotate_every, layers) = (config.rotate_every, config.layers.clone());
    let issuer = Arc::new(Issuer {
        url: format!("http://{}", context.address),
        config,
        keys: Mutex::new(keys),
        issued: metrics::counter!("issuer_tokens_total"),
    });
    if let Some(period) = rotate_every {
        tokio::spawn(rotate(issuer.clone(), period, context.stopping.clone()));
    }
    let fault = Fault::default();
    let mut routes = Router::new()
        .route("/token", post(token))
        .route("/jwks.json", get(jwks))
        .route("/.well-known/openid-configuration", get(metadata))
        .route("/.well-known/oauth-authorization-server", get(metadata))
        .with_state(issuer.clone())
        .layer(from_fn_with_state(fault.clone(), suffer));
    if layers.has(Layer::Correlation) {
        routes = routes.layer(ObserveLayer::server(context.observe)).layer(CorrelationLayer::new());
    }
    let admin = Router::new()
        .route("/rotate-keys", post(rotate_keys))
        .route("/remove-key", post(remove_key))
        .with_state(issuer)
        .merge(fault.router());
    Ok(Parts { serve: Serve::Http(routes.route("/health", get(async || "ok"))), admin })
}

#[derive(Deserialize)]
struct TokenRequest {
    grant_type: Option<String>,
    scope: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
}

/// RFC 6749 §4.4.2; answers and errors as §5.1 and §5.2 say.
async fn token(
    State(issuer): State<Arc<Issuer>>,
    headers: HeaderMap,
    form: Result<Form<TokenRequest>, FormRejection>,
) -> Response {
    // A parameter twice, or no form at all.
    let Ok(Form(form)) = form else { return error("invalid_request") };
    if headers.contains_key(header::AUTHORIZATION) && form.client_secret.is_some() {
        // One way to say who asks, not two (RFC 6749 §2.3).
        return error("invalid_request");
    }
    let credentials = basic(&headers).or_else(|| form.client_id.clone().zip(form.client_secret.clone()));
    let Some(client) = credentials.and_then(|(id, secret)| {
        issuer.config.clients.iter().find(|c| c.id == id && same(&c.secret, &secret))
    }) else {
        let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"issuer\"")];
        return (StatusCode::UNAUTHORIZED, challenge, Json(json!({ "error": "invalid_client" })))
            .into_response();
    };
    match form.grant_type.as_deref() {
        Some("client_credentials") => {}
        Some(_) => return error("unsupported_grant_type"),
        None => return error("invalid_request"),
    }
    let asked: Vec<&str> = form.scope.as_deref().unwrap_or_default().split_ascii_whitespace().collect();
    if asked.iter().any(|scope| !client.scopes.iter().any(|allowed| allowed == scope)) {
        return error("invalid_scope");
    }
    let scope = if asked.is_empty() { client.scopes.join(" ") } else { asked.join(" ") };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let life = issuer.config.token_life.as_secs();
    let mut keys = issuer.keys();
    let claims = json!({
        "iss": issuer.url, "sub": client.id, "client_id": client.id, "aud": AUDIENCE, "scope": scope,
        "iat": now, "exp": now + life, "jti": keys.token_id(),
    });
    match keys.sign(&claims) {
        Ok(token) => {
            issuer.issued.increment(1);
            let body =
                json!({ "access_token": token, "token_type": "Bearer", "expires_in": life, "scope": scope });
            ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "a token could not be signed");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

fn error(code: &str) -> Response {
    (StatusCode::BAD_REQUEST, [(header::CACHE_CONTROL, "no-store")], Json(json!({ "error": code })))
        .into_response()
}

/// Client id and secret of `Authorization: Basic`, both form-urlencoded inside (RFC 6749 §2.3.1).
fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    use base64::Engine;
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded.trim()).ok()?;
    let decoded = String::from_utf8(decoded).ok()?;
    let (id, secret) = decoded.split_once(':')?;
    let decode = |text: &str| {
        percent_encoding::percent_decode_str(&text.replace('+', " ")).decode_utf8().ok().map(Cow::into_owned)
    };
    Some((decode(id)?, decode(secret)?))
}

/// Compares without saying by its time where the first difference is.
fn same(left: &str, right: &str) -> bool {
    left.len() == right.len() && left.bytes().zip(right.bytes()).fold(0, |diff, (l, r)| diff | (l ^ r)) == 0
}

async fn jwks(State(issuer): State<Arc<Issuer>>) -> Response {
    let set = issuer.keys().public(SystemTime::now());
    ([(header::CACHE_CONTROL, "public, max-age=300")], Json(set)).into_response()
}

/// RFC 8414 and OpenID Connect Discovery.
async fn metadata(State(issuer): State<Arc<Issuer>>) -> Json<Value> {
    let url = &issuer.url;
    Json(json!({
        "issuer": url,
        "token_endpoint": format!("{url}/token"),
        "jwks_uri": format!("{url}/jwks.json"),
        "grant_types_supported": ["client_credentials"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "response_types_supported": [],
    }))
}

async fn rotate(issuer: Arc<Issuer>, period: Duration, stopping: tokio::sync::watch::Receiver<bool>) {
    let mut stop = std::pin::pin!(stopped(stopping));
    loop {
        tokio::select! {
            () = tokio::time::sleep(period) => {}
            () = &mut stop => return,
        }
        if let Err(error) = issuer.keys().rotate(SystemTime::now()) {
            tracing::error!(%error, "the signing key could not be replaced");
        }
    }
}

async fn rotate_keys(State(issuer): State<Arc<Issuer>>) -> Response {
    match issuer.keys().rotate(SystemTime::now()) {
        Ok((old, new)) => Json(json!({ "old": old, "new": new })).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// `{"kid": …}`: the key leaves the set at once, whatever it signed.
async fn remove_key(
    State(issuer): State<Arc<Issuer>>,
    Json(body): Json<HashMap<String, String>>,
) -> Response {
    let Some(kid) = body.get("kid") else { return StatusCode::BAD_REQUEST.into_response() };
    match issuer.keys().remove(kid) {
        true => Json(json!({ "removed": kid })).into_response(),
        false => (StatusCode::CONFLICT, Json(json!({ "error": "no such key, or it is the one that signs" })))
            .into_response(),
    }
}

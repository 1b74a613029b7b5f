//! How `orders` calls `inventory`: through the balancer and a gateway, with a token of its own, under the caller's
//! correlation id, in the standard stack of timeouts, bulkhead, retries and a circuit breaker, and as a version that is
//! stamped on each call and warns when it ages. What it answered is kept in a private cache and renewed every second
//! while somebody wants it, so that most questions cost no call, and none while `inventory` is gone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::time::Instant;
use tower::util::BoxCloneSyncService;
use tower::{Layer as _, ServiceExt};
use tower_auth::client::{BearerLayer, ClientCredentials};
use tower_breaker::retry::ReplayBody;
use tower_breaker::stack::StandardLayer;
use tower_cache::{Cache, CacheLayer, CacheOutcome, CacheService, MemoryStore};
use tower_correlation::observe::{Observe, ObserveLayer};
use tower_correlation::{Correlation, PropagateLayer};
use tower_versioning::Version;
use tower_versioning::client::ClientVersionLayer;

use super::Layers;
use crate::cli::Layer;
use crate::{BoxError, with_causes};

/// How long one call may take.
const TIMEOUT: Duration = Duration::from_secs(3);
/// What `orders` was written against, and nobody has moved it yet: its logs say once a day that it should be.
const INVENTORY: Version = Version::major(1);
/// More than any answer of `inventory`.
const MAX_ANSWER: usize = 64 << 10;
/// Bytes that kept answers may take.
const CACHE_BYTES: u64 = 4 << 20;
/// How often kept answers are renewed. Short, so that a tour sees it happen.
pub(crate) const REFRESH: Duration = Duration::from_secs(1);
/// How long an article is kept after somebody asked for it.
const WANTED: Duration = Duration::from_secs(60);
/// Articles that are kept at most.
const MAX_WANTED: usize = 64;
/// How long an answer is good that could not be renewed: an old number is better than none for an estimate.
const STALE: Duration = Duration::from_secs(600);

/// Where `inventory` is and who is asking.
#[derive(Clone)]
pub struct Config {
    /// The uniform address of all services.
    pub balancer: Uri,
    /// The token issuer.
    pub issuer: Uri,
    /// Who asks for tokens.
    pub client_id: String,
    /// That client's secret.
    pub client_secret: String,
    /// Which layers are in place.
    pub layers: Layers,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("balancer", &self.balancer)
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

type Http = BoxCloneSyncService<Request<Body>, Response<Body>, BoxError>;

/// What `inventory` has of an article.
#[derive(Debug, Clone, Copy)]
pub struct Stock {
    /// How many; `None` when it does not know the article.
    pub quantity: Option<u64>,
    /// Whether nobody was asked: an answer from before.
    pub kept: bool,
}

/// A client of `inventory`.
#[derive(Debug, Clone)]
pub struct InventoryClient {
    http: Http,
    stock: String,
    wanted: Wanted,
}

impl InventoryClient {
    /// Builds the client; nothing is sent yet. Answers are renewed by a task that ends with the runtime.
    ///
    /// # Errors
    ///
    /// What is wrong with the configuration.
    pub fn new(config: &Config, observe: &Observe) -> Result<Self, BoxError> {
        let http = calls(config, observe)?;
        // Without stamps the path says the version.
        let path = if config.layers.has(Layer::Versioning) { "/api/stock" } else { "/api/v2/stock" };
        let stock = format!("{}{path}", config.balancer.to_string().trim_end_matches('/'));
        let wanted = Wanted::default();
        let http = match config.layers.has(Layer::Cache) {
            true => kept(http, &wanted)?,
            false => http,
        };
        Ok(Self { http, stock, wanted })
    }

    /// What there was of the article lately, and is now if nothing is known yet.
    ///
    /// # Errors
    ///
    /// Why there is no answer.
    pub async fn stock(&self, article: &str) -> Result<Stock, String> {
        let uri = self.uri(article);
        self.wanted.note(&uri);
        in_time(self.ask(Request::get(uri).body(Body::empty()))).await
    }

    /// What there is of the article now, whatever is kept here and on the way.
    ///
    /// # Errors
    ///
    /// Why there is no answer.
    pub async fn stock_now(&self, article: &str) -> Result<Stock, String> {
        in_time(self.ask(validated(&self.uri(article)))).await
    }

    fn uri(&self, article: &str) -> String {
        let article = percent_encoding::utf8_percent_encode(article, percent_encoding::NON_ALPHANUMERIC);
        format!("{}/{article}", self.stock)
    }

    async fn ask(&self, request: http::Result<Request<Body>>) -> Result<Stock, BoxError> {
        let response = self.http.clone().oneshot(request?).await?;
        let outcome = response.extensions().get::<CacheOutcome>().map(CacheOutcome::as_str);
        let kept = matches!(outcome, Some("hit" | "stale"));
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(Stock { quantity: None, kept }),
            other => return Err(format!("answered {other}").into()),
        }
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await?.to_bytes();
        let stock: serde_json::Value = serde_json::from_slice(&body)?;
        let quantity = stock["quantity"].as_u64().ok_or("an answer without quantity")?;
        Ok(Stock { quantity: Some(quantity), kept })
    }
}

async fn in_time(answer: impl Future<Output = Result<Stock, BoxError>>) -> Result<Stock, String> {
    match tokio::time::timeout(TIMEOUT, answer).await {
        Ok(answer) => answer.map_err(|error| format!("inventory: {}", with_causes(&*error))),
        Err(_) => Err("inventory: no answer in time".to_owned()),
    }
}

/// A request that no cache on the way answers by itself (RFC 9111 §5.2.1.4).
fn validated(uri: &str) -> http::Result<Request<Body>> {
    let no_cache = HeaderValue::from_static("no-cache");
    Request::get(uri).header(header::CACHE_CONTROL, no_cache).body(Body::empty())
}

/// The private cache around the calls, and the task that renews what is wanted.
fn kept(http: Http, wanted: &Wanted) -> Result<Http, BoxError> {
    let cache = Cache::builder()
        .private()
        .store(MemoryStore::new(CACHE_BYTES))
        .stale_if_error(STALE)
        .stale_if_unreachable(STALE)
        .build()?;
    let kept: CacheService<Http> = CacheLayer::new(cache).layer(http);
    let wanted = wanted.clone();
    let requests = move || wanted.now().iter().filter_map(|uri| renewal(uri)).collect();
    tokio::spawn(kept.clone().refresher(REFRESH, requests));
    Ok(BoxCloneSyncService::new(kept.map_response(|response| response.map(Body::new))))
}

/// Nobody's request caused it: it has an id of its own.
fn renewal(uri: &str) -> Option<Request<Body>> {
    let mut request = validated(uri).ok()?;
    request.extensions_mut().insert(Correlation::generate());
    Some(request)
}

/// What is to be kept fresh: what was asked for lately.
#[derive(Debug, Clone, Default)]
struct Wanted(Arc<Mutex<HashMap<String, Instant>>>);

impl Wanted {
    fn note(&self, uri: &str) {
        let mut wanted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // When there are too many, the others stay until nobody wants them any more.
        if wanted.len() < MAX_WANTED || wanted.contains_key(uri) {
            wanted.insert(uri.to_owned(), Instant::now());
        }
    }

    fn now(&self) -> Vec<String> {
        let mut wanted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        wanted.retain(|_, last| last.elapsed() < WANTED);
        wanted.keys().cloned().collect()
    }
}

/// The calls themselves, counted as they go out.
fn calls(config: &Config, observe: &Observe) -> Result<Http, BoxError> {
    let sent = metrics::counter!("inventory_calls_total");
    let answered = metrics::counter!("inventory_calls_answered_total");
    let refused = metrics::counter!("inventory_calls_refused_total");
    let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
    let client = client.map_response(|response| response.map(Body::new)).map_err(BoxError::from);
    let client = client
        .map_request(move |request| {
            sent.increment(1);
            request
        })
        .map_response(move |response: Response<Body>| {
            answered.increment(1);
            refused.increment(u64::from(response.status() == StatusCode::UNAUTHORIZED));
            response
        });
    let mut http: Http = BoxCloneSyncService::new(client);
    if config.layers.has(Layer::Versioning) {
        http = BoxCloneSyncService::new(ClientVersionLayer::new(INVENTORY).layer(http));
    }
    if config.layers.has(Layer::Auth) {
        http = with_token(config, http)?;
    }
    if config.layers.has(Layer::Breaker) {
        http = guarded(http)?;
    }
    http = match config.layers.has(Layer::Correlation) {
        true => {
            let observe = ObserveLayer::client(observe.clone()).route("inventory");
            let observed = observe.layer(PropagateLayer::new().layer(http));
            BoxCloneSyncService::new(observed.map_response(|response| response.map(Body::new)))
        }
        false => http,
    };
    Ok(http)
}

/// With a token of this service's own.
fn with_token(config: &Config, http: Http) -> Result<Http, BoxError> {
    let issuer = config.issuer.to_string();
    let token_endpoint = format!("{}/token", issuer.trim_end_matches('/')).parse()?;
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let tokens = ClientCredentials::builder(token_endpoint, &config.client_id, &config.client_secret, client)
        .scope("inventory:read")
        .build()?;
    let bearer = BearerLayer::new(tokens).layer(http);
    Ok(BoxCloneSyncService::new(bearer.map_err(tower_auth::client::Error::into_box)))
}

/// In a bulkhead, behind a breaker, with another attempt.
fn guarded(http: Http) -> Result<Http, BoxError> {
    let standard = StandardLayer::builder("inventory")
        .total_timeout(TIMEOUT)
        .attempt_timeout(TIMEOUT)
        .breaker(|breaker| breaker.open_for(Duration::from_secs(1)))
        // Behind the gateway, which has tried another replica already.
        .max_attempts(2)
        .build()?
        .boxed_errors();
    let inner = http.map_request(|request: Request<ReplayBody<Body>>| request.map(Body::new));
    Ok(BoxCloneSyncService::new(standard.layer(inner).map_response(|response| response.map(Body::new))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_wanted_is_bounded_and_forgotten_after_a_while() {
        let wanted = Wanted::default();
        for article in 0..MAX_WANTED + 10 {
            wanted.note(&article.to_string());
        }
        assert_eq!(wanted.now().len(), MAX_WANTED);
        tokio::time::advance(WANTED / 2).await;
        wanted.note("0");
        tokio::time::advance(WANTED / 2).await;
        assert_eq!(wanted.now(), ["0"]);
    }
}

//! How `orders` calls `inventory`: through the balancer and a gateway, with a token of its own, under the caller's
//! correlation id, in the standard stack of timeouts, bulkhead, retries and a circuit breaker, and as a version that is
//! stamped on each call and warns when it ages.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tower::util::BoxCloneSyncService;
use tower::{Layer as _, ServiceExt};
use tower_auth::client::{BearerLayer, ClientCredentials};
use tower_breaker::retry::ReplayBody;
use tower_breaker::stack::StandardLayer;
use tower_correlation::PropagateLayer;
use tower_correlation::observe::{Observe, ObserveLayer};
use tower_versioning::Version;
use tower_versioning::client::ClientVersionLayer;

use super::Layers;
use crate::BoxError;
use crate::cli::Layer;

/// How long one call may take.
const TIMEOUT: Duration = Duration::from_secs(3);
/// What `orders` was written against, and nobody has moved it yet: its logs say once a day that it should be.
const INVENTORY: Version = Version::major(1);
/// More than any answer of `inventory`.
const MAX_ANSWER: usize = 64 << 10;

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

/// A client of `inventory`.
#[derive(Debug, Clone)]
pub struct InventoryClient {
    http: Http,
    stock: String,
}

impl InventoryClient {
    /// Builds the client; nothing is sent yet.
    ///
    /// # Errors
    ///
    /// What is wrong with the configuration.
    pub fn new(config: &Config, observe: &Observe) -> Result<Self, BoxError> {
        let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
        let client = client.map_response(|response| response.map(Body::new)).map_err(BoxError::from);
        let mut http: Http = BoxCloneSyncService::new(client);
        if config.layers.has(Layer::Versioning) {
            http = BoxCloneSyncService::new(ClientVersionLayer::new(INVENTORY).layer(http));
        }
        if config.layers.has(Layer::Auth) {
            let issuer = config.issuer.to_string();
            let token_endpoint = format!("{}/token", issuer.trim_end_matches('/')).parse()?;
            let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
            let tokens =
                ClientCredentials::builder(token_endpoint, &config.client_id, &config.client_secret, client)
                    .scope("inventory:read")
                    .build()?;
            http = BoxCloneSyncService::new(
                BearerLayer::new(tokens).layer(http).map_err(tower_auth::client::Error::into_box),
            );
        }
        if config.layers.has(Layer::Breaker) {
            let standard = StandardLayer::builder("inventory")
                .total_timeout(TIMEOUT)
                .attempt_timeout(TIMEOUT)
                .breaker(|breaker| breaker.open_for(Duration::from_secs(1)))
                // Behind the gateway, which has tried another replica already.
                .max_attempts(2)?
                .build()?
                .boxed_errors();
            let inner = http.map_request(|request: Request<ReplayBody<Body>>| request.map(Body::new));
            let stack = standard.layer(inner).map_response(|response| response.map(Body::new));
            http = BoxCloneSyncService::new(stack);
        }
        let http = match config.layers.has(Layer::Correlation) {
            true => {
                let observe = ObserveLayer::client(observe.clone()).route("inventory");
                let observed = observe.layer(PropagateLayer::new().layer(http));
                BoxCloneSyncService::new(observed.map_response(|response| response.map(Body::new)))
            }
            false => http,
        };
        // Without stamps the path says the version.
        let path = if config.layers.has(Layer::Versioning) { "/api/stock" } else { "/api/v2/stock" };
        let stock = format!("{}{path}", config.balancer.to_string().trim_end_matches('/'));
        Ok(Self { http, stock })
    }

    /// How many of the article there are; `None` when `inventory` does not know it.
    ///
    /// # Errors
    ///
    /// Why there is no answer.
    pub async fn stock(&self, article: &str) -> Result<Option<u64>, String> {
        match tokio::time::timeout(TIMEOUT, self.ask(article)).await {
            Ok(answer) => answer.map_err(|error| format!("inventory: {error}")),
            Err(_) => Err("inventory: no answer in time".to_owned()),
        }
    }

    async fn ask(&self, article: &str) -> Result<Option<u64>, BoxError> {
        let article = percent_encoding::utf8_percent_encode(article, percent_encoding::NON_ALPHANUMERIC);
        let uri = format!("{}/{article}", self.stock);
        let response = self.http.clone().oneshot(Request::get(uri).body(Body::empty())?).await?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            other => return Err(format!("answered {other}").into()),
        }
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await?.to_bytes();
        let stock: serde_json::Value = serde_json::from_slice(&body)?;
        Ok(Some(stock["quantity"].as_u64().ok_or("an answer without quantity")?))
    }
}

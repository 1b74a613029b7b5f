//! The replicas of one service: each behind a breaker of its own, and a second attempt on another one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, Request, StatusCode, header};
use axum::response::Response;
use futures_util::future::{BoxFuture, FutureExt};
use tower::util::BoxCloneSyncService;
use tower::{Layer as _, Service, ServiceExt};
use tower_breaker::retry::{Attempt, AttemptTimeoutLayer, HttpPolicy, ReplayBody, RetryLayer};
use tower_breaker::{Breaker, Bulkhead, HttpBreakerLayer, HttpBulkheadLayer};
use tower_correlation::PropagateLayer;
use tower_correlation::observe::ObserveLayer;
use tower_versioning::ApiVersion;

use super::{Upstream, refused};
use crate::BoxError;
use crate::cli::Layer;
use crate::component::Context as Component;
use crate::proxy::{self, Forward};
use crate::service::Layers;

/// How long one attempt on one replica may take until its answer begins.
const ATTEMPT: Duration = Duration::from_secs(1);
/// How long a breaker stays open.
const OPEN: Duration = Duration::from_secs(1);
/// Calls in ten seconds before a breaker judges; half of them failing opens it. So many in a row do at once: after a good
/// and busy time half of ten seconds is a long wait.
const MIN_CALLS: u32 = 5;

/// Calls of one replica under way at once: one that is slow leaves the others, and other services, their share of the
/// gateway. Each service has a size of its own; few outside ask for `inventory`, and `orders` keeps what it answered.
fn calls_at_once(service: &str) -> usize {
    if service == "inventory" { 16 } else { 64 }
}

/// Fields by which some frameworks take another method or target for the one that was judged here.
const DISGUISES: [&str; 5] =
    ["x-http-method-override", "x-http-method", "x-method-override", "x-original-url", "x-rewrite-url"];

type Endpoint = BoxCloneSyncService<Request<Body>, Response, BoxError>;

/// The replicas of one service as one service that always answers.
#[derive(Debug, Clone)]
pub(super) struct Replicas {
    service: Endpoint,
}

impl Replicas {
    pub(super) fn new(
        gateway: &Component,
        upstreams: &[Upstream],
        layers: &Layers,
    ) -> Result<Self, BoxError> {
        let endpoints = upstreams.iter().map(|upstream| endpoint(gateway, upstream, layers));
        let picker = Picker { endpoints: endpoints.collect::<Result<_, _>>()?, turn: Arc::default() };
        let service = match layers.has(Layer::Breaker) {
            // One more attempt for what is safe to repeat; the picker takes another replica for it.
            true => {
                let picker = picker.map_request(|request: Request<ReplayBody<Body>>| request.map(Body::new));
                let policy = HttpPolicy::builder().retried_status(worth_another_replica).build()?;
                boxed(RetryLayer::new(policy).boxed_errors().layer(picker))
            }
            false => boxed(picker),
        };
        Ok(Self { service })
    }
}

/// What another replica may do better: also an error of this one's own.
fn worth_another_replica(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502..=504)
}

/// One replica: bulkhead → breaker → attempt timeout → stamps of this attempt → connection.
fn endpoint(gateway: &Component, upstream: &Upstream, layers: &Layers) -> Result<Endpoint, BoxError> {
    let forward = Forward::<Body>::new(&upstream.url, &gateway.name)?.map_request(internal);
    let mut endpoint = boxed(forward);
    if layers.has(Layer::Correlation) {
        endpoint = boxed(PropagateLayer::new().layer(endpoint));
        let observe = ObserveLayer::client(gateway.observe.clone()).route(&upstream.instance);
        endpoint = boxed(observe.layer(endpoint));
    }
    if layers.has(Layer::Breaker) {
        let breaker = Breaker::builder(upstream.instance.clone())
            .failure_rate(0.5)
            .min_calls(MIN_CALLS)
            .consecutive_failures(MIN_CALLS)
            .open_for(OPEN)
            .probes(1)
            .build()?;
        endpoint = boxed(AttemptTimeoutLayer::new(ATTEMPT)?.layer(endpoint));
        endpoint = boxed(HttpBreakerLayer::new(breaker).layer(endpoint));
        let bulkhead =
            Bulkhead::builder(upstream.instance.clone()).limit(calls_at_once(&upstream.service)).build()?;
        endpoint = boxed(HttpBulkheadLayer::new(bulkhead).layer(endpoint));
    }
    Ok(endpoint)
}

fn boxed<S, B>(service: S) -> Endpoint
where
    S: Service<Request<Body>, Response = http::Response<B>> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    BoxCloneSyncService::new(service.map_response(|response| response.map(Body::new)).map_err(Into::into))
}

/// `/api/orders/1` of version 2 is `/v2/orders/1` inside; the token stays at the gateway.
fn internal(mut request: Request<Body>) -> Request<Body> {
    let version =
        request.extensions().get::<ApiVersion>().map_or(2, |version| version.version().major_number());
    let outside = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let inside = format!("/v{version}{}", outside.strip_prefix("/api").unwrap_or(outside));
    super::replace_path(&mut request, &inside);
    let headers = request.headers_mut();
    headers.remove(header::AUTHORIZATION);
    for disguise in DISGUISES {
        headers.remove(disguise);
    }
    request
}

/// Sends each attempt to the next replica in turn that the request has not tried yet.
#[derive(Clone)]
struct Picker {
    endpoints: Arc<[Endpoint]>,
    turn: Arc<AtomicUsize>,
}

impl Service<Request<Body>> for Picker {
    type Response = Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let count = self.endpoints.len();
        let attempt = request.extensions().get::<Attempt>();
        let untried = |index: &usize| attempt.is_none_or(|attempt| !attempt.has_tried(*index as u64));
        let index = (0..count).map(|step| (turn + step) % count).find(untried).unwrap_or(turn % count);
        // Marked, the next attempt is made at once and elsewhere. With one replica there is no other.
        if let Some(attempt) = attempt.filter(|_| count > 1) {
            attempt.mark(index as u64);
        }
        self.endpoints[index].clone().oneshot(request).boxed()
    }
}

impl Service<Request<Body>> for Replicas {
    type Response = Response;
    type Error = std::convert::Infallible;
    type Future = BoxFuture<'static, Result<Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let service = self.service.clone();
        // Before anything is added: the client's `Connection` has no say in that.
        proxy::end_connection(request.headers_mut());
        async move {
            Ok(service.oneshot(request).await.unwrap_or_else(|error| {
                if proxy::is_clients_fault(&*error) {
                    return refused(StatusCode::BAD_REQUEST, "the content broke off or cannot be read");
                }
                tracing::warn!(%error, "no replica answered");
                unavailable(StatusCode::BAD_GATEWAY, "no replica answered")
            }))
        }
        .boxed()
    }
}

/// Trouble behind the gateway: worth another try later.
pub(super) fn unavailable(status: StatusCode, title: &str) -> Response {
    let mut response = refused(status, title);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

use bytes::Bytes;
use http_body_util::Full;
use tower_breaker::bulkhead::{
    BulkheadBody, BulkheadBuilder, BulkheadPermit, BulkheadService, HttpBulkheadService,
};
use tower_breaker::classify::HttpClassifier;
use tower_breaker::fallback::{
    FallbackBody, FallbackLayer, FallbackService, HttpFallbackLayer, HttpFallbackService,
};
use tower_breaker::keyed::{ByKey, HttpKeyedBreakerService, KeyedBreakerService};
use tower_breaker::layer::{BreakerService, HttpBreakerService, ResponseFuture};
use tower_breaker::{
    Breaker, BreakerBuilder, BreakerLayer, Bulkhead, BulkheadLayer, ConfigError, Error, GuardedBody,
    HttpBreakerLayer, HttpBulkheadLayer, HttpKeyedBreakerLayer, KeyedBreaker, KeyedBreakerLayer, Permit,
    Rejected, ResponseBody,
};

fn send<T: Send>() {}
fn shared<T: Send + Sync + Clone + 'static>() {}
fn unpin<T: Unpin>() {}
fn error<T: std::error::Error + Send + Sync + 'static>() {}

type Inner = fn(u8) -> u8;
type Keys = ByKey<String, Inner>;
type Body = ResponseBody<GuardedBody<Full<Bytes>, HttpClassifier>>;

#[test]
fn they_hold() {
    shared::<(Breaker, Bulkhead, KeyedBreaker<String>, BreakerBuilder, BulkheadBuilder)>();
    shared::<(BreakerLayer, HttpBreakerLayer, BulkheadLayer, HttpBulkheadLayer)>();
    shared::<(KeyedBreakerLayer<Keys>, HttpKeyedBreakerLayer<Keys>)>();
    shared::<(FallbackLayer<Inner>, HttpFallbackLayer<Inner>)>();
    shared::<(FallbackService<Inner, Inner>, HttpFallbackService<Inner, Inner>)>();
    shared::<(BreakerService<Inner>, HttpBreakerService<Inner>)>();
    shared::<(BulkheadService<Inner>, HttpBulkheadService<Inner>)>();
    shared::<(KeyedBreakerService<Inner, Keys>, HttpKeyedBreakerService<Inner, Keys>)>();
    send::<(Permit, BulkheadPermit, Body, BulkheadBody<Full<Bytes>>)>();
    send::<ResponseFuture<std::future::Ready<Result<u8, u8>>, HttpClassifier>>();
    unpin::<(Breaker, Permit, Body, BulkheadBody<Full<Bytes>>)>();
    error::<ConfigError>();
    error::<Rejected>();
    error::<Error<std::io::Error>>();
}

/// Layers around ours, such as those for CORS and timeouts of tower-http, answer with an empty one.
#[test]
fn bodies_have_a_default() {
    fn is_empty<B: Default + http_body::Body>() -> bool {
        B::default().is_end_stream()
    }
    assert!(is_empty::<Body>() && is_empty::<GuardedBody<Full<Bytes>, HttpClassifier>>());
    assert!(is_empty::<BulkheadBody<Full<Bytes>>>() && is_empty::<FallbackBody<Full<Bytes>, Body>>());
}

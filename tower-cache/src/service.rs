//! The service.

use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::body::ResponseBody;
use crate::cache::Cache;
use crate::error::BoxError;
use crate::future::ResponseFuture;

/// A service with a [`Cache`] in front of it.
///
/// The inner service must be `Clone`, because a request that waits for a slow store or for another request takes the
/// instance that was polled ready with it; its future and response body must be `Send + 'static`, because a fill that
/// others wait for goes on in the background when its own request is dropped.
#[derive(Debug, Clone)]
pub struct CacheService<S> {
    pub(crate) inner: S,
    pub(crate) cache: Cache,
    /// Whether a stored response gives the readiness of `inner` back.
    release: bool,
}

impl<S> CacheService<S> {
    pub(crate) fn new(inner: S, cache: Cache, release: bool) -> Self {
        Self { inner, cache, release }
    }
}

impl<S, ReqB, ResB> Service<Request<ReqB>> for CacheService<S>
where
    S: Service<Request<ReqB>, Response = Response<ResB>> + Clone,
    S::Future: Send + 'static,
    ResB: Body<Data = Bytes> + Send + 'static,
    ResB::Error: Into<BoxError>,
{
    type Response = Response<ResponseBody<ResB>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, S::Future, ReqB, ResB>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
        let future = ResponseFuture::begin(&self.cache.inner, &mut self.inner, request);
        if self.release && future.is_answered() {
            let clone = self.inner.clone();
            self.inner = clone;
        }
        future
    }
}

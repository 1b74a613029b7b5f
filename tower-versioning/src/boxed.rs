//! Services of different types behind one, for routers of mixed stacks.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tower_service::Service;

type BoxFuture<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// A service of any type, boxed: `Clone`, `Send` and `Sync`, as axum asks. One allocation for each clone and call.
///
/// [`VersionRouter`](crate::VersionRouter) of these serves versions that are stacks of different types.
pub struct BoxedService<R, T, E> {
    inner: Box<dyn Boxed<R, T, E>>,
}

trait Boxed<R, T, E>: Send + Sync {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), E>>;
    fn call(&mut self, request: R) -> BoxFuture<T, E>;
    fn boxed(&self) -> Box<dyn Boxed<R, T, E>>;
}

impl<S, R> Boxed<R, S::Response, S::Error> for S
where
    S: Service<R> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Service::poll_ready(self, cx)
    }

    fn call(&mut self, request: R) -> BoxFuture<S::Response, S::Error> {
        Box::pin(Service::call(self, request))
    }

    fn boxed(&self) -> Box<dyn Boxed<R, S::Response, S::Error>> {
        Box::new(self.clone())
    }
}

impl<R, T, E> BoxedService<R, T, E> {
    /// Boxes a service.
    #[must_use]
    pub fn new<S>(service: S) -> Self
    where
        S: Service<R, Response = T, Error = E> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        R: 'static,
    {
        Self { inner: Box::new(service) }
    }
}

impl<R, T, E> Clone for BoxedService<R, T, E> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.boxed() }
    }
}

impl<R, T, E> fmt::Debug for BoxedService<R, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BoxedService")
    }
}

impl<R, T, E> Service<R> for BoxedService<R, T, E> {
    type Response = T;
    type Error = E;
    type Future = BoxFuture<T, E>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), E>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        self.inner.call(request)
    }
}

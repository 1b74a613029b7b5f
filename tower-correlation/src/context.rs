//! What is known of the request at hand, and how code without the request gets at it.

use std::sync::Arc;

use crate::policy::id::CorrelationId;
use crate::policy::inbound::Origin;
use crate::policy::trace::TraceParent;

/// The identity of a request: its id, where that came from, and its place in a trace. Cheap to clone; the one entry
/// that [`CorrelationLayer`](crate::CorrelationLayer) puts into a request's extensions. Keep it in a queued message and
/// [`scope`](crate::scope) the work that handles the message.
#[derive(Debug, Clone)]
pub struct Correlation(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: CorrelationId,
    origin: Origin,
    parent: Option<TraceParent>,
    trace: TraceParent,
    state: Option<String>,
}

impl Correlation {
    pub(crate) fn new(
        id: CorrelationId,
        origin: Origin,
        parent: Option<TraceParent>,
        trace: TraceParent,
        state: Option<String>,
    ) -> Self {
        Self(Arc::new(Inner { id, origin, parent, trace, state }))
    }

    /// The id that follows the request through all services.
    #[must_use]
    pub fn id(&self) -> &CorrelationId {
        &self.0.id
    }

    /// Whether the caller named it, or why not.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.0.origin
    }

    /// The caller's span, when it sent a valid `traceparent`.
    #[must_use]
    pub fn parent(&self) -> Option<TraceParent> {
        self.0.parent
    }

    /// This hop's own span: the caller's trace, or a new one.
    #[must_use]
    pub fn trace(&self) -> TraceParent {
        self.0.trace
    }

    /// The caller's `tracestate`, when it was valid: what other tracing systems passed along.
    #[must_use]
    pub fn tracestate(&self) -> Option<&str> {
        self.0.state.as_deref()
    }
}

#[cfg(feature = "tokio")]
mod ambient {
    use std::future::Future;

    use tokio::task::{JoinHandle, futures::TaskLocalFuture};

    use super::Correlation;

    tokio::task_local! {
        static CURRENT: Correlation;
    }

    /// The correlation of the request that this task works on, if any.
    #[must_use]
    pub fn current() -> Option<Correlation> {
        CURRENT.try_with(Clone::clone).ok()
    }

    /// Runs `future` as part of `correlation`.
    pub fn scope<F: Future>(correlation: Correlation, future: F) -> TaskLocalFuture<Correlation, F> {
        CURRENT.scope(correlation, future)
    }

    pub(crate) fn sync_scope<T>(correlation: &Correlation, work: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(correlation.clone(), work)
    }

    /// [`tokio::spawn`] that takes the current correlation along; tokio itself does not.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime, as [`tokio::spawn`].
    pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        match current() {
            Some(correlation) => tokio::spawn(scope(correlation, future)),
            None => tokio::spawn(future),
        }
    }

    /// [`tokio::task::spawn_blocking`] that takes the current correlation along.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime, as [`tokio::task::spawn_blocking`].
    pub fn spawn_blocking<T, F>(work: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        match current() {
            Some(correlation) => tokio::task::spawn_blocking(move || sync_scope(&correlation, work)),
            None => tokio::task::spawn_blocking(work),
        }
    }
}

#[cfg(feature = "tokio")]
pub(crate) use ambient::sync_scope;
#[cfg(feature = "tokio")]
pub use ambient::{current, scope, spawn, spawn_blocking};

#[cfg(not(feature = "tokio"))]
pub(crate) fn sync_scope<T>(_: &Correlation, work: impl FnOnce() -> T) -> T {
    work()
}

#[cfg(feature = "axum")]
impl<S: Sync> axum_core::extract::FromRequestParts<S> for Correlation {
    type Rejection = MissingLayer;

    async fn from_request_parts(parts: &mut http::request::Parts, _: &S) -> Result<Self, MissingLayer> {
        parts.extensions.get().cloned().ok_or(MissingLayer)
    }
}

/// A handler asks for the [`Correlation`], and no layer put one there: a mistake of the program, answered with 500.
#[cfg(feature = "axum")]
#[derive(Debug, Clone, Copy)]
pub struct MissingLayer;

#[cfg(feature = "axum")]
impl axum_core::response::IntoResponse for MissingLayer {
    fn into_response(self) -> axum_core::response::Response {
        http::StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}

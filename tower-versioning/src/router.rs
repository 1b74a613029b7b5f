//! Several services of one type, one of which serves a request.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use http::Request;
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::error::ConfigError;
use crate::policy::range::VersionRange;
use crate::policy::version::Version;
use crate::resolved::ApiVersion;

/// Sends each request to the service of its resolved version, and to the fallback when there is none. Only the chosen
/// service is waited for.
#[derive(Debug, Clone)]
pub struct VersionRouter<S> {
    routes: Vec<(Version, S)>,
    ranges: Vec<(VersionRange, S)>,
    neutral: Option<S>,
    fallback: S,
}

impl<S> VersionRouter<S> {
    /// Everything goes to `fallback`: requests without an [`ApiVersion`], and versions without a service.
    #[must_use]
    pub fn new(fallback: S) -> Self {
        Self { routes: Vec::new(), ranges: Vec::new(), neutral: None, fallback }
    }

    /// Sends requests of `version` to `service`; a second service for the same version replaces the first.
    #[must_use]
    pub fn version(mut self, version: Version, service: S) -> Self {
        self.routes.retain(|(known, _)| *known != version);
        self.routes.push((version, service));
        self
    }

    /// Sends requests of every version in the range to `service`. A version of its own ([`version`](Self::version))
    /// goes before a range.
    ///
    /// # Errors
    /// When the range is empty, or some version is in another range too.
    pub fn range(mut self, range: VersionRange, service: S) -> Result<Self, ConfigError> {
        if range.is_empty() || self.ranges.iter().any(|(other, _)| other.overlaps(&range)) {
            return Err(ConfigError::new("range", format!("{range} is empty or overlaps another range")));
        }
        self.ranges.push((range, service));
        Ok(self)
    }

    /// Sends requests without an [`ApiVersion`] to `service`. Default: to the fallback.
    #[must_use]
    pub fn neutral(mut self, service: S) -> Self {
        self.neutral = Some(service);
        self
    }

    fn choose(&mut self, version: Option<&Version>) -> &mut S {
        let Some(version) = version else { return self.neutral.as_mut().unwrap_or(&mut self.fallback) };
        if let Some((_, service)) = self.routes.iter_mut().find(|(known, _)| known == version) {
            return service;
        }
        let range = self.ranges.iter_mut().find(|(range, _)| range.contains(*version));
        range.map_or(&mut self.fallback, |(_, service)| service)
    }
}

impl<S, B> Service<Request<B>> for VersionRouter<S>
where
    S: Service<Request<B>> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = RouteFuture<S, Request<B>>;

    /// Always ready: which service matters is known only with the request.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let service = self.choose(request.extensions().get().map(ApiVersion::known));
        // Nobody has to be woken here: whoever is not ready yet is asked again by the future, with its own waker.
        match service.poll_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => {
                RouteFuture { future: Some(service.call(request)), otherwise: Otherwise::Nothing }
            }
            Poll::Ready(Err(error)) => RouteFuture { future: None, otherwise: Otherwise::Failed { error } },
            Poll::Pending => RouteFuture::waits(service, request),
        }
    }
}

impl<S, R> RouteFuture<S, R>
where
    S: Service<R> + Clone,
{
    #[cold]
    fn waits(service: &mut S, request: R) -> Self {
        // The instance that was asked may stand in a queue already, so it is the one to wait for.
        let clone = service.clone();
        let service = std::mem::replace(service, clone);
        Self { future: None, otherwise: Otherwise::Waits { call: Box::new((service, request)) } }
    }
}

pin_project! {
    /// The future of [`VersionRouter`]: waits until the chosen service is ready, then calls it.
    pub struct RouteFuture<S, R>
    where
        S: Service<R>,
    {
        #[pin]
        future: Option<S::Future>,
        otherwise: Otherwise<S, R, S::Error>,
    }
}

/// What there is where the chosen service was not called at once. In a box, so that the future is no larger for a request
/// that seldom has to wait.
enum Otherwise<S, R, E> {
    Nothing,
    Waits { call: Box<(S, R)> },
    Failed { error: E },
}

impl<S: Service<R>, R> std::fmt::Debug for RouteFuture<S, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = match (&self.future, &self.otherwise) {
            (Some(_), _) => "Runs",
            (None, Otherwise::Waits { .. }) => "Waits",
            (None, Otherwise::Failed { .. }) => "Failed",
            (None, Otherwise::Nothing) => "Ended",
        };
        f.debug_tuple("RouteFuture").field(&state).finish()
    }
}

impl<S: Service<R>, R> Future for RouteFuture<S, R> {
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if this.future.is_none() {
            if let Otherwise::Waits { call } = this.otherwise {
                ready!(call.0.poll_ready(cx))?;
            }
            match std::mem::replace(this.otherwise, Otherwise::Nothing) {
                Otherwise::Waits { call } => {
                    let (mut service, request) = *call;
                    this.future.set(Some(service.call(request)));
                }
                Otherwise::Failed { error } => return Poll::Ready(Err(error)),
                Otherwise::Nothing => {}
            }
        }
        match this.future.as_pin_mut() {
            Some(future) => future.poll(cx),
            // Polled again after its end, it waits for ever.
            None => Poll::Pending,
        }
    }
}

//! Authorization by rules of your own, apart from authentication.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use pin_project_lite::pin_project;
use tokio::time::Timeout;
use tower_layer::Layer;
use tower_service::Service;

use super::render::{Negotiated, RenderRejection, refuse};
use super::scopes::ScopedFuture;
use crate::body::ResponseBody;
use crate::error::AuthError;
use crate::metrics::RuleChecks;
use crate::token::{Claims, Verified};

/// What both layers of this module share.
#[derive(Clone)]
struct Guard {
    render: Arc<dyn RenderRejection>,
    checks: Arc<RuleChecks>,
}

impl Guard {
    fn new() -> Self {
        let checks = RuleChecks::new("tower_auth_rule_checks_total");
        Self { render: Arc::new(Negotiated::default()), checks: Arc::new(checks) }
    }

    fn realm(&mut self, realm: impl Into<String>) {
        self.render = Arc::new(Negotiated { realm: Some(realm.into()) });
    }

    /// `None` to go on, or the answer.
    fn answer(&self, result: Result<(), AuthError>, parts: &Parts) -> Option<Response<Bytes>> {
        self.checks.count(result.as_ref().err());
        result.err().map(|error| refuse(&*self.render, &error, parts))
    }
}

fn verified<C: Send + Sync + 'static>(parts: &Parts) -> Result<&Verified<C>, AuthError> {
    parts.extensions.get().ok_or(AuthError::MissingToken)
}

type ClaimRule<C> = Arc<dyn Fn(&Verified<C>, &Parts) -> bool + Send + Sync>;

/// Lets requests through that a closure over the typed claims and the request allows. Goes below
/// [`AuthLayer`](super::AuthLayer) with the same claims type; a request that was not authenticated is answered with 401,
/// one that the closure does not allow with 403.
pub struct RequireClaims<C = Claims> {
    rule: ClaimRule<C>,
    guard: Guard,
}

impl<C> RequireClaims<C> {
    /// What is allowed.
    pub fn new(rule: impl Fn(&Verified<C>, &Parts) -> bool + Send + Sync + 'static) -> Self {
        Self { rule: Arc::new(rule), guard: Guard::new() }
    }

    /// The realm named in challenges. None by default.
    #[must_use]
    pub fn realm(mut self, realm: impl Into<String>) -> Self {
        self.guard.realm(realm);
        self
    }

    /// How refusals look. [`Negotiated`] by default.
    #[must_use]
    pub fn render_with(mut self, render: impl RenderRejection) -> Self {
        self.guard.render = Arc::new(render);
        self
    }
}

impl<C> Clone for RequireClaims<C> {
    fn clone(&self) -> Self {
        Self { rule: Arc::clone(&self.rule), guard: self.guard.clone() }
    }
}

impl<C> fmt::Debug for RequireClaims<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RequireClaims")
    }
}

impl<S, C> Layer<S> for RequireClaims<C> {
    type Service = Claimed<S, C>;

    fn layer(&self, inner: S) -> Claimed<S, C> {
        Claimed { inner, rule: self.clone() }
    }
}

/// The service of [`RequireClaims`].
#[derive(Debug)]
pub struct Claimed<S, C = Claims> {
    inner: S,
    rule: RequireClaims<C>,
}

impl<S: Clone, C> Clone for Claimed<S, C> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), rule: self.rule.clone() }
    }
}

impl<S, C, B, R> Service<Request<B>> for Claimed<S, C>
where
    S: Service<Request<B>, Response = Response<R>>,
    C: Send + Sync + 'static,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ScopedFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (parts, body) = request.into_parts();
        let allowed = verified(&parts).and_then(|verified| {
            if (self.rule.rule)(verified, &parts) { Ok(()) } else { Err(AuthError::Forbidden) }
        });
        match self.rule.guard.answer(allowed, &parts) {
            None => ScopedFuture::inner(self.inner.call(Request::from_parts(parts, body))),
            Some(response) => ScopedFuture::refused(response),
        }
    }
}

/// Lets requests through that an asynchronous rule allows: a policy service, a database. Goes below
/// [`AuthLayer`](super::AuthLayer) with the same claims type; a request that was not authenticated is answered with 401.
/// What the rule refuses with is the answer; [`AuthError::Forbidden`] and [`AuthError::RuleUnavailable`] are for it.
pub struct Authorize<F, C = Claims> {
    rule: F,
    timeout: Duration,
    guard: Guard,
    claims: PhantomData<fn(C)>,
}

impl<F, C> Authorize<F, C> {
    /// The rule, which gets the verified token and the request without its body.
    pub fn new<D>(rule: F) -> Self
    where
        F: Fn(Verified<C>, &Parts) -> D,
        D: Future<Output = Result<(), AuthError>>,
    {
        Self { rule, timeout: Duration::from_secs(5), guard: Guard::new(), claims: PhantomData }
    }

    /// How long the rule may take; after that the answer is 503. 5 seconds by default: a wait that users still bear.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The realm named in challenges. None by default.
    #[must_use]
    pub fn realm(mut self, realm: impl Into<String>) -> Self {
        self.guard.realm(realm);
        self
    }

    /// How refusals look. [`Negotiated`] by default.
    #[must_use]
    pub fn render_with(mut self, render: impl RenderRejection) -> Self {
        self.guard.render = Arc::new(render);
        self
    }
}

impl<F: Clone, C> Clone for Authorize<F, C> {
    fn clone(&self) -> Self {
        let Self { rule, timeout, guard, claims } = self;
        Self { rule: rule.clone(), timeout: *timeout, guard: guard.clone(), claims: *claims }
    }
}

impl<F, C> fmt::Debug for Authorize<F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorize").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl<S, F: Clone, C> Layer<S> for Authorize<F, C> {
    type Service = Authorized<S, F, C>;

    fn layer(&self, inner: S) -> Authorized<S, F, C> {
        Authorized { inner, rule: self.clone() }
    }
}

/// The service of [`Authorize`].
#[derive(Debug)]
pub struct Authorized<S, F, C = Claims> {
    inner: S,
    rule: Authorize<F, C>,
}

impl<S: Clone, F: Clone, C> Clone for Authorized<S, F, C> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), rule: self.rule.clone() }
    }
}

impl<S, F, C, D, B, R> Service<Request<B>> for Authorized<S, F, C>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    F: Fn(Verified<C>, &Parts) -> D,
    D: Future<Output = Result<(), AuthError>>,
    C: Send + Sync + 'static,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = AuthorizedFuture<S, B, D>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (parts, body) = request.into_parts();
        let guard = self.rule.guard.clone();
        let state = match verified(&parts).cloned() {
            Ok(verified) => {
                let decision = tokio::time::timeout(self.rule.timeout, (self.rule.rule)(verified, &parts));
                // The instance that was polled ready goes with the request.
                let clone = self.inner.clone();
                let ready = std::mem::replace(&mut self.inner, clone);
                Deciding::Asked { decision, held: Some(Held { ready, guard, parts, body }) }
            }
            Err(error) => Deciding::Refused { response: guard.answer(Err(error), &parts) },
        };
        AuthorizedFuture { state }
    }
}

struct Held<S, B> {
    ready: S,
    guard: Guard,
    parts: Parts,
    body: B,
}

pin_project! {
    /// The future of [`Authorized`].
    pub struct AuthorizedFuture<S, B, D>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: Deciding<S, B, D, S::Future>,
    }
}

pin_project! {
    #[project = DecidingProj]
    enum Deciding<S, B, D, F> {
        Asked { #[pin] decision: Timeout<D>, held: Option<Held<S, B>> },
        Inner { #[pin] future: F },
        Refused { response: Option<Response<Bytes>> },
    }
}

impl<S: Service<Request<B>>, B, D> fmt::Debug for AuthorizedFuture<S, B, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthorizedFuture")
    }
}

impl<S, B, D, R> Future for AuthorizedFuture<S, B, D>
where
    S: Service<Request<B>, Response = Response<R>>,
    D: Future<Output = Result<(), AuthError>>,
{
    type Output = Result<Response<ResponseBody<R>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                DecidingProj::Asked { decision, held } => {
                    let late = AuthError::RuleUnavailable { retry_after: Duration::from_secs(1) };
                    let decided = ready!(decision.poll(cx)).unwrap_or(Err(late));
                    let Some(Held { mut ready, guard, parts, body }) = held.take() else {
                        return Poll::Pending;
                    };
                    match guard.answer(decided, &parts) {
                        None => Deciding::Inner { future: ready.call(Request::from_parts(parts, body)) },
                        Some(response) => Deciding::Refused { response: Some(response) },
                    }
                }
                DecidingProj::Inner { future } => {
                    return Poll::Ready(
                        ready!(future.poll(cx)).map(|response| response.map(ResponseBody::inner)),
                    );
                }
                DecidingProj::Refused { response } => match response.take() {
                    Some(response) => return Poll::Ready(Ok(response.map(ResponseBody::own))),
                    None => return Poll::Pending,
                },
            };
            state.set(next);
        }
    }
}

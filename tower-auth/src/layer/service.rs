//! The authenticating layer.

use std::any::TypeId;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::request::Parts;
use http::{Extensions, Request, Response};
use pin_project_lite::pin_project;
use serde::de::DeserializeOwned;
use tower_layer::Layer;
use tower_service::Service;

use super::extras::{Extras, Proven};
use super::render::{Negotiated, RenderRejection, refuse};
use super::source::{self, BearerHeader, Found, TokenSource};
use crate::authenticator::{Authenticator, Step};
use crate::body::ResponseBody;
use crate::error::AuthError;
use crate::granted::{self, Grant, Nearest};
use crate::keys::KeysPending;
use crate::token::{Claims, Verified};

type Skip = Arc<dyn Fn(&Parts) -> bool + Send + Sync>;

/// Lets requests with an accepted bearer token through, with [`Verified`] in their extensions, and answers all others.
pub struct AuthLayer<C = Claims> {
    pub(super) config: Config<C>,
}

pub(super) struct Config<C> {
    authenticator: Authenticator<C>,
    optional: bool,
    skip: Option<Skip>,
    source: Option<Arc<dyn TokenSource>>,
    render: Arc<dyn RenderRejection>,
    pub(super) extras: Extras,
}

impl<C> Clone for Config<C> {
    fn clone(&self) -> Self {
        Self {
            authenticator: self.authenticator.clone(),
            optional: self.optional,
            skip: self.skip.clone(),
            source: self.source.clone(),
            render: Arc::clone(&self.render),
            extras: self.extras.clone(),
        }
    }
}

impl<C> AuthLayer<C> {
    /// Every request needs a token.
    #[must_use]
    pub fn new(authenticator: Authenticator<C>) -> Self {
        let render = Arc::new(Negotiated { realm: authenticator.realm().map(str::to_owned) });
        let extras = Extras::default();
        Self { config: Config { authenticator, optional: false, skip: None, source: None, render, extras } }
    }

    /// Lets requests without a token through as anonymous. A token that is sent must be good all the same: missing is
    /// not invalid.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.config.optional = true;
        self
    }

    /// Passes these requests without looking at their credentials, such as
    /// [CORS preflights](super::is_cors_preflight). None by default.
    #[must_use]
    pub fn skip(mut self, predicate: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        self.config.skip = Some(Arc::new(predicate));
        self
    }

    /// Where the token is. The `Authorization` header by default, the only way that every client has and that nothing
    /// writes into logs.
    #[must_use]
    pub fn token_source(mut self, source: impl TokenSource) -> Self {
        self.config.source = Some(Arc::new(source));
        self
    }

    /// How refusals look. [`Negotiated`] by default.
    #[must_use]
    pub fn render_with(mut self, render: impl RenderRejection) -> Self {
        self.config.render = Arc::new(render);
        self
    }
}

impl<C> Clone for AuthLayer<C> {
    fn clone(&self) -> Self {
        Self { config: self.config.clone() }
    }
}

impl<C> fmt::Debug for AuthLayer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthLayer").field("authenticator", &self.config.authenticator).finish_non_exhaustive()
    }
}

impl<S, C> Layer<S> for AuthLayer<C> {
    type Service = Auth<S, C>;

    fn layer(&self, inner: S) -> Auth<S, C> {
        Auth { inner, config: self.config.clone() }
    }
}

/// The service of [`AuthLayer`].
pub struct Auth<S, C = Claims> {
    inner: S,
    config: Config<C>,
}

impl<S: Clone, C> Clone for Auth<S, C> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), config: self.config.clone() }
    }
}

impl<S: fmt::Debug, C> fmt::Debug for Auth<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth").field("inner", &self.inner).finish_non_exhaustive()
    }
}

#[cfg(feature = "dpop")]
fn thumbprint(proven: Option<&Proven>) -> Option<&str> {
    proven.map(|proven| proven.thumbprint.as_str())
}

#[cfg(not(feature = "dpop"))]
fn thumbprint(proven: Option<&Proven>) -> Option<&str> {
    proven.map(|proven| match *proven {})
}

impl<C: DeserializeOwned + Send + Sync + 'static> Config<C> {
    /// What layers further out have granted, as far as it could be taken for the word of this one.
    fn forget(&self, extensions: &mut Extensions) {
        extensions.remove::<Verified<C>>();
        extensions.remove::<Nearest>();
        if TypeId::of::<C>() != TypeId::of::<Claims>() {
            extensions.remove::<Verified>();
        }
        if granted::others::<C>(extensions) {
            extensions.insert(Nearest(None));
        }
    }

    fn found<'p>(&self, parts: &'p Parts) -> Result<Found<'p>, AuthError> {
        let found = match &self.source {
            None => BearerHeader.find(parts),
            Some(source) => source.find(parts),
        };
        found?.ok_or(AuthError::MissingToken)
    }

    /// Whether the answer must be kept from shared caches: the token was in the URI.
    fn exposed(&self, parts: &Parts) -> bool {
        self.source.is_some() && self.found(parts).is_ok_and(|found| found.in_uri)
    }

    /// The first step, and the proof that came with the token.
    fn begin(&self, parts: &Parts) -> (Step<C>, Option<Proven>) {
        let plain = self.source.is_none() && !self.extras.takes_proofs();
        if let (true, Some(bytes)) = (plain, source::bearer_bytes(parts)) {
            // What was found good before is made of the right characters.
            match self.authenticator.recall(bytes) {
                Ok(step) => return (step, None),
                Err(key) => {
                    let step = match self.found(parts) {
                        // After more than one space these are not the bytes that the key is of.
                        Ok(found) if found.token.len() < bytes.len() => {
                            self.authenticator.step(found.token, None, false)
                        }
                        Ok(found) => self.authenticator.first_step(key, found.token),
                        Err(error) => Step::Done(Err(error)),
                    };
                    return (step, None);
                }
            }
        }
        match self.credentials(parts) {
            Ok((token, proven)) => {
                (self.authenticator.step(token, thumbprint(proven.as_ref()), false), proven)
            }
            Err(error) => (Step::Done(Err(error)), None),
        }
    }

    fn credentials<'p>(&self, parts: &'p Parts) -> Result<(&'p str, Option<Proven>), AuthError> {
        match self.extras.proven(parts, &self.authenticator)? {
            // One way for each request, here too (RFC 6750 §2).
            Some(_)
                if self.source.is_some() && !matches!(self.found(parts), Err(AuthError::MissingToken)) =>
            {
                Err(AuthError::InvalidRequest("The access token was sent in more than one way"))
            }
            Some((token, proven)) => Ok((token, Some(proven))),
            None => self.found(parts).map(|found| (found.token, None)),
        }
    }

    /// The last step, for a request whose proof, if it has one, was found good in the first.
    fn after_waiting(&self, parts: &Parts, proven: Option<&Proven>) -> Result<Verified<C>, AuthError> {
        let token = if proven.is_some() { self.extras.token(parts)? } else { self.found(parts)?.token };
        self.authenticator.after_waiting(token, thumbprint(proven))
    }

    /// `None` with the request made ready, or the answer.
    fn admit(
        &self,
        parts: &mut Parts,
        proven: Option<&Proven>,
        result: Result<Verified<C>, AuthError>,
    ) -> Option<Response<Bytes>> {
        let spend = |proven| self.extras.spend(proven, self.authenticator.now());
        let result = result.and_then(|verified| proven.map_or(Ok(()), spend).map(|()| verified));
        match result {
            Ok(verified) => {
                self.authenticator.requests().accepted();
                if !self.authenticator.is_found() || granted::others::<C>(&parts.extensions) {
                    parts.extensions.insert(Nearest(Some(verified.granted())));
                }
                parts.extensions.insert(verified);
                None
            }
            Err(AuthError::MissingToken) if self.optional => {
                self.authenticator.requests().anonymous();
                None
            }
            Err(error) => {
                self.authenticator.requests().refused(&error);
                let mut response = refuse(&*self.render, &error, parts);
                self.extras.complete(&error, self.authenticator.realm(), &mut response);
                Some(response)
            }
        }
    }
}

impl<S, C, B, R> Service<Request<B>> for Auth<S, C>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    C: DeserializeOwned + Send + Sync + 'static,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, C, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (mut parts, body) = request.into_parts();
        // Nobody but this layer says who was verified.
        self.config.forget(&mut parts.extensions);
        if self.config.skip.as_ref().is_some_and(|skip| skip(&parts)) {
            return ResponseFuture::inner(self.inner.call(Request::from_parts(parts, body)), false);
        }
        let exposed = self.config.exposed(&parts);
        let (step, proven) = self.config.begin(&parts);
        match step {
            Step::Done(result) => match self.config.admit(&mut parts, proven.as_ref(), result) {
                None => ResponseFuture::inner(self.inner.call(Request::from_parts(parts, body)), exposed),
                Some(response) => ResponseFuture { state: State::Refused { response: Some(response) } },
            },
            Step::Wait(pending) => {
                // The instance that was polled ready goes with the request.
                let clone = self.inner.clone();
                let ready = std::mem::replace(&mut self.inner, clone);
                let config = self.config.clone();
                ResponseFuture {
                    state: State::Waiting {
                        pending,
                        held: Some(Held { ready, config, proven, parts, body }),
                    },
                }
            }
        }
    }
}

struct Held<S, C, B> {
    ready: S,
    config: Config<C>,
    proven: Option<Proven>,
    parts: Parts,
    body: B,
}

pin_project! {
    /// The future of [`Auth`]: the inner future as it is, unless keys must be waited for.
    pub struct ResponseFuture<S, C, B>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: State<S, C, B, S::Future>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, C, B, F> {
        Inner { #[pin] future: F, exposed: bool },
        Refused { response: Option<Response<Bytes>> },
        Waiting { pending: KeysPending, held: Option<Held<S, C, B>> },
    }
}

impl<S: Service<Request<B>>, C, B> ResponseFuture<S, C, B> {
    fn inner(future: S::Future, exposed: bool) -> Self {
        Self { state: State::Inner { future, exposed } }
    }
}

impl<S: Service<Request<B>>, C, B> fmt::Debug for ResponseFuture<S, C, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResponseFuture")
    }
}

impl<S, C, B, R> Future for ResponseFuture<S, C, B>
where
    S: Service<Request<B>, Response = Response<R>>,
    C: DeserializeOwned + Send + Sync + 'static,
{
    type Output = Result<Response<ResponseBody<R>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                StateProj::Inner { future, exposed } => {
                    let mut result = ready!(future.poll(cx));
                    if let (true, Ok(response)) = (*exposed, &mut result) {
                        source::keep_private(response);
                    }
                    return Poll::Ready(result.map(|response| response.map(ResponseBody::inner)));
                }
                StateProj::Refused { response } => match response.take() {
                    Some(response) => return Poll::Ready(Ok(response.map(ResponseBody::own))),
                    None => return Poll::Pending,
                },
                StateProj::Waiting { pending, held } => {
                    ready!(pending.0.as_mut().poll(cx));
                    let Some(Held { mut ready, config, proven, mut parts, body }) = held.take() else {
                        return Poll::Pending;
                    };
                    let result = config.after_waiting(&parts, proven.as_ref());
                    let exposed = config.exposed(&parts);
                    match config.admit(&mut parts, proven.as_ref(), result) {
                        None => {
                            State::Inner { future: ready.call(Request::from_parts(parts, body)), exposed }
                        }
                        Some(response) => State::Refused { response: Some(response) },
                    }
                }
            };
            state.set(next);
        }
    }
}

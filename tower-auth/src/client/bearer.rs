//! The layer that attaches tokens.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Request, header};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::{AccessToken, Error, Rejected, TokenAnswer, TokenProvider};

/// Attaches an access token to every request. Put it around a client for one host: the token goes wherever the request
/// goes. A request that has an `Authorization` header already keeps it.
#[derive(Debug, Clone)]
pub struct BearerLayer<P> {
    provider: P,
}

impl<P> BearerLayer<P> {
    /// Tokens from this provider.
    #[must_use]
    pub fn new(provider: P) -> Self {
        Self { provider }
    }
}

impl<S, P: Clone> Layer<S> for BearerLayer<P> {
    type Service = Bearer<S, P>;

    fn layer(&self, inner: S) -> Bearer<S, P> {
        Bearer { inner, provider: self.provider.clone() }
    }
}

/// The service of [`BearerLayer`].
#[derive(Debug, Clone)]
pub struct Bearer<S, P> {
    inner: S,
    provider: P,
}

impl<S, P, B> Service<Request<B>> for Bearer<S, P>
where
    S: Service<Request<B>> + Clone,
    P: TokenProvider,
{
    type Response = S::Response;
    type Error = Error<S::Error>;
    type Future = BearerFuture<S, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Error::Inner)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let state = if request.headers().contains_key(header::AUTHORIZATION) {
            State::Inner { future: self.inner.call(request) }
        } else {
            match self.provider.token() {
                TokenAnswer::Ready(Ok(token)) => {
                    attach(&mut request, &token);
                    State::Inner { future: self.inner.call(request) }
                }
                TokenAnswer::Ready(Err(rejected)) => State::Refused { rejected: Some(rejected) },
                TokenAnswer::Pending(token) => {
                    let clone = self.inner.clone();
                    let ready = std::mem::replace(&mut self.inner, clone);
                    State::Waiting { token, held: Some((ready, request)) }
                }
            }
        };
        BearerFuture { state }
    }
}

fn attach<B>(request: &mut Request<B>, token: &AccessToken) {
    request.headers_mut().insert(header::AUTHORIZATION, token.header());
}

type Pending = Pin<Box<dyn Future<Output = Result<AccessToken, Rejected>> + Send>>;

pin_project! {
    /// The future of [`Bearer`]: the inner future as it is, unless a token must be waited for.
    pub struct BearerFuture<S, B>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: State<S, B, S::Future>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, B, F> {
        Inner { #[pin] future: F },
        Refused { rejected: Option<Rejected> },
        Waiting { token: Pending, held: Option<(S, Request<B>)> },
    }
}

impl<S: Service<Request<B>>, B> fmt::Debug for BearerFuture<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerFuture")
    }
}

impl<S: Service<Request<B>>, B> Future for BearerFuture<S, B> {
    type Output = Result<S::Response, Error<S::Error>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                StateProj::Inner { future } => return future.poll(cx).map_err(Error::Inner),
                StateProj::Refused { rejected } => match rejected.take() {
                    Some(rejected) => return Poll::Ready(Err(Error::Rejected(rejected))),
                    None => return Poll::Pending,
                },
                StateProj::Waiting { token, held } => {
                    let token = ready!(token.as_mut().poll(cx));
                    let Some((mut ready, mut request)) = held.take() else { return Poll::Pending };
                    match token {
                        Ok(token) => {
                            attach(&mut request, &token);
                            State::Inner { future: ready.call(request) }
                        }
                        Err(rejected) => State::Refused { rejected: Some(rejected) },
                    }
                }
            };
            state.set(next);
        }
    }
}

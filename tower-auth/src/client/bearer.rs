//! The layer that attaches tokens, and tries once more when one was rejected.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::request::Parts;
use http::{Request, Response, StatusCode, header};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::replay::{Bodiless, Buffering, Replay, Replayable};
use super::{AccessToken, Error, PendingToken, Rejected, TokenAnswer, TokenProvider};
use crate::policy::unauthorized;

/// Attaches an access token to every request. Put it around a client for one host: the token goes wherever the request
/// goes, unless the provider looks at the host as [`ForwardToken`](super::ForwardToken) does. A request that has an
/// `Authorization` header already keeps it.
///
/// A 401 that blames the token (RFC 6750 §3.1: a `Bearer` challenge with `invalid_token` or without an error, or no
/// challenge at all) is followed by one more attempt with another token, if the provider has one and the request can be
/// repeated: requests without a body by default, see [`replay`](Self::replay). The second answer is final.
#[derive(Debug, Clone)]
pub struct BearerLayer<P, Y = Bodiless> {
    provider: P,
    replay: Y,
}

impl<P> BearerLayer<P> {
    /// Tokens from this provider; requests without a body are repeated after a 401.
    #[must_use]
    pub fn new(provider: P) -> Self {
        Self { provider, replay: Bodiless }
    }
}

impl<P, Y> BearerLayer<P, Y> {
    /// Which requests may be repeated after a 401: [`Bodiless`] by default, because anything else costs memory;
    /// [`UpTo`](super::UpTo) also those with short bodies; [`Never`](super::Never) none.
    #[must_use]
    pub fn replay<Z>(self, replay: Z) -> BearerLayer<P, Z> {
        BearerLayer { provider: self.provider, replay }
    }
}

impl<S, P: Clone, Y: Clone> Layer<S> for BearerLayer<P, Y> {
    type Service = Bearer<S, P, Y>;

    fn layer(&self, inner: S) -> Bearer<S, P, Y> {
        Bearer { inner, provider: self.provider.clone(), replay: self.replay.clone() }
    }
}

/// The service of [`BearerLayer`].
#[derive(Debug, Clone)]
pub struct Bearer<S, P, Y = Bodiless> {
    inner: S,
    provider: P,
    replay: Y,
}

impl<S, P, Y, B, R> Service<Request<B>> for Bearer<S, P, Y>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    P: TokenProvider + Clone,
    Y: Replay<B>,
{
    type Response = S::Response;
    type Error = Error<S::Error>;
    type Future = BearerFuture<S, P, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Error::Inner)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if request.headers().contains_key(header::AUTHORIZATION) {
            return BearerFuture { state: State::Last { future: self.inner.call(request) } };
        }
        let (parts, body) = request.into_parts();
        let provider = self.provider.clone();
        let state = match self.replay.copy(&parts, body) {
            Replayable::No(first) => {
                begin(&mut self.inner, Outgoing { provider, parts, first, second: None })
            }
            Replayable::Yes { first, second } => {
                begin(&mut self.inner, Outgoing { provider, parts, first, second: Some(second) })
            }
            Replayable::After(reading) => {
                State::Reading { reading, held: Some((take_ready(&mut self.inner), provider, parts)) }
            }
        };
        BearerFuture { state }
    }
}

/// The instance that was polled ready goes with the request.
fn take_ready<S: Clone>(service: &mut S) -> S {
    let clone = service.clone();
    std::mem::replace(service, clone)
}

/// A request without its token.
struct Outgoing<P, B> {
    provider: P,
    parts: Parts,
    first: B,
    second: Option<B>,
}

/// All that a second attempt needs.
struct Again<S, P, B> {
    service: S,
    provider: P,
    rejected: AccessToken,
    parts: Parts,
    body: B,
}

fn begin<S, P, B, R>(service: &mut S, outgoing: Outgoing<P, B>) -> State<S, P, B, S::Future, Response<R>>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    P: TokenProvider,
{
    match outgoing.provider.token(&outgoing.parts) {
        TokenAnswer::Ready(token) => send(service, outgoing, token),
        TokenAnswer::Without => {
            State::Last { future: service.call(Request::from_parts(outgoing.parts, outgoing.first)) }
        }
        TokenAnswer::Pending(token) => State::Token { token, held: Some((take_ready(service), outgoing)) },
    }
}

fn send<S, P, B, R>(
    service: &mut S,
    outgoing: Outgoing<P, B>,
    token: Result<AccessToken, Rejected>,
) -> State<S, P, B, S::Future, Response<R>>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
{
    let token = match token {
        Ok(token) => token,
        Err(rejected) => return State::Refused { rejected: Some(rejected) },
    };
    let Outgoing { provider, parts, first, second } = outgoing;
    let Some(body) = second else {
        return State::Last { future: service.call(attached(parts, first, &token)) };
    };
    let again = Again { service: service.clone(), provider, parts: parts.clone(), body, rejected: token };
    let future = service.call(attached(parts, first, &again.rejected));
    State::First { future, again: Some(again) }
}

fn attached<B>(mut parts: Parts, body: B, token: &AccessToken) -> Request<B> {
    parts.headers.insert(header::AUTHORIZATION, token.header());
    Request::from_parts(parts, body)
}

pin_project! {
    /// The future of [`Bearer`]: the inner future as it is, unless a token must be waited for or was rejected.
    pub struct BearerFuture<S, P, B>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: StateOf<S, P, B>,
    }
}

type StateOf<S, P, B> =
    State<S, P, B, <S as Service<Request<B>>>::Future, <S as Service<Request<B>>>::Response>;

pin_project! {
    #[project = StateProj]
    #[allow(clippy::large_enum_variant, reason = "boxing would cost every request an allocation")]
    enum State<S, P, B, F, T> {
        /// The body is read, so that it can be sent twice.
        Reading { reading: Buffering<B>, held: Option<(S, P, Parts)> },
        Token { token: PendingToken, held: Option<(S, Outgoing<P, B>)> },
        First { #[pin] future: F, again: Option<Again<S, P, B>> },
        /// Another token is waited for; without one the first answer stands.
        Other { token: PendingToken, answer: Option<T>, again: Option<Again<S, P, B>> },
        /// The service must be ready for the second attempt.
        Ready { service: S, request: Option<Request<B>> },
        Last { #[pin] future: F },
        Refused { rejected: Option<Rejected> },
    }
}

impl<S: Service<Request<B>>, P, B> fmt::Debug for BearerFuture<S, P, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerFuture")
    }
}

impl<S, P, B, R> Future for BearerFuture<S, P, B>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    P: TokenProvider,
{
    type Output = Result<Response<R>, Error<S::Error>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                StateProj::Last { future } => return future.poll(cx).map_err(Error::Inner),
                StateProj::Refused { rejected } => match rejected.take() {
                    Some(rejected) => return Poll::Ready(Err(Error::Rejected(rejected))),
                    None => return Poll::Pending,
                },
                StateProj::Reading { reading, held } => {
                    let bodies = ready!(reading.as_mut().poll(cx));
                    let Some((mut service, provider, parts)) = held.take() else { return Poll::Pending };
                    match bodies {
                        Ok((first, second)) => {
                            begin(&mut service, Outgoing { provider, parts, first, second: Some(second) })
                        }
                        Err(rejected) => State::Refused { rejected: Some(rejected) },
                    }
                }
                StateProj::Token { token, held } => {
                    let token = ready!(token.as_mut().poll(cx));
                    let Some((mut service, outgoing)) = held.take() else { return Poll::Pending };
                    send(&mut service, outgoing, token)
                }
                StateProj::First { future, again } => {
                    let response = ready!(future.poll(cx)).map_err(Error::Inner)?;
                    match again.take() {
                        Some(again) if blames_token(&response) => match other_token(&again) {
                            Some(TokenAnswer::Ready(Ok(token))) => repeat(again, &token),
                            Some(TokenAnswer::Pending(token)) => {
                                State::Other { token, answer: Some(response), again: Some(again) }
                            }
                            _ => return Poll::Ready(Ok(response)),
                        },
                        _ => return Poll::Ready(Ok(response)),
                    }
                }
                StateProj::Other { token, answer, again } => {
                    let token = ready!(token.as_mut().poll(cx));
                    match (token, again.take(), answer.take()) {
                        (Ok(token), Some(again), _) if token != again.rejected => repeat(again, &token),
                        (_, _, Some(answer)) => return Poll::Ready(Ok(answer)),
                        _ => return Poll::Pending,
                    }
                }
                StateProj::Ready { service, request } => {
                    ready!(service.poll_ready(cx)).map_err(Error::Inner)?;
                    let Some(request) = request.take() else { return Poll::Pending };
                    State::Last { future: service.call(request) }
                }
            };
            state.set(next);
        }
    }
}

fn blames_token<R>(response: &Response<R>) -> bool {
    response.status() == StatusCode::UNAUTHORIZED
        && unauthorized::blames_token(response.headers().get_all(header::WWW_AUTHENTICATE))
}

/// What the provider has instead of the rejected token.
fn other_token<S, P: TokenProvider, B>(again: &Again<S, P, B>) -> Option<TokenAnswer> {
    if !again.provider.rejected(&again.rejected) {
        return None;
    }
    let answer = again.provider.token(&again.parts);
    match &answer {
        TokenAnswer::Ready(Ok(token)) if *token == again.rejected => None,
        _ => Some(answer),
    }
}

fn repeat<S, P, B, F, T>(again: Again<S, P, B>, token: &AccessToken) -> State<S, P, B, F, T> {
    let Again { service, parts, body, .. } = again;
    State::Ready { service, request: Some(attached(parts, body, token)) }
}

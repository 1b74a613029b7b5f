//! Passing the inbound token on.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::request::Parts;
use http::uri::Scheme;
use http::{Extensions, Request};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::{AccessToken, Rejected, TokenAnswer, TokenProvider};
use crate::error::ConfigError;
use crate::granted::{Grant, Granted, Nearest, granted};
use crate::token::Verified;

tokio::task_local! {
    static INBOUND: Option<Granted>;
}

/// Sends the token of the request that is being served to the hosts named here, and to nobody else: requests to other
/// hosts, or by `http`, go without one. A token that is bound to its sender is refused
/// ([`Rejected::SenderConstrained`]); without an inbound token the request goes as it is.
///
/// A request that has an `Authorization` header of its own keeps it, whatever its host: a proxy that passes its request on
/// removes that header first, or everybody it calls gets the token.
///
/// The token is taken from the extensions of the outbound request ([`forward_with`], or a proxy that passes its request
/// on), or else from the task, where [`InboundLayer`] puts it. Every request is looked at by itself, so a layer that
/// follows redirects belongs outside of this one: each hop is then held against the hosts again.
#[derive(Debug, Clone)]
pub struct ForwardToken {
    hosts: Arc<[Host]>,
    http: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct Host {
    name: String,
    port: Option<u16>,
}

impl ForwardToken {
    /// To these hosts, each `name` (then any port) or `name:port`, compared exactly but for case: no wildcards, no
    /// subdomains.
    ///
    /// # Errors
    ///
    /// When there is none, or one is not a host.
    pub fn to_hosts<I: IntoIterator<Item: AsRef<str>>>(hosts: I) -> Result<Self, ConfigError> {
        let wrong = |reason: &'static str| ConfigError::new("to_hosts", reason);
        let hosts = hosts.into_iter().map(|host| parse(host.as_ref())).collect::<Option<Arc<[Host]>>>();
        let hosts = hosts.ok_or_else(|| wrong("only a name, or a name and a port"))?;
        if hosts.is_empty() {
            return Err(wrong("no host"));
        }
        Ok(Self { hosts, http: false })
    }

    /// Also by `http`, where everybody on the way can read the token: for a loopback, or a mesh that encrypts below.
    #[must_use]
    pub fn danger_allow_http(mut self) -> Self {
        self.http = true;
        self
    }

    fn admits(&self, request: &Parts) -> bool {
        let (Some(scheme), Some(authority)) = (request.uri.scheme(), request.uri.authority()) else {
            return false;
        };
        // `user@host` is never needed and has misled many a comparison.
        let plain = !authority.as_str().contains('@');
        let secure = *scheme == Scheme::HTTPS;
        let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let same = |host: &Host| {
            host.name.eq_ignore_ascii_case(authority.host()) && host.port.is_none_or(|only| only == port)
        };
        plain && (secure || self.http && *scheme == Scheme::HTTP) && self.hosts.iter().any(same)
    }
}

fn parse(host: &str) -> Option<Host> {
    let authority: http::uri::Authority = host.parse().ok()?;
    let name = authority.host();
    if name.is_empty() || host.contains(['@', '*']) {
        return None;
    }
    let port = match host.strip_prefix(name)? {
        "" => None,
        rest => Some(rest.strip_prefix(':')?.parse().ok()?),
    };
    Some(Host { name: name.to_owned(), port })
}

impl TokenProvider for ForwardToken {
    fn token(&self, request: &Parts) -> TokenAnswer {
        if !self.admits(request) {
            return TokenAnswer::Without;
        }
        let inbound = granted(&request.extensions).map(Grant::granted);
        let inbound = inbound.or_else(|| INBOUND.try_with(Clone::clone).ok().flatten());
        match inbound {
            None => TokenAnswer::Without,
            Some(granted) if granted.facts().registered.bound => {
                TokenAnswer::Ready(Err(Rejected::SenderConstrained))
            }
            Some(granted) => {
                let token = AccessToken::new(granted.facts().token());
                TokenAnswer::Ready(token.ok_or(Rejected::SenderConstrained))
            }
        }
    }
}

/// Says that a request is made on behalf of this token; for [`ForwardToken`], from handlers that start tasks of their own.
pub fn forward_with<C: Send + Sync + 'static>(extensions: &mut Extensions, inbound: &Verified<C>) {
    extensions.insert(Nearest(Some(inbound.granted())));
}

/// Keeps the inbound token with the task while a handler runs, where [`ForwardToken`] finds it. Goes below
/// [`AuthLayer`](crate::AuthLayer) on the server side. Tasks that the handler spawns do not inherit it: see
/// [`forward_with`].
#[derive(Debug, Clone, Copy, Default)]
pub struct InboundLayer {
    _private: (),
}

impl InboundLayer {
    /// The layer; there is nothing to set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl<S> Layer<S> for InboundLayer {
    type Service = InboundScope<S>;

    fn layer(&self, inner: S) -> InboundScope<S> {
        InboundScope { inner }
    }
}

/// The service of [`InboundLayer`].
#[derive(Debug, Clone)]
pub struct InboundScope<S> {
    inner: S,
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for InboundScope<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = InboundScopeFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let inbound = granted(request.extensions()).map(Grant::granted);
        // Some services begin their work in `call`.
        let future = INBOUND.sync_scope(inbound.clone(), || self.inner.call(request));
        InboundScopeFuture { future: INBOUND.scope(inbound, future) }
    }
}

pin_project! {
    /// The future of [`InboundScope`].
    pub struct InboundScopeFuture<F> {
        #[pin]
        future: tokio::task::futures::TaskLocalFuture<Option<Granted>, F>,
    }
}

impl<F> fmt::Debug for InboundScopeFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InboundScopeFuture")
    }
}

impl<F: Future> Future for InboundScopeFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.project().future.poll(cx)
    }
}

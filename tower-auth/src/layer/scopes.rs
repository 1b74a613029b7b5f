//! Authorization by scopes, apart from authentication.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::render::{Negotiated, RenderRejection, refuse};
use crate::body::ResponseBody;
use crate::error::{AuthError, ConfigError};
use crate::granted::{Grant, granted};
use crate::metrics::RuleChecks;
use crate::policy::challenge::is_scope;

/// Lets requests through whose token has the scopes. Goes below [`AuthLayer`](super::AuthLayer); a request that was not
/// authenticated is answered with 401.
#[derive(Clone)]
pub struct RequireScopes {
    rule: Arc<Rule>,
    render: Arc<dyn RenderRejection>,
}

struct Rule {
    scopes: Vec<String>,
    all: bool,
    required: Arc<str>,
    checks: RuleChecks,
    /// Whether roles are asked for.
    roles: bool,
}

impl RequireScopes {
    /// Every one of these scopes.
    ///
    /// # Errors
    ///
    /// When there is none, or one is no scope token (RFC 6749 §3.3).
    pub fn all<I: IntoIterator<Item: Into<String>>>(scopes: I) -> Result<Self, ConfigError> {
        Self::new(scopes, true)
    }

    /// At least one of these scopes.
    ///
    /// # Errors
    ///
    /// When there is none, or one is no scope token (RFC 6749 §3.3).
    pub fn any<I: IntoIterator<Item: Into<String>>>(scopes: I) -> Result<Self, ConfigError> {
        Self::new(scopes, false)
    }

    fn from_rule(rule: Rule) -> Self {
        Self { rule: Arc::new(rule), render: Arc::new(Negotiated::default()) }
    }

    fn new<I: IntoIterator<Item: Into<String>>>(scopes: I, all: bool) -> Result<Self, ConfigError> {
        let scopes: Vec<String> = scopes.into_iter().map(Into::into).collect();
        if scopes.is_empty() || !scopes.iter().all(|scope| is_scope(scope)) {
            return Err(ConfigError::new(
                if all { "all" } else { "any" },
                "needs scope tokens without spaces",
            ));
        }
        let required = scopes.join(" ").into();
        let checks = RuleChecks::new("tower_auth_scope_checks_total");
        Ok(Self::from_rule(Rule { scopes, all, required, checks, roles: false }))
    }

    /// The realm named in challenges. None by default.
    #[must_use]
    pub fn realm(mut self, realm: impl Into<String>) -> Self {
        self.render = Arc::new(Negotiated { realm: Some(realm.into()) });
        self
    }

    /// How refusals look. [`Negotiated`] by default.
    #[must_use]
    pub fn render_with(mut self, render: impl RenderRejection) -> Self {
        self.render = Arc::new(render);
        self
    }

    fn check(&self, granted: Option<&dyn Grant>) -> Result<(), AuthError> {
        let registered = &granted.ok_or(AuthError::MissingToken)?.facts().registered;
        let has = |wanted: &String| {
            if self.rule.roles {
                registered.roles().any(|role| role == wanted)
            } else {
                registered.scopes().any(|scope| scope == wanted)
            }
        };
        let mut wanted = self.rule.scopes.iter();
        let enough = if self.rule.all { wanted.all(has) } else { wanted.any(has) };
        if enough {
            Ok(())
        } else if self.rule.roles {
            Err(AuthError::Forbidden)
        } else {
            Err(AuthError::InsufficientScope { required: Arc::clone(&self.rule.required) })
        }
    }
}

impl fmt::Debug for RequireScopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequireScopes").field("required", &self.rule.required).finish_non_exhaustive()
    }
}

impl<S> Layer<S> for RequireScopes {
    type Service = Scoped<S>;

    fn layer(&self, inner: S) -> Scoped<S> {
        Scoped { inner, rule: self.clone() }
    }
}

/// Lets requests through whose token has the roles, as [`roles_at`](crate::AuthenticatorBuilder::roles_at) finds them.
/// Goes below [`AuthLayer`](super::AuthLayer); a request that was not authenticated is answered with 401, one without
/// the roles with 403 and no hint which would be enough: roles are not asked for, they are given.
#[derive(Clone)]
pub struct RequireRoles(RequireScopes);

impl RequireRoles {
    /// Every one of these roles.
    ///
    /// # Errors
    ///
    /// When there is none, or one is empty.
    pub fn all<I: IntoIterator<Item: Into<String>>>(roles: I) -> Result<Self, ConfigError> {
        Self::new(roles, true)
    }

    /// At least one of these roles.
    ///
    /// # Errors
    ///
    /// When there is none, or one is empty.
    pub fn any<I: IntoIterator<Item: Into<String>>>(roles: I) -> Result<Self, ConfigError> {
        Self::new(roles, false)
    }

    fn new<I: IntoIterator<Item: Into<String>>>(roles: I, all: bool) -> Result<Self, ConfigError> {
        let roles: Vec<String> = roles.into_iter().map(Into::into).collect();
        if roles.is_empty() || roles.iter().any(String::is_empty) {
            return Err(ConfigError::new(if all { "all" } else { "any" }, "needs roles that are not empty"));
        }
        let checks = RuleChecks::new("tower_auth_rule_checks_total");
        let rule = Rule { scopes: roles, all, required: "".into(), checks, roles: true };
        Ok(Self(RequireScopes::from_rule(rule)))
    }

    /// The realm named in challenges. None by default.
    #[must_use]
    pub fn realm(self, realm: impl Into<String>) -> Self {
        Self(self.0.realm(realm))
    }

    /// How refusals look. [`Negotiated`] by default.
    #[must_use]
    pub fn render_with(self, render: impl RenderRejection) -> Self {
        Self(self.0.render_with(render))
    }
}

impl fmt::Debug for RequireRoles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RequireRoles").field(&self.0.rule.scopes).finish()
    }
}

impl<S> Layer<S> for RequireRoles {
    type Service = Scoped<S>;

    fn layer(&self, inner: S) -> Scoped<S> {
        self.0.layer(inner)
    }
}

/// The service of [`RequireScopes`] and [`RequireRoles`].
#[derive(Debug, Clone)]
pub struct Scoped<S> {
    inner: S,
    rule: RequireScopes,
}

impl<S, B, R> Service<Request<B>> for Scoped<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ScopedFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let checked = self.rule.check(granted(request.extensions()));
        self.rule.rule.checks.count(checked.as_ref().err());
        match checked {
            Ok(()) => ScopedFuture::inner(self.inner.call(request)),
            Err(error) => {
                let (parts, _) = request.into_parts();
                ScopedFuture::refused(refuse(&*self.rule.render, &error, &parts))
            }
        }
    }
}

pin_project! {
    /// The future of [`Scoped`] and [`Claimed`](super::Claimed).
    #[derive(Debug)]
    pub struct ScopedFuture<F> {
        #[pin]
        kind: Kind<F>,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = KindProj]
    enum Kind<F> {
        Inner { #[pin] future: F },
        Refused { response: Option<Response<Bytes>> },
    }
}

impl<F> ScopedFuture<F> {
    pub(super) fn inner(future: F) -> Self {
        Self { kind: Kind::Inner { future } }
    }

    pub(super) fn refused(response: Response<Bytes>) -> Self {
        Self { kind: Kind::Refused { response: Some(response) } }
    }
}

impl<F, R, E> Future for ScopedFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<ResponseBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().kind.project() {
            KindProj::Inner { future } => {
                Poll::Ready(ready!(future.poll(cx)).map(|response| response.map(ResponseBody::inner)))
            }
            KindProj::Refused { response } => match response.take() {
                Some(response) => Poll::Ready(Ok(response.map(ResponseBody::own))),
                None => Poll::Pending,
            },
        }
    }
}

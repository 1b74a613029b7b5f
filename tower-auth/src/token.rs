//! What a verified token says, as handlers see it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;

use crate::granted::{Grant, Granted};
use crate::keys::Key;
use crate::policy::claims::Registered;

/// The claims type one gets without naming one: everything the token says besides what [`Verified`] has methods for.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct Claims {
    /// All members of the payload.
    pub all: serde_json::Map<String, serde_json::Value>,
}

/// A verified token: proof that a request was authenticated. In the extensions of the request; cloning it copies one
/// pointer.
pub struct Verified<C = Claims> {
    inner: Arc<Inner<C>>,
}

#[repr(C)]
pub(crate) struct Inner<C> {
    facts: Facts,
    claims: C,
}

/// The part that does not depend on the claims type. In the order in which it is read when the token comes again, so that
/// this touches little memory.
#[repr(C)]
pub(crate) struct Facts {
    /// `None` where the issuer itself said that the token is good.
    pub(crate) signed: Option<Signed>,
    /// With the token.
    pub(crate) registered: Registered,
}

impl Facts {
    pub(crate) fn token(&self) -> &str {
        self.registered.token()
    }
}

/// By what the signature was found good.
pub(crate) struct Signed {
    /// What the cache finds the token by, if there is a cache.
    hash: u64,
    /// Position of the issuer among those of the authenticator.
    pub(crate) issuer: u32,
    pub(crate) key: Arc<Key>,
    /// The latest set that was seen to hold `key` for this token.
    pub(crate) generation: AtomicU64,
    /// Modulo 256.
    uses: AtomicU8,
}

impl Signed {
    pub(crate) fn new(hash: u64, issuer: u32, key: Arc<Key>, generation: u64) -> Self {
        Self { hash, issuer, key, generation: AtomicU64::new(generation), uses: AtomicU8::new(0) }
    }

    /// Counts a use. Two at once may count as one: nothing but a sample is taken by it.
    pub(crate) fn used(&self) -> u8 {
        let uses = self.uses.load(Ordering::Relaxed).wrapping_add(1);
        self.uses.store(uses, Ordering::Relaxed);
        uses
    }
}

impl<C> Inner<C> {
    pub(crate) fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Whether this is the token with this hash.
    pub(crate) fn is(&self, hash: u64, token: &[u8]) -> bool {
        self.facts.signed.as_ref().is_some_and(|signed| signed.hash == hash)
            && self.facts.token().as_bytes() == token
    }
}

impl<C> AsRef<Facts> for Inner<C> {
    fn as_ref(&self) -> &Facts {
        &self.facts
    }
}

impl<C: Send + Sync + 'static> Grant for Verified<C> {
    fn facts(&self) -> &Facts {
        &self.inner.facts
    }

    fn granted(&self) -> Granted {
        Granted(Arc::clone(&self.inner) as _)
    }
}

impl<C> Verified<C> {
    pub(crate) fn new(mut registered: Registered, token: &str, signed: Option<Signed>, claims: C) -> Self {
        registered.keep(token);
        Self { inner: Arc::new(Inner { facts: Facts { signed, registered }, claims }) }
    }

    pub(crate) fn from_inner(inner: Arc<Inner<C>>) -> Self {
        Self { inner }
    }

    pub(crate) fn inner(&self) -> &Arc<Inner<C>> {
        &self.inner
    }

    pub(crate) fn facts(&self) -> &Facts {
        &self.inner.facts
    }

    pub(crate) fn registered(&self) -> &Registered {
        &self.inner.facts.registered
    }

    /// The claims in your type.
    #[must_use]
    pub fn claims(&self) -> &C {
        &self.inner.claims
    }

    /// `sub`: who the token is about.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.registered().sub()
    }

    /// `iss`: who issued it.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.registered().iss()
    }

    /// `client_id`: which client it was issued to (RFC 9068 §2.2).
    #[must_use]
    pub fn client_id(&self) -> Option<&str> {
        self.registered().client_id()
    }

    /// `jti`: the id of the token.
    #[must_use]
    pub fn token_id(&self) -> Option<&str> {
        self.registered().jti()
    }

    /// The scopes of `scope` and `scp`, each a string with spaces between them or an array of such.
    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        self.registered().scopes()
    }

    /// The roles, where [`roles_at`](crate::AuthenticatorBuilder::roles_at) says that they are.
    pub fn roles(&self) -> impl Iterator<Item = &str> {
        self.registered().roles()
    }

    /// Whether it has this role.
    #[must_use]
    pub fn has_role(&self, role: &str) -> bool {
        self.roles().any(|granted| granted == role)
    }

    /// Whether it has this scope.
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes().any(|granted| granted == scope)
    }

    /// `exp`, without leeway.
    #[must_use]
    pub fn expires_at(&self) -> SystemTime {
        let seconds = self.registered().exp.and_then(|exp| u64::try_from(exp).ok()).unwrap_or_default();
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    /// The token itself, for passing it on. A secret: keep it out of logs.
    #[must_use]
    pub fn token(&self) -> &str {
        self.inner.facts.token()
    }
}

impl<C> Clone for Verified<C> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

/// Neither the token nor the claims: both are other people's secrets.
impl<C> fmt::Debug for Verified<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified").field("issuer", &self.issuer()).finish_non_exhaustive()
    }
}

/// What [`revoked`](crate::AuthenticatorBuilder::revoked) decides by.
pub struct TokenFacts<'t>(pub(crate) &'t Registered);

impl TokenFacts<'_> {
    /// `iss`: who issued it.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.0.iss()
    }

    /// `sub`: who the token is about.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.0.sub()
    }

    /// `jti`: the id of the token.
    #[must_use]
    pub fn token_id(&self) -> Option<&str> {
        self.0.jti()
    }

    /// `iat`: when it was issued, for refusing everything issued before some moment.
    #[must_use]
    pub fn issued_at(&self) -> Option<SystemTime> {
        let seconds = u64::try_from(self.0.iat?).ok()?;
        Some(UNIX_EPOCH + Duration::from_secs(seconds))
    }
}

impl fmt::Debug for TokenFacts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenFacts").field("issuer", &self.issuer()).finish_non_exhaustive()
    }
}

/// [`Verified`] where the layer is [optional](crate::AuthLayer::optional): `None` for anonymous requests.
#[derive(Debug)]
pub struct MaybeVerified<C = Claims>(pub Option<Verified<C>>);

impl<C> Clone for MaybeVerified<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

#[cfg(feature = "axum")]
mod extract {
    use std::convert::Infallible;

    use axum_core::body::Body;
    use axum_core::extract::FromRequestParts;
    use axum_core::response::{IntoResponse, Response};
    use http::request::Parts;

    use super::{MaybeVerified, Verified};
    use crate::error::AuthError;

    impl<C: Send + Sync + 'static, S: Sync> FromRequestParts<S> for Verified<C> {
        type Rejection = AuthError;

        async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, AuthError> {
            parts.extensions.get::<Self>().cloned().ok_or(AuthError::MissingToken)
        }
    }

    impl<C: Send + Sync + 'static, S: Sync> FromRequestParts<S> for MaybeVerified<C> {
        type Rejection = Infallible;

        async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
            Ok(Self(parts.extensions.get::<Verified<C>>().cloned()))
        }
    }

    impl IntoResponse for AuthError {
        fn into_response(self) -> Response {
            let (parts, ()) = http::Request::new(()).into_parts();
            crate::layer::refuse(&crate::layer::Negotiated::default(), &self, &parts).map(Body::from)
        }
    }
}

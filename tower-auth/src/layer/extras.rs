//! What the extras ask of the authenticating layer. Without their features all of it is empty.

use bytes::Bytes;
use http::Response;
use http::request::Parts;

use super::AuthLayer;
use crate::authenticator::Authenticator;
use crate::error::AuthError;

/// Settings of the extras.
#[derive(Clone, Default)]
pub(super) struct Extras {
    #[cfg(feature = "dpop")]
    dpop: Option<crate::dpop::DpopPolicy>,
    #[cfg(feature = "metadata")]
    resource_metadata: Option<std::sync::Arc<str>>,
}

#[cfg(feature = "dpop")]
pub(super) use crate::dpop::Proven;

/// Nobody proves anything.
#[cfg(not(feature = "dpop"))]
pub(super) enum Proven {}

impl<C> AuthLayer<C> {
    /// Also accepts `Authorization: DPoP` (RFC 9449): a token bound to a key, with a proof that the sender has it. Bound
    /// tokens as bearer tokens stay refused, and unbound ones as DPoP tokens are.
    #[cfg(feature = "dpop")]
    #[must_use]
    pub fn dpop(mut self, policy: crate::dpop::DpopPolicy) -> Self {
        self.config.extras.dpop = Some(policy);
        self
    }

    /// Names the resource's metadata in each challenge (RFC 9728 §5.1), so that clients find out whom to ask for a token.
    #[cfg(feature = "metadata")]
    #[must_use]
    pub fn resource_metadata(mut self, resource: &crate::metadata::ProtectedResource) -> Self {
        self.config.extras.resource_metadata = Some(resource.url().into());
        self
    }
}

#[cfg_attr(
    not(feature = "dpop"),
    allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "the other form needs it")
)]
impl Extras {
    /// Whether tokens may come with proofs.
    pub(super) fn takes_proofs(&self) -> bool {
        #[cfg(feature = "dpop")]
        return self.dpop.is_some();
        #[cfg(not(feature = "dpop"))]
        false
    }

    /// A token with a proof, if that is what the request has.
    #[cfg(feature = "dpop")]
    pub(super) fn proven<'p, C>(
        &self,
        parts: &'p Parts,
        authenticator: &Authenticator<C>,
    ) -> Result<Option<(&'p str, Proven)>, AuthError> {
        let Some(policy) = &self.dpop else { return Ok(None) };
        policy.proven(parts, authenticator.now(), authenticator.backend())
    }

    #[cfg(not(feature = "dpop"))]
    pub(super) fn proven<'p, C>(
        &self,
        _: &'p Parts,
        _: &Authenticator<C>,
    ) -> Result<Option<(&'p str, Proven)>, AuthError> {
        Ok(None)
    }

    /// The token of a request whose proof was found good before.
    pub(super) fn token<'p>(&self, parts: &'p Parts) -> Result<&'p str, AuthError> {
        #[cfg(feature = "dpop")]
        return crate::dpop::token(parts)?.ok_or(AuthError::MissingToken);
        #[cfg(not(feature = "dpop"))]
        {
            let _ = parts;
            Err(AuthError::MissingToken)
        }
    }

    /// Uses the proof up.
    pub(super) fn spend(&self, proven: &Proven, now: std::time::SystemTime) -> Result<(), AuthError> {
        #[cfg(feature = "dpop")]
        return self.dpop.as_ref().map_or(Ok(()), |policy| policy.spend(proven, now));
        #[cfg(not(feature = "dpop"))]
        {
            let _ = now;
            match *proven {}
        }
    }

    /// What the challenges of a refusal say besides.
    pub(super) fn complete(&self, error: &AuthError, realm: Option<&str>, response: &mut Response<Bytes>) {
        #[cfg(feature = "dpop")]
        if let Some(policy) = &self.dpop {
            let challenge = match error {
                AuthError::MissingToken => Some(crate::policy::challenge::dpop(realm, None)),
                AuthError::InvalidToken(_) => {
                    let error = ("invalid_token", error.to_string());
                    Some(crate::policy::challenge::dpop(realm, Some((error.0, &error.1))))
                }
                _ => None,
            };
            if let Some(value) = challenge.and_then(|text| text.parse().ok()) {
                response.headers_mut().append(http::header::WWW_AUTHENTICATE, value);
            }
            if let (AuthError::UseNonce, Some(nonce)) = (error, policy.nonce()) {
                response.headers_mut().insert(crate::dpop::NONCE, nonce);
            }
        }
        #[cfg(feature = "metadata")]
        if let Some(url) = &self.resource_metadata {
            crate::metadata::name_in_challenges(url, response.headers_mut());
        }
        let _ = (error, realm, response);
    }
}

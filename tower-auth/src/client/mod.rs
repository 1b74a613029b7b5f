//! The client side: obtaining access tokens and attaching them.

mod bearer;
mod credentials;
mod forward;
mod replay;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::request::Parts;

pub use bearer::{Bearer, BearerFuture, BearerLayer};
pub use credentials::{ClientCredentials, ClientCredentialsBuilder};
pub use forward::{ForwardToken, InboundLayer, InboundScope, InboundScopeFuture, forward_with};
pub use replay::{Bodiless, Buffering, Never, Replay, Replayable, UpTo};

pub use crate::form::AuthMethod;

use crate::error::{BoxError, ConfigError};

/// An access token as an `Authorization` value; never shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessToken(Arc<HeaderValue>);

impl AccessToken {
    /// `None` when the text is no `b64token` (RFC 6750 §2.1).
    #[must_use]
    pub fn new(token: &str) -> Option<Self> {
        Self::by("Bearer", token)
    }

    pub(crate) fn by(scheme: &str, token: &str) -> Option<Self> {
        let value = format!("{scheme} {token}");
        match crate::policy::challenge::credentials_of(scheme, value.as_bytes()) {
            crate::policy::challenge::Credentials::Token(_) => {}
            _ => return None,
        }
        let mut value = HeaderValue::try_from(value).ok()?;
        value.set_sensitive(true);
        Some(Self(Arc::new(value)))
    }

    /// The value of `Authorization`, marked sensitive.
    #[must_use]
    pub fn header(&self) -> HeaderValue {
        (*self.0).clone()
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessToken")
    }
}

/// Why a request was not sent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rejected {
    /// No access token could be had.
    TokenUnavailable {
        /// When asking again may help.
        retry_after: Duration,
    },
    /// The inbound token is bound to a key of its sender (`cnf`), so that it is worth nothing to anybody else.
    SenderConstrained,
    /// The body, which had to be read before it could be sent twice, ended with an error, or was not what it said.
    Body,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TokenUnavailable { .. } => "no access token could be obtained",
            Self::SenderConstrained => "the inbound token is bound to its sender and cannot be passed on",
            Self::Body => "the body of the request could not be read",
        })
    }
}

impl std::error::Error for Rejected {}

/// The error of [`Bearer`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Error<E> {
    /// Refused before it was sent.
    Rejected(Rejected),
    /// From the inner service.
    Inner(E),
}

impl<E: Into<BoxError>> Error<E> {
    /// The error as a box, for inner errors that are boxes already and so no [`std::error::Error`] themselves.
    pub fn into_box(self) -> BoxError {
        match self {
            Self::Rejected(rejected) => rejected.into(),
            Self::Inner(error) => error.into(),
        }
    }
}

// What lies behind is the source's to say: a report that walks the chain says everything once.
impl<E> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rejected(_) => "the call was not made",
            Self::Inner(_) => "the call failed",
        })
    }
}

impl<E: std::error::Error + 'static> std::error::Error for Error<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Rejected(rejected) => Some(rejected),
            Self::Inner(error) => Some(error),
        }
    }
}

/// The refusal in a chain of errors, however often it was boxed.
#[must_use]
pub fn find_rejection<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Rejected> {
    std::iter::successors(Some(error), |error| error.source()).find_map(<dyn std::error::Error>::downcast_ref)
}

/// A token that must be waited for.
pub type PendingToken = Pin<Box<dyn Future<Output = Result<AccessToken, Rejected>> + Send>>;

/// What a provider answers.
pub enum TokenAnswer {
    /// At once.
    Ready(Result<AccessToken, Rejected>),
    /// The request goes without a token.
    Without,
    /// After a while, which the provider bounds.
    Pending(PendingToken),
}

impl fmt::Debug for TokenAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ready(_) => "Ready",
            Self::Without => "Without",
            Self::Pending(_) => "Pending",
        })
    }
}

/// Where access tokens come from.
pub trait TokenProvider {
    /// A token that is good now, for this request.
    fn token(&self, request: &Parts) -> TokenAnswer;

    /// The server did not accept this token. Answers whether [`token`](Self::token) may have another one; a provider
    /// that gets tokens from an issuer drops this one, once however often it is told, and not so often that an API which
    /// rejects every token makes it ask all the time. `false` by default.
    fn rejected(&self, token: &AccessToken) -> bool {
        let _ = token;
        false
    }
}

/// A token that never changes.
#[derive(Debug, Clone)]
pub struct StaticToken(AccessToken);

impl StaticToken {
    /// # Errors
    ///
    /// When the text is no bearer token (RFC 6750 §2.1).
    pub fn new(token: &str) -> Result<Self, ConfigError> {
        AccessToken::new(token).map(Self).ok_or_else(|| ConfigError::new("token", "not a bearer token"))
    }
}

impl TokenProvider for StaticToken {
    fn token(&self, _: &Parts) -> TokenAnswer {
        TokenAnswer::Ready(Ok(self.0.clone()))
    }
}

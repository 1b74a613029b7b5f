//! Errors of this crate.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use crate::policy::challenge;

/// Any error that can cross threads; what tower calls `BoxError`.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A configuration that cannot work, found when the value is built. Names the field at fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    field: &'static str,
    reason: Cow<'static, str>,
}

impl ConfigError {
    pub(crate) fn new(field: &'static str, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { field, reason: reason.into() }
    }

    /// The name of the builder method or configuration field at fault.
    #[must_use]
    pub fn field(&self) -> &str {
        self.field
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid `{}`: {}", self.field, self.reason)
    }
}

impl std::error::Error for ConfigError {}

/// Why a token was refused. Says what is wrong with the token, never what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenFault {
    /// Longer than 16 KiB, or one of its parts longer than any honest one.
    TooLarge,
    /// Not a compact JWS (RFC 7515 §7.1) with strict base64url and JSON without duplicate members.
    Malformed,
    /// `alg` is absent, `none`, or none that is supported.
    Algorithm,
    /// A header parameter that is not understood or of the wrong type (`crit`, `b64`, `zip`, `enc`, …).
    Header,
    /// `typ` says that this is another kind of token (RFC 8725 §3.11).
    Type,
    /// No key of the issuer fits `kid` and `alg`.
    UnknownKey,
    /// The signature is not good.
    Signature,
    /// A required claim is absent.
    Missing(&'static str),
    /// A claim of the wrong type or out of range.
    Claim(&'static str),
    /// `iss` is none of the configured issuers.
    Issuer,
    /// `aud` is none of the configured audiences.
    Audience,
    /// After `exp`, or older than the maximum age.
    Expired,
    /// Before `nbf`, or issued in the future.
    NotYetValid,
    /// Bound to a key of its sender (`cnf`), which a bearer request does not prove.
    SenderConstrained,
    /// Revoked, as the hook says.
    Revoked,
    /// Not active, as the issuer says that was asked (RFC 7662 §2.2).
    Inactive,
    /// The claims do not fit the type they are read into.
    ClaimsType,
}

impl fmt::Display for TokenFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => f.write_str("The access token is too large"),
            Self::Malformed => f.write_str("The access token is malformed"),
            Self::Algorithm => f.write_str("The signature algorithm is not accepted"),
            Self::Header => f.write_str("The token header is not accepted"),
            Self::Type => f.write_str("The token type is not accepted"),
            Self::UnknownKey => f.write_str("The signing key is not known"),
            Self::Signature => f.write_str("The signature is not valid"),
            Self::Missing(claim) => write!(f, "The claim {claim} is missing"),
            Self::Claim(claim) => write!(f, "The claim {claim} is not valid"),
            Self::Issuer => f.write_str("The issuer is not accepted"),
            Self::Audience => f.write_str("The audience is not accepted"),
            Self::Expired => f.write_str("The access token expired"),
            Self::NotYetValid => f.write_str("The access token is not yet valid"),
            Self::SenderConstrained => f.write_str("The access token is bound to a key of its sender"),
            Self::Inactive => f.write_str("The access token is not active"),
            Self::Revoked => f.write_str("The access token was revoked"),
            Self::ClaimsType => f.write_str("The claims are not of the expected form"),
        }
    }
}

impl std::error::Error for TokenFault {}

/// Why a request was refused; found in the extensions of the response.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthError {
    /// No bearer token in the request: 401 and a challenge without an error code (RFC 6750 §3.1).
    MissingToken,
    /// The credentials cannot be read or were sent twice: 400, `invalid_request`.
    InvalidRequest(&'static str),
    /// The token is not accepted: 401, `invalid_token`.
    InvalidToken(TokenFault),
    /// The token is good but does not allow this: 403, `insufficient_scope`.
    InsufficientScope {
        /// The scopes that would be enough, separated by spaces (RFC 6750 §3).
        required: Arc<str>,
    },
    /// The proof that the sender has the key its token is bound to is not accepted: 401, `invalid_dpop_proof` (RFC 9449
    /// §7.1).
    InvalidProof(&'static str),
    /// The proof must contain the nonce that this answer brings: 401, `use_dpop_nonce` (RFC 9449 §9).
    UseNonce,
    /// The issuer could not be asked about the token: 503. Says nothing about the token.
    IntrospectionUnavailable {
        /// When asking again may help.
        retry_after: Duration,
    },
    /// The token is good, but a rule does not allow this to its owner: 403, `insufficient_scope`.
    Forbidden,
    /// A rule could not decide: 503. Says nothing about the token.
    RuleUnavailable {
        /// When asking again may help.
        retry_after: Duration,
    },
    /// The keys of the issuer could not be had: 503. Says nothing about the token.
    KeysUnavailable {
        /// When asking again may help.
        retry_after: Duration,
    },
}

impl AuthError {
    /// The problem kind, also the outcome label of the metrics; a heading of the README.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::MissingToken => "missing-token",
            Self::InvalidRequest(_) => "invalid-request",
            Self::InvalidToken(_) => "invalid-token",
            Self::InsufficientScope { .. } => "insufficient-scope",
            Self::Forbidden => "forbidden",
            Self::RuleUnavailable { .. } => "rule-unavailable",
            Self::KeysUnavailable { .. } => "keys-unavailable",
            Self::InvalidProof(_) => "invalid-proof",
            Self::UseNonce => "use-nonce",
            Self::IntrospectionUnavailable { .. } => "introspection-unavailable",
        }
    }

    /// The status of the answer (RFC 6750 §3.1).
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::MissingToken | Self::InvalidToken(_) | Self::InvalidProof(_) | Self::UseNonce => {
                StatusCode::UNAUTHORIZED
            }
            Self::InvalidRequest(_) => StatusCode::BAD_REQUEST,
            Self::InsufficientScope { .. } | Self::Forbidden => StatusCode::FORBIDDEN,
            Self::KeysUnavailable { .. }
            | Self::IntrospectionUnavailable { .. }
            | Self::RuleUnavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The gRPC status code: 16 unauthenticated, 7 permission denied, 14 unavailable.
    #[must_use]
    pub fn grpc_code(&self) -> u8 {
        match self {
            Self::MissingToken
            | Self::InvalidRequest(_)
            | Self::InvalidToken(_)
            | Self::InvalidProof(_)
            | Self::UseNonce => 16,
            Self::InsufficientScope { .. } | Self::Forbidden => 7,
            Self::KeysUnavailable { .. }
            | Self::IntrospectionUnavailable { .. }
            | Self::RuleUnavailable { .. } => 14,
        }
    }

    /// When asking again may help, where that is all there is to do.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RuleUnavailable { retry_after }
            | Self::KeysUnavailable { retry_after }
            | Self::IntrospectionUnavailable { retry_after } => Some(*retry_after),
            _ => None,
        }
    }

    /// The value of `WWW-Authenticate`; `None` where no credentials would help. Without a realm, a challenge that has
    /// nothing else to say names the realm `api`: RFC 6750 §3 wants a parameter.
    #[must_use]
    pub fn challenge(&self, realm: Option<&str>) -> Option<String> {
        let description = self.to_string();
        match self {
            Self::MissingToken => Some(challenge::bearer(realm.or(Some(challenge::REALM)), None, None)),
            Self::InvalidRequest(_) => {
                Some(challenge::bearer(realm, Some(("invalid_request", &description)), None))
            }
            Self::InvalidToken(_) => {
                Some(challenge::bearer(realm, Some(("invalid_token", &description)), None))
            }
            Self::InsufficientScope { required } => {
                Some(challenge::bearer(realm, Some(("insufficient_scope", &description)), Some(required)))
            }
            Self::InvalidProof(_) => Some(challenge::dpop(realm, Some(("invalid_dpop_proof", &description)))),
            Self::UseNonce => Some(challenge::dpop(realm, Some(("use_dpop_nonce", &description)))),
            // "The request requires higher privileges than provided by the access token" (RFC 6750 §3.1).
            Self::Forbidden => {
                Some(challenge::bearer(realm, Some(("insufficient_scope", &description)), None))
            }
            Self::KeysUnavailable { .. }
            | Self::IntrospectionUnavailable { .. }
            | Self::RuleUnavailable { .. } => None,
        }
    }
}

impl fmt::Display for AuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingToken => f.write_str("An access token is required"),
            Self::InvalidRequest(reason) | Self::InvalidProof(reason) => f.write_str(reason),
            Self::InvalidToken(fault) => fault.fmt(f),
            Self::InsufficientScope { .. } => f.write_str("The access token does not grant what this needs"),
            Self::Forbidden => f.write_str("The owner of the access token may not do this"),
            Self::RuleUnavailable { .. } => f.write_str("Whether this is allowed cannot be decided now"),
            Self::KeysUnavailable { .. } => f.write_str("The keys of the issuer are not available"),
            Self::UseNonce => f.write_str("Resource server requires nonce in DPoP proof"),
            Self::IntrospectionUnavailable { .. } => {
                f.write_str("The issuer cannot be asked about the token")
            }
        }
    }
}

impl std::error::Error for AuthError {}

impl From<TokenFault> for AuthError {
    fn from(fault: TokenFault) -> Self {
        Self::InvalidToken(fault)
    }
}

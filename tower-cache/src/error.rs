//! Errors of this crate.

use std::borrow::Cow;
use std::fmt;

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

/// Why the cache answered with a refusal of its own; put into the extensions of that response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CacheError {
    /// The request wants a stored response only (`Cache-Control: only-if-cached`), and there is none it may have: 504
    /// (RFC 9111 §5.2.1.7).
    NotCached,
}

impl fmt::Display for CacheError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotCached => {
                f.write_str("no stored response can answer the request, which asks for no other")
            }
        }
    }
}

impl std::error::Error for CacheError {}

/// The response that a request was reading along with another one ended before it was complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the response ended before it was complete")
    }
}

impl std::error::Error for Interrupted {}

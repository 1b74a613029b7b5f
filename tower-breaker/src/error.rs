//! Errors of this crate.

use std::any::Any;
use std::borrow::Cow;
use std::convert::Infallible;
use std::fmt;
use std::time::Duration;

use crate::name::Name;

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

/// A call that was not let through.
///
/// Behind boxed errors, [`find_rejection`] finds it.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rejected {
    breaker: Name,
    /// `wait in nanoseconds 61 | reason 3`: a byte that is read back as part of a word, when a struct is moved as soon as
    /// it is made, keeps the processor waiting for as long as a rejection otherwise takes.
    why: u64,
}

/// The wait that nobody knows. Who waits for 73 years is told of a nanosecond less.
const UNKNOWN: u64 = u64::MAX >> 3;

const REASONS: [RejectReason; 6] = [
    RejectReason::Open,
    RejectReason::ProbesTaken,
    RejectReason::ForcedOpen,
    RejectReason::Ramping,
    RejectReason::Full,
    RejectReason::Throttled,
];

/// Why a call was not let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RejectReason {
    /// The breaker is open.
    Open,
    /// The breaker is half open and all probes are under way.
    ProbesTaken,
    /// The breaker was opened by hand.
    ForcedOpen,
    /// The breaker has closed a moment ago and lets calls back in by and by; this one was not drawn.
    Ramping,
    /// The bulkhead has no slot, and no room in its queue or none in time.
    Full,
    /// The throttle drew this call: the upstream refuses more than it accepts.
    Throttled,
}

impl Rejected {
    pub(crate) fn new(breaker: Name, reason: RejectReason, retry_after: Option<Duration>) -> Self {
        let nanos = |wait: Duration| u64::try_from(wait.as_nanos()).unwrap_or(UNKNOWN).min(UNKNOWN - 1);
        Self { breaker, why: retry_after.map_or(UNKNOWN, nanos) << 3 | reason as u64 }
    }

    /// By a breaker that stays open for `wait` nanoseconds.
    #[inline]
    pub(crate) fn open(breaker: Name, wait: u64) -> Self {
        Self { breaker, why: wait.min(UNKNOWN - 1) << 3 | RejectReason::Open as u64 }
    }

    /// The name of the breaker, or of the bulkhead or throttle: whoever rejected.
    #[must_use]
    pub fn breaker(&self) -> &str {
        &self.breaker
    }

    /// Why.
    #[must_use]
    pub fn reason(&self) -> RejectReason {
        REASONS[(self.why & 7) as usize]
    }

    /// When a call may pass again, from the moment of the rejection on; `None` when nobody knows (opened by hand).
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        let wait = self.why >> 3;
        (wait != UNKNOWN).then(|| Duration::from_nanos(wait))
    }
}

impl fmt::Debug for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejected")
            .field("breaker", &self.breaker)
            .field("reason", &self.reason())
            .field("retry_after", &self.retry_after())
            .finish()
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (who, reason) = match self.reason() {
            RejectReason::Open => ("circuit breaker", "is open"),
            RejectReason::ProbesTaken => ("circuit breaker", "waits for its probes"),
            RejectReason::ForcedOpen => ("circuit breaker", "was opened by hand"),
            RejectReason::Ramping => ("circuit breaker", "lets calls back in by and by"),
            RejectReason::Full => ("bulkhead", "is full"),
            RejectReason::Throttled => ("throttle", "holds calls back"),
        };
        write!(f, "{who} `{}` {reason}", self.breaker)?;
        match self.retry_after() {
            Some(wait) => write!(f, "; next call in {wait:?}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Rejected {}

/// The error of a guarded call: the breaker's own or the inner one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error<E> {
    /// The call was not made.
    Rejected(Rejected),
    /// The call was made and failed.
    Inner(E),
}

impl<E> Error<E> {
    /// The rejection, if it is one.
    pub fn rejection(&self) -> Option<&Rejected> {
        match self {
            Self::Rejected(rejected) => Some(rejected),
            Self::Inner(_) => None,
        }
    }
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

/// The rejection in an error or in one of its sources, however often it was boxed on the way.
#[must_use]
pub fn find_rejection<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Rejected> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(rejected) = error.downcast_ref() {
            return Some(rejected);
        }
        next = error.source();
    }
    None
}

/// Whether the request's own content broke off while it was sent, which says nothing about the upstream. hyper's clients say
/// so over HTTP/1; over HTTP/2 the stream was reset from this side (h2). Known by what the errors print, as this crate
/// depends on neither: a text that changes makes it a failure again.
fn is_content_broken(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut chain = std::iter::successors(Some(error), |error| error.source());
    chain.any(|error| {
        let text = error.to_string();
        text == "error from user's Body stream" || text.starts_with("stream error sent by user: ")
    })
}

/// Whether an error says nothing about the upstream: a rejection of this side, or a request that broke off.
pub(crate) fn says_nothing(error: &dyn Any) -> bool {
    // Errors have no names here but these; a service whose own error is in an `Error` boxes it, to be understood.
    let boxed = error.downcast_ref::<BoxError>().or_else(|| match error.downcast_ref() {
        Some(Error::Inner(boxed)) => Some(boxed),
        _ => None,
    });
    if let Some(error) = boxed {
        return find_rejection(&**error).is_some() || is_content_broken(&**error);
    }
    error.is::<Rejected>()
        || error.downcast_ref::<Error<BoxError>>().is_some_and(|error| error.rejection().is_some())
        || error.downcast_ref::<Error<Infallible>>().is_some_and(|error| error.rejection().is_some())
}

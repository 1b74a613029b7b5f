//! What the cache did with a request: an extension of the response, the label of a metric, and `Cache-Status`.

/// What the cache did; put into the extensions of every response that passes it, except gRPC, upgrades and tunnels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CacheOutcome {
    /// Answered from the store, fresh.
    Hit,
    /// Answered from the store, stale.
    Stale(StaleReason),
    /// The origin said that the stored response is still good, and it was the answer.
    Revalidated,
    /// Answered with the response another request was fetching at the same time.
    Collapsed,
    /// Answered by the origin.
    Miss(MissReason),
    /// Not the cache's business: neither looked up nor stored.
    Bypass(BypassReason),
    /// 504: the request wanted a stored response only (`only-if-cached`), and there is none it may have.
    NotCached,
}

/// Why a stale response was the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StaleReason {
    /// The request allows it (`max-stale`).
    Request,
    /// It is being validated in the background (RFC 5861 §3).
    Revalidating,
    /// The origin failed (RFC 5861 §4).
    Error,
}

/// Why the origin was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MissReason {
    /// Nothing is stored for the URI.
    Uri,
    /// Something is stored for the URI, but for other requests (`Vary`).
    Vary,
    /// What is stored is stale, and the origin sent a new response.
    Stale,
    /// The request did not want what is stored (`no-cache`, `max-age`, `min-fresh`).
    Request,
    /// The store failed, or is being left alone after failures.
    Store,
}

/// Why a request passed the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BypassReason {
    /// Its method is neither GET nor HEAD.
    Method,
    /// [`CacheBypass`] is among its extensions.
    Extension,
    /// It carries a field by which some frameworks take another method or path (`X-HTTP-Method-Override` and such), or
    /// its `Connection` takes other fields away from the origin.
    Override,
    /// It carries `If-Match` or `If-Unmodified-Since`, which only the origin can answer.
    Precondition,
    /// It has content, which is no part of the key.
    Content,
    /// It has no authority to be told apart by (neither in the URI nor in `Host`), more than one `Host`, or no path.
    Authority,
}

impl CacheOutcome {
    /// The number of different outcomes.
    pub(crate) const KINDS: usize = 7;

    /// `hit`, `stale`, `revalidated`, `collapsed`, `miss`, `bypass` or `not_cached`; the label of
    /// `tower_cache_requests_total`.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        Self::LABELS[self.index()]
    }

    pub(crate) const LABELS: [&'static str; Self::KINDS] =
        ["hit", "stale", "revalidated", "collapsed", "miss", "bypass", "not_cached"];

    pub(crate) const fn index(&self) -> usize {
        match self {
            Self::Hit => 0,
            Self::Stale(_) => 1,
            Self::Revalidated => 2,
            Self::Collapsed => 3,
            Self::Miss(_) => 4,
            Self::Bypass(_) => 5,
            Self::NotCached => 6,
        }
    }

    /// The reason in one word; the same as [`as_str`](Self::as_str) where there is none.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Stale(StaleReason::Request) | Self::Miss(MissReason::Request) => "request",
            Self::Stale(StaleReason::Revalidating) => "revalidating",
            Self::Stale(StaleReason::Error) => "error",
            Self::Miss(MissReason::Uri) => "uri-miss",
            Self::Miss(MissReason::Vary) => "vary-miss",
            Self::Miss(MissReason::Stale) => "stale",
            Self::Miss(MissReason::Store) => "store",
            Self::Bypass(BypassReason::Method) => "method",
            Self::Bypass(BypassReason::Extension) => "extension",
            Self::Bypass(BypassReason::Override) => "override",
            Self::Bypass(BypassReason::Precondition) => "precondition",
            Self::Bypass(BypassReason::Content) => "content",
            Self::Bypass(BypassReason::Authority) => "authority",
            Self::Hit | Self::Revalidated | Self::Collapsed | Self::NotCached => self.as_str(),
        }
    }

    /// The value of `fwd` in `Cache-Status` (RFC 9211 §2.2), when the origin was asked.
    pub(crate) const fn forwarded(&self) -> Option<&'static str> {
        match self {
            Self::Miss(MissReason::Store) => Some("miss"),
            Self::Miss(_) | Self::Bypass(BypassReason::Method) => Some(self.reason()),
            Self::Bypass(_) => Some("bypass"),
            Self::Revalidated | Self::Stale(StaleReason::Error) => Some("stale"),
            Self::Hit | Self::Stale(_) | Self::Collapsed | Self::NotCached => None,
        }
    }
}

/// A request with this among its extensions passes the cache: it is not answered from it, and its response is not
/// stored. An unsafe method still invalidates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheBypass;

/// A request with this among its extensions is answered by what is stored, or with 504 and
/// [`CacheError::NotCached`](crate::CacheError::NotCached): it never waits for the inner service. The wish of one's own
/// code, where `Cache-Control: only-if-cached` (RFC 9111 §5.2.1.7) is that of a client; it counts even when
/// [clients' wishes do not](crate::CacheBuilder::honour_request_directives), and also for what the cache never answers,
/// such as other methods, gRPC, and requests with [`CacheBypass`]. Of what is served stale meanwhile, the validation in
/// the background still takes place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheOnly;

//! Extra: one honest record per call, and the metrics of all of them.
//!
//! [`ObserveLayer`] watches a call to the end of its body, and then, once: records it in the RED metrics, decides whether
//! it is written down, and writes the line. Whoever gives up, at whatever point, ends the call as well.
//!
//! The layer stands inside [`CorrelationLayer`](crate::CorrelationLayer) on servers, and beside
//! [`PropagateLayer`](crate::PropagateLayer) on clients, outside of what is to be measured; without them it works too, but its
//! lines have no id.

mod body;
mod builder;
mod call;
#[cfg(feature = "tracing")]
mod event;
mod layer;
mod metrics;
mod place;
mod request;
mod summary;

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Extensions, response::Parts};

pub use crate::policy::record::{Outcome, Side};
pub use body::ResponseBody;
pub use builder::ObserveBuilder;
pub use layer::{ObserveLayer, ObserveService, ResponseFuture};
pub use request::{CountRequestLayer, CountRequestService, RequestBody};
pub use summary::RouteSummary;

use crate::error::ConfigError;
use crate::policy::sampling::{Always, Bucket, Threshold, threshold};
use crate::policy::state::TraceState;
use metrics::{Red, Route, RouteIndex};

/// Where lines go.
enum Output {
    None,
    Json(Box<dyn Fn(&str) + Send + Sync>),
    #[cfg(feature = "tracing")]
    Tracing,
}

type RouteOf = Box<dyn for<'a> Fn(&'a Extensions) -> Option<&'a str> + Send + Sync>;
type PeerOf = Box<dyn Fn(&Extensions) -> Option<IpAddr> + Send + Sync>;
type FieldOf = Box<dyn Fn(&Parts) -> Option<String> + Send + Sync>;

/// What became of the calls that ended, as far as lines go: `emitted + sampled_out + rate_limited == finished` whenever
/// no call is just ending. All zero without an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Accounting {
    /// Calls that ended.
    pub finished: u64,
    /// Calls that were written down.
    pub emitted: u64,
    /// Calls that the rate left out.
    pub sampled_out: u64,
    /// Calls that the rate kept and the limit on lines left out.
    pub rate_limited: u64,
}

#[derive(Debug, Default)]
struct Counts {
    finished: AtomicU64,
    emitted: AtomicU64,
    sampled_out: AtomicU64,
    rate_limited: AtomicU64,
}

struct Shared {
    server: Red,
    client: Red,
    output: Output,
    /// For routes that have no rate of their own.
    rate: AtomicU64,
    route_rates: Vec<(Box<str>, Threshold)>,
    always: Always,
    limit: Option<Mutex<Bucket>>,
    head_decides: bool,
    constant: Vec<(&'static str, String)>,
    fields: Vec<(&'static str, FieldOf)>,
    route: Option<RouteOf>,
    peer: Option<PeerOf>,
    count_requests: bool,
    server_timing: bool,
    wall_clock: fn() -> SystemTime,
    started: Instant,
    counts: Counts,
}

impl Shared {
    fn red(&self, side: Side) -> &Red {
        match side {
            Side::Server => &self.server,
            Side::Client => &self.client,
        }
    }

    fn threshold(&self, route: &Route) -> Threshold {
        route.threshold.unwrap_or_else(|| Threshold::from_bits(self.rate.load(Ordering::Relaxed)))
    }

    fn resolves(&self) -> bool {
        self.route.is_some()
    }

    fn route(&self, side: Side, extensions: &Extensions) -> RouteIndex {
        let name = self.route.as_ref().and_then(|route| route(extensions));
        self.find(side, name)
    }

    fn find(&self, side: Side, name: Option<&str>) -> RouteIndex {
        self.red(side).routes.find(name, |route| builder::rate_of(&self.route_rates, route))
    }

    /// The caller's threshold, where the first service decides for all.
    fn inherited(&self, state: Option<&TraceState>) -> Option<Threshold> {
        if self.head_decides { state.and_then(threshold) } else { None }
    }

    /// Whether the limit lets a line through, and the weight of those that it refused before.
    fn admit(&self, weight: f64) -> Option<f64> {
        let Some(limit) = &self.limit else { return Some(0.0) };
        let now = tokio::time::Instant::now().into_std().saturating_duration_since(self.started);
        limit.lock().unwrap_or_else(PoisonError::into_inner).take(now, weight)
    }

    fn wall_clock(&self) -> Duration {
        (self.wall_clock)().duration_since(UNIX_EPOCH).unwrap_or_default()
    }
}

/// What is observed, and where it goes: a cheap handle that all layers of a program share.
#[derive(Clone)]
pub struct Observe {
    shared: Arc<Shared>,
}

impl fmt::Debug for Observe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observe").field("accounting", &self.accounting()).finish_non_exhaustive()
    }
}

impl Observe {
    /// Begins with metrics alone; lines need [`json`](ObserveBuilder::json) or `tracing`.
    pub fn builder() -> ObserveBuilder {
        ObserveBuilder::new()
    }

    /// Changes the share of calls that is written down, for routes without one of their own, from the next call on.
    ///
    /// # Errors
    ///
    /// When `rate` is not between 0 and 1; then nothing changes.
    pub fn set_sample(&self, rate: f64) -> Result<(), ConfigError> {
        let threshold = builder::share("sample", rate)?;
        self.shared.rate.store(threshold.to_bits(), Ordering::Relaxed);
        Ok(())
    }

    /// What became of the calls so far.
    #[must_use]
    pub fn accounting(&self) -> Accounting {
        let counts = &self.shared.counts;
        Accounting {
            finished: counts.finished.load(Ordering::Relaxed),
            emitted: counts.emitted.load(Ordering::Relaxed),
            sampled_out: counts.sampled_out.load(Ordering::Relaxed),
            rate_limited: counts.rate_limited.load(Ordering::Relaxed),
        }
    }
}

/// Adds the time to the head of the response to `Server-Timing` (W3C Server Timing), beside what others said there.
fn server_timing(headers: &mut HeaderMap, waited: Duration) {
    const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
    let value = format!("total;dur={:.3}", crate::policy::record::millis(waited));
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.append(SERVER_TIMING, value);
    }
}

//! How an [`Observe`] is put together.

use std::fmt;
use std::net::IpAddr;
use std::ops::{Bound, RangeBounds};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use http::{Extensions, response::Parts};

use super::metrics::{Red, Routes};
use super::{ConfigError, Counts, FieldOf, Observe, Output, PeerOf, RouteOf, Shared};
use crate::policy::record::{NAMES, Side};
use crate::policy::sampling::{Always, Bucket, Threshold};

/// Routes that have series of their own unless told otherwise.
const MAX_ROUTES: usize = 256;
/// Most that may be asked for: the table is made at once, and more series than of these no store of metrics takes.
const MOST_ROUTES: usize = 1 << 16;

/// Builds an [`Observe`].
#[must_use]
pub struct ObserveBuilder {
    output: Output,
    rate: f64,
    route_rates: Vec<(Box<str>, f64)>,
    statuses: Vec<(u16, u16)>,
    slower_than: Option<Duration>,
    failed: bool,
    limit: Option<(f64, u32)>,
    head_decides: bool,
    max_routes: usize,
    constant: Vec<(&'static str, String)>,
    fields: Vec<(&'static str, FieldOf)>,
    route: Option<RouteOf>,
    peer: Option<PeerOf>,
    count_requests: bool,
    server_timing: bool,
    summary: bool,
    wall_clock: fn() -> SystemTime,
}

impl fmt::Debug for ObserveBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObserveBuilder").field("rate", &self.rate).finish_non_exhaustive()
    }
}

impl ObserveBuilder {
    pub(super) fn new() -> Self {
        Self {
            output: Output::None,
            rate: 1.0,
            route_rates: Vec::new(),
            statuses: Vec::new(),
            slower_than: None,
            failed: false,
            limit: None,
            head_decides: false,
            max_routes: MAX_ROUTES,
            constant: Vec::new(),
            fields: Vec::new(),
            route: None,
            peer: None,
            count_requests: false,
            server_timing: false,
            summary: false,
            wall_clock: SystemTime::now,
        }
    }

    fn constant(mut self, name: &'static str, value: String) -> Self {
        self.constant.retain(|(other, _)| *other != name);
        self.constant.push((name, value));
        self
    }

    /// The field `service` of every line. Default: none.
    pub fn service(self, name: impl Into<String>) -> Self {
        self.constant("service", name.into())
    }

    /// The field `instance` of every line. Default: none.
    pub fn instance(self, name: impl Into<String>) -> Self {
        self.constant("instance", name.into())
    }

    /// The field `version` of every line. Default: none.
    pub fn version(self, version: impl Into<String>) -> Self {
        self.constant("version", version.into())
    }

    /// Lines go to `write`, each as one JSON object without line end. It runs at the end of each body, on the task that
    /// read it: it should not block.
    pub fn json(mut self, write: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.output = Output::Json(Box::new(write));
        self
    }

    /// Lines are `tracing` events with target `tower_correlation::observe` and level INFO.
    #[cfg(feature = "tracing")]
    pub fn tracing(mut self) -> Self {
        self.output = Output::Tracing;
        self
    }

    /// The share of calls that is written down, from 0 to 1. Default: 1. Services with the same rate keep the same
    /// traces, and one with a lower rate keeps some of those.
    pub fn sample(mut self, rate: f64) -> Self {
        self.rate = rate;
        self
    }

    /// Another share for one route, such as 0 for health checks.
    pub fn sample_route(mut self, route: &str, rate: f64) -> Self {
        self.route_rates.retain(|(other, _)| **other != *route);
        self.route_rates.push((route.into(), rate));
        self
    }

    /// Calls whose status is in the range are all written down, such as `500..` or `429..=429`. Default: none.
    pub fn always_status(mut self, range: impl RangeBounds<u16>) -> Self {
        let first = match range.start_bound() {
            Bound::Included(first) => *first,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let last = match range.end_bound() {
            Bound::Included(last) => *last,
            Bound::Excluded(after) => after.saturating_sub(1),
            Bound::Unbounded => u16::MAX,
        };
        self.statuses.push((first, last));
        self
    }

    /// Calls that take longer, to the end of their bodies, are all written down. Default: none.
    pub fn always_slower_than(mut self, limit: Duration) -> Self {
        self.slower_than = Some(limit);
        self
    }

    /// Calls that end in an error, are given up, or have a gRPC status that says that the server failed (2, 4, 12, 13,
    /// 14, 15) are all written down. Default: no.
    pub fn always_failed(mut self, always: bool) -> Self {
        self.failed = always;
        self
    }

    /// At most so many lines a second on average and `burst` at once. Default: no limit. What the lines left out stood
    /// for is in the field `carried` of the next line.
    pub fn rate_limit(mut self, lines_per_second: f64, burst: u32) -> Self {
        self.limit = Some((lines_per_second, burst));
        self
    }

    /// Whether the first service decides for all: a call whose `tracestate` has OpenTelemetry's `th` is judged by that
    /// instead of the rates here, and a call without one takes the rate here along to outbound calls. Default: no; the
    /// `th` of a tracing SDK is about spans, and may mean less than all log lines.
    pub fn head_decides(mut self, decides: bool) -> Self {
        self.head_decides = decides;
        self
    }

    /// How many routes have series of their own on each side; all others share `_other`. Default: 256; at most 65,536.
    pub fn max_routes(mut self, bound: usize) -> Self {
        self.max_routes = bound;
        self
    }

    /// The route of a call, from the extensions of the request or, when they have none, of the response: a template such
    /// as `/orders/{id}`, never a path. Default: none, so all calls are `_unmatched`.
    pub fn route(
        mut self,
        route: impl for<'a> Fn(&'a Extensions) -> Option<&'a str> + Send + Sync + 'static,
    ) -> Self {
        self.route = Some(Box::new(route));
        self
    }

    /// The address of the caller, from the extensions of the request. Default: none.
    pub fn peer(mut self, peer: impl Fn(&Extensions) -> Option<IpAddr> + Send + Sync + 'static) -> Self {
        self.peer = Some(Box::new(peer));
        self
    }

    /// A field of one's own, from the head of the response; asked only for calls that may be written down.
    pub fn field(
        mut self,
        name: &'static str,
        value: impl Fn(&Parts) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.fields.push((name, Box::new(value)));
        self
    }

    /// Whether a [`CountRequestLayer`](super::CountRequestLayer) inside counts what is read of requests. Default: no;
    /// `bytes_in` is then the announced size, as it is where there is no such layer, and absent for requests that announce none.
    pub fn count_requests(mut self, count: bool) -> Self {
        self.count_requests = count;
        self
    }

    /// Whether responses tell the time to their head in `Server-Timing`. Default: no; it tells strangers how long things
    /// take.
    pub fn server_timing(mut self, tell: bool) -> Self {
        self.server_timing = tell;
        self
    }

    /// Whether calls are gathered for [`Observe::summaries`]. Default: no; it takes about 9 KiB for each route.
    pub fn summary(mut self, gather: bool) -> Self {
        self.summary = gather;
        self
    }

    /// The clock behind the field `timestamp`. Default: [`SystemTime::now`].
    pub fn wall_clock(mut self, clock: fn() -> SystemTime) -> Self {
        self.wall_clock = clock;
        self
    }

    /// Builds the handle.
    ///
    /// # Errors
    ///
    /// A rate outside 0 to 1, a limit of nothing, more than 65,536 routes, or a field without a name or with that of another.
    pub fn build(self) -> Result<Observe, ConfigError> {
        let rate = share("sample", self.rate)?;
        let mut route_rates = Vec::new();
        for (route, rate) in self.route_rates {
            route_rates.push((route, share("sample_route", rate)?));
        }
        for (at, (name, _)) in self.fields.iter().enumerate() {
            if name.is_empty() {
                return Err(ConfigError::new("field", "a field needs a name"));
            }
            if NAMES.contains(name) || self.fields[..at].iter().any(|(other, _)| other == name) {
                return Err(ConfigError::new("field", format!("there is a field `{name}` already")));
            }
        }
        if self.max_routes > MOST_ROUTES {
            return Err(ConfigError::new("max_routes", format!("there may be {MOST_ROUTES} at most")));
        }
        let limit = match self.limit {
            None => None,
            Some((rate, burst)) if rate > 0.0 && rate.is_finite() && burst > 0 => {
                Some(Mutex::new(Bucket::new(rate, f64::from(burst))))
            }
            Some(_) => {
                return Err(ConfigError::new("rate_limit", "lines and burst must be more than nothing"));
            }
        };
        let routes = || Routes::new(self.max_routes, |route| rate_of(&route_rates, route), self.summary);
        let shared = Shared {
            server: Red::new(Side::Server, routes()),
            client: Red::new(Side::Client, routes()),
            output: self.output,
            rate: AtomicU64::new(rate.to_bits()),
            always: Always { statuses: self.statuses, slower_than: self.slower_than, failed: self.failed },
            limit,
            head_decides: self.head_decides,
            constant: self.constant,
            fields: self.fields,
            route: self.route,
            peer: self.peer,
            count_requests: self.count_requests,
            server_timing: self.server_timing,
            wall_clock: self.wall_clock,
            started: tokio::time::Instant::now().into_std(),
            counts: Counts::default(),
            route_rates,
        };
        Ok(Observe { shared: Arc::new(shared) })
    }
}

/// The rate that a route has of its own.
pub(super) fn rate_of(rates: &[(Box<str>, Threshold)], route: &str) -> Option<Threshold> {
    rates.iter().find(|(other, _)| **other == *route).map(|(_, own)| *own)
}

/// The threshold of a share.
pub(super) fn share(field: &'static str, rate: f64) -> Result<Threshold, ConfigError> {
    let refused = || ConfigError::new(field, format!("{rate} is not between 0 and 1"));
    Threshold::of_rate(rate).ok_or_else(refused)
}

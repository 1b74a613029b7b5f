//! RED metrics with handles that are looked up by index: route in a bounded table, method, end.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use http::Method;
use metrics::{Gauge, Histogram, Label};

use crate::policy::ended::{EndLabels, Ended};
use crate::policy::quantiles;
use crate::policy::record::{Outcome, Side};
use crate::policy::sampling::Threshold;

/// Requests that matched no route.
pub(crate) const UNMATCHED: &str = "_unmatched";
/// Routes that came after the table was full.
pub(crate) const OTHER: &str = "_other";

/// Methods that have a label of their own (OpenTelemetry's list); the last label is for all others.
const METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE", "_OTHER"];

/// The index of a method in the labels.
pub(crate) fn method_index(method: &Method) -> u8 {
    let known = [
        &Method::GET,
        &Method::HEAD,
        &Method::POST,
        &Method::PUT,
        &Method::DELETE,
        &Method::PATCH,
        &Method::OPTIONS,
        &Method::CONNECT,
        &Method::TRACE,
    ];
    known.iter().position(|known| *known == method).unwrap_or(known.len()) as u8
}

/// A hundred ends share a block, which is made when the first of them occurs.
const BLOCK: usize = 100;
const BLOCKS: usize = Ended::COUNT.div_ceil(BLOCK);

type Block = [OnceLock<Histogram>; BLOCK];
type Blocks = [OnceLock<Box<Block>>; BLOCKS];

/// What is known of one route.
pub(crate) struct Route {
    pub(crate) name: Box<str>,
    /// Its sampling rate, when it has one of its own.
    pub(crate) threshold: Option<Threshold>,
    pub(crate) summary: Option<Box<Tally>>,
    durations: [OnceLock<Box<Blocks>>; METHODS.len()],
}

impl Route {
    fn new(name: &str, threshold: Option<Threshold>, summary: bool) -> Self {
        Self {
            name: name.into(),
            threshold,
            summary: summary.then(Box::default),
            durations: [const { OnceLock::new() }; METHODS.len()],
        }
    }

    /// The histogram of a method and an end; made on first use, so that a recorder installed at start-up is found.
    fn duration(&self, red: &Red, method: u8, ended: Ended) -> &Histogram {
        let (method, index) = (usize::from(method), ended.index());
        let blocks = self.durations[method].get_or_init(|| Box::new([const { OnceLock::new() }; BLOCKS]));
        let block = blocks[index / BLOCK].get_or_init(|| Box::new([const { OnceLock::new() }; BLOCK]));
        block[index % BLOCK].get_or_init(|| red.register(METHODS[method], &self.name, ended))
    }
}

/// Counts of one route since the last summary: the calls are those in the buckets, so that there is no moment at which
/// one is counted and has no duration.
pub(crate) struct Tally {
    pub(crate) errors: AtomicU64,
    pub(crate) buckets: [AtomicU64; quantiles::BUCKETS],
}

impl Default for Tally {
    fn default() -> Self {
        Self { errors: AtomicU64::new(0), buckets: [const { AtomicU64::new(0) }; quantiles::BUCKETS] }
    }
}

impl Tally {
    pub(crate) fn add(&self, duration: Duration, failed: bool) {
        if failed {
            self.errors.fetch_add(1, Ordering::Relaxed);
        }
        // Whoever sees the call sees its error as well.
        self.buckets[quantiles::bucket(duration)].fetch_add(1, Ordering::Release);
    }
}

/// A table of routes that grows to its bound and no further. Reads take no lock; a slot once filled stays.
pub(crate) struct Routes {
    slots: Box<[OnceLock<Route>]>,
    /// Slots taken or about to be, not counting the two fixed ones.
    taken: AtomicUsize,
    bound: usize,
    unmatched: Route,
    other: Route,
}

/// Where a route is in the table; one is as good in later calls as in this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RouteIndex {
    Unmatched,
    Other,
    Slot(u32),
}

impl Routes {
    pub(crate) fn new(bound: usize, rate: impl Fn(&str) -> Option<Threshold>, summary: bool) -> Self {
        // At most half full, so that probes stay short.
        let size = (bound * 2).next_power_of_two().max(2);
        Self {
            slots: (0..size).map(|_| OnceLock::new()).collect(),
            taken: AtomicUsize::new(0),
            bound,
            unmatched: Route::new(UNMATCHED, rate(UNMATCHED), summary),
            other: Route::new(OTHER, rate(OTHER), summary),
        }
    }

    pub(crate) fn get(&self, index: RouteIndex) -> &Route {
        match index {
            RouteIndex::Unmatched => &self.unmatched,
            RouteIndex::Other => &self.other,
            RouteIndex::Slot(slot) => self.slots[slot as usize].get().unwrap_or(&self.other),
        }
    }

    /// The place of a route, taken now if it is new and there is room.
    pub(crate) fn find(&self, name: Option<&str>, rate: impl Fn(&str) -> Option<Threshold>) -> RouteIndex {
        let Some(name) = name else { return RouteIndex::Unmatched };
        let mask = self.slots.len() - 1;
        let mut slot = hash(name) & mask;
        let mut reserved = false;
        let found = loop {
            match self.slots[slot].get() {
                Some(route) if *route.name == *name => break RouteIndex::Slot(slot as u32),
                Some(_) => slot = (slot + 1) & mask,
                None => {
                    if !reserved && self.taken.fetch_add(1, Ordering::Relaxed) >= self.bound {
                        self.taken.fetch_sub(1, Ordering::Relaxed);
                        return RouteIndex::Other;
                    }
                    reserved = true;
                    let summary = self.unmatched.summary.is_some();
                    let route = Route::new(name, rate(name), summary);
                    if self.slots[slot].set(route).is_ok() {
                        return RouteIndex::Slot(slot as u32);
                    }
                    // Somebody was faster; look again at what is there now.
                }
            }
        };
        if reserved {
            self.taken.fetch_sub(1, Ordering::Relaxed);
        }
        found
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Route> {
        self.slots.iter().filter_map(OnceLock::get).chain([&self.unmatched, &self.other])
    }
}

/// Spreads route names over the table. Which names collide does not matter: the table is small, and bounded.
fn hash(name: &str) -> usize {
    const PRIME: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |hash: u64, word: u64| (hash.rotate_left(23) ^ word).wrapping_mul(PRIME);
    let (words, rest) = name.as_bytes().as_chunks::<8>();
    let hash = words.iter().fold(name.len() as u64, |hash, word| mix(hash, u64::from_le_bytes(*word)));
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let hash = mix(hash, u64::from_le_bytes(last));
    (hash ^ hash >> 32) as usize
}

/// The metrics of one side.
pub(crate) struct Red {
    side: Side,
    active: [OnceLock<Gauge>; METHODS.len()],
    pub(crate) routes: Routes,
}

const ACTIVE: &str = "http_server_active_requests";

impl Red {
    pub(crate) fn new(side: Side, routes: Routes) -> Self {
        Self { side, active: [const { OnceLock::new() }; METHODS.len()], routes }
    }

    fn register(&self, method: &'static str, route: &str, ended: Ended) -> Histogram {
        let metric = match self.side {
            Side::Server => "http_server_request_duration_seconds",
            Side::Client => "http_client_request_duration_seconds",
        };
        let what = "Duration of calls to the end of the body";
        metrics::describe_histogram!(metric, metrics::Unit::Seconds, what);
        let EndLabels { status, grpc, error } = ended.labels(self.side);
        let mut labels =
            vec![Label::new("http_request_method", method), Label::new("http_route", route.to_owned())];
        labels.extend(status.map(|status| Label::new("http_response_status_code", status)));
        labels.extend(grpc.map(|status| Label::new("rpc_response_status_code", status)));
        labels.extend(error.map(|error| Label::new("error_type", error)));
        metrics::histogram!(metric, labels)
    }

    /// The gauge of servers; clients have none.
    fn active(&self, method: u8) -> Option<&Gauge> {
        if self.side == Side::Client {
            return None;
        }
        Some(self.active[usize::from(method)].get_or_init(|| {
            metrics::describe_gauge!(ACTIVE, "Requests in flight, to the end of their bodies");
            metrics::gauge!(ACTIVE, "http_request_method" => METHODS[usize::from(method)])
        }))
    }

    pub(crate) fn begin(&self, method: u8) {
        if let Some(gauge) = self.active(method) {
            gauge.increment(1.0);
        }
    }

    /// `status` is that of HTTP, `grpc` the one of gRPC.
    pub(crate) fn end(
        &self,
        method: u8,
        route: &Route,
        (status, grpc): (Option<u16>, Option<u16>),
        outcome: Outcome,
        duration: Duration,
    ) {
        if let Some(gauge) = self.active(method) {
            gauge.decrement(1.0);
        }
        let ended = Ended::of(self.side, status, grpc, outcome);
        route.duration(self, method, ended).record(duration.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_stops_at_its_bound() {
        let all = |_: &str| None;
        let routes = Routes::new(3, all, false);
        let found: Vec<_> = ["/a", "/b", "/c"].map(|name| routes.find(Some(name), all)).into();
        assert!(found.iter().all(|index| matches!(index, RouteIndex::Slot(_))));
        for number in 0..1000 {
            assert_eq!(routes.find(Some(&format!("/x/{number}")), all), RouteIndex::Other);
        }
        assert_eq!(routes.find(Some("/b"), all), found[1]);
        assert_eq!(routes.find(None, all), RouteIndex::Unmatched);
        let names: Vec<_> = routes.iter().map(|route| &*route.name).collect();
        assert_eq!(names.len(), 5);
        assert_eq!(&*routes.get(found[2]).name, "/c");
        assert_eq!(Routes::new(0, all, false).find(Some("/a"), all), RouteIndex::Other);
    }

    #[test]
    fn eight_threads_agree_on_places() {
        let all = |_: &str| None;
        let routes = Routes::new(64, all, false);
        let names: Vec<String> = (0..64).map(|number| format!("/r/{number}")).collect();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for name in &names {
                        routes.find(Some(name), all);
                    }
                });
            }
        });
        // A thread that came while the last place was reserved may have been sent to `_other`; ask once more.
        for name in &names {
            routes.find(Some(name), all);
        }
        let mut found: Vec<_> = routes.iter().map(|route| route.name.to_string()).collect();
        found.sort();
        found.dedup();
        assert_eq!(found.len(), 66);
        assert_eq!(routes.taken.load(Ordering::Relaxed), 64);
    }
}

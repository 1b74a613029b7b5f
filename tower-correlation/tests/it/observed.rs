//! What the tests of `observe` share.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Full;
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use serde_json::Value;
use tower_correlation::observe::{Observe, ObserveBuilder};

/// The lines that were written.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    pub(crate) fn raw(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn all(&self) -> Vec<Value> {
        self.raw().iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The one line there is.
    pub(crate) fn one(&self) -> Value {
        let lines = self.all();
        assert_eq!(lines.len(), 1, "{lines:?}");
        lines[0].clone()
    }
}

/// A builder that writes to lines.
pub(crate) fn lines() -> (Lines, ObserveBuilder) {
    let lines = Lines::default();
    let to = lines.clone();
    (lines, Observe::builder().json(move |line| to.0.lock().unwrap().push(line.to_owned())))
}

pub(crate) type Body = Full<Bytes>;

pub(crate) fn request(path: &str) -> Request<Body> {
    Request::builder().uri(path).body(Full::default()).unwrap()
}

pub(crate) fn with_method(method: &str) -> Request<Body> {
    Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap()).body(Full::default()).unwrap()
}

pub(crate) async fn ok(_: Request<Body>) -> Result<Response<Body>, Infallible> {
    Ok(Response::new(Full::from("hello")))
}

/// Name, labels and value.
pub(crate) type Series = (String, Vec<(String, String)>, DebugValue);

/// Metrics of this thread.
pub(crate) struct Recorded {
    recorder: DebuggingRecorder,
    snapshotter: Snapshotter,
}

impl Recorded {
    pub(crate) fn new() -> Self {
        let recorder = DebuggingRecorder::new();
        let snapshotter = recorder.snapshotter();
        Self { recorder, snapshotter }
    }

    pub(crate) fn install(&self) -> metrics::LocalRecorderGuard<'_> {
        metrics::set_default_local_recorder(&self.recorder)
    }

    /// Name, labels and value of all series.
    pub(crate) fn all(&self) -> Vec<Series> {
        let of = |key: &metrics::Key| {
            let labels = key.labels().map(|label| (label.key().to_owned(), label.value().to_owned()));
            (key.name().to_owned(), labels.collect())
        };
        let series = self.snapshotter.snapshot().into_vec().into_iter();
        series
            .map(|(key, _, _, value)| {
                let (name, labels) = of(key.key());
                (name, labels, value)
            })
            .collect()
    }
}

/// How often to repeat: the short form, or the full one of `scripts/assure`.
pub(crate) fn times(short: usize, full: usize) -> usize {
    if std::env::var_os("TOWER_ASSURE").is_some() { full } else { short }
}

/// A seeded generator of numbers.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

//! Counters. With the feature off every function here is empty.
//!
//! Requests are counted through handles kept by the layer's authenticator; fetches are rare and look their counter up.

use crate::error::AuthError;

/// Outcome of a fetch.
#[derive(Debug, Clone, Copy)]
pub(crate) enum FetchOutcome {
    Ok,
    Failed,
}

impl FetchOutcome {
    #[cfg(feature = "metrics")]
    fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
        }
    }
}

/// One handle for each outcome, made on the first request.
#[derive(Default)]
pub(crate) struct Requests {
    #[cfg(feature = "metrics")]
    counters: std::sync::OnceLock<[metrics::Counter; OUTCOMES.len()]>,
}

#[cfg(feature = "metrics")]
const OUTCOMES: [&str; 7] = [
    "accepted",
    "anonymous",
    "missing-token",
    "invalid-request",
    "invalid-token",
    "insufficient-scope",
    "keys-unavailable",
];

impl Requests {
    pub(crate) fn accepted(&self) {
        self.count("accepted");
    }

    pub(crate) fn anonymous(&self) {
        self.count("anonymous");
    }

    pub(crate) fn refused(&self, error: &AuthError) {
        self.count(error.kind());
    }

    #[cfg(feature = "metrics")]
    fn count(&self, outcome: &str) {
        let counters = self.counters.get_or_init(|| {
            OUTCOMES.map(|outcome| metrics::counter!("tower_auth_requests_total", "outcome" => outcome))
        });
        if let Some(index) = OUTCOMES.iter().position(|known| *known == outcome) {
            counters[index].increment(1);
        }
    }

    #[cfg(not(feature = "metrics"))]
    #[allow(clippy::unused_self, reason = "the other form uses it")]
    fn count(&self, _: &str) {}
}

pub(crate) fn key_fetch(outcome: FetchOutcome) {
    #[cfg(feature = "metrics")]
    metrics::counter!("tower_auth_key_fetches_total", "outcome" => outcome.label()).increment(1);
    #[cfg(not(feature = "metrics"))]
    let _ = outcome;
}

pub(crate) fn token_request(outcome: FetchOutcome) {
    #[cfg(feature = "metrics")]
    metrics::counter!("tower_auth_token_requests_total", "outcome" => outcome.label()).increment(1);
    #[cfg(not(feature = "metrics"))]
    let _ = outcome;
}

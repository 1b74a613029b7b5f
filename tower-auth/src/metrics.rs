//! Counters and events, none of which carry a token, claim or key. With the features off every function here is empty.
//!
//! Handles are kept by what counts, made on its first request and on that request's thread: recorders may be
//! thread-local, and fetches end on other threads.

#[cfg(feature = "metrics")]
use std::sync::OnceLock;

use crate::error::AuthError;

#[cfg(feature = "metrics")]
type Handles<const N: usize> = OnceLock<[metrics::Counter; N]>;

#[cfg(feature = "metrics")]
fn handles<'h, const N: usize>(
    cell: &'h Handles<N>,
    name: &'static str,
    label: &'static str,
    values: [&'static str; N],
) -> &'h [metrics::Counter; N] {
    cell.get_or_init(|| values.map(|value| metrics::counter!(name, label => value)))
}

/// What became of requests, and whether their tokens were verified before.
#[derive(Default)]
pub(crate) struct Requests {
    #[cfg(feature = "metrics")]
    outcomes: Handles<{ OUTCOMES.len() }>,
    #[cfg(feature = "metrics")]
    lookups: Handles<2>,
}

#[cfg(feature = "metrics")]
const OUTCOMES: [&str; 9] = [
    "accepted",
    "anonymous",
    "missing-token",
    "invalid-request",
    "invalid-token",
    "keys-unavailable",
    "invalid-proof",
    "use-nonce",
    "introspection-unavailable",
];

#[cfg_attr(not(feature = "metrics"), allow(clippy::unused_self, reason = "the other form uses it"))]
impl Requests {
    pub(crate) fn accepted(&self) {
        self.count("accepted");
    }

    pub(crate) fn anonymous(&self) {
        self.count("anonymous");
    }

    pub(crate) fn refused(&self, error: &AuthError) {
        #[cfg(feature = "tracing")]
        tracing::debug!(target: "tower_auth", kind = error.kind(), reason = %error, "request refused");
        self.count(error.kind());
    }

    pub(crate) fn cache_hit(&self) {
        self.lookup(0);
    }

    pub(crate) fn cache_miss(&self) {
        self.lookup(1);
    }

    #[cfg(feature = "metrics")]
    fn count(&self, outcome: &str) {
        let counters = handles(&self.outcomes, "tower_auth_requests_total", "outcome", OUTCOMES);
        if let Some(index) = OUTCOMES.iter().position(|known| *known == outcome) {
            counters[index].increment(1);
        }
    }

    #[cfg(feature = "metrics")]
    fn lookup(&self, index: usize) {
        handles(&self.lookups, "tower_auth_token_cache_total", "outcome", ["hit", "miss"])[index]
            .increment(1);
    }

    #[cfg(not(feature = "metrics"))]
    fn count(&self, _: &str) {}

    #[cfg(not(feature = "metrics"))]
    fn lookup(&self, _: usize) {}
}

/// What became of checks of one kind.
pub(crate) struct RuleChecks {
    #[cfg(feature = "metrics")]
    name: &'static str,
    #[cfg(feature = "metrics")]
    outcomes: Handles<5>,
}

impl RuleChecks {
    pub(crate) fn new(name: &'static str) -> Self {
        #[cfg(not(feature = "metrics"))]
        let _ = name;
        Self {
            #[cfg(feature = "metrics")]
            name,
            #[cfg(feature = "metrics")]
            outcomes: Handles::default(),
        }
    }

    pub(crate) fn count(&self, refused: Option<&AuthError>) {
        #[cfg(feature = "metrics")]
        {
            let names = ["allowed", "insufficient-scope", "missing-token", "forbidden", "rule-unavailable"];
            let counters = handles(&self.outcomes, self.name, "outcome", names);
            let index = match refused {
                None => 0,
                Some(AuthError::InsufficientScope { .. }) => 1,
                Some(AuthError::MissingToken) => 2,
                Some(error) if error.retry_after().is_some() => 4,
                Some(_) => 3,
            };
            counters[index].increment(1);
        }
        #[cfg(not(feature = "metrics"))]
        let _ = refused;
    }
}

/// What became of fetches of one kind.
#[derive(Default)]
pub(crate) struct Fetches {
    #[cfg(feature = "metrics")]
    outcomes: Handles<2>,
}

impl Fetches {
    /// On the thread of the request that starts a fetch.
    pub(crate) fn prepare(&self, name: &'static str) {
        #[cfg(feature = "metrics")]
        handles(&self.outcomes, name, "outcome", ["ok", "failed"]);
        #[cfg(not(feature = "metrics"))]
        let _ = name;
    }

    pub(crate) fn ended(&self, well: bool) {
        #[cfg(feature = "tracing")]
        if !well {
            tracing::warn!(target: "tower_auth", "the issuer did not give a usable answer");
        }
        #[cfg(feature = "metrics")]
        if let Some([ok, failed]) = self.outcomes.get() {
            if well { ok } else { failed }.increment(1);
        }
        #[cfg(not(feature = "metrics"))]
        let _ = well;
    }
}

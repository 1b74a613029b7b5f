//! The steps: what is sent, what has to come back, and which layer decides.

mod auth;
mod breaker;
mod cache;
mod client_version;
mod correlation;
mod counters;
mod kept;
mod redis;
mod versioning;

use futures_util::future::LocalBoxFuture;

use super::guide::Guide;

/// One step of the tour.
pub(super) struct Step {
    /// Its number, as the README has it.
    pub(super) number: &'static str,
    /// What it shows.
    pub(super) title: &'static str,
    /// The layer that decides.
    pub(super) decided_by: &'static str,
    /// Goes there; the reason why it is not as it should be.
    pub(super) walk: Walk,
    /// It judges by the clock too, or attempts that are cut by it: a machine that is busy with something else may make one
    /// walk fail, but not three.
    pub(super) timed: bool,
}

type Walk = for<'a> fn(&'a mut Guide) -> LocalBoxFuture<'a, Result<(), String>>;

/// A step from an async function.
macro_rules! step {
    ($number:literal, $by:literal, $title:literal, $walk:path) => {
        Step { number: $number, title: $title, decided_by: $by, walk: |guide| Box::pin($walk(guide)), timed: false }
    };
    (timed $($step:tt)*) => {
        Step { timed: true, ..step!($($step)*) }
    };
}

/// All steps, in order; those about Redis only where there is one.
pub(super) fn all(redis: bool) -> Vec<Step> {
    let mut steps = vec![
        step!("1", "tower-auth", "no token: 401 with a challenge", auth::no_token),
        step!("2", "tower-auth", "a token: 200", auth::token),
        step!("3", "tower-auth", "a token without the scope: 403", auth::wrong_scope),
        step!("4", "tower-cache", "the second read is served by the cache", cache::second_read),
        step!(
            "5",
            "tower-versioning",
            "versions by path and header, deprecated and unknown ones",
            versioning::versions
        ),
        step!(timed "6", "tower-breaker", "one replica fails, then all, then they heal", breaker::failing_replicas),
        step!(
            timed "6a",
            "tower-breaker",
            "a replica hangs or fails: another one answers, but a POST without key is sent once",
            breaker::retries
        ),
        step!(
            timed "6b",
            "tower-breaker",
            "a full bulkhead answers at once, other services go on",
            breaker::full_bulkhead
        ),
        step!(
            timed "7",
            "tower-correlation",
            "one id in the logs of gateway, orders and inventory",
            correlation::one_id
        ),
        step!(
            timed "7a",
            "tower-auth",
            "100 calls between services with one token, also while the issuer is gone",
            auth::own_token
        ),
        step!("8", "tower-auth", "the issuer's key rotates, an old key is removed", auth::rotation),
        step!(timed "9", "tower-cache", "the cache store of orders fails, hangs and heals", cache::failing_store),
        step!(
            timed "9a",
            "tower-cache",
            "inventory is gone: orders answers with what it keeps; a change is seen after one refresh",
            kept::gone_and_changed
        ),
    ];
    if redis {
        steps.extend([
            step!("9b", "tower-cache", "what one gateway stored, the other one answers", redis::two_gateways),
            step!(timed "9c", "tower-cache", "Redis hangs and comes back while reads go on", redis::hangs),
        ]);
    }
    steps.push(step!("10", "all of them", "the counters equal the tour's own tally", counters::tally));
    steps
}

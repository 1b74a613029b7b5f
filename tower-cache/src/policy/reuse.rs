//! Whether a stored response may answer a request, and how (RFC 9111 §4).

use std::time::Duration;

use super::directives::RequestDirectives;
use super::freshness::Freshness;

/// What to do with a stored response that matches the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) enum Verdict {
    /// Answer with it.
    Fresh {
        /// Its age now.
        age: Duration,
        /// How much longer it is fresh.
        ttl: Duration,
    },
    /// Answer with it though it is stale: the client allows that (`max-stale`).
    Stale {
        /// Its age now.
        age: Duration,
    },
    /// Answer with it though it is stale, and validate it in the background (RFC 5861 §3).
    StaleWhileRevalidate {
        /// Its age now.
        age: Duration,
    },
    /// Ask the origin first.
    Revalidate {
        /// Why.
        reason: RevalidateReason,
        /// It may answer if the origin fails (RFC 5861 §4).
        on_error: bool,
        /// It may answer if the origin cannot be reached (RFC 9111 §4.2.4).
        on_disconnect: bool,
    },
    /// Neither it nor the origin may answer (`only-if-cached`).
    GatewayTimeout,
}

/// Why the origin is asked though something is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RevalidateReason {
    /// It is stale, or must be validated always.
    Stale,
    /// The request says so.
    Request,
}

impl Freshness {
    /// The age after it has been stored for `resident` (§4.2.3).
    pub(crate) fn age(&self, resident: Duration) -> Duration {
        self.initial_age.saturating_add(resident)
    }

    /// Decides for one request. `resident` is how long the response has been stored; `purged` that a soft purge asks
    /// to treat it as stale.
    pub(crate) fn verdict(&self, resident: Duration, purged: bool, request: &RequestDirectives) -> Verdict {
        let age = self.age(resident);
        let ttl = if purged { Duration::ZERO } else { self.lifetime.saturating_sub(age) };
        let stale_for = if ttl.is_zero() { age.saturating_sub(self.lifetime) } else { Duration::ZERO };
        let refused = request.no_cache || request.max_age.is_some_and(|max_age| age > max_age);
        let fresh = !ttl.is_zero();
        let fresh_enough = fresh && request.min_fresh.is_none_or(|min_fresh| ttl >= min_fresh);
        let may_be_stale = !self.never_stale && !self.always_validate;
        if !refused && !self.always_validate && fresh_enough {
            return Verdict::Fresh { age, ttl };
        }
        if !refused && !fresh && may_be_stale && request.min_fresh.is_none() {
            if request.max_stale.is_some_and(|max_stale| stale_for <= max_stale) {
                return Verdict::Stale { age };
            }
            // RFC 9111 §5.2.1.1: who sends max-age without max-stale wishes for nothing stale.
            if request.max_age.is_none() && stale_for < self.stale_while_revalidate {
                return Verdict::StaleWhileRevalidate { age };
            }
        }
        if request.only_if_cached {
            return Verdict::GatewayTimeout;
        }
        let tolerance = self.stale_if_error.max(request.stale_if_error.unwrap_or_default());
        let usable = |tolerance: Duration| {
            !request.no_cache && may_be_stale && !tolerance.is_zero() && stale_for <= tolerance
        };
        let (on_error, on_disconnect) = (usable(tolerance), usable(tolerance.max(self.stale_if_unreachable)));
        let reason = if fresh && !self.always_validate || request.no_cache {
            RevalidateReason::Request
        } else {
            RevalidateReason::Stale
        };
        Verdict::Revalidate { reason, on_error, on_disconnect }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn stored() -> Freshness {
        Freshness {
            initial_age: SECOND * 5,
            lifetime: SECOND * 60,
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            stale_if_unreachable: Duration::ZERO,
            always_validate: false,
            never_stale: false,
        }
    }

    fn stale(on_error: bool) -> Verdict {
        Verdict::Revalidate { reason: RevalidateReason::Stale, on_error, on_disconnect: on_error }
    }

    const REFUSED: Verdict =
        Verdict::Revalidate { reason: RevalidateReason::Request, on_error: false, on_disconnect: false };

    #[test]
    fn fresh_until_the_lifetime_is_over() {
        let none = RequestDirectives::default();
        assert_eq!(
            stored().verdict(SECOND * 54, false, &none),
            Verdict::Fresh { age: SECOND * 59, ttl: SECOND }
        );
        assert_eq!(stored().verdict(SECOND * 55, false, &none), stale(false));
        assert_eq!(stored().verdict(SECOND * 54, true, &none), stale(false), "soft purge");
        assert_eq!(stored().verdict(Duration::MAX, false, &none), stale(false));
    }

    #[test]
    fn requests_narrow_it() {
        let ask = |directives: RequestDirectives| stored().verdict(SECOND * 5, false, &directives);
        let none = RequestDirectives::default();
        let fresh = Verdict::Fresh { age: SECOND * 10, ttl: SECOND * 50 };
        assert_eq!(ask(none), fresh);
        assert_eq!(ask(RequestDirectives { max_age: Some(SECOND * 10), ..none }), fresh);
        assert_eq!(ask(RequestDirectives { max_age: Some(SECOND * 9), ..none }), REFUSED);
        assert_eq!(ask(RequestDirectives { min_fresh: Some(SECOND * 50), ..none }), fresh);
        assert_eq!(ask(RequestDirectives { min_fresh: Some(SECOND * 51), ..none }), REFUSED);
        assert_eq!(ask(RequestDirectives { no_cache: true, ..none }), REFUSED);
        let only = RequestDirectives { only_if_cached: true, ..none };
        assert_eq!(ask(only), fresh);
        assert_eq!(ask(RequestDirectives { no_cache: true, ..only }), Verdict::GatewayTimeout);
    }

    #[test]
    fn staleness_is_allowed_by_the_client_or_the_origin_and_never_against_must_revalidate() {
        let none = RequestDirectives::default();
        let tolerant = RequestDirectives { max_stale: Some(SECOND * 10), ..none };
        let served = Verdict::Stale { age: SECOND * 70 };
        assert_eq!(stored().verdict(SECOND * 65, false, &tolerant), served);
        assert_eq!(stored().verdict(SECOND * 66, false, &tolerant), stale(false));
        let strict = Freshness { never_stale: true, ..stored() };
        assert_eq!(strict.verdict(SECOND * 65, false, &tolerant), stale(false));
        let always = Freshness { always_validate: true, ..stored() };
        assert_eq!(always.verdict(SECOND, false, &tolerant), stale(false));

        let background = Freshness { stale_while_revalidate: SECOND * 10, ..stored() };
        let served = Verdict::StaleWhileRevalidate { age: SECOND * 69 };
        assert_eq!(background.verdict(SECOND * 64, false, &none), served);
        assert_eq!(background.verdict(SECOND * 65, false, &none), stale(false));
        assert_eq!(
            Freshness { never_stale: true, ..background }.verdict(SECOND * 64, false, &none),
            stale(false)
        );

        let insured = Freshness { stale_if_error: SECOND * 10, ..stored() };
        assert_eq!(insured.verdict(SECOND * 65, false, &none), stale(true));
        assert_eq!(insured.verdict(SECOND * 66, false, &none), stale(false));
        assert_eq!(
            Freshness { never_stale: true, ..insured }.verdict(SECOND * 65, false, &none),
            stale(false)
        );

        let offline = Freshness { stale_if_unreachable: SECOND * 10, ..stored() };
        let reason = RevalidateReason::Stale;
        let kept = Verdict::Revalidate { reason, on_error: false, on_disconnect: true };
        assert_eq!(offline.verdict(SECOND * 65, false, &none), kept);
        assert_eq!(offline.verdict(SECOND * 66, false, &none), stale(false));
        assert_eq!(
            Freshness { never_stale: true, ..offline }.verdict(SECOND * 65, false, &none),
            stale(false)
        );
    }
}

//! How long a response stays fresh, and what may be done with it afterwards (RFC 9111 §4.2, RFC 5861).

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, StatusCode, header};

use super::directives::{Qualified, ResponseDirectives};
use super::{Mode, dates};

/// Freshness rules that the operator sets.
#[derive(Debug, Clone)]
pub(crate) struct FreshnessRules {
    pub(crate) mode: Mode,
    /// Fields that take the place of `Cache-Control` (RFC 9213), the most specific first.
    pub(crate) targeted: Vec<HeaderName>,
    pub(crate) heuristics: bool,
    pub(crate) default_ttl: Option<Duration>,
    pub(crate) stale_while_revalidate: Duration,
    pub(crate) stale_if_error: Duration,
    pub(crate) stale_if_unreachable: Duration,
}

/// Where a lifetime comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The response says so: `s-maxage`, `max-age` or `Expires`.
    Explicit,
    /// The operator's default.
    Default,
    /// `Last-Modified` (§4.2.2).
    Heuristic,
    /// Nothing does: it must be validated before each use.
    None,
}

/// What the stored response's own directives allow, worked out once when it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Freshness {
    /// Age at the moment it was received.
    pub(crate) initial_age: Duration,
    pub(crate) lifetime: Duration,
    pub(crate) stale_while_revalidate: Duration,
    pub(crate) stale_if_error: Duration,
    pub(crate) stale_if_unreachable: Duration,
    /// Must not be used without validation, however fresh (`no-cache`).
    pub(crate) always_validate: bool,
    /// Must not be used stale (`must-revalidate` and, in shared caches, `proxy-revalidate` and `s-maxage`).
    pub(crate) never_stale: bool,
}

/// The lifetime (§4.2.1) and where it comes from.
pub(crate) fn lifetime(
    status: StatusCode,
    headers: &HeaderMap,
    directives: &ResponseDirectives,
    received: SystemTime,
    rules: &FreshnessRules,
) -> (Duration, Source) {
    let s_maxage = directives.s_maxage.or_zero().filter(|_| rules.mode == Mode::Shared);
    if let Some(explicit) = s_maxage.or(directives.max_age.or_zero()) {
        return (explicit, Source::Explicit);
    }
    let date = dates::single(headers, &header::DATE).unwrap_or(received);
    if !directives.targeted && headers.contains_key(header::EXPIRES) {
        // More than one line, or what is no date ("0"), means already expired (§5.3).
        let expires = dates::single(headers, &header::EXPIRES).unwrap_or(date);
        return (expires.duration_since(date).unwrap_or_default(), Source::Explicit);
    }
    if let Some(default) = rules.default_ttl.filter(|_| status_gets_default(status)) {
        return (default, Source::Default);
    }
    let guessed = rules.heuristics && (heuristically_cacheable(status) || directives.public);
    let modified = dates::single(headers, &header::LAST_MODIFIED).filter(|_| guessed);
    let tenth = modified.and_then(|modified| date.duration_since(modified).ok()).unwrap_or_default() / 10;
    if tenth.is_zero() {
        return (Duration::ZERO, Source::None);
    }
    (tenth.min(HEURISTIC_LIMIT), Source::Heuristic)
}

/// All of it.
pub(crate) fn of(
    lifetime: Duration,
    initial_age: Duration,
    directives: &ResponseDirectives,
    rules: &FreshnessRules,
) -> Freshness {
    let shared = rules.mode == Mode::Shared;
    Freshness {
        initial_age,
        lifetime,
        stale_while_revalidate: directives
            .stale_while_revalidate
            .valid()
            .unwrap_or(rules.stale_while_revalidate),
        stale_if_error: directives.stale_if_error.valid().unwrap_or(rules.stale_if_error),
        stale_if_unreachable: rules.stale_if_unreachable,
        always_validate: directives.no_cache == Qualified::Whole,
        never_stale: directives.must_revalidate
            || shared && (directives.proxy_revalidate || directives.s_maxage.or_zero().is_some()),
    }
}

/// Status codes that are cacheable without being told so (RFC 9110 §15.1).
pub(crate) fn heuristically_cacheable(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 206 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// The operator's default is for answers, not for errors.
fn status_gets_default(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 300 | 301 | 308)
}

/// A page that has not changed for years may change tomorrow; §4.2.2 names a day as the usual limit.
const HEURISTIC_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

    fn of_fields(mode: Mode, fields: &[(&str, &str)]) -> (Duration, Source) {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(http::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        let rules = FreshnessRules {
            mode,
            targeted: Vec::new(),
            heuristics: true,
            default_ttl: None,
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            stale_if_unreachable: Duration::ZERO,
        };
        let received = dates::parse(NOW.as_bytes()).unwrap();
        lifetime(StatusCode::OK, &headers, &ResponseDirectives::parse(&headers), received, &rules)
    }

    #[test]
    fn precedence() {
        let all = [
            ("cache-control", "max-age=10, s-maxage=20"),
            ("date", NOW),
            ("expires", "Sun, 06 Nov 1994 08:50:37 GMT"),
            ("last-modified", "Sat, 05 Nov 1994 08:49:37 GMT"),
        ];
        let seconds = Duration::from_secs;
        assert_eq!(of_fields(Mode::Shared, &all), (seconds(20), Source::Explicit));
        assert_eq!(of_fields(Mode::Private, &all), (seconds(10), Source::Explicit));
        assert_eq!(of_fields(Mode::Shared, &all[1..]), (seconds(60), Source::Explicit));
        assert_eq!(of_fields(Mode::Shared, &all[3..]), (seconds(8640), Source::Heuristic));
        assert_eq!(of_fields(Mode::Shared, &[]), (Duration::ZERO, Source::None));
    }

    #[test]
    fn what_is_no_date_has_expired() {
        for expires in ["0", "-1", "tomorrow", NOW] {
            let fields = [("expires", expires), ("last-modified", "Sat, 05 Nov 1994 08:49:37 GMT")];
            assert_eq!(of_fields(Mode::Shared, &fields), (Duration::ZERO, Source::Explicit), "{expires}");
        }
        let twice =
            [("expires", "Sun, 06 Nov 1994 08:50:37 GMT"), ("expires", "Sun, 06 Nov 1994 08:50:37 GMT")];
        assert_eq!(of_fields(Mode::Shared, &twice), (Duration::ZERO, Source::Explicit));
    }

    #[test]
    fn an_invalid_max_age_is_stale_and_hides_expires() {
        let fields = [("cache-control", "max-age=-1"), ("expires", "Sun, 06 Nov 1994 08:50:37 GMT")];
        assert_eq!(of_fields(Mode::Shared, &fields), (Duration::ZERO, Source::Explicit));
    }
}

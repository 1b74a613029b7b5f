//! How long a response stays fresh, and what may be done with it afterwards (RFC 9111 §4.2, RFC 5861).

use std::time::{Duration, SystemTime};

use http::{HeaderName, StatusCode};

use super::Mode;
use super::directives::{Qualified, ResponseDirectives};
use super::said::Said;

/// Freshness rules that the operator sets.
#[derive(Debug, Clone)]
pub(crate) struct FreshnessRules {
    pub(crate) mode: Mode,
    /// Fields that take the place of `Cache-Control` (RFC 9213), the most specific first.
    pub(crate) targeted: Vec<HeaderName>,
    pub(crate) heuristics: bool,
    pub(crate) default_ttl: Option<Duration>,
    /// Takes the place of what answers say themselves.
    pub(crate) override_ttl: Option<Duration>,
    /// For answers that there is nothing.
    pub(crate) negative_ttl: Option<Duration>,
    pub(crate) stale_while_revalidate: Duration,
    pub(crate) stale_if_error: Duration,
    pub(crate) stale_if_unreachable: Duration,
}

#[cfg(test)]
impl FreshnessRules {
    /// What the RFC says, and nothing of the operator.
    pub(crate) fn of_rfc(mode: Mode) -> Self {
        Self {
            mode,
            targeted: Vec::new(),
            heuristics: true,
            default_ttl: None,
            override_ttl: None,
            negative_ttl: None,
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            stale_if_unreachable: Duration::ZERO,
        }
    }
}

/// Where a lifetime comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The response says so: `s-maxage`, `max-age` or `Expires`.
    Explicit,
    /// The operator does.
    Operator,
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

/// Whose word counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    /// The response's own alone: it may be personal, or answers a POST.
    Own,
    /// The operator's too, and guesses.
    Any,
}

/// The lifetime (§4.2.1) and where it comes from; `date` is that of the response.
pub(crate) fn lifetime(
    status: StatusCode,
    said: &Said<'_>,
    directives: &ResponseDirectives,
    date: Option<SystemTime>,
    received: SystemTime,
    word: Word,
    rules: &FreshnessRules,
) -> (Duration, Source) {
    let operators = |ttl: Option<Duration>| ttl.filter(|_| word == Word::Any);
    if let Some(ttl) = operators(rules.override_ttl).filter(|_| is_answer(status)) {
        return (ttl, Source::Operator);
    }
    let s_maxage = directives.s_maxage.or_zero().filter(|_| rules.mode == Mode::Shared);
    if let Some(explicit) = s_maxage.or(directives.max_age.or_zero()) {
        return (explicit, Source::Explicit);
    }
    let date = date.unwrap_or(received);
    if !directives.targeted && said.expires.is_any() {
        // More than one line, or what is no date ("0"), means already expired (§5.3).
        let expires = said.expires.date(received).unwrap_or(date);
        return (expires.duration_since(date).unwrap_or_default(), Source::Explicit);
    }
    let default = if is_answer(status) { rules.default_ttl } else { rules.negative_ttl };
    if let Some(ttl) = operators(default).filter(|_| is_answer(status) || is_negative(status)) {
        return (ttl, Source::Operator);
    }
    let guessed = rules.heuristics && (heuristically_cacheable(status) || directives.public);
    let modified = if guessed { said.modified.date(received) } else { None };
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

/// What the operator says is for answers, not for errors.
fn is_answer(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 300 | 301 | 308)
}

/// Errors that RFC 9110 §15.1 lets caches keep without being told: they are about the resource, not about the moment.
fn is_negative(status: StatusCode) -> bool {
    matches!(status.as_u16(), 404 | 405 | 410 | 414 | 501)
}

impl Freshness {
    /// With this share of what is left of its life taken away, so that what was stored together does not end together.
    /// Less than the origin allows is always allowed.
    pub(crate) fn shortened(mut self, share: f64) -> Self {
        if share == 0.0 {
            return self;
        }
        let left = self.lifetime.saturating_sub(self.initial_age);
        self.lifetime = self.lifetime.saturating_sub(left.mul_f64(share.clamp(0.0, 1.0)));
        self
    }

    /// Whether it answers nobody, from the beginning, without being validated.
    pub(crate) fn is_never_fresh(&self) -> bool {
        self.lifetime <= self.initial_age || self.always_validate
    }

    /// The last part of the life in which a hit renews it ahead of its end, if `ttl`, what is left, lies in it.
    pub(crate) fn ends_within(&self, share: f64, ttl: Duration) -> Option<Duration> {
        let window = self.lifetime.mul_f64(share.clamp(0.0, 1.0));
        (ttl <= window && !window.is_zero()).then_some(window)
    }
}

/// A page that has not changed for years may change tomorrow; §4.2.2 names a day as the usual limit.
const HEURISTIC_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::super::dates;
    use super::*;

    const NOW: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

    fn of_fields(mode: Mode, fields: &[(&str, &str)]) -> (Duration, Source) {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(http::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        with_rules(&FreshnessRules::of_rfc(mode), StatusCode::OK, Word::Any, &headers)
    }

    fn with_rules(
        rules: &FreshnessRules,
        status: StatusCode,
        word: Word,
        headers: &HeaderMap,
    ) -> (Duration, Source) {
        let received = dates::parse(NOW.as_bytes(), || std::time::UNIX_EPOCH).unwrap();
        let said = Said::of(headers, &[]);
        let date = said.date.date(received);
        lifetime(status, &said, &ResponseDirectives::parse(headers), date, received, word, rules)
    }

    #[test]
    fn the_operators_word_is_for_answers_that_belong_to_nobody() {
        let second = Duration::from_secs;
        let rules = FreshnessRules {
            override_ttl: Some(second(7)),
            default_ttl: Some(second(8)),
            negative_ttl: Some(second(9)),
            ..FreshnessRules::of_rfc(Mode::Shared)
        };
        let mut said = HeaderMap::new();
        said.insert("cache-control", "max-age=60".parse().unwrap());
        let silent = HeaderMap::new();
        let ask = |status: u16, word, headers| {
            with_rules(&rules, StatusCode::from_u16(status).unwrap(), word, headers)
        };
        assert_eq!(ask(200, Word::Any, &said), (second(7), Source::Operator));
        assert_eq!(ask(200, Word::Own, &said), (second(60), Source::Explicit));
        assert_eq!(ask(200, Word::Own, &silent), (Duration::ZERO, Source::None));
        for negative in [404, 405, 410, 414, 501] {
            assert_eq!(ask(negative, Word::Any, &silent), (second(9), Source::Operator), "{negative}");
            assert_eq!(ask(negative, Word::Any, &said), (second(60), Source::Explicit), "{negative}");
            assert_eq!(ask(negative, Word::Own, &silent), (Duration::ZERO, Source::None), "{negative}");
        }
        for neither in [206, 302, 401, 403, 429, 500, 502, 503] {
            assert_eq!(ask(neither, Word::Any, &silent), (Duration::ZERO, Source::None), "{neither}");
            assert_eq!(ask(neither, Word::Any, &said), (second(60), Source::Explicit), "{neither}");
        }
        let rules = FreshnessRules { override_ttl: None, ..rules };
        assert_eq!(with_rules(&rules, StatusCode::OK, Word::Any, &silent), (second(8), Source::Operator));
        assert_eq!(with_rules(&rules, StatusCode::OK, Word::Any, &said), (second(60), Source::Explicit));
    }

    #[test]
    fn a_life_is_shortened_and_its_last_part_known() {
        let second = Duration::from_secs;
        let rules = FreshnessRules::of_rfc(Mode::Shared);
        let stored = of(second(60), second(20), &ResponseDirectives::default(), &rules);
        for (share, lifetime) in [(0.0, 60), (0.25, 50), (1.0, 20), (9.0, 20), (-1.0, 60)] {
            assert_eq!(stored.shortened(share).lifetime, second(lifetime), "{share}");
        }
        let expired = of(second(10), second(20), &ResponseDirectives::default(), &rules);
        assert_eq!(expired.shortened(0.5).lifetime, second(10));
        assert_eq!(stored.ends_within(0.25, second(15)), Some(second(15)));
        assert_eq!(stored.ends_within(0.25, second(16)), None);
        assert_eq!(stored.ends_within(0.0, Duration::ZERO), None);
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

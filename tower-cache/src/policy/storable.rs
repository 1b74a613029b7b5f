//! Whether a response may be stored (RFC 9111 §3).

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::age::{self, Exchange};
use super::asked::Asked;
use super::directives::{Qualified, ResponseDirectives};
use super::fields::Kept;
use super::freshness::{self, Freshness, FreshnessRules, Source, Word};
use super::range::Part;
use super::said::Said;
use super::vary::Variant;
use super::{Mode, dates};

/// Storage rules that the operator sets.
#[derive(Debug, Clone)]
pub(crate) struct StorageRules {
    pub(crate) freshness: FreshnessRules,
    /// Store answers that set cookies although they are not declared `public`.
    pub(crate) set_cookie: bool,
    /// Store answers to requests with cookies although they are not declared `public`.
    pub(crate) cookie: bool,
}

/// A response that may be stored, without its content.
#[derive(Debug, Clone)]
pub(crate) struct Storable {
    pub(crate) variant: Variant,
    /// Which of its fields are stored.
    pub(crate) kept: Kept,
    /// The date to store, where it has none.
    pub(crate) date: Option<HeaderValue>,
    /// What `Content-Length` says, where it says one thing.
    pub(crate) length: Option<u64>,
    /// Octets of the values of all its fields.
    pub(crate) octets: usize,
    pub(crate) freshness: Freshness,
    /// It is part of something.
    pub(crate) part: Option<Part>,
}

/// What the rules need to know of a request besides its fields.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Requested {
    /// It says `no-store`.
    pub(crate) no_store: bool,
    /// It is a POST, whose response must be explicit about its freshness (RFC 9110 §9.3.3).
    pub(crate) post: bool,
}

/// Why a response is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) enum Refusal {
    /// The request says `no-store`.
    RequestNoStore,
    /// 1xx, 304, one that answers a field or a connection of one request, a 206 that cannot be placed, or a status that `must-understand` wants understood and is not.
    Status,
    /// `no-store`.
    NoStore,
    /// `private`, in a shared cache.
    Private,
    /// The request was authenticated, and the response does not say that it is for others too (§3.5).
    Authorization,
    /// The request carried cookies, and the response does not say that it is for others too.
    Cookie,
    /// It sets a cookie, and does not say that this is for others too.
    SetCookie,
    /// `Vary: *`.
    Vary,
    /// It says nothing that would let it be used again.
    NoFreshness,
    /// It has more tags than are kept.
    Tags,
    /// It is larger than what is kept.
    TooLarge,
}

impl Refusal {
    /// Whether it is about the response whoever asks, and not about this request.
    pub(crate) fn is_about_all(self) -> bool {
        match self {
            Self::NoStore | Self::Private | Self::Vary | Self::NoFreshness | Self::Tags | Self::TooLarge => {
                true
            }
            Self::RequestNoStore | Self::Status | Self::Authorization | Self::Cookie | Self::SetCookie => {
                false
            }
        }
    }
}

/// Decides by the request's fields as they came and the response's head.
pub(crate) fn decide(
    request: &Asked,
    requested: Requested,
    status: StatusCode,
    headers: &HeaderMap,
    exchange: Exchange,
    rules: &StorageRules,
) -> Result<Storable, Refusal> {
    if requested.no_store {
        return Err(Refusal::RequestNoStore);
    }
    let said = Said::of(headers, &rules.freshness.targeted);
    let directives = said.directives(headers, &rules.freshness.targeted);
    let part = Part::of(request, status, headers).filter(|_| !requested.post);
    let credentials = request.credentials();
    permitted(credentials, status, part.is_some(), &said, &directives, rules)?;
    let mut variant = Variant::default();
    if said.varies {
        variant = Variant::of(request, headers).ok_or(Refusal::Vary)?;
    }
    let word = if requested.post || credentials.personal(rules) { Word::Own } else { Word::Any };
    let freshness = worth_storing(status, &said, &directives, exchange, word, &rules.freshness)
        .filter(|(_, source)| *source == Source::Explicit || word == Word::Any)
        .ok_or(Refusal::NoFreshness)?
        .0;
    let kept = Kept::of(headers, &said, &directives);
    let mut date = None;
    if !(said.date.is_any() && kept.has(&header::DATE)) {
        // RFC 9110 §6.6.1: who stores a response without Date notes when it came.
        date = dates::fixdate(exchange.received).and_then(|date| HeaderValue::from_bytes(&date).ok());
    }
    let (length, octets) = (said.length(), said.octets);
    Ok(Storable { variant, kept, date, length, octets, freshness, part })
}

/// Whether newer fields no longer say what let a shared cache keep a response that may have been made for somebody's
/// credentials: whose request it was made for is not known any more (§3.5).
pub(crate) fn withdraws(stored: &HeaderMap, newer: &HeaderMap, rules: &StorageRules) -> bool {
    let of = |headers| {
        let directives = ResponseDirectives::of(headers, &rules.freshness.targeted);
        (directives.public || directives.s_maxage.or_zero().is_some(), directives.must_revalidate)
    };
    let ((shared, revalidated), (still_shared, still_revalidated)) = (of(stored), of(newer));
    let withdrawn = shared || revalidated && !still_revalidated;
    rules.freshness.mode == Mode::Shared && withdrawn && !still_shared
}

/// The prohibitions.
fn permitted(
    credentials: Credentials,
    status: StatusCode,
    part: bool,
    said: &Said<'_>,
    directives: &ResponseDirectives,
    rules: &StorageRules,
) -> Result<(), Refusal> {
    let final_status = status.as_u16() >= 200 && status != StatusCode::NOT_MODIFIED;
    let final_status = final_status && (part || status != StatusCode::PARTIAL_CONTENT);
    let final_status = final_status && !is_about_one_request(status);
    // `must-understand` takes the place of `no-store` for those who understand the status (§5.2.2.3).
    if !final_status || directives.must_understand && !understood(status) {
        return Err(Refusal::Status);
    }
    if directives.no_store && !directives.must_understand {
        return Err(Refusal::NoStore);
    }
    if rules.freshness.mode == Mode::Private {
        return Ok(());
    }
    if directives.private != Qualified::Absent {
        return Err(Refusal::Private);
    }
    let shared_explicitly = directives.public || directives.s_maxage.or_zero().is_some();
    if credentials.authorization && !shared_explicitly && !directives.must_revalidate {
        return Err(Refusal::Authorization);
    }
    if credentials.cookie && !shared_explicitly && !rules.cookie {
        return Err(Refusal::Cookie);
    }
    if said.set_cookie && !shared_explicitly && !rules.set_cookie {
        return Err(Refusal::SetCookie);
    }
    Ok(())
}

/// Whether this answers a field or a connection of the request rather than its target: 407, 412, 416, 417, 421 and 425
/// by what they mean, 428, 429, 431 and 511 because RFC 6585 forbids to store them.
fn is_about_one_request(status: StatusCode) -> bool {
    matches!(status.as_u16(), 407 | 412 | 416 | 417 | 421 | 425 | 428 | 429 | 431 | 511)
}

/// What a request has by which its answer may be its client's own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Credentials {
    authorization: bool,
    cookie: bool,
}

impl Credentials {
    pub(super) fn of(request: &HeaderMap) -> Self {
        let [authorization, cookie] =
            [header::AUTHORIZATION, header::COOKIE].map(|name| request.contains_key(name));
        Self { authorization, cookie }
    }

    /// There is a field of this name.
    pub(super) fn note(&mut self, name: &HeaderName) {
        self.authorization |= *name == header::AUTHORIZATION;
        self.cookie |= *name == header::COOKIE;
    }

    pub(crate) fn is_any(self) -> bool {
        self.authorization || self.cookie
    }

    pub(super) fn personal(self, rules: &StorageRules) -> bool {
        rules.freshness.mode == Mode::Shared && (self.authorization || self.cookie && !rules.cookie)
    }
}

/// Whether the answer to this request may be its client's own: a guess is not made about it, and what it is says nothing
/// about the answers to others.
pub(crate) fn personal(request: &HeaderMap, rules: &StorageRules) -> bool {
    Credentials::of(request).personal(rules)
}

/// The freshness, if a stored copy would ever save anything: it is fresh for a while, or can be validated, or may be
/// served stale.
fn worth_storing(
    status: StatusCode,
    said: &Said<'_>,
    directives: &ResponseDirectives,
    exchange: Exchange,
    word: Word,
    rules: &FreshnessRules,
) -> Option<(Freshness, Source)> {
    let date = said.date.date(exchange.received);
    let (lifetime, source) =
        freshness::lifetime(status, said, directives, date, exchange.received, word, rules);
    // The last condition of §3.
    let own = rules.mode == Mode::Private && directives.private != Qualified::Absent;
    let stated = source != Source::None || directives.public || own;
    if !stated && !freshness::heuristically_cacheable(status) {
        return None;
    }
    let freshness = freshness::of(lifetime, age::initial(said, date, exchange), directives, rules);
    let fresh = freshness.lifetime > freshness.initial_age && !freshness.always_validate;
    let stale = !freshness.never_stale
        && !freshness.always_validate
        && source != Source::None
        && (!freshness.stale_while_revalidate.is_zero() || !freshness.stale_if_error.is_zero());
    (fresh || stale || said.has_validator()).then_some((freshness, source))
}

/// Final status codes of RFC 9110 whose caching requirements are known here; all of them but 304.
fn understood(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200..=206 | 300..=303 | 305 | 307 | 308 | 400..=417 | 421 | 422 | 426 | 500..=505)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| ((*name).parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn rules(mode: Mode) -> StorageRules {
        StorageRules { freshness: FreshnessRules::of_rfc(mode), set_cookie: false, cookie: false }
    }

    fn ask(
        rules: &StorageRules,
        request: &[(&'static str, &'static str)],
        status: u16,
        response: &[(&'static str, &'static str)],
    ) -> Result<(), Refusal> {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
        let exchange = Exchange { delay: Duration::ZERO, received: now };
        let status = StatusCode::from_u16(status).unwrap();
        let request = Asked::of(&map(request));
        decide(&request, Requested::default(), status, &map(response), exchange, rules).map(|_| ())
    }

    const FRESH: (&str, &str) = ("cache-control", "max-age=60");

    #[test]
    fn who_may_share_what() {
        let (shared, private) = (rules(Mode::Shared), rules(Mode::Private));
        assert_eq!(ask(&shared, &[], 200, &[FRESH]), Ok(()));
        let cases: [(&[_], &[_], Refusal); 5] = [
            (&[], &[("cache-control", "max-age=60, private")], Refusal::Private),
            (&[], &[("cache-control", "max-age=60, private=\"x-a\"")], Refusal::Private),
            (&[("authorization", "x")], &[FRESH], Refusal::Authorization),
            (&[("cookie", "a=b")], &[FRESH], Refusal::Cookie),
            (&[], &[FRESH, ("set-cookie", "a=b")], Refusal::SetCookie),
        ];
        for (request, response, refusal) in cases {
            assert_eq!(ask(&shared, request, 200, response), Err(refusal));
            assert_eq!(ask(&private, request, 200, response), Ok(()), "{refusal:?}");
            if refusal != Refusal::Private {
                for explicit in ["max-age=60, public", "s-maxage=60"] {
                    let mut response = response.to_vec();
                    response[0] = ("cache-control", explicit);
                    assert_eq!(ask(&shared, request, 200, &response), Ok(()), "{refusal:?} {explicit}");
                }
            }
        }
        let must_revalidate = ("cache-control", "max-age=60, must-revalidate");
        assert_eq!(ask(&shared, &[("authorization", "x")], 200, &[must_revalidate]), Ok(()));
    }

    #[test]
    fn no_store_and_must_understand() {
        let shared = rules(Mode::Shared);
        let no_store = ("cache-control", "max-age=60, no-store");
        let understand = ("cache-control", "max-age=60, no-store, must-understand");
        assert_eq!(ask(&shared, &[], 200, &[no_store]), Err(Refusal::NoStore));
        assert_eq!(ask(&shared, &[], 200, &[understand]), Ok(()));
        assert_eq!(ask(&shared, &[], 599, &[understand]), Err(Refusal::Status));
        assert_eq!(ask(&shared, &[], 599, &[FRESH]), Ok(()));
        for status in [206, 304, 416] {
            assert_eq!(ask(&shared, &[], status, &[FRESH]), Err(Refusal::Status));
        }
    }

    #[test]
    fn without_freshness_only_what_can_be_validated_or_guessed() {
        let shared = rules(Mode::Shared);
        assert_eq!(ask(&shared, &[], 200, &[]), Err(Refusal::NoFreshness));
        assert_eq!(ask(&shared, &[], 200, &[("cache-control", "no-cache")]), Err(Refusal::NoFreshness));
        assert_eq!(ask(&shared, &[], 200, &[("cache-control", "no-cache"), ("etag", "\"a\"")]), Ok(()));
        let modified = ("last-modified", "Sat, 05 Nov 1994 08:49:37 GMT");
        assert_eq!(ask(&shared, &[], 404, &[modified]), Ok(()));
        assert_eq!(ask(&shared, &[], 403, &[modified]), Err(Refusal::NoFreshness));
        assert_eq!(ask(&shared, &[], 403, &[modified, ("cache-control", "public")]), Ok(()));
        assert_eq!(ask(&shared, &[], 403, &[FRESH]), Ok(()));
        // A guess is not made about what may be personal, whatever the operator's default.
        let eager = StorageRules {
            freshness: FreshnessRules {
                default_ttl: Some(Duration::from_secs(9)),
                ..shared.freshness.clone()
            },
            ..shared
        };
        assert_eq!(ask(&eager, &[], 200, &[]), Ok(()));
        assert_eq!(
            ask(&eager, &[("cookie", "a=b")], 200, &[("cache-control", "public")]),
            Err(Refusal::NoFreshness)
        );
        assert_eq!(ask(&eager, &[], 200, &[FRESH, ("vary", "*")]), Err(Refusal::Vary));
    }
}

//! `Cache-Control` (RFC 9111 §5.2, RFC 5861, RFC 8246), read strictly: quoted strings are one value, names do not
//! regard case, the first of two equal directives counts (§4.2.1), and a number that is none makes stale.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// A `delta-seconds` argument (RFC 9111 §1.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Seconds {
    /// The directive is not there.
    #[default]
    Absent,
    /// It is, with an argument that is no number of seconds: what depends on it is stale (§4.2.1).
    Invalid,
    /// It is.
    Valid(u32),
}

impl Seconds {
    /// What the grammar allows, in token or quoted form; a number too large becomes the greatest (§1.2.2).
    fn parse(argument: Option<&[u8]>) -> Self {
        match argument {
            Some(digits) if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) => {
                Self::Valid(saturating_number(digits))
            }
            _ => Self::Invalid,
        }
    }

    fn first(&mut self, argument: Option<&[u8]>) {
        if *self == Self::Absent {
            *self = Self::parse(argument);
        }
    }

    /// The duration; an invalid argument counts as none at all.
    pub(crate) fn or_zero(self) -> Option<Duration> {
        match self {
            Self::Absent => None,
            Self::Invalid => Some(Duration::ZERO),
            Self::Valid(seconds) => Some(Duration::from_secs(u64::from(seconds))),
        }
    }

    /// The duration, when it is one.
    pub(crate) fn valid(self) -> Option<Duration> {
        match self {
            Self::Valid(seconds) => Some(Duration::from_secs(u64::from(seconds))),
            Self::Absent | Self::Invalid => None,
        }
    }
}

/// The value of ASCII digits, at most 2³¹ (RFC 9111 §1.2.2).
pub(crate) fn saturating_number(digits: &[u8]) -> u32 {
    const GREATEST: u32 = 1 << 31;
    digits.iter().fold(0_u32, |number, digit| {
        number.saturating_mul(10).saturating_add(u32::from(digit - b'0')).min(GREATEST)
    })
}

/// `no-cache` and `private`, which may name fields (§5.2.2.4, §5.2.2.7).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Qualified {
    #[default]
    Absent,
    /// The whole response.
    Whole,
    /// Only these fields of it.
    Fields(Vec<HeaderName>),
}

impl Qualified {
    pub(crate) fn add(&mut self, argument: Option<&[u8]>) {
        let fields = argument.map(|list| {
            list.split(|byte| *byte == b',')
                .map(<[u8]>::trim_ascii)
                .filter(|name| !name.is_empty())
                .map(HeaderName::from_bytes)
                .collect::<Result<Vec<_>, _>>()
        });
        match (fields, &mut *self) {
            (Some(Ok(fields)), Self::Absent) if !fields.is_empty() => *self = Self::Fields(fields),
            (Some(Ok(fields)), Self::Fields(known)) if !fields.is_empty() => known.extend(fields),
            // Without names, or with names that are none: the stricter reading.
            _ => *self = Self::Whole,
        }
    }
}

/// What a response says about caching it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ResponseDirectives {
    pub(crate) no_store: bool,
    pub(crate) no_cache: Qualified,
    pub(crate) private: Qualified,
    pub(crate) public: bool,
    pub(crate) must_revalidate: bool,
    pub(crate) proxy_revalidate: bool,
    pub(crate) must_understand: bool,
    pub(crate) max_age: Seconds,
    pub(crate) s_maxage: Seconds,
    pub(crate) stale_while_revalidate: Seconds,
    pub(crate) stale_if_error: Seconds,
    /// A targeted field (RFC 9213) was used: `Expires` does not count.
    pub(crate) targeted: bool,
}

impl ResponseDirectives {
    /// Reads the targeted field meant for this cache (RFC 9213), or else `Cache-Control`.
    pub(crate) fn of(headers: &HeaderMap, targeted: &[HeaderName]) -> Self {
        super::targeted::directives(headers, targeted).unwrap_or_else(|| Self::parse(headers))
    }

    /// Reads `Cache-Control` where it is one line.
    pub(crate) fn of_line(line: &HeaderValue) -> Self {
        let mut directives = Self::default();
        each(line.as_bytes(), |name, argument| directives.add(name, argument));
        directives
    }

    /// Reads `Cache-Control`.
    pub(crate) fn parse(headers: &HeaderMap) -> Self {
        let mut directives = Self::default();
        for line in headers.get_all(header::CACHE_CONTROL) {
            each(line.as_bytes(), |name, argument| directives.add(name, argument));
        }
        directives
    }

    fn add(&mut self, name: &[u8], argument: Option<&[u8]>) {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if is("max-age") {
            self.max_age.first(argument);
        } else if is("s-maxage") {
            self.s_maxage.first(argument);
        } else if is("no-store") {
            self.no_store = true;
        } else if is("no-cache") {
            self.no_cache.add(argument);
        } else if is("private") {
            self.private.add(argument);
        } else if is("public") {
            self.public = true;
        } else if is("must-revalidate") {
            self.must_revalidate = true;
        } else if is("proxy-revalidate") {
            self.proxy_revalidate = true;
        } else if is("must-understand") {
            self.must_understand = true;
        } else if is("stale-while-revalidate") {
            self.stale_while_revalidate.first(argument);
        } else if is("stale-if-error") {
            self.stale_if_error.first(argument);
        }
    }
}

/// What a request asks of a cache (RFC 9111 §5.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct RequestDirectives {
    pub(crate) no_cache: bool,
    pub(crate) no_store: bool,
    pub(crate) only_if_cached: bool,
    pub(crate) max_age: Option<Duration>,
    pub(crate) min_fresh: Option<Duration>,
    /// How stale an answer may be; without argument, any.
    pub(crate) max_stale: Option<Duration>,
    pub(crate) stale_if_error: Option<Duration>,
}

impl RequestDirectives {
    /// Reads `Cache-Control`, and `Pragma` where that is missing (§5.4).
    pub(crate) fn parse(headers: &HeaderMap) -> Self {
        let mut directives = Self::default();
        if let Some(first) = headers.get(header::CACHE_CONTROL) {
            each(first.as_bytes(), |name, argument| directives.add(name, argument));
            for line in headers.get_all(header::CACHE_CONTROL).iter().skip(1) {
                each(line.as_bytes(), |name, argument| directives.add(name, argument));
            }
        } else {
            for line in headers.get_all(header::PRAGMA) {
                each(line.as_bytes(), |name, _| {
                    directives.no_cache |= name.eq_ignore_ascii_case(b"no-cache");
                });
            }
        }
        directives
    }

    fn add(&mut self, name: &[u8], argument: Option<&[u8]>) {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if is("no-cache") {
            self.no_cache = true;
        } else if is("no-store") {
            self.no_store = true;
        } else if is("only-if-cached") {
            self.only_if_cached = true;
        } else if is("max-age") {
            self.max_age = self.max_age.or(Seconds::parse(argument).or_zero());
        } else if is("min-fresh") {
            self.min_fresh = self.min_fresh.or(Seconds::parse(argument).valid());
        } else if is("max-stale") {
            let any = argument.is_none().then_some(Duration::MAX);
            self.max_stale = self.max_stale.or(any).or(Seconds::parse(argument).valid());
        } else if is("stale-if-error") {
            self.stale_if_error = self.stale_if_error.or(Seconds::parse(argument).valid());
        }
    }
}

/// Calls `directive` with the name and the argument, unquoted, of each member of a line.
fn each(line: &[u8], mut directive: impl FnMut(&[u8], Option<&[u8]>)) {
    let mut rest = line;
    while !rest.is_empty() {
        let name_end = rest.iter().position(|byte| matches!(byte, b'=' | b',')).unwrap_or(rest.len());
        let name = rest[..name_end].trim_ascii();
        if rest.get(name_end) != Some(&b'=') {
            if is_token(name) {
                directive(name, None);
            }
            rest = rest.get(name_end + 1..).unwrap_or_default();
            continue;
        }
        // No white space belongs around "="; a name with a space in it is no token.
        let valid_name = is_token(&rest[..name_end]) || is_token(rest[..name_end].trim_ascii_start());
        let (argument, after) = argument(&rest[name_end + 1..]);
        if valid_name {
            directive(name, Some(&argument));
        }
        rest = after;
    }
}

/// The argument after "=", and what follows the next comma.
fn argument(rest: &[u8]) -> (std::borrow::Cow<'_, [u8]>, &[u8]) {
    let mut escaped = false;
    let closes = |byte: &u8| {
        let ends = !escaped && *byte == b'"';
        escaped = !escaped && *byte == b'\\';
        ends
    };
    // A quote that is never closed is none: it must not hide what follows the next comma.
    if rest.first() != Some(&b'"') || !rest[1..].iter().any(closes) {
        let end = rest.iter().position(|byte| *byte == b',').unwrap_or(rest.len());
        return (rest[..end].trim_ascii_end().into(), rest.get(end + 1..).unwrap_or_default());
    }
    let mut value = Vec::new();
    let mut index = 1;
    while let Some(byte) = rest.get(index) {
        match byte {
            b'"' => break,
            b'\\' => {
                index += 1;
                value.extend(rest.get(index));
            }
            byte => value.push(*byte),
        }
        index += 1;
    }
    let after = rest.get(index + 1..).unwrap_or_default();
    let comma = after.iter().position(|byte| *byte == b',').unwrap_or(after.len());
    if !after[..comma].trim_ascii().is_empty() {
        // Something stands between the closing quote and the comma: keep it, so that no number comes of it.
        value.extend_from_slice(&after[..comma]);
    }
    (value.into(), after.get(comma + 1..).unwrap_or_default())
}

/// `token` of RFC 9110 §5.6.2.
pub(crate) fn is_token(name: &[u8]) -> bool {
    !name.is_empty()
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(lines: &[&str]) -> ResponseDirectives {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::CACHE_CONTROL, line.parse().unwrap());
        }
        ResponseDirectives::parse(&headers)
    }

    #[test]
    fn names_ignore_case_and_arguments_may_be_quoted() {
        for line in
            ["max-age=60", "Max-Age=60", "max-age=\"60\"", " , max-age=60 ,", "a=\"b, no-store\", max-age=60"]
        {
            let directives = response(&[line]);
            assert_eq!(directives.max_age, Seconds::Valid(60), "{line}");
            assert!(!directives.no_store, "{line}");
        }
    }

    #[test]
    fn what_is_no_number_is_invalid() {
        for line in [
            "max-age",
            "max-age=",
            "max-age=-1",
            "max-age=1.0",
            "max-age='60'",
            "max-age= 60",
            "max-age=60x",
            "max-age=\"60\"x",
            "max-age=0x1",
        ] {
            assert_eq!(response(&[line]).max_age, Seconds::Invalid, "{line}");
        }
        // A name that is no token is no directive.
        assert_eq!(response(&["max-age =60"]).max_age, Seconds::Absent);
    }

    #[test]
    fn numbers_saturate() {
        assert_eq!(response(&["max-age=99999999999999999999"]).max_age, Seconds::Valid(1 << 31));
        assert_eq!(response(&["max-age=2147483648"]).max_age, Seconds::Valid(1 << 31));
    }

    #[test]
    fn the_first_of_two_counts() {
        assert_eq!(response(&["max-age=1, max-age=2"]).max_age, Seconds::Valid(1));
        assert_eq!(response(&["max-age=1", "max-age=2"]).max_age, Seconds::Valid(1));
    }

    #[test]
    fn fields_of_no_cache_and_private() {
        assert_eq!(response(&["no-cache"]).no_cache, Qualified::Whole);
        assert_eq!(response(&["no-cache=\"\""]).no_cache, Qualified::Whole);
        assert_eq!(response(&["no-cache=\"a b\""]).no_cache, Qualified::Whole);
        let one = Qualified::Fields(vec![HeaderName::from_static("x-a")]);
        assert_eq!(response(&["no-cache=X-A"]).no_cache, one);
        let two = Qualified::Fields(vec![HeaderName::from_static("x-a"), HeaderName::from_static("x-b")]);
        assert_eq!(response(&["private=\"X-A, x-b\""]).private, two);
        assert_eq!(response(&["private=\"X-A\", private"]).private, Qualified::Whole);
    }

    #[test]
    fn requests() {
        let mut headers = HeaderMap::new();
        headers.insert(header::PRAGMA, "no-cache".parse().unwrap());
        assert!(RequestDirectives::parse(&headers).no_cache);
        headers.insert(header::CACHE_CONTROL, "max-stale, min-fresh=5".parse().unwrap());
        let directives = RequestDirectives::parse(&headers);
        assert!(!directives.no_cache, "Pragma counts only without Cache-Control");
        assert_eq!(directives.max_stale, Some(Duration::MAX));
        assert_eq!(directives.min_fresh, Some(Duration::from_secs(5)));
    }
}

//! What the rules read of a response's fields, found in one pass over them: a look by name costs more than to pass by
//! all that a response usually has, and the rules would take twenty.

use std::time::SystemTime;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::dates;
use super::directives::ResponseDirectives;
use super::targeted;

/// The lines of a field.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum Lines<'a> {
    #[default]
    None,
    One(&'a HeaderValue),
    /// More than one, of which this is the first.
    More(&'a HeaderValue),
}

impl<'a> Lines<'a> {
    fn add(&mut self, line: &'a HeaderValue) {
        *self = match *self {
            Self::None => Self::One(line),
            Self::One(first) | Self::More(first) => Self::More(first),
        };
    }

    pub(crate) fn is_any(self) -> bool {
        !matches!(self, Self::None)
    }

    /// The first line.
    pub(crate) fn first(self) -> Option<&'a HeaderValue> {
        match self {
            Self::None => None,
            Self::One(first) | Self::More(first) => Some(first),
        }
    }

    /// The only line.
    fn only(self) -> Option<&'a HeaderValue> {
        if let Self::One(only) = self { Some(only) } else { None }
    }

    /// The date, when there is exactly one line, in one of the three forms of the RFC.
    pub(crate) fn date(self, received: SystemTime) -> Option<SystemTime> {
        dates::parse(self.only()?.as_bytes(), || received)
    }
}

/// The fields of a response that rules ask for.
#[derive(Debug, Default)]
pub(crate) struct Said<'a> {
    pub(crate) date: Lines<'a>,
    pub(crate) expires: Lines<'a>,
    pub(crate) modified: Lines<'a>,
    pub(crate) age: Lines<'a>,
    pub(crate) control: Lines<'a>,
    pub(crate) length: Lines<'a>,
    pub(crate) etag: bool,
    pub(crate) set_cookie: bool,
    /// `Vary`, or what names the one site that is allowed to read it.
    pub(crate) varies: bool,
    pub(crate) connection: bool,
    /// A field of one connection or one exchange.
    pub(crate) hop_by_hop: bool,
    /// One of the fields that take the place of `Cache-Control`.
    targeted: bool,
    /// Octets of all values.
    pub(crate) octets: usize,
}

impl<'a> Said<'a> {
    /// `targeted` are the fields that take the place of `Cache-Control` for this cache.
    pub(crate) fn of(headers: &'a HeaderMap, targeted: &[HeaderName]) -> Self {
        let mut said = Self::default();
        for (name, value) in headers {
            said.octets += value.len();
            said.add(name.as_str(), value);
            said.targeted |= targeted.contains(name);
        }
        said
    }

    fn add(&mut self, name: &str, value: &'a HeaderValue) {
        match name {
            "date" => self.date.add(value),
            "expires" => self.expires.add(value),
            "last-modified" => self.modified.add(value),
            "age" => self.age.add(value),
            "cache-control" => self.control.add(value),
            "content-length" => self.length.add(value),
            "etag" => self.etag = true,
            "set-cookie" => self.set_cookie = true,
            "vary" | "access-control-allow-origin" => self.varies = true,
            "connection" => (self.connection, self.hop_by_hop) = (true, true),
            _ => self.hop_by_hop |= is_hop_by_hop(name),
        }
    }

    /// What it says about caching it: in the targeted field meant for this cache (RFC 9213), or else in `Cache-Control`.
    pub(crate) fn directives(&self, headers: &HeaderMap, targeted: &[HeaderName]) -> ResponseDirectives {
        let own = if self.targeted { targeted::directives(headers, targeted) } else { None };
        own.unwrap_or_else(|| match self.control {
            Lines::None => ResponseDirectives::default(),
            Lines::One(line) => ResponseDirectives::of_line(line),
            Lines::More(_) => ResponseDirectives::parse(headers),
        })
    }

    /// Whether there is something to validate it by.
    pub(crate) fn has_validator(&self) -> bool {
        self.etag || self.modified.is_any()
    }

    /// What `Content-Length` says, where it says one thing.
    pub(crate) fn length(&self) -> Option<u64> {
        self.length.only()?.to_str().ok()?.parse().ok()
    }
}

/// Fields that belong to one connection or one exchange.
pub(crate) fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "te"
            | "transfer-encoding"
            | "upgrade"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authentication-info"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::map;

    #[test]
    fn one_pass_finds_what_looks_by_name_find() {
        const TARGETED: [HeaderName; 2] =
            [HeaderName::from_static("x-cache-control"), HeaderName::from_static("cdn-cache-control")];
        let fields = [
            ("cache-control", "max-age=5"),
            ("cache-control", "no-store"),
            ("cdn-cache-control", "max-age=7"),
            ("x-cache-control", "max-age=9"),
            ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("date", "0"),
            ("age", "1"),
            ("content-length", "5"),
            ("content-length", "6"),
            ("etag", "\"a\""),
            ("te", "trailers"),
        ];
        // Each set of them.
        for set in 0..1 << fields.len() {
            let some: Vec<_> =
                (0..fields.len()).filter(|at| set >> at & 1 == 1).map(|at| fields[at]).collect();
            let headers = map(&some);
            let said = Said::of(&headers, &TARGETED);
            assert_eq!(said.directives(&headers, &TARGETED), ResponseDirectives::of(&headers, &TARGETED));
            assert_eq!(said.has_validator(), super::super::conditional::has_validator(&headers));
            let date = dates::single(&headers, &http::header::DATE, || std::time::UNIX_EPOCH);
            assert_eq!(said.date.date(std::time::UNIX_EPOCH), date);
            assert_eq!(said.age.first(), headers.get("age"));
            let lengths: Vec<_> = headers.get_all("content-length").iter().collect();
            let length =
                if let [length] = lengths[..] { length.to_str().unwrap().parse().ok() } else { None };
            assert_eq!(said.length(), length);
            assert_eq!(said.hop_by_hop, headers.contains_key("te"));
            assert_eq!(said.octets, some.iter().map(|(_, value)| value.len()).sum::<usize>());
        }
    }
}

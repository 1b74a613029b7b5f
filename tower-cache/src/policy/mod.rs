//! The decisions of this crate, as pure functions and values: no clock, randomness, lock, task or I/O in here.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub(crate) mod age;
pub(crate) mod asked;
pub(crate) mod backoff;
pub(crate) mod budget;
pub(crate) mod conditional;
pub(crate) mod dates;
pub(crate) mod directives;
pub(crate) mod fields;
pub(crate) mod freshness;
pub(crate) mod range;
pub(crate) mod request;
pub(crate) mod reuse;
pub(crate) mod said;
pub(crate) mod storable;
pub(crate) mod targeted;
pub(crate) mod vary;

/// Whose cache this is (RFC 9111 §1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Its answers go to more than one user.
    Shared,
    /// It belongs to one user.
    Private,
}

/// Fields, for the tests of the rules.
#[cfg(test)]
pub(crate) fn map(fields: &[(&'static str, &str)]) -> http::HeaderMap {
    let mut headers = http::HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, value.parse().unwrap());
    }
    headers
}

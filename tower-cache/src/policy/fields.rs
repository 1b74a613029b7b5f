//! Which fields of a response are stored, and how a 304 changes them (RFC 9111 §3.1, §3.2).

use http::{HeaderMap, HeaderName, header};

use super::directives::{Qualified, ResponseDirectives};
use super::said::{Said, is_hop_by_hop};

/// The names that `Connection` lists.
fn connection_listed(headers: &HeaderMap) -> Vec<HeaderName> {
    let lines = headers.get_all(header::CONNECTION).iter();
    lines
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .collect()
}

/// Which fields of a response are stored: not those of the connection, nor those that `no-cache` and `private` name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kept {
    /// It has fields of one connection.
    hop_by_hop: bool,
    withheld: Vec<HeaderName>,
}

impl Kept {
    pub(crate) fn of(headers: &HeaderMap, said: &Said<'_>, directives: &ResponseDirectives) -> Self {
        let mut withheld = Vec::new();
        if said.connection {
            withheld = connection_listed(headers);
        }
        for qualified in [&directives.no_cache, &directives.private] {
            if let Qualified::Fields(names) = qualified {
                withheld.extend_from_slice(names);
            }
        }
        Self { hop_by_hop: said.hop_by_hop, withheld }
    }

    pub(crate) fn has(&self, name: &HeaderName) -> bool {
        !(self.hop_by_hop && is_hop_by_hop(name.as_str()) || self.withheld.contains(name))
    }
}

/// Takes over the fields of a 304 or HEAD response (§3.2): each name it has replaces the stored values, save those
/// that describe the stored content, which has not been sent again: its length, coding, digest and entity tag. Where the
/// stored response has no entity tag, the newer one's is one for it.
pub(crate) fn update(stored: &mut HeaderMap, newer: &HeaderMap) {
    let listed = connection_listed(newer);
    for name in newer.keys() {
        let describes_content = [header::CONTENT_LENGTH, header::CONTENT_ENCODING, header::CONTENT_RANGE]
            .contains(name)
            || matches!(name.as_str(), "content-md5" | "content-digest")
            || *name == header::ETAG && stored.contains_key(name);
        if describes_content || is_hop_by_hop(name.as_str()) || listed.contains(name) {
            continue;
        }
        stored.remove(name);
        for value in newer.get_all(name) {
            stored.append(name.clone(), value.clone());
        }
    }
    // An Age that the newer response does not have is the age of the older one.
    if !newer.contains_key(header::AGE) {
        stored.remove(header::AGE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::map;

    #[test]
    fn connection_fields_and_withheld_fields_stay_out() {
        let headers = map(&[
            ("connection", "close, X-Hop"),
            ("keep-alive", "timeout=5"),
            ("x-hop", "1"),
            ("x-secret", "1"),
            ("x-kept", "1"),
            ("x-kept", "2"),
            ("cache-control", "max-age=1, no-cache=\"x-secret\""),
        ]);
        let said = Said::of(&headers, &[]);
        let kept = Kept::of(&headers, &said, &ResponseDirectives::parse(&headers));
        let names: Vec<_> = headers.keys().filter(|name| kept.has(name)).map(HeaderName::as_str).collect();
        assert_eq!(names, ["x-kept", "cache-control"]);
    }

    #[test]
    fn a_newer_response_replaces_fields_but_not_those_of_the_content() {
        let mut stored =
            map(&[("x-a", "1"), ("x-a", "2"), ("content-length", "9"), ("age", "7"), ("x-b", "1")]);
        update(
            &mut stored,
            &map(&[("x-a", "3"), ("content-length", "0"), ("connection", "x-b"), ("x-b", "9")]),
        );
        assert_eq!(stored, map(&[("x-a", "3"), ("content-length", "9"), ("x-b", "1")]));
    }
}

//! What is kept of a request until its response is there.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::storable::{Credentials, StorageRules};

/// Fields of a request, by name.
pub(crate) trait Lines {
    /// Those of this name, in their order.
    fn lines(&self, name: &HeaderName) -> impl Iterator<Item = &HeaderValue>;
}

impl Lines for HeaderMap {
    fn lines(&self, name: &HeaderName) -> impl Iterator<Item = &HeaderValue> {
        self.get_all(name).into_iter()
    }
}

/// The fields of a request as the client sent them. Most are never looked for, so they are a list, which is made at less
/// cost than a map.
#[derive(Debug)]
pub(crate) struct Asked {
    lines: Vec<(HeaderName, HeaderValue)>,
    credentials: Credentials,
}

impl Asked {
    pub(crate) fn of(fields: &HeaderMap) -> Self {
        let mut lines = Vec::with_capacity(fields.len());
        let mut credentials = Credentials::default();
        for (name, value) in fields {
            credentials.note(name);
            lines.push((name.clone(), value.clone()));
        }
        Self { lines, credentials }
    }

    /// By what its answer may be its client's own.
    pub(crate) fn credentials(&self) -> Credentials {
        self.credentials
    }

    /// Whether its answer may be its client's own.
    pub(crate) fn personal(&self, rules: &StorageRules) -> bool {
        self.credentials.personal(rules)
    }

    /// The map that they were.
    pub(crate) fn map(&self) -> HeaderMap {
        let mut map = HeaderMap::with_capacity(self.lines.len());
        for (name, value) in &self.lines {
            map.append(name, value.clone());
        }
        map
    }
}

impl Lines for Asked {
    fn lines(&self, name: &HeaderName) -> impl Iterator<Item = &HeaderValue> {
        self.lines.iter().filter(move |(known, _)| known == name).map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use http::header;

    use super::*;
    use crate::policy::map;

    #[test]
    fn a_list_says_what_the_map_said() {
        let fields = map(&[("x-a", "1"), ("cookie", "a=b"), ("x-a", "2"), ("host", "a"), ("x-b", "")]);
        let asked = Asked::of(&fields);
        assert_eq!(asked.map(), fields);
        for name in fields.keys().chain([&header::ACCEPT]) {
            assert!(asked.lines(name).eq(Lines::lines(&fields, name)), "{name}");
        }
        assert_eq!(asked.credentials(), Credentials::of(&fields));
        assert_ne!(asked.credentials(), Credentials::of(&map(&[("authorization", "a")])));
    }
}

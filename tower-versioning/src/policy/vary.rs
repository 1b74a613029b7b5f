//! `Vary`: appended to what a handler says, without saying a thing twice (RFC 9110 §12.5.5).

use http::header::{Entry, HeaderMap, HeaderName, HeaderValue, VARY};

/// The request fields the choice of a version depends on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Consulted {
    names: Vec<HeaderName>,
    value: Option<HeaderValue>,
}

impl Consulted {
    pub(crate) fn new(fields: impl IntoIterator<Item = HeaderName>) -> Self {
        let mut names: Vec<HeaderName> = Vec::new();
        for name in fields {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let list = names.iter().map(HeaderName::as_str).collect::<Vec<_>>().join(", ");
        let value = written(&list).filter(|_| !names.is_empty());
        Self { names, value }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.value.is_none()
    }

    /// Adds the fields the answer does not name yet. `*` says everything already.
    #[inline]
    pub(crate) fn append_to(&self, headers: &mut HeaderMap) {
        let Some(value) = &self.value else { return };
        match headers.try_entry(VARY) {
            Ok(Entry::Vacant(place)) => {
                // Refused only by a map that is full, and then the answer goes without.
                let _ = place.try_insert(value.clone());
            }
            Ok(Entry::Occupied(_)) => self.append_missing(headers, value),
            Err(_) => {}
        }
    }

    fn append_missing(&self, headers: &mut HeaderMap, value: &HeaderValue) {
        let told = |name: &str| {
            headers.get_all(VARY).iter().any(|line| {
                let mut members = line.as_bytes().split(|&octet| octet == b',').map(<[u8]>::trim_ascii);
                members.any(|member| member == b"*" || member.eq_ignore_ascii_case(name.as_bytes()))
            })
        };
        let missing: Vec<&str> =
            self.names.iter().map(HeaderName::as_str).filter(|name| !told(name)).collect();
        if missing.len() == self.names.len() {
            let _ = headers.try_append(VARY, value.clone());
        } else if let Ok(value) = HeaderValue::from_str(&missing.join(", "))
            && !missing.is_empty()
        {
            let _ = headers.try_append(VARY, value);
        }
    }
}

/// Values in static memory are cloned without counting references; so the commonest are.
fn written(list: &str) -> Option<HeaderValue> {
    const COMMON: [&str; 4] = ["api-version", "accept, content-type", "authorization", "x-api-version"];
    let common = COMMON.into_iter().find(|common| *common == list);
    common.map(HeaderValue::from_static).or_else(|| HeaderValue::from_str(list).ok())
}

//! `Vary`: appended to what a handler says, without saying a thing twice (RFC 9110 §12.5.5).

use http::header::{HeaderMap, HeaderName, HeaderValue, VARY};

/// The request fields the choice of a version depends on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Consulted {
    /// Their names, as a list; none for no field.
    pub(crate) value: Option<HeaderValue>,
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
        Self { value: HeaderValue::from_str(&list).ok().filter(|_| !names.is_empty()) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.value.is_none()
    }

    /// Adds the fields the answer does not name yet.
    pub(crate) fn append_to(&self, headers: &mut HeaderMap) {
        if let Some(value) = &self.value {
            append(headers, value);
        }
    }
}

/// Adds the fields of a list that the answer does not name yet. `*` says everything already. A map that is full goes
/// without.
pub(crate) fn append(headers: &mut HeaderMap, list: &HeaderValue) {
    if !headers.contains_key(VARY) {
        let _ = headers.try_append(VARY, list.clone());
        return;
    }
    let told = |name: &[u8]| {
        headers
            .get_all(VARY)
            .iter()
            .any(|line| members(line).any(|member| member == b"*" || member.eq_ignore_ascii_case(name)))
    };
    let missing: Vec<&[u8]> = members(list).filter(|name| !told(name)).collect();
    if missing.len() == members(list).count() {
        let _ = headers.try_append(VARY, list.clone());
    } else if let Ok(value) = HeaderValue::from_bytes(&missing.join(&b", "[..]))
        && !missing.is_empty()
    {
        let _ = headers.try_append(VARY, value);
    }
}

fn members(line: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    line.as_bytes().split(|&octet| octet == b',').map(<[u8]>::trim_ascii)
}

//! What answers say about versions. Nothing the handler said is overwritten.

use http::HeaderValue;
use http::header::{Entry, HeaderMap, HeaderName, LINK};

use crate::policy::moment::Moment;
use crate::policy::table::{Lists, Table};

pub(crate) const API_VERSION: HeaderName = HeaderName::from_static("api-version");
pub(crate) const SUPPORTED: HeaderName = HeaderName::from_static("api-supported-versions");
pub(crate) const DEPRECATED: HeaderName = HeaderName::from_static("api-deprecated-versions");
pub(crate) const DEPRECATION: HeaderName = HeaderName::from_static("deprecation");
pub(crate) const SUNSET: HeaderName = HeaderName::from_static("sunset");

/// How much answers say about versions. `Vary` is always kept right: caches depend on it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reports {
    /// The resolved version, its life (`Deprecation`, `Sunset`, `Link`), and the lists of supported and deprecated
    /// versions. The default: clients learn of a deprecation by the answers they get anyway.
    #[default]
    All,
    /// The resolved version and its life, without the lists.
    NoLists,
    /// Nothing.
    None,
}

/// Fields that stand alone: added when the handler did not say them.
fn add(headers: &mut HeaderMap, name: HeaderName, value: &HeaderValue) {
    if let Ok(Entry::Vacant(place)) = headers.try_entry(name) {
        // Refused only by a map that is full, and then the answer goes without.
        let _ = place.try_insert(value.clone());
    }
}

/// Fields that are lists: one more line, unless the same is said already, as by a second layer inside. A full map goes
/// without.
fn append(headers: &mut HeaderMap, name: HeaderName, value: &HeaderValue) {
    match headers.try_entry(name) {
        Ok(Entry::Vacant(place)) => _ = place.try_insert(value.clone()),
        Ok(Entry::Occupied(mut lines)) if lines.iter().all(|line| line != value) => {
            lines.append(value.clone());
        }
        Ok(Entry::Occupied(_)) | Err(_) => {}
    }
}

/// The lists of versions.
pub(crate) fn lists(headers: &mut HeaderMap, lists: &Lists) {
    if let Some(supported) = &lists.supported {
        append(headers, SUPPORTED, supported);
    }
    if let Some(deprecated) = &lists.deprecated {
        append(headers, DEPRECATED, deprecated);
    }
}

/// All that is said about an answer of that version.
pub(crate) fn served(
    headers: &mut HeaderMap,
    reports: Reports,
    table: &Table,
    entry: usize,
    successor: Option<&HeaderValue>,
    now: Moment,
) {
    if reports == Reports::None {
        return;
    }
    let entry = &table.entries[entry];
    add(headers, API_VERSION, &entry.text);
    if reports == Reports::All {
        lists(headers, table.lists(now));
    }
    if !entry.is_plain() {
        if let Some(deprecation) = &entry.deprecation {
            add(headers, DEPRECATION, deprecation);
        }
        if let Some((_, sunset)) = &entry.sunset {
            add(headers, SUNSET, sunset);
        }
        if let Some(links) = &entry.links {
            append(headers, LINK, links);
        }
    }
    if let Some(successor) = successor {
        append(headers, LINK, successor);
    }
}

//! What answers say about versions. Nothing the handler said is overwritten.

use http::HeaderValue;
use http::header::{Entry as Place, HeaderMap, HeaderName, LINK, VARY};

use crate::kept::{Answer, Values};
use crate::policy::moment::Moment;
pub(crate) use crate::policy::source::API_VERSION;
use crate::policy::table::{Entry, Lists, Table};
use crate::policy::vary;

pub(crate) const SUPPORTED: HeaderName = HeaderName::from_static("api-supported-versions");
pub(crate) const DEPRECATED: HeaderName = HeaderName::from_static("api-deprecated-versions");
pub(crate) const DEPRECATION: HeaderName = HeaderName::from_static("deprecation");
pub(crate) const SUNSET: HeaderName = HeaderName::from_static("sunset");

/// How much answers say about versions. `Vary` is no report: caches depend on it, so each of these says it, refusals too. A
/// service with no cache in front of it takes it out source by source, by [`varies_on([])`](crate::Source::varies_on).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reports {
    /// The resolved version, its life (`Deprecation`, `Sunset`, `Link`), and the lists of supported and deprecated
    /// versions. The default: clients learn of a deprecation by the answers they get anyway.
    #[default]
    All,
    /// The resolved version and its life, without the lists.
    NoLists,
    /// Nothing but `Vary`.
    None,
}

/// Fields that stand alone: added when the handler did not say them.
fn add(headers: &mut HeaderMap, name: HeaderName, value: &HeaderValue) {
    if let Ok(Place::Vacant(place)) = headers.try_entry(name) {
        // Refused only by a map that is full, and then the answer goes without.
        let _ = place.try_insert(value.clone());
    }
}

/// Fields that are lists: one more line, unless the same is said already, as by a second layer inside. A full map goes
/// without.
fn append(headers: &mut HeaderMap, name: HeaderName, value: &HeaderValue) {
    match headers.try_entry(name) {
        Ok(Place::Vacant(place)) => _ = place.try_insert(value.clone()),
        Ok(Place::Occupied(mut lines)) if lines.iter().all(|line| line != value) => {
            lines.append(value.clone());
        }
        Ok(Place::Occupied(_)) | Err(_) => {}
    }
}

/// Up to so many fields of an answer are looked through one by one.
const FEW: usize = 16;

/// What most answers say.
#[inline]
pub(crate) fn kept(headers: &mut HeaderMap, answer: &'static Answer) {
    let ours = |name: &HeaderName| {
        *name == VARY || *name == API_VERSION || *name == SUPPORTED || *name == DEPRECATED
    };
    if headers.keys_len() > FEW || headers.keys().any(ours) {
        return beside_others(headers, answer);
    }
    // Refused only by a map that is full, and then the answer goes without.
    if let Some(value) = &answer.vary {
        let _ = headers.try_append(VARY, value.clone());
    }
    if let Some(value) = &answer.version {
        let _ = headers.try_append(API_VERSION, value.clone());
    }
    if let Some(value) = &answer.supported {
        let _ = headers.try_append(SUPPORTED, value.clone());
    }
    if let Some(value) = &answer.deprecated {
        let _ = headers.try_append(DEPRECATED, value.clone());
    }
}

/// The same where the handler has said some of it.
#[cold]
fn beside_others(headers: &mut HeaderMap, answer: &'static Answer) {
    if let Some(fields) = &answer.vary {
        vary::append(headers, fields);
    }
    if let Some(version) = &answer.version {
        add(headers, API_VERSION, version);
    }
    if let Some(supported) = &answer.supported {
        append(headers, SUPPORTED, supported);
    }
    if let Some(deprecated) = &answer.deprecated {
        append(headers, DEPRECATED, deprecated);
    }
}

/// The values that [`served`] and `Vary` come to, where nothing else is said about an entry.
pub(crate) fn values<'a>(
    vary: Option<&'a HeaderValue>,
    reports: Reports,
    entry: &'a Entry,
    lists: &'a Lists,
) -> Values<'a> {
    match reports {
        Reports::None => [vary, None, None, None],
        Reports::NoLists => [vary, Some(&entry.text), None, None],
        Reports::All => [vary, Some(&entry.text), lists.supported.as_ref(), lists.deprecated.as_ref()],
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
    add(headers, API_VERSION, &table.entries[entry].text);
    if reports == Reports::All {
        lists(headers, table.lists(now));
    }
    life(headers, reports, table, entry, successor, now);
}

/// The life of a version, and where to go from it: of answers, and of the refusal of what is gone.
pub(crate) fn life(
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
    if !entry.is_plain() {
        if let Some(deprecation) = &entry.deprecation {
            add(headers, DEPRECATION, deprecation);
        }
        if let Some((_, sunset)) = &entry.sunset {
            add(headers, SUNSET, sunset);
        }
        if let Some(links) = entry.links(now) {
            append(headers, LINK, links);
        }
    }
    if let Some(successor) = successor {
        append(headers, LINK, successor);
    }
}

//! A door for benchmarks and fuzzers, past the layer. No part of the public interface: it may change at any time.

use http::Uri;
use http::request::Parts;

use crate::layer::VersionLayer;
use crate::policy::path;
use crate::policy::source::{Kind, Source};
use crate::policy::version::Version;

/// The index of the registered version that a request selects: sources asked and answer looked up, nothing else.
/// The closure holds the registry as it is now.
pub fn selection(layer: &VersionLayer) -> impl Fn(&Parts) -> Option<usize> + use<> {
    let config = layer.config().clone();
    let registered = config.registry.load();
    move |parts| {
        let (sources, table) = (&config.sources, &registered.table);
        if let Some((entry, ..)) = sources.quick(parts, table) {
            return Some(entry);
        }
        sources.decide(&sources.ask(parts), table, crate::Moment::from_unix(0)).ok()
    }
}

/// The place among the registered versions of the one that is written there.
pub fn lookup(layer: &VersionLayer) -> impl Fn(&[u8]) -> Option<usize> + use<> {
    let registered = layer.config().registry.load();
    move |text| match Version::quick(text) {
        Some(version) => registered.table.find_plain(version),
        None => registered.table.choose(Version::from_octets(text).ok()?),
    }
}

/// The target without the segment that carries a version, where the source is one of paths and finds one.
#[must_use]
pub fn rewrite(source: &Source, uri: &Uri) -> Option<Uri> {
    let Kind::Path(template) = &source.kind else { return None };
    path::without(uri, template.find(uri.path())?.0)
}

//! A door for benchmarks and fuzzers, past the layer. No part of the public interface: it may change at any time.

use http::Uri;
use http::request::Parts;

use crate::layer::VersionLayer;
use crate::policy::decide::{Quick, Sources};
use crate::policy::moment::Moment;
use crate::policy::path;
use crate::policy::source::{Kind, Source};
use crate::policy::table::Table;
use crate::policy::version::Version;

/// The index of the registered version that a request selects: sources asked and answer looked up, nothing else.
/// The closure holds the registry as it is now.
pub fn selection(layer: &VersionLayer) -> impl Fn(&Parts) -> Option<usize> + use<> {
    let config = layer.config().clone();
    let registered = config.registry.load();
    move |parts| {
        let (sources, table) = (&config.sources, &registered.table);
        match sources.quick(&parts.uri, &parts.headers, table) {
            Some(Quick { spelling, .. }) => Some(spelling.entry),
            None => slowly(sources, table, parts),
        }
    }
}

#[inline(never)]
fn slowly(sources: &Sources, table: &Table, parts: &Parts) -> Option<usize> {
    sources.decide(&sources.ask(parts), table, Moment::from_unix(0)).ok()
}

/// The place among the registered versions of the one that is written there.
pub fn lookup(layer: &VersionLayer) -> impl Fn(&[u8]) -> Option<usize> + use<> {
    let registered = layer.config().registry.load();
    move |text| match registered.table.find_quick(text) {
        None => registered.table.choose(Version::from_octets(text).ok()?, Moment::from_unix(0)),
        Some(spelling) => Some(spelling.entry),
    }
}

/// The target without the segment that carries a version, where the source is one of paths and finds one.
#[must_use]
pub fn rewrite(source: &Source, uri: &Uri) -> Option<Uri> {
    let Kind::Path(template) = &source.kind else { return None };
    let mut rewritten = uri.clone();
    path::replace(&mut rewritten, path::without(uri, template.find(uri.path())?.0)?)?;
    Some(rewritten)
}

/// Properties of the parsers, for fuzzers and for the generators of the ordinary tests. Each panics where one is hurt.
pub mod check {
    use http::header::{ACCEPT, CONTENT_TYPE, HOST};
    use http::{HeaderValue, Request, Uri};

    use crate::policy::decide::Sources;
    use crate::{Registry, Source, Version, VersionLayer, VersionRange};

    /// A text is a version or is not; a version prints as it was written and equals itself in any case.
    #[must_use]
    pub fn version(text: &str) -> bool {
        if let Ok(range) = text.parse::<VersionRange>() {
            assert_eq!(range.to_string().parse(), Ok(range), "{text}");
        }
        let Ok(version) = Version::parse(text) else { return false };
        assert_eq!(version.to_string(), text);
        assert_eq!(Version::parse(&text.to_ascii_uppercase()), Ok(version), "{text}");
        assert!(VersionRange::exactly(version).contains(version));
        if let Ok(value) = HeaderValue::from_str(text) {
            let mut request = Request::new(());
            request.headers_mut().insert("api-version", value);
            selects(Source::header(crate::report::API_VERSION), request);
        }
        true
    }

    /// What is left of a target without its segment is a target, with the same query, octet by octet, and with every
    /// other octet of the path; only an empty path becomes a slash.
    #[must_use]
    pub fn rewrite(text: &str) -> bool {
        let Ok(uri) = text.parse::<Uri>() else { return false };
        for parent in ["", "/api"] {
            let mut request = Request::new(());
            *request.uri_mut() = uri.clone();
            selects(Source::path(parent), request);
        }
        let anywhere = Source::path_anywhere("v{version}").into_iter();
        let mut rewritten = false;
        for source in anywhere.chain([Source::path(""), Source::path("/api")]) {
            let Some(rest) = super::rewrite(&source, &uri) else { continue };
            assert_eq!(rest.to_string().parse::<Uri>().ok().as_ref(), Some(&rest), "{text}");
            assert_eq!((rest.query(), rest.authority()), (uri.query(), uri.authority()), "{text}");
            let (before, after) = (uri.path(), rest.path());
            let whole = (0..=before.len()).filter(|at| before.is_char_boundary(*at)).any(|at| {
                let (start, end) = before.split_at(at);
                let tail = after.strip_prefix(start);
                tail.is_some_and(|tail| end.ends_with(tail)) || (start.is_empty() && after == "/")
            });
            assert!(whole, "{before} became {after}");
            rewritten = true;
        }
        rewritten
    }

    fn selects(source: Source, request: Request<()>) -> bool {
        let versions = ["1", "2", "2.1", "2026-03-01"].map(Version::literal);
        let builder =
            versions.iter().fold(Registry::builder(), |builder, version| builder.version(*version, |v| v));
        let Ok(registry) = builder.build() else { return false };
        let layer = VersionLayer::new(registry).sources([source]);
        let (config, parts) = (layer.config(), request.into_parts().0);
        let (sources, registered) = (&config.sources, config.registry.load());
        let slowly = super::slowly(sources, &registered.table, &parts);
        // What is found at once is what the ordinary way finds, to the letter.
        if let Some(quick) = sources.quick(&parts.uri, &parts.headers, &registered.table) {
            let named = sources.ask(&parts);
            assert_eq!(Some(quick.spelling.entry), slowly, "{parts:?}");
            assert_eq!(
                Sources::requested(&named).map(|v| v.to_string()),
                Some(quick.spelling.version.to_string())
            );
            let segment = (!quick.segment.is_none()).then_some((quick.segment, 0));
            assert_eq!(named.segment(), segment, "{parts:?}");
        }
        slowly.is_some()
    }

    /// Media types in `Accept` and `Content-Type`.
    #[must_use]
    pub fn media(accept: &[u8], content: &[u8]) -> bool {
        let mut request = Request::new(());
        for (name, text) in [(ACCEPT, accept), (CONTENT_TYPE, content)] {
            let Ok(value) = HeaderValue::from_bytes(text) else { return false };
            request.headers_mut().insert(name, value);
        }
        let vendor =
            Source::vendor("application/vnd.x.v{version}+json").is_ok_and(|s| selects(s, request.clone()));
        selects(Source::media_type("v"), request) || vendor
    }

    /// Queries.
    #[must_use]
    pub fn query(text: &str) -> bool {
        let Ok(uri) = format!("/x?{text}").parse::<Uri>() else { return false };
        let mut request = Request::new(());
        *request.uri_mut() = uri;
        selects(Source::query("v"), request)
    }

    /// The field `Host`.
    #[must_use]
    pub fn host(text: &[u8]) -> bool {
        let Ok(value) = HeaderValue::from_bytes(text) else { return false };
        let mut request = Request::new(());
        request.headers_mut().insert(HOST, value);
        Source::host("v{version}.api.example").is_ok_and(|source| selects(source, request))
    }
}

//! Where a request says which version it means, and what it says.

use http::header::HeaderName;
use http::request::Parts;
use http::uri::{PathAndQuery, Uri};

use super::version::Version;

/// A place of the request that may carry a version.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// The path segment after a prefix, such as `v2` in `/api/v2/orders` after `/api`.
    Path(PathSource),
    /// A request field, such as `api-version: 2`.
    Header(HeaderName),
}

/// A version in the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathSource {
    /// Ends without a slash; empty for the root.
    prefix: String,
    strip: bool,
}

impl Source {
    /// The path segment right after `prefix` (`""` or `"/"`: the first one), of the form `v2`, `v1.1`, `v2026-05-01`;
    /// taken out of the path, so that `/api/v2/orders` becomes `/api/orders`. Other segments are none of its business.
    #[must_use]
    pub fn path(prefix: &str) -> Self {
        Self::Path(PathSource { prefix: prefix.trim_end_matches('/').to_owned(), strip: true })
    }

    /// The same, and the path stays as it is.
    #[must_use]
    pub fn path_kept(prefix: &str) -> Self {
        Self::Path(PathSource { prefix: prefix.trim_end_matches('/').to_owned(), strip: false })
    }

    /// A request field with the version as its value, such as `api-version`.
    #[must_use]
    pub fn header(name: HeaderName) -> Self {
        Self::Header(name)
    }
}

impl Source {
    /// Where a version segment stands in the path.
    pub(crate) fn segment(&self, path: &str) -> Option<std::ops::Range<usize>> {
        match self {
            Self::Path(source) => source.segment(path).map(|(_, range)| range),
            Self::Header(_) => None,
        }
    }
}

/// What a request says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    Nothing,
    Version(Version),
    Malformed,
    Ambiguous,
}

/// Asks all sources; they must agree.
pub(crate) fn requested(parts: &Parts, sources: &[Source]) -> Said {
    let mut said = Said::Nothing;
    for source in sources {
        match (said, ask(parts, source)) {
            (_, Said::Nothing) => {}
            (_, Said::Malformed) => return Said::Malformed,
            (Said::Version(before), Said::Version(now)) if before != now => return Said::Ambiguous,
            (_, now) => said = now,
        }
        if said == Said::Ambiguous {
            return said;
        }
    }
    said
}

fn ask(parts: &Parts, source: &Source) -> Said {
    match source {
        Source::Path(source) => match source.segment(parts.uri.path()) {
            Some((version, _)) => Said::Version(version),
            None => Said::Nothing,
        },
        Source::Header(name) => {
            let mut said = Said::Nothing;
            for value in parts.headers.get_all(name) {
                let version = value.to_str().ok().and_then(|value| Version::parse(value.trim()).ok());
                // An empty field is one that was left out (behaviour 32).
                let version = match version {
                    None if value.as_bytes().trim_ascii().is_empty() => continue,
                    None => return Said::Malformed,
                    Some(version) => version,
                };
                match said {
                    Said::Version(before) if before != version => return Said::Ambiguous,
                    _ => said = Said::Version(version),
                }
            }
            said
        }
    }
}

impl PathSource {
    /// The version, and where its segment with the slash before it begins and ends.
    fn segment(&self, path: &str) -> Option<(Version, std::ops::Range<usize>)> {
        let rest = path.strip_prefix(self.prefix.as_str())?.strip_prefix('/')?;
        let segment = rest.split('/').next()?;
        let number = segment.strip_prefix(['v', 'V'])?;
        let version = number.bytes().next()?.is_ascii_digit().then(|| Version::parse(number).ok())??;
        let start = self.prefix.len();
        Some((version, start..start + 1 + segment.len()))
    }
}

/// The URI without the version segment; the query stays byte for byte.
pub(crate) fn rewrite(uri: &Uri, sources: &[Source]) -> Option<Uri> {
    let path_and_query = uri.path_and_query()?.as_str();
    let strip = |source: &Source| match source {
        Source::Path(source) if source.strip => source.segment(uri.path()).map(|(_, range)| range),
        _ => None,
    };
    let range = sources.iter().find_map(strip)?;
    let mut rewritten = String::with_capacity(path_and_query.len());
    rewritten.push_str(&path_and_query[..range.start]);
    let rest = &path_and_query[range.end..];
    if rewritten.is_empty() && !rest.starts_with('/') {
        rewritten.push('/');
    }
    rewritten.push_str(rest);
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(rewritten).ok()?);
    Uri::from_parts(parts).ok()
}

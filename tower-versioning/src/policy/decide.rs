//! Which version a request means, and whether it is served.

use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderName};
use http::request::Parts;

use super::extract::Found;
use super::moment::Moment;
use super::path::Segment;
use super::source::{Conflict, Kind, Source, SourceKind};
use super::table::Table;
use super::vary::Consulted;
use super::version::Version;

/// What is wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum VersionErrorKind {
    /// What the request says is no version.
    Malformed,
    /// The request names no version, and there is no default.
    Missing,
    /// The request names several versions.
    Ambiguous,
    /// The version is not registered.
    Unsupported,
    /// The version's sunset has passed.
    Gone,
}

/// The sources of a layer, and what follows from them.
#[derive(Debug, Clone)]
pub(crate) struct Sources {
    pub(crate) list: Vec<Source>,
    pub(crate) conflict: Conflict,
    /// The request fields consulted once that many sources were asked.
    consulted: Vec<Consulted>,
    /// Only the target carries versions: what names none of ours names nothing.
    target_only: bool,
    media_only: bool,
}

/// A version that is served.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Verdict {
    pub(crate) entry: usize,
    pub(crate) requested: Option<Version>,
    pub(crate) source: Option<SourceKind>,
}

/// A request that is not served.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) kind: VersionErrorKind,
    pub(crate) status: StatusCode,
    pub(crate) requested: Option<Version>,
    /// What stands where a version should, when it is none.
    pub(crate) text: Option<String>,
}

/// What the sources say together.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) found: Found,
    pub(crate) source: Option<SourceKind>,
    field: Option<HeaderName>,
    /// The segment of the path that carries a version, and the index of its source.
    pub(crate) segment: Option<(Segment, usize)>,
    pub(crate) asked: usize,
}

impl Sources {
    pub(crate) fn new(list: Vec<Source>, conflict: Conflict) -> Self {
        let fields = |asked: usize| list[..asked].iter().flat_map(|source| source.fields().into_owned());
        let consulted = (0..=list.len()).map(|asked| Consulted::new(fields(asked))).collect();
        let only = |kinds: &[SourceKind]| !list.is_empty() && list.iter().all(|s| kinds.contains(&s.kind()));
        let target_only = only(&[SourceKind::Path, SourceKind::Host, SourceKind::GrpcPackage]);
        let media_only = only(&[SourceKind::MediaType]);
        Self { conflict, consulted, target_only, media_only, list }
    }

    /// The request fields that were consulted.
    pub(crate) fn consulted(&self, named: &Named) -> &Consulted {
        self.consulted_after(named.asked)
    }

    pub(crate) fn consulted_after(&self, asked: usize) -> &Consulted {
        &self.consulted[asked.min(self.list.len())]
    }

    pub(crate) fn strips(&self) -> bool {
        self.list.iter().any(|source| matches!(&source.kind, Kind::Path(path) if path.strip))
    }

    /// Asks the sources in order.
    #[inline]
    pub(crate) fn ask(&self, parts: &Parts) -> Named {
        let mut named = Named { found: Found::Absent, source: None, field: None, segment: None, asked: 0 };
        for (index, source) in self.list.iter().enumerate() {
            let settled = !matches!(named.found, Found::Absent);
            // A path segment is looked for in any case: it has to be taken out.
            let path = matches!(source.kind, Kind::Path(_));
            if settled && !path && (self.conflict == Conflict::Ordered || matches!(source.kind, Kind::Pin(_)))
            {
                continue;
            }
            named.asked = index + 1;
            let (found, segment, field) = source.ask(parts);
            if let Some(segment) = segment
                && named.segment.is_none()
            {
                named.segment = Some((segment, index));
            }
            match (&named.found, found) {
                (_, Found::Absent) => {}
                (Found::Absent, found) => {
                    (named.found, named.source, named.field) = (found, Some(source.kind()), field);
                }
                (Found::Version(one), Found::Version(other)) if *one == other => {}
                _ if self.conflict == Conflict::Ordered => {}
                (Found::Version(_), Found::Version(other)) => {
                    (named.found, named.field) = (Found::Ambiguous(other.to_string()), field);
                }
                (Found::Version(_), worse) => {
                    (named.found, named.source, named.field) = (worse, Some(source.kind()), field);
                }
                _ => {}
            }
        }
        if self.conflict == Conflict::Reject {
            named.asked = self.list.len();
        }
        named
    }

    /// Whether the version named is served, and as what.
    #[inline]
    pub(crate) fn decide(&self, named: &Named, table: &Table, now: Moment) -> Result<Verdict, Refusal> {
        let requested = match &named.found {
            Found::Version(version) => Some(*version),
            Found::Absent => None,
            Found::Malformed(text) => {
                return Err(self.refuse(VersionErrorKind::Malformed, named, None, Some(text)));
            }
            Found::Ambiguous(text) => {
                return Err(self.refuse(VersionErrorKind::Ambiguous, named, None, Some(text)));
            }
        };
        let entry = match requested {
            Some(version) => table.choose(version).ok_or(VersionErrorKind::Unsupported),
            None => table.default.ok_or(VersionErrorKind::Missing),
        };
        let entry = entry.map_err(|kind| self.refuse(kind, named, requested, None))?;
        if table.entries[entry].is_gone(now) {
            let version = table.versions[entry];
            return Err(self.refuse(VersionErrorKind::Gone, named, Some(version), None));
        }
        Ok(Verdict { entry, requested, source: named.source })
    }

    #[cold]
    fn refuse(
        &self,
        kind: VersionErrorKind,
        named: &Named,
        requested: Option<Version>,
        text: Option<&String>,
    ) -> Refusal {
        let status = match kind {
            VersionErrorKind::Gone => StatusCode::GONE,
            VersionErrorKind::Ambiguous => StatusCode::BAD_REQUEST,
            _ if self.target_only => StatusCode::NOT_FOUND,
            _ if self.media_only && named.field == Some(CONTENT_TYPE) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            _ if self.media_only => StatusCode::NOT_ACCEPTABLE,
            _ => StatusCode::BAD_REQUEST,
        };
        Refusal { kind, status, requested, text: text.cloned() }
    }
}

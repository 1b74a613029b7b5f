//! Which version a request means, and whether it is served.

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};

use super::extract::{self, Found, Note};
use super::media::MediaSource;
use super::moment::Moment;
use super::path::{HurriedPath, Segment};
use super::source::{API_VERSION, Asked, Conflict, Kind, Source, SourceKind};
use super::spelled::Spelling;
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
    hurry: Hurry,
}

/// The only source, where it is one that is read at once.
#[derive(Debug, Clone)]
enum Hurry {
    No,
    Path(HurriedPath),
    /// `api-version`, the default.
    Usual,
    Field(HeaderName),
    Media,
}

/// What was found at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quick<'a> {
    pub(crate) spelling: &'a Spelling,
    /// The segment of the path that names it.
    pub(crate) segment: Segment,
}

/// The version in a segment of the path. This and the next are functions of their own, so that the commonest path is not
/// the slower for them.
#[inline(never)]
fn in_path<'a>(path: &HurriedPath, uri: &Uri, table: &'a Table) -> Option<Quick<'a>> {
    let (text, segment) = path.find(uri)?;
    Some(Quick { spelling: table.find_quick(text)?, segment })
}

/// The version in a parameter of `Accept`.
#[inline(never)]
fn in_media<'a>(media: &MediaSource, headers: &HeaderMap, table: &'a Table) -> Option<Quick<'a>> {
    let spelling = media.quick(headers, |text| table.find_quick(text))?;
    Some(Quick { spelling, segment: Segment::NONE })
}

/// The version in the only line of a field.
#[inline(never)]
fn in_field<'a>(name: &HeaderName, headers: &HeaderMap, table: &'a Table) -> Option<Quick<'a>> {
    in_line(extract::only_line(headers, name, |field| field == name)?, table)
}

/// The same for the field of the default.
#[inline(never)]
fn in_usual_field<'a>(headers: &HeaderMap, table: &'a Table) -> Option<Quick<'a>> {
    in_line(extract::only_line(headers, &API_VERSION, |field| *field == API_VERSION)?, table)
}

#[inline(always)]
fn in_line<'a>(line: &HeaderValue, table: &'a Table) -> Option<Quick<'a>> {
    Some(Quick { spelling: table.find_quick(line.as_bytes())?, segment: Segment::NONE })
}

/// A request that is not served.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) kind: VersionErrorKind,
    pub(crate) status: StatusCode,
    pub(crate) requested: Option<Version>,
    /// What was selected, and is gone.
    pub(crate) gone: Option<usize>,
    /// What stands where a version should, when it is none.
    pub(crate) text: Option<Box<str>>,
}

/// What the sources say together.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) found: Found,
    /// The index of the source that says it; of no meaning when none says anything.
    pub(crate) source: usize,
    by_content: bool,
    /// The segment of the path that carries a version, and the index of its source.
    segment: Segment,
    segment_source: usize,
    pub(crate) asked: usize,
    note: Note,
}

impl Named {
    /// The segment of the path that carries a version, and the index of its source.
    #[inline]
    pub(crate) fn segment(&self) -> Option<(Segment, usize)> {
        (!self.segment.is_none()).then_some((self.segment, self.segment_source))
    }
}

impl Sources {
    pub(crate) fn new(mut list: Vec<Source>, conflict: Conflict) -> Self {
        // A pin speaks for those who name no version, so it is asked when all others have been.
        list.sort_by_key(|source| matches!(source.kind, Kind::Pin(_)));
        let fields = |asked: usize| list[..asked].iter().flat_map(|source| source.fields().into_owned());
        let consulted = (0..=list.len()).map(|asked| Consulted::new(fields(asked))).collect();
        let only = |kinds: &[SourceKind]| !list.is_empty() && list.iter().all(|s| kinds.contains(&s.kind()));
        let target_only = only(&[SourceKind::Path, SourceKind::Host, SourceKind::GrpcPackage]);
        let media_only = only(&[SourceKind::MediaType]);
        let hurry = match &*list {
            [source] => match &source.kind {
                Kind::Path(path) => path.hurried().map_or(Hurry::No, Hurry::Path),
                Kind::Header(name) if *name == API_VERSION => Hurry::Usual,
                Kind::Header(name) => Hurry::Field(name.clone()),
                Kind::Media(_) => Hurry::Media,
                _ => Hurry::No,
            },
            _ => Hurry::No,
        };
        Self { conflict, consulted, target_only, media_only, hurry, list }
    }

    /// The request fields consulted, by how many sources were asked.
    pub(crate) fn consulted(&self) -> &[Consulted] {
        &self.consulted
    }

    pub(crate) fn strips(&self) -> bool {
        self.list.iter().any(Source::strips)
    }

    /// What [`ask`](Self::ask) and [`decide`](Self::decide) say together in the commonest case: one source, in the path
    /// or in a field, and the text of a registered version that does not end. `None` in all others, also where they say
    /// the same.
    #[inline(always)]
    pub(crate) fn quick<'a>(&self, uri: &Uri, headers: &HeaderMap, table: &'a Table) -> Option<Quick<'a>> {
        match &self.hurry {
            Hurry::Path(path) => match path.find_digit(uri) {
                Some((digit, segment)) => Some(Quick { spelling: table.find_digit(digit)?, segment }),
                None => in_path(path, uri, table),
            },
            Hurry::Usual => in_usual_field(headers, table),
            Hurry::Field(name) => in_field(name, headers, table),
            Hurry::Media => {
                let [Source { kind: Kind::Media(media), .. }] = &*self.list else { return None };
                in_media(media, headers, table)
            }
            Hurry::No => None,
        }
    }

    /// Asks the sources in order.
    pub(crate) fn ask(&self, parts: &Parts) -> Named {
        let [source] = &*self.list else { return self.ask_all(parts) };
        let mut note = None;
        let Asked { found, segment, by_content } = source.ask(parts, &mut note);
        Named { found, source: 0, by_content, segment, segment_source: 0, asked: 1, note }
    }

    fn ask_all(&self, parts: &Parts) -> Named {
        let mut named = Named {
            found: Found::Absent,
            source: 0,
            by_content: false,
            segment: Segment::NONE,
            segment_source: 0,
            asked: 0,
            note: None,
        };
        let mut last = 0;
        for (index, source) in self.list.iter().enumerate() {
            let settled = !matches!(named.found, Found::Absent);
            // A path segment is looked for in any case: it has to be taken out.
            let path = matches!(source.kind, Kind::Path(_));
            if settled && !path && (self.conflict == Conflict::Ordered || matches!(source.kind, Kind::Pin(_)))
            {
                continue;
            }
            // For its place alone it may be asked after others were passed over, which are not consulted by that.
            if !settled || self.conflict == Conflict::Reject {
                last = index + 1;
            }
            let mut note = None;
            let asked = source.ask(parts, &mut note);
            if named.segment.is_none() && !asked.segment.is_none() {
                (named.segment, named.segment_source) = (asked.segment, index);
            }
            let takes = match (named.found, asked.found) {
                (_, Found::Absent) => false,
                (Found::Absent, _) => true,
                _ if self.conflict == Conflict::Ordered => false,
                (Found::Version(one), Found::Version(other)) if one == other => false,
                (Found::Version(_), Found::Version(other)) => {
                    named.found = Found::ambiguous(other.to_string().as_bytes(), &mut named.note);
                    false
                }
                (Found::Version(_), _) => true,
                _ => false,
            };
            if takes {
                (named.found, named.source, named.by_content) = (asked.found, index, asked.by_content);
                named.note = note;
            }
        }
        named.asked = last;
        named
    }

    /// Whether the version named is served, and as what.
    #[inline]
    pub(crate) fn decide(
        &self,
        named: &Named,
        table: &Table,
        now: Moment,
    ) -> Result<usize, VersionErrorKind> {
        let entry = match named.found {
            Found::Version(version) => table.choose(version, now).ok_or(VersionErrorKind::Unsupported),
            Found::Absent => table.otherwise(now).ok_or(VersionErrorKind::Missing),
            Found::Malformed => Err(VersionErrorKind::Malformed),
            Found::Ambiguous => Err(VersionErrorKind::Ambiguous),
        }?;
        if table.is_gone(entry, now) { Err(VersionErrorKind::Gone) } else { Ok(entry) }
    }

    /// The version as the request names it.
    #[inline]
    pub(crate) fn requested(named: &Named) -> Option<Version> {
        match named.found {
            Found::Version(version) => Some(version),
            _ => None,
        }
    }

    /// Which source says it.
    #[inline]
    pub(crate) fn kind(&self, named: &Named) -> Option<SourceKind> {
        match named.found {
            Found::Absent => None,
            _ => Some(self.list[named.source].kind()),
        }
    }

    /// Why a request is not served.
    #[cold]
    pub(crate) fn refuse(
        &self,
        kind: VersionErrorKind,
        named: &Named,
        table: &Table,
        now: Moment,
    ) -> Refusal {
        let status = match kind {
            VersionErrorKind::Gone => StatusCode::GONE,
            VersionErrorKind::Ambiguous => StatusCode::BAD_REQUEST,
            _ if self.target_only => StatusCode::NOT_FOUND,
            _ if self.media_only && named.by_content => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            _ if self.media_only => StatusCode::NOT_ACCEPTABLE,
            _ => StatusCode::BAD_REQUEST,
        };
        let gone = match (kind, named.found) {
            (VersionErrorKind::Gone, Found::Version(version)) => table.choose(version, now),
            (VersionErrorKind::Gone, _) => table.otherwise(now),
            _ => None,
        };
        let requested = match gone {
            Some(entry) => Some(table.versions.list[entry]),
            None => Self::requested(named),
        };
        Refusal { kind, status, requested, gone, text: named.note.clone() }
    }
}

//! The places of a request that may carry a version.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName};
use http::request::Parts;

use super::extract::{self, Found, Note};
use super::media::{MediaSource, Place};
use super::path::{PathTemplate, Segment};
use super::template::Template;
use super::version::{ParseVersionError, Version};
use crate::error::ConfigError;

/// The field that is asked for a version by default, and that answers tell it in.
pub(crate) const API_VERSION: HeaderName = HeaderName::from_static("api-version");

type Ask = dyn Fn(&Parts) -> Result<Option<Version>, ParseVersionError> + Send + Sync;

/// A place of the request that may carry a version. A layer may have several; see
/// [`VersionLayer::sources`](crate::VersionLayer::sources).
#[derive(Clone)]
#[must_use]
pub struct Source {
    pub(crate) kind: Kind,
    varies_on: Option<Vec<HeaderName>>,
}

#[derive(Clone)]
pub(crate) enum Kind {
    Path(PathTemplate),
    Query(Box<str>),
    Header(HeaderName),
    Media(MediaSource),
    Host(Template),
    GrpcPackage,
    Pin(Arc<Ask>),
    Custom(Arc<Ask>),
}

/// Which kind of source named the version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SourceKind {
    /// A segment of the path.
    Path,
    /// A parameter of the query.
    Query,
    /// A header field.
    Header,
    /// A media type.
    MediaType,
    /// The host.
    Host,
    /// The package of a gRPC method.
    GrpcPackage,
    /// A version pinned for the caller.
    Pin,
    /// A function.
    Custom,
}

/// What several sources that name different versions mean.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Conflict {
    /// The request is ambiguous: 400. The default: a client that says two things has a mistake worth knowing.
    #[default]
    Reject,
    /// The first source that says something is believed, and the others are not asked.
    Ordered,
}

impl From<Kind> for Source {
    fn from(kind: Kind) -> Self {
        Self { kind, varies_on: None }
    }
}

/// `place` says what is asked besides.
fn wrong(field: &'static str, text: &str, place: &str) -> ConfigError {
    ConfigError::new(field, format!("`{}` needs `{{version}}` exactly once{place}", text.escape_default()))
}

impl Source {
    /// The path segment right after `prefix` (`""` or `"/"`: the first one) of the form `v2`, `V1.1`, `v2026-05-01`.
    /// It is taken out of the path, so that `/api/v2/orders` becomes `/api/orders`; the query stays octet by octet.
    /// Segments without a digit after the `v` carry no version; nothing is decoded, so `/%76%31` and `//v1` carry none. The
    /// prefix is compared octet by octet too; a segment in braces is no pattern.
    pub fn path(prefix: &str) -> Self {
        Kind::Path(PathTemplate::below(prefix)).into()
    }

    /// The same as [`Source::path`], and the path stays as it is.
    pub fn path_kept(prefix: &str) -> Self {
        Self::path(prefix).keep_segment()
    }

    /// A path segment of another form, such as `/{version}` or `/api/version-{version}`; the segment with the version
    /// is the last one of the template.
    ///
    /// # Errors
    /// When `{version}` does not stand in the last segment, once.
    pub fn path_template(template: &str) -> Result<Self, ConfigError> {
        let path = PathTemplate::new(template).ok_or_else(|| {
            wrong("path_template", template, ", in its last segment, and begins with a slash")
        })?;
        Ok(Kind::Path(path).into())
    }

    /// The first segment, wherever in the path, that is of this form, such as `v{version}`, to its last octet.
    ///
    /// # Errors
    /// When `{version}` does not stand in it once, or there is a slash in it.
    pub fn path_anywhere(segment: &str) -> Result<Self, ConfigError> {
        let path = PathTemplate::anywhere(segment)
            .ok_or_else(|| wrong("path_anywhere", segment, ", and is one segment without slashes"))?;
        Ok(Kind::Path(path).into())
    }

    /// Leaves the segment in the path; for path sources, no effect on others.
    pub fn keep_segment(mut self) -> Self {
        if let Kind::Path(path) = &mut self.kind {
            path.strip = false;
        }
        self
    }

    /// A parameter of the query, such as `api-version`, in this case. An empty one says nothing; equal ones collapse.
    pub fn query(name: impl Into<Box<str>>) -> Self {
        Kind::Query(name.into()).into()
    }

    /// A header field, such as `api-version`. Equal lines collapse, and an empty one says nothing.
    pub fn header(name: HeaderName) -> Self {
        Kind::Header(name).into()
    }

    /// A parameter of the media types in `Accept` and `Content-Type`, such as `v` in `application/json; v=2`.
    ///
    /// Of several ranges in `Accept` the one that is wanted most counts; what the content is weighs as much as `q=1`.
    /// `application/signed-exchange` is passed over: browsers send it with `v=b3`, which is no version of an API.
    pub fn media_type(parameter: impl Into<Box<str>>) -> Self {
        Self::media(Place::Parameter(parameter.into())).except(["application/signed-exchange"])
    }

    /// A part of the media types in `Accept` and `Content-Type`, such as `application/vnd.orders.v{version}+json`, or
    /// `vnd-v{version}+json` for a subtype of any type.
    ///
    /// # Errors
    /// When `{version}` does not stand in it once.
    pub fn vendor(template: &str) -> Result<Self, ConfigError> {
        let parsed = Template::new(template).ok_or_else(|| wrong("vendor", template, ""))?;
        Ok(Self::media(Place::Essence(parsed, !template.contains('/'))))
    }

    fn media(place: Place) -> Self {
        Kind::Media(MediaSource { place, only: Vec::new(), except: Vec::new() }).into()
    }

    /// Looks at these media types (`type/subtype`, without wildcards) alone; for media type sources, no effect on others.
    /// Default: all.
    pub fn only<T: Into<Box<str>>>(mut self, media_types: impl IntoIterator<Item = T>) -> Self {
        if let Kind::Media(media) = &mut self.kind {
            media.only.extend(media_types.into_iter().map(Into::into));
        }
        self
    }

    /// Never looks at these media types either; for media type sources, no effect on others.
    pub fn except<T: Into<Box<str>>>(mut self, media_types: impl IntoIterator<Item = T>) -> Self {
        if let Kind::Media(media) = &mut self.kind {
            media.except.extend(media_types.into_iter().map(Into::into));
        }
        self
    }

    /// The host, such as `v{version}.api.example.com`: of the target, or of the field `Host` when the target has none.
    ///
    /// # Errors
    /// When `{version}` does not stand in it once.
    pub fn host(template: &str) -> Result<Self, ConfigError> {
        Ok(Kind::Host(Template::new(template).ok_or_else(|| wrong("host", template, ""))?).into())
    }

    /// The package of a gRPC method: `/orders.v1.Orders/Get` means `1`, `/orders.v2beta1.Orders/Get` means `2-beta1`.
    ///
    /// Services of gRPC itself have such packages too (`grpc.health.v1`, `grpc.reflection.v1`), which say nothing about the
    /// API: [`neutral_path("/grpc.health.v1.Health")`](crate::VersionLayer::neutral_path) lets them pass.
    pub fn grpc_package() -> Self {
        Kind::GrpcPackage.into()
    }

    /// The version kept for the caller, found in what outer layers put into the extensions (claims, an account). It
    /// speaks for requests that name no version themselves, so it is asked after all other sources, wherever it stands
    /// among them, and never conflicts. `Vary` names `Authorization` where it was asked; another field is set by
    /// [`varies_on`](Self::varies_on).
    pub fn pin(pin: impl Fn(&Parts) -> Option<Version> + Send + Sync + 'static) -> Self {
        Kind::Pin(Arc::new(move |parts| Ok(pin(parts)))).into()
    }

    /// What a function says; an error is a malformed version, except that nothing ([`ParseVersionError::Empty`]) says
    /// nothing, as everywhere. The request fields it reads are to be told by [`varies_on`](Self::varies_on).
    pub fn custom(
        ask: impl Fn(&Parts) -> Result<Option<Version>, ParseVersionError> + Send + Sync + 'static,
    ) -> Self {
        Kind::Custom(Arc::new(ask)).into()
    }

    /// The request fields that go into `Vary` because of this source; in the place of those it would name by itself. Default:
    /// the fields that the source reads, as caches need it (RFC 9110 §12.5.5).
    ///
    /// `varies_on([])` names none, so that a layer with such sources alone sends no `Vary`, in answers and in refusals. That
    /// is for services of which nothing is ever stored, or where a proxy in front writes the field itself, and saves the time
    /// of one field per answer. Where a cache does stand in front, a browser's own included, it then hands the answer of one
    /// version to those who ask for another.
    ///
    /// ```
    /// # use http::HeaderName;
    /// # use tower_versioning::Source;
    /// let internal = Source::header(HeaderName::from_static("api-version")).varies_on([]);
    /// # let _ = internal;
    /// ```
    pub fn varies_on(mut self, fields: impl IntoIterator<Item = HeaderName>) -> Self {
        self.varies_on = Some(fields.into_iter().collect());
        self
    }

    /// The request fields this source consults (RFC 9110 §12.5.5); none for the target.
    pub(crate) fn fields(&self) -> Cow<'_, [HeaderName]> {
        match (&self.varies_on, &self.kind) {
            (Some(fields), _) => Cow::Borrowed(fields),
            (None, Kind::Header(name)) => Cow::Borrowed(std::slice::from_ref(name)),
            (None, Kind::Media(_)) => Cow::Owned(vec![ACCEPT, CONTENT_TYPE]),
            (None, Kind::Pin(_)) => Cow::Owned(vec![AUTHORIZATION]),
            _ => Cow::Borrowed(&[]),
        }
    }

    /// Whether it takes a segment out of the path.
    pub(crate) fn strips(&self) -> bool {
        matches!(&self.kind, Kind::Path(path) if path.strip)
    }

    pub(crate) fn kind(&self) -> SourceKind {
        match self.kind {
            Kind::Path(_) => SourceKind::Path,
            Kind::Query(_) => SourceKind::Query,
            Kind::Header(_) => SourceKind::Header,
            Kind::Media(_) => SourceKind::MediaType,
            Kind::Host(_) => SourceKind::Host,
            Kind::GrpcPackage => SourceKind::GrpcPackage,
            Kind::Pin(_) => SourceKind::Pin,
            Kind::Custom(_) => SourceKind::Custom,
        }
    }

    /// What the request says here.
    #[inline]
    pub(crate) fn ask(&self, parts: &Parts, note: &mut Note) -> Asked {
        match &self.kind {
            Kind::Path(path) => match path.find(parts.uri.path()) {
                Some((segment, version)) => {
                    Asked { found: Found::parse(version, note), segment, by_content: false }
                }
                None => Asked::of(Found::Absent),
            },
            Kind::Header(name) => Asked::of(extract::header(&parts.headers, name, note)),
            _ => self.ask_otherwise(parts, note),
        }
    }

    fn ask_otherwise(&self, parts: &Parts, note: &mut Note) -> Asked {
        let found = match &self.kind {
            Kind::Query(name) => {
                parts.uri.query().map_or(Found::Absent, |query| extract::query(query, name, note))
            }
            Kind::Media(media) => {
                let (found, by_content) = media.find(&parts.headers, note);
                return Asked { found, segment: Segment::NONE, by_content };
            }
            Kind::Host(template) => extract::host(&parts.uri, &parts.headers, template, note),
            Kind::GrpcPackage => extract::grpc_package(parts.uri.path(), note),
            Kind::Pin(ask) | Kind::Custom(ask) => match ask(parts) {
                Ok(Some(version)) => Found::Version(version),
                Ok(None) | Err(ParseVersionError::Empty) => Found::Absent,
                // What it read is not known, so there is nothing to repeat.
                Err(_) => Found::Malformed,
            },
            Kind::Path(_) | Kind::Header(_) => Found::Absent,
        };
        Asked::of(found)
    }
}

/// What one source says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) found: Found,
    /// The segment of the path that says it.
    pub(crate) segment: Segment,
    /// Whether the media type of the content says it.
    pub(crate) by_content: bool,
}

impl Asked {
    #[inline]
    fn of(found: Found) -> Self {
        Self { found, segment: Segment::NONE, by_content: false }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Path(path) => path.fmt(f),
            Kind::Query(name) => f.debug_tuple("Query").field(name).finish(),
            Kind::Header(name) => f.debug_tuple("Header").field(name).finish(),
            Kind::Media(media) => media.fmt(f),
            Kind::Host(template) => f.debug_tuple("Host").field(template).finish(),
            Kind::GrpcPackage => f.write_str("GrpcPackage"),
            Kind::Pin(_) => f.write_str("Pin(<fn>)"),
            Kind::Custom(_) => f.write_str("Custom(<fn>)"),
        }
    }
}

//! What the layer tells the handlers.

use std::fmt;

use http::{Extensions, Uri};

use crate::policy::source::SourceKind;
use crate::policy::version::Version;

/// The version a request is served as: the one entry that the layer puts into the request's extensions.
#[derive(Clone)]
pub struct ApiVersion(Told);

/// As large as two pointers, so that nothing is written in pieces and then moved, which is slow.
#[derive(Clone)]
enum Told {
    /// What is said about most requests.
    Kept(&'static Facts),
    Own(Box<Own>),
}

#[derive(Clone)]
struct Own {
    facts: Facts,
    /// The target that the client sent, where it is not in the extensions.
    original: Option<Uri>,
}

/// What a [`VersionLayer`](crate::VersionLayer) leaves in requests that it lets through without a version, for layers inside that
/// would miss it otherwise.
#[cfg(feature = "migrate")]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Neutral;

/// What is known about a version that is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) version: Version,
    pub(crate) requested: Option<Version>,
    pub(crate) source: Option<SourceKind>,
    pub(crate) deprecated: bool,
    /// Whether the target that the client sent is in the extensions, where axum looks for it.
    pub(crate) moved: bool,
}

impl ApiVersion {
    #[inline]
    pub(crate) fn kept(facts: &'static Facts) -> Self {
        Self(Told::Kept(facts))
    }

    #[inline(never)]
    pub(crate) fn own(facts: Facts, original: Option<Uri>) -> Self {
        Self(Told::Own(Box::new(Own { facts, original })))
    }

    #[inline]
    fn facts(&self) -> &Facts {
        match &self.0 {
            Told::Kept(facts) => facts,
            Told::Own(own) => &own.facts,
        }
    }

    /// The version, where it stands.
    #[inline]
    pub(crate) fn known(&self) -> &Version {
        &self.facts().version
    }

    /// The version.
    #[must_use]
    pub fn version(&self) -> Version {
        self.facts().version
    }

    /// Whether the request named a version; otherwise it is the default.
    #[must_use]
    pub fn requested(&self) -> bool {
        self.facts().requested.is_some()
    }

    /// The version as the request named it, which selection may have replaced.
    #[must_use]
    pub fn requested_version(&self) -> Option<Version> {
        self.facts().requested
    }

    /// Which source named it.
    #[must_use]
    pub fn source(&self) -> Option<SourceKind> {
        self.facts().source
    }

    /// Whether the version is deprecated, now or from a moment to come.
    #[must_use]
    pub fn is_deprecated(&self) -> bool {
        self.facts().deprecated
    }

    /// The target as it was, when a segment with the version was taken out of it. `extensions` are those of the request,
    /// because with the feature `axum` the target is left to axum's own extension, where handlers look for it.
    #[must_use]
    pub fn original_uri<'a>(&'a self, extensions: &'a Extensions) -> Option<&'a Uri> {
        #[cfg(feature = "axum")]
        if self.facts().moved {
            return crate::axum::original_uri(extensions);
        }
        let _ = extensions;
        self.kept_uri()
    }

    fn kept_uri(&self) -> Option<&Uri> {
        match &self.0 {
            Told::Kept(_) => None,
            Told::Own(own) => own.original.as_ref(),
        }
    }
}

/// By what it says, wherever that is kept.
impl PartialEq for ApiVersion {
    fn eq(&self, other: &Self) -> bool {
        self.facts() == other.facts() && self.kept_uri() == other.kept_uri()
    }
}

impl Eq for ApiVersion {}

impl fmt::Debug for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Facts { version, requested, source, deprecated, moved: _ } = self.facts();
        f.debug_struct("ApiVersion")
            .field("version", version)
            .field("requested", requested)
            .field("source", source)
            .field("deprecated", deprecated)
            .finish_non_exhaustive()
    }
}

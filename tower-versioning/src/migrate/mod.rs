//! One newest implementation behind many versions.
//!
//! Each [`Change`] belongs to the version that brought it. A request of an older version passes up through all changes
//! newer than that, oldest first; its response passes down through the same ones, newest first. The service behind
//! knows the newest version alone; the version that was asked for stays in [`ApiVersion`](crate::ApiVersion).
//!
//! The layer stands inside of [`VersionLayer`](crate::VersionLayer), which resolves the version, and outside of what
//! it serves: a router, or a cache of the newest version. Around `VersionLayer` it sees no version and translates nothing, which
//! it notices by the answers and says once ([`MigrateLayer::is_misplaced`]); of two layers given to axum's `Router::layer` the
//! later one is outside.
//!
//! # What passes untouched
//! Requests of which no change is about, that have no version, that are gRPC or CONNECT: nothing is buffered, and
//! request and response stay octet by octet. Bodies that are no JSON (event streams, downloads, gRPC) are never
//! buffered either; functions for fields see their heads. Upgrades (101) stay as they are. JSON is read when a change
//! looks at it and written when one takes it mutably ([`Document`]); else it stays octet by octet.
//!
//! # What is said about a translated body
//! `Content-Length` is that of the new body; digests (RFC 9530, and the older ones) are dropped, as they are from
//! trailers. The entity tag becomes one of the version, `"abc;1"`, and conditions of requests are translated back, so
//! that validation, and PUT with `If-Match`, work in each version and no tag is good for two; a PUT or DELETE whose own
//! response no change is about gets the service's tag besides the one of the version. A tag without the mark never
//! matches where bodies are brought down, so that a download below such a change is sent anew: limit changes by path. `Range` and
//! `Accept-Encoding` are withheld from the service where a change is about the body of the response: parts of a
//! document and compressed ones cannot be translated. Compression stands outside of this layer. HEAD and 304 get the
//! fields of the GET without its length.
//!
//! # Limits
//! Bodies are buffered whole: 2 MiB of each by default. A request beyond that is answered with 413. A response beyond
//! that does not exist in the older version and becomes 500, as does one that a change fails on: the older form must
//! not be a mixture. A request that says it is JSON and cannot be read becomes 400 as soon as a change looks at it: passed
//! on, it might be taken for the newest version by a reader that skips what ours refuses. [`MigrateError`] says why; it is in the extensions of the
//! answer.

mod body;
mod error;
mod metrics;
mod service;

use std::fmt;
use std::sync::Arc;

use tower_layer::Layer;

pub use self::body::MigrateBody;
pub use self::error::{MigrateError, MigrateErrorKind};
pub use self::service::{Migrate, ResponseFuture};
pub use crate::policy::migrate::{Change, ChangeResult};
pub use crate::policy::migrate_document::Document;
pub use crate::policy::migrate_query::Query;

use self::metrics::Metrics;
use crate::error::ConfigError;
use crate::misplaced::Misplaced;
use crate::policy::migrate::Changes;
use crate::policy::version::Version;

/// What axum takes for a request, nearly; a document larger than that is seldom one that changes with versions.
const LIMIT: usize = 2 << 20;

/// The changes of an API, shared by all layers made of it.
#[derive(Clone)]
pub struct Migrations {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) changes: Changes,
    pub(crate) max_request_body: usize,
    pub(crate) max_response_body: usize,
    pub(crate) metrics: Metrics,
    pub(crate) misplaced: Misplaced,
}

impl fmt::Debug for Migrations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Migrations").field("changes", &self.shared.changes).finish_non_exhaustive()
    }
}

impl Migrations {
    /// No changes yet.
    pub fn builder() -> MigrationsBuilder {
        MigrationsBuilder { changes: Vec::new(), max_request_body: LIMIT, max_response_body: LIMIT }
    }
}

/// Gathers the settings of [`Migrations`].
#[derive(Debug, Clone)]
#[must_use]
pub struct MigrationsBuilder {
    changes: Vec<(Version, Change)>,
    max_request_body: usize,
    max_response_body: usize,
}

impl MigrationsBuilder {
    /// A change and the version that brought it: requests of older versions pass through it. Changes are given in order,
    /// those of one version too.
    pub fn change(mut self, version: Version, change: Change) -> Self {
        self.changes.push((version, change));
        self
    }

    /// How many octets of the body of a request are buffered. Default: 2 MiB.
    pub fn max_request_body(mut self, octets: usize) -> Self {
        self.max_request_body = octets;
        self
    }

    /// How many octets of the body of a response are buffered. Default: 2 MiB.
    pub fn max_response_body(mut self, octets: usize) -> Self {
        self.max_response_body = octets;
        self
    }

    /// The changes.
    ///
    /// # Errors
    /// When changes are not in the order of their versions, one changes nothing, a path is no pattern, or a limit is
    /// zero.
    pub fn build(self) -> Result<Migrations, ConfigError> {
        let Self { changes, max_request_body, max_response_body } = self;
        for (field, limit) in
            [("max_request_body", max_request_body), ("max_response_body", max_response_body)]
        {
            if limit == 0 {
                return Err(ConfigError::new(field, "nothing could be translated"));
            }
        }
        let changes = Changes::new(changes)?;
        let (metrics, misplaced) = (Metrics::default(), Misplaced::default());
        let shared = Shared { changes, max_request_body, max_response_body, metrics, misplaced };
        Ok(Migrations { shared: Arc::new(shared) })
    }
}

/// Translates between the version of each request and the newest one.
#[derive(Debug, Clone)]
pub struct MigrateLayer {
    migrations: Migrations,
}

impl MigrateLayer {
    /// Translates by these changes.
    #[must_use]
    pub fn new(migrations: Migrations) -> Self {
        Self { migrations }
    }

    /// Whether this layer, or another one with the same [`Migrations`], was seen to stand around
    /// [`VersionLayer`](crate::VersionLayer), where it translates nothing: a request came through no such layer, and its answer
    /// says a version in `api-version`. Said once besides, as an event of level error (feature `tracing`) or on standard error.
    /// Where [`Reports::None`](crate::settings::Reports) keeps the version from answers it cannot be seen; and where there is no
    /// `VersionLayer` at all, a handler that writes `api-version` itself looks the same.
    #[must_use]
    pub fn is_misplaced(&self) -> bool {
        self.migrations.shared.misplaced.was_noticed()
    }
}

impl<S> Layer<S> for MigrateLayer {
    type Service = Migrate<S>;

    fn layer(&self, inner: S) -> Migrate<S> {
        Migrate { inner, shared: self.migrations.shared.clone() }
    }
}

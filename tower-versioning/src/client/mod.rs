//! The client side: requests say which version they mean, and what servers announce about it is noticed.
//!
//! A request that carries a version already keeps it. [`UseVersion`] in the extensions of a request overrides the
//! layer's version for that request.
//!
//! Each origin and version is told about once a day, and again as soon as it gets worse: by the function set with
//! [`ClientVersionLayer::on_notice`], or, with the feature `tracing`, by an event of level warning. At most 1024 pairs of
//! origin and version are remembered; more than these in one day are not told about.

mod metrics;
mod notice;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use http::{Request, Response, Uri};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

pub use self::notice::{Notice, NoticeKind};
pub use crate::policy::announce::Link;
pub use crate::policy::stamp::Stamp;

use self::notice::Notices;
use crate::policy::version::Version;

/// In a request's extensions: the version this request means, in the place of the layer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UseVersion(pub Version);

/// Stamps the version on outgoing requests and reads what answers announce about it.
#[derive(Clone)]
pub struct ClientVersionLayer {
    version: Option<Version>,
    stamps: Vec<Stamp>,
    notices: Arc<Notices>,
    wall_clock: fn() -> SystemTime,
}

impl fmt::Debug for ClientVersionLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientVersionLayer")
            .field("version", &self.version)
            .field("stamps", &self.stamps)
            .finish_non_exhaustive()
    }
}

impl ClientVersionLayer {
    /// Requests mean this version and say so in the field `api-version`.
    #[must_use]
    pub fn new(version: Version) -> Self {
        let stamps = vec![Stamp::header(crate::report::API_VERSION)];
        Self { version: Some(version), stamps, ..Self::observing() }
    }

    /// Requests stay as they are; answers are read.
    #[must_use]
    pub fn observing() -> Self {
        let notices = Arc::new(Notices::new(say));
        Self { version: None, stamps: Vec::new(), notices, wall_clock: SystemTime::now }
    }

    /// Where requests carry the version, in the place of `api-version`.
    #[must_use]
    pub fn stamp(self, stamp: Stamp) -> Self {
        Self { stamps: vec![stamp], ..self }
    }

    /// What is done about a notice, in the place of the event. Called while an answer is on its way: it should be quick.
    /// Forgets what was told before.
    #[must_use]
    pub fn on_notice(self, tell: impl Fn(&Notice) + Send + Sync + 'static) -> Self {
        Self { notices: Arc::new(Notices::new(tell)), ..self }
    }

    /// Where the time comes from. Default: [`SystemTime::now`].
    #[must_use]
    pub fn wall_clock(self, now: fn() -> SystemTime) -> Self {
        Self { wall_clock: now, ..self }
    }
}

/// Without the feature `tracing` the metrics alone tell.
fn say(notice: &Notice) {
    #[cfg(feature = "tracing")]
    {
        let version = notice.version.map(tracing::field::display);
        let sunset = notice.sunset.map(tracing::field::display);
        let successor =
            notice.links.iter().find(|link| link.relations.iter().any(|rel| rel == "successor-version"));
        let successor = successor.map(|link| link.target.as_str());
        tracing::warn!(target: "tower_versioning", kind = %notice.kind, origin = notice.origin, version, sunset, successor, "API version");
    }
    #[cfg(not(feature = "tracing"))]
    let _ = notice;
}

impl<S> Layer<S> for ClientVersionLayer {
    type Service = ClientVersion<S>;

    fn layer(&self, inner: S) -> ClientVersion<S> {
        ClientVersion { inner, layer: self.clone() }
    }
}

/// What [`ClientVersionLayer`] builds.
#[derive(Debug, Clone)]
pub struct ClientVersion<S> {
    inner: S,
    layer: ClientVersionLayer,
}

impl<S, ReqB, ResB> Service<Request<ReqB>> for ClientVersion<S>
where
    S: Service<Request<ReqB>, Response = Response<ResB>>,
{
    type Response = Response<ResB>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
        let (mut parts, body) = request.into_parts();
        let own = parts.extensions.get::<UseVersion>().map(|own| own.0);
        let mut version = own.or(self.layer.version);
        if let Some(wanted) = version {
            for stamp in &self.layer.stamps {
                version = stamp.write(&mut parts, wanted);
            }
        }
        let target = parts.uri.clone();
        let Self { inner, layer } = self;
        ResponseFuture {
            inner: inner.call(Request::from_parts(parts, body)),
            notices: layer.notices.clone(),
            version,
            target,
            wall_clock: layer.wall_clock,
        }
    }
}

pin_project! {
    /// The future of [`ClientVersion`].
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
        notices: Arc<Notices>,
        version: Option<Version>,
        target: Uri,
        wall_clock: fn() -> SystemTime,
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<B>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.inner.poll(cx))?;
        this.notices.read(response.headers(), this.target, *this.version, *this.wall_clock);
        Poll::Ready(Ok(response))
    }
}

//! The id inside of problem documents (RFC 9457) that handlers or other layers wrote.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::context::Correlation;

/// Adds the member `correlation_id` to `application/problem+json` bodies; goes inside of
/// [`CorrelationLayer`](crate::CorrelationLayer).
///
/// Nothing is buffered: the member goes in front of the first one, in the frame where that begins. Encoded (compressed)
/// documents, those with a digest (RFC 9530), parts of one (`Content-Range`), and those that are no object or have the
/// member already in that frame, are passed on as they are. A strong `ETag` becomes a weak one (RFC 9110 §8.8.1).
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct ProblemIdLayer;

impl ProblemIdLayer {
    /// The layer; there is nothing to configure.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

impl<S> Layer<S> for ProblemIdLayer {
    type Service = ProblemId<S>;

    fn layer(&self, inner: S) -> ProblemId<S> {
        ProblemId { inner }
    }
}

/// What [`ProblemIdLayer`] builds.
#[derive(Debug, Clone)]
pub struct ProblemId<S> {
    inner: S,
}

impl<S, ReqB, ResB> Service<Request<ReqB>> for ProblemId<S>
where
    S: Service<Request<ReqB>, Response = Response<ResB>>,
    ResB: Body<Data = Bytes>,
{
    type Response = Response<ProblemBody<ResB>>;
    type Error = S::Error;
    type Future = ProblemFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
        // Of HEAD too: its response must not say another length than that of GET would have (RFC 9110 §8.6).
        let correlation = request.extensions().get::<Correlation>().cloned();
        ProblemFuture { inner: self.inner.call(request), correlation }
    }
}

/// Fields that say that the bytes of the body are not to be touched.
const FIXED: [HeaderName; 6] = [
    header::CONTENT_ENCODING,
    header::CONTENT_RANGE,
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    // What they replaced: RFC 3230 and RFC 1864.
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];

pin_project! {
    /// The future of [`ProblemId`].
    #[derive(Debug)]
    pub struct ProblemFuture<F> {
        #[pin]
        inner: F,
        correlation: Option<Correlation>,
    }
}

impl<F, B, E> Future for ProblemFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ProblemBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.inner.poll(cx))?;
        let kind = response.headers().get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
        let kind = kind.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
        let wanted = kind.eq_ignore_ascii_case(b"application/problem+json")
            && !FIXED.iter().any(|name| response.headers().contains_key(name));
        let correlation = this.correlation.take().filter(|_| wanted);
        if correlation.is_some() {
            // The length changes only when the document is seen; the transport frames what is sent.
            response.headers_mut().remove(header::CONTENT_LENGTH);
            weaken(response.headers_mut());
        }
        Poll::Ready(Ok(response.map(|inner| ProblemBody { inner, correlation, opened: false })))
    }
}

/// What differs in each answer has no strong entity tag (RFC 9110 §8.8.1).
fn weaken(headers: &mut HeaderMap) {
    let Some(tag) = headers.get_mut(header::ETAG).filter(|tag| !tag.as_bytes().starts_with(b"W/")) else {
        return;
    };
    if let Ok(weak) = HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat()) {
        *tag = weak;
    }
}

pin_project! {
    /// The inner body, with the member in front of the first one when it is a problem document.
    #[derive(Debug)]
    pub struct ProblemBody<B> {
        #[pin]
        inner: B,
        // There until the member is in or is known not to get in.
        correlation: Option<Correlation>,
        // The brace that opens the document has passed.
        opened: bool,
    }
}

/// What layers around this one answer with that make a body of the same type, such as those for CORS and timeouts of
/// `tower-http`.
impl<B: Default> Default for ProblemBody<B> {
    fn default() -> Self {
        Self { inner: B::default(), correlation: None, opened: false }
    }
}

impl<B: Body<Data = Bytes>> Body for ProblemBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        let frame = ready!(this.inner.poll_frame(cx));
        let Some(correlation) = this.correlation else { return Poll::Ready(frame) };
        let Some(Ok(frame)) = frame else { return Poll::Ready(frame) };
        let mut place = Place::Nowhere;
        let frame = frame.map_data(|data| {
            place = find(&data, *this.opened);
            match place {
                Place::At { at, alone } => name(&data, at, alone, correlation),
                _ => data,
            }
        });
        match place {
            Place::Later { opened } => *this.opened = opened,
            _ => *this.correlation = None,
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.correlation.is_some() { SizeHint::default() } else { self.inner.size_hint() }
    }
}

const MEMBER: &[u8] = b"\"correlation_id\"";

/// Where the member goes.
#[derive(Clone, Copy)]
enum Place {
    /// Before this byte; `alone` when the object has no other member.
    At { at: usize, alone: bool },
    /// Into a frame that comes after this one; `opened` when the object has begun.
    Later { opened: bool },
    /// This is no object, or it has the member.
    Nowhere,
}

/// Looks for the first byte after the brace that opens the document: a member, or the brace that closes it.
fn find(data: &[u8], opened: bool) -> Place {
    let visible = |from: usize| {
        let found = data[from..].iter().position(|byte| !byte.is_ascii_whitespace());
        found.map(|at| from + at)
    };
    let Some(mut at) = visible(0) else { return Place::Later { opened } };
    if !opened {
        if data[at] != b'{' {
            return Place::Nowhere;
        }
        let Some(next) = visible(at + 1) else { return Place::Later { opened: true } };
        at = next;
    }
    match data[at] {
        b'"' if !data.windows(MEMBER.len()).any(|window| window == MEMBER) => Place::At { at, alone: false },
        b'}' => Place::At { at, alone: true },
        _ => Place::Nowhere,
    }
}

/// The data with the member before the byte at `at`.
fn name(data: &Bytes, at: usize, alone: bool, correlation: &Correlation) -> Bytes {
    let id = correlation.id().as_bytes();
    // An id may hold these two only where the validation was told so.
    if id.contains(&b'"') || id.contains(&b'\\') {
        return data.clone();
    }
    let mut out = BytesMut::with_capacity(data.len() + id.len() + MEMBER.len() + 4);
    out.put_slice(&data[..at]);
    out.put_slice(MEMBER);
    out.put_slice(b":\"");
    out.put_slice(id);
    out.put_slice(if alone { b"\"" } else { b"\"," });
    out.put_slice(&data[at..]);
    out.freeze()
}

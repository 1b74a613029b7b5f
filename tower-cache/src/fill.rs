//! Bodies that are stored while they pass.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use crate::cache::Inner;
use crate::error::BoxError;
use crate::flight::Flight;
use crate::metrics::FillResult;
use crate::store::{Entry, Head, Stamp};

/// Passes a body on and records it. Dropped before its end, it goes on in the background if somebody reads along, and
/// is forgotten otherwise.
pub(crate) struct Tee<B> {
    /// Boxed, so that it can move into the background; gone only then.
    inner: Option<Pin<Box<B>>>,
    recorder: Option<Recorder>,
    /// Known where the bounds on `B` are; `Drop` has none.
    detach: fn(Pin<Box<B>>, Recorder),
}

impl<B> Tee<B>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    pub(crate) fn new(inner: Pin<Box<B>>, recorder: Recorder) -> Self {
        Self { inner: Some(inner), recorder: Some(recorder), detach: detach::<B> }
    }
}

impl<B> Tee<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        let frame = ready!(inner.as_mut().poll_frame(cx));
        let ended = inner.is_end_stream();
        match &frame {
            Some(Ok(frame)) => {
                if let (Some(recorder), Some(data)) = (&mut self.recorder, frame.data_ref()) {
                    recorder.data(data);
                }
                // Who sends the body on may never ask for what comes after the last frame.
                if let Some(trailers) = frame.trailers_ref() {
                    self.finish(Some(trailers.clone()));
                } else if ended {
                    self.finish(None);
                }
            }
            Some(Err(_)) => drop(self.recorder.take()),
            None => self.finish(None),
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(SizeHint::default, Body::size_hint)
    }
}

impl<B> Tee<B> {
    fn finish(&mut self, trailers: Option<HeaderMap>) {
        if let Some(recorder) = self.recorder.take() {
            recorder.finish(trailers);
        }
    }
}

impl<B> Drop for Tee<B> {
    fn drop(&mut self) {
        let (Some(inner), Some(recorder)) = (self.inner.take(), self.recorder.take()) else { return };
        if recorder.has_all() {
            recorder.finish(None);
        } else if !recorder.detached && recorder.flight.is_followed() {
            (self.detach)(inner, recorder);
        }
    }
}

/// Reads the rest in the background.
fn detach<B>(inner: Pin<Box<B>>, mut recorder: Recorder)
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    recorder.detached = true;
    let cache = Arc::clone(&recorder.cache);
    let tee = Tee::new(inner, recorder);
    cache.in_background(Box::pin(drain(tee)));
}

/// Reads a body to its end, which stores it.
pub(crate) async fn drain<B>(mut tee: Tee<B>)
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    while let Some(Ok(_)) = std::future::poll_fn(|cx| tee.poll_frame(cx)).await {}
}

/// Where a body is recorded. Dropped before the end, the recording is lost and those who read along see an error.
pub(crate) struct Recorder {
    pub(crate) cache: Arc<Inner>,
    pub(crate) flight: Arc<Flight>,
    pub(crate) head: Arc<Head>,
    /// What the store said before the response was asked for; without it nothing is stored.
    pub(crate) stamp: Option<Stamp>,
    /// What `Content-Length` says.
    pub(crate) declared: Option<u64>,
    pub(crate) received: u64,
    /// It runs in the background already.
    pub(crate) detached: bool,
    pub(crate) settled: bool,
}

impl Recorder {
    pub(crate) fn data(&mut self, data: &Bytes) {
        self.received += data.len() as u64;
        self.flight.push(data, self.cache.config.max_body);
    }

    /// Whether all that was announced has come.
    fn has_all(&self) -> bool {
        self.declared == Some(self.received)
    }

    /// The end of the body: it is stored, unless it is shorter or longer than it said.
    pub(crate) fn finish(mut self, trailers: Option<HeaderMap>) {
        if self.declared.is_some_and(|declared| declared != self.received) {
            return;
        }
        self.settled = true;
        let stored = self.flight.complete(trailers);
        let (Some(body), Some(stamp)) = (stored, self.stamp) else {
            let result = if self.stamp.is_some() { FillResult::TooLarge } else { FillResult::Unstored };
            self.cache.metrics.fill(result);
            self.cache.flights.close(&self.head.key, &self.flight);
            return;
        };
        self.cache.unshared.forget(&self.head.key);
        let entry = Arc::new(Entry::new(Arc::clone(&self.head), body));
        self.cache.commit(entry, stamp, Arc::clone(&self.flight));
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if !self.settled {
            self.flight.fail();
            self.cache.flights.close(&self.head.key, &self.flight);
            self.cache.metrics.fill(FillResult::Abandoned);
        }
    }
}

//! What several files need.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::{HeaderMap, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use tower_breaker::{Breaker, BreakerBuilder, State};

pub(crate) type TestBody = UnsyncBoxBody<Bytes, &'static str>;

/// A piece of a scripted body.
#[derive(Debug, Clone)]
pub(crate) enum Piece {
    Data(&'static str),
    Trailers(&'static str, &'static str),
    Error,
    /// Nothing more ever comes.
    Hang,
}

/// A body that follows a script. Its size hint says nothing.
pub(crate) fn script(pieces: &[Piece]) -> TestBody {
    let frames = stream::iter(pieces.to_vec()).then(|piece| async move {
        match piece {
            Piece::Data(data) => Ok(Frame::data(Bytes::from_static(data.as_bytes()))),
            Piece::Trailers(name, value) => {
                let mut trailers = HeaderMap::new();
                trailers.insert(name, value.parse().unwrap());
                Ok(Frame::trailers(trailers))
            }
            Piece::Error => Err("reset"),
            Piece::Hang => std::future::pending().await,
        }
    });
    boxed(frames)
}

fn boxed(frames: impl Stream<Item = Result<Frame<Bytes>, &'static str>> + Send + 'static) -> TestBody {
    StreamBody::new(frames).boxed_unsync()
}

/// A response by status, header fields and script.
pub(crate) fn response(status: u16, fields: &[(&'static str, &str)], pieces: &[Piece]) -> Response<TestBody> {
    let mut response = Response::new(script(pieces));
    *response.status_mut() = status.try_into().unwrap();
    for (name, value) in fields {
        response.headers_mut().insert(*name, value.parse().unwrap());
    }
    response
}

/// Reads a body to its end or error.
pub(crate) async fn read<B: Body + Unpin>(mut body: B) -> Result<(), B::Error> {
    while let Some(frame) = body.frame().await {
        frame?;
    }
    Ok(())
}

/// Opens at the second failure, for a second; one probe.
pub(crate) fn touchy(name: &'static str) -> BreakerBuilder {
    Breaker::builder(name).min_calls(2).open_for(Duration::from_secs(1)).probes(1)
}

/// An open one that has nothing else to tell.
pub(crate) fn trip(breaker: &Breaker) {
    while breaker.state() == State::Closed {
        breaker.try_acquire().unwrap().failure();
    }
    assert_eq!(breaker.state(), State::Open);
}

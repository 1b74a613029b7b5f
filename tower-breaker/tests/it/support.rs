//! What several files need.

use std::convert::Infallible;
use std::future::ready;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tower::{Layer, ServiceExt, service_fn};
use tower_breaker::{BoxError, Breaker, BreakerBuilder, HttpBreakerLayer, Rejected, State};

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

/// Four of these responses, read to their end, open the breaker.
pub(crate) async fn opened_by(breaker: Breaker, answer: impl Fn() -> Response<TestBody> + Clone) {
    let service = service_fn(move |_: Request<()>| ready(Ok::<_, BoxError>(answer())));
    let service = HttpBreakerLayer::new(breaker.clone()).layer(service);
    for _ in 0..4 {
        assert_eq!(breaker.state(), State::Closed);
        let answer = service.clone().oneshot(Request::new(())).await.unwrap();
        assert!(answer.status() == 200 && answer.extensions().get::<Rejected>().is_none());
        let _ = read(answer.into_body()).await;
    }
    assert_eq!(breaker.state(), State::Open);
}

/// SplitMix64 (Steele, Lea and Flood 2014).
pub(crate) struct Seed(pub(crate) u64);

impl Seed {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn choose<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// A hyper server on a port of its own that speaks one of the two versions.
pub(crate) async fn serve<F, B>(h2: bool, answer: fn(Request<Incoming>) -> F) -> SocketAddr
where
    F: Future<Output = Result<Response<B>, Infallible>> + Send + 'static,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (io, service) = (TokioIo::new(stream), hyper::service::service_fn(answer));
            tokio::spawn(async move {
                if h2 {
                    let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    let _ = server.serve_connection(io, service).await;
                } else {
                    let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
                }
            });
        }
    });
    address
}

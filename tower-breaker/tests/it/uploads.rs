//! A request whose own content breaks off is its caller's failure, not the upstream's: else whoever sends half of an upload
//! a few times would open the circuit for all.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tower::{BoxError, Layer, ServiceExt};
use tower_breaker::{Breaker, HttpBreakerLayer, State};

use crate::support::{Piece, TestBody, script, serve, touchy};

/// Answers when it has all of the content.
async fn answer(request: Request<Incoming>) -> Result<Response<Empty<Bytes>>, Infallible> {
    let whole = request.into_body().collect().await.is_ok();
    Ok(Response::builder().status(if whole { 200 } else { 400 }).body(Empty::new()).unwrap())
}

/// Four uploads, of which none is whole or each is; how many of them had an answer.
async fn upload(address: SocketAddr, h2: bool, breaker: &Breaker, whole: bool) -> usize {
    let client = Client::builder(TokioExecutor::new()).http2_only(h2).build_http::<TestBody>();
    let service = HttpBreakerLayer::new(breaker.clone()).layer(client.map_err(BoxError::from));
    let mut answered = 0;
    for _ in 0..4 {
        let end = if whole { Piece::Data("end") } else { Piece::Error };
        let body = script(&[Piece::Data("begin"), end]);
        let request = Request::post(format!("http://{address}/")).body(body).unwrap();
        let answer = service.clone().oneshot(request).await;
        answered += usize::from(answer.is_ok_and(|answer| answer.status() == 200));
    }
    answered
}

#[tokio::test]
async fn content_that_breaks_off_says_nothing_about_the_upstream() {
    for h2 in [false, true] {
        let (address, breaker) = (serve(h2, answer).await, touchy("upstream").build().unwrap());
        assert_eq!(upload(address, h2, &breaker, true).await, 4);
        assert_eq!((breaker.state(), breaker.snapshot().calls), (State::Closed, 4), "h2: {h2}");
        let breaker = touchy("upstream").build().unwrap();
        assert_eq!(upload(address, h2, &breaker, false).await, 0);
        assert_eq!((breaker.state(), breaker.snapshot().calls), (State::Closed, 0), "h2: {h2}");
    }
}

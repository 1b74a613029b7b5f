//! Over real connections: what breaks a response off on the wire opens the breaker.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};
use tower_breaker::{Breaker, HttpBreakerLayer, Rejected, State};

use crate::support::{read, serve, touchy};

type Answer = UnsyncBoxBody<Bytes, BoxError>;

/// A response may only break off once its head has arrived, or it would be no response.
static HEAD_SEEN: Notify = Notify::const_new();

/// The path says how the answer ends.
async fn answer(request: Request<Incoming>) -> Result<Response<Answer>, Infallible> {
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Frame<Bytes>, BoxError>>(4);
    let _ = sender.send(Ok(Frame::data(Bytes::from_static(b"data")))).await;
    let mut response = Response::builder();
    match request.uri().path() {
        "/reset" => {
            let sender = sender.clone();
            tokio::spawn(async move {
                HEAD_SEEN.notified().await;
                let _ = sender.send(Err("on purpose".into())).await;
            });
        }
        path @ ("/unavailable" | "/well") => {
            response = response.header("content-type", "application/grpc");
            let mut trailers = HeaderMap::new();
            let code = if path == "/well" { "0" } else { "14" };
            trailers.insert("grpc-status", code.parse().unwrap());
            let _ = sender.send(Ok(Frame::trailers(trailers))).await;
        }
        _ => {}
    }
    drop(sender);
    let frames = futures_util::stream::unfold(receiver, async |mut receiver| {
        receiver.recv().await.map(|frame| (frame, receiver))
    });
    Ok(response.body(StreamBody::new(frames).boxed_unsync()).unwrap())
}

/// A client with one connection per call.
fn client(
    address: SocketAddr,
    h2: bool,
) -> impl Service<Request<Empty<Bytes>>, Response = Response<Incoming>, Error = BoxError, Future: Send> + Clone
{
    service_fn(move |request| async move {
        let io = TokioIo::new(TcpStream::connect(address).await?);
        if h2 {
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
            tokio::spawn(connection);
            Ok::<_, BoxError>(sender.send_request(request).await?)
        } else {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
            tokio::spawn(connection);
            Ok(sender.send_request(request).await?)
        }
    })
}

/// What the breaker makes of two such answers, the heads of which are all 200.
async fn after(address: SocketAddr, h2: bool, path: &str) -> (Breaker, State) {
    let breaker = touchy("upstream").build().unwrap();
    let service = HttpBreakerLayer::new(breaker.clone()).layer(client(address, h2));
    for _ in 0..2 {
        let request = Request::get(format!("http://{address}{path}")).body(Empty::new()).unwrap();
        let answer = service.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert!(answer.extensions().get::<Rejected>().is_none());
        if path == "/reset" {
            HEAD_SEEN.notify_one();
        }
        let _ = read(answer.into_body()).await;
    }
    let state = breaker.state();
    (breaker, state)
}

#[tokio::test]
async fn a_reset_in_mid_body_opens_over_http_1_and_2() {
    for h2 in [false, true] {
        let address = serve(h2, answer).await;
        let (breaker, state) = after(address, h2, "/").await;
        assert_eq!((state, breaker.snapshot().calls), (State::Closed, 2), "h2: {h2}");
        assert_eq!(after(address, h2, "/reset").await.1, State::Open, "h2: {h2}");
    }
}

#[tokio::test]
async fn failing_trailers_open_over_http_2() {
    let address = serve(true, answer).await;
    let (breaker, state) = after(address, true, "/well").await;
    assert_eq!((state, breaker.snapshot().calls), (State::Closed, 2));
    assert_eq!(after(address, true, "/unavailable").await.1, State::Open);
}

#[tokio::test]
async fn a_connection_that_ends_short_of_the_content_length_opens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1024];
            let read = stream.read(&mut request).await.unwrap();
            let whole = String::from_utf8_lossy(&request[..read]).contains("/whole ");
            let body = if whole { "0123456789" } else { "01234" };
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    assert_eq!(after(address, false, "/whole").await.1, State::Closed);
    assert_eq!(after(address, false, "/short").await.1, State::Open);
}

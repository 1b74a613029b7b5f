//! Serves connections, HTTP/1.1 and HTTP/2 by prior knowledge, and waits for no client for ever.
//!
//! hyper's timer bounds the head of a request, and an HTTP/2 client that has gone by its silence. Which of the two
//! protocols a connection speaks is found out before either of them: [`Prompt`] bounds that.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::time::Sleep;
use tower::ServiceExt as _;

/// Between two attempts to accept when that fails: it concerns one connection, or passes once descriptors are free again.
pub const PAUSE: Duration = Duration::from_millis(50);
/// How long a client may take to say which protocol it speaks, or for the head of a request, and how long one that speaks
/// HTTP/2 may be silent until it is asked whether it is still there.
const PATIENCE: Duration = Duration::from_secs(30);
/// What tells HTTP/2 from any request of HTTP/1 (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What serves one connection.
#[must_use]
pub fn server() -> auto::Builder<TokioExecutor> {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    server.http2().timer(TokioTimer::new()).keep_alive_interval(PATIENCE);
    server
}

/// Serves a router until `stop`; then requests in flight finish.
pub async fn serve(listener: TcpListener, router: Router, stop: impl Future<Output = ()>) {
    let server = server();
    let graceful = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(_) => {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            },
            () = &mut stop => break,
        };
        let _ = stream.set_nodelay(true);
        let told = router.clone().map_request(move |request| tell_peer(request, peer));
        let service = TowerToHyperService::new(told);
        let connection = server.serve_connection(TokioIo::new(Prompt::new(stream)), service).into_owned();
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            let _ = connection.await;
        });
    }
    // Who connects now goes to somebody else.
    drop(listener);
    graceful.shutdown().await;
}

fn tell_peer(mut request: Request<Incoming>, peer: SocketAddr) -> Request<Incoming> {
    request.extensions_mut().insert(ConnectInfo(peer));
    request
}

/// A connection that has a time to say which protocol it speaks.
#[derive(Debug)]
pub struct Prompt<T> {
    inner: T,
    /// So much of the preface has come, and when it is too late for the rest; `None` once that is decided.
    undecided: Option<(usize, Pin<Box<Sleep>>)>,
}

impl<T> Prompt<T> {
    /// A connection that has just been accepted.
    pub fn new(inner: T) -> Self {
        Self { inner, undecided: Some((0, Box::pin(tokio::time::sleep(PATIENCE)))) }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Prompt<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        if let Some((seen, deadline)) = &mut self.undecided {
            if read.is_pending() && deadline.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            let more = &buf.filled()[before..];
            *seen += more.len();
            let part = PREFACE.get(..*seen).is_some_and(|preface| preface.ends_with(more));
            if !part || *seen == PREFACE.len() {
                self.undecided = None;
            }
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Prompt<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// The connection is over by itself; what it answered first.
    async fn answered(first: &'static str) -> Vec<u8> {
        let (mut client, connection) = tokio::io::duplex(1 << 16);
        let service = TowerToHyperService::new(Router::new().route("/", get(async || "ok")));
        client.write_all(first.as_bytes()).await.expect("there is room");
        let server = server();
        let served = server.serve_connection(TokioIo::new(Prompt::new(connection)), service);
        let ended = tokio::time::timeout(3 * PATIENCE, served).await;
        assert!(ended.is_ok(), "{first:?} holds its connection");
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer).await;
        answer
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_who_says_nothing_holds_a_connection() {
        let whole = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        assert!(answered(whole).await.starts_with(b"HTTP/1.1 200 OK\r\n"));
        for part in ["", "P", "G", "PRI * HTTP/2.0\r\n", "POST / HTTP/1.1\r\nhost: a\r\n"] {
            assert!(!answered(part).await.starts_with(b"HTTP/1.1 200"), "{part}");
        }
        for silent in
            ["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"]
        {
            answered(silent).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn once_the_protocol_is_known_it_waits_as_long_as_that_does() {
        for (decides, text) in
            [(true, "G"), (true, "PO"), (true, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), (false, "PR")]
        {
            let (mut client, connection) = tokio::io::duplex(64);
            let mut prompt = Prompt::new(connection);
            let writer = tokio::spawn(async move {
                for octet in text.bytes() {
                    client.write_all(&[octet]).await.expect("there is room");
                    tokio::time::sleep(PATIENCE / 100).await;
                }
                tokio::time::sleep(10 * PATIENCE).await;
            });
            let read = prompt.read_to_end(&mut Vec::new()).await;
            assert_eq!(read.is_ok(), decides, "{text:?} {read:?}");
            writer.await.expect("written");
        }
    }
}

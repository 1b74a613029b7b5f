//! Interim responses (1xx), which a proxy has to pass on (RFC 9110 §15.2). hyper's client reports them, and its server
//! has no way to send them: on HTTP/1.1 they are written to the connection here, between what hyper writes. On HTTP/2
//! there is no such way in; HTTP/1.0 clients must not get any.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use http::{HeaderMap, Request, StatusCode, Version};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection that writes what its [`Sender`]s send whenever hyper has nothing left to write.
#[derive(Debug)]
pub struct Connection<T> {
    inner: T,
    shared: Shared,
    /// A message that is being written.
    open: Vec<u8>,
}

type Shared = Arc<Mutex<State>>;

#[derive(Debug, Default)]
struct State {
    messages: VecDeque<Vec<u8>>,
    /// A message is being written.
    writing: bool,
    /// The request that may send; those before it are answered.
    request: u64,
    connection: Option<Waker>,
    drained: Option<Waker>,
}

fn lock(shared: &Shared) -> MutexGuard<'_, State> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends interim responses to one request, among whose extensions it is.
#[derive(Debug, Clone)]
pub struct Sender {
    shared: Shared,
    request: u64,
}

/// Of a connection that is being served, to make a [`Sender`] for each request.
#[derive(Debug, Clone)]
pub struct Senders(Shared);

/// Messages that wait while the client does not read; beyond that they are dropped.
const LIMIT: usize = 16;

impl<T> Connection<T> {
    /// A connection, and what makes senders for its requests.
    pub fn new(inner: T) -> (Self, Senders) {
        let shared = Shared::default();
        let senders = Senders(Arc::clone(&shared));
        (Self { inner, shared, open: Vec::new() }, senders)
    }
}

impl Senders {
    /// The sender for a request that has just come, if its client understands interim responses.
    #[must_use]
    pub fn next<B>(&self, request: &Request<B>) -> Option<Sender> {
        if request.version() != Version::HTTP_11 {
            return None;
        }
        let mut state = lock(&self.0);
        state.request += 1;
        Some(Sender { shared: Arc::clone(&self.0), request: state.request })
    }
}

impl Sender {
    /// Sends an interim response. 100 and 101 concern one connection alone.
    pub fn send(&self, status: StatusCode, headers: &HeaderMap) {
        if !status.is_informational() || matches!(status.as_u16(), 100 | 101) {
            return;
        }
        let reason = status.canonical_reason().unwrap_or_default();
        let mut message = format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).into_bytes();
        let mut headers = headers.clone();
        crate::proxy::strip_hop_by_hop(&mut headers);
        for (name, value) in &headers {
            message.extend_from_slice(name.as_str().as_bytes());
            message.extend_from_slice(b": ");
            message.extend_from_slice(value.as_bytes());
            message.extend_from_slice(b"\r\n");
        }
        message.extend_from_slice(b"\r\n");
        let mut state = lock(&self.shared);
        if state.request == self.request && state.messages.len() < LIMIT {
            state.messages.push_back(message);
            if let Some(connection) = state.connection.take() {
                connection.wake();
            }
        }
    }

    /// Waits until all of them are written, and sends none any more: the final response comes next.
    pub async fn end(self) {
        std::future::poll_fn(|cx| {
            let mut state = lock(&self.shared);
            if state.request != self.request || state.messages.is_empty() && !state.writing {
                state.request = state.request.max(self.request + 1);
                return Poll::Ready(());
            }
            state.drained = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl<T: AsyncWrite + Unpin> Connection<T> {
    /// Writes the message that has been begun, to its end.
    fn finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.open.is_empty() {
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.open))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.open.drain(..written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Connection<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Connection<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.finish(cx))?;
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.finish(cx))?;
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    /// hyper flushes when all of its own octets are written: this is between two messages, as the final response to
    /// the request waits for the end of its sender.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.finish(cx))?;
            let shared = Arc::clone(&self.shared);
            let mut state = lock(&shared);
            state.connection = Some(cx.waker().clone());
            let message = state.messages.pop_front();
            state.writing = message.is_some();
            match message {
                Some(message) => self.open = message,
                None => {
                    if let Some(drained) = state.drained.take() {
                        drained.wake();
                    }
                    break;
                }
            }
        }
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn request(version: Version) -> Request<()> {
        Request::builder().version(version).body(()).unwrap_or_default()
    }

    #[tokio::test]
    async fn messages_come_out_between_what_is_written_and_before_the_end() {
        let (client, server) = tokio::io::duplex(8);
        let (mut connection, senders) = Connection::new(server);
        let sender = senders.next(&request(Version::HTTP_11)).expect("HTTP/1.1");
        let mut headers = HeaderMap::new();
        headers.insert("link", http::HeaderValue::from_static("</a>"));
        headers.insert("connection", http::HeaderValue::from_static("close"));
        let reader = tokio::spawn(async move {
            let (mut client, mut all) = (client, String::new());
            client.read_to_string(&mut all).await.expect("text");
            all
        });
        connection.write_all(b"before").await.expect("written");
        sender.send(StatusCode::EARLY_HINTS, &headers);
        sender.send(StatusCode::CONTINUE, &headers);
        let late = sender.clone();
        let (flushed, ()) = tokio::join!(connection.flush(), sender.end());
        flushed.expect("flushed");
        late.send(StatusCode::EARLY_HINTS, &headers);
        connection.write_all(b"after").await.expect("written");
        connection.flush().await.expect("flushed");
        drop(connection);
        assert_eq!(reader.await.expect("read"), "beforeHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nafter");
        for other in [Version::HTTP_10, Version::HTTP_2] {
            assert!(senders.next(&request(other)).is_none());
        }
    }
}

//! One bounded exchange with an issuer over any service.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

/// Work that outlives the request that asked for it.
pub(crate) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;
/// How such work is started.
pub(crate) type Spawn = Arc<dyn Fn(Task) + Send + Sync>;

pub(crate) fn tokio_spawn() -> Spawn {
    Arc::new(|task| drop(tokio::spawn(task)))
}

/// Most frames without data of one answer. They are free of the cap on bytes, and where they are always ready no timeout
/// gets its turn.
const MAX_EMPTY: usize = 1_000;

/// Sends the request and reads the whole answer. `None` is a failure of any kind: refused, too late, too long.
pub(crate) async fn exchange<S, B, R>(
    service: S,
    request: Request<B>,
    timeout: Duration,
    max_body: usize,
) -> Option<Response<Bytes>>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Body,
{
    tokio::time::timeout(timeout, attempt(service, request, max_body)).await.ok().flatten()
}

async fn attempt<S, B, R>(mut service: S, request: Request<B>, max_body: usize) -> Option<Response<Bytes>>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Body,
{
    poll_fn(|cx| service.poll_ready(cx)).await.ok()?;
    let response = service.call(request).await.ok()?;
    let (parts, body) = response.into_parts();
    let mut body = pin!(body);
    if body.size_hint().lower() > max_body as u64 {
        return None;
    }
    let (mut bytes, mut empty) = (Vec::new(), 0);
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let data = frame.ok()?.into_data().ok().filter(Buf::has_remaining);
        let Some(mut data) = data else {
            empty += 1;
            if empty > MAX_EMPTY {
                return None;
            }
            continue;
        };
        if bytes.len() + data.remaining() > max_body {
            return None;
        }
        while data.has_remaining() {
            let chunk = data.chunk();
            let length = chunk.len();
            bytes.extend_from_slice(chunk);
            data.advance(length);
        }
    }
    Some(Response::from_parts(parts, bytes.into()))
}

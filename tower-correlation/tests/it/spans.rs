//! The id on log lines: on every one of a request, whatever level the log is at.

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, StreamBody};
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_correlation::CorrelationLayer;
use tower_correlation::trace::TraceParent;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::support::{others_listen, poll_once};

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Logs of this thread go here, if the filter lets them through.
    fn new(filter: &str) -> (Self, DefaultGuard) {
        others_listen();
        let log = Self::default();
        let subscriber =
            tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(log.clone());
        (log, subscriber.finish().set_default())
    }

    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

fn request(id: &str) -> Request<Empty<Bytes>> {
    Request::builder().header("x-request-id", id).body(Empty::new()).unwrap()
}

/// Logs when it goes.
struct Farewell;

impl Drop for Farewell {
    fn drop(&mut self) {
        tracing::error!("farewell");
    }
}

async fn chatty(
    _: Request<Empty<Bytes>>,
) -> Result<Response<impl http_body::Body<Data = Bytes, Error = Infallible>>, Infallible> {
    let _farewell = Farewell;
    tracing::error!("in the handler");
    tracing::info!("a detail");
    tokio::task::yield_now().await;
    let frames = futures_util::stream::unfold((0, Farewell), async |(n, farewell)| {
        tokio::task::yield_now().await;
        tracing::error!("in the body");
        (n < 2).then(|| (Ok(Frame::data(Bytes::from_static(b"x"))), (n + 1, farewell)))
    });
    Ok(Response::new(StreamBody::new(frames)))
}

#[tokio::test]
async fn every_line_of_a_request_names_it_at_any_level() {
    for (filter, count) in [("error", 6), ("info", 7), ("trace", 7)] {
        let (log, _guard) = Log::new(filter);
        let response =
            CorrelationLayer::new().layer(service_fn(chatty)).oneshot(request("s-1")).await.unwrap();
        assert_eq!(Box::pin(response.into_body()).as_mut().collect().await.unwrap().to_bytes(), "xx");
        let lines = log.lines();
        assert_eq!(lines.len(), count, "{lines:#?}");
        assert!(lines.iter().all(|line| line.contains(r#"correlation_id="s-1""#)), "{lines:#?}");
        assert!(lines.iter().all(|line| line.contains("trace_id=")), "{lines:#?}");
    }
}

/// The outer one has said it all, also where the span is that of an SDK; one made in between is named as well.
#[tokio::test]
async fn a_layer_inside_of_another_does_not_say_it_twice() {
    let sdk = TraceParent::new(7, 8, 1).unwrap();
    for (before, between, spans) in
        [(None, None, 1), (Some(sdk), None, 1), (Some(sdk), Some(sdk), 1), (None, Some(sdk), 2)]
    {
        let (log, _guard) = Log::new("error");
        let service = ServiceBuilder::new()
            .layer(CorrelationLayer::new())
            .map_request(move |mut request: Request<Empty<Bytes>>| {
                if let Some(span) = between {
                    request.extensions_mut().insert(span);
                }
                request
            })
            .layer(CorrelationLayer::new())
            .service_fn(chatty);
        let mut request = request("s-9");
        if let Some(span) = before {
            request.extensions_mut().insert(span);
        }
        drop(service.oneshot(request).await.unwrap());
        for line in log.lines() {
            assert_eq!(line.matches("correlation_id=").count(), spans, "{line}");
            let sdk_named = line.contains("trace_id=00000000000000000000000000000007");
            assert_eq!(sdk_named, before.or(between).is_some(), "{line}");
        }
        assert!(!log.lines().is_empty());
    }
}

#[tokio::test]
async fn lines_of_other_work_in_between_do_not() {
    let (log, _guard) = Log::new("error");
    let mut service = CorrelationLayer::new().layer(service_fn(chatty));
    let mut one = Box::pin(service.call(request("s-1")));
    let mut two = Box::pin(service.call(request("s-2")));
    for call in [&mut one, &mut two] {
        assert!(poll_once(call).await.is_pending());
        tracing::error!("in between");
    }
    let lines = log.lines();
    assert!(lines.len() == 4 && lines[0].contains("s-1") && lines[2].contains("s-2"), "{lines:#?}");
    assert!([1, 3].iter().all(|&line| !lines[line].contains("correlation_id")), "{lines:#?}");
}

#[tokio::test]
async fn work_that_is_cancelled_names_its_request() {
    let (log, _guard) = Log::new("error");
    let mut call = Box::pin(CorrelationLayer::new().layer(service_fn(chatty)).oneshot(request("s-3")));
    assert!(poll_once(&mut call).await.is_pending());
    drop(call);
    let lines = log.lines();
    assert!(lines.len() == 2 && lines[1].contains("farewell") && lines[1].contains("s-3"), "{lines:#?}");
    // And a body of which nobody reads the rest.
    let response = CorrelationLayer::new().layer(service_fn(chatty)).oneshot(request("s-4")).await.unwrap();
    drop(response);
    let last = log.lines().pop().unwrap();
    assert!(last.contains("farewell") && last.contains("s-4"), "{last}");
}

#[tokio::test]
async fn an_error_that_leaves_the_layer_is_logged_with_the_id() {
    let (log, _guard) = Log::new("error");
    let fails =
        service_fn(async |_: Request<Empty<Bytes>>| Err::<Response<String>, BoxError>("no upstream".into()));
    let error = CorrelationLayer::new().layer(fails).oneshot(request("s-5")).await.unwrap_err();
    assert_eq!(error.to_string(), "no upstream", "the error itself is left as it is");
    let lines = log.lines();
    assert!(lines.len() == 1 && lines[0].contains("s-5"), "{lines:#?}");
    // A response, even a bad one, is the handler's to log.
    let answers = service_fn(async |_: Request<Empty<Bytes>>| {
        Ok::<_, BoxError>(Response::builder().status(500).body(String::new()).unwrap())
    });
    CorrelationLayer::new().layer(answers).oneshot(request("s-6")).await.unwrap();
    assert_eq!(log.lines().len(), 1);
}

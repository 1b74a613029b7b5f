//! Futures and bodies that are dropped at any point leave nothing behind.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body::Frame;
use http_body_util::{Empty, StreamBody};
use tower::{Layer, Service, service_fn};
use tower_correlation::{Correlation, CorrelationLayer, current, scope, scope_sync};

use crate::support::{poll_once, xorshift};

type Seen = Arc<Mutex<Vec<Option<String>>>>;

fn now() -> Option<String> {
    current().map(|correlation| correlation.id().to_string())
}

/// Notes on its way out under which id that is.
struct Farewell(Seen);

impl Drop for Farewell {
    fn drop(&mut self) {
        self.0.lock().unwrap().push(now());
    }
}

/// The handler yields three times, the body three times; each request is dropped after a random number of polls. 10⁵
/// requests with `TOWER_ASSURE`.
#[tokio::test]
async fn requests_dropped_at_random_points_leave_no_id_behind() {
    let cases = if std::env::var_os("TOWER_ASSURE").is_some() { 100_000 } else { 5_000 };
    let mut state = 0x5eed_u64;
    let seen = Seen::default();
    let handler_seen = seen.clone();
    let mut service = CorrelationLayer::new().layer(service_fn(move |_: Request<Empty<Bytes>>| {
        let seen = handler_seen.clone();
        async move {
            let _farewell = Farewell(seen.clone());
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
            let frames = futures_util::stream::unfold((0, Farewell(seen)), async |(n, farewell)| {
                tokio::task::yield_now().await;
                (n < 3)
                    .then(|| (Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"x"))), (n + 1, farewell)))
            });
            Ok::<_, Infallible>(Response::new(StreamBody::new(frames)))
        }
    }));
    let (mut before_headers, mut mid_body, mut whole) = (0, 0, 0);
    for case in 0..cases {
        let id = format!("c-{case}");
        let request = Request::builder().header("x-request-id", &id).body(Empty::new()).unwrap();
        let mut polls = xorshift(&mut state) % 14;
        let mut call = Box::pin(service.call(request));
        let mut response = None;
        while polls > 0 && response.is_none() {
            polls -= 1;
            if let std::task::Poll::Ready(done) = poll_once(&mut call).await {
                response = Some(done.unwrap());
            }
            assert_eq!(now(), None);
        }
        drop(call);
        let expected = match response {
            None => {
                before_headers += 1;
                1
            }
            Some(response) => {
                let mut body = Box::pin(response.into_body());
                let mut ended = false;
                while polls > 0 && !ended {
                    polls -= 1;
                    let next =
                        std::future::poll_fn(|cx| std::task::Poll::Ready(body.as_mut().poll_frame(cx))).await;
                    ended = matches!(next, std::task::Poll::Ready(None));
                    assert_eq!(now(), None);
                }
                *(if ended { &mut whole } else { &mut mid_body }) += 1;
                2
            }
        };
        // What was never polled has nothing to say.
        let said = std::mem::take(&mut *seen.lock().unwrap());
        assert!(said.len() == expected || (said.is_empty() && expected == 1), "{said:?}");
        assert!(said.iter().all(|said| said.as_deref() == Some(id.as_str())), "{said:?}");
        assert_eq!(now(), None);
    }
    println!("dropped before headers {before_headers}, in the body {mid_body}, never {whole}");
    assert!(before_headers > cases / 10 && mid_body > cases / 10 && whole > cases / 20);
}

#[test]
fn a_panic_gives_the_id_back() {
    let outer = Correlation::generate();
    scope_sync(&outer, || {
        let inner = Correlation::generate();
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            scope_sync(&inner, || {
                assert_eq!(now(), Some(inner.id().to_string()));
                panic!("on purpose");
            });
        }));
        assert!(caught.is_err());
        assert_eq!(now(), Some(outer.id().to_string()));
    });
    assert_eq!(now(), None);
}

#[tokio::test]
async fn scopes_nest_and_interleave() {
    let (one, two) = (Correlation::generate(), Correlation::generate());
    let work = |correlation: Correlation| {
        let expected = Some(correlation.id().to_string());
        scope(correlation, async move {
            for _ in 0..3 {
                assert_eq!(now(), expected);
                let inner = Correlation::generate();
                let id = inner.id().to_string();
                scope(inner, async {
                    tokio::task::yield_now().await;
                    assert_eq!(now(), Some(id));
                })
                .await;
                assert_eq!(now(), expected);
            }
        })
    };
    let outer = Correlation::generate();
    scope(outer.clone(), async {
        tokio::join!(work(one), work(two));
        assert_eq!(now(), Some(outer.id().to_string()));
    })
    .await;
    assert_eq!(now(), None);
}

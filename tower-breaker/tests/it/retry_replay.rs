//! Request bodies that are sent again.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Method, Request};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, StreamBody};
use proptest::prelude::*;
use tower_breaker::retry::{HttpPolicy, ReplayBody, ReplayError};

use crate::retry_support::*;

type Frames =
    StreamBody<futures_util::stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, std::io::Error>>>>;

/// A body whose length nobody knows before.
fn stream(frames: Vec<Frame<Bytes>>) -> Frames {
    StreamBody::new(futures_util::stream::iter(frames.into_iter().map(Ok).collect::<Vec<_>>()))
}

fn put(frames: Vec<Frame<Bytes>>) -> Request<ReqBody> {
    request(Method::PUT, "").map(|_| stream(frames).map_err(|_| unreachable!()).boxed_unsync())
}

fn octets(count: usize) -> Vec<Frame<Bytes>> {
    vec![Frame::data(Bytes::from(vec![7; count / 2])), Frame::data(Bytes::from(vec![7; count - count / 2]))]
}

type Next<B> = Poll<Option<Result<Frame<<B as Body>::Data>, <B as Body>::Error>>>;

fn poll<B: Body + Unpin>(body: &mut B) -> Next<B> {
    Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test(start_paused = true)]
async fn data_and_trailers_are_sent_again() {
    let upstream = Upstream::new(then_well(|| Whole(503, &[])));
    let sent = put(vec![data("one"), data("two"), trailers(&[("x-sum", "6")])]);
    assert_eq!(send(HttpPolicy::builder(), &upstream, sent).await.unwrap().status(), 200);
    for seen in upstream.seen() {
        assert_eq!(seen.content.as_deref(), Ok(&b"onetwo"[..]));
        assert_eq!(seen.trailers.unwrap()["x-sum"], "6");
    }
    assert_eq!(upstream.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_stream_beyond_the_limit_is_sent_once_and_whole() {
    let limited = || HttpPolicy::builder().max_body(1000);
    let fails = || then_well(|| Whole(503, &[]));
    assert_eq!(outcome(limited(), fails(), put(octets(1000))).await, (Some(200), 2));
    let upstream = Upstream::new(fails());
    assert_eq!(send(limited(), &upstream, put(octets(1001))).await.unwrap().status(), 503);
    assert_eq!((upstream.count(), upstream.seen()[0].content.as_ref().unwrap().len()), (1, 1001));
    // The default is 64 KiB.
    assert_eq!(outcome(HttpPolicy::builder(), fails(), put(octets(64 << 10))).await, (Some(200), 2));
    assert_eq!(outcome(HttpPolicy::builder(), fails(), put(octets((64 << 10) + 1))).await, (Some(503), 1));
    // A length that is known from the start is not recorded at all.
    let known = request(Method::PUT, "twelve chars");
    assert_eq!(outcome(HttpPolicy::builder().max_body(12), fails(), known).await, (Some(200), 2));
    let known = request(Method::PUT, "twelve chars");
    assert_eq!(outcome(HttpPolicy::builder().max_body(11), fails(), known).await, (Some(503), 1));
}

#[tokio::test(start_paused = true)]
async fn more_frames_than_are_kept_are_sent_once() {
    let tiny = |count| put((0..count).map(|_| data("x")).collect());
    let fails = || then_well(|| Whole(503, &[]));
    assert_eq!(outcome(HttpPolicy::builder(), fails(), tiny(1024)).await, (Some(200), 2));
    assert_eq!(outcome(HttpPolicy::builder(), fails(), tiny(1025)).await, (Some(503), 1));
}

#[test]
fn a_body_that_broke_is_not_replayable() {
    let broken = stream(vec![data("one")]);
    let mut body = ReplayBody::new(broken);
    assert!(poll(&mut body).is_ready());
    assert!(body.replayable());
    let frames = vec![Ok(data("one")), Err(std::io::Error::other("gone"))];
    let mut body = ReplayBody::new(StreamBody::new(futures_util::stream::iter(frames)));
    assert!(matches!(poll(&mut body), Poll::Ready(Some(Ok(_)))));
    let Poll::Ready(Some(Err(ReplayError::Inner(error)))) = poll(&mut body) else { panic!("no error") };
    assert_eq!(error.to_string(), "gone");
    assert!(!body.replayable());
}

#[test]
fn an_attempt_that_was_superseded_ends_with_an_error_and_is_woken() {
    struct Flag(std::sync::atomic::AtomicBool);
    impl std::task::Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    }
    let (mut sender, channel) = http_body_util::channel::Channel::<Bytes>::new(4);
    let mut first = ReplayBody::new(channel);
    sender.try_send(data("one")).unwrap();
    assert!(poll(&mut first).is_ready());
    let flag = Arc::new(Flag(false.into()));
    let waker = Waker::from(flag.clone());
    assert!(Pin::new(&mut first).poll_frame(&mut Context::from_waker(&waker)).is_pending());
    let mut second = first.clone();
    let Poll::Ready(Some(Ok(frame))) = poll(&mut second) else { panic!("nothing replayed") };
    assert_eq!(frame.into_data().unwrap(), "one");
    assert!(flag.0.load(std::sync::atomic::Ordering::Relaxed));
    assert!(matches!(poll(&mut first), Poll::Ready(Some(Err(ReplayError::Superseded)))));
    // What comes later goes to the one that has the floor.
    sender.try_send(data("two")).unwrap();
    let Poll::Ready(Some(Ok(frame))) = poll(&mut second) else { panic!("the rest is missing") };
    assert_eq!(frame.into_data().unwrap(), "two");
}

#[test]
fn an_empty_body_is_known_to_be_empty_each_time() {
    let body = ReplayBody::new(http_body_util::Empty::<Bytes>::new());
    for body in [body.clone(), body] {
        assert!(body.is_end_stream() && body.replayable());
        assert_eq!(body.size_hint().exact(), Some(0));
    }
}

#[test]
fn bodies_cross_threads() {
    fn assert<T: Send + Sync + Unpin + 'static>() {}
    assert::<ReplayBody<http_body_util::Full<Bytes>>>();
}

proptest! {
    /// However far each attempt reads before it is given up, the last one sees the content from its beginning to its
    /// end, and its length is announced rightly at every point.
    #[test]
    fn the_last_attempt_sees_everything(
        pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 0..12),
        reads in proptest::collection::vec(0_usize..14, 0..6),
        with_trailers in any::<bool>(),
    ) {
        let mut frames: Vec<_> = pieces.iter().map(|piece| Frame::data(Bytes::from(piece.clone()))).collect();
        if with_trailers {
            frames.push(trailers(&[("x-end", "1")]));
        }
        let spare = ReplayBody::with_limit(stream(frames), 1 << 16);
        for read in reads {
            let mut attempt = spare.clone();
            for _ in 0..read {
                if let Poll::Ready(None) = poll(&mut attempt) {
                    break;
                }
            }
        }
        prop_assert!(spare.replayable());
        let mut last = spare.clone();
        let (mut content, mut end) = (Vec::new(), false);
        while let Poll::Ready(Some(frame)) = poll(&mut last) {
            match frame.unwrap().into_data() {
                Ok(data) => content.extend_from_slice(&data),
                Err(frame) => end = frame.into_trailers().unwrap()["x-end"] == "1",
            }
            let left = pieces.concat().len() - content.len();
            prop_assert!(last.size_hint().lower() <= left as u64);
        }
        prop_assert_eq!(content, pieces.concat());
        prop_assert_eq!(end, with_trailers);
    }
}

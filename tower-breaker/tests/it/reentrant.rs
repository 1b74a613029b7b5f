//! What others have written runs without our locks: wakers, recorders, handlers and bodies that use the breaker from
//! within. Should one of them run within a lock, its test does not come to an end.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use tower::{Layer, Service};
use tower_breaker::{Breaker, BreakerLayer, KeyedBreaker, Mode, State};

/// Runs something when it is woken, and when it is dropped.
struct Calls {
    what: Box<dyn Fn() + Send + Sync>,
    woken: AtomicUsize,
    dropped: Arc<AtomicUsize>,
}

impl Wake for Calls {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        (self.what)();
        self.woken.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Calls {
    fn drop(&mut self) {
        (self.what)();
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

fn calls(what: impl Fn() + Send + Sync + 'static) -> (Arc<Calls>, Arc<AtomicUsize>) {
    let dropped = Arc::new(AtomicUsize::new(0));
    let calls = Calls { what: Box::new(what), woken: AtomicUsize::new(0), dropped: Arc::clone(&dropped) };
    (Arc::new(calls), dropped)
}

/// Everything a handle can do that takes a lock.
fn uses(breaker: &Breaker) -> impl Fn() + Send + Sync + 'static {
    let breaker = breaker.clone();
    move || {
        let _ = (breaker.state(), breaker.snapshot(), breaker.subscribe());
        if let Ok(permit) = breaker.try_acquire() {
            permit.ignore();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_waker_may_use_the_breaker_that_wakes_it() {
    let breaker = Breaker::builder("reentrant").build().unwrap();
    let mut states = breaker.subscribe();
    let (waker, dropped) = calls(uses(&breaker));
    {
        let mut changed = std::pin::pin!(states.changed());
        let poll = |changed: std::pin::Pin<&mut _>, waker: &Arc<Calls>| {
            std::future::Future::poll(changed, &mut Context::from_waker(&Waker::from(Arc::clone(waker))))
        };
        assert!(poll(changed.as_mut(), &waker).is_pending());
        breaker.force_open();
        assert_eq!(waker.woken.load(Ordering::Relaxed), 1);
        assert!(poll(changed.as_mut(), &waker).is_ready());
    }
    assert_eq!(*states.borrow_and_update(), State::ForcedOpen);
    drop(waker);
    assert_eq!(dropped.load(Ordering::Relaxed), 1);

    // Who waits at the gate: woken by hand, by a transition and by a probe that gives its slot back.
    let service = tower::service_fn(|_: ()| std::future::ready(Ok::<_, std::io::Error>(())));
    let mut gate = BreakerLayer::new(breaker.clone()).mode(Mode::Gate).layer(service);
    let (waker, dropped) = calls(uses(&breaker));
    let task = Waker::from(Arc::clone(&waker));
    assert!(gate.poll_ready(&mut Context::from_waker(&task)).is_pending());
    breaker.force_close();
    assert_eq!(waker.woken.load(Ordering::Relaxed), 1);
    assert!(gate.poll_ready(&mut Context::from_waker(&task)).is_ready());
    drop((gate, task, waker));
    assert_eq!(dropped.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_waker_may_use_the_breaker_when_a_probe_ends() {
    let breaker = Breaker::builder("reentrant").initial_state(State::Open).probes(1);
    let breaker = breaker.open_for(Duration::from_secs(1)).build().unwrap();
    tokio::time::advance(Duration::from_secs(1)).await;
    let probe = breaker.try_acquire().unwrap();
    let service = tower::service_fn(|_: ()| std::future::ready(Ok::<_, std::io::Error>(())));
    let mut gate = BreakerLayer::new(breaker.clone()).mode(Mode::Gate).layer(service);
    let (waker, _) = calls(uses(&breaker));
    let task = Waker::from(Arc::clone(&waker));
    assert!(gate.poll_ready(&mut Context::from_waker(&task)).is_pending());
    probe.ignore();
    assert_eq!(waker.woken.load(Ordering::Relaxed), 1);
    assert!(gate.poll_ready(&mut Context::from_waker(&task)).is_ready());
}

#[cfg(feature = "metrics")]
mod recorded {
    use std::sync::OnceLock;

    use metrics::{
        Counter, CounterFn, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    };

    use super::*;

    /// A recorder whose handles use the breaker, as one would that shows its state beside the figures.
    #[derive(Default)]
    struct Recording {
        breaker: Arc<OnceLock<Breaker>>,
        seen: Arc<AtomicUsize>,
    }

    struct Handle(Arc<OnceLock<Breaker>>, Arc<AtomicUsize>);

    impl Handle {
        fn used(&self) {
            self.1.fetch_add(1, Ordering::Relaxed);
            if let Some(breaker) = self.0.get() {
                let _ = (breaker.name(), breaker.state(), breaker.subscribe());
            }
        }
    }

    impl CounterFn for Handle {
        fn increment(&self, _: u64) {
            self.used();
        }

        fn absolute(&self, _: u64) {}
    }

    impl GaugeFn for Handle {
        fn increment(&self, _: f64) {}

        fn decrement(&self, _: f64) {}

        fn set(&self, _: f64) {
            self.used();
        }
    }

    impl Recorder for Recording {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
            let handle = Handle(Arc::clone(&self.breaker), Arc::clone(&self.seen));
            handle.used();
            Counter::from_arc(Arc::new(handle))
        }

        fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
            let handle = Handle(Arc::clone(&self.breaker), Arc::clone(&self.seen));
            handle.used();
            Gauge::from_arc(Arc::new(handle))
        }

        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_recorder_may_use_the_breaker_it_counts_for() {
        let recorder = Recording::default();
        let breaker = Breaker::builder("reentrant").min_calls(2).build().unwrap();
        recorder.breaker.set(breaker.clone()).unwrap();
        metrics::with_local_recorder(&recorder, || {
            breaker.try_acquire().unwrap().success();
            breaker.try_acquire().unwrap().failure();
            assert_eq!(breaker.state(), State::Open);
            assert!(breaker.try_acquire().is_err());
            breaker.force_close();
            breaker.try_acquire().unwrap().ignore();
            assert_eq!(breaker.snapshot().state, State::Closed);
        });
        assert!(recorder.seen.load(Ordering::Relaxed) > 15);
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_may_use_the_registry_while_that_makes_room() {
    let second = Duration::from_secs(1);
    let each = Breaker::builder("partners").min_calls(1).open_for(second).probes(1).half_open_limit(second);
    let family: KeyedBreaker<u32> =
        KeyedBreaker::builder(each.probe_lease(second)).capacity(2).idle(second * 2).build().unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    for key in 0..2 {
        let breaker = family.get(key);
        let (heard, registry) = (Arc::clone(&heard), family.clone());
        breaker.on_event(move |event| {
            let _ = (registry.find(&key).is_some(), registry.get(7 + key), registry.expire(), registry.len());
            registry.for_each(|_, breaker| assert_eq!(breaker.name(), "partners"));
            heard.lock().unwrap().push((key, event));
        });
        breaker.try_acquire().unwrap().failure();
        assert_eq!(breaker.state(), State::Open);
    }
    // Both are half open with a probe that hangs: only a look at the time opens them again.
    tokio::time::advance(second).await;
    let held = [0, 1].map(|key| family.get(key).try_acquire().unwrap());
    tokio::time::advance(second).await;
    let before = heard.lock().unwrap().len();
    let _ = family.get(2);
    assert_eq!(heard.lock().unwrap().len(), before + 2, "{:?}", heard.lock().unwrap());
    drop(held);
    // And a look at all of them that asks for others.
    family.for_each(|_, _| drop(family.get(9)));
    let _ = family.expire();
}

#[cfg(feature = "retry")]
mod replayed {
    use std::task::Poll;

    use bytes::Bytes;
    use http_body::{Body, Frame};
    use tower_breaker::retry::ReplayBody;

    use super::*;

    /// Wakes its reader within its poll, a few times, before it says something.
    struct Eager(u32);

    impl Body for Eager {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            self.0 += 1;
            cx.waker().wake_by_ref();
            match self.0 {
                1..3 => Poll::Pending,
                3..6 => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x"))))),
                _ => Poll::Ready(None),
            }
        }
    }

    #[test]
    fn a_waker_may_use_the_body_whose_frame_it_waits_for() {
        let mut body = ReplayBody::new(Eager(0));
        let other = Mutex::new(body.clone());
        let (waker, dropped) = calls(move || {
            let other = other.lock().unwrap();
            let _ = (other.is_end_stream(), other.size_hint(), other.replayable(), other.clone());
        });
        let task = Waker::from(Arc::clone(&waker));
        let mut frames = 0;
        for _ in 0..10 {
            match std::pin::Pin::new(&mut body).poll_frame(&mut Context::from_waker(&task)) {
                Poll::Ready(Some(frame)) => frames += usize::from(frame.unwrap().is_data()),
                Poll::Ready(None) => break,
                Poll::Pending => {}
            }
        }
        assert_eq!((frames, waker.woken.load(Ordering::Relaxed)), (3, 6));
        // Another attempt takes the floor, and the one that waited is woken: without the lock.
        let mut first = ReplayBody::new(Eager(0));
        let mut second = first.clone();
        assert!(std::pin::Pin::new(&mut first).poll_frame(&mut Context::from_waker(&task)).is_pending());
        let woken = waker.woken.load(Ordering::Relaxed);
        let noop = &mut Context::from_waker(Waker::noop());
        assert!(std::pin::Pin::new(&mut second).poll_frame(noop).is_pending());
        assert_eq!(waker.woken.load(Ordering::Relaxed), woken + 1);
        let superseded = std::pin::Pin::new(&mut first).poll_frame(&mut Context::from_waker(&task));
        assert!(matches!(superseded, Poll::Ready(Some(Err(_)))), "{superseded:?}");
        drop((first, second, task, waker));
        assert_eq!(dropped.load(Ordering::Relaxed), 1);
    }

    /// Takes as long for a frame as the test says, on a thread of its own.
    struct Slow(std::sync::mpsc::Receiver<()>, Arc<std::sync::Barrier>, u32);

    impl Body for Slow {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            self.2 += 1;
            if self.2 == 1 {
                self.1.wait();
                self.0.recv().unwrap();
            }
            Poll::Ready((self.2 <= 2).then(|| Ok(Frame::data(Bytes::from_static(b"frame")))))
        }
    }

    #[test]
    fn a_frame_that_was_on_its_way_is_not_lost_to_the_next_attempt() {
        let (go, wait) = std::sync::mpsc::channel();
        let barrier = Arc::new(std::sync::Barrier::new(2));
        // Less is kept than a frame has: it is kept all the same, for the next attempt has the floor when it comes.
        let mut first = ReplayBody::with_limit(Slow(wait, Arc::clone(&barrier), 0), 3);
        let mut second = first.clone();
        std::thread::scope(|scope| {
            let poll = scope.spawn(move || {
                let noop = &mut Context::from_waker(Waker::noop());
                format!("{:?}", std::pin::Pin::new(&mut first).poll_frame(noop))
            });
            barrier.wait();
            let (waker, _) = calls(|| {});
            let task = Waker::from(Arc::clone(&waker));
            let cx = &mut Context::from_waker(&task);
            assert!(!second.is_end_stream() && second.size_hint().upper().is_none());
            assert!(std::pin::Pin::new(&mut second).poll_frame(cx).is_pending());
            go.send(()).unwrap();
            assert!(poll.join().unwrap().contains("Superseded"));
            assert_eq!(waker.woken.load(Ordering::Relaxed), 1);
            for _ in 0..2 {
                let Poll::Ready(Some(Ok(frame))) = std::pin::Pin::new(&mut second).poll_frame(cx) else {
                    panic!("a frame is missing")
                };
                assert_eq!(frame.into_data().unwrap(), "frame");
            }
            assert!(matches!(std::pin::Pin::new(&mut second).poll_frame(cx), Poll::Ready(None)));
        });
    }
}

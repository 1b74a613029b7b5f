//! What several files need.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

/// Polls once and tells.
pub(crate) async fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx))).await
}

/// To be called before one thread listens to what it logs. While there is one subscriber alone, `tracing` asks whichever
/// thread comes by a line first whether anybody wants it, and a thread that does not listen says no for all.
#[cfg(all(feature = "tracing", any(feature = "tokio", feature = "observe")))]
pub(crate) fn others_listen() {
    use std::sync::LazyLock;

    use tracing::{Dispatch, subscriber::NoSubscriber};

    static OTHERS: LazyLock<[Dispatch; 2]> =
        LazyLock::new(|| [(); 2].map(|()| Dispatch::new(NoSubscriber::default())));
    LazyLock::force(&OTHERS);
}

/// The events of `tracing` that are told while something is done, as JSON.
#[cfg(all(feature = "tracing", feature = "observe"))]
pub(crate) fn events_of(work: impl FnOnce()) -> Vec<serde_json::Value> {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    others_listen();
    let sink = Sink::default();
    let to = sink.clone();
    let subscriber =
        tracing_subscriber::fmt().json().flatten_event(true).with_writer(move || to.clone()).finish();
    tracing::subscriber::with_default(subscriber, work);
    let written = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
    written.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Random enough, and the same from the same seed.
pub(crate) fn xorshift(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

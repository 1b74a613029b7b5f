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

/// Random enough, and the same from the same seed.
pub(crate) fn xorshift(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

//! Collapsing across processes: one of them holds a lock while it fetches, the others look now and then whether it is
//! done. The lock only saves calls: whoever finds no server, or waits too long, fetches as well.

use std::sync::Arc;
use std::time::Duration;

use super::layout::Names;
use super::link::Link;
use super::random;
use super::scripts;
use crate::store::{Held, Lease, StoreError, StoreFuture};

/// A holder that is gone is replaced after this time: it renews its hold three times as often.
const LIFE: Duration = Duration::from_secs(1);

/// After a response that cannot be shared, nobody waits for the next one this long.
const UNSHARED: Duration = Duration::from_secs(10);

/// Between two looks.
const SHORTEST: Duration = Duration::from_millis(5);
const LONGEST: Duration = Duration::from_millis(50);

pub(super) async fn acquire(
    link: Arc<Link>,
    names: Names,
    wait: Duration,
    limit: Duration,
) -> Result<Lease, StoreError> {
    let asking = Asking { link, names, holder: random().to_be_bytes(), limit };
    match asking.ask().await? {
        Answer::Yes { stored } => Ok(asking.held(stored)),
        Answer::Wait => Ok(Lease::waiting(StoreFuture::new(asking.wait(wait)))),
        Answer::Unshared => Ok(Lease::none()),
    }
}

enum Answer {
    /// The lock is held; whether something has been stored since the lookup.
    Yes { stored: bool },
    /// Somebody else holds it.
    Wait,
    /// Nobody is to wait.
    Unshared,
}

/// Who wants the lock.
struct Asking {
    link: Arc<Link>,
    names: Names,
    holder: [u8; 8],
    limit: Duration,
}

impl Asking {
    async fn ask(&self) -> Result<Answer, StoreError> {
        let mut call = scripts::LEASE.key(self.names.lock());
        call.key(self.names.record()).arg(&self.holder[..]).arg(milliseconds(LIFE));
        // Whoever gives up waiting for an answer may have the lock all the same; it ends by itself then.
        let operation = self.link.operation();
        let step = tokio::time::timeout(self.limit, operation.script::<u8>(&call)).await;
        let answer = step.map_err(|_| StoreError::timeout())??;
        operation.end();
        Ok(match answer {
            0 => Answer::Wait,
            1 => Answer::Yes { stored: false },
            2 => Answer::Yes { stored: true },
            _ => Answer::Unshared,
        })
    }

    fn held(self, stored: bool) -> Lease {
        let lease = Lease::held(Lock::new(self.link, self.names, self.holder));
        if stored { lease.after_waiting() } else { lease }
    }

    /// Looks now and then whether the holder is done.
    async fn wait(self, wait: Duration) -> Result<Lease, StoreError> {
        let deadline = tokio::time::Instant::now() + wait;
        let mut pause = SHORTEST;
        while tokio::time::Instant::now() < deadline {
            tokio::time::sleep(pause / 2 + pause.mul_f64(random() as f64 / u64::MAX as f64) / 2).await;
            pause = (pause * 2).min(LONGEST);
            match self.ask().await? {
                Answer::Yes { .. } => return Ok(self.held(true)),
                Answer::Wait => {}
                Answer::Unshared => break,
            }
        }
        Ok(Lease::none())
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The lock, while it is held.
struct Lock {
    link: Arc<Link>,
    names: Names,
    holder: [u8; 8],
    unshared: bool,
    /// Renews it until it is dropped.
    renewal: tokio::task::AbortHandle,
}

impl Lock {
    fn new(link: Arc<Link>, names: Names, holder: [u8; 8]) -> Self {
        let renewed = Arc::clone(&link);
        let mut call = scripts::RENEW.prepare_invoke();
        call.key(names.lock()).arg(&holder[..]).arg(milliseconds(LIFE));
        let renewal = tokio::spawn(async move {
            loop {
                tokio::time::sleep(LIFE / 3).await;
                let operation = renewed.operation();
                // Lost, it is somebody else's, or nobody's: nothing depends on it.
                let renewed = tokio::time::timeout(LIFE, operation.script::<u8>(&call)).await;
                let Ok(Ok(1)) = renewed else { return };
                operation.end();
            }
        });
        Self { link, names, holder, unshared: false, renewal: renewal.abort_handle() }
    }
}

impl Held for Lock {
    fn unshared(&mut self) {
        self.unshared = true;
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.renewal.abort();
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (link, lock, holder) = (Arc::clone(&self.link), self.names.lock(), self.holder);
        let pause = if self.unshared { milliseconds(UNSHARED) } else { 0 };
        runtime.spawn(async move {
            let mut call = scripts::RELEASE.key(lock);
            call.arg(&holder[..]).arg(pause);
            let operation = link.operation();
            if let Ok(Ok(_)) = tokio::time::timeout(LIFE, operation.script::<u8>(&call)).await {
                operation.end();
            }
        });
    }
}

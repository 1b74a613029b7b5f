//! Requests without pause at two caches over one store, and how long their answers take.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::{Origin, Process};

/// What a request waits for the store, in all. Longer than by default, so that a machine that is busy with other tests
/// does not decide what comes out.
pub(crate) const STORE_TIMEOUT: Duration = Duration::from_millis(500);

const KEYS: usize = 20;
const WORKERS: usize = 8;

/// One answer: how long it took, and whether it was a hit.
type Sample = (Duration, bool);

/// Requests until it is told to stop. Whatever is not a 200 with the right body ends the test.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    answers: Arc<Mutex<Vec<Sample>>>,
    workers: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    pub(crate) fn on(processes: &[Process]) -> Self {
        let (stop, answers) = <(Arc<AtomicBool>, Arc<Mutex<Vec<Sample>>>)>::default();
        let workers = (0..WORKERS).map(|worker| {
            let (stop, answers) = (Arc::clone(&stop), Arc::clone(&answers));
            let process = processes[worker % processes.len()].clone();
            tokio::spawn(async move {
                let mut n = worker;
                while !stop.load(Ordering::Relaxed) {
                    n = (n + 7) % KEYS;
                    let begun = Instant::now();
                    let got = process.get(&format!("http://example.com/{n}"), &[]).await;
                    assert_eq!((got.status.as_u16(), &*got.body), (200, &*format!("/{n}")));
                    answers.lock().unwrap().push((begun.elapsed(), got.outcome == "hit"));
                    tokio::task::yield_now().await;
                }
            })
        });
        let workers = workers.collect();
        Self { stop, answers, workers }
    }

    /// Waits for so many more answers, and takes them.
    pub(crate) async fn more(&self, requests: usize) -> Answers {
        self.answers.lock().unwrap().clear();
        loop {
            assert!(self.workers.iter().all(|worker| !worker.is_finished()), "a request failed");
            {
                let mut answers = self.answers.lock().unwrap();
                if answers.len() >= requests {
                    return Answers(std::mem::take(&mut *answers));
                }
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until nine of ten answers are hits.
    pub(crate) async fn until_hits(&self) -> Answers {
        for _ in 0..200 {
            let answers = self.more(200).await;
            if answers.hits() * 10 >= answers.0.len() * 9 {
                return answers;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("hits do not come back");
    }

    pub(crate) async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for worker in self.workers {
            worker.await.unwrap();
        }
    }
}

pub(crate) struct Answers(Vec<Sample>);

impl Answers {
    pub(crate) fn hits(&self) -> usize {
        self.0.iter().filter(|(_, hit)| *hit).count()
    }

    /// What half of the answers did not take longer than. A machine that is busy with something else delays a few of them
    /// by as much as it likes.
    fn median(&self) -> Duration {
        let mut took: Vec<Duration> = self.0.iter().map(|(took, _)| *took).collect();
        took.sort_unstable();
        took[took.len() / 2]
    }

    /// They have become slower by no more than the timeout: two timeouts in a row, or a wait that ignores it, would show.
    /// Half of one is left to a busy machine. The budget of each single one is tested where time stands still.
    pub(crate) fn took_no_longer_than(&self, usual: &Self) {
        let (usual, now) = (usual.median(), self.median());
        assert!(now <= usual + STORE_TIMEOUT * 3 / 2, "half of them took {now:?} at most, {usual:?} before");
    }
}

/// Answers each path with itself, for ten minutes.
pub(crate) fn origin() -> Origin {
    Origin::new(|request, _| {
        crate::support::response(&[("cache-control", "max-age=600")], request.uri.path().into())
    })
}

use std::num::NonZeroU64;
use std::time::Duration;

use super::window::Counts;

/// A probe phase. Every probe holds its slot for a lease at most, and the phase ends at a limit that starts with the
/// first probe: neither cancelled nor hanging calls can make it last.
#[derive(Debug, Default)]
pub(crate) struct Probing {
    pub(crate) done: Counts,
    /// When the upstream asks to be left alone that long.
    pub(crate) hint: Option<Duration>,
    limit: Option<u64>,
    leases: Vec<Lease>,
    next: u64,
}

#[derive(Debug)]
struct Lease {
    id: NonZeroU64,
    expires: u64,
    /// The upstream has answered well and only the rest of the body is missing.
    answered: bool,
}

impl Probing {
    /// Takes a slot.
    pub(crate) fn start(&mut self, expires: u64, limit: u64) -> Option<NonZeroU64> {
        self.next += 1;
        let id = NonZeroU64::new(self.next)?;
        self.limit.get_or_insert(limit);
        self.leases.push(Lease { id, expires, answered: false });
        Some(id)
    }

    /// How long until a slot may be free; `None` when one is.
    pub(crate) fn wait(&self, probes: u32, now: u64) -> Option<Duration> {
        let taken = self.done.total + self.leases.len() as u64;
        let next = self.deadline().unwrap_or(now);
        (taken >= u64::from(probes)).then(|| Duration::from_nanos(next.saturating_sub(now)))
    }

    pub(crate) fn deadline(&self) -> Option<u64> {
        self.leases.iter().map(|lease| lease.expires).chain(self.limit).min()
    }

    pub(crate) fn limit(&self) -> Option<u64> {
        self.limit
    }

    pub(crate) fn answered(&mut self, id: NonZeroU64) {
        if let Some(lease) = self.leases.iter_mut().find(|lease| lease.id == id) {
            lease.answered = true;
        }
    }

    /// Gives a slot back; whether its lease was still running.
    pub(crate) fn end(&mut self, id: NonZeroU64) -> bool {
        let position = self.leases.iter().position(|lease| lease.id == id);
        position.map(|position| self.leases.swap_remove(position)).is_some()
    }

    pub(crate) fn add(&mut self, failed: bool, slow: bool, hint: Option<Duration>) {
        self.done.add(failed, slow);
        self.hint = hint.or(self.hint);
    }

    /// Ends the leases that are over: a probe that hangs has failed, one whose body is merely long has not. Whether
    /// there were any.
    pub(crate) fn settle(&mut self, now: u64) -> bool {
        let before = self.done.total;
        let done = &mut self.done;
        self.leases.retain(|lease| {
            let runs = now < lease.expires;
            if !runs {
                done.add(!lease.answered, false);
            }
            runs
        });
        self.done.total != before
    }
}

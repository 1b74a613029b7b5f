//! Purges that are not of one URI: a count that every purge raises, and what was purged when it was what.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use redis::FromRedisValue;

use super::layout::Layout;
use super::link::Operation;
use super::random;
use super::scripts;
use crate::store::StoreError;

/// A point in the count. The epoch is another one when the count was lost and begins anew: everything stored before
/// is unusable then, as nobody knows what was purged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Count {
    pub(super) epoch: u32,
    pub(super) count: u32,
}

impl Count {
    pub(super) fn number(self) -> u64 {
        u64::from(self.epoch) << 32 | u64::from(self.count)
    }

    pub(super) fn of(number: u64) -> Self {
        // The casts split the number into its halves.
        Self { epoch: (number >> 32) as u32, count: number as u32 }
    }
}

/// The purges that are known.
#[derive(Debug, Default)]
pub(super) struct Log {
    epoch: u32,
    version: u32,
    purges: Vec<(Box<[u8]>, u32, bool)>,
}

impl Log {
    /// Whether something of this URI, fetched at this point, has been purged, and whether softly.
    pub(super) fn purged(&self, uri: &str, at: Count) -> Purged {
        let mut soft = false;
        for (prefix, count, softly) in &self.purges {
            if *count > at.count && uri.as_bytes().starts_with(prefix) {
                if !softly {
                    return Purged::Hard;
                }
                soft = true;
            }
        }
        if soft { Purged::Soft } else { Purged::No }
    }
}

/// How long the log is waited for where an older one will do: what follows takes some time as well.
const ASK: Duration = Duration::from_millis(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purged {
    No,
    Soft,
    Hard,
}

/// More purges of prefixes than this, and the older half becomes one of everything that is older.
const MAX_ENTRIES: usize = 256;

/// The log as this process last saw it.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<Seen>);

#[derive(Debug, Default, Clone)]
struct Seen {
    log: Arc<Log>,
    count: Count,
    at: Option<Instant>,
}

/// In a cluster the node that has the log may be lost while that of the response is not: what this process knew does
/// for so long. Purges that are not of one URI fail meanwhile.
const LOST: Duration = Duration::from_secs(30);

impl Known {
    fn get(&self) -> Seen {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, count: Count, log: &Arc<Log>) {
        let seen = Seen { log: Arc::clone(log), count, at: Some(crate::cache::now()) };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = seen;
    }

    /// As [`ask`](Self::ask), or, in a cluster, what was known a short time ago.
    pub(super) async fn current(
        &self,
        operation: &Operation,
        layout: &Layout,
    ) -> Result<(Count, Arc<Log>), StoreError> {
        let Seen { log, count, at } = self.get();
        // A server alone answers for both or for neither: a log that comes late is not one to do without.
        let recent = operation.is_spread()
            && at.is_some_and(|at| crate::cache::now().saturating_duration_since(at) < LOST);
        let asked = if recent {
            tokio::time::timeout(ASK, self.ask(operation, layout))
                .await
                .unwrap_or_else(|_| Err(StoreError::timeout()))
        } else {
            self.ask(operation, layout).await
        };
        match asked {
            Ok((count, log)) => {
                self.set(count, &log);
                Ok((count, log))
            }
            Err(_) if recent => Ok((count, log)),
            Err(error) => Err(error),
        }
    }

    /// The count now, and the log, which is fetched only where it has changed.
    async fn ask(&self, operation: &Operation, layout: &Layout) -> Result<(Count, Arc<Log>), StoreError> {
        let name = layout.log();
        let mut ask = redis::cmd("HMGET");
        ask.arg(&name).arg("e").arg("c").arg("v");
        let (epoch, count, version) = operation.lenient::<Front>(&ask).await?.0;
        let (Some(epoch), Some(count)) = (epoch, count) else {
            let count = raise(operation, layout, "").await?;
            return Ok((count, Arc::new(Log { epoch: count.epoch, ..Log::default() })));
        };
        let count = Count { epoch, count };
        let version = version.unwrap_or(0);
        let known = self.get();
        // Without a look at it nothing is known, not even that it is empty.
        if known.at.is_some() && (known.log.epoch, known.log.version) == (epoch, version) {
            return Ok((count, known.log));
        }
        let mut ask = redis::cmd("HGETALL");
        ask.arg(&name);
        let fields: Vec<(Vec<u8>, Vec<u8>)> = operation.lenient(&ask).await?;
        let mut purges = Vec::new();
        for (field, value) in fields {
            let soft = match field.first() {
                Some(b'h') => false,
                Some(b's') => true,
                _ => continue,
            };
            // What cannot be read was written by nobody who knows how: everything until now is gone, to be safe.
            let at = decimal(&value).unwrap_or(count.count);
            purges.push((field[1..].into(), at, soft));
        }
        Ok((count, Arc::new(Log { epoch, version, purges })))
    }
}

/// Raises the count and, with a field, notes a purge.
pub(super) async fn raise(operation: &Operation, layout: &Layout, field: &str) -> Result<Count, StoreError> {
    let epoch = random() as u32;
    let mut call = scripts::LOG.key(layout.log());
    call.arg(field.as_bytes()).arg(&epoch.to_be_bytes()[..]).arg(MAX_ENTRIES);
    let (epoch, count): (Vec<u8>, u32) = operation.script(&call).await?;
    let epoch = epoch.try_into().map(u32::from_be_bytes).unwrap_or_default();
    Ok(Count { epoch, count })
}

/// Epoch, count and version of the log, as far as they can be read.
#[derive(Default)]
struct Front((Option<u32>, Option<u32>, Option<u32>));

impl FromRedisValue for Front {
    fn from_redis_value(value: redis::Value) -> Result<Self, redis::ParsingError> {
        let [epoch, count, version]: [Option<Vec<u8>>; 3] = redis::from_redis_value(value)?;
        let epoch = epoch.and_then(|epoch| epoch.try_into().ok()).map(u32::from_be_bytes);
        let number = |digits: Option<Vec<u8>>| digits.and_then(|digits| decimal(&digits));
        Ok(Self((epoch, number(count), number(version))))
    }
}

fn decimal(digits: &[u8]) -> Option<u32> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

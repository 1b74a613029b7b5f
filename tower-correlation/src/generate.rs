//! Where new ids come from.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};

use crate::policy::id::CorrelationId;

/// Makes the ids of requests that bring none.
#[derive(Clone)]
pub struct Generator(Kind);

#[derive(Clone)]
enum Kind {
    Hex128,
    UuidV4,
    UuidV7,
    Ulid,
    Custom(Arc<dyn Fn() -> String + Send + Sync>),
}

impl Generator {
    /// 128 random bits as 32 hexadecimal digits, without a heap allocation: the default.
    #[must_use]
    pub const fn hex128() -> Self {
        Self(Kind::Hex128)
    }

    /// UUID version 4 (RFC 9562 §5.4): 122 random bits.
    #[must_use]
    pub const fn uuid_v4() -> Self {
        Self(Kind::UuidV4)
    }

    /// UUID version 7 (RFC 9562 §5.7): Unix milliseconds, then 74 random bits; sorts by time, those of one
    /// millisecond by chance (§6.2 leaves that open).
    #[must_use]
    pub const fn uuid_v7() -> Self {
        Self(Kind::UuidV7)
    }

    /// ULID: Unix milliseconds, then 80 random bits, 26 characters; sorts by time, those of one millisecond by chance.
    #[must_use]
    pub const fn ulid() -> Self {
        Self(Kind::Ulid)
    }

    /// Your own. What it returns must be 1 to 128 visible ASCII characters; anything else is replaced by
    /// [`Generator::hex128`].
    pub fn custom(generate: impl Fn() -> String + Send + Sync + 'static) -> Self {
        Self(Kind::Custom(Arc::new(generate)))
    }

    /// A new id.
    #[inline]
    #[must_use]
    pub fn generate(&self) -> CorrelationId {
        match &self.0 {
            Kind::Hex128 => CorrelationId::hex(random()),
            Kind::UuidV4 => CorrelationId::uuid(random(), 4),
            Kind::UuidV7 => CorrelationId::uuid_v7(millis(), random()),
            Kind::Ulid => CorrelationId::ulid(millis(), random()),
            Kind::Custom(generate) => {
                CorrelationId::new(generate().as_bytes()).unwrap_or_else(|| CorrelationId::hex(random()))
            }
        }
    }
}

impl Default for Generator {
    fn default() -> Self {
        Self::hex128()
    }
}

impl fmt::Debug for Generator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::Hex128 => "Generator::hex128",
            Kind::UuidV4 => "Generator::uuid_v4",
            Kind::UuidV7 => "Generator::uuid_v7",
            Kind::Ulid => "Generator::ulid",
            Kind::Custom(_) => "Generator::custom(<fn>)",
        })
    }
}

fn millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs() * 1000 + u64::from(since.subsec_millis())
}

/// Random bits of the width asked for.
pub(crate) trait Bits: Sized {
    fn take(pool: &mut Pool) -> Self;
}

impl Bits for u64 {
    #[inline]
    fn take(pool: &mut Pool) -> Self {
        Self::from_le_bytes(pool.take())
    }
}

impl Bits for [u8; 16] {
    #[inline]
    fn take(pool: &mut Pool) -> Self {
        pool.take()
    }
}

impl Bits for u128 {
    #[inline]
    fn take(pool: &mut Pool) -> Self {
        Self::from_le_bytes(pool.take())
    }
}

/// As many as 80 bits, for forms that begin with the time.
impl Bits for (u16, u64) {
    #[inline]
    fn take(pool: &mut Pool) -> Self {
        (u16::from_le_bytes(pool.take()), u64::take(pool))
    }
}

impl Bits for (u128, u64) {
    #[inline]
    fn take(pool: &mut Pool) -> Self {
        (u128::take(pool), u64::take(pool))
    }
}

/// A generator and the last block it gave: asking it for a word at a time costs twice as much.
pub(crate) struct Pool {
    source: ChaCha8Rng,
    block: [u8; 256],
    used: usize,
}

impl Pool {
    fn seeded() -> Self {
        Self { source: ChaCha8Rng::from_rng(&mut rand::rng()), block: [0; 256], used: 256 }
    }

    /// Bytes that nobody was given before.
    #[inline]
    fn take<const N: usize>(&mut self) -> [u8; N] {
        const { assert!(N <= 256, "a block has enough") };
        loop {
            if let Some(taken) = self.block.get(self.used..).and_then(<[u8]>::first_chunk) {
                self.used += N;
                return *taken;
            }
            self.source.fill_bytes(&mut self.block);
            self.used = 0;
        }
    }
}

thread_local! {
    static POOL: RefCell<Option<Pool>> = const { RefCell::new(None) };
}

/// Bits nobody can foresee, from a generator of this thread that the operating system seeded.
#[inline]
pub(crate) fn random<T: Bits>() -> T {
    // While a thread ends there may be no pool any more.
    POOL.try_with(|pool| T::take(pool.borrow_mut().get_or_insert_with(Pool::seeded)))
        .unwrap_or_else(|_| T::take(&mut Pool::seeded()))
}

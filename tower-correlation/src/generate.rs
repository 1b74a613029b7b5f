//! Where new ids come from.

use std::fmt;
use std::sync::Arc;

use rand::RngExt;

use crate::policy::id::CorrelationId;

/// Makes the ids of requests that bring none.
#[derive(Clone)]
pub struct Generator(Kind);

#[derive(Clone)]
enum Kind {
    Hex128,
    Custom(Arc<dyn Fn() -> String + Send + Sync>),
}

impl Generator {
    /// 128 random bits as 32 hexadecimal digits, without a heap allocation: the default.
    #[must_use]
    pub const fn hex128() -> Self {
        Self(Kind::Hex128)
    }

    /// Your own. What it returns must be 1 to 128 visible ASCII characters; anything else is replaced by
    /// [`Generator::hex128`].
    pub fn custom(generate: impl Fn() -> String + Send + Sync + 'static) -> Self {
        Self(Kind::Custom(Arc::new(generate)))
    }

    pub(crate) fn generate(&self) -> CorrelationId {
        match &self.0 {
            Kind::Hex128 => CorrelationId::hex(random()),
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
            Kind::Custom(_) => "Generator::custom(<fn>)",
        })
    }
}

/// Bits nobody can foresee, from a generator of this thread.
pub(crate) fn random<T>() -> T
where
    rand::distr::StandardUniform: rand::distr::Distribution<T>,
{
    rand::rng().random()
}

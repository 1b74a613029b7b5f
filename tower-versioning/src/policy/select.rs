//! From the version a request names to a registered one.

use std::fmt;
use std::sync::Arc;

use super::version::Version;

type Choose = dyn Fn(&[Version], Version) -> Option<Version> + Send + Sync;

/// How the version a request names selects a registered one.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum Select {
    /// The registered version equal to it. The default: no client is moved to another version silently.
    #[default]
    Exact,
    /// A request that names a major version alone (`1`) gets the newest release of it (`1.7`); other requests the equal
    /// version.
    LatestMinor,
    /// The newest registered version that is not above it; what dated versions are usually meant to do.
    NearestLower,
    /// What the function says; see [`Select::custom`].
    Custom(CustomSelect),
}

/// A selection made by a function of the caller's.
#[derive(Clone)]
pub struct CustomSelect(Arc<Choose>);

impl fmt::Debug for CustomSelect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<fn>")
    }
}

impl fmt::Debug for Select {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exact => "Exact",
            Self::LatestMinor => "LatestMinor",
            Self::NearestLower => "NearestLower",
            Self::Custom(_) => "Custom(<fn>)",
        })
    }
}

impl Select {
    /// Selects by a function of the registered versions, in ascending order, and the version named. `None`, like a
    /// version that is not registered, means unsupported.
    #[must_use]
    pub fn custom(choose: impl Fn(&[Version], Version) -> Option<Version> + Send + Sync + 'static) -> Self {
        Self::Custom(CustomSelect(Arc::new(choose)))
    }

    /// The index of the chosen one of `registered`, which is in ascending order.
    #[inline]
    pub(crate) fn choose(&self, registered: &[Version], named: Version) -> Option<usize> {
        match self {
            Self::LatestMinor if named.numbers() == 1 && named.date().is_none() && named.is_release() => {
                registered
                    .iter()
                    .rposition(|version| {
                        version.date().is_none()
                            && version.major_number() == named.major_number()
                            && version.is_release()
                    })
                    .or_else(|| find(registered, named))
            }
            Self::Exact | Self::LatestMinor => find(registered, named),
            Self::NearestLower => registered.partition_point(|version| *version <= named).checked_sub(1),
            Self::Custom(custom) => find(registered, (custom.0)(registered, named)?),
        }
    }
}

#[inline]
pub(crate) fn find(registered: &[Version], wanted: Version) -> Option<usize> {
    if registered.len() <= 8 {
        registered.iter().position(|version| *version == wanted)
    } else {
        registered.binary_search(&wanted).ok()
    }
}

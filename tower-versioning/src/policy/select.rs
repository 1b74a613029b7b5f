//! From the version a request names to a registered one.

use std::fmt;
use std::sync::Arc;

use super::spelled::Spelled;
use super::version::Version;

type Choose = dyn Fn(&[Version], Version) -> Option<Version> + Send + Sync;

/// How the version a request names selects a registered one.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum Select {
    /// The registered version equal to it. The default: no client is moved to another version silently.
    #[default]
    Exact,
    /// A request that names a major version alone (`1`) gets the newest release of it (`1.7`), passing over those that
    /// are gone as long as there is another; other requests the equal version.
    LatestMinor,
    /// The newest registered version that is not above it; what dated versions are usually meant to do. When that is
    /// gone, so is what was asked for: an older one is never served in its place.
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

    /// The index of the chosen one of `registered`. `served` are those that are not gone; a version that is named is
    /// chosen whatever it is, but not one that stands for others.
    #[inline]
    pub(crate) fn choose(
        &self,
        registered: &Registered,
        named: Version,
        served: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        match self {
            Self::Exact => registered.find(named),
            _ => self.choose_otherwise(registered, named, served),
        }
    }

    fn choose_otherwise(
        &self,
        registered: &Registered,
        named: Version,
        served: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let list = &registered.list;
        match self {
            Self::LatestMinor if named.numbers() == 1 && named.date().is_none() && named.is_release() => {
                let is_minor = |index: &usize| {
                    let version = list[*index];
                    version.date().is_none()
                        && version.major_number() == named.major_number()
                        && version.is_release()
                };
                let mut minors = (0..list.len()).rev().filter(is_minor);
                let newest = minors.clone().next();
                minors.find(|index| served(*index)).or(newest).or_else(|| registered.find(named))
            }
            Self::Exact | Self::LatestMinor => registered.find(named),
            Self::NearestLower => list.partition_point(|version| *version <= named).checked_sub(1),
            Self::Custom(custom) => registered.find((custom.0)(list, named)?),
        }
    }
}

/// Up to so many versions are looked through one by one.
const FEW: usize = 8;

/// The registered versions, in ascending order and without duplicates, and where each is found at once.
#[derive(Debug, Clone)]
pub(crate) struct Registered {
    pub(crate) list: Vec<Version>,
    /// A hash table of places in `list`, counted from one; zero is a free slot. At most a quarter is taken.
    slots: Box<[u32]>,
    pub(crate) spelled: Spelled,
}

impl Registered {
    pub(crate) fn new(list: Vec<Version>) -> Self {
        let many = if list.len() > FEW { (list.len() * 4).next_power_of_two() } else { 0 };
        let mut slots = vec![0; many].into_boxed_slice();
        for (index, version) in list.iter().enumerate().take(many) {
            let mut slot = slot(version.key(), many);
            while slots[slot] != 0 {
                slot = (slot + 1) & (many - 1);
            }
            slots[slot] = u32::try_from(index + 1).unwrap_or(0);
        }
        let spelled = Spelled::new(&list);
        Self { list, slots, spelled }
    }

    #[inline(always)]
    pub(crate) fn find(&self, wanted: Version) -> Option<usize> {
        if self.slots.is_empty() {
            return self.list.iter().position(|version| *version == wanted);
        }
        let many = self.slots.len();
        let mut slot = slot(wanted.key(), many);
        loop {
            let index = (self.slots[slot] as usize).checked_sub(1)?;
            if self.list[index] == wanted {
                return Some(index);
            }
            slot = (slot + 1) & (many - 1);
        }
    }
}

/// Fibonacci hashing: the high bits of a product depend on all bits of the key. `many` is a power of two.
#[inline]
fn slot(key: u128, many: usize) -> usize {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let folded = (key >> 64) as u64 ^ (key as u64).rotate_left(23).wrapping_mul(ODD);
    (folded.wrapping_mul(ODD) >> 32) as usize & (many - 1)
}

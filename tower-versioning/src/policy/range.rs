//! Ranges of versions.

use std::fmt;
use std::ops::Bound;
use std::str::FromStr;

use super::version::Version;

/// A range of versions, written as Asp.Versioning and NuGet write it: `1.0` (that or above), `[1.0]` (exactly),
/// `[1.0,2.0)`, `(1.0,2.0]`, `[1.0,)`, `(,2.0)`.
///
/// It is also a layer: put on a handler it answers 404 to requests of other versions; see [`guard`](crate::guard).
///
/// ```
/// use tower_versioning::{Version, VersionRange};
/// let range: VersionRange = "[1.0,2.0)".parse().unwrap();
/// assert!(range.contains(Version::literal("1.5")) && !range.contains(Version::literal("2")));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VersionRange {
    lower: Bound<Version>,
    upper: Bound<Version>,
}

/// The text is no range of versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseRangeError(());

impl fmt::Display for ParseRangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a range of versions")
    }
}

impl std::error::Error for ParseRangeError {}

impl VersionRange {
    /// Every version.
    pub const ANY: Self = Self { lower: Bound::Unbounded, upper: Bound::Unbounded };

    /// This version alone.
    #[must_use]
    pub const fn exactly(version: Version) -> Self {
        Self { lower: Bound::Included(version), upper: Bound::Included(version) }
    }

    /// This version and every later one.
    #[must_use]
    pub const fn since(version: Version) -> Self {
        Self { lower: Bound::Included(version), upper: Bound::Unbounded }
    }

    /// Every version before this one.
    #[must_use]
    pub const fn before(version: Version) -> Self {
        Self { lower: Bound::Unbounded, upper: Bound::Excluded(version) }
    }

    /// From the first version, included, to the second, excluded; no version at all where the second is not above the first.
    #[must_use]
    pub const fn between(from: Version, to: Version) -> Self {
        Self { lower: Bound::Included(from), upper: Bound::Excluded(to) }
    }

    /// Whether the version is in the range.
    #[must_use]
    pub fn contains(&self, version: Version) -> bool {
        let above = match self.lower {
            Bound::Included(lower) => version >= lower,
            Bound::Excluded(lower) => version > lower,
            Bound::Unbounded => true,
        };
        above
            && match self.upper {
                Bound::Included(upper) => version <= upper,
                Bound::Excluded(upper) => version < upper,
                Bound::Unbounded => true,
            }
    }

    /// Whether no version at all can be in the range.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match (self.lower, self.upper) {
            (Bound::Included(lower), Bound::Included(upper)) => lower > upper,
            (
                Bound::Included(lower) | Bound::Excluded(lower),
                Bound::Included(upper) | Bound::Excluded(upper),
            ) => lower >= upper,
            _ => false,
        }
    }

    /// Whether some version is in both ranges.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let lower = stricter(self.lower, other.lower, Ord::max);
        let upper = stricter(self.upper, other.upper, Ord::min);
        !self.is_empty() && !other.is_empty() && !Self { lower, upper }.is_empty()
    }
}

/// The bound that admits less.
fn stricter(a: Bound<Version>, b: Bound<Version>, choose: fn(Version, Version) -> Version) -> Bound<Version> {
    let value = |bound: Bound<Version>| match bound {
        Bound::Included(version) | Bound::Excluded(version) => Some(version),
        Bound::Unbounded => None,
    };
    match (value(a), value(b)) {
        (None, _) => b,
        (_, None) => a,
        (Some(x), Some(y)) if x == y => {
            if matches!(a, Bound::Excluded(_)) {
                a
            } else {
                b
            }
        }
        (Some(x), Some(y)) => {
            if choose(x, y) == x {
                a
            } else {
                b
            }
        }
    }
}

impl FromStr for VersionRange {
    type Err = ParseRangeError;

    fn from_str(text: &str) -> Result<Self, ParseRangeError> {
        let text = text.trim_matches(' ');
        let error = ParseRangeError(());
        let version = |text: &str| text.parse::<Version>().map_err(|_| error);
        let Some(open) = text.strip_prefix(['[', '(']) else { return Ok(Self::since(version(text)?)) };
        let Some(inner) = open.strip_suffix([']', ')']) else { return Err(error) };
        let (from_included, to_included) = (text.starts_with('['), text.ends_with(']'));
        let Some((from, to)) = inner.split_once(',') else {
            let only = version(inner.trim_matches(' '))?;
            return if from_included && to_included { Ok(Self::exactly(only)) } else { Err(error) };
        };
        let bound = |text: &str, included: bool| match text.trim_matches(' ') {
            "" => Ok(Bound::Unbounded),
            text if included => version(text).map(Bound::Included),
            text => version(text).map(Bound::Excluded),
        };
        let range = Self { lower: bound(from, from_included)?, upper: bound(to, to_included)? };
        if range.is_empty() { Err(error) } else { Ok(range) }
    }
}

impl fmt::Display for VersionRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.lower {
            Bound::Included(lower) => write!(f, "[{lower},")?,
            Bound::Excluded(lower) => write!(f, "({lower},")?,
            Bound::Unbounded => f.write_str("(,")?,
        }
        match self.upper {
            Bound::Included(upper) => write!(f, "{upper}]"),
            Bound::Excluded(upper) => write!(f, "{upper})"),
            Bound::Unbounded => f.write_str(")"),
        }
    }
}

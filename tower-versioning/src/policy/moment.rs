//! Moments on the wall clock, to the second.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::version::days_of;

const DAY: i64 = 86_400;
/// 9999-12-31T23:59:59Z: the last second an HTTP-date can name (RFC 9110 §5.6.7: four digits of year).
const LAST: i64 = 253_402_300_799;

/// A moment in Coordinated Universal Time, in whole seconds since 1970.
///
/// `Sunset` needs a moment between 1970 and 9999; [`Registry`](crate::Registry) refuses others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(i64);

impl Moment {
    /// Midnight, Coordinated Universal Time, at the start of that day.
    ///
    /// # Panics
    /// When there is no such day, or its year is not between 1970 and 9999; in a constant that is a compile error.
    #[must_use]
    pub const fn utc(year: u16, month: u8, day: u8) -> Self {
        assert!(year >= 1970 && year <= 9999, "the year is not between 1970 and 9999");
        assert!(month >= 1 && month <= 12, "there is no such month");
        assert!(day >= 1 && day as u32 <= days_of(year as u32, month as u32), "there is no such day");
        // Days from 0000-03-01, so that the leap day is the last of its year.
        let shifted = (month as i64 + 9) % 12;
        let year = year as i64 - (month <= 2) as i64;
        let days =
            year * 365 + year / 4 - year / 100 + year / 400 + (shifted * 306 + 5) / 10 + day as i64 - 1;
        Self((days - 719_468) * DAY)
    }

    /// That many seconds after (or, negative, before) the start of 1970.
    #[must_use]
    pub const fn from_unix(seconds: i64) -> Self {
        Self(seconds)
    }

    /// Seconds since the start of 1970.
    #[must_use]
    pub const fn unix(self) -> i64 {
        self.0
    }

    /// Reads an HTTP-date in any of its three forms (RFC 9110 §5.6.7).
    #[must_use]
    pub fn parse_http_date(text: &str) -> Option<Self> {
        httpdate::parse_http_date(text).ok().map(Self::from)
    }

    /// Whether an HTTP-date can name it.
    pub(crate) const fn is_http_date(self) -> bool {
        self.0 >= 0 && self.0 <= LAST
    }

    /// IMF-fixdate: `Thu, 05 Mar 2026 00:00:00 GMT`. Only for what [`Moment::is_http_date`] admits.
    pub(crate) fn http_date(self) -> String {
        let seconds = u64::try_from(self.0.clamp(0, LAST)).unwrap_or(0);
        httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds))
    }
}

impl From<SystemTime> for Moment {
    fn from(time: SystemTime) -> Self {
        let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Self(seconds(after)),
            Err(before) => Self(-seconds(before.duration())),
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_http_date() { f.write_str(&self.http_date()) } else { write!(f, "@{}", self.0) }
    }
}

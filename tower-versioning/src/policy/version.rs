//! Versions: how they are written, and their order.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// Longest status (`alpha`, `rc1`, `preview.1`) in bytes.
const MAX_STATUS: usize = 12;

/// A version of an API: `2`, `1.1`, `1.4.2`, `2026-05-01`, `2026-05-01.1`, each with an optional status such as `-beta`.
///
/// `1` and `1.0` are the same version; a status sorts below the release it precedes and is compared without regard to
/// case; dated versions sort before numbered ones.
#[derive(Clone, Copy)]
pub struct Version {
    /// `yyyymmdd`, or zero without a date.
    date: u32,
    numbers: [u32; 3],
    /// How many numbers were written.
    written: u8,
    status_length: u8,
    status: [u8; MAX_STATUS],
}

/// A text that is no version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParseVersionError;

impl fmt::Display for ParseVersionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected a version such as 2, 1.1 or 2026-05-01, with an optional status such as -beta")
    }
}

impl std::error::Error for ParseVersionError {}

impl Version {
    /// `major`
    #[must_use]
    pub const fn major(major: u32) -> Self {
        Self { date: 0, numbers: [major, 0, 0], written: 1, status_length: 0, status: [0; MAX_STATUS] }
    }

    /// `major.minor`
    #[must_use]
    pub const fn new(major: u32, minor: u32) -> Self {
        Self { numbers: [major, minor, 0], written: 2, ..Self::major(major) }
    }

    /// Parses a version; usable in constants.
    ///
    /// # Errors
    ///
    /// Whatever is not of the forms above: empty text, signs, leading or trailing dots, dates that do not exist, numbers
    /// beyond 32 bits, a status that is longer than 12 bytes or not of the form `letters` `digits` with dots inside.
    pub const fn parse(text: &str) -> Result<Self, ParseVersionError> {
        let bytes = text.as_bytes();
        let mut version = Self::major(0);
        version.written = 0;
        let mut at = 0;
        if bytes.len() >= 10 && bytes[4] == b'-' && bytes[7] == b'-' {
            version.date = match date(bytes) {
                Some(date) => date,
                None => return Err(ParseVersionError),
            };
            at = 10;
            if at < bytes.len() && bytes[at] == b'.' {
                at += 1;
            } else if at < bytes.len() && bytes[at] != b'-' {
                return Err(ParseVersionError);
            }
        }
        let dated = version.date != 0;
        if !dated || (at > 10) {
            loop {
                let start = at;
                let mut number: u32 = 0;
                while at < bytes.len() && bytes[at].is_ascii_digit() {
                    number = match number.checked_mul(10) {
                        Some(tens) => match tens.checked_add((bytes[at] - b'0') as u32) {
                            Some(number) => number,
                            None => return Err(ParseVersionError),
                        },
                        None => return Err(ParseVersionError),
                    };
                    at += 1;
                }
                if at == start || version.written == 3 {
                    return Err(ParseVersionError);
                }
                version.numbers[version.written as usize] = number;
                version.written += 1;
                if at < bytes.len() && bytes[at] == b'.' {
                    at += 1;
                } else {
                    break;
                }
            }
        }
        if at < bytes.len() {
            if bytes[at] != b'-' {
                return Err(ParseVersionError);
            }
            at += 1;
            let length = bytes.len() - at;
            if length == 0 || length > MAX_STATUS || !bytes[at].is_ascii_alphabetic() {
                return Err(ParseVersionError);
            }
            let mut index = 0;
            while index < length {
                let byte = bytes[at + index];
                let last = index + 1 == length;
                if !(byte.is_ascii_alphanumeric() || (byte == b'.' && !last)) {
                    return Err(ParseVersionError);
                }
                version.status[index] = byte;
                index += 1;
            }
            version.status_length = length as u8;
        }
        Ok(version)
    }

    /// The status, such as `beta`; empty for a release.
    #[must_use]
    pub fn status(&self) -> &str {
        std::str::from_utf8(&self.status[..usize::from(self.status_length)]).unwrap_or_default()
    }

    /// The first number.
    #[must_use]
    pub const fn major_number(&self) -> u32 {
        self.numbers[0]
    }

    fn key(&self) -> (bool, u32, [u32; 3], bool, [u8; MAX_STATUS]) {
        (
            self.date == 0,
            self.date,
            self.numbers,
            self.status_length == 0,
            self.status.map(|b| b.to_ascii_lowercase()),
        )
    }
}

/// A calendar date of the form `yyyy-mm-dd`.
const fn date(bytes: &[u8]) -> Option<u32> {
    let mut value = 0;
    let mut index = 0;
    while index < 10 {
        if index != 4 && index != 7 {
            if !bytes[index].is_ascii_digit() {
                return None;
            }
            value = value * 10 + (bytes[index] - b'0') as u32;
        }
        index += 1;
    }
    let (year, month, day) = (value / 10_000, value / 100 % 100, value % 100);
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        1..=12 => 31,
        _ => return None,
    };
    if year == 0 || day == 0 || day > days { None } else { Some(value) }
}

impl FromStr for Version {
    type Err = ParseVersionError;

    fn from_str(text: &str) -> Result<Self, ParseVersionError> {
        Self::parse(text)
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Version {}

impl std::hash::Hash for Version {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.date != 0 {
            let (year, month, day) = (self.date / 10_000, self.date / 100 % 100, self.date % 100);
            write!(f, "{year:04}-{month:02}-{day:02}")?;
        }
        for (index, number) in self.numbers[..usize::from(self.written)].iter().enumerate() {
            let dot = if index > 0 || self.date != 0 { "." } else { "" };
            write!(f, "{dot}{number}")?;
        }
        if self.status_length > 0 {
            write!(f, "-{}", self.status())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Version({self})")
    }
}

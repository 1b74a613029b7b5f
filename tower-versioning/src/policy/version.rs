//! The version value: parsed in constant time and space, ordered totally.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

/// Longest status or pre-release, in octets.
const TAG: usize = 12;
/// Longest text that can be a version: a date, two numbers of ten digits, and a status.
const LONGEST: usize = 10 + 3 * 11 + 1 + TAG;
/// The largest number a component can have.
const LARGEST: u32 = i32::MAX as u32;

/// An API version: `2`, `2.1`, `2.1.3`, `2026-03-01`, `2026-03-01.2.1`, each optionally with a status such as `-beta`
/// or `-preview.1`.
///
/// Copying is a copy of 32 octets. Versions are ordered totally: by date first (a version without a date is below all
/// dated ones), then by numbers, where missing minor and patch numbers count as zero, then by status, where any status
/// is below the release. Status is compared without regard to case, identifier by identifier as semantic versioning
/// compares pre-releases. `1`, `1.0` and `1.0.0` are equal; each is printed as it was written.
///
/// Numbers are at most 2³¹ − 1 and have no leading zeros. A status is one or more identifiers of ASCII letters and
/// digits, separated by dots, the first beginning with a letter, at most 12 octets in all.
///
/// ```
/// use tower_versioning::Version;
/// const V1: Version = Version::literal("1.0");
/// assert_eq!(V1, "1".parse().unwrap());
/// assert!(Version::literal("1-beta") < V1 && V1 < Version::literal("2026-03-01"));
/// ```
#[derive(Clone, Copy)]
pub struct Version {
    /// Date, major + 1, minor and patch in 32 bits each: one comparison orders the numbers.
    key: u128,
    tag: [u8; TAG],
    tag_length: u8,
    /// How many numbers were written; for printing only.
    numbers: Written,
}

/// How many numbers a version is written with. An enum, so that an `Option<Version>` is no larger than a version.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Written {
    None,
    One,
    Two,
    Three,
}

impl Written {
    const fn new(numbers: usize) -> Self {
        match numbers {
            0 => Self::None,
            1 => Self::One,
            2 => Self::Two,
            _ => Self::Three,
        }
    }
}

/// Why a text is not a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseVersionError {
    /// There is nothing.
    Empty,
    /// No version is that long.
    TooLong,
    /// It does not have the shape of a version.
    Malformed,
    /// A number is larger than 2³¹ − 1.
    Overflow,
    /// There is no such day.
    Date,
    /// The status is malformed or longer than 12 octets.
    Status,
}

impl fmt::Display for ParseVersionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "an empty version",
            Self::TooLong => "the version is too long",
            Self::Malformed => "not a version",
            Self::Overflow => "a number of the version is too large",
            Self::Date => "the date of the version does not exist",
            Self::Status => "the status of the version is malformed or longer than 12 characters",
        })
    }
}

impl std::error::Error for ParseVersionError {}

impl Version {
    /// A version known when the program is written; meant for constants.
    ///
    /// # Panics
    /// When the text is no version; in a constant that is a compile error.
    #[must_use]
    pub const fn literal(text: &str) -> Self {
        match Self::parse(text) {
            Ok(version) => version,
            Err(_) => panic!("not a version"),
        }
    }

    /// The version `major`. Numbers above 2³¹ − 1 become that.
    #[must_use]
    pub const fn major(major: u32) -> Self {
        Self::assemble(0, [bounded(major), 0, 0], 1)
    }

    /// The version `major.minor`. Numbers above 2³¹ − 1 become that.
    #[must_use]
    pub const fn new(major: u32, minor: u32) -> Self {
        Self::assemble(0, [bounded(major), bounded(minor), 0], 2)
    }

    /// Reads a version; usable in constants.
    ///
    /// # Errors
    /// The way in which the text is no version.
    pub const fn parse(text: &str) -> Result<Self, ParseVersionError> {
        Self::from_octets(text.as_bytes())
    }

    /// Reads what most versions are, a digit or a date, without leaving the registers; `None` for everything else.
    #[inline(always)]
    pub(crate) const fn quick(text: &[u8]) -> Option<Self> {
        match text {
            [digit @ b'0'..=b'9'] => Some(Self::assemble(0, [(*digit - b'0') as u32, 0, 0], 1)),
            [_, _, _, _, b'-', _, _, b'-', _, _] => match day(text) {
                Ok(date) => Some(Self::assemble(date, [0; 3], 0)),
                Err(_) => None,
            },
            _ => None,
        }
    }

    #[inline]
    pub(crate) const fn from_octets(text: &[u8]) -> Result<Self, ParseVersionError> {
        match Self::quick(text) {
            Some(version) => Ok(version),
            None => Self::parse_long(text),
        }
    }

    #[inline(never)]
    const fn parse_long(text: &[u8]) -> Result<Self, ParseVersionError> {
        if text.is_empty() {
            return Err(ParseVersionError::Empty);
        }
        if text.len() > LONGEST {
            return Err(ParseVersionError::TooLong);
        }
        let mut at = 0;
        let mut date = 0;
        let mut more = true;
        let mut most = 3;
        if text.len() >= 10 && text[4] == b'-' && text[7] == b'-' {
            date = match day(text) {
                Ok(date) => date,
                Err(error) => return Err(error),
            };
            most = 2;
            at = 10;
            more = at < text.len() && text[at] == b'.';
            at += more as usize;
        }
        let mut parts = [0; 3];
        let mut numbers = 0;
        while more {
            if numbers == most {
                return Err(ParseVersionError::Malformed);
            }
            (parts[numbers], at) = match number(text, at) {
                Ok(found) => found,
                Err(error) => return Err(error),
            };
            numbers += 1;
            more = at < text.len() && text[at] == b'.';
            at += more as usize;
        }
        if at == text.len() {
            Ok(Self::assemble(date, parts, numbers))
        } else if text[at] == b'-' {
            match status(text, at + 1) {
                Ok((tag, tag_length)) => Ok(Self { tag, tag_length, ..Self::assemble(date, parts, numbers) }),
                Err(error) => Err(error),
            }
        } else {
            Err(ParseVersionError::Malformed)
        }
    }

    #[inline(always)]
    const fn assemble(date: u32, parts: [u32; 3], numbers: usize) -> Self {
        let major = if numbers == 0 { 0 } else { parts[0] + 1 };
        let key = (date as u128) << 96 | (major as u128) << 64 | (parts[1] as u128) << 32 | parts[2] as u128;
        Self { key, tag: [0; TAG], tag_length: 0, numbers: Written::new(numbers) }
    }

    /// Year, month and day, when the version has a date.
    #[must_use]
    pub const fn date(&self) -> Option<(u16, u8, u8)> {
        let date = (self.key >> 96) as u32;
        if date == 0 {
            return None;
        }
        Some(((date >> 9) as u16, (date >> 5 & 0xf) as u8, (date & 0x1f) as u8))
    }

    /// The major number; zero when none was given.
    #[must_use]
    pub const fn major_number(&self) -> u32 {
        ((self.key >> 64) as u32).saturating_sub(1)
    }

    /// The minor number; zero when none was given.
    #[must_use]
    pub const fn minor_number(&self) -> u32 {
        (self.key >> 32) as u32
    }

    /// The patch number; zero when none was given.
    #[must_use]
    pub const fn patch_number(&self) -> u32 {
        self.key as u32
    }

    /// The status or pre-release, empty for a release.
    #[must_use]
    pub fn status(&self) -> &str {
        std::str::from_utf8(self.tag()).unwrap_or_default()
    }

    /// How many numbers were written, 0 to 3.
    pub(crate) const fn numbers(&self) -> u8 {
        self.numbers as u8
    }

    /// Whether it is equal and prints the same.
    pub(crate) fn is_written_as(&self, other: &Self) -> bool {
        (self.key, self.numbers(), self.tag()) == (other.key, other.numbers(), other.tag())
    }

    /// What is compared first, as one number: equal for versions that differ in status alone.
    #[inline]
    pub(crate) const fn key(&self) -> u128 {
        self.key
    }

    /// The octets of the status.
    fn tag(&self) -> &[u8] {
        &self.tag[..usize::from(self.tag_length)]
    }

    pub(crate) const fn is_release(&self) -> bool {
        self.tag_length == 0
    }

    fn compare_tags(&self, other: &Self) -> Ordering {
        match (self.tag_length, other.tag_length) {
            (0, 0) => return Ordering::Equal,
            (0, _) => return Ordering::Greater,
            (_, 0) => return Ordering::Less,
            _ => {}
        }
        let mut ours = self.tag().split(|&octet| octet == b'.');
        let mut theirs = other.tag().split(|&octet| octet == b'.');
        loop {
            let order = match (ours.next(), theirs.next()) {
                (None, None) => return Ordering::Equal,
                (None, Some(_)) => return Ordering::Less,
                (Some(_), None) => return Ordering::Greater,
                (Some(ours), Some(theirs)) => compare_identifiers(ours, theirs),
            };
            if order.is_ne() {
                return order;
            }
        }
    }
}

/// Identifiers of digits are compared as numbers and stand below all others (Semantic Versioning 2.0.0 §11).
fn compare_identifiers(ours: &[u8], theirs: &[u8]) -> Ordering {
    match (ours.iter().all(u8::is_ascii_digit), theirs.iter().all(u8::is_ascii_digit)) {
        (true, true) => ours.len().cmp(&theirs.len()).then_with(|| ours.cmp(theirs)),
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        (false, false) => {
            let lower = |octets: &'_ [u8]| octets.to_ascii_lowercase();
            lower(ours).cmp(&lower(theirs))
        }
    }
}

const fn bounded(number: u32) -> u32 {
    if number > LARGEST { LARGEST } else { number }
}

/// The status that starts there, and its length.
const fn status(text: &[u8], start: usize) -> Result<([u8; TAG], u8), ParseVersionError> {
    let length = text.len() - start;
    if length == 0 || length > TAG || !text[start].is_ascii_alphabetic() {
        return Err(ParseVersionError::Status);
    }
    let mut tag = [0; TAG];
    let mut at = 0;
    let mut identifier = 0;
    while at < length {
        let octet = text[start + at];
        if octet == b'.' {
            if at == identifier || at + 1 == length {
                return Err(ParseVersionError::Status);
            }
            identifier = at + 1;
        } else {
            let zero = at > identifier && tag[identifier] == b'0';
            if !octet.is_ascii_alphanumeric() || (zero && only_digits(text, start + identifier)) {
                return Err(ParseVersionError::Status);
            }
        }
        tag[at] = octet;
        at += 1;
    }
    Ok((tag, length as u8))
}

/// Compares whole tags: what is not written is zero. By value, so that versions stay in registers.
#[cold]
#[inline(never)]
fn same_in_any_case(ours: [u8; TAG], theirs: [u8; TAG]) -> bool {
    ours.eq_ignore_ascii_case(&theirs)
}

/// Whether the identifier that starts here is a number.
const fn only_digits(text: &[u8], mut at: usize) -> bool {
    while at < text.len() && text[at] != b'.' {
        if !text[at].is_ascii_digit() {
            return false;
        }
        at += 1;
    }
    true
}

/// A number without leading zeros, and where it ends.
const fn number(text: &[u8], start: usize) -> Result<(u32, usize), ParseVersionError> {
    let mut at = start;
    let mut value: u32 = 0;
    while at < text.len() && text[at].is_ascii_digit() {
        if at > start && value == 0 {
            return Err(ParseVersionError::Malformed);
        }
        value = match value.checked_mul(10) {
            Some(tens) if tens <= LARGEST => tens + (text[at] - b'0') as u32,
            _ => return Err(ParseVersionError::Overflow),
        };
        if value > LARGEST {
            return Err(ParseVersionError::Overflow);
        }
        at += 1;
    }
    if at == start { Err(ParseVersionError::Malformed) } else { Ok((value, at)) }
}

/// `YYYY-MM-DD` at the start of the text, as year × 512 + month × 32 + day.
#[inline(always)]
const fn day(text: &[u8]) -> Result<u32, ParseVersionError> {
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, ..] = text else {
        return Err(ParseVersionError::Malformed);
    };
    let digits = [*y1, *y2, *y3, *y4, *m1, *m2, *d1, *d2];
    // Eight octets at once: all between `0` and `9`.
    let octets = u64::from_be_bytes(digits);
    const HIGH: u64 = 0xf0f0_f0f0_f0f0_f0f0;
    let values = octets ^ 0x3030_3030_3030_3030;
    if (values | (values.wrapping_add(0x0606_0606_0606_0606))) & HIGH != 0 {
        return Err(ParseVersionError::Malformed);
    }
    // Pairs of digits to numbers up to 99, each in 16 bits.
    let pairs = (values >> 8 & 0x00ff_00ff_00ff_00ff) * 10 + (values & 0x00ff_00ff_00ff_00ff);
    let year = (pairs >> 48) as u32 * 100 + (pairs >> 32 & 0xff) as u32;
    let month = (pairs >> 16 & 0xff) as u32;
    let day = (pairs & 0xff) as u32;
    if year == 0 || month == 0 || month > 12 || day == 0 || (day > 28 && day > days_of(year, month)) {
        return Err(ParseVersionError::Date);
    }
    Ok(year << 9 | month << 5 | day)
}

/// The length of a month of the Gregorian calendar.
pub(crate) const fn days_of(year: u32, month: u32) -> u32 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

impl PartialEq for Version {
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
            && self.tag_length == other.tag_length
            && (self.tag == other.tag || same_in_any_case(self.tag, other.tag))
    }
}

impl Eq for Version {}

impl Hash for Version {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
        self.tag.to_ascii_lowercase().hash(state);
    }
}

impl PartialOrd for Version {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        self.key.cmp(&other.key).then_with(|| self.compare_tags(other))
    }
}

impl FromStr for Version {
    type Err = ParseVersionError;

    fn from_str(text: &str) -> Result<Self, ParseVersionError> {
        Self::parse(text)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((year, month, day)) = self.date() {
            write!(f, "{year:04}-{month:02}-{day:02}")?;
        }
        let parts = [self.major_number(), self.minor_number(), self.patch_number()];
        for (index, part) in parts.iter().take(usize::from(self.numbers())).enumerate() {
            let dot = if index > 0 || self.date().is_some() { "." } else { "" };
            write!(f, "{dot}{part}")?;
        }
        if !self.is_release() {
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

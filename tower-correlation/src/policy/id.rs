//! Which ids are acceptable.

use std::fmt;

/// Longest id that is ever kept, in bytes.
pub(crate) const MAX_ID: usize = 128;

/// A correlation id: 1 to 128 bytes of `A–Z a–z 0–9 . _ -` unless the validation was told otherwise; kept inline.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CorrelationId {
    length: u8,
    bytes: [u8; MAX_ID],
}

impl CorrelationId {
    /// Takes an id that is within the length limit and made of visible ASCII characters.
    pub(crate) fn new(id: &[u8]) -> Option<Self> {
        if id.is_empty() || id.len() > MAX_ID || !id.iter().all(u8::is_ascii_graphic) {
            return None;
        }
        let mut bytes = [0; MAX_ID];
        bytes[..id.len()].copy_from_slice(id);
        Some(Self { length: id.len() as u8, bytes })
    }

    /// 128 bits as 32 lower-case hexadecimal digits.
    pub(crate) fn hex(bits: u128) -> Self {
        let mut bytes = [0; MAX_ID];
        hex(bits, &mut bytes[..32]);
        Self { length: 32, bytes }
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Only ASCII gets in.
        std::str::from_utf8(&self.bytes[..usize::from(self.length)]).unwrap_or_default()
    }
}

impl fmt::Debug for CorrelationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CorrelationId({})", self.as_str())
    }
}

impl fmt::Display for CorrelationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Writes the lowest bits as lower-case hexadecimal digits, most significant first.
pub(crate) fn hex(bits: u128, out: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut bits = bits;
    for digit in out.iter_mut().rev() {
        *digit = DIGITS[(bits & 15) as usize];
        bits >>= 4;
    }
}

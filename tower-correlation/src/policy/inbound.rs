//! Which inbound id is taken over.

use http::{HeaderMap, HeaderName};

use super::id::{CorrelationId, MAX_ID};

/// What an id may look like. The default is what log tools, file names and shells take without quoting: 1 to 128 bytes of
/// `A–Z a–z 0–9 . _ -`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Validation {
    pub(crate) max_length: usize,
    pub(crate) also: &'static [u8],
}

impl Default for Validation {
    fn default() -> Self {
        Self { max_length: MAX_ID, also: b"" }
    }
}

impl Validation {
    /// Longest acceptable id in bytes; default and upper limit are 128.
    #[must_use]
    pub fn max_length(self, bytes: usize) -> Self {
        Self { max_length: bytes.min(MAX_ID), ..self }
    }

    /// Further acceptable bytes, such as `b":/+="`; only visible ASCII characters count. Default: none.
    #[must_use]
    pub fn also(self, bytes: &'static [u8]) -> Self {
        Self { also: bytes, ..self }
    }

    /// Judges one value.
    ///
    /// # Errors
    ///
    /// The reason why it is not acceptable.
    pub fn check(&self, id: &[u8]) -> Result<CorrelationId, Replaced> {
        if id.is_empty() {
            return Err(Replaced::Empty);
        }
        if id.len() > self.max_length {
            return Err(Replaced::TooLong);
        }
        let fits = |byte: &u8| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-') || self.also.contains(byte)
        };
        if !id.iter().all(fits) {
            return Err(Replaced::Alphabet);
        }
        CorrelationId::new(id).ok_or(Replaced::Alphabet)
    }
}

/// Why an inbound id was not taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Replaced {
    /// The field was there and empty.
    Empty,
    /// Longer than the limit.
    TooLong,
    /// A character outside the alphabet.
    Alphabet,
    /// Several different values in one field.
    Duplicate,
    /// The peer is not trusted to name requests.
    Untrusted,
}

/// Where the id of a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Origin {
    /// The caller named it.
    Accepted,
    /// The caller named none.
    Generated,
    /// The caller's was not acceptable.
    Replaced(Replaced),
}

/// The first of the fields that is present decides; a bad id is never repaired and never makes way for the next field.
pub(crate) fn inbound(
    headers: &HeaderMap,
    names: &[HeaderName],
    trusted: bool,
    validation: &Validation,
) -> Result<CorrelationId, Origin> {
    for name in names {
        let mut values = headers.get_all(name).iter();
        let Some(first) = values.next() else { continue };
        if !trusted {
            return Err(Origin::Replaced(Replaced::Untrusted));
        }
        if values.any(|other| other != first) {
            return Err(Origin::Replaced(Replaced::Duplicate));
        }
        return validation.check(first.as_bytes()).map_err(Origin::Replaced);
    }
    Err(Origin::Generated)
}

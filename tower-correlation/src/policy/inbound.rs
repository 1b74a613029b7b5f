//! Which inbound id is taken over.

use http::HeaderValue;

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
        self.judge(id).map(|()| CorrelationId::of(id))
    }

    fn judge(&self, id: &[u8]) -> Result<(), Replaced> {
        if id.is_empty() {
            return Err(Replaced::Empty);
        }
        if id.len() > self.max_length {
            return Err(Replaced::TooLong);
        }
        // Without a branch or a table, so that many bytes are looked at together; only what is not among these is again.
        if id.iter().fold(true, |fits, &byte| fits & in_alphabet(byte)) {
            return Ok(());
        }
        // Whatever a service allows besides, only visible characters can be in a field and in a line of a log.
        let fits = |&byte: &u8| in_alphabet(byte) || (self.also.contains(&byte) && byte.is_ascii_graphic());
        if id.iter().all(fits) { Ok(()) } else { Err(Replaced::Alphabet) }
    }
}

/// `A–Z a–z 0–9 . _ -`
#[inline]
const fn in_alphabet(byte: u8) -> bool {
    let letter = (byte | 0x20).wrapping_sub(b'a') < 26;
    letter | (byte.wrapping_sub(b'0') < 10) | (byte == b'.') | (byte == b'_') | (byte == b'-')
}

/// Why an inbound id was not taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
// A word, as what holds it is copied by words, and a word of which a byte was just written takes longer to read.
#[repr(usize)]
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

/// What the first of the fields that are present says decides; a bad id is never repaired and never makes way for the
/// next field.
///
/// # Errors
///
/// Where the id of the request comes from instead.
pub(crate) fn inbound<'a>(
    said: Option<&'a HeaderValue>,
    lines_are_equal: bool,
    trusted: bool,
    validation: &Validation,
) -> Result<&'a HeaderValue, Origin> {
    let said = said.ok_or(Origin::Generated)?;
    if !trusted {
        return Err(Origin::Replaced(Replaced::Untrusted));
    }
    if !lines_are_equal {
        return Err(Origin::Replaced(Replaced::Duplicate));
    }
    validation.judge(said.as_bytes()).map_err(Origin::Replaced)?;
    Ok(said)
}

//! Which inbound id is taken over.

use http::HeaderValue;

use super::id::{CorrelationId, MAX_ID};
use crate::error::ConfigError;

/// What an id may look like. The default is what log tools, file names and shells take without quoting: 1 to 128 bytes of
/// `A–Z a–z 0–9 . _ -`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Validation {
    max_length: usize,
    /// Visible ASCII characters, each of them.
    also: &'static [u8],
}

impl Default for Validation {
    fn default() -> Self {
        Self::new()
    }
}

impl Validation {
    const fn new() -> Self {
        Self { max_length: MAX_ID, also: b"" }
    }

    /// Starts with the default.
    pub const fn builder() -> ValidationBuilder {
        ValidationBuilder { validation: Self::new() }
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
        let fits = |byte: &u8| in_alphabet(*byte) || self.also.contains(byte);
        if id.iter().all(fits) { Ok(()) } else { Err(Replaced::Alphabet) }
    }
}

/// Settings of a [`Validation`]; made by [`Validation::builder`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct ValidationBuilder {
    validation: Validation,
}

impl ValidationBuilder {
    /// Longest acceptable id, 1 to 128 bytes. Default: 128, longer than any form in use; an id is on every line of a log.
    pub const fn max_length(mut self, bytes: usize) -> Self {
        self.validation.max_length = bytes;
        self
    }

    /// Further acceptable characters, visible ones of ASCII, such as `b":/+="`. Default: none.
    pub const fn also(mut self, characters: &'static [u8]) -> Self {
        self.validation.also = characters;
        self
    }

    /// The validation.
    ///
    /// # Errors
    ///
    /// For a length that is not within 1 to 128, and for what is no visible character of ASCII: whatever a service allows,
    /// an id stands in a field and in a line of a log.
    pub fn build(self) -> Result<Validation, ConfigError> {
        let Validation { max_length, also } = self.validation;
        if !(1..=MAX_ID).contains(&max_length) {
            return Err(ConfigError::new("max_length", format!("{max_length} is not in 1..={MAX_ID}")));
        }
        if !also.iter().all(u8::is_ascii_graphic) {
            let shown = also.escape_ascii();
            return Err(ConfigError::new(
                "also",
                format!("not all of `{shown}` are visible characters of ASCII"),
            ));
        }
        Ok(self.validation)
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

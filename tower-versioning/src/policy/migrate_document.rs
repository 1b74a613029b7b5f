//! The document in a body: read when a change first looks at it, written when one has changed it.

use std::cell::OnceCell;
use std::fmt;
use std::ops::{Deref, DerefMut};

use serde_json::Value;

/// The JSON document of a body, as the functions of changes see it. It is a [`Value`] in all but one respect: it is read
/// when a function first looks at it, and written when one took it mutably. A body of which all functions have only
/// looked, or not even that, stays octet by octet.
///
/// What says it is JSON and is not looks like `null` to a function, and then the request is refused, or the response
/// becomes 500, whatever the functions make of it. Whoever does not look has nothing to translate, so a body that nobody
/// looked at passes whatever it is.
pub struct Document<'a> {
    text: &'a str,
    value: OnceCell<Value>,
    error: OnceCell<serde_json::Error>,
    changed: bool,
}

impl<'a> Document<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, value: OnceCell::new(), error: OnceCell::new(), changed: false }
    }

    /// Whether it was taken mutably, so that its text is perhaps no more what it says.
    pub(crate) fn is_changed(&self) -> bool {
        self.changed
    }

    /// Why it could not be read.
    pub(crate) fn error(&mut self) -> Option<serde_json::Error> {
        self.error.take()
    }

    /// What is to be written in its place, if anything.
    pub(crate) fn written(self) -> Result<Option<Vec<u8>>, serde_json::Error> {
        let Some(value) = self.value.into_inner().filter(|_| self.changed) else { return Ok(None) };
        // Mostly it is about as long as before.
        let mut written = Vec::with_capacity(self.text.len() + self.text.len() / 8);
        serde_json::to_writer(&mut written, &value)?;
        Ok(Some(written))
    }
}

impl Deref for Document<'_> {
    type Target = Value;

    fn deref(&self) -> &Value {
        self.value.get_or_init(|| match serde_json::from_str(self.text) {
            Ok(value) => value,
            Err(error) => {
                let _ = self.error.set(error);
                Value::Null
            }
        })
    }
}

impl DerefMut for Document<'_> {
    fn deref_mut(&mut self) -> &mut Value {
        self.changed = true;
        let _ = Self::deref(self);
        self.value.get_mut().expect("it has just been read")
    }
}

impl fmt::Debug for Document<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document").field("changed", &self.changed).finish_non_exhaustive()
    }
}

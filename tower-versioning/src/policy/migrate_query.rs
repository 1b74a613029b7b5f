//! The query of a target, pair by pair.

use std::borrow::Cow;
use std::fmt::Write;

use http::Uri;
use http::uri::PathAndQuery;

use crate::error::BoxError;

/// The pairs of a query. What is not touched keeps every octet and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    pairs: Vec<String>,
    touched: bool,
}

impl Query {
    pub(crate) fn of(uri: &Uri) -> Self {
        let pairs = uri.query().map_or_else(Vec::new, |query| query.split('&').map(str::to_owned).collect());
        Self { pairs, touched: false }
    }

    /// The first value of that name, decoded; empty for a name without one.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<String> {
        let pair = self.pairs.iter().find(|pair| is_named(pair, name))?;
        Some(decoded(pair.split_once('=').map_or("", |(_, value)| value)).into_owned())
    }

    /// Replaces the first pair of that name and removes the others; appends one where there was none.
    pub fn set(&mut self, name: &str, value: &str) {
        let pair = format!("{}={}", encoded(name), encoded(value));
        match self.pairs.iter().position(|pair| is_named(pair, name)) {
            Some(place) => {
                self.remove_from(place + 1, name);
                self.pairs[place] = pair;
            }
            None => self.pairs.push(pair),
        }
        self.touched = true;
    }

    /// Gives all pairs of a name another one; values keep every octet.
    pub fn rename(&mut self, from: &str, to: &str) {
        let to = encoded(to);
        for pair in self.pairs.iter_mut().filter(|pair| is_named(pair, from)) {
            *pair = match pair.split_once('=') {
                Some((_, value)) => format!("{to}={value}"),
                None => to.clone(),
            };
            self.touched = true;
        }
    }

    /// Removes all pairs of that name; the first value, decoded, if there was one.
    pub fn remove(&mut self, name: &str) -> Option<String> {
        let value = self.get(name)?;
        self.remove_from(0, name);
        Some(value)
    }

    fn remove_from(&mut self, place: usize, name: &str) {
        let mut index = 0;
        self.pairs.retain(|pair| {
            index += 1;
            index <= place || !is_named(pair, name)
        });
        self.touched = true;
    }

    pub(crate) fn write_to(&self, uri: &mut Uri) -> Result<(), BoxError> {
        if !self.touched {
            return Ok(());
        }
        let mut target = uri.path().to_owned();
        for (index, pair) in self.pairs.iter().enumerate() {
            target.push(if index == 0 { '?' } else { '&' });
            target.push_str(pair);
        }
        let mut parts = uri.clone().into_parts();
        parts.path_and_query = Some(PathAndQuery::try_from(target)?);
        *uri = Uri::from_parts(parts)?;
        Ok(())
    }
}

fn is_named(pair: &str, name: &str) -> bool {
    decoded(pair.split('=').next().unwrap_or_default()) == name
}

/// `application/x-www-form-urlencoded`, as queries are written; a sequence that encodes nothing stands for itself.
fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let octets = text.as_bytes();
    let mut out = Vec::with_capacity(octets.len());
    let mut at = 0;
    while at < octets.len() {
        let hex = |index: usize| octets.get(index).and_then(|&digit| char::from(digit).to_digit(16));
        let (octet, length) = match (octets[at], hex(at + 1), hex(at + 2)) {
            (b'+', ..) => (b' ', 1),
            (b'%', Some(high), Some(low)) => ((high * 16 + low) as u8, 3),
            (octet, ..) => (octet, 1),
        };
        out.push(octet);
        at += length;
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for octet in text.bytes() {
        if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
            out.push(char::from(octet));
        } else {
            let _ = write!(out, "%{octet:02X}");
        }
    }
    out
}

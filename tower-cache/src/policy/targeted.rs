//! Targeted cache control (RFC 9213): a Dictionary of Structured Fields (RFC 9651), read as strictly as that asks. A
//! field that is none is ignored as a whole, and `Cache-Control` counts.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::directives::{Qualified, ResponseDirectives, Seconds};

/// The directives of the first of these fields that is valid and not empty (RFC 9213 §2.2).
pub(crate) fn directives(headers: &HeaderMap, fields: &[HeaderName]) -> Option<ResponseDirectives> {
    fields.iter().find_map(|field| {
        let lines: Vec<&[u8]> = headers.get_all(field).iter().map(HeaderValue::as_bytes).collect();
        let field = lines.join(&b", "[..]);
        of_members(&dictionary(&field).filter(|members| !members.is_empty())?)
    })
}

/// `None` where a directive has a value of another type than it should: what was meant is anybody's guess.
fn of_members(members: &[(&[u8], Item)]) -> Option<ResponseDirectives> {
    let mut directives = ResponseDirectives { targeted: true, ..ResponseDirectives::default() };
    for (name, item) in members {
        match *name {
            b"max-age" => directives.max_age = item.seconds()?,
            b"s-maxage" => directives.s_maxage = item.seconds()?,
            b"stale-while-revalidate" => directives.stale_while_revalidate = item.seconds()?,
            b"stale-if-error" => directives.stale_if_error = item.seconds()?,
            b"no-store" => directives.no_store = item.flag()?,
            b"public" => directives.public = item.flag()?,
            b"must-revalidate" => directives.must_revalidate = item.flag()?,
            b"proxy-revalidate" => directives.proxy_revalidate = item.flag()?,
            b"must-understand" => directives.must_understand = item.flag()?,
            b"no-cache" => directives.no_cache = item.qualified()?,
            b"private" => directives.private = item.qualified()?,
            _ => {}
        }
    }
    Some(directives)
}

/// A value, as far as directives have it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    Boolean(bool),
    Integer(i64),
    Text(Vec<u8>),
    /// Valid, and no value any directive has.
    Other,
}

impl Item {
    fn flag(&self) -> Option<bool> {
        if let Self::Boolean(value) = self { Some(*value) } else { None }
    }

    fn seconds(&self) -> Option<Seconds> {
        let Self::Integer(value) = self else { return None };
        const GREATEST: u32 = 1 << 31;
        if *value < 0 {
            return Some(Seconds::Invalid);
        }
        Some(Seconds::Valid(u32::try_from(*value).unwrap_or(GREATEST).min(GREATEST)))
    }

    fn qualified(&self) -> Option<Qualified> {
        match self {
            Self::Boolean(true) => Some(Qualified::Whole),
            Self::Boolean(false) => Some(Qualified::Absent),
            Self::Text(fields) => {
                let mut qualified = Qualified::Absent;
                qualified.add(Some(fields));
                Some(qualified)
            }
            Self::Integer(_) | Self::Other => None,
        }
    }
}

/// As many as have to be understood (RFC 9651 §3.2).
const MAX_MEMBERS: usize = 1024;

/// The members of a Dictionary (RFC 9651 §4.2.2); of equal keys the last counts.
fn dictionary(field: &[u8]) -> Option<Vec<(&[u8], Item)>> {
    let mut input = Input { rest: trim_spaces(field) };
    let mut members: Vec<(&[u8], Item)> = Vec::new();
    while !input.rest.is_empty() {
        let key = input.key()?;
        let item = if input.take(b'=') { input.member()? } else { Item::Boolean(true) };
        input.parameters()?;
        members.retain(|(known, _)| *known != key);
        members.push((key, item));
        if members.len() > MAX_MEMBERS {
            return None;
        }
        input.skip(b" \t");
        if input.rest.is_empty() {
            return Some(members);
        }
        if !input.take(b',') {
            return None;
        }
        input.skip(b" \t");
        if input.rest.is_empty() {
            return None;
        }
    }
    Some(members)
}

fn trim_spaces(mut field: &[u8]) -> &[u8] {
    while let [b' ', rest @ ..] | [rest @ .., b' '] = field {
        field = rest;
    }
    field
}

struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    fn take(&mut self, byte: u8) -> bool {
        let found = self.rest.first() == Some(&byte);
        if found {
            self.rest = &self.rest[1..];
        }
        found
    }

    fn skip(&mut self, bytes: &[u8]) {
        while self.rest.first().is_some_and(|byte| bytes.contains(byte)) {
            self.rest = &self.rest[1..];
        }
    }

    /// The longest start that `accepted` holds for.
    fn run(&mut self, accepted: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.rest.iter().position(|byte| !accepted(*byte)).unwrap_or(self.rest.len());
        let (run, rest) = self.rest.split_at(end);
        self.rest = rest;
        run
    }

    fn key(&mut self) -> Option<&'a [u8]> {
        self.rest.first().filter(|byte| byte.is_ascii_lowercase() || **byte == b'*')?;
        Some(self.run(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.*".contains(&byte)))
    }

    /// An item, or a list of items in parentheses.
    fn member(&mut self) -> Option<Item> {
        if !self.take(b'(') {
            return self.bare();
        }
        loop {
            self.skip(b" ");
            if self.take(b')') {
                return Some(Item::Other);
            }
            self.bare()?;
            self.parameters()?;
            if !matches!(self.rest.first(), Some(b' ' | b')')) {
                return None;
            }
        }
    }

    fn parameters(&mut self) -> Option<()> {
        while self.take(b';') {
            self.skip(b" ");
            self.key()?;
            if self.take(b'=') {
                self.bare()?;
            }
        }
        Some(())
    }

    fn bare(&mut self) -> Option<Item> {
        match *self.rest.first()? {
            b'-' | b'0'..=b'9' => self.number(),
            b'"' => self.string(),
            b'?' => {
                self.take(b'?');
                let value = self.take(b'1');
                (value || self.take(b'0')).then_some(Item::Boolean(value))
            }
            b':' => {
                self.take(b':');
                self.run(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte));
                self.take(b':').then_some(Item::Other)
            }
            b'@' => {
                self.take(b'@');
                matches!(self.number()?, Item::Integer(_)).then_some(Item::Other)
            }
            b'%' => {
                self.take(b'%');
                self.string().map(|_| Item::Other)
            }
            first if first.is_ascii_alphabetic() || first == b'*' => {
                self.run(|byte| byte.is_ascii_alphanumeric() || b":/!#$%&'*+-.^_`|~".contains(&byte));
                Some(Item::Other)
            }
            _ => None,
        }
    }

    /// At most fifteen digits, or twelve and three behind a point (RFC 9651 §4.2.4).
    fn number(&mut self) -> Option<Item> {
        let negative = self.take(b'-');
        let digits = self.run(|byte| byte.is_ascii_digit());
        if self.rest.first() == Some(&b'.') {
            self.take(b'.');
            let fraction = self.run(|byte| byte.is_ascii_digit());
            let fits = (1..=12).contains(&digits.len()) && (1..=3).contains(&fraction.len());
            return fits.then_some(Item::Other);
        }
        if !(1..=15).contains(&digits.len()) {
            return None;
        }
        let value = digits.iter().fold(0_i64, |value, digit| value * 10 + i64::from(digit - b'0'));
        Some(Item::Integer(if negative { -value } else { value }))
    }

    fn string(&mut self) -> Option<Item> {
        if !self.take(b'"') {
            return None;
        }
        let mut text = Vec::new();
        loop {
            let (first, rest) = self.rest.split_first()?;
            self.rest = rest;
            match *first {
                b'"' => return Some(Item::Text(text)),
                b'\\' => {
                    let (escaped, rest) = self.rest.split_first()?;
                    self.rest = rest;
                    if !matches!(escaped, b'"' | b'\\') {
                        return None;
                    }
                    text.push(*escaped);
                }
                byte @ 0x20..=0x7e => text.push(byte),
                _ => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(lines: &[&str]) -> Option<ResponseDirectives> {
        const FIELD: HeaderName = HeaderName::from_static("cdn-cache-control");
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FIELD, line.parse().unwrap());
        }
        directives(&headers, &[FIELD])
    }

    #[test]
    fn directives_are_typed() {
        let read =
            ask(&["max-age=60;x=1, no-store=?0", "private, unknown=(a \"b\" 1.5);q, stale-if-error=7"])
                .unwrap();
        assert_eq!(read.max_age, Seconds::Valid(60));
        assert_eq!(read.stale_if_error, Seconds::Valid(7));
        assert_eq!(read.private, Qualified::Whole);
        assert!(!read.no_store && read.targeted);
        assert_eq!(ask(&["max-age=1, max-age=2"]).unwrap().max_age, Seconds::Valid(2), "the last counts");
        assert_eq!(ask(&["max-age=99999999999"]).unwrap().max_age, Seconds::Valid(1 << 31));
        assert_eq!(ask(&["max-age=-1"]).unwrap().max_age, Seconds::Invalid);
        assert!(matches!(ask(&["no-cache=\"x-a\""]).unwrap().no_cache, Qualified::Fields(_)));
    }

    #[test]
    fn what_is_no_dictionary_is_no_field() {
        assert!(ask(&["max-age=60"]).is_some());
        for wrong in [
            "",
            "max-age=60, &&&",
            "max-age =60",
            "max-age= 60",
            "MaX-aGe=60",
            "max-age=\"60\"",
            "max-age=60.5",
            "max-age=60,",
            ",max-age=60",
            "max-age=1234567890123456",
            "no-store=1",
            "a=\"b",
            "a=(b",
            "a=:b",
            "a=?2",
            "max-age=60 b",
            "max-age",
        ] {
            assert_eq!(ask(&[wrong]), None, "{wrong}");
        }
        assert_eq!(ask(&[]), None);
    }
}

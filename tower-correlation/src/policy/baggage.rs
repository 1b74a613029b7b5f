//! `baggage` (W3C Baggage): name-value pairs that travel with a request.

use std::fmt::Write;

/// How much baggage is taken along; what does not fit is left behind, whole members from the end on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BaggageLimits {
    pub(crate) members: usize,
    pub(crate) bytes: usize,
}

impl Default for BaggageLimits {
    /// 64 members and 8192 bytes, which every platform has to pass on (§3.3.2).
    fn default() -> Self {
        Self { members: 64, bytes: 8192 }
    }
}

impl BaggageLimits {
    /// Most members; default 64.
    #[must_use]
    pub fn members(self, members: usize) -> Self {
        Self { members, ..self }
    }

    /// Most bytes in all; default 8192.
    #[must_use]
    pub fn bytes(self, bytes: usize) -> Self {
        Self { bytes, ..self }
    }
}

/// Valid baggage within its limits, in the order received; values stay percent-encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Baggage {
    list: String,
}

impl Baggage {
    /// Joins the field lines. Members that break the grammar are left out, as are those beyond the limits; `None` when
    /// none is left.
    #[must_use]
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a [u8]>, limits: BaggageLimits) -> Option<Self> {
        let mut list = String::new();
        let mut count = 0;
        for member in lines.into_iter().flat_map(|line| line.split(|&byte| byte == b',')) {
            let Some(member) = std::str::from_utf8(member).ok().map(trim).filter(|m| valid(m)) else {
                continue;
            };
            if count == limits.members || list.len() + usize::from(count > 0) + member.len() > limits.bytes {
                break;
            }
            if count > 0 {
                list.push(',');
            }
            list.push_str(member);
            count += 1;
        }
        (count > 0).then_some(Self { list })
    }

    /// The decoded value of the first member of that name; what is no UTF-8 becomes U+FFFD.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<String> {
        self.list.split(',').find_map(|member| {
            let (name, value) = member.split(';').next()?.split_once('=')?;
            (trim(name) == key).then(|| decode(trim(value)))
        })
    }

    /// Baggage with the member added or replaced; the value is percent-encoded. `None` when the key is no token or the
    /// result would exceed the default limits.
    #[must_use]
    pub fn with(baggage: Option<&Self>, key: &str, value: &str) -> Option<Self> {
        let limits = BaggageLimits::default();
        let mut list = format!("{key}=");
        encode(value, &mut list);
        if !token(key) || !valid(&list) {
            return None;
        }
        let mut count = 1;
        for member in baggage.into_iter().flat_map(|baggage| baggage.list.split(',')) {
            if member.split_once('=').is_some_and(|(name, _)| trim(name) == key) {
                continue;
            }
            list.push(',');
            list.push_str(member);
            count += 1;
        }
        (count <= limits.members && list.len() <= limits.bytes).then_some(Self { list })
    }

    /// The field value.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.list
    }
}

/// `key = value *( ; property )` (§3.3.1).
fn valid(member: &str) -> bool {
    let mut parts = member.split(';');
    let main = parts.next().and_then(|part| part.split_once('='));
    let Some((key, value)) = main else { return false };
    token(trim(key))
        && octets(trim(value))
        && parts.all(|property| match property.split_once('=') {
            Some((key, value)) => token(trim(key)) && octets(trim(value)),
            None => token(trim(property)),
        })
}

/// Without the optional white space around it (RFC 9110 §5.6.3): of what Unicode calls white space, only two are.
fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

fn token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// `baggage-octet`: printable ASCII without space, quote, comma, semicolon and backslash.
fn octets(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, 0x21 | 0x23..=0x2b | 0x2d..=0x3a | 0x3c..=0x5b | 0x5d..=0x7e))
}

fn encode(value: &str, list: &mut String) {
    for byte in value.bytes() {
        if octets(std::str::from_utf8(&[byte]).unwrap_or(" ")) && byte != b'%' {
            list.push(char::from(byte));
        } else {
            let _ = write!(list, "%{byte:02X}");
        }
    }
}

fn decode(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let [first, more @ ..] = rest {
        let escaped = match rest {
            [b'%', high, low, ..] => char::from(*high)
                .to_digit(16)
                .zip(char::from(*low).to_digit(16))
                .map(|(h, l)| (h * 16 + l) as u8),
            _ => None,
        };
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &rest[3..] } else { more };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

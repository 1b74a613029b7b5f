//! Text around a version: `v{version}`, `application/vnd.orders.v{version}+json`, `{version}.api.example.com`.

use super::version::Version;

/// The place of the version in a template.
const PLACE: &str = "{version}";

/// What stands before and after a version. ASCII letters match in either case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    before: Box<[u8]>,
    after: Box<[u8]>,
}

impl Template {
    /// `None` unless `{version}` stands in it exactly once.
    pub(crate) fn new(text: &str) -> Option<Self> {
        let (before, after) = text.split_once(PLACE)?;
        let once = !after.contains(['{', '}']) && !before.contains(['{', '}']);
        once.then(|| Self { before: before.as_bytes().into(), after: after.as_bytes().into() })
    }

    /// A version after that text.
    pub(crate) fn prefix(before: &str) -> Self {
        Self { before: before.as_bytes().into(), after: Box::default() }
    }

    /// What stands before the version, when that is one octet and nothing stands after it.
    pub(crate) fn letter(&self) -> Option<u8> {
        match (&*self.before, &*self.after) {
            ([letter], []) => Some(*letter),
            _ => None,
        }
    }

    /// The template with a version in its place.
    pub(crate) fn write(&self, version: Version) -> String {
        let (before, after) = (String::from_utf8_lossy(&self.before), String::from_utf8_lossy(&self.after));
        format!("{before}{version}{after}")
    }

    /// What stands in the version's place, when the text has the shape of the template. A version begins with a digit,
    /// so `voucher` is no match of `v{version}`.
    #[inline(always)]
    pub(crate) fn capture<'a>(&self, text: &'a [u8]) -> Option<&'a [u8]> {
        // The shortest first: most templates are a letter and a version.
        let rest = match (&*self.before, text) {
            ([letter], [first, rest @ ..]) if first.eq_ignore_ascii_case(letter) => rest,
            ([_], _) => return None,
            _ => {
                let (before, rest) = text.split_at_checked(self.before.len())?;
                before.eq_ignore_ascii_case(&self.before).then_some(rest)?
            }
        };
        if !rest.first()?.is_ascii_digit() {
            return None;
        }
        if self.after.is_empty() {
            return Some(rest);
        }
        let (version, after) = rest.split_at_checked(rest.len().checked_sub(self.after.len())?)?;
        (!version.is_empty() && after.eq_ignore_ascii_case(&self.after)).then_some(version)
    }
}

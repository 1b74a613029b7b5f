//! The name of a breaker, bulkhead or throttle, which each rejection takes along.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// Names are mostly literals. A count of references would be written by every rejection of every thread, and that alone
/// would be a good part of what a rejection costs.
#[derive(Clone)]
pub(crate) enum Name {
    Literal(&'static str),
    Shared(Arc<str>),
}

impl From<&Cow<'static, str>> for Name {
    fn from(name: &Cow<'static, str>) -> Self {
        match name {
            Cow::Borrowed(name) => Self::Literal(name),
            Cow::Owned(name) => Self::Shared(Arc::from(&**name)),
        }
    }
}

impl Deref for Name {
    type Target = str;

    #[inline]
    fn deref(&self) -> &str {
        match self {
            Self::Literal(name) => name,
            Self::Shared(name) => name,
        }
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Name {}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_its_text_wherever_that_is_kept() {
        let [literal, owned] =
            [Cow::Borrowed("orders"), Cow::Owned("orders".to_owned())].map(|name| Name::from(&name));
        assert_eq!(literal, owned.clone());
        assert_eq!(format!("{literal} {owned:?}"), "orders \"orders\"");
        assert_ne!(literal, Name::Literal("order"));
        assert!(matches!((literal, owned), (Name::Literal(_), Name::Shared(_))));
    }
}

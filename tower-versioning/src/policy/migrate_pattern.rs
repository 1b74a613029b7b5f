//! Patterns of paths that changes are about.

/// `/orders/{id}`, `/files/{*rest}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    segments: Box<[Segment]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Literal(Box<str>),
    One,
    Rest,
}

impl Pattern {
    pub(crate) fn new(text: &str) -> Option<Self> {
        let texts: Vec<&str> = text.strip_prefix('/')?.split('/').collect();
        let segment = |(index, text): (usize, &&str)| {
            let Some(name) = text.strip_prefix('{') else {
                return (!text.contains(['{', '}', '?', '#'])).then(|| Segment::Literal((*text).into()));
            };
            let name = name.strip_suffix('}').filter(|name| !name.contains(['{', '}']))?;
            match name.strip_prefix('*') {
                Some(rest) => (!rest.is_empty() && index + 1 == texts.len()).then_some(Segment::Rest),
                None => (!name.is_empty()).then_some(Segment::One),
            }
        };
        let segments = texts.iter().enumerate().map(segment).collect::<Option<_>>()?;
        Some(Self { segments })
    }

    /// Octet by octet, as the path was sent.
    pub(crate) fn matches(&self, path: &str) -> bool {
        let Some(path) = path.strip_prefix('/') else { return false };
        let mut sent = path.split('/');
        for segment in &self.segments {
            let Some(text) = sent.next() else { return false };
            match segment {
                Segment::Rest => return !text.is_empty() || sent.next().is_some(),
                Segment::One if text.is_empty() => return false,
                Segment::Literal(literal) if **literal != *text => return false,
                Segment::One | Segment::Literal(_) => {}
            }
        }
        sent.next().is_none()
    }
}

//! What most answers say, and what handlers are told about most requests, in static memory, where a clone counts no references and nothing has to be held for it.
//!
//! Registries are made when a program starts and seldom replaced, and what one says is mostly what the one before said.
//! So each distinct text, and each distinct answer, is kept once and for the life of the program; and only so much that
//! a program that makes up versions for ever does not grow for ever. What finds no room is said by counted references.

use std::collections::{HashMap, HashSet};
use std::sync::{LazyLock, Mutex, PoisonError};

use http::HeaderValue;

use crate::policy::source::SourceKind;
use crate::resolved::Facts;

/// Most octets that are kept, of texts, answers and facts together.
const MOST: usize = 256 << 10;

/// The fields of an answer. Absent ones are not said.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) vary: Option<HeaderValue>,
    pub(crate) version: Option<HeaderValue>,
    pub(crate) supported: Option<HeaderValue>,
    pub(crate) deprecated: Option<HeaderValue>,
}

/// The values of an answer, in the order of its fields.
pub(crate) type Values<'a> = [Option<&'a HeaderValue>; 4];

/// All that tells facts apart: versions that are equal may be written in different ways.
type Said = (String, Option<String>, Option<SourceKind>, bool, bool);

#[derive(Debug, Default)]
struct Kept {
    texts: HashSet<&'static str>,
    answers: HashMap<[Option<&'static str>; 4], &'static Answer>,
    facts: HashMap<Said, &'static Facts>,
    octets: usize,
}

static KEPT: LazyLock<Mutex<Kept>> = LazyLock::new(Mutex::default);

/// The answer with these values; `None` when there is no room for it.
pub(crate) fn answer(values: Values<'_>) -> Option<&'static Answer> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner).answer(values)
}

/// The same facts; `None` when there is no room for them.
pub(crate) fn facts(facts: &Facts) -> Option<&'static Facts> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner).facts(facts)
}

impl Kept {
    fn facts(&mut self, facts: &Facts) -> Option<&'static Facts> {
        let Facts { version, requested, source, deprecated, moved } = *facts;
        let said = (version.to_string(), requested.map(|r| r.to_string()), source, deprecated, moved);
        if let Some(facts) = self.facts.get(&said) {
            return Some(facts);
        }
        self.take(size_of::<Facts>())?;
        let facts: &'static Facts = Box::leak(Box::new(*facts));
        self.facts.insert(said, facts);
        Some(facts)
    }

    fn answer(&mut self, values: Values<'_>) -> Option<&'static Answer> {
        let mut texts = [None; 4];
        for (text, value) in texts.iter_mut().zip(values) {
            if let Some(value) = value {
                *text = Some(self.text(value.to_str().ok()?)?);
            }
        }
        if let Some(answer) = self.answers.get(&texts) {
            return Some(answer);
        }
        self.take(size_of::<Answer>())?;
        let [vary, version, supported, deprecated] = texts.map(|text| text.map(HeaderValue::from_static));
        let answer: &'static Answer = Box::leak(Box::new(Answer { vary, version, supported, deprecated }));
        self.answers.insert(texts, answer);
        Some(answer)
    }

    fn text(&mut self, text: &str) -> Option<&'static str> {
        if let Some(text) = self.texts.get(text) {
            return Some(text);
        }
        self.take(text.len())?;
        let text: &'static str = Box::leak(text.into());
        self.texts.insert(text);
        Some(text)
    }

    fn take(&mut self, octets: usize) -> Option<()> {
        let all = self.octets.checked_add(octets).filter(|all| *all <= MOST)?;
        self.octets = all;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::version::Version;

    #[test]
    fn each_answer_is_kept_once_and_only_so_much() {
        let mut kept = Kept::default();
        let value = |number: usize| HeaderValue::from(number);
        let (one, two) = (value(1), value(2));
        let first = kept.answer([Some(&one), Some(&two), None, None]).expect("room");
        assert_eq!((first.vary.as_ref(), first.version.as_ref()), (Some(&one), Some(&two)));
        assert!(first.supported.is_none() && first.deprecated.is_none());
        let octets = kept.octets;
        let again = kept.answer([Some(&one), Some(&two), None, None]).expect("kept");
        assert!(std::ptr::eq(first, again) && kept.octets == octets);
        let refused = (3..).find(|number| kept.answer([None, Some(&value(*number)), None, None]).is_none());
        assert!(refused.is_some_and(|number| number > 1000) && kept.octets <= MOST);
        assert!(kept.answer([Some(&one), Some(&two), None, None]).is_some(), "what is kept stays");
    }

    #[test]
    fn facts_are_told_apart_by_how_versions_are_written() {
        let mut kept = Kept::default();
        let facts = |text: &str| Facts {
            version: Version::major(1),
            requested: Version::parse(text).ok(),
            source: Some(SourceKind::Path),
            deprecated: false,
            moved: false,
        };
        let first = kept.facts(&facts("1")).expect("room");
        let octets = kept.octets;
        assert!(std::ptr::eq(first, kept.facts(&facts("1")).expect("kept")) && kept.octets == octets);
        let other = kept.facts(&facts("1.0")).expect("room");
        assert_eq!(other.requested.map(|version| version.to_string()).as_deref(), Some("1.0"));
        let full = (0..).find(|number| kept.facts(&facts(&format!("1.{number}"))).is_none());
        assert!(full.is_some_and(|number| number > 1000) && kept.octets <= MOST);
    }
}

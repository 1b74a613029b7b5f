use std::time::Duration;

use http::request::Parts;
use http::{Method, header};

/// Whether doing it twice is doing it once: an idempotent method (RFC 9110 §9.2.2), or a key by which the upstream knows
/// the second one (draft-ietf-httpapi-idempotency-key-header).
pub(crate) fn idempotent(parts: &Parts) -> bool {
    matches!(
        parts.method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    ) || parts.headers.contains_key("idempotency-key")
}

/// Whether the exchange becomes a connection of its own, which nobody can do again.
pub(crate) fn takes_over(parts: &Parts) -> bool {
    parts.method == Method::CONNECT || parts.headers.contains_key(header::UPGRADE)
}

/// What an attempt came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// An answer to give to the caller.
    Well,
    /// Nothing was worked on: no connection, or a refused stream.
    Unsent,
    /// An error, and nobody knows how far the request came.
    Broken,
    /// A rejection of this side: the upstream was not asked.
    Rejected,
    /// An answer that calls for another attempt, perhaps after a wait that the upstream names.
    Asks(Option<Duration>),
    /// An answer that would, if the upstream did not forbid it.
    Forbids,
}

/// What there is to know about the request when an attempt has ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Situation {
    /// Attempts so far.
    pub(crate) made: u32,
    pub(crate) max: u32,
    pub(crate) idempotent: bool,
    /// The content can be sent once more.
    pub(crate) replayable: bool,
    /// The next attempt goes to another endpoint.
    pub(crate) elsewhere: bool,
    /// Longest wait that an upstream may ask for.
    pub(crate) longest: Duration,
    /// Time left until the deadline.
    pub(crate) left: Option<Duration>,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// The result is the caller's.
    Done,
    /// It is the caller's, although another attempt would have been worth it.
    Refused(Refused),
    /// Another attempt after this wait.
    Again(Duration),
}

/// Why there is no other attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    Attempts,
    Budget,
    Deadline,
    Forbidden,
    NotIdempotent,
    Body,
    Rejected,
    Unready,
}

impl Situation {
    /// `backoff` is the wait when nobody names one.
    pub(crate) fn next(&self, ended: Ended, backoff: Duration) -> Next {
        let wait = match ended {
            Ended::Well => return Next::Done,
            Ended::Forbids => return Next::Refused(Refused::Forbidden),
            Ended::Rejected if !self.elsewhere => return Next::Refused(Refused::Rejected),
            Ended::Broken | Ended::Asks(_) if !self.idempotent => {
                return Next::Refused(Refused::NotIdempotent);
            }
            // Another endpoint did not ask for a wait.
            _ if self.elsewhere => Duration::ZERO,
            Ended::Asks(Some(wait)) if wait > self.longest => return Next::Refused(Refused::Forbidden),
            Ended::Asks(Some(wait)) => wait,
            Ended::Unsent | Ended::Broken | Ended::Rejected | Ended::Asks(None) => backoff,
        };
        if self.made >= self.max {
            return Next::Refused(Refused::Attempts);
        }
        if !self.replayable {
            return Next::Refused(Refused::Body);
        }
        // At the deadline itself there is no time for an answer.
        if self.left.is_some_and(|left| wait >= left) {
            return Next::Refused(Refused::Deadline);
        }
        Next::Again(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const PLAIN: Situation = Situation {
        made: 1,
        max: 2,
        idempotent: true,
        replayable: true,
        elsewhere: false,
        longest: Duration::from_millis(100),
        left: Some(Duration::from_millis(1000)),
    };

    fn refused(situation: Situation, ended: Ended) -> Refused {
        match situation.next(ended, MS) {
            Next::Refused(refused) => refused,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_rule_alone_stops_what_would_be_repeated() {
        assert_eq!(PLAIN.next(Ended::Well, MS), Next::Done);
        assert_eq!(PLAIN.next(Ended::Asks(None), MS), Next::Again(MS));
        assert_eq!(PLAIN.next(Ended::Asks(Some(MS * 100)), MS), Next::Again(MS * 100));
        let asks = Ended::Asks(None);
        assert_eq!(refused(Situation { made: 2, ..PLAIN }, asks), Refused::Attempts);
        assert_eq!(refused(Situation { idempotent: false, ..PLAIN }, asks), Refused::NotIdempotent);
        assert_eq!(refused(Situation { replayable: false, ..PLAIN }, asks), Refused::Body);
        assert_eq!(refused(Situation { left: Some(MS), ..PLAIN }, asks), Refused::Deadline);
        assert_eq!(refused(Situation { left: Some(Duration::ZERO), ..PLAIN }, asks), Refused::Deadline);
        assert_eq!(refused(PLAIN, Ended::Asks(Some(MS * 101))), Refused::Forbidden);
        assert_eq!(refused(PLAIN, Ended::Forbids), Refused::Forbidden);
        assert_eq!(refused(PLAIN, Ended::Rejected), Refused::Rejected);
    }

    #[test]
    fn what_nobody_worked_on_may_be_sent_again_whatever_the_method() {
        let post = Situation { idempotent: false, ..PLAIN };
        assert_eq!(post.next(Ended::Unsent, MS), Next::Again(MS));
        assert_eq!(refused(post, Ended::Broken), Refused::NotIdempotent);
        let balanced = Situation { elsewhere: true, ..post };
        assert_eq!(balanced.next(Ended::Rejected, MS), Next::Again(Duration::ZERO));
        assert_eq!(refused(balanced, Ended::Broken), Refused::NotIdempotent);
    }

    #[test]
    fn another_endpoint_is_asked_at_once_unless_that_is_forbidden() {
        let balanced = Situation { elsewhere: true, ..PLAIN };
        for ended in [Ended::Broken, Ended::Rejected, Ended::Asks(None), Ended::Asks(Some(MS * 900))] {
            assert_eq!(balanced.next(ended, MS), Next::Again(Duration::ZERO));
        }
        assert_eq!(refused(balanced, Ended::Forbids), Refused::Forbidden);
    }

    #[test]
    fn methods_and_keys_make_a_request_repeatable_and_upgrades_never() {
        let parts = |method: &str, field: Option<&'static str>| {
            let mut request = http::Request::builder().method(method);
            if let Some(field) = field {
                request = request.header(field, "x");
            }
            request.body(()).unwrap().into_parts().0
        };
        for method in ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"] {
            assert!(idempotent(&parts(method, None)), "{method}");
        }
        for method in ["POST", "PATCH", "CONNECT", "LOCK"] {
            assert!(!idempotent(&parts(method, None)), "{method}");
            assert!(idempotent(&parts(method, Some("idempotency-key"))), "{method}");
        }
        assert!(!takes_over(&parts("GET", None)));
        assert!(takes_over(&parts("GET", Some("upgrade"))));
        assert!(takes_over(&parts("CONNECT", None)));
    }
}

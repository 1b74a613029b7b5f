//! What an error says about how far the request came.

use std::error::Error;
use std::io;

use crate::error::{BoxError, find_rejection};
use crate::policy::Ended;

/// How to look at the sources of an error of type `E`; implemented by [`TypedErrors`] and [`BoxedErrors`], because a
/// [`BoxError`] is no [`Error`] itself.
pub trait Cause<E> {
    /// The error as one that has sources.
    fn cause(error: &E) -> &(dyn Error + 'static);
}

/// Errors have a type of their own: the default.
#[derive(Debug, Clone, Copy)]
pub enum TypedErrors {}

impl<E: Error + 'static> Cause<E> for TypedErrors {
    fn cause(error: &E) -> &(dyn Error + 'static) {
        error
    }
}

/// Errors are boxes, as those of most of tower's services are.
#[derive(Debug, Clone, Copy)]
pub enum BoxedErrors {}

impl Cause<BoxError> for BoxedErrors {
    fn cause(error: &BoxError) -> &(dyn Error + 'static) {
        &**error
    }
}

/// Whether the error, in its source chain, shows that nobody has worked on the request: no connection was made (refused,
/// no route, no such address; hyper-util's client says so of its own), or an HTTP/2 server refused the stream
/// (RFC 9113 §8.7).
///
/// A GOAWAY may also mean that, but hyper's error does not tell whether this stream was among those that it left alone: a
/// POST that it ends is not sent again.
#[must_use]
pub fn unsent(error: &(dyn Error + 'static)) -> bool {
    chain(error).any(|error| {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return matches!(
                error.kind(),
                io::ErrorKind::ConnectionRefused
                    | io::ErrorKind::HostUnreachable
                    | io::ErrorKind::NetworkUnreachable
                    | io::ErrorKind::AddrNotAvailable
            );
        }
        // Types of crates that this one does not depend on, by what they print: hyper-util's connect errors, and the
        // reason phrase of REFUSED_STREAM in h2. A text that changes makes an error one that is not known to be unsent.
        let text = error.to_string();
        text == "client error (Connect)"
            || text.ends_with("refused stream before processing any application logic")
    })
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| (*error).source())
}

/// What an error means for another attempt. A rejection of this side outweighs everything.
pub(super) fn judge(error: &(dyn Error + 'static), unsent: fn(&(dyn Error + 'static)) -> bool) -> Ended {
    if find_rejection(error).is_some() {
        Ended::Rejected
    } else if unsent(error) {
        Ended::Unsent
    } else {
        Ended::Broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Outer(Box<dyn Error + Send + Sync>);

    impl std::fmt::Display for Outer {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("outer")
        }
    }

    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&*self.0)
        }
    }

    #[test]
    fn a_refused_connection_is_found_behind_other_errors_and_a_reset_one_is_not_taken_for_it() {
        let refused = Outer(io::Error::from(io::ErrorKind::ConnectionRefused).into());
        assert_eq!(judge(&refused, unsent), Ended::Unsent);
        let reset = Outer(io::Error::from(io::ErrorKind::ConnectionReset).into());
        assert_eq!(judge(&reset, unsent), Ended::Broken);
        assert_eq!(judge(&reset, |_| true), Ended::Unsent);
    }

    #[test]
    fn a_refused_stream_is_known_by_its_reason() {
        let text = "stream error received: refused stream before processing any application logic";
        assert!(unsent(&Outer(text.into())));
        assert!(!unsent(&Outer("stream error received: unspecific protocol error detected".into())));
    }
}

//! What axum took away from the URI.

use axum::extract::OriginalUri;
use http::request::Parts;

use crate::key::Partition;

/// The path that the request came with, where it is another now: `Router::nest` takes its prefix away, and what is
/// below `/orders` and below `/customers` has the same URI there. The query stays as it was, and has rules of its own.
pub(crate) fn push_original(bytes: &mut Vec<u8>, request: &Parts) {
    let original = request.extensions.get().map(|OriginalUri(uri)| uri.path());
    if let Some(path) = original.filter(|path| *path != request.uri.path()) {
        Partition { bytes }.add("original-path").add(path);
    }
}

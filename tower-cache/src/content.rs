//! The content of a response on its way, as far as it is there.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;

use crate::error::BoxError;
use crate::store::Head;

/// What has come of a response, and is still to be read or stored.
pub(crate) struct Content {
    pub(crate) head: Arc<Head>,
    pub(crate) chunks: Chunks,
    /// The number of chunks that have been let go of.
    pub(crate) gone: usize,
    pub(crate) bytes: usize,
    pub(crate) trailers: Option<HeaderMap>,
    pub(crate) end: Option<End>,
    /// What the origin's body failed with, for the one that fetches.
    pub(crate) error: Option<BoxError>,
    /// All of it is kept, to be stored; otherwise only what readers have yet to read, within limits.
    pub(crate) kept: bool,
}

impl Content {
    pub(crate) fn new(head: Arc<Head>) -> Self {
        let (chunks, trailers) = (Chunks::default(), None);
        Self { head, chunks, gone: 0, bytes: 0, trailers, end: None, error: None, kept: true }
    }

    /// Whether nothing comes after its pieces, for the one that leads or for others.
    pub(crate) fn is_over(&self, leads: bool) -> bool {
        let ends = self.end == Some(End::Complete) || self.end == Some(End::Wrong) && leads;
        ends && self.trailers.is_none()
    }
}

/// How a content has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Complete,
    Failed,
    /// It ended as if it were complete, but is not as long as it was said to be: the one that fetches gets it as it
    /// is, and others an error.
    Wrong,
}

/// Pieces in their order; most often there is one alone.
#[derive(Default)]
pub(crate) struct Chunks {
    first: Option<Bytes>,
    others: VecDeque<Bytes>,
}

impl Chunks {
    pub(crate) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.others.len()
    }

    pub(crate) fn get(&self, index: usize) -> Option<&Bytes> {
        match index.checked_sub(1) {
            None => self.first.as_ref(),
            Some(other) => self.others.get(other),
        }
    }

    pub(crate) fn push(&mut self, chunk: Bytes) {
        match self.first {
            None => self.first = Some(chunk),
            Some(_) => self.others.push_back(chunk),
        }
    }

    pub(crate) fn pop(&mut self) -> Option<Bytes> {
        std::mem::replace(&mut self.first, self.others.pop_front())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Bytes> {
        self.first.iter().chain(&self.others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_come_and_go_in_their_order() {
        let (mut chunks, mut model) = (Chunks::default(), VecDeque::new());
        // Up to four at once, and each number of them on the way up and down.
        for step in 0..100_u8 {
            if step % 7 < 4 {
                let chunk = Bytes::from(vec![step]);
                chunks.push(chunk.clone());
                model.push_back(chunk);
            } else {
                assert_eq!(chunks.pop(), model.pop_front());
            }
            assert_eq!(chunks.len(), model.len());
            assert!(chunks.iter().eq(&model));
            assert!((0..model.len() + 1).all(|index| chunks.get(index) == model.get(index)));
        }
        while let Some(chunk) = model.pop_front() {
            assert_eq!(chunks.pop(), Some(chunk));
        }
        assert_eq!(chunks.pop(), None);
    }
}

//! What keys are called. Everything of one URI has the same hash tag, so that it lies on one node of a cluster:
//!
//! ```text
//! NAMESPACE:{URI}:g              generation: hard and soft, 4 octets each
//! NAMESPACE:{URI}:r:PARTITION    record: a field for each variant
//! NAMESPACE:{URI}:l:PARTITION    lock: who fetches
//! NAMESPACE:{URI}:b:ID:N         a piece of a large content
//! NAMESPACE:{log}                  purges of prefixes and of everything, and the count of all purges
//! NAMESPACE:t:TAG                generations of a tag: epoch, hard and soft, 4 octets each
//! ```
//!
//! URI, PARTITION and TAG are hashed: they may be long, and hold braces.

use std::fmt::Write;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::key::CacheKey;
use crate::store::Kept;

#[derive(Debug, Clone)]
pub(super) struct Layout {
    namespace: Arc<str>,
}

/// The names of what belongs to one key.
#[derive(Debug, Clone)]
pub(super) struct Names {
    /// With the hash tag, up to what follows.
    uri: String,
    partition: String,
}

impl Layout {
    pub(super) fn new(namespace: &str) -> Self {
        Self { namespace: namespace.into() }
    }

    pub(super) fn names(&self, key: &CacheKey) -> Names {
        let uri = key.uri();
        let partition = match key.as_bytes().get(uri.len()..) {
            Some(partition) if !partition.is_empty() => hash(partition),
            _ => String::new(),
        };
        Names { uri: format!("{}:{{{}}}", self.namespace, hash(uri.as_bytes())), partition }
    }

    pub(super) fn log(&self) -> String {
        format!("{}:{{log}}", self.namespace)
    }

    pub(super) fn tag(&self, tag: &str) -> String {
        format!("{}:t:{}", self.namespace, hash(tag.as_bytes()))
    }
}

impl Names {
    pub(super) fn generation(&self) -> String {
        format!("{}:g", self.uri)
    }

    pub(super) fn record(&self) -> String {
        format!("{}:r:{}", self.uri, self.partition)
    }

    pub(super) fn lock(&self) -> String {
        format!("{}:l:{}", self.uri, self.partition)
    }

    pub(super) fn piece(&self, kept: &Kept, index: u32) -> String {
        format!("{}:b:{:016x}:{index}", self.uri, kept.id)
    }
}

/// 128 bits of SHA-256, the same in every process and version: nobody can choose a URI that takes another's place.
pub(super) fn hash(bytes: &[u8]) -> String {
    let mut name = String::with_capacity(32);
    for octet in &Sha256::digest(bytes)[..16] {
        let _ = write!(name, "{octet:02x}");
    }
    name
}

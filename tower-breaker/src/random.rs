use std::hash::{BuildHasher, RandomState};

/// Uniform. The keys of each state differ: randomness enough to spread load, without a dependency.
pub(crate) fn random() -> u64 {
    RandomState::new().hash_one(0)
}

//! Chance, so that a fleet does not move in step.

/// A number from 0 up to 1. Seeds of hash tables are random enough for that.
pub(crate) fn random_share() -> f64 {
    use std::hash::{BuildHasher, RandomState};

    let random = RandomState::new().hash_one(()) >> 11;
    random as f64 / (1_u64 << 53) as f64
}

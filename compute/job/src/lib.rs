//! What a job is, byte for byte: its spec and hash, the commitment to its result, and the manifest of a recipe.
//!
//! # Design
//! One *program* runs over many *unit inputs* that share one *common input*; everything is named by hash. A [`JobSpec`] is what an
//! order on chain points to, a [`commitment`] is what the provider publishes before delivery, a [`Recipe`] is what a person picks.
//! Formats: `specs/0003-job.md`.
//!
//! # Invariants
//! A [`JobSpec`] or [`Recipe`] that exists is inside every bound of the spec; decoding accepts exactly one encoding per value.
//!
//! # Not here
//! Running a program (`keystead-runner`), choosing units to check (`keystead-audit`), I/O, clocks, randomness.

pub mod check;
pub mod commitment;
pub mod layout;
pub mod limits;
mod merkle;
pub mod parameter;
pub mod recipe;
pub mod spec;
pub mod step;
pub mod trace;

pub use check::{Checker, Tolerance};
pub use limits::Limits;
pub use recipe::Recipe;
pub use spec::{Class, JobSpec, Runtime};
pub use step::Step;

/// The vocabulary of hashes, so that a user of this crate needs no other for it.
pub use alloy_primitives::B256;

/// The name of a blob: BLAKE3-256 of its bytes.
#[must_use]
pub fn blob_hash(bytes: &[u8]) -> B256 {
    B256::new(*blake3::hash(bytes).as_bytes())
}

/// BLAKE3-256 of 32-byte hashes joined in the order given: the `units_hash` of unit inputs, the result root of unit outputs.
/// Spec: specs/0003-job.md §1.
#[must_use]
pub fn hash_list(hashes: &[B256]) -> B256 {
    let mut hasher = blake3::Hasher::new();
    for hash in hashes {
        hasher.update(hash.as_slice());
    }
    B256::new(*hasher.finalize().as_bytes())
}

// A test: a panic is a failure, and numbers are small.
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
mod tests {
    use super::*;

    #[test]
    fn blob_hash_is_the_published_blake3_of_the_empty_input() {
        let published = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
        assert_eq!(hex::encode(blob_hash(b"")), published);
        assert_eq!(hex::encode(hash_list(&[])), published);
    }

    #[test]
    fn hash_list_is_the_hash_of_the_joined_hashes_in_order() {
        let (a, b) = (blob_hash(b"a"), blob_hash(b"b"));
        assert_eq!(hash_list(&[a, b]), blob_hash(&[a.as_slice(), b.as_slice()].concat()));
        assert_ne!(hash_list(&[a, b]), hash_list(&[b, a]));
    }
}

//! The proof of hardware: a chain of matrix products that needs the claimed memory and speed, and a check that is far cheaper.
//!
//! # Design
//! All numbers are 32-bit words and all arithmetic wraps, so that a GPU, WGSL and this reference give equal bits. Between two products every
//! word is mixed, which makes the chain non-linear: a row of a later matrix needs all words of the matrix before, so what was dropped must
//! be computed again. The steps are: challenge (a beacon value), root over all rows, a later beacon value, one product with a vector per
//! matrix, a third value, some rows opened. All devices of an owner are challenged by one value, so none can answer for another in time.
//! Spec: specs/0010-capability.md §6.
//!
//! [`round`] is one owner's proof with all its devices: what holds it together, who checks it, and what it proves. [`due`] says when the next one
//! is, [`lapse`] when an old one no longer counts.
//!
//! # Not here
//! Who sends what when (`node`), kernels of devices (`keystead-runner`), and signatures of checkers.

pub mod arithmetic;
pub mod challenge;
pub mod due;
pub mod lapse;
pub mod prover;
pub mod round;
mod tree;
pub mod verify;

#[cfg(test)]
mod round_tests;
#[cfg(test)]
mod tests;

pub use challenge::{Challenge, Shape};
pub use prover::{Answer, Commitment, Prover};
pub use round::{Facts, Published, Recorded};
pub use verify::{Committed, Error, Times, Verified, prove_all, read_answer, verify};

//! The proof of hardware on a real device: the chain of products of specs/0010-capability.md §6, held where it was computed.
//!
//! # Design
//! ```text
//! Touchstone (parent) ── begin, step, step, ..  vectors  rows ── worker ── Chain: processor threads, or an adapter through wgpu
//! ```
//! The parent drives, one request at a time, so it can show progress, keep a deadline and kill the work at any moment like that of any job. Only hashes
//! of rows leave the device while it computes; products of matrices with vectors, and the few drawn rows, follow when they are asked for. So nothing is
//! held twice, whatever the size of the device's memory.
//!
//! The programs here are our own, not a stranger's: kernels are not instrumented with loop counters, and their loops are as long as a matrix is wide
//! (at most 8,192 rounds, below the number at which some drivers end loops silently). They still pass the same checks of the translator and the driver.
//!
//! # Invariants
//! Every device gives the same words as the reference in `keystead-market`, which shares no line with this. Tests compare them.
//!
//! # Not here
//! Challenges, trees, deadlines, money (`keystead-market`, `node`).

pub(crate) mod processor;
mod session;
pub(crate) mod words;

pub use session::Touchstone;

use crate::failure::Failure;
use serde::{Deserialize, Serialize};

/// Smallest and largest side of a matrix, and most products: the bounds of the format.
const SIDE_MIN: u32 = 16;
const SIDE_MAX: u32 = 8_192;
const LINKS_MAX: u32 = 16_384;
/// Rows asked for at once: twice the most that one challenge opens.
pub(crate) const ROWS_ASKED_MAX: usize = 512;
/// Bytes of the hash of a row.
pub(crate) const CONTENT_BYTES: usize = 32;

/// What a device is to compute and hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// The device: 0 the processor, then the adapters of the machine by their place ([`crate::Tested::place`]), which is 0 for number 1.
    pub device: u8,
    /// Key of the first matrix: eight words.
    pub key: [u32; 8],
    /// Side of the matrices, a power of two from 16 to 8,192.
    pub side: u32,
    /// Products, 1 to 16,384.
    pub links: u32,
    /// Threads of the processor that may work, at least 1.
    pub threads: u16,
}

impl Task {
    /// Whether the sizes are those of the format.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let side = self.side.is_power_of_two() && (SIDE_MIN..=SIDE_MAX).contains(&self.side);
        if side && (1..=LINKS_MAX).contains(&self.links) && self.threads > 0 {
            return Ok(());
        }
        let Self { side, links, threads, .. } = self;
        Err(Failure::provider(format_args!("no such challenge: side={side} links={links} threads={threads}")))
    }

    /// Words of a matrix, at most 2^26.
    pub(crate) const fn matrix_words(&self) -> usize {
        (self.side as usize).saturating_mul(self.side as usize)
    }

    /// Bytes that are held.
    pub(crate) const fn memory_bytes(&self) -> u64 {
        (self.side as u64).saturating_mul(self.side as u64).saturating_mul(4).saturating_mul(self.links as u64)
    }
}

/// A range of vectors: those of the matrices `first` to `first + count - 1`; matrix 0 is the seeded one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Range {
    pub(crate) first: u32,
    pub(crate) count: u32,
}

/// A chain on a device, inside the worker.
pub(crate) trait Chain {
    /// What the device calls itself.
    fn device(&self) -> String;

    /// Computes some products and gives the hashes of their rows, in order; empty once all were given.
    fn step(&mut self) -> Result<Vec<u8>, Failure>;

    /// Words of the products of a range of matrices with the vectors of this key, little-endian. After the last step.
    fn vectors(&mut self, key: [u32; 8], range: Range) -> Result<Vec<u8>, Failure>;

    /// Words of rows, in the order asked for, little-endian: `link * side + row`. After the last step.
    fn rows(&mut self, indices: &[u32]) -> Result<Vec<u8>, Failure>;
}

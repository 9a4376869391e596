//! Sealed blocks: append-only files of compressed bodies and receipts with the index of their logs.
//!
//! # Design
//! A file holds consecutive blocks and never changes: a magic number, frames, lists of the log index, buckets, and the
//! index of the file with a trailer. A *frame* is `kind || raw bytes || packed bytes || zstd || check`; unpacked it holds
//! items in order, each `height || part || length || record`. Bodies have two items a block, the block and its senders;
//! receipts have as many as it takes to find one by unpacking little. A *bucket* holds the terms with the same first
//! bits in order, each with its list or the place of it, and ends with a check. A check is the first eight bytes of
//! XXH3-128.
//! The table `segments` says which files there are, how long they are and the check of their indices: so a file of
//! another length, or another file, is noticed when the store opens, and a flipped bit when its frame or bucket is read.
//!
//! # Invariants
//! A file is listed only after it is synced, and its blocks leave the tables in the batch that lists it.

mod files;
mod index;
mod read;
mod seal;
mod writer;

pub(crate) use files::Segments;
pub(crate) use read::{Record, Segment, SegmentLists};
pub use seal::Sealed;
pub(crate) use seal::{NEVER, Tail, seal};

use twox_hash::XxHash3_128;

/// Beginning of a file.
const MAGIC: [u8; 8] = *b"KSTSEGM1";
/// End of a file.
const MAGIC_END: [u8; 8] = *b"KSTSEGMX";
/// Bytes of a check.
const CHECK_BYTES: usize = 8;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Blocks and senders.
    Bodies,
    /// Receipts.
    Receipts,
}

impl Kind {
    const fn byte(self) -> u8 {
        match self {
            Self::Bodies => 0,
            Self::Receipts => 1,
        }
    }
}

/// The check over some bytes.
fn check(bytes: &[u8]) -> [u8; CHECK_BYTES] {
    // LOSSY: 64 bits tell damage from order well enough.
    let [a, b, c, d, e, f, g, h, ..] = XxHash3_128::oneshot(bytes).to_be_bytes();
    [a, b, c, d, e, f, g, h]
}

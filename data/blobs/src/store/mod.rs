//! Where blobs rest: one small trait, a store in memory and a store on disk.
//!
//! # Design
//! The trait is synchronous, because files are; asynchronous code calls it from the blocking pool. What a peer sends
//! enters only through a [`Part`], which verifies every 64 KiB before it keeps them, so a store never holds, under any
//! name, bytes that do not hash to it.
//!
//! # Not here
//! Permissions (a session knows who may fetch what), garbage collection (the owner of a job deletes its blobs).

mod budget;
mod disk;
mod memory;
#[cfg(test)]
mod tests;

use std::{fmt, io, path::PathBuf, sync::Arc};

pub use disk::{DiskStore, Durability};
pub use memory::MemoryStore;

use crate::{hash::Hash, outline::Outline};

/// Largest blob that any store of Keystead accepts, in bytes (inclusive): 1 GiB, whose outline is 512 KiB. Larger data
/// sets are several blobs.
pub const BLOB_BYTES_MAX: u64 = 1 << 30;

/// How much a store may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Largest single blob in bytes, inclusive; at most [`BLOB_BYTES_MAX`], which caps it.
    pub blob_bytes_max: u64,
    /// Sum over all blobs and unfinished parts in bytes, inclusive.
    pub total_bytes_max: u64,
}

impl Default for Capacity {
    /// Blobs up to [`BLOB_BYTES_MAX`], 16 GiB in all.
    fn default() -> Self {
        Self { blob_bytes_max: BLOB_BYTES_MAX, total_bytes_max: 16 << 30 }
    }
}

/// Content-addressed bytes of bounded size.
///
/// All methods block (disk, hashing) and may be called from several threads at once. A store whose bytes can be damaged at
/// rest hashes them whenever they are read.
pub trait BlobStore: Send + Sync + fmt::Debug + 'static {
    /// Stores `bytes` and returns their name. Storing a blob again is a success and changes nothing.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`], [`StoreError::Full`]: nothing was stored. [`StoreError::Io`]: the disk failed.
    fn put(&self, bytes: &[u8]) -> Result<Hash, StoreError>;

    /// From here on everything that was put or received before survives a power cut, also where [`Durability::Settled`] left that open.
    ///
    /// # Errors
    /// [`StoreError::Io`]: nothing is sure of what came since the last time. [`StoreError::Unsettled`]: that was so before, and stays so until the process
    /// ends.
    fn settle(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Returns the whole blob, verified. `bytes_max` is inclusive and checked before anything is read.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::TooLarge`]; [`StoreError::Corrupt`]: the bytes at rest were damaged, the
    /// blob is gone and may be fetched again.
    fn get(&self, hash: Hash, bytes_max: u64) -> Result<Vec<u8>, StoreError>;

    /// Size of the blob in bytes, or `None` if it is not here. Does not read the blob.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    fn size(&self, hash: Hash) -> Result<Option<u64>, StoreError>;

    /// Whether the blob is here. Does not read the blob.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    fn has(&self, hash: Hash) -> Result<bool, StoreError> {
        Ok(self.size(hash)?.is_some())
    }

    /// Removes the blob and says whether it was here. A [`Source`] that is open keeps working.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    fn delete(&self, hash: Hash) -> Result<bool, StoreError>;

    /// Opens the blob for sending it. Reads it once to compute its outline and to verify it.
    ///
    /// # Errors
    /// As [`Self::get`].
    fn open(&self, hash: Hash) -> Result<Box<dyn Source>, StoreError>;

    /// Prepares to receive the blob from a peer, and picks up what an earlier transfer left.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    fn receive(&self, hash: Hash) -> Result<Box<dyn Part>, StoreError>;
}

/// Told how many more bytes of a blob were handed to the transport. It must not wait: the transfer does.
pub type Tally = Arc<dyn Fn(u64) + Send + Sync>;

/// A blob being sent.
pub trait Source: Send {
    /// The verified outline, which also states name and size.
    fn outline(&self) -> &Outline;

    /// Appends group `index` to `out`. The bytes are as they rest now; the receiver verifies them.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`]: the file became shorter since it was opened. [`StoreError::Io`].
    fn read_group(&mut self, index: u64, out: &mut Vec<u8>) -> Result<(), StoreError>;

    /// Who wants to know what leaves, which is less than what is read where a line breaks. By default nobody.
    fn tally(&self) -> Option<Tally> {
        None
    }
}

/// A blob being received. Dropping it keeps only verified groups (on disk, to resume) or nothing (in memory).
pub trait Part: Send {
    /// How many verified bytes are already here: a multiple of 64 KiB, or the whole size.
    fn offset(&self) -> u64;

    /// Begins, with the outline that the peer sent and that hashes to this blob's name. Reserves the size.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`], [`StoreError::Full`]: nothing is stored. [`StoreError::Mismatch`]: the stated size is not
    /// the one of the verified part (the peer is wrong). [`StoreError::Unordered`]: called twice or for another blob, a
    /// bug of the caller.
    fn start(&mut self, outline: Outline) -> Result<(), StoreError>;

    /// Adds whole groups, in order, after verifying each.
    ///
    /// # Errors
    /// [`StoreError::Mismatch`]: a group is not what the outline says (the peer is wrong); groups before it are kept.
    /// [`StoreError::Unordered`]: `start` is missing. [`StoreError::Io`].
    fn append(&mut self, groups: &[u8]) -> Result<(), StoreError>;

    /// Makes the blob visible under its name, atomically.
    ///
    /// # Errors
    /// [`StoreError::Unordered`]: groups are missing. [`StoreError::Io`].
    fn finish(self: Box<Self>) -> Result<(), StoreError>;

    /// Forgets everything received.
    fn discard(self: Box<Self>);
}

/// Why a store refused or failed. [`Self::Mismatch`] is the peer's fault; [`Self::NotFound`], [`Self::TooLarge`] and
/// [`Self::Full`] are conditions to act on; the others mean that this machine has a problem.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No such blob here: fetch it.
    #[error("blob not found: hash={hash}")]
    NotFound {
        /// The blob.
        hash: Hash,
    },
    /// The blob is larger than this store or this caller accepts.
    #[error("blob too large: got_bytes={got_bytes} max_bytes={max_bytes}")]
    TooLarge {
        /// Size of the blob.
        got_bytes: u64,
        /// Largest size accepted.
        max_bytes: u64,
    },
    /// No room: delete blobs or give the store more.
    #[error("store is full: need_bytes={need_bytes} free_bytes={free_bytes}")]
    Full {
        /// Room that the blob needs.
        need_bytes: u64,
        /// Room that is left.
        free_bytes: u64,
    },
    /// The bytes at rest no longer hash to their name. The blob was removed; fetch it again.
    #[error("blob is damaged and was removed: hash={hash}")]
    Corrupt {
        /// The blob.
        hash: Hash,
    },
    /// A received group is not the one its outline names.
    #[error("group does not match its outline: hash={hash} group={group}")]
    Mismatch {
        /// The blob.
        hash: Hash,
        /// Index of the group, from 0.
        group: u64,
    },
    /// A [`Part`] was used out of order: a bug of the caller.
    #[error("part used out of order: hash={hash}")]
    Unordered {
        /// The blob.
        hash: Hash,
    },
    /// Another process uses this folder.
    #[error("blob folder is in use by another process: path={}", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The disk once failed to take what was written. It tells of that once, so no later try of this process is believed, and nothing new is kept: restart;
    /// the next start reads everything that was written since and removes what is damaged.
    #[error("the disk has lost what was written; restart: what is damaged is found then: path={}", path.display())]
    Unsettled {
        /// The store's folder.
        path: PathBuf,
    },
    /// The disk failed.
    #[error("cannot {operation}: path={}: {source}", path.display())]
    Io {
        /// What was tried, as a verb with its object.
        operation: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

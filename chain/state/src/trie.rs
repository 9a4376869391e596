//! A Merkle-Patricia trie in memory that snapshots share: an update copies the changed paths, nothing else.
//!
//! # Design
//! [`Trie::update`] merges a block's sorted changes in one recursion (`trie::merge`), [`Trie::proof`] collects the
//! encodings on a path. The branches of all tries that came from one another lie in one arena (`trie::arena`). Values stay in the flat tables: an update needs an old value only when a leaf moves (a split
//! beside it, or a branch that collapses onto it), and every trie reads them through the state it belongs to. Leaves in
//! memory would cost another 100 bytes per account for that rare read. [`Trie::build`] makes a trie from all of its
//! leaves, in order; a trie that knows a bound keeps about so many bytes of branches in memory ([`Trie::shrink`]).
//!
//! # Not here
//! Records of branches on disk: the account trie is built from the flat accounts at start, a storage trie when it is first
//! touched, a subtree that was out of memory when it is needed.

mod arena;
mod build;
mod emit;
mod merge;
mod node;
mod proof;
mod words;

use crate::{error::Error, keccak::Hashing};
use alloy_primitives::{B256, keccak256};
use alloy_trie::EMPTY_ROOT_HASH;
use arena::{Arena, Made, Version};
pub(crate) use build::Range;
use build::{Builder, Built};
use merge::Merge;
use node::Node;
use std::sync::Arc;

/// Changes merged in one go. More are merged slice by slice, which bounds a hash buffer to about 64 MiB.
const MERGE_CHANGES_MAX: usize = 1 << 16;

/// The values below a trie, as they were before an update.
pub(crate) trait Values: Sync {
    /// The RLP value of a hashed key.
    fn value(&self, key: &B256) -> Result<Option<Vec<u8>>, Error>;

    /// The RLP values of all hashed keys in a range, in order.
    fn below(&self, range: &Range) -> Result<Vec<(B256, Vec<u8>)>, Error>;

    /// The table they lie in, for errors.
    fn table(&self) -> &'static str;
}

/// New RLP value of one hashed key; `None` deletes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) key: B256,
    pub(crate) value: Option<Vec<u8>>,
}

/// An immutable trie. Cloning shares everything.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trie {
    root: Option<Node>,
    leaves: u64,
    /// None if it is empty.
    version: Option<Arc<Version>>,
}

impl Trie {
    /// The root hash.
    pub(crate) fn root(&self) -> B256 {
        let Some(node) = &self.root else { return EMPTY_ROOT_HASH };
        // The root is hashed even if it is shorter than a hash.
        node.reference().as_hash().unwrap_or_else(|| keccak256(node.reference().as_slice()))
    }

    /// Number of keys.
    pub(crate) const fn leaves(&self) -> u64 {
        self.leaves
    }

    /// The trie after `changes`, which are sorted by key and have no duplicates. `values` shows the state before.
    ///
    /// # Errors
    /// Whatever `values` fails with, or a missing value.
    pub(crate) fn update(&self, values: &dyn Values, changes: &[Change], hashing: Hashing) -> Result<Self, Error> {
        let mut trie = self.clone();
        for slice in changes.chunks(MERGE_CHANGES_MAX) {
            trie = trie.merged(values, changes, slice, hashing)?;
        }
        Ok(trie)
    }

    /// The trie after a slice of the changes.
    fn merged(&self, values: &dyn Values, all: &[Change], slice: &[Change], hashing: Hashing) -> Result<Self, Error> {
        let arena = self.version.as_ref().map(|version| Arc::clone(&version.arena)).unwrap_or_default();
        let merging = arena.enter();
        let (root, made, growth) = {
            let mut merge = Merge::new(&arena, values, all, hashing);
            let root = merge.subtree(self.root, slice, 0)?;
            let growth = merge.growth;
            (root, merge.made(), growth)
        };
        let leaves = self.leaves.saturating_add_signed(growth);
        let Some(root) = root else { return Ok(Self::default()) };
        let (root, version) = Arc::clone(&arena).install(self.version.as_deref(), root, made);
        drop(merging);
        Ok(Self { root: Some(root), leaves, version: Some(Arc::new(version)) })
    }

    /// The trie of `leaves`, which ascend: each is a key and what writes its RLP value. About `bytes_max` bytes of branches
    /// stay in memory.
    ///
    /// # Errors
    /// Whatever `leaves` fail with.
    pub(crate) fn build<L: FnOnce(&mut Vec<u8>)>(
        leaves: impl Iterator<Item = Result<(B256, L), Error>>,
        bytes_max: u64,
        hashing: Hashing,
    ) -> Result<Self, Error> {
        let mut builder = Builder::whole(bytes_max, hashing);
        for leaf in leaves {
            let (key, value) = leaf?;
            builder.push(&key, value);
        }
        let Built { root, slots, leaves, .. } = builder.finish();
        let Some(root) = root else { return Ok(Self::default()) };
        let (root, version) = Arena::of(slots).install(None, root, Made::default());
        Ok(Self { root: Some(root), leaves, version: Some(Arc::new(version)) })
    }

    /// Bytes of memory of this trie and of all that came from it or that it came from.
    pub(crate) fn bytes(&self) -> u64 {
        self.version.as_ref().map_or(0, |version| version.arena.bytes())
    }

    /// Lets go of branches that no kept version has touched lately, until about `bytes_max` bytes are left; does nothing
    /// while a version is being made. Every state that holds a version must be able to read its flat values.
    pub(crate) fn shrink(&self, bytes_max: u64) {
        if let Some(version) = self.version.as_ref().filter(|version| version.arena.bytes() > bytes_max) {
            version.arena.shrink(bytes_max);
        }
    }
}

#[cfg(test)]
mod tests;

//! A Merkle-Patricia trie in memory that snapshots share: an update copies the changed paths, nothing else.
//!
//! # Design
//! [`Trie::update`] merges a block's sorted changes in one recursion (`trie::merge`), [`Trie::proof`] collects the
//! encodings on a path. The branches of all tries that came from one another lie in one arena (`trie::arena`). Values stay in the flat tables: an update needs an old value only when a leaf moves (a split
//! beside it, or a branch that collapses onto it), and every trie reads them through the state it belongs to. Leaves in
//! memory would cost another 100 bytes per account for that rare read.
//!
//! # Not here
//! Records of branches on disk and eviction: the whole account trie is built from the flat accounts at start, a storage
//! trie when it is first touched.

mod arena;
mod merge;
mod node;
mod proof;

use crate::{error::Error, keccak::Hashing};
use alloy_primitives::{B256, keccak256};
use alloy_trie::EMPTY_ROOT_HASH;
use arena::Version;
use merge::Merge;
use node::Node;
use std::sync::Arc;

/// Changes merged in one go. More are merged slice by slice, which bounds a hash buffer to about 64 MiB.
const MERGE_CHANGES_MAX: usize = 1 << 16;

/// The values below a trie, as they were before an update.
pub(crate) trait Values: Sync {
    /// The RLP value of a hashed key.
    fn value(&self, key: &B256) -> Result<Option<Vec<u8>>, Error>;

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
        let (root, made, growth) = {
            let mut merge = Merge::new(&arena, values, all, hashing);
            (merge.subtree(self.root, slice, 0)?, merge.made, merge.growth)
        };
        let leaves = self.leaves.saturating_add_signed(growth);
        let Some(root) = root else { return Ok(Self::default()) };
        let (root, version) = arena.install(self.version.as_deref(), root, made);
        Ok(Self { root: Some(root), leaves, version: Some(Arc::new(version)) })
    }
}

#[cfg(test)]
mod tests;

//! The state after one block, committed or pending: reads, proofs, and the state after a child block.

use crate::{
    error::Error,
    layer::{Changes, Layer},
    state::{LAYERS_MAX, State, hash_address, hash_slot},
};
use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_trie::EMPTY_ROOT_HASH;
use keystead_types::{Account, ChangeSet, StateView, ViewError};
use std::{fmt, sync::Arc};

/// How many blocks back the `BLOCKHASH` opcode reads. Spec: Ethereum yellow paper, appendix H.
const BLOCK_HASHES: u64 = 256;

/// The state after one block. Immutable, and readable for as long as it is held.
///
/// Cost: a pending snapshot holds the changes of its block and of its pending ancestors; a committed one holds a view
/// of the tables, which keeps overwritten values on disk. The data folder stays locked while any snapshot is held.
pub struct Snapshot {
    number: u64,
    hash: B256,
    state: State,
}

/// A proof of an account, or of its absence. Spec: EIP-1186.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountProof {
    /// The account and its storage root; `None` if it does not exist.
    pub account: Option<(Account, B256)>,
    /// RLP nodes of the account trie, root first; empty if there are no accounts at all.
    pub nodes: Vec<Bytes>,
}

/// A proof of a storage slot, or of its absence. Spec: EIP-1186.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageProof {
    /// The value; zero if absent.
    pub value: U256,
    /// RLP nodes of the storage trie, root first; empty if the account has no storage or does not exist.
    pub nodes: Vec<Bytes>,
}

/// The state after a child block whose hash is not known yet, because the hash covers the state root.
pub struct Child {
    parent: Arc<Snapshot>,
    state: State,
    changes: Changes,
}

impl Snapshot {
    pub(crate) const fn new(number: u64, hash: B256, state: State) -> Self {
        Self { number, hash, state }
    }

    pub(crate) const fn state(&self) -> &State {
        &self.state
    }

    /// The changes of this block over its parent; `None` if the snapshot was made from the tables.
    pub(crate) fn layer(&self) -> Option<&Arc<Layer>> {
        self.state.layers.last()
    }

    /// Height of the block.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Hash of the block.
    #[must_use]
    pub const fn hash(&self) -> B256 {
        self.hash
    }

    /// Root of this state.
    #[must_use]
    pub fn state_root(&self) -> B256 {
        self.state.trie.root()
    }

    /// The state after a child of this block with these changes. Any number of children may exist side by side.
    ///
    /// Cost: the branches on the changed paths. The first change of an account's storage after a start reads all of its
    /// slots.
    ///
    /// # Errors
    /// [`Error::TooManyPending`]: commit or drop blocks. [`Error::Corrupt`], [`Error::Store`]: stop.
    pub fn child(self: &Arc<Self>, changes: ChangeSet) -> Result<Child, Error> {
        let mut state = self.state.rebased();
        let pending = state.layers.len().saturating_add(1);
        if pending > LAYERS_MAX {
            return Err(Error::TooManyPending { pending, max: LAYERS_MAX });
        }
        let (changes, trie) = state.apply(changes)?;
        state.trie = trie;
        Ok(Child { parent: Arc::clone(self), state, changes })
    }

    /// The account with its storage root, and the nodes that prove it or its absence.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Store`]: stop.
    pub fn account_proof(&self, address: &Address) -> Result<AccountProof, Error> {
        let address = hash_address(address);
        let account = self.state.account(&address)?.map(|record| (record.account, record.storage_root));
        Ok(AccountProof { account, nodes: self.state.account_nodes(&address)? })
    }

    /// The value of a slot, and the nodes that prove it or its absence against the account's storage root.
    ///
    /// Cost: the first proof over an account's storage reads all of its slots.
    ///
    /// # Errors
    /// As [`Self::account_proof`].
    pub fn storage_proof(&self, address: &Address, slot: &U256) -> Result<StorageProof, Error> {
        let (address, slot) = (hash_address(address), hash_slot(slot));
        let root = self.state.account(&address)?.map_or(EMPTY_ROOT_HASH, |record| record.storage_root);
        let value = self.state.slot(&address, &slot)?;
        Ok(StorageProof { value, nodes: self.state.slot_nodes(&address, root, &slot)? })
    }
}

impl Child {
    /// Root of the state after the child block.
    #[must_use]
    pub fn state_root(&self) -> B256 {
        self.state.trie.root()
    }

    /// The snapshot, once the block's hash is known.
    ///
    /// Trust: the hash is taken as given; [`crate::Store::commit`] compares it with the block.
    #[must_use]
    pub fn seal(mut self, block_hash: B256) -> Arc<Snapshot> {
        let number = self.parent.number.saturating_add(1);
        let layer = Layer { number, hash: block_hash, parent: self.parent.hash, changes: self.changes };
        self.state.layers.push(Arc::new(layer));
        Arc::new(Snapshot { number, hash: block_hash, state: self.state })
    }
}

impl StateView for Snapshot {
    fn account(&self, address: &Address) -> Result<Option<Account>, ViewError> {
        Ok(self.state.account(&hash_address(address))?.map(|record| record.account))
    }

    fn account_with_storage(&self, address: &Address) -> Result<Option<(Account, bool)>, ViewError> {
        let record = self.state.account(&hash_address(address))?;
        Ok(record.map(|record| (record.account, record.storage_root != EMPTY_ROOT_HASH)))
    }

    fn storage(&self, address: &Address, slot: &U256) -> Result<U256, ViewError> {
        Ok(self.state.slot(&hash_address(address), &hash_slot(slot))?)
    }

    fn code(&self, hash: &B256) -> Result<Bytes, ViewError> {
        Ok(self.state.code(hash)?)
    }

    fn block_hash(&self, number: u64) -> Result<B256, ViewError> {
        match self.number.checked_sub(number) {
            Some(0) => Ok(self.hash),
            Some(back) if back < BLOCK_HASHES => {
                let pending = self.state.layers.iter().find(|layer| layer.number == number);
                match pending {
                    Some(layer) => Ok(layer.hash),
                    None => Ok(self.state.committed_hash(number)?),
                }
            }
            _ => Ok(B256::ZERO),
        }
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("number", &self.number)
            .field("hash", &self.hash)
            .field("state_root", &self.state_root())
            .field("layers", &self.state.layers.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child")
            .field("parent", &self.parent)
            .field("state_root", &self.state_root())
            .finish_non_exhaustive()
    }
}

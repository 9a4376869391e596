//! What one block changed, by hashed keys: the state of a pending block is a chain of these over a committed one.

use crate::{record::AccountRecord, trie::Trie};
use alloy_primitives::{B256, Bytes, U256, map::HashMap};
use std::collections::BTreeMap;

/// The changes of one account's storage in one block.
#[derive(Debug, Default)]
pub(crate) struct StorageLayer {
    /// Nothing from before the block is left.
    pub(crate) wiped: bool,
    /// New values by hashed slot; zero deletes.
    pub(crate) slots: BTreeMap<B256, U256>,
    /// The storage after the block.
    pub(crate) trie: Trie,
}

/// The changes of one block.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// New accounts by hashed address; `None` deletes.
    pub(crate) accounts: BTreeMap<B256, Option<AccountRecord>>,
    /// New storage by hashed address.
    pub(crate) storage: HashMap<B256, StorageLayer>,
    /// New code by its hash.
    pub(crate) code: BTreeMap<B256, Bytes>,
}

/// The changes of a block that has a place in the chain.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) number: u64,
    pub(crate) hash: B256,
    pub(crate) parent: B256,
    pub(crate) changes: Changes,
}

impl Changes {
    /// What the block says about an account: `None` if nothing.
    pub(crate) fn account(&self, address: &B256) -> Option<Option<AccountRecord>> {
        self.accounts.get(address).copied()
    }

    /// What the block says about a slot: `None` if nothing.
    pub(crate) fn slot(&self, address: &B256, slot: &B256) -> Option<U256> {
        let storage = self.storage.get(address)?;
        storage.slots.get(slot).copied().or_else(|| storage.wiped.then_some(U256::ZERO))
    }
}

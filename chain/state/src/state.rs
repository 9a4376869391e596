//! A world state: a committed base, the layers of pending blocks over it, and the account trie after all of them.
//!
//! # Design
//! Reads go from the newest layer down to the base; below the layers a [`ValueCache`] stands before the tables. A child
//! shares the base, the layers and every unchanged branch of the trie. When the base of a state is no longer the newest
//! committed block on its chain, its children stand on that block instead, so chains stay as short as the distance to
//! the head.

use crate::{
    cache::{TrieCache, ValueCache},
    error::{Corruption, Error},
    keccak::{Hashing, hash_all},
    layer::{Changes, Layer, StorageLayer},
    record::{self, AccountRecord},
    segment::{Segments, Tail},
    tables::{Base, Tables, missing},
    trie::{Change, Range, Trie, Values},
};
use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U256, keccak256};
use alloy_rlp::Encodable as _;
use alloy_trie::EMPTY_ROOT_HASH;
use keystead_types::{AccountChange, ChangeSet};
use rayon::prelude::*;
use std::{
    collections::{BTreeMap, VecDeque},
    fs::File,
    sync::{Arc, PoisonError, RwLock},
};

/// Most blocks that may stand on the last committed one. Consensus finalizes within a few; 256 bounds the memory of
/// layers and the cost of a read that goes through all of them.
pub(crate) const LAYERS_MAX: usize = 256;

/// What all states of a store share. Holds no state, so that states may hold it.
pub(crate) struct Shared {
    pub(crate) tables: Tables,
    pub(crate) accounts: ValueCache<B256, Option<AccountRecord>>,
    pub(crate) slots: ValueCache<(B256, B256), U256>,
    pub(crate) tries: TrieCache,
    /// Blocks that left the tables.
    pub(crate) segments: Segments,
    /// The log index of those that did not.
    pub(crate) tail: Tail,
    /// The last committed blocks, oldest first.
    pub(crate) bases: RwLock<VecDeque<Arc<Base>>>,
    /// Locked as long as anything can read or write the folder; the kernel releases it when the process ends.
    pub(crate) _lock: File,
}

impl Shared {
    /// The newest committed block that `matches`.
    pub(crate) fn base(&self, matches: impl Fn(&Base) -> bool) -> Option<Arc<Base>> {
        let bases = self.bases.read().unwrap_or_else(PoisonError::into_inner);
        bases.iter().rev().find(|base| matches(base)).cloned()
    }

    /// Adds a committed block and forgets the oldest above `keep`.
    pub(crate) fn publish(&self, base: &Arc<Base>, keep: usize) {
        let mut bases = self.bases.write().unwrap_or_else(PoisonError::into_inner);
        bases.push_back(Arc::clone(base));
        if bases.len() > keep {
            bases.pop_front();
        }
    }

    /// Forgets the committed blocks from a height on: they are replaced.
    pub(crate) fn retract(&self, number: u64) {
        self.bases.write().unwrap_or_else(PoisonError::into_inner).retain(|base| base.number < number);
    }
}

/// One world state.
#[derive(Clone)]
pub(crate) struct State {
    pub(crate) shared: Arc<Shared>,
    pub(crate) base: Arc<Base>,
    /// Oldest first.
    pub(crate) layers: Vec<Arc<Layer>>,
    pub(crate) trie: Trie,
}

impl State {
    /// The state before the genesis block; only for a store without a head, or to compute the genesis again.
    pub(crate) fn of_nothing(shared: Arc<Shared>) -> Self {
        let base = Arc::new(Base::of_nothing());
        Self { shared, base, layers: Vec::new(), trie: Trie::default() }
    }

    /// The account at a hashed address.
    pub(crate) fn account(&self, address: &B256) -> Result<Option<AccountRecord>, Error> {
        if let Some(account) = self.layers.iter().rev().find_map(|layer| layer.changes.account(address)) {
            return Ok(account);
        }
        if let Some(account) = self.shared.accounts.get(address, self.base.version) {
            return Ok(account);
        }
        let account = self.base.account(&self.shared.tables, address)?;
        self.shared.accounts.fill(address, self.base.version, account);
        Ok(account)
    }

    /// The value at a hashed address and slot; zero if absent.
    pub(crate) fn slot(&self, address: &B256, slot: &B256) -> Result<U256, Error> {
        if let Some(value) = self.layers.iter().rev().find_map(|layer| layer.changes.slot(address, slot)) {
            return Ok(value);
        }
        let key = (*address, *slot);
        if let Some(value) = self.shared.slots.get(&key, self.base.version) {
            return Ok(value);
        }
        let value = self.base.slot(&self.shared.tables, address, slot)?;
        self.shared.slots.fill(&key, self.base.version, value);
        Ok(value)
    }

    /// The code with a hash; empty for the hash of nothing.
    pub(crate) fn code(&self, hash: &B256) -> Result<Bytes, Error> {
        if *hash == KECCAK256_EMPTY {
            return Ok(Bytes::new());
        }
        let pending = self.layers.iter().rev().find_map(|layer| layer.changes.code.get(hash).cloned());
        match pending {
            Some(code) => Ok(code),
            None => self.base.code(&self.shared.tables, hash)?.ok_or(Error::UnknownCode(*hash)),
        }
    }

    /// The hash of a committed block at or below the base.
    pub(crate) fn committed_hash(&self, number: u64) -> Result<B256, Error> {
        let tables = &self.shared.tables;
        let hash = self.base.block_hash(tables, number)?;
        hash.ok_or_else(|| missing(&tables.headers, &number.to_be_bytes()))
    }

    /// The storage trie of a hashed address whose account has this storage root.
    ///
    /// # Errors
    /// [`Corruption::StorageRoot`] if the slots in the tables give another root.
    pub(crate) fn storage_trie(&self, address: &B256, root: B256) -> Result<Trie, Error> {
        if root == EMPTY_ROOT_HASH {
            return Ok(Trie::default());
        }
        let pending = self.layers.iter().rev().find_map(|layer| layer.changes.storage.get(address));
        if let Some(storage) = pending.filter(|storage| storage.trie.root() == root) {
            return Ok(storage.trie.clone());
        }
        if let Some(trie) = self.shared.tries.get(*address, root) {
            return Ok(trie);
        }
        let trie = if pending.is_some() {
            self.storage_trie_over_base(address)?
        } else {
            let slots = self.base.slots(&self.shared.tables, address, &Range::ALL);
            let leaf = |value: U256| move |out: &mut Vec<u8>| value.encode(out);
            let leaves = slots.map(|slot| slot.map(|(key, value)| (key, leaf(value))));
            Trie::build(leaves, u64::MAX, Hashing::Widest)?
        };
        if trie.root() != root {
            let (stored, computed) = (root, trie.root());
            return Err(Corruption::StorageRoot { hashed_address: *address, stored, computed }.into());
        }
        self.shared.tries.insert(*address, trie.clone());
        Ok(trie)
    }

    /// The storage trie of a hashed address from that of the base and the slots in the layers: a layer that undoes
    /// blocks has no tries of its own.
    fn storage_trie_over_base(&self, address: &B256) -> Result<Trie, Error> {
        let base = Self { layers: Vec::new(), ..self.clone() };
        let root = base.account(address)?.map_or(EMPTY_ROOT_HASH, |record| record.storage_root);
        let mut trie = base.storage_trie(address, root)?;
        let mut slots: BTreeMap<B256, U256> = BTreeMap::new();
        for storage in self.layers.iter().filter_map(|layer| layer.changes.storage.get(address)) {
            if storage.wiped {
                trie = Trie::default();
                slots.clear();
            }
            slots.extend(storage.slots.iter().map(|(key, value)| (*key, *value)));
        }
        let leaf = |value: &U256| (!value.is_zero()).then(|| record::slot_leaf(value));
        let leaves: Vec<Change> = slots.iter().map(|(key, value)| Change { key: *key, value: leaf(value) }).collect();
        trie.update(&StorageValues { state: &base, address }, &leaves, Hashing::Widest)
    }

    /// This state on the newest committed block of its chain.
    pub(crate) fn rebased(&self) -> Self {
        for (at, layer) in self.layers.iter().enumerate().rev() {
            let committed = |base: &Base| base.number == layer.number && base.hash == layer.hash;
            if let Some(base) = self.shared.base(committed) {
                let layers = self.layers.iter().skip(at).skip(1).cloned().collect();
                return Self { base, layers, ..self.clone() };
            }
        }
        self.clone()
    }

    /// The changes by hashed keys that a change set makes to this state, and the account trie after them.
    pub(crate) fn apply(&self, changes: ChangeSet) -> Result<(Changes, Trie), Error> {
        let addresses = hash_all(changes.accounts.keys().map(|address| address.as_slice()), Hashing::Widest);
        let work: Vec<_> = addresses.into_iter().zip(changes.accounts).collect();
        let done: Vec<Option<Changed>> = work
            .into_par_iter()
            .with_min_len(16)
            .map(|(hashed, (_, change))| self.apply_account(hashed, change))
            .collect::<Result<_, _>>()?;
        let mut out = Changes { code: changes.code, ..Changes::default() };
        for changed in done.into_iter().flatten() {
            if let Some(storage) = changed.storage {
                out.storage.insert(changed.address, storage);
            }
            out.accounts.insert(changed.address, changed.account);
        }
        let leaves: Vec<Change> = out
            .accounts
            .iter()
            .map(|(key, account)| Change { key: *key, value: account.as_ref().map(AccountRecord::leaf) })
            .collect();
        let trie = self.trie.update(&AccountValues(self), &leaves, Hashing::Widest)?;
        Ok((out, trie))
    }

    /// What a change makes of one account; `None` if it leaves everything as it is.
    fn apply_account(&self, address: B256, change: AccountChange) -> Result<Option<Changed>, Error> {
        let old = self.account(&address)?;
        let old_root = old.map_or(EMPTY_ROOT_HASH, |old| old.storage_root);
        let Some(account) = change.account else {
            let wiped = old_root != EMPTY_ROOT_HASH;
            let storage = wiped.then(|| StorageLayer { wiped, ..StorageLayer::default() });
            return Ok(old.is_some().then_some(Changed { address, account: None, storage }));
        };
        let wiped = change.storage_cleared && old_root != EMPTY_ROOT_HASH;
        let mut storage_root = old_root;
        let mut storage = None;
        if wiped || !change.storage.is_empty() {
            let before = if wiped { Trie::default() } else { self.storage_trie(&address, old_root)? };
            let layer = self.apply_storage(&address, wiped, &before, change.storage)?;
            storage_root = layer.trie.root();
            storage = Some(layer);
        }
        let new = AccountRecord { account, storage_root };
        let same = old == Some(new) && storage.is_none();
        Ok((!same).then_some(Changed { address, account: Some(new), storage }))
    }

    fn apply_storage(
        &self,
        address: &B256,
        wiped: bool,
        before: &Trie,
        slots: BTreeMap<U256, U256>,
    ) -> Result<StorageLayer, Error> {
        let plain: Vec<[u8; 32]> = slots.keys().map(U256::to_be_bytes).collect();
        let hashed = hash_all(plain.iter().map(<[u8; 32]>::as_slice), Hashing::Widest);
        let slots: BTreeMap<B256, U256> = hashed.into_iter().zip(slots.into_values()).collect();
        let leaves: Vec<Change> = slots
            .iter()
            .map(|(key, value)| Change { key: *key, value: (!value.is_zero()).then(|| record::slot_leaf(value)) })
            .collect();
        let trie = before.update(&StorageValues { state: self, address }, &leaves, Hashing::Widest)?;
        Ok(StorageLayer { wiped, slots, trie })
    }

    /// The encodings on the path to an account.
    pub(crate) fn account_nodes(&self, address: &B256) -> Result<Vec<Bytes>, Error> {
        self.trie.proof(&AccountValues(self), address)
    }

    /// The encodings on the path to a slot of an account with this storage root.
    pub(crate) fn slot_nodes(&self, address: &B256, root: B256, slot: &B256) -> Result<Vec<Bytes>, Error> {
        self.storage_trie(address, root)?.proof(&StorageValues { state: self, address }, slot)
    }

    /// This state with the account trie that the tables give: the start of a store.
    ///
    /// # Errors
    /// A malformed record, or a failure of the store. The caller compares the root.
    pub(crate) fn with_trie_from_tables(self, bytes_max: u64) -> Result<Self, Error> {
        let accounts = self.base.accounts(&self.shared.tables, &Range::ALL);
        let leaf = |record: AccountRecord| move |out: &mut Vec<u8>| record.put_leaf(out);
        let leaves = accounts.map(|account| account.map(|(key, record)| (key, leaf(record))));
        let trie = Trie::build(leaves, bytes_max, Hashing::Widest)?;
        Ok(Self { trie, ..self })
    }
}

/// keccak256 of an address.
pub(crate) fn hash_address(address: &Address) -> B256 {
    keccak256(address)
}

/// keccak256 of a slot.
pub(crate) fn hash_slot(slot: &U256) -> B256 {
    keccak256(slot.to_be_bytes::<32>())
}

/// One changed account.
struct Changed {
    address: B256,
    account: Option<AccountRecord>,
    storage: Option<StorageLayer>,
}

/// The accounts of a state as leaves.
pub(crate) struct AccountValues<'s>(pub(crate) &'s State);

impl Values for AccountValues<'_> {
    fn value(&self, key: &B256) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.0.account(key)?.as_ref().map(AccountRecord::leaf))
    }

    fn below(&self, range: &Range) -> Result<Vec<(B256, Vec<u8>)>, Error> {
        let mut accounts: BTreeMap<B256, AccountRecord> =
            self.0.base.accounts(&self.0.shared.tables, range).collect::<Result<_, _>>()?;
        for layer in &self.0.layers {
            for (key, account) in layer.changes.accounts.range(range.first..=range.last) {
                match account {
                    Some(record) => accounts.insert(*key, *record),
                    None => accounts.remove(key),
                };
            }
        }
        Ok(accounts.into_iter().map(|(key, record)| (key, record.leaf())).collect())
    }

    fn table(&self) -> &'static str {
        "accounts"
    }
}

struct StorageValues<'s> {
    state: &'s State,
    address: &'s B256,
}

impl Values for StorageValues<'_> {
    fn value(&self, key: &B256) -> Result<Option<Vec<u8>>, Error> {
        let value = self.state.slot(self.address, key)?;
        Ok((!value.is_zero()).then(|| record::slot_leaf(&value)))
    }

    fn below(&self, range: &Range) -> Result<Vec<(B256, Vec<u8>)>, Error> {
        let Self { state, address } = self;
        let mut slots: BTreeMap<B256, U256> =
            state.base.slots(&state.shared.tables, address, range).collect::<Result<_, _>>()?;
        for storage in state.layers.iter().filter_map(|layer| layer.changes.storage.get(*address)) {
            if storage.wiped {
                slots.clear();
            }
            slots.extend(storage.slots.range(range.first..=range.last));
        }
        slots.retain(|_, value| !value.is_zero());
        Ok(slots.into_iter().map(|(key, value)| (key, record::slot_leaf(&value))).collect())
    }

    fn table(&self) -> &'static str {
        "storage"
    }
}

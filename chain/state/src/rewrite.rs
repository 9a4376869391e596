//! Changes the head's state without a block, and goes back to an earlier block: for development, where there is nobody to
//! whom a block was promised.
//!
//! # Design
//! An *amendment* is written like the changes of a block: its old values join those that the head's block replaced, so
//! reads and proofs of the past stay right at any depth. The head's header does not name the root of an amended state;
//! `meta` does, until the next block's header does.
//! *Going back* takes the keys from the records of what the blocks above replaced, and their values from the snapshot
//! that was kept: the tables get them back in one batch, which also removes those blocks. The trie is made from the
//! head's by those values, and its root must be that of the snapshot.
//!
//! # Invariants
//! Only a store that was opened for [`crate::Purpose::Development`] is changed here.

use crate::{
    cache::lock,
    commit,
    error::{Corruption, Error},
    history::Undo,
    keccak::Hashing,
    layer::{Changes, StorageLayer},
    mark::Marked,
    record::{self, AccountRecord},
    snapshot::Snapshot,
    state::{AccountValues, State},
    store::{Head, Store},
    tables::{Tables, malformed, meta, missing},
    trie::{Change, Trie},
};
use alloy_primitives::B256;
use fjall::OwnedWriteBatch;
use keystead_types::{Block, ChangeSet};
use std::sync::{Arc, PoisonError};

/// The root of the state after a block, if the block was amended.
///
/// # Errors
/// A malformed record.
pub(crate) fn amended_root(tables: &Tables, number: u64) -> Result<Option<B256>, Error> {
    let key = meta::amended(number);
    let Some(bytes) = tables.meta.get(&key)? else { return Ok(None) };
    let root: Result<[u8; 32], _> = bytes.as_ref().try_into();
    root.map(|root| Some(B256::new(root))).map_err(|_| malformed(&tables.meta, &key))
}

impl Store {
    /// As [`amended_root`]; `None` in a store that only grows.
    pub(crate) fn amended_root(&self, number: u64) -> Result<Option<B256>, Error> {
        if self.is_for_development() { amended_root(&self.inner.shared.tables, number) } else { Ok(None) }
    }

    fn check_purpose(&self) -> Result<(), Error> {
        if self.is_for_development() { Ok(()) } else { Err(Error::OnlyGrows) }
    }

    /// Changes the state after the head; the head stays what it is, so its header no longer proves that state. The next
    /// block stands on the changed state.
    ///
    /// # Errors
    /// [`Error::OnlyGrows`]: nothing was written. [`Error::Corrupt`], [`Error::Store`]: stop.
    pub fn amend(&self, changes: ChangeSet) -> Result<(), Error> {
        self.check_purpose()?;
        let upkeep = lock(&self.inner.upkeep);
        let writer = lock(&self.inner.writer);
        let (head, before) = (self.head(), self.latest());
        let (state, changes) = before.child(changes)?.into_parts();
        let tables = &self.inner.shared.tables;
        let mut undo = Undo::of(before.reads(), &changes)?;
        let key = head.number.to_be_bytes();
        if let Some(bytes) = tables.undo.get(key)? {
            // What the block itself replaced is older.
            undo.precede(Undo::read(tables, head.number, &bytes)?);
        }
        let mut batch = self.batch();
        batch.insert(&tables.undo, key, undo.encode());
        if self.indexed()? >= head.number {
            // Upkeep is past this block. Otherwise it comes, and until then a read must not find this block's values by
            // key while those of blocks below are not there.
            undo.put_by_key(&mut batch, tables, head.number);
        }
        commit::put_changes(&mut batch, tables, Some(&before.reads().base), &changes)?;
        let root = state.trie.root();
        batch.insert(&tables.meta, meta::amended(head.number), root.as_slice());
        batch.commit()?;
        self.inner.unindexed.replace(head.number, &undo);
        self.replace_head(Head { state_root: root, ..head }, &changes, state.trie);
        drop((writer, upkeep));
        self.tell_listeners();
        Ok(())
    }

    /// Makes a block at or below the head the head again, with the state that a snapshot of it has. Blocks above it are
    /// gone, and so is what amended it since the snapshot was taken.
    ///
    /// Cost: linear in what the blocks above have changed.
    ///
    /// # Errors
    /// [`Error::OnlyGrows`], [`Error::Conflict`] (the snapshot's block is no longer in the chain), [`Error::Mismatch`] (it
    /// is of another store), [`Error::Pruned`]: nothing was written. [`Error::Corrupt`], [`Error::Store`], [`Error::Io`]: stop.
    pub fn restore(&self, snapshot: &Arc<Snapshot>) -> Result<(), Error> {
        self.check_purpose()?;
        let upkeep = lock(&self.inner.upkeep);
        let mut mark = lock(&self.inner.writer);
        let head = self.restorable(snapshot)?;
        let latest = self.latest();
        let mut batch = self.batch();
        let touched = self.cut(&mut batch, latest.reads(), head.number)?;
        let changes = values(&touched, snapshot.reads())?;
        let trie = trie_after(latest.proving()?, &changes)?;
        if trie.root() != snapshot.state_root() {
            let (header, computed) = (snapshot.state_root(), trie.root());
            return Err(Corruption::PastRoot { number: head.number, header, computed }.into());
        }
        let tables = &self.inner.shared.tables;
        commit::put_changes(&mut batch, tables, Some(&latest.reads().base), &changes)?;
        self.put_root(&mut batch, head)?;
        commit::put_tip(&mut batch, &tables.all(), head.number);
        // Before the blocks go: a mark that is older than the tables says less.
        mark.set(Marked { number: head.number, hash: head.hash })?;
        batch.commit()?;
        self.inner.unindexed.cut(head.number);
        self.inner.shared.tail.cut(head.number);
        self.replace_head(head, &changes, trie);
        drop((mark, upkeep));
        *lock(&self.inner.height) = head.number;
        self.tell_listeners();
        Ok(())
    }

    /// The head that a snapshot would be.
    fn restorable(&self, snapshot: &Arc<Snapshot>) -> Result<Head, Error> {
        let (number, got) = (snapshot.number(), snapshot.hash());
        if !Arc::ptr_eq(&snapshot.reads().shared, &self.inner.shared) {
            return Err(Error::Mismatch { number, part: "snapshot store" });
        }
        let committed = self.hash_of(number)?.unwrap_or_default();
        if committed != got {
            return Err(Error::Conflict { number, committed, got });
        }
        let oldest = self.oldest_state().max(self.inner.shared.segments.sealed());
        if number < oldest {
            return Err(Error::Pruned { number, oldest });
        }
        let block = self.kept_block(number)?;
        Ok(Head { number, hash: got, state_root: snapshot.state_root(), timestamp_ms: block.timestamp_ms() })
    }

    fn kept_block(&self, number: u64) -> Result<Arc<Block>, Error> {
        let tables = &self.inner.shared.tables;
        self.block(number)?.ok_or_else(|| missing(&tables.blocks, &number.to_be_bytes()))
    }

    /// Adds to a batch the removal of the blocks above a height; the keys that they and amendments of the block at that
    /// height changed.
    fn cut(&self, batch: &mut OwnedWriteBatch, latest: &State, number: u64) -> Result<Undo, Error> {
        let tables = &self.inner.shared.tables;
        let head = latest.base.number;
        let mut touched = Undo::default();
        for record in latest.base.undo_records(tables, number, head) {
            let (height, undo) = record?;
            if height > number {
                undo.remove(batch, tables, height);
            }
            touched.precede(undo);
        }
        for height in number.saturating_add(1)..=head {
            let (block, key) = (self.kept_block(height)?, height.to_be_bytes());
            let by_height = [&tables.headers, &tables.blocks, &tables.receipts, &tables.senders, &tables.certificates];
            by_height.into_iter().for_each(|table| batch.remove(table, key));
            batch.remove(&tables.numbers, block.hash().as_slice());
            for transaction in block.transactions() {
                batch.remove(&tables.transactions, transaction.tx_hash().as_slice());
            }
            batch.remove(&tables.meta, meta::amended(height));
        }
        Ok(touched)
    }

    /// Says which root the head has, and that no block above it has its old values by key.
    fn put_root(&self, batch: &mut OwnedWriteBatch, head: Head) -> Result<(), Error> {
        let tables = &self.inner.shared.tables;
        let header = self.header(head.number)?.ok_or_else(|| missing(&tables.headers, &head.number.to_be_bytes()))?;
        let amended = meta::amended(head.number);
        if header.state_root == head.state_root {
            batch.remove(&tables.meta, amended);
        } else {
            batch.insert(&tables.meta, amended, head.state_root.as_slice());
        }
        batch.insert(&tables.meta, meta::INDEXED, self.indexed()?.min(head.number).to_be_bytes());
        Ok(())
    }

    /// The last block whose old values are in the tables by key.
    fn indexed(&self) -> Result<u64, Error> {
        let (table, name) = (&self.inner.shared.tables.meta, meta::INDEXED.as_bytes());
        let bytes = table.get(name)?.ok_or_else(|| missing(table, name))?;
        record::decode_height(&bytes).ok_or_else(|| malformed(table, name))
    }

    /// Puts another state of a block, which may be an earlier one, into the place of the head's.
    fn replace_head(&self, head: Head, changes: &Changes, trie: Trie) {
        self.inner.undone.clear();
        self.inner.shared.retract(head.number);
        let snapshot = self.show(head, changes, trie);
        let mut recent = self.inner.recent.write().unwrap_or_else(PoisonError::into_inner);
        recent.head = head;
        recent.states.retain(|state| state.number() < head.number);
        recent.states.push_back(snapshot);
        recent.blocks.retain(|recent| recent.block.number() <= head.number);
    }
}

/// The changes that give all keys the values that they have in a state.
fn values(keys: &Undo, then: &State) -> Result<Changes, Error> {
    let mut changes = Changes::default();
    for address in keys.accounts.keys() {
        changes.accounts.insert(*address, then.account(address)?);
    }
    for (address, slots) in &keys.storage {
        let mut layer = StorageLayer::default();
        for slot in slots.keys() {
            layer.slots.insert(*slot, then.slot(address, slot)?);
        }
        changes.storage.insert(*address, layer);
    }
    Ok(changes)
}

/// The account trie of a state after changes.
fn trie_after(state: &State, changes: &Changes) -> Result<Trie, Error> {
    let leaf = |account: &Option<AccountRecord>| account.as_ref().map(AccountRecord::leaf);
    let leaves: Vec<Change> =
        changes.accounts.iter().map(|(key, account)| Change { key: *key, value: leaf(account) }).collect();
    state.trie.update(&AccountValues(state), &leaves, Hashing::Widest)
}

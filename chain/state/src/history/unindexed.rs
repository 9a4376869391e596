//! Old values that are in the tables by block, but not by key yet: upkeep writes them by key, off the path of a commit.
//!
//! # Design
//! Writing by key costs as much as the flat changes themselves, and nothing reads it in the first moment. So a commit
//! writes the record of the block only and keeps the values here. Each view of the tables holds the list as it was
//! before the view was made: what left the list by then is in the view by key. `meta/indexed` says how far it is, in
//! the same batch; it may be lost in a crash and is then written again.

use super::Undo;
use crate::{
    cache::lock,
    error::Error,
    record::{self, AccountRecord},
    tables::{Tables, malformed, meta, missing},
};
use alloy_primitives::{B256, U256};
use fjall::OwnedWriteBatch;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

/// Blocks after which a commit helps, should nobody call upkeep: a read looks into each.
const BLOCKS_MAX: usize = 256;
/// Values after which it helps: about 20 MiB.
const VALUES_MAX: usize = 1 << 17;
/// Blocks that a commit writes by key when it helps.
const HELP_BLOCKS: usize = 2;

/// A block's old values.
#[derive(Clone, Debug)]
pub(crate) struct Replaced {
    pub(crate) number: u64,
    pub(crate) undo: Arc<Undo>,
}

/// The list at one moment, ascending.
#[derive(Clone, Debug, Default)]
pub(crate) struct View(Arc<[Replaced]>);

impl View {
    /// What the first block above `number` that changed an account has replaced.
    pub(crate) fn account(&self, number: u64, address: &B256) -> Option<Option<AccountRecord>> {
        let mut above = self.0.iter().filter(|block| block.number > number);
        above.find_map(|block| block.undo.accounts.get(address).copied())
    }

    /// Accounts that any of the blocks changed.
    pub(crate) fn accounts(&self) -> impl Iterator<Item = &B256> {
        self.0.iter().flat_map(|block| block.undo.accounts.keys())
    }

    /// Slots that any of the blocks changed.
    pub(crate) fn slots(&self) -> impl Iterator<Item = (&B256, &B256)> {
        let storage = self.0.iter().flat_map(|block| &block.undo.storage);
        storage.flat_map(|(address, slots)| slots.keys().map(move |slot| (address, slot)))
    }

    /// What the first block above `number` that changed a slot has replaced.
    pub(crate) fn slot(&self, number: u64, address: &B256, slot: &B256) -> Option<U256> {
        let mut above = self.0.iter().filter(|block| block.number > number);
        above.find_map(|block| block.undo.storage.get(address)?.get(slot).copied())
    }
}

#[derive(Default)]
struct List {
    blocks: VecDeque<Replaced>,
    values: usize,
}

/// The list.
#[derive(Default)]
pub(crate) struct Unindexed {
    list: Mutex<List>,
}

impl Unindexed {
    /// The list as the tables have it when they are opened.
    ///
    /// # Errors
    /// A missing or malformed record.
    pub(crate) fn load(tables: &Tables, oldest: u64, head: u64) -> Result<Self, Error> {
        let name = meta::INDEXED.as_bytes();
        let bytes = tables.meta.get(name)?.ok_or_else(|| missing(&tables.meta, name))?;
        let indexed = record::decode_height(&bytes).ok_or_else(|| malformed(&tables.meta, name))?;
        let unindexed = Self::default();
        for number in indexed.max(oldest).saturating_add(1)..=head {
            let key = number.to_be_bytes();
            let bytes = tables.undo.get(key)?.ok_or_else(|| missing(&tables.undo, &key))?;
            unindexed.push(number, Undo::read(tables, number, &bytes)?);
        }
        Ok(unindexed)
    }

    /// Adds the newest block.
    pub(crate) fn push(&self, number: u64, undo: Undo) {
        let mut list = lock(&self.list);
        list.values = list.values.saturating_add(undo.len());
        list.blocks.push_back(Replaced { number, undo: Arc::new(undo) });
    }

    /// Replaces the values of a block if they are here.
    pub(crate) fn replace(&self, number: u64, undo: &Undo) {
        let mut list = lock(&self.list);
        let mut grown = list.values;
        if let Some(block) = list.blocks.iter_mut().find(|block| block.number == number) {
            grown = grown.saturating_sub(block.undo.len()).saturating_add(undo.len());
            block.undo = Arc::new(undo.clone());
        }
        list.values = grown;
    }

    /// Forgets the blocks above a height: they are gone.
    pub(crate) fn cut(&self, number: u64) {
        let mut list = lock(&self.list);
        while list.blocks.back().is_some_and(|block| block.number > number) {
            if let Some(block) = list.blocks.pop_back() {
                list.values = list.values.saturating_sub(block.undo.len());
            }
        }
    }

    /// The list as it is. Whoever makes a view of the tables takes it before.
    pub(crate) fn view(&self) -> View {
        View(lock(&self.list).blocks.iter().cloned().collect())
    }

    /// The oldest block.
    pub(crate) fn first(&self) -> Option<Replaced> {
        lock(&self.list).blocks.front().cloned()
    }

    /// Adds the oldest blocks to the batch of a commit if there are too many; returns the last of them.
    pub(crate) fn help(&self, batch: &mut OwnedWriteBatch, tables: &Tables) -> Option<u64> {
        let list = lock(&self.list);
        if list.blocks.len() < BLOCKS_MAX && list.values < VALUES_MAX {
            return None;
        }
        let oldest: Vec<Replaced> = list.blocks.iter().take(HELP_BLOCKS).cloned().collect();
        drop(list);
        oldest.iter().for_each(|block| block.put(batch, tables));
        oldest.last().map(|block| block.number)
    }

    /// Forgets the blocks up to a height: they are in the tables by key.
    pub(crate) fn drop_to(&self, number: u64) {
        let mut list = lock(&self.list);
        while list.blocks.front().is_some_and(|block| block.number <= number) {
            if let Some(block) = list.blocks.pop_front() {
                list.values = list.values.saturating_sub(block.undo.len());
            }
        }
    }
}

impl Replaced {
    /// Adds the values by key to a batch.
    pub(crate) fn put(&self, batch: &mut OwnedWriteBatch, tables: &Tables) {
        self.undo.put_by_key(batch, tables, self.number);
        batch.insert(&tables.meta, meta::INDEXED, self.number.to_be_bytes());
    }
}

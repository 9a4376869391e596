//! Old states with their tries: a recent state, and over it a layer with the old values of all blocks in between.

use super::Undo;
use crate::{
    cache::lock,
    error::{Corruption, Error},
    keccak::Hashing,
    layer::{Changes, Layer, StorageLayer},
    record::AccountRecord,
    state::{AccountValues, State},
    tables::missing,
    trie::Change,
};
use alloy_primitives::B256;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

/// Old states with tries that are kept.
const STATES_MAX: usize = 4;
/// Layers that an old state stands on before the next one starts from a recent state again: reads go through all.
const LAYERS_MAX: usize = 8;
/// Records that one proof reads: more than the default window has, and some seconds of work.
const RECORDS_MAX: u64 = 1 << 17;
/// Blocks after which an old state is dropped: it keeps a view of the tables, which keeps overwritten values on disk.
const RETIRE_BLOCKS: u64 = 1_024;

/// Which state is wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) number: u64,
    pub(crate) hash: B256,
    /// The state root in its header.
    pub(crate) root: B256,
}

struct Undone {
    number: u64,
    state: Arc<State>,
}

/// The old states that were asked for last. They hold what they share with all states, so nothing shared holds them.
pub(crate) struct UndoneStates {
    /// Used last at the back. Held while one is made: that bounds the memory of making them, too.
    kept: Mutex<VecDeque<Undone>>,
    values_max: usize,
}

impl UndoneStates {
    /// No states yet; one may hold up to `values_max` old values.
    pub(crate) const fn new(values_max: usize) -> Self {
        Self { kept: Mutex::new(VecDeque::new()), values_max }
    }

    /// Drops states that stand on a block far below the head.
    pub(crate) fn retire(&self, head: u64) {
        // A proof under way holds the lock for seconds; a commit does not wait for it, the next one drops as well.
        if let Ok(mut kept) = self.kept.try_lock() {
            kept.retain(|undone| undone.state.base.number.saturating_add(RETIRE_BLOCKS) >= head);
        }
    }

    /// Drops all of them: the chain below them was changed.
    pub(crate) fn clear(&self) {
        lock(&self.kept).clear();
    }

    /// The state after the target's block, made from the nearest that is kept above it, or from `recent`.
    ///
    /// # Errors
    /// [`Error::TooDeep`]; [`Corruption::PastRoot`] if the old values do not give the root in the header.
    pub(crate) fn reach(&self, recent: &State, target: &Target) -> Result<Arc<State>, Error> {
        let mut kept = lock(&self.kept);
        if let Some(at) = kept.iter().position(|undone| undone.number == target.number)
            && let Some(found) = kept.remove(at)
        {
            let state = Arc::clone(&found.state);
            kept.push_back(found);
            return Ok(state);
        }
        let above = kept.iter().filter(|undone| undone.number > target.number);
        let above = above.filter(|undone| undone.state.layers.len() < LAYERS_MAX).min_by_key(|undone| undone.number);
        let (from, number) = match above.filter(|undone| undone.number < recent.base.number) {
            Some(undone) => (undone.state.as_ref(), undone.number),
            None => (recent, recent.base.number),
        };
        let state = Arc::new(self.undo(from, number, target)?);
        kept.push_back(Undone { number: target.number, state: Arc::clone(&state) });
        if kept.len() > STATES_MAX {
            kept.pop_front();
        }
        Ok(state)
    }

    /// The state after the target's block from that after block `number` above it.
    fn undo(&self, from: &State, number: u64, target: &Target) -> Result<State, Error> {
        let undo = self.collect(from, number, target)?;
        let leaves: Vec<Change> = undo
            .accounts
            .iter()
            .map(|(key, old)| Change { key: *key, value: old.as_ref().map(AccountRecord::leaf) })
            .collect();
        let trie = from.trie.update(&AccountValues(from), &leaves, Hashing::Widest)?;
        if trie.root() != target.root {
            let (header, computed) = (target.root, trie.root());
            return Err(Corruption::PastRoot { number: target.number, header, computed }.into());
        }
        let storage = undo.storage.into_iter().map(|(address, slots)| {
            // The trie is made when it is asked for: the root in the account tells that this is not it.
            let slots = StorageLayer { wiped: false, slots, ..StorageLayer::default() };
            (address, slots)
        });
        let changes = Changes { accounts: undo.accounts, storage: storage.collect(), ..Changes::default() };
        let layer = Layer { number: target.number, hash: target.hash, parent: B256::ZERO, changes };
        let mut state = State { trie, ..from.clone() };
        state.layers.push(Arc::new(layer));
        Ok(state)
    }

    /// The old values of the blocks above the target's, up to block `number`.
    fn collect(&self, from: &State, number: u64, target: &Target) -> Result<Undo, Error> {
        let too_deep = |values| {
            let (records_max, values_max) = (RECORDS_MAX, self.values_max);
            Error::TooDeep { number: target.number, above: number, values, records_max, values_max }
        };
        if number.saturating_sub(target.number) > RECORDS_MAX {
            return Err(too_deep(0));
        }
        let tables = &from.shared.tables;
        let mut undo = Undo::default();
        let (mut next, mut values) = (number, 0_usize);
        for entry in from.base.undo_records(tables, target.number.saturating_add(1), number) {
            let (found, earlier) = entry?;
            if found != next {
                break;
            }
            values = values.saturating_add(undo.precede(earlier));
            if values > self.values_max {
                return Err(too_deep(values));
            }
            next = found.saturating_sub(1);
        }
        if next == target.number { Ok(undo) } else { Err(missing(&tables.undo, &next.to_be_bytes())) }
    }
}

//! How far back states reach, and the removal of what lies below.

use super::Undo;
use crate::{
    error::Error,
    record,
    tables::{Tables, malformed, meta, missing},
};
use fjall::OwnedWriteBatch;

/// Blocks whose old values one step of upkeep removes: one for the new block, three so that a shortened window shrinks.
const PRUNE_BLOCKS_MAX: u64 = 4;
/// Values that one step removes before it stops after a whole block. Gas bounds a block to some 30,000.
const PRUNE_VALUES_MAX: usize = 8_192;
/// Default window: 5.5 hours at 200 ms a block, 16 hours at the idle 600 ms.
const BLOCKS_DEFAULT: u64 = 100_000;

/// Which old states are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum History {
    /// All since the store was made.
    Archive,
    /// Those after the last so many blocks below the head, and more until [`crate::Store::upkeep`] drops them.
    Blocks(u64),
}

impl Default for History {
    fn default() -> Self {
        Self::Blocks(BLOCKS_DEFAULT)
    }
}

impl History {
    /// The oldest state to keep when the head is at a height.
    pub(crate) const fn oldest(self, head: u64) -> u64 {
        match self {
            Self::Archive => 0,
            Self::Blocks(blocks) => head.saturating_sub(blocks),
        }
    }
}

/// The states that can be read: from `oldest` to the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) oldest: u64,
}

impl Window {
    /// The window as the tables have it.
    ///
    /// # Errors
    /// A missing or malformed record.
    pub(crate) fn load(tables: &Tables) -> Result<Self, Error> {
        let name = meta::HISTORY;
        let bytes = tables.meta(name)?.ok_or_else(|| missing(&tables.meta, name.as_bytes()))?;
        let oldest = record::decode_height(&bytes).ok_or_else(|| malformed(&tables.meta, name.as_bytes()))?;
        Ok(Self { oldest })
    }

    pub(crate) fn put(self, batch: &mut OwnedWriteBatch, tables: &Tables) {
        batch.insert(&tables.meta, meta::HISTORY, self.oldest.to_be_bytes());
    }
}

/// Adds to a batch the removal of old values, so that `target` or a lower state becomes the oldest; says which.
///
/// # Errors
/// A missing or malformed record.
pub(crate) fn prune(
    batch: &mut OwnedWriteBatch,
    tables: &Tables,
    window: Window,
    target: u64,
) -> Result<Window, Error> {
    let mut oldest = window.oldest;
    let mut removed = 0;
    let end = target.min(oldest.saturating_add(PRUNE_BLOCKS_MAX));
    while oldest < end && removed < PRUNE_VALUES_MAX {
        let number = oldest.saturating_add(1);
        let key = number.to_be_bytes();
        let bytes = tables.undo.get(key)?.ok_or_else(|| missing(&tables.undo, &key))?;
        let undo = Undo::read(tables, number, &bytes)?;
        undo.remove(batch, tables, number);
        removed = undo.len().saturating_add(removed);
        oldest = number;
    }
    let pruned = Window { oldest };
    pruned.put(batch, tables);
    Ok(pruned)
}

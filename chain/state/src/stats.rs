//! What a data folder holds, and dropping the old part of it.

use crate::{cache::lock, commit, error::Error, history, store::Store, tables::name};
use std::sync::PoisonError;

/// A table of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableStats {
    /// Its name.
    pub name: &'static str,
    /// Entries, about: overwritten ones may be counted more than once.
    pub entries: u64,
    /// Bytes of its files; what is only in the journal is not counted.
    pub bytes: u64,
}

/// What a data folder holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Height of the head.
    pub head: u64,
    /// Height of the oldest state that can be read.
    pub oldest_state: u64,
    /// Height of the oldest block, after the genesis block, whose body is kept.
    pub oldest_block: u64,
    /// Height of the last block that is in a sealed file; 0 if there is none.
    pub sealed: u64,
    /// All tables.
    pub tables: Vec<TableStats>,
    /// Bytes of the journal on disk.
    pub journal_bytes: u64,
    /// Sealed files.
    pub segments: u64,
    /// Their bytes.
    pub segment_bytes: u64,
    /// Entries of their log indices.
    pub postings: u64,
    /// Bytes of the branches of the account trie in memory, those of recent states included.
    pub trie_bytes: u64,
}

/// What was dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Old states.
    pub states: u64,
    /// Sealed files.
    pub segments: u64,
    /// Bytes of those files.
    pub segment_bytes: u64,
}

impl Store {
    /// Counts what the folder holds.
    ///
    /// # Errors
    /// [`Error::Store`]: the file system failed.
    pub fn stats(&self) -> Result<Stats, Error> {
        let shared = &self.inner.shared;
        let tables = shared.tables.all().into_iter().map(|table| TableStats {
            name: name(table),
            entries: table.approximate_len() as u64,
            bytes: table.disk_space(),
        });
        let segments = shared.segments.all();
        let sum = |of: fn(&crate::segment::Segment) -> u64| segments.iter().map(|one| of(one)).sum::<u64>();
        Ok(Stats {
            head: self.head().number,
            oldest_state: self.oldest_state(),
            oldest_block: self.oldest_block(),
            sealed: shared.segments.sealed(),
            tables: tables.collect(),
            journal_bytes: shared.tables.database.journal_disk_space()?,
            segments: segments.len() as u64,
            segment_bytes: sum(|segment| segment.bytes),
            postings: sum(crate::segment::Segment::postings),
            trie_bytes: self.latest().proving()?.trie.bytes(),
        })
    }

    /// Drops the states below a height, and the sealed files all of whose blocks lie below it. The state of the head, its
    /// block and all headers stay.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Io`], [`Error::Corrupt`]: what was dropped until then is gone, the rest is whole.
    pub fn prune(&self, below: u64) -> Result<Pruned, Error> {
        self.upkeep()?;
        let _sealer = lock(&self.inner.sealer);
        let mut pruned = Pruned { states: self.prune_states(below)?, ..Pruned::default() };
        let shared = &self.inner.shared;
        // First from memory: whoever asks from now on is told that it is gone.
        let segments = shared.segments.drop_below(below);
        let mut batch = commit::batch(&shared.tables);
        for segment in &segments {
            batch.remove(&shared.tables.segments, segment.first.to_be_bytes());
        }
        batch.commit()?;
        for segment in segments {
            std::fs::remove_file(shared.segments.path(segment.first))?;
            pruned.segments = pruned.segments.saturating_add(1);
            pruned.segment_bytes = pruned.segment_bytes.saturating_add(segment.bytes);
        }
        Ok(pruned)
    }

    /// Drops the states below a height, step by step; returns how many.
    fn prune_states(&self, below: u64) -> Result<u64, Error> {
        let _upkeep = lock(&self.inner.upkeep);
        let tables = &self.inner.shared.tables;
        let (before, head) = self.recent(|recent| (recent.window.oldest, recent.head.number));
        let mut window = self.recent(|recent| recent.window);
        while window.oldest < below.min(head) {
            let mut batch = tables.database.batch();
            window = history::prune(&mut batch, tables, window, below.min(head))?;
            self.inner.recent.write().unwrap_or_else(PoisonError::into_inner).window = window;
            batch.commit()?;
        }
        Ok(window.oldest.saturating_sub(before))
    }
}

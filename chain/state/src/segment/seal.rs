//! Moves the oldest blocks out of the tables into a file; keeps the postings of those that are not moved yet.

use super::writer::Writer;
use crate::{
    commit,
    error::Error,
    logs::Run,
    receipts,
    state::Shared,
    tables::{Base, malformed, missing},
};
use std::{
    collections::VecDeque,
    ops::RangeInclusive,
    sync::{PoisonError, RwLock},
};

/// Blocks below the head that stay in the tables: they are asked for most, and are still in memory.
const UNSEALED_BLOCKS: u64 = 16;
/// Raw bytes of blocks and receipts after which a file ends: a fifth of a second of work.
const SEGMENT_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Postings after which a file ends: 24 MiB of memory while it is written.
const SEGMENT_POSTINGS_MAX: usize = 1 << 20;

/// Files that unsealed blocks may fill before a commit seals them: 64 MiB of postings.
const OVERDUE_FILES: usize = 4;
/// Blocks whose postings become one sorted list: 8,192 unsealed blocks are 128 lists then, and some single ones.
const RUN_BLOCKS: usize = 64;
/// Bytes after which a part of a block's receipts ends.
const PART_BYTES: usize = 2 * 1024;

/// Instead of a number of blocks: no file is ever made.
pub(crate) const NEVER: u64 = u64::MAX;

/// A file that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Heights of its blocks.
    pub blocks: RangeInclusive<u64>,
    /// Its length in bytes.
    pub bytes: u64,
    /// Bytes that its blocks and receipts had in the tables, before compression.
    pub raw_bytes: u64,
}

#[derive(Default)]
struct Unsealed {
    /// Ascending, without gaps, up to the head.
    runs: VecDeque<Run>,
    bytes: u64,
    postings: usize,
}

/// The log index of the blocks above the last sealed one.
#[derive(Default)]
pub(crate) struct Tail {
    unsealed: RwLock<Unsealed>,
}

impl Tail {
    /// Adds the block above the last one.
    pub(crate) fn push(&self, block: Run) {
        let mut unsealed = self.unsealed.write().unwrap_or_else(PoisonError::into_inner);
        unsealed.bytes = unsealed.bytes.saturating_add(block.bytes);
        unsealed.postings = unsealed.postings.saturating_add(block.entries.len());
        unsealed.runs.push_back(block);
    }

    /// Forgets the runs up to a height. One that goes on above it stays whole.
    fn drop_to(&self, number: u64) {
        let mut unsealed = self.unsealed.write().unwrap_or_else(PoisonError::into_inner);
        while unsealed.runs.front().is_some_and(|run| run.last <= number) {
            if let Some(run) = unsealed.runs.pop_front() {
                unsealed.bytes = unsealed.bytes.saturating_sub(run.bytes);
                unsealed.postings = unsealed.postings.saturating_sub(run.entries.len());
            }
        }
    }

    /// Forgets the blocks above a height: they are gone.
    pub(crate) fn cut(&self, number: u64) {
        let mut unsealed = self.unsealed.write().unwrap_or_else(PoisonError::into_inner);
        while unsealed.runs.back().is_some_and(|run| run.last > number) {
            let Some(run) = unsealed.runs.pop_back() else { break };
            unsealed.bytes = unsealed.bytes.saturating_sub(run.bytes);
            unsealed.postings = unsealed.postings.saturating_sub(run.entries.len());
            if let Some(left) = run.cut(number) {
                unsealed.bytes = unsealed.bytes.saturating_add(left.bytes);
                unsealed.postings = unsealed.postings.saturating_add(left.entries.len());
                unsealed.runs.push_back(left);
            }
        }
    }

    /// The runs that have blocks in a range of heights, ascending.
    pub(crate) fn within(&self, heights: &RangeInclusive<u64>) -> Vec<Run> {
        let unsealed = self.unsealed.read().unwrap_or_else(PoisonError::into_inner);
        let from = unsealed.runs.partition_point(|run| run.last < *heights.start());
        let to = unsealed.runs.partition_point(|run| run.first <= *heights.end());
        unsealed.runs.range(from..to.max(from)).cloned().collect()
    }

    /// Merges single blocks into runs of [`RUN_BLOCKS`], so that a search looks into few lists. For one caller at a time.
    pub(crate) fn merge(&self) {
        while let Some(runs) = self.mergeable() {
            let Some(merged) = Run::merge(&runs) else { return };
            let mut unsealed = self.unsealed.write().unwrap_or_else(PoisonError::into_inner);
            // Some may have been sealed meanwhile; then there is nothing to merge any more.
            let at = unsealed.runs.partition_point(|run| run.first < merged.first);
            let end = at.saturating_add(runs.len());
            let there = unsealed.runs.get(at).is_some_and(|run| run.first == merged.first);
            if !there || end > unsealed.runs.len() {
                return;
            }
            unsealed.runs.drain(at..end);
            unsealed.runs.insert(at, merged);
        }
    }

    /// The oldest [`RUN_BLOCKS`] single blocks, if there are so many.
    fn mergeable(&self) -> Option<Vec<Run>> {
        let unsealed = self.unsealed.read().unwrap_or_else(PoisonError::into_inner);
        let single = unsealed.runs.iter().skip_while(|run| run.first < run.last);
        let single: Vec<Run> = single.take(RUN_BLOCKS).cloned().collect();
        (single.len() == RUN_BLOCKS).then_some(single)
    }

    /// True if the blocks fill a file by their size.
    fn is_large(&self) -> bool {
        self.fills(1)
    }

    /// True if nobody seals: then a commit does, so that memory stays bounded.
    pub(crate) fn is_overdue(&self) -> bool {
        self.fills(OVERDUE_FILES)
    }

    /// True if the blocks fill so many files by their size.
    fn fills(&self, files: usize) -> bool {
        let unsealed = self.unsealed.read().unwrap_or_else(PoisonError::into_inner);
        unsealed.postings >= SEGMENT_POSTINGS_MAX.saturating_mul(files)
            || unsealed.bytes >= SEGMENT_BYTES_MAX.saturating_mul(files as u64)
    }
}

/// Seals the oldest unsealed blocks if there are enough of them, up to `blocks_max`. `base` is the head.
///
/// # Errors
/// A failure of file system or store: nothing is lost, and the blocks are where they were.
pub(crate) fn seal(shared: &Shared, base: &Base, blocks_max: u64) -> Result<Option<Sealed>, Error> {
    if blocks_max == NEVER {
        return Ok(None);
    }
    let first = shared.segments.sealed().saturating_add(1);
    let last = base.number.saturating_sub(UNSEALED_BLOCKS).min(first.saturating_add(blocks_max).saturating_sub(1));
    let count = last.saturating_add(1).saturating_sub(first);
    if count == 0 || (count < blocks_max && !shared.tail.is_large()) {
        return Ok(None);
    }
    let mut writer = Writer::create(shared.segments.path(first), first)?;
    let mut raw_bytes = 0_u64;
    for number in first..=last {
        raw_bytes = raw_bytes.saturating_add(add(shared, base, &mut writer, number)?);
        if raw_bytes >= SEGMENT_BYTES_MAX || writer.postings() >= SEGMENT_POSTINGS_MAX {
            break;
        }
    }
    let listed = writer.finish()?;
    // Visible before the blocks leave the tables: whoever does not find one there finds it here.
    shared.segments.push(&listed)?;
    let tables = &shared.tables;
    let mut batch = commit::batch(tables);
    listed.put(&mut batch, tables);
    for number in first..=listed.last {
        for table in [&tables.blocks, &tables.receipts, &tables.senders] {
            batch.remove(table, number.to_be_bytes());
        }
    }
    if let Err(error) = batch.commit() {
        shared.segments.pop();
        return Err(error.into());
    }
    shared.tail.drop_to(listed.last);
    Ok(Some(Sealed { blocks: first..=listed.last, bytes: listed.bytes, raw_bytes }))
}

/// Adds a block to a file; returns its bytes.
fn add(shared: &Shared, base: &Base, writer: &mut Writer, number: u64) -> Result<u64, Error> {
    let tables = &shared.tables;
    let key = number.to_be_bytes();
    let read = |table| base.bytes(table, &key)?.ok_or_else(|| missing(table, &key));
    let hash = base.block_hash(tables, number)?.ok_or_else(|| missing(&tables.headers, &key))?;
    let (bytes, senders) = (read(&tables.blocks)?, read(&tables.senders)?);
    // What is moved is checked once more: the file is what will be left of it.
    let block = commit::decode_block(tables, number, hash, &bytes)?;
    let bad = || malformed(&tables.receipts, &key);
    let receipts = receipts::renew(&block, read(&tables.receipts)?.to_vec()).ok_or_else(bad)?;
    let size = bytes.len().saturating_add(receipts.len()) as u64;
    let postings = Run::of_record(number, size, &receipts).ok_or_else(bad)?;
    let parts = receipts::split(&receipts, PART_BYTES).ok_or_else(bad)?;
    writer.add(&bytes, &senders, &parts, &postings)?;
    Ok(postings.bytes)
}

//! Reads of committed blocks, receipts and logs, wherever they lie: memory, tables or sealed files.
//!
//! # Design
//! Every read goes first to the view of the head, then to the sealed files: a block is listed there before it leaves
//! the tables. The same order holds for logs: first the postings in memory, then the files; what both have is taken
//! from the files.

use crate::{
    commit,
    error::{Corruption, Error},
    logs::{FoundLog, LogQuery, Place, Run, candidates},
    receipts,
    segment::{self, Kind, Record, Sealed, Segment, SegmentLists},
    store::{RecentBlock, Store},
    tables::{malformed, missing},
};
use alloy_primitives::{Address, B256, keccak256};
use fjall::Keyspace;
use keystead_types::{Block, Header, Receipt};
use std::{ops::RangeInclusive, sync::Arc};

/// Places that one search compares with their logs at most; each costs some ten microseconds. Only values that share a
/// term, or lists too long to intersect, make places that do not match.
const CANDIDATES_MAX: usize = 100_000;

impl Store {
    fn recent_block(&self, number: u64) -> Option<RecentBlock> {
        self.recent(|recent| recent.blocks.iter().find(|recent| recent.block.number() == number).cloned())
    }

    /// The record of a committed block: from its table, or from a sealed file.
    fn stored(&self, number: u64, table: &Keyspace, record: Record) -> Result<Option<Vec<u8>>, Error> {
        let base = self.base();
        if number > base.number {
            return Ok(None);
        }
        if let Some(bytes) = base.bytes(table, &number.to_be_bytes())? {
            return Ok(Some(bytes.to_vec()));
        }
        let segments = &self.inner.shared.segments;
        if let Some(bytes) = segments.record(number, record)? {
            return Ok(Some(bytes));
        }
        let oldest = segments.oldest();
        if number < oldest { Err(Error::Pruned { number, oldest }) } else { Err(missing(table, &number.to_be_bytes())) }
    }

    /// The committed block at a height.
    ///
    /// # Errors
    /// [`Error::Pruned`]: its body was dropped, its header is kept. [`Error::Corrupt`], [`Error::Store`]: stop.
    pub fn block(&self, number: u64) -> Result<Option<Arc<Block>>, Error> {
        if let Some(recent) = self.recent_block(number) {
            return Ok(Some(recent.block));
        }
        let tables = &self.inner.shared.tables;
        let Some(bytes) = self.stored(number, &tables.blocks, Record::Block)? else { return Ok(None) };
        let hash = self.hash_of(number)?.ok_or_else(|| missing(&tables.headers, &number.to_be_bytes()))?;
        Ok(Some(Arc::new(commit::decode_block(tables, number, hash, &bytes)?)))
    }

    /// The receipts of a committed block, in order of its transactions.
    ///
    /// # Errors
    /// As [`Self::block`].
    pub fn receipts(&self, number: u64) -> Result<Option<Arc<Vec<Receipt>>>, Error> {
        if let Some(recent) = self.recent_block(number) {
            return Ok(Some(recent.receipts));
        }
        let table = &self.inner.shared.tables.receipts;
        let Some(bytes) = self.stored(number, table, Record::Receipts)? else { return Ok(None) };
        let receipts = receipts::decode(&bytes).ok_or_else(|| malformed(table, &number.to_be_bytes()))?;
        Ok(Some(Arc::new(receipts)))
    }

    /// The senders of a committed block, in order of its transactions.
    ///
    /// # Errors
    /// As [`Self::block`].
    pub fn senders(&self, number: u64) -> Result<Option<Arc<Vec<Address>>>, Error> {
        if let Some(recent) = self.recent_block(number) {
            return Ok(Some(recent.senders));
        }
        let table = &self.inner.shared.tables.senders;
        let Some(bytes) = self.stored(number, table, Record::Senders)? else { return Ok(None) };
        let senders = crate::record::decode_senders(&bytes).ok_or_else(|| malformed(table, &number.to_be_bytes()))?;
        Ok(Some(Arc::new(senders)))
    }

    /// Height of the oldest block after the genesis block whose body, receipts and logs are kept.
    #[must_use]
    pub fn oldest_block(&self) -> u64 {
        self.inner.shared.segments.oldest()
    }

    /// Moves the oldest blocks from the tables into a sealed file if there are enough of them: [`crate::Options::segment_blocks`], or
    /// 64 MiB. [`Store::upkeep`] calls it until it says `None`.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Store`]: the blocks stay where they were. [`Error::Corrupt`]: stop.
    pub fn seal(&self) -> Result<Option<Sealed>, Error> {
        if self.is_for_development() {
            return Ok(None);
        }
        let _sealer = crate::cache::lock(&self.inner.sealer);
        segment::seal(&self.inner.shared, &self.base(), self.inner.segment_blocks)
    }

    /// The logs in a range of heights that match, in order of their places in the chain.
    ///
    /// Heights above the head have none. A query that names no value reads all receipts of the range: bound it.
    ///
    /// # Errors
    /// [`Error::TooManyLogs`]: more than `logs_max` match; narrow the query or the range. [`Error::TooManyCandidates`]:
    /// the same, as comparing them would take too long. [`Error::Pruned`]: the range begins below the oldest block.
    /// [`Error::Corrupt`], [`Error::Store`]: stop.
    pub fn logs(
        &self,
        query: &LogQuery,
        heights: RangeInclusive<u64>,
        logs_max: usize,
    ) -> Result<Vec<FoundLog>, Error> {
        let head = self.head().number;
        // The genesis block has no transactions.
        let (from, to) = ((*heights.start()).max(1), (*heights.end()).min(head));
        let oldest = self.oldest_block();
        if from < oldest && from <= to {
            return Err(Error::Pruned { number: from, oldest });
        }
        let heights = from..=to;
        let mut search = Search { store: self, query, logs_max, candidates: 0, found: Vec::new() };
        // The tail first: a block that is sealed meanwhile is then in both.
        let tail = self.inner.shared.tail.within(&heights);
        let mut next = from;
        for segment in self.inner.shared.segments.all() {
            if segment.last >= from && segment.first <= to {
                search.segment(&segment, &heights)?;
                next = segment.last.saturating_add(1);
            }
        }
        for run in tail.iter().filter(|run| run.last >= next) {
            search.run(run, &(next.max(from)..=to))?;
        }
        Ok(search.found)
    }
}

/// A search under way.
struct Search<'s> {
    store: &'s Store,
    query: &'s LogQuery,
    logs_max: usize,
    /// Places compared so far.
    candidates: usize,
    found: Vec<FoundLog>,
}

/// What answers say about a block.
struct Heading {
    number: u64,
    hash: B256,
    timestamp: u64,
}

impl Search<'_> {
    fn segment(&mut self, segment: &Segment, heights: &RangeInclusive<u64>) -> Result<(), Error> {
        let files = &self.store.inner.shared.segments;
        if self.query.names_nothing() {
            for number in segment.first.max(*heights.start())..=segment.last.min(*heights.end()) {
                self.all(number, &segment.record(files, number, Record::Receipts)?)?;
            }
            return Ok(());
        }
        let lists = SegmentLists { segment, files };
        let places = candidates(&lists, &self.query.groups(), heights)?;
        self.count(places.len(), segment.last)?;
        let (mut frame, mut heading) = (None, None);
        for places in places.chunk_by(|a, b| (a.number, a.transaction) == (b.number, b.transaction)) {
            let Some(Place { number, transaction, .. }) = places.first().copied() else { continue };
            let at = segment.find(Kind::Receipts, number, transaction.into())?;
            let frame = match frame.take().filter(|(last, _)| *last == at) {
                Some(same) => frame.insert(same),
                None => frame.insert((at, segment.frame(files, Kind::Receipts, at)?)),
            };
            let part = frame.1.part(number, transaction.into());
            let (first, record) = part.ok_or_else(|| self.malformed(number))?;
            let index = u64::from(transaction).saturating_sub(first);
            let index = u32::try_from(index).map_err(|_| self.malformed(number))?;
            self.places(&mut heading, places, record, index)?;
        }
        Ok(())
    }

    fn run(&mut self, run: &Run, heights: &RangeInclusive<u64>) -> Result<(), Error> {
        if self.query.names_nothing() {
            for number in run.heights(heights) {
                self.all(number, &self.unsealed(number)?)?;
            }
            return Ok(());
        }
        let places = candidates(run, &self.query.groups(), heights)?;
        self.count(places.len(), run.last)?;
        for places in places.chunk_by(|a, b| a.number == b.number) {
            let Some(number) = places.first().map(|place| place.number) else { continue };
            let (record, mut heading) = (self.unsealed(number)?, None);
            for places in places.chunk_by(|a, b| a.transaction == b.transaction) {
                let transaction = places.first().map_or(0, |place| place.transaction);
                self.places(&mut heading, places, &record, transaction)?;
            }
        }
        Ok(())
    }

    /// The receipts of a block that was not sealed a moment ago, in the newer form.
    fn unsealed(&self, number: u64) -> Result<Vec<u8>, Error> {
        let table = &self.store.inner.shared.tables.receipts;
        let bytes = self.store.stored(number, table, Record::Receipts)?;
        let bytes = bytes.ok_or_else(|| missing(table, &number.to_be_bytes()))?;
        if receipts::is_new(&bytes) {
            return Ok(bytes);
        }
        let block = self.store.block(number)?;
        let renewed = block.and_then(|block| receipts::renew(&block, bytes));
        renewed.ok_or_else(|| malformed(table, &number.to_be_bytes()))
    }

    const fn count(&mut self, candidates: usize, up_to: u64) -> Result<(), Error> {
        self.candidates = self.candidates.saturating_add(candidates);
        if self.candidates > CANDIDATES_MAX {
            return Err(Error::TooManyCandidates { up_to, candidates_max: CANDIDATES_MAX });
        }
        Ok(())
    }

    /// Adds the logs at some places of one transaction that match. Its receipt is the one at `index` of the record.
    fn places(
        &mut self,
        heading: &mut Option<Heading>,
        places: &[Place],
        record: &[u8],
        index: u32,
    ) -> Result<(), Error> {
        let Some(number) = places.first().map(|place| place.number) else { return Ok(()) };
        let logs = receipts::logs(record, index).flatten().ok_or_else(|| self.malformed(number))?;
        for place in places {
            let log = usize::try_from(place.log).ok().and_then(|at| logs.logs.get(at));
            if self.query.matches(log.ok_or_else(|| self.malformed(number))?) {
                self.push(number, heading, place.transaction, &logs, place.log)?;
            }
        }
        Ok(())
    }

    /// Adds the logs of one block that match.
    fn all(&mut self, number: u64, record: &[u8]) -> Result<(), Error> {
        let mut heading = None;
        for receipt in receipts::each(record) {
            let (transaction, logs) = receipt.ok_or_else(|| self.malformed(number))?;
            for (log, index) in logs.logs.iter().zip(0_u32..) {
                if self.query.matches(log) {
                    self.push(number, &mut heading, transaction, &logs, index)?;
                }
            }
        }
        Ok(())
    }

    fn push(
        &mut self,
        number: u64,
        heading: &mut Option<Heading>,
        transaction: u32,
        logs: &receipts::Logs,
        index: u32,
    ) -> Result<(), Error> {
        if self.found.len() >= self.logs_max {
            return Err(Error::TooManyLogs { up_to: number, logs_max: self.logs_max });
        }
        let heading = match heading.take().filter(|heading| heading.number == number) {
            Some(same) => heading.insert(same),
            None => heading.insert(self.heading(number)?),
        };
        let log = usize::try_from(index).ok().and_then(|index| logs.logs.get(index)).cloned();
        self.found.push(FoundLog {
            block_number: heading.number,
            block_hash: heading.hash,
            block_timestamp: heading.timestamp,
            transaction_hash: logs.transaction_hash,
            transaction_index: u64::from(transaction),
            log_index: u64::from(logs.first).saturating_add(u64::from(index)),
            log: log.ok_or_else(|| self.malformed(number))?,
        });
        Ok(())
    }

    fn heading(&self, number: u64) -> Result<Heading, Error> {
        let table = &self.store.inner.shared.tables.headers;
        let key = number.to_be_bytes();
        let bytes = self.store.base().bytes(table, &key)?.ok_or_else(|| missing(table, &key))?;
        let header: Header = crate::record::decode_header(&bytes).ok_or_else(|| malformed(table, &key))?;
        Ok(Heading { number, hash: keccak256(&bytes), timestamp: header.timestamp })
    }

    fn malformed(&self, number: u64) -> Error {
        match self.store.inner.shared.segments.find(number) {
            Some(segment) => {
                let reason = format!("receipts of block {number} are malformed or do not fit the log index");
                Corruption::Segment { file: segment.name.clone(), reason }.into()
            }
            None => malformed(&self.store.inner.shared.tables.receipts, &number.to_be_bytes()),
        }
    }
}

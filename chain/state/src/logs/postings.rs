//! Terms and postings, and their bytes.

use crate::receipts;
use alloy_primitives::Log;
use keystead_types::Receipt;
use std::{ops::RangeInclusive, sync::Arc};
use twox_hash::XxHash3_128;

/// Where a log stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// Height of the block.
    pub(crate) number: u64,
    /// Index of the transaction in the block.
    pub(crate) transaction: u32,
    /// Index of the log in its receipt.
    pub(crate) log: u32,
}

/// A term and one place where it occurs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Posting {
    pub(crate) term: u64,
    pub(crate) place: Place,
}

/// The term of a value: kind 0 is the address, 1 to 4 are the topics by position.
pub(crate) fn term(kind: u8, value: &[u8]) -> u64 {
    let mut bytes = [0; 33];
    if let Some((first, rest)) = bytes.split_first_mut() {
        *first = kind;
        rest.iter_mut().zip(value).for_each(|(to, from)| *to = *from);
    }
    // LOSSY: any 64 bits of the hash do.
    let [a, b, c, d, e, f, g, h, ..] = XxHash3_128::oneshot(&bytes).to_be_bytes();
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// The terms of a log.
fn terms(log: &Log) -> impl Iterator<Item = u64> {
    let topics = (1_u8..).zip(log.topics()).map(|(kind, topic)| term(kind, topic.as_slice()));
    std::iter::once(term(0, log.address.as_slice())).chain(topics)
}

fn put_terms(entries: &mut Vec<Posting>, number: u64, transaction: u32, logs: &[Log]) {
    for (log, index) in logs.iter().zip(0_u32..) {
        let place = Place { number, transaction, log: index };
        entries.extend(terms(log).map(|term| Posting { term, place }));
    }
}

/// The postings of one block, or of some consecutive ones, by term.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// Bytes of the blocks and their receipts as they are stored.
    pub(crate) bytes: u64,
    /// Ascending.
    pub(crate) entries: Arc<[Posting]>,
}

impl Run {
    /// The postings of a block. `bytes` are those of the block and its receipts as they are stored.
    pub(crate) fn of(number: u64, bytes: u64, receipts: &[Receipt]) -> Self {
        let mut entries = Vec::new();
        for (receipt, transaction) in receipts.iter().zip(0_u32..) {
            put_terms(&mut entries, number, transaction, receipt.logs());
        }
        Self::sorted(number, bytes, entries)
    }

    /// The postings of a block from the record of its receipts, in either form; `None` if that is malformed.
    pub(crate) fn of_record(number: u64, bytes: u64, record: &[u8]) -> Option<Self> {
        if !receipts::is_new(record) {
            return Some(Self::of(number, bytes, &receipts::decode(record)?));
        }
        let mut entries = Vec::new();
        for receipt in receipts::each(record) {
            let (transaction, found) = receipt?;
            put_terms(&mut entries, number, transaction, &found.logs);
        }
        Some(Self::sorted(number, bytes, entries))
    }

    fn sorted(number: u64, bytes: u64, mut entries: Vec<Posting>) -> Self {
        entries.sort_unstable();
        Self { first: number, last: number, bytes, entries: entries.into() }
    }

    /// One run of several that follow each other; `None` if there are none.
    pub(crate) fn merge(runs: &[Self]) -> Option<Self> {
        let (first, last) = (runs.first()?.first, runs.last()?.last);
        let bytes = runs.iter().map(|run| run.bytes).fold(0, u64::saturating_add);
        let mut entries: Vec<Posting> = runs.iter().flat_map(|run| run.entries.iter().copied()).collect();
        // Stable: it makes use of the parts that are sorted already.
        entries.sort();
        Some(Self { first, last, bytes, entries: entries.into() })
    }

    /// The run without the blocks above a height; `None` if nothing is left.
    pub(crate) fn cut(&self, number: u64) -> Option<Self> {
        if self.first > number {
            return None;
        }
        let entries = self.entries.iter().filter(|entry| entry.place.number <= number).copied().collect();
        Some(Self { first: self.first, last: self.last.min(number), bytes: self.bytes, entries })
    }

    /// The postings of a term.
    pub(crate) fn of_term(&self, term: u64) -> &[Posting] {
        let from = self.entries.partition_point(|entry| entry.term < term);
        let rest = self.entries.get(from..).unwrap_or_default();
        rest.get(..rest.partition_point(|entry| entry.term == term)).unwrap_or_default()
    }

    /// Heights in a range of blocks that have logs, ascending.
    pub(crate) fn heights(&self, within: &RangeInclusive<u64>) -> Vec<u64> {
        let numbers = self.entries.iter().map(|entry| entry.place.number);
        let mut numbers: Vec<u64> = numbers.filter(|number| within.contains(number)).collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }
}

/// Appends ascending places, each as the difference to the one before: heights, then transactions within a height, then
/// logs within a transaction.
pub(crate) fn put_list(out: &mut Vec<u8>, first: u64, places: impl Iterator<Item = Place>) {
    let mut last = Place { number: first, transaction: 0, log: 0 };
    for place in places {
        let same_block = place.number == last.number;
        let same_transaction = same_block && place.transaction == last.transaction;
        put_number(out, place.number.saturating_sub(last.number));
        let transaction = if same_block { last.transaction } else { 0 };
        put_number(out, u64::from(place.transaction.saturating_sub(transaction)));
        let log = if same_transaction { last.log } else { 0 };
        put_number(out, u64::from(place.log.saturating_sub(log)));
        last = place;
    }
}

/// Reads what [`put_list`] wrote; `None` if it did not.
pub(crate) fn take_list(mut bytes: &[u8], first: u64, out: &mut Vec<Place>) -> Option<()> {
    let mut last = Place { number: first, transaction: 0, log: 0 };
    while !bytes.is_empty() {
        let [number, transaction, log] = [take_number(&mut bytes)?, take_number(&mut bytes)?, take_number(&mut bytes)?];
        let (transaction, log) = (u32::try_from(transaction).ok()?, u32::try_from(log).ok()?);
        if number > 0 {
            last = Place { number: last.number.checked_add(number)?, transaction, log };
        } else if transaction > 0 {
            last = Place { transaction: last.transaction.checked_add(transaction)?, log, ..last };
        } else {
            last = Place { log: last.log.checked_add(log)?, ..last };
        }
        out.push(last);
    }
    Some(())
}

/// Seven bits a byte, the lowest first; the high bit says that more follow.
fn put_number(out: &mut Vec<u8>, mut number: u64) {
    loop {
        let [low, ..] = number.to_le_bytes();
        if number < 0x80 {
            return out.push(low);
        }
        out.push(low | 0x80);
        number >>= 7;
    }
}

fn take_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops where an assumption fails")]

    use super::*;
    use proptest::{collection::btree_set, prelude::*};

    proptest! {
        #[test]
        fn lists_round_trip(places in btree_set((0_u64..50, 0_u32..6, 0_u32..400), 0..60), first in 0_u64..1_000) {
            let places = places.into_iter();
            let places: Vec<Place> = places
                .map(|(number, transaction, log)| Place { number: number.saturating_add(first), transaction, log })
                .collect();
            let (mut bytes, mut read) = (Vec::new(), Vec::new());
            put_list(&mut bytes, first, places.iter().copied());
            take_list(&bytes, first, &mut read).unwrap();
            prop_assert_eq!(read, places);
        }

        #[test]
        fn hostile_lists_are_refused_or_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..99)) {
            let _ = take_list(&bytes, u64::MAX, &mut Vec::new());
        }
    }

    #[test]
    fn a_run_that_is_cut_keeps_the_blocks_up_to_a_height() {
        let block = |number| {
            let place = Place { number, transaction: 0, log: 0 };
            let entries = [3, 1].map(|term| Posting { term, place }).to_vec();
            Run::sorted(number, 10, entries)
        };
        let merged = Run::merge(&[block(5), block(6), block(7)]).unwrap();
        let cut = merged.cut(6).unwrap();
        assert_eq!((cut.first, cut.last, cut.entries.len()), (5, 6, 4));
        assert_eq!(*cut.entries, *Run::merge(&[block(5), block(6)]).unwrap().entries);
        assert_eq!(merged.cut(7).unwrap().entries.len(), 6);
        assert!(merged.cut(4).is_none());
    }

    #[test]
    fn a_value_has_another_term_at_another_position() {
        let value = [7; 32];
        let terms: std::collections::BTreeSet<u64> = (0..5).map(|kind| term(kind, &value)).collect();
        assert_eq!(terms.len(), 5);
    }
}

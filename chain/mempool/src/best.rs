//! The order in which a proposer tries transactions.

use crate::queue::{Price, Queue, Worth};
use keystead_types::Recovered;
use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
    sync::Arc,
};

/// Executable transactions, best first. Owns its content: the pool may change meanwhile.
///
/// Order: highest priority fee at the given base fee first, then the earliest arrival; within a sender by nonce.
#[derive(Debug)]
pub struct Best {
    transactions: std::vec::IntoIter<Arc<Recovered>>,
}

impl Iterator for Best {
    type Item = Arc<Recovered>;

    fn next(&mut self) -> Option<Arc<Recovered>> {
        self.transactions.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.transactions.size_hint()
    }
}

impl ExactSizeIterator for Best {}

/// A sender's next transaction.
#[derive(Clone, Copy)]
struct Candidate<'a> {
    tip: u128,
    sequence: u64,
    nonce: u64,
    queue: &'a Queue,
}

impl<'a> Candidate<'a> {
    /// `None` if the fee cap is below the base fee: then nothing after it can be executed either.
    fn new(queue: &'a Queue, nonce: u64, (price, sequence): (Price, u64), base_fee: u64) -> Option<Self> {
        match price.worth(base_fee) {
            Worth::Tip(tip) => Some(Self { tip, sequence, nonce, queue }),
            Worth::Uncovered(_) => None,
        }
    }

    /// The next nonce of the same sender.
    fn next(&self, base_fee: u64) -> Option<Self> {
        let nonce = self.nonce.saturating_add(1);
        let entry = self.queue.executable(nonce)?;
        Self::new(self.queue, nonce, (entry.price, entry.sequence), base_fee)
    }

    const fn key(&self) -> (u128, Reverse<u64>) {
        (self.tip, Reverse(self.sequence))
    }
}

impl PartialEq for Candidate<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Candidate<'_> {}

impl PartialOrd for Candidate<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Candidate<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

/// Merges the executable runs, at most `count_max` transactions.
pub(crate) fn best<'a>(queues: impl Iterator<Item = &'a Queue>, base_fee: u64, count_max: usize) -> Best {
    // The order is total (arrivals are unique), so the order of the map does not show.
    let mut heads: Vec<Candidate<'_>> =
        queues.filter_map(|queue| Candidate::new(queue, queue.account().nonce, queue.head()?, base_fee)).collect();
    if count_max < heads.len() {
        // Each of the better heads yields at least itself, so the others have no turn.
        heads.select_nth_unstable_by(count_max, |a, b| b.cmp(a));
        heads.truncate(count_max);
    }
    let mut heads = BinaryHeap::from(heads);
    let mut transactions = Vec::new();
    while transactions.len() < count_max {
        let Some(candidate) = heads.pop() else { break };
        transactions.extend(candidate.queue.get(candidate.nonce).map(|entry| entry.transaction.clone()));
        heads.extend(candidate.next(base_fee));
    }
    Best { transactions: transactions.into_iter() }
}

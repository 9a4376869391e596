//! Senders that were recovered for a block whose transactions had not come by gossip yet, for when they do.
//!
//! # Design
//! A transaction's hash covers its signature, so it determines the sender, whoever asked first. Two generations: a full
//! one becomes the older, and what the older holds is forgotten.

use keystead_types::{Address, B256, Recovered, Transaction};
use std::{
    collections::HashMap,
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Senders in a generation: four full blocks of plain transfers. Both take about 6 MiB.
const GENERATION_MAX: usize = 32_768;

/// Senders by transaction hash.
#[derive(Default)]
pub(crate) struct Senders(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    younger: HashMap<B256, Address>,
    older: HashMap<B256, Address>,
}

impl Senders {
    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers the senders of these.
    pub(crate) fn remember(&self, recovered: &[Recovered]) {
        let mut generations = self.lock();
        for transaction in recovered {
            if generations.younger.len() >= GENERATION_MAX {
                generations.older = mem::take(&mut generations.younger);
            }
            generations.younger.insert(*transaction.tx_hash(), transaction.signer());
        }
    }

    /// Divides transactions into those whose sender is known, and the others; each part in order.
    pub(crate) fn divide(&self, transactions: Vec<Transaction>) -> (Vec<Recovered>, Vec<Transaction>) {
        let generations = self.lock();
        let (mut known, mut others) = (Vec::new(), Vec::new());
        for transaction in transactions {
            let hash = transaction.tx_hash();
            match generations.younger.get(hash).or_else(|| generations.older.get(hash)) {
                Some(sender) => known.push(Recovered::new_unchecked(transaction, *sender)),
                None => others.push(transaction),
            }
        }
        (known, others)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]
mod tests {
    use super::*;
    use alloy_consensus::{SignableTransaction as _, TxLegacy};
    use alloy_primitives::Signature;

    fn transaction(nonce: usize) -> Transaction {
        let body = TxLegacy { nonce: nonce as u64, ..TxLegacy::default() };
        body.into_signed(Signature::test_signature()).into()
    }

    fn recovered(nonce: usize) -> Recovered {
        Recovered::new_unchecked(transaction(nonce), Address::with_last_byte(7))
    }

    #[test]
    fn a_remembered_sender_is_known_and_order_is_kept() {
        let senders = Senders::default();
        senders.remember(&[recovered(2), recovered(0)]);
        let (known, others) = senders.divide((0..4).map(transaction).collect());
        assert_eq!(known, [recovered(0), recovered(2)]);
        assert_eq!(others, [transaction(1), transaction(3)]);
    }

    #[test]
    fn the_last_generation_is_kept_and_the_one_before_is_forgotten() {
        let senders = Senders::default();
        (0..=2 * GENERATION_MAX).for_each(|nonce| senders.remember(&[recovered(nonce)]));
        let knows = |nonce| senders.divide(vec![transaction(nonce)]).0.len() == 1;
        assert!(knows(2 * GENERATION_MAX) && knows(GENERATION_MAX) && !knows(GENERATION_MAX - 1) && !knows(0));
        let held = senders.lock();
        assert!(held.younger.len() <= GENERATION_MAX && held.older.len() <= GENERATION_MAX);
    }
}

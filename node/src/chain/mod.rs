//! Joins execution, state and mempool into the ledger that the engine drives.
//!
//! # Design
//! [`Chain`] holds the blocks that were built or checked and are not final yet, each with the state after it, in a map
//! by hash: competing proposals live side by side and share structure. Committing one drops all that can no longer
//! become final. Every transaction's sender is recovered once, on the way into the pool; a block's transactions are
//! looked up there first.
//!
//! # Invariants
//! - A block enters the map only after its execution matched its header.
//! - What the store holds is what was executed: a mismatch is [`LedgerError::Broken`], and the node stops.

pub(crate) mod beacon;
mod ledger;
mod senders;
mod submission;

pub(crate) use ledger::Plan;
pub(crate) use submission::Submissions;

use keystead_consensus::LedgerError;
use keystead_mempool::Pool;
use keystead_state::{Snapshot, Store};
use keystead_types::{Account, Address, B256, Block, ChainSpec, Receipt};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Notify;

/// Unfinalized blocks kept at most. The engine runs at most a few views ahead of finality; competing proposals of
/// failed views add a few more.
const PENDING_MAX: usize = 1_024;

/// The ledger of this node.
pub(crate) struct Chain {
    store: Store,
    spec: ChainSpec,
    pool: Arc<Mutex<Pool>>,
    fee_recipient: Address,
    pending: Mutex<HashMap<B256, Arc<Executed>>>,
    demand: Arc<Notify>,
    submissions: Submissions,
}

/// A block that was executed, with what came out.
struct Executed {
    block: Arc<Block>,
    senders: Vec<Address>,
    receipts: Vec<Receipt>,
    /// Accounts that the block changed, as they are after it. Not only senders: an authorization uses up a nonce of its
    /// signer, and whoever calls an account with code may spend its balance.
    touched: Vec<(Address, Account)>,
    snapshot: Arc<Snapshot>,
}

impl Chain {
    pub(crate) fn new(
        store: Store,
        spec: ChainSpec,
        pool: Arc<Mutex<Pool>>,
        fee_recipient: Address,
        submissions: Submissions,
    ) -> Self {
        let demand = submissions.demand();
        Self { store, spec, pool, fee_recipient, pending: Mutex::default(), demand, submissions }
    }

    /// State after the block with this hash, if it is the head or pending.
    fn snapshot(&self, hash: &B256) -> Option<Arc<Snapshot>> {
        if let Some(executed) = self.pending().get(hash) {
            return Some(Arc::clone(&executed.snapshot));
        }
        let latest = self.store.latest();
        (latest.hash() == *hash).then_some(latest)
    }

    fn pending(&self) -> MutexGuard<'_, HashMap<B256, Arc<Executed>>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps an executed block until it is final or cannot become so.
    fn keep(&self, executed: Executed) {
        let head = self.store.head().number;
        let mut pending = self.pending();
        if pending.len() >= PENDING_MAX {
            pending.retain(|_, executed| executed.block.number() > head);
        }
        pending.insert(executed.block.hash(), Arc::new(executed));
    }
}

fn broken(what: &'static str) -> impl Fn(&dyn std::fmt::Display) -> LedgerError {
    move |error| LedgerError::Broken(format!("{what}: {error}"))
}

#[cfg(test)]
mod tests;

//! The way of a transaction into the pool: from a user over JSON-RPC, or from another validator.

use alloy_eips::Encodable2718 as _;
use keystead_consensus::Gossip;
use keystead_mempool::Pool;
use keystead_rpc::{Submit, SubmitError};
use keystead_state::Store;
use keystead_types::{B256, Bytes, ChainSpec, Recovered, StateView as _, Transaction, decode_transaction, recover_all};
use std::sync::{
    Arc, Mutex, PoisonError,
    mpsc::{Receiver, SyncSender, sync_channel},
};
use tokio::sync::Notify;

/// Gossiped batches that wait for their senders to be recovered; more are dropped, their origin still has them.
const QUEUE_MAX: usize = 256;

/// Takes transactions. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Submissions {
    store: Store,
    spec: ChainSpec,
    pool: Arc<Mutex<Pool>>,
    gossip: Gossip,
    demand: Arc<Notify>,
    inbox: SyncSender<Vec<Bytes>>,
}

/// The other end of the inbox, for [`Submissions::work`].
pub(crate) struct Inbox(Receiver<Vec<Bytes>>);

impl Submissions {
    pub(crate) fn new(store: Store, spec: ChainSpec, pool: Arc<Mutex<Pool>>, gossip: Gossip) -> (Self, Inbox) {
        let (sender, receiver) = sync_channel(QUEUE_MAX);
        (Self { store, spec, pool, gossip, demand: Arc::default(), inbox: sender }, Inbox(receiver))
    }

    /// Rings when a transaction entered the pool.
    pub(crate) fn demand(&self) -> Arc<Notify> {
        Arc::clone(&self.demand)
    }

    /// Queues a gossiped batch; drops it if the queue is full.
    pub(crate) fn receive(&self, batch: Vec<Bytes>) {
        if self.inbox.try_send(batch).is_err() {
            tracing::debug!("dropped a gossiped batch: the queue is full");
        }
    }

    /// Works through gossiped batches until every sender is gone. Runs on a thread of its own.
    pub(crate) fn work(&self, inbox: &Inbox) {
        while let Ok(batch) = inbox.0.recv() {
            let fresh: Vec<Transaction> =
                batch.iter().filter_map(|bytes| decode_transaction(bytes).ok()).filter(|tx| !self.has(tx)).collect();
            // One bad signature spoils its batch: an honest validator has checked each before it gossiped.
            let Ok(recovered) = recover_all(fresh) else { continue };
            let mut inserted = 0usize;
            for transaction in recovered {
                inserted = inserted.saturating_add(usize::from(self.insert(transaction).is_ok()));
            }
            if inserted > 0 {
                self.demand.notify_one();
            }
        }
    }

    fn has(&self, transaction: &Transaction) -> bool {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner).contains(transaction.tx_hash())
    }

    /// Offers a transaction to the pool, judged by the head's state.
    ///
    /// The account is read while the pool is locked: a head that is committed meanwhile updates the pool afterwards, so
    /// an included transaction cannot slip back in.
    fn insert(&self, transaction: Recovered) -> Result<B256, SubmitError> {
        let unavailable = |error: &dyn std::fmt::Display| SubmitError::Unavailable(error.to_string());
        let hash = *transaction.tx_hash();
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshot = self.store.latest();
        let account = snapshot.account(&transaction.signer()).map_err(|error| unavailable(&error))?.unwrap_or_default();
        let header = self.store.header(snapshot.number()).map_err(|error| unavailable(&error))?;
        let header = header.ok_or_else(|| unavailable(&"the head's header is missing"))?;
        pool.insert(Arc::new(transaction), &account, self.spec.next_base_fee(&header))?;
        drop(pool);
        Ok(hash)
    }
}

impl Submit for Submissions {
    fn submit(&self, transaction: Recovered) -> Result<B256, SubmitError> {
        let encoded = Bytes::from(transaction.encoded_2718());
        let hash = self.insert(transaction)?;
        if !self.gossip.publish(encoded) {
            tracing::debug!(%hash, "not gossiped: the queue is full");
        }
        self.demand.notify_one();
        Ok(hash)
    }
}

//! The way of a transaction into the pool: from a user over JSON-RPC, or from another validator.

use alloy_eips::Encodable2718 as _;
use keystead_consensus::Gossip;
use keystead_mempool::{Candidate, Pool};
use keystead_rpc::{Submit, SubmitError};
use keystead_state::Store;
use keystead_types::{B256, Bytes, ChainSpec, Recovered, StateView as _, Transaction, decode_transaction, recover_all};
use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
    mpsc::{Receiver, SyncSender, sync_channel},
};
use tokio::sync::{Notify, watch};

/// Gossiped batches that wait for their senders to be recovered; more are dropped, their origin still has them.
const QUEUE_MAX: usize = 256;
/// Gossiped transactions that wait, from which on users are refused: about a fifth of a second of work for one core.
/// Whoever took more than it can check would have to drop gossip, and what is dropped waits long for its block.
const WAITING_MAX: usize = 4_096;

/// Takes transactions. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Submissions {
    store: Store,
    spec: ChainSpec,
    pool: Arc<Mutex<Pool>>,
    gossip: Gossip,
    demand: Arc<Notify>,
    /// Rings as `demand` does, for everybody who listens.
    arrivals: Arc<watch::Sender<()>>,
    inbox: SyncSender<Vec<Bytes>>,
    /// Transactions in the inbox.
    waiting: Arc<AtomicUsize>,
}

/// The other end of the inbox, for [`Submissions::work`].
pub(crate) struct Inbox(Receiver<Vec<Bytes>>);

impl Submissions {
    pub(crate) fn new(store: Store, spec: ChainSpec, pool: Arc<Mutex<Pool>>, gossip: Gossip) -> (Self, Inbox) {
        let (sender, receiver) = sync_channel(QUEUE_MAX);
        let (demand, waiting) = (Arc::default(), Arc::default());
        let arrivals = Arc::new(watch::Sender::new(()));
        (Self { store, spec, pool, gossip, demand, arrivals, inbox: sender, waiting }, Inbox(receiver))
    }

    /// Rings when a transaction entered the pool.
    pub(crate) fn demand(&self) -> Arc<Notify> {
        Arc::clone(&self.demand)
    }

    /// Queues a gossiped batch; drops it if the queue is full.
    pub(crate) fn receive(&self, batch: Vec<Bytes>) {
        let count = batch.len();
        self.waiting.fetch_add(count, Ordering::Relaxed);
        if self.inbox.try_send(batch).is_err() {
            self.waiting.fetch_sub(count, Ordering::Relaxed);
            tracing::debug!("dropped a gossiped batch: the queue is full");
        }
    }

    /// Works through gossiped batches until every sender is gone. Runs on a thread of its own.
    pub(crate) fn work(&self, inbox: &Inbox) {
        while let Ok(batch) = inbox.0.recv() {
            self.take(&batch);
            self.waiting.fetch_sub(batch.len(), Ordering::Relaxed);
        }
    }

    /// Puts a gossiped batch into the pool.
    fn take(&self, batch: &[Bytes]) {
        let fresh: Vec<Transaction> =
            batch.iter().filter_map(|bytes| decode_transaction(bytes).ok()).filter(|tx| !self.has(tx)).collect();
        // One bad signature spoils its batch: an honest validator has checked each before it gossiped.
        let Ok(recovered) = recover_all(fresh) else { return };
        let mut inserted = 0usize;
        for transaction in recovered {
            inserted = inserted.saturating_add(usize::from(self.insert(transaction).is_ok()));
        }
        if inserted > 0 {
            self.ring();
        }
    }

    /// Wakes the proposer and whoever watches the pool.
    fn ring(&self) {
        self.demand.notify_one();
        self.arrivals.send_replace(());
    }

    /// Puts a transaction into the pool that somebody else gossips.
    pub(crate) fn keep(&self, transaction: Recovered) -> Result<B256, SubmitError> {
        let hash = self.insert(transaction)?;
        self.ring();
        Ok(hash)
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
        let signer = transaction.signer();
        // Before the lock: it checks the signatures of authorizations.
        let mut candidate = Candidate::from(Arc::new(transaction));
        let head = self.store.latest();
        candidate
            .forget_used(|authority| head.account(authority).map(|account| account.unwrap_or_default().nonce))
            .map_err(|error| unavailable(&error))?;
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshot = self.store.latest();
        let account = snapshot.account(&signer).map_err(|error| unavailable(&error))?.unwrap_or_default();
        let header = self.store.header(snapshot.number()).map_err(|error| unavailable(&error))?;
        let header = header.ok_or_else(|| unavailable(&"the head's header is missing"))?;
        pool.insert(candidate, &account, self.spec.next_base_fee(&header))?;
        drop(pool);
        Ok(hash)
    }
}

impl Submit for Submissions {
    fn ready(&self) -> Result<(), SubmitError> {
        match self.waiting.load(Ordering::Relaxed) {
            waiting if waiting > WAITING_MAX => Err(SubmitError::Busy { waiting, max: WAITING_MAX }),
            _ => Ok(()),
        }
    }

    fn submit(&self, transaction: Recovered) -> Result<B256, SubmitError> {
        let encoded = Bytes::from(transaction.encoded_2718());
        let hash = self.insert(transaction)?;
        if !self.gossip.publish(encoded) {
            tracing::debug!(%hash, "not gossiped: the queue is full");
        }
        self.ring();
        Ok(hash)
    }

    fn arrivals(&self) -> watch::Receiver<()> {
        self.arrivals.subscribe()
    }
}

//! The way of a transaction into the pool: from a user over JSON-RPC, or from another validator.

use super::senders::Senders;
use alloy_eips::Encodable2718 as _;
use keystead_consensus::Gossip;
use keystead_mempool::{Candidate, Pool, PoolError};
use keystead_rpc::{Submit, SubmitError};
use keystead_state::{Snapshot, Store};
use keystead_types::{
    Address, B256, Bytes, ChainSpec, Recovered, StateView as _, Transaction, decode_transaction, recover, recover_all,
};
use rayon::prelude::*;
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
/// Executable transactions in the pool from which on a user's next one is looked at only if it pays more than the least of
/// them: more than three full blocks of plain transfers, which this node cannot execute in the next second. To check
/// signatures of what waits anyway would take time from the blocks that make room. (What is not executable does not count:
/// it pays nothing for the room that it takes.)
const CROWD: usize = 24_576;
/// Transactions of one batch whose signatures are checked where they are: to wake another core costs as much as one.
const RECOVERED_ALONE: usize = 4;

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
    /// A block's hash, and the base fee of its child.
    base_fee: Arc<Mutex<Option<(B256, u64)>>>,
    /// Of transactions that came in a block first.
    senders: Arc<Senders>,
}

/// The other end of the inbox, for [`Submissions::work`].
pub(crate) struct Inbox(Receiver<Vec<Bytes>>);

impl Submissions {
    pub(crate) fn new(store: Store, spec: ChainSpec, pool: Arc<Mutex<Pool>>, gossip: Gossip) -> (Self, Inbox) {
        let (sender, receiver) = sync_channel(QUEUE_MAX);
        let (demand, waiting) = (Arc::default(), Arc::default());
        let arrivals = Arc::new(watch::Sender::new(()));
        let (base_fee, senders) = (Arc::default(), Arc::default());
        let submissions =
            Self { store, spec, pool, gossip, demand, arrivals, inbox: sender, waiting, base_fee, senders };
        (submissions, Inbox(receiver))
    }

    /// Rings when a transaction entered the pool.
    pub(crate) fn demand(&self) -> Arc<Notify> {
        Arc::clone(&self.demand)
    }

    /// Senders of a block's transactions: from the pool where it knows them, else recovered on all cores and remembered,
    /// so that the same transaction is not checked again when it comes by gossip.
    pub(crate) fn recover(&self, transactions: &[Transaction]) -> Result<Vec<Recovered>, String> {
        let known: Vec<Option<Arc<Recovered>>> = {
            let pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
            transactions.iter().map(|transaction| pool.get(transaction.tx_hash())).collect()
        };
        let unknown = transactions.iter().zip(&known).filter(|(_, known)| known.is_none());
        let unknown: Vec<_> = unknown.map(|(transaction, _)| transaction.clone()).collect();
        let recovered = recover_all(unknown).map_err(|error| error.to_string())?;
        self.senders.remember(&recovered);
        let mut recovered = recovered.into_iter();
        known
            .into_iter()
            .map(|known| known.map(|known| (*known).clone()).or_else(|| recovered.next()))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| "a sender is missing".to_owned())
    }

    /// How many of these have a sender that a block brought.
    #[cfg(test)]
    pub(crate) fn senders_known(&self, transactions: &[Transaction]) -> usize {
        self.senders.divide(transactions.to_vec()).0.len()
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
        let (mut recovered, others) = self.senders.divide(fresh);
        // One bad signature spoils its batch: an honest validator has checked each before it gossiped.
        let Ok(others) = recover_all(others) else { return };
        recovered.extend(others);
        if self.insert(recovered.into_iter().map(Ok).collect()).iter().any(Result::is_ok) {
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
        let taken = self.insert(vec![Ok(transaction)]).pop();
        let hash = taken.unwrap_or_else(|| Err(unavailable(&"the pool gave no answer")))?;
        self.ring();
        Ok(hash)
    }

    fn has(&self, transaction: &Transaction) -> bool {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner).contains(transaction.tx_hash())
    }

    /// Leaves out what needs no look at its signature: what is here already, and, while the pool is crowded, what pays
    /// no more than what it has.
    fn screen(&self, transactions: Vec<Transaction>) -> Vec<Result<Transaction, SubmitError>> {
        let pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        let (executable, _) = pool.counts();
        let judge = |transaction: Transaction| {
            let hash = *transaction.tx_hash();
            if pool.contains(&hash) {
                return Err(PoolError::AlreadyKnown { hash }.into());
            }
            if executable > CROWD && !pool.outbids(&transaction) {
                return Err(SubmitError::Busy { waiting: executable, max: CROWD });
            }
            Ok(transaction)
        };
        transactions.into_iter().map(judge).collect()
    }

    /// Offers transactions to the pool in order, judged by the head's state.
    ///
    /// Accounts are read while the pool is locked: a head that is committed meanwhile updates the pool afterwards, so
    /// an included transaction cannot slip back in.
    fn insert(&self, given: Vec<Result<Recovered, SubmitError>>) -> Vec<Result<B256, SubmitError>> {
        // Before the lock: it checks the signatures of authorizations.
        let head = self.store.latest();
        let given: Vec<_> = given.into_iter().map(|given| candidate(given?, &head)).collect();
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshot = self.store.latest();
        let base_fee = match self.base_fee(&snapshot) {
            Ok(base_fee) => base_fee,
            Err(reason) => return given.iter().map(|_| Err(SubmitError::Unavailable(reason.clone()))).collect(),
        };
        let mut put = |(candidate, signer, hash): (Candidate, Address, B256)| -> Result<B256, SubmitError> {
            let account = snapshot.account(&signer).map_err(|error| unavailable(&error))?.unwrap_or_default();
            pool.insert(candidate, &account, base_fee)?;
            Ok(hash)
        };
        given.into_iter().map(|given| given.and_then(&mut put)).collect()
    }

    /// Base fee of the block after a committed one. It is asked for with every transaction and changes with a block.
    fn base_fee(&self, state: &Snapshot) -> Result<u64, String> {
        let mut known = self.base_fee.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, base_fee)) = known.filter(|(hash, _)| *hash == state.hash()) {
            return Ok(base_fee);
        }
        let header = self.store.header(state.number()).map_err(|error| error.to_string())?;
        let base_fee = self.spec.next_base_fee(&header.ok_or("the head's header is missing")?);
        *known = Some((state.hash(), base_fee));
        Ok(base_fee)
    }

    /// Takes transactions whose signatures were checked, from a user: they go to the other validators, too.
    fn take_over(&self, given: Vec<Result<Recovered, SubmitError>>) -> Vec<Result<B256, SubmitError>> {
        let encoded: Vec<Option<Bytes>> = given
            .iter()
            .map(|given| given.as_ref().ok().map(|transaction| transaction.encoded_2718().into()))
            .collect();
        let taken = self.insert(given);
        let mut any = false;
        for (taken, encoded) in taken.iter().zip(encoded) {
            let (Ok(hash), Some(encoded)) = (taken, encoded) else { continue };
            any = true;
            if !self.gossip.publish(encoded) {
                tracing::debug!(%hash, "not gossiped: the queue is full");
            }
        }
        if any {
            self.ring();
        }
        taken
    }
}

/// Checks signatures on all cores; each transaction with its own answer, in order. What is an error already stays one.
fn recover_each(transactions: Vec<Result<Transaction, SubmitError>>) -> Vec<Result<Recovered, SubmitError>> {
    let check = |transaction: Result<Transaction, SubmitError>| transaction.and_then(|it| Ok(recover(it)?));
    if transactions.len() <= RECOVERED_ALONE {
        return transactions.into_iter().map(check).collect();
    }
    transactions.into_par_iter().map(check).collect()
}

fn unavailable(error: &dyn std::fmt::Display) -> SubmitError {
    SubmitError::Unavailable(error.to_string())
}

/// A transaction as the pool takes it, with its sender and hash. Authorizations that `head` has used do not count.
fn candidate(transaction: Recovered, head: &Snapshot) -> Result<(Candidate, Address, B256), SubmitError> {
    let (hash, signer) = (*transaction.tx_hash(), transaction.signer());
    let mut candidate = Candidate::from(Arc::new(transaction));
    candidate
        .forget_used(|authority| head.account(authority).map(|account| account.unwrap_or_default().nonce))
        .map_err(|error| unavailable(&error))?;
    Ok((candidate, signer, hash))
}

impl Submit for Submissions {
    fn ready(&self) -> Result<(), SubmitError> {
        match self.waiting.load(Ordering::Relaxed) {
            waiting if waiting > WAITING_MAX => Err(SubmitError::Busy { waiting, max: WAITING_MAX }),
            _ => Ok(()),
        }
    }

    fn offer(&self, transactions: Vec<Transaction>) -> Vec<Result<B256, SubmitError>> {
        self.take_over(recover_each(self.screen(transactions)))
    }

    fn submit(&self, transaction: Recovered) -> Result<B256, SubmitError> {
        let taken = self.take_over(vec![Ok(transaction)]).pop();
        taken.unwrap_or_else(|| Err(unavailable(&"an offer without an answer")))
    }

    fn arrivals(&self) -> watch::Receiver<()> {
        self.arrivals.subscribe()
    }
}

//! The running server's state: what the node gave it, its limits, and what it remembers between requests.

use crate::{
    chain::Chain,
    context::Context,
    dev::Dev,
    error::RpcError,
    filters::Filters,
    lanes::Lanes,
    limits::ServerLimits,
    methods::{self, Method, eth::fee::TipCache},
    metrics::Metrics,
    pending::PendingCache,
};
use keystead_mempool::Pool;
use keystead_state::{Listener, Store};
use keystead_types::Header;
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Unit in which request bodies and answers are accounted for.
pub(crate) const BODY_UNIT_BYTES: usize = 1_024;

/// One server.
#[derive(Debug)]
pub(crate) struct Service {
    /// From the node.
    pub(crate) context: Context,
    /// From the operator.
    pub(crate) limits: ServerLimits,
    /// Threads.
    pub(crate) lanes: Lanes,
    /// Counters.
    pub(crate) metrics: Metrics,
    /// The suggested tip at the last head that asked for it.
    pub(crate) tip: TipCache,
    /// Room for request bodies, in units of [`BODY_UNIT_BYTES`].
    pub(crate) bodies: Arc<Semaphore>,
    /// Room for answers that their callers have not read yet, in the same units.
    answers: Arc<Semaphore>,
    /// Room for addresses and topics of filters and log subscriptions.
    pub(crate) watched_values: Arc<Semaphore>,
    /// Room for messages that wait for receipts.
    pub(crate) sync_waiting: Arc<Semaphore>,
    /// What is polled over HTTP.
    pub(crate) filters: Filters,
    /// The block that would be made now.
    pub(crate) pending: Arc<PendingCache>,
    /// Held while a development node completes and sends a transaction, so that two at once get two nonces.
    pub(crate) sending: Mutex<()>,
    /// Wakes whoever waits for blocks.
    news: News,
}

/// Wakes tasks when the store has something new. The store calls back on the thread that committed; no thread waits and
/// nothing polls.
struct News {
    sender: Arc<watch::Sender<()>>,
    /// The store forgets a listener whose owner is gone.
    _listener: Arc<Listener>,
}

impl News {
    fn new(store: &Store, pending: Arc<PendingCache>) -> Self {
        let sender = Arc::new(watch::Sender::new(()));
        let listener: Arc<Listener> = Arc::new({
            let sender = Arc::clone(&sender);
            move || {
                pending.forget();
                sender.send_replace(());
            }
        });
        store.listen(&listener);
        Self { sender, _listener: listener }
    }
}

impl fmt::Debug for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("News").finish_non_exhaustive()
    }
}

/// As many permits as a semaphore can have, and at least one.
fn room(permits: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(permits.clamp(1, Semaphore::MAX_PERMITS)))
}

/// How full the pool is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PoolSize {
    /// Transactions in the pool.
    pub(crate) transactions: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
}

impl Service {
    /// A server that has answered nothing yet.
    pub(crate) fn new(context: Context, limits: ServerLimits) -> Self {
        let lanes = Lanes::new(&limits);
        let pending = Arc::new(PendingCache::default());
        Self {
            news: News::new(&context.store, Arc::clone(&pending)),
            bodies: room(limits.bodies_bytes_max.div_ceil(BODY_UNIT_BYTES)),
            answers: room(limits.answers_bytes_max.div_ceil(BODY_UNIT_BYTES)),
            watched_values: room(limits.watched_values_max),
            sync_waiting: room(limits.sync_waiting_max),
            filters: Filters::default(),
            pending,
            sending: Mutex::default(),
            context,
            limits,
            lanes,
            metrics: Metrics::new(),
            tip: TipCache::default(),
        }
    }

    /// A method that this server answers, with its index in the table.
    pub(crate) fn method(&self, name: &str) -> Option<(usize, &'static Method)> {
        let found = methods::find(name).filter(|(_, method)| methods::is_offered(method, &self.context.spec));
        found.or_else(|| self.context.dev.as_ref().and_then(|_| methods::find_dev(name)))
    }

    /// All methods that this server answers.
    pub(crate) fn methods(&self) -> impl Iterator<Item = &'static Method> {
        let offered = methods::all().filter(|method| methods::is_offered(method, &self.context.spec));
        offered.chain(self.context.dev.iter().flat_map(|_| methods::all_dev()))
    }

    /// What only a development node does.
    ///
    /// Errors: there is no such method elsewhere.
    pub(crate) fn dev(&self) -> Result<&dyn Dev, RpcError> {
        self.context.dev.as_deref().ok_or_else(|| RpcError::method_not_found("of a development node"))
    }

    /// The base fee of the head's child.
    pub(crate) fn next_base_fee(&self, head: &Header) -> Result<u64, RpcError> {
        match &self.context.dev {
            Some(dev) => Ok(dev.next_block()?.base_fee),
            None => Ok(self.context.spec.next_base_fee(head)),
        }
    }

    /// Room for an answer of so many bytes until it is read; `None` if others take it.
    pub(crate) fn answer_room(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let units = u32::try_from(bytes.div_ceil(BODY_UNIT_BYTES)).unwrap_or(u32::MAX);
        Arc::clone(&self.answers).try_acquire_many_owned(units).ok()
    }

    /// Rings after every commit. What was committed before this call does not ring.
    pub(crate) fn news(&self) -> watch::Receiver<()> {
        self.news.sender.subscribe()
    }

    /// Blocks and states.
    pub(crate) const fn chain(&self) -> Chain<'_> {
        Chain::new(&self.context.store)
    }

    /// The pool. A thread that panicked while it held the lock left the pool readable: its rules are checked on entry.
    pub(crate) fn pool(&self) -> MutexGuard<'_, Pool> {
        self.context.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How full the pool is.
    pub(crate) fn pool_size(&self) -> PoolSize {
        let pool = self.pool();
        let (transactions, bytes) = (pool.len(), pool.bytes());
        drop(pool);
        PoolSize {
            transactions: u64::try_from(transactions).unwrap_or(u64::MAX),
            bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
        }
    }

    /// With how many other validators the node is connected.
    pub(crate) fn connected(&self) -> u64 {
        u64::try_from(self.context.connected.load(Ordering::Relaxed)).unwrap_or(u64::MAX)
    }

    /// Milliseconds since the head's time; zero if that lies ahead of this machine's clock.
    pub(crate) fn head_age_ms(&self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        now_ms.saturating_sub(self.context.store.head().timestamp_ms)
    }
}

impl From<keystead_state::Error> for RpcError {
    fn from(error: keystead_state::Error) -> Self {
        match error {
            keystead_state::Error::TooDeep { .. }
            | keystead_state::Error::TooManyLogs { .. }
            | keystead_state::Error::TooManyCandidates { .. } => Self::limit(error.to_string()),
            keystead_state::Error::Pruned { .. } => Self::server(error.to_string()),
            error => Self::internal(&error),
        }
    }
}

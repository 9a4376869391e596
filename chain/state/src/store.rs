//! The store: committed blocks and states, and the rules by which a block becomes the head.

use crate::{
    cache::lock,
    commit::{self, Bundle},
    error::Error,
    history::{self, History, Target, Undo, UndoneStates, Unindexed, Window},
    layer::Changes,
    logs::Run,
    mark::{Mark, Marked},
    open::{Opened, open},
    record,
    snapshot::Snapshot,
    state::{Shared, State},
    tables::{Base, malformed, missing},
    trie::Trie,
};
use alloy_primitives::{Address, B256, keccak256};
use fjall::OwnedWriteBatch;
use keystead_types::{Block, Certificate, Genesis, Header, Receipt};
use std::{
    collections::VecDeque,
    fmt,
    path::Path,
    sync::{Arc, Condvar, Mutex, PoisonError, RwLock, Weak},
    time::Duration,
};

/// Decoded blocks that are kept in memory, with receipts and senders: what RPC clients ask for most. At 4 MiB a block
/// this bounds them to 64 MiB.
const RECENT_BLOCKS: usize = 16;

/// What a store is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Purpose {
    /// It only grows, and every block is on disk when it is committed.
    #[default]
    Ledger,
    /// Its head may be amended, and it may go back ([`Store::amend`], [`Store::restore`]). It does not wait for the disk,
    /// so a crash of the machine may lose the last blocks, and blocks are never sealed.
    Development,
}

/// How a store uses memory and disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes for all caches together: half for blocks of the tables, a quarter each for single values and for storage
    /// tries. The account trie is not counted.
    pub cache_bytes: u64,
    /// Bytes of the account trie's branches in memory, about; an account takes some 110. Above that, what recent blocks
    /// have not touched leaves memory and is read and hashed again when it is needed, at some 50 us.
    pub trie_bytes: u64,
    /// Committed states, newest included, whose tries stay in memory; at least 1.
    pub recent_states: usize,
    /// Which older states are kept. It may differ from start to start: a longer window fills from then on.
    pub history: History,
    /// Old values that a state below the recent ones may hold to make proofs, at about 1 KiB of memory each.
    pub undone_values_max: usize,
    /// Blocks in a sealed file at most, at least 1.
    pub segment_blocks: u64,
    /// Whether it may change what it has.
    pub purpose: Purpose,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cache_bytes: 64 * 1024 * 1024,
            trie_bytes: 2 * 1024 * 1024 * 1024,
            recent_states: 128,
            history: History::default(),
            undone_values_max: 1 << 18,
            segment_blocks: 8_192,
            purpose: Purpose::Ledger,
        }
    }
}

/// The last committed block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Height.
    pub number: u64,
    /// Hash.
    pub hash: B256,
    /// Root of the state after it.
    pub state_root: B256,
    /// Unix time in milliseconds.
    pub timestamp_ms: u64,
}

/// A block and all that is to be stored with it.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The block.
    pub block: Arc<Block>,
    /// Sender of each transaction, in order.
    pub senders: Vec<Address>,
    /// Receipt of each transaction, in order.
    pub receipts: Vec<Receipt>,
    /// The state after the block: a sealed child of the head's.
    pub snapshot: Arc<Snapshot>,
    /// The block's own certificate, if one is known.
    pub certificate: Option<Certificate>,
}

#[derive(Clone)]
pub(crate) struct RecentBlock {
    pub(crate) block: Arc<Block>,
    pub(crate) senders: Arc<Vec<Address>>,
    pub(crate) receipts: Arc<Vec<Receipt>>,
}

/// What a batch made.
struct Written {
    head: Head,
    /// What it replaced.
    undo: Undo,
    /// Bytes of the block and its receipts.
    bytes: u64,
}

pub(crate) struct Recent {
    pub(crate) head: Head,
    pub(crate) window: Window,
    /// Oldest first, the head's last.
    pub(crate) states: VecDeque<Arc<Snapshot>>,
    /// Oldest first, the head's last.
    pub(crate) blocks: VecDeque<RecentBlock>,
}

/// What [`Store::listen`] calls.
pub type Listener = dyn Fn() + Send + Sync;

pub(crate) struct Inner {
    pub(crate) shared: Arc<Shared>,
    genesis: Arc<Block>,
    genesis_state: Arc<Genesis>,
    recent_states: usize,
    trie_bytes: u64,
    history: History,
    purpose: Purpose,
    pub(crate) undone: Arc<UndoneStates>,
    pub(crate) unindexed: Unindexed,
    /// Held during upkeep.
    pub(crate) upkeep: Mutex<()>,
    pub(crate) segment_blocks: u64,
    /// Held while a file is written.
    pub(crate) sealer: Mutex<()>,
    /// The lowest height from which on all headers are there: above 0 if the store began with a snapshot.
    base: u64,
    pub(crate) recent: RwLock<Recent>,
    /// Held during a commit: there is one writer at a time.
    pub(crate) writer: Mutex<Mark>,
    /// Height of the head, for those who wait.
    pub(crate) height: Mutex<u64>,
    risen: Condvar,
    listeners: Mutex<Vec<Weak<Listener>>>,
}

/// The chain and its states in one data folder. Clones share everything; every method may be called from any thread.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

impl Store {
    /// Opens the store in a folder, or creates it with the genesis block as its head.
    ///
    /// Cost: reads all accounts and builds their trie, about 1.5 us of CPU per account.
    ///
    /// # Errors
    /// Those of [`Self::open_early`] and [`Self::warm`].
    pub fn open(dir: &Path, genesis: &Genesis, options: Options) -> Result<Self, Error> {
        let store = Self::open_early(dir, genesis, options)?;
        store.warm()?;
        Ok(store)
    }

    /// As [`Self::open`] without the trie: values, blocks and logs can be read at once. [`Self::warm`] must follow.
    ///
    /// Trust: the flat state has not been compared with the head's header yet.
    ///
    /// # Errors
    /// [`Error::Locked`]: another process has it. [`Error::WrongGenesis`], [`Error::WrongChain`], [`Error::Version`]:
    /// wrong folder.
    /// [`Error::Corrupt`]: damaged, never go on. [`Error::Io`], [`Error::Store`]: the machine failed.
    pub fn open_early(dir: &Path, genesis: &Genesis, options: Options) -> Result<Self, Error> {
        let genesis_state = Arc::new(genesis.clone());
        let Opened { shared, genesis, head, latest, window, unindexed, mark, base } = open(dir, genesis, options)?;
        let recent_states = options.recent_states.max(1);
        shared.publish(&latest.reads().base, recent_states);
        let recent = Recent { head, window, states: VecDeque::from([latest]), blocks: VecDeque::new() };
        let inner = Inner {
            shared,
            genesis,
            genesis_state,
            recent_states,
            trie_bytes: options.trie_bytes,
            history: options.history,
            purpose: options.purpose,
            undone: Arc::new(UndoneStates::new(options.undone_values_max)),
            unindexed,
            upkeep: Mutex::new(()),
            segment_blocks: options.segment_blocks.max(1),
            sealer: Mutex::new(()),
            base,
            recent: RwLock::new(recent),
            writer: Mutex::new(mark),
            height: Mutex::new(head.number),
            risen: Condvar::new(),
            listeners: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Builds the account trie of the head, unless it is there, and compares it with the header. Whoever needs a trie before
    /// builds it or waits for it.
    ///
    /// # Errors
    /// [`Error::Corrupt`]: damaged, never go on. [`Error::Io`], [`Error::Store`]: the machine failed.
    pub fn warm(&self) -> Result<(), Error> {
        self.latest().proving().map(|_| ())
    }

    pub(crate) fn recent<T>(&self, read: impl FnOnce(&Recent) -> T) -> T {
        read(&self.inner.recent.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Block 0.
    #[must_use]
    pub fn genesis(&self) -> Arc<Block> {
        Arc::clone(&self.inner.genesis)
    }

    /// The rules and accounts that the chain began with.
    #[must_use]
    pub fn genesis_state(&self) -> Arc<Genesis> {
        Arc::clone(&self.inner.genesis_state)
    }

    /// The last committed block.
    #[must_use]
    pub fn head(&self) -> Head {
        self.recent(|recent| recent.head)
    }

    /// The state after the head.
    #[must_use]
    pub fn latest(&self) -> Arc<Snapshot> {
        self.recent(|recent| recent.states.back().cloned()).expect("invariant: the head's state is always kept")
    }

    /// The state after a committed block, if it is not older than [`Self::oldest_state`].
    ///
    /// Cost: reads of a state below the last [`Options::recent_states`] cost a seek each, its first proof more
    /// ([`Snapshot::account_proof`]).
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Store`]: stop.
    pub fn at(&self, number: u64) -> Result<Option<Arc<Snapshot>>, Error> {
        let find = |recent: &Recent| {
            let kept = recent.states.iter().find(|state| state.number() == number).cloned();
            let inside = (recent.window.oldest..recent.head.number).contains(&number);
            (kept, recent.states.front().cloned().filter(|_| inside))
        };
        let (kept, above) = self.recent(find);
        let Some(above) = above.filter(|_| kept.is_none()) else { return Ok(kept) };
        let table = &self.inner.shared.tables.headers;
        let key = number.to_be_bytes();
        let bytes = above.reads().base.bytes(table, &key)?.ok_or_else(|| missing(table, &key))?;
        let header = record::decode_header(&bytes).ok_or_else(|| malformed(table, &key))?;
        let root = self.amended_root(number)?.unwrap_or(header.state_root);
        let target = Target { number, hash: keccak256(&bytes), root };
        Ok(Some(Arc::new(Snapshot::of_past(above, Arc::clone(&self.inner.undone), target))))
    }

    /// Height of the oldest state that [`Self::at`] gives. It never falls while the store is open.
    #[must_use]
    pub fn oldest_state(&self) -> u64 {
        self.recent(|recent| recent.window.oldest)
    }

    /// Does what a commit leaves for later: writes old values by key, drops those that left the window, and seals
    /// blocks. Call it after each commit, from a thread of its own; a commit that finds too much left helps with the
    /// first. What is done is not lost in a crash, or is done again.
    ///
    /// Cost: about that of the commit; some tenths of a second when a file is sealed. Commits and reads are not held up.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Io`], [`Error::Corrupt`]: stop.
    pub fn upkeep(&self) -> Result<(), Error> {
        let upkeep = lock(&self.inner.upkeep);
        let tables = &self.inner.shared.tables;
        while let Some(block) = self.inner.unindexed.first() {
            let mut batch = tables.database.batch();
            block.put(&mut batch, tables);
            batch.commit()?;
            self.inner.unindexed.drop_to(block.number);
        }
        let (window, head) = self.recent(|recent| (recent.window, recent.head.number));
        let oldest = self.inner.history.oldest(head);
        if oldest > window.oldest {
            let mut batch = tables.database.batch();
            let window = history::prune(&mut batch, tables, window, oldest)?;
            // First: a state that is asked for from now on is inside the window, or stands on a view from before.
            self.inner.recent.write().unwrap_or_else(PoisonError::into_inner).window = window;
            batch.commit()?;
        }
        self.inner.shared.tail.merge();
        // Commits try as well; a block that is being executed meanwhile keeps either from it.
        self.latest().reads().trie.shrink(self.inner.trie_bytes);
        drop(upkeep);
        while self.seal()?.is_some() {}
        Ok(())
    }

    /// Commits a child of the head: atomically, and durably (fsync) before it returns. A block that is committed
    /// already is accepted again and changes nothing.
    ///
    /// Trust: the block was executed by us; what can be compared cheaply is compared here.
    ///
    /// # Errors
    /// [`Error::Conflict`], [`Error::Gap`], [`Error::NotChild`], [`Error::Mismatch`]: nothing was written.
    /// [`Error::Store`], [`Error::Corrupt`], [`Error::Io`]: stop; after a restart the head is the old or the new block.
    pub fn commit(&self, commit: Commit) -> Result<(), Error> {
        let mut mark = lock(&self.inner.writer);
        let head = self.head();
        if self.is_committed(&commit.block, head)? {
            return Ok(());
        }
        check(&commit, head, &self.inner.shared)?;
        let Written { head, undo, bytes } = self.write(&commit)?;
        self.inner.unindexed.push(head.number, undo);
        self.inner.shared.tail.push(Run::of(head.number, bytes, &commit.receipts));
        self.publish(commit, head);
        if let Err(error) = mark.set(Marked { number: head.number, hash: head.hash }) {
            // The block is safe; only the check against a damaged journal tail is one block behind.
            tracing::warn!(number = head.number, %error, "cannot write the mark of the data folder");
        }
        drop(mark);
        *lock(&self.inner.height) = head.number;
        self.inner.risen.notify_all();
        self.tell_listeners();
        if self.inner.shared.tail.is_overdue()
            && let Err(error) = self.seal()
        {
            // The block is safe, and the blocks that were to be sealed are where they were.
            tracing::warn!(number = head.number, %error, "cannot seal blocks");
        }
        Ok(())
    }

    /// Calls `listener` after every commit and after every certificate of a committed block, until its last owner drops
    /// it. It is called on the thread that wrote: it must neither wait nor write to the store. What it reads is what was
    /// written, or newer.
    pub fn listen(&self, listener: &Arc<Listener>) {
        let mut listeners = lock(&self.inner.listeners);
        listeners.retain(|listener| listener.strong_count() > 0);
        listeners.push(Arc::downgrade(listener));
    }

    /// Calls the listeners without holding their lock, so that one may add another.
    pub(crate) fn tell_listeners(&self) {
        let listeners: Vec<_> = lock(&self.inner.listeners).iter().filter_map(Weak::upgrade).collect();
        for listener in listeners {
            listener();
        }
    }

    /// True if exactly this block stands at its height.
    fn is_committed(&self, block: &Block, head: Head) -> Result<bool, Error> {
        let number = block.number();
        if number > head.number {
            return Ok(false);
        }
        let committed =
            self.hash_of(number)?.ok_or_else(|| missing(&self.inner.shared.tables.headers, &number.to_be_bytes()))?;
        let got = block.hash();
        if committed == got { Ok(true) } else { Err(Error::Conflict { number, committed, got }) }
    }

    /// True if its past may change.
    pub(crate) fn is_for_development(&self) -> bool {
        self.inner.purpose == Purpose::Development
    }

    /// A batch that waits for the disk, unless the store is for development.
    pub(crate) fn batch(&self) -> OwnedWriteBatch {
        let tables = &self.inner.shared.tables;
        match self.inner.purpose {
            Purpose::Ledger => commit::batch(tables),
            Purpose::Development => tables.database.batch(),
        }
    }

    /// Writes the batch.
    fn write(&self, commit: &Commit) -> Result<Written, Error> {
        let tables = &self.inner.shared.tables;
        let block = &commit.block;
        let layer = commit.snapshot.layer().expect("invariant: `check` saw the layer");
        let mut batch = self.batch();
        let early = self.early_certificate(block.number())?;
        let own = commit.certificate.or(early).filter(|certificate| certificate.block_hash == block.hash());
        if own.is_none() && early.is_some() {
            batch.remove(&tables.certificates, block.number().to_be_bytes());
        }
        let bundle = Bundle { block, senders: &commit.senders, receipts: &commit.receipts, certificate: own.as_ref() };
        let bytes = commit::put_block(&mut batch, tables, &bundle);
        let before = self.latest();
        let undo = Undo::of(before.reads(), &layer.changes)?;
        batch.insert(&tables.undo, block.number().to_be_bytes(), undo.encode());
        commit::put_changes(&mut batch, tables, Some(&before.reads().base), &layer.changes)?;
        let indexed = self.inner.unindexed.help(&mut batch, tables);
        batch.commit()?;
        if let Some(indexed) = indexed {
            self.inner.unindexed.drop_to(indexed);
        }
        let head = Head {
            number: block.number(),
            hash: block.hash(),
            state_root: block.header().state_root,
            timestamp_ms: block.timestamp_ms(),
        };
        Ok(Written { head, undo, bytes })
    }

    /// Makes a changed state visible: caches first, then the state, so that no reader mixes two. It is the caller who
    /// keeps it.
    pub(crate) fn show(&self, head: Head, changes: &Changes, trie: Trie) -> Arc<Snapshot> {
        let shared = &self.inner.shared;
        let version = self.latest().reads().base.version.saturating_add(1);
        let wiped = |(address, _): &(B256, B256)| changes.storage.get(address).is_some_and(|storage| storage.wiped);
        let wiped: Option<&dyn Fn(&_) -> bool> =
            if changes.storage.values().any(|storage| storage.wiped) { Some(&wiped) } else { None };
        let slots = changes
            .storage
            .iter()
            .flat_map(|(address, storage)| storage.slots.iter().map(|(slot, value)| ((*address, *slot), *value)));
        shared.slots.advance(version, wiped, slots);
        let accounts = changes.accounts.iter().map(|(address, account)| (*address, *account));
        shared.accounts.advance(version, None, accounts);
        for (address, storage) in changes.storage.iter().filter(|(_, storage)| storage.trie.leaves() > 0) {
            shared.tries.insert(*address, storage.trie.clone());
        }
        let unindexed = self.inner.unindexed.view();
        let base = Arc::new(shared.tables.base(head.number, head.hash, unindexed).with_version(version));
        let state = State { shared: Arc::clone(shared), base, layers: Vec::new(), trie };
        shared.publish(&state.base, self.inner.recent_states);
        Arc::new(Snapshot::new(head.number, head.hash, state))
    }

    /// Makes a committed block visible.
    fn publish(&self, commit: Commit, head: Head) {
        let layer = commit.snapshot.layer().expect("invariant: `check` saw the layer");
        let snapshot = self.show(head, &layer.changes, commit.snapshot.reads().trie.clone());
        // Then it is the recent states that hold what no later one needs: fewer are kept, one less with each block.
        let crowded = snapshot.reads().trie.bytes() > self.inner.trie_bytes;
        let mut recent = self.inner.recent.write().unwrap_or_else(PoisonError::into_inner);
        recent.head = head;
        recent.states.push_back(snapshot);
        recent.blocks.push_back(RecentBlock {
            block: commit.block,
            senders: Arc::new(commit.senders),
            receipts: Arc::new(commit.receipts),
        });
        let surplus = usize::from(recent.states.len() > self.inner.recent_states).saturating_add(usize::from(crowded));
        let surplus = surplus.min(recent.states.len().saturating_sub(1));
        let old_states: Vec<_> = recent.states.drain(..surplus).collect();
        let old_block = (recent.blocks.len() > RECENT_BLOCKS).then(|| recent.blocks.pop_front());
        drop(recent);
        // Outside the lock: an old state may be the last owner of much.
        drop((old_states, old_block));
        self.latest().reads().trie.shrink(self.inner.trie_bytes);
        self.inner.undone.retire(head.number);
    }

    /// The header of the committed block at a height.
    ///
    /// # Errors
    /// [`Error::Pruned`]: it lies below the snapshot that the store began with. Otherwise as [`Self::certificate`].
    pub fn header(&self, number: u64) -> Result<Option<Header>, Error> {
        let tables = &self.inner.shared.tables;
        let found = self.base().read(&tables.headers, &number.to_be_bytes(), record::decode_header)?;
        match found {
            None if number < self.inner.base => Err(Error::Pruned { number, oldest: self.inner.base }),
            found => Ok(found),
        }
    }

    /// The lowest height from which on all headers are kept: above 0 if the store began with a snapshot.
    #[must_use]
    pub fn oldest_header(&self) -> u64 {
        self.inner.base
    }

    /// The tables after the head. A commit that is under way is not seen, not even in part.
    pub(crate) fn base(&self) -> Arc<Base> {
        Arc::clone(&self.latest().reads().base)
    }

    pub(crate) fn hash_of(&self, number: u64) -> Result<Option<B256>, Error> {
        self.base().block_hash(&self.inner.shared.tables, number)
    }

    /// The height of a committed block.
    ///
    /// # Errors
    /// As [`Self::certificate`].
    pub fn number_of(&self, hash: &B256) -> Result<Option<u64>, Error> {
        let tables = &self.inner.shared.tables;
        self.base().read(&tables.numbers, hash.as_slice(), record::decode_height)
    }

    /// Where a transaction stands: height of its block, and index in it from 0.
    ///
    /// # Errors
    /// As [`Self::certificate`].
    pub fn transaction_location(&self, hash: &B256) -> Result<Option<(u64, usize)>, Error> {
        let tables = &self.inner.shared.tables;
        self.base().read(&tables.transactions, hash.as_slice(), record::decode_location)
    }

    /// Blocks until the head is at `number` or above, or the time is over; says whether it is.
    #[must_use]
    pub fn wait_for(&self, number: u64, timeout: Duration) -> bool {
        let height = lock(&self.inner.height);
        let waited = self.inner.risen.wait_timeout_while(height, timeout, |height| *height < number);
        *waited.unwrap_or_else(PoisonError::into_inner).0 >= number
    }
}

/// Compares the parts of a commit with each other and with the head.
fn check(commit: &Commit, head: Head, shared: &Arc<Shared>) -> Result<(), Error> {
    let (block, snapshot) = (&commit.block, &commit.snapshot);
    let number = block.number();
    if number > head.number.saturating_add(1) {
        return Err(Error::Gap { number, head: head.number });
    }
    let parent = block.header().parent_hash;
    let of_snapshot = snapshot.layer().map(|layer| layer.parent);
    for parent in [Some(parent), of_snapshot].into_iter().flatten() {
        if parent != head.hash {
            return Err(Error::NotChild { parent, head: head.hash });
        }
    }
    let count = block.transactions().len();
    let parts = [
        ("snapshot store", Arc::ptr_eq(&snapshot.reads().shared, shared)),
        ("snapshot height", snapshot.number() == number && of_snapshot.is_some()),
        ("snapshot hash", snapshot.hash() == block.hash()),
        ("state root", snapshot.state_root() == block.header().state_root),
        ("senders", commit.senders.len() == count),
        ("receipts", commit.receipts.len() == count),
        ("certificate", commit.certificate.is_none_or(|certificate| certificate.block_hash == block.hash())),
    ];
    match parts.into_iter().find(|(_, fits)| !fits) {
        Some((part, _)) => Err(Error::Mismatch { number, part }),
        None => Ok(()),
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("head", &self.head()).finish_non_exhaustive()
    }
}

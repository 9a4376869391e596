//! The pool: all senders' queues, their indexes, and the bounds.

use crate::{
    admission::{self, Rules},
    best::{self, Best},
    candidate::Candidate,
    error::PoolError,
    limits::Limits,
    queue::{Entry, Price, Queue, Rank, Worth, cost},
};
use alloy_consensus::Transaction as _;
use alloy_primitives::{
    Address, B256, KECCAK256_EMPTY, U256,
    map::{AddressMap, B256Map},
};
use keystead_types::{Account, Recovered, Transaction};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Blocks' worth of transfers that [`Pool::best`] yields at most. More than one, because a proposer builds on blocks
/// that are not final yet, and their transactions still stand here: three such ancestors may be full.
const BEST_BLOCKS: u64 = 4;

/// Gas of the cheapest transaction.
const TRANSACTION_GAS_MIN: u64 = 21_000;

/// The order of eviction is computed for one base fee and kept until the base fee has moved by this fraction of it (an
/// eighth, about sixty full blocks): to compute it anew costs time for every transaction in the pool.
const RANK_DRIFT: u64 = 8;

/// A transaction was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inserted {
    /// The one with the same sender and nonce that it replaced.
    pub replaced: Option<B256>,
    /// Those that had to leave for it: they paid less.
    pub evicted: Vec<B256>,
    /// True if a block could take it next, after earlier nonces of its sender that are here as well.
    pub executable: bool,
}

/// Signed transactions that wait for a block.
///
/// Cost: measured by `examples/full_pool.rs`. `insert` and `remove` are logarithmic in the pool, and linear in the
/// sender's own queue for a nonce in its middle; `best` is bounded by four blocks; `on_block` is linear in what the
/// touched senders have waiting.
/// Trust: transactions may be hostile in every field but the sender; accounts and base fees are taken as true.
#[derive(Debug)]
pub struct Pool {
    limits: Limits,
    rules: Rules,
    queues: AddressMap<Queue>,
    by_hash: B256Map<(Address, u64)>,
    /// For each account that an authorization names, the transactions that hold one.
    authorizing: AddressMap<BTreeSet<B256>>,
    by_arrival: BTreeMap<u64, B256>,
    /// One rank per sender: that of its tail.
    ranks: BTreeSet<Rank>,
    rank_base_fee: u64,
    bytes: usize,
    /// How many are executable.
    executable: usize,
    next_sequence: u64,
}

impl Pool {
    /// An empty pool for the chain with this id, whose blocks have this gas limit.
    #[must_use]
    pub fn new(limits: Limits, chain_id: u64, gas_limit: u64) -> Self {
        Self {
            limits,
            rules: Rules { chain_id, block_gas_limit: gas_limit },
            queues: AddressMap::default(),
            by_hash: B256Map::default(),
            authorizing: AddressMap::default(),
            by_arrival: BTreeMap::new(),
            ranks: BTreeSet::new(),
            rank_base_fee: 0,
            bytes: 0,
            executable: 0,
            next_sequence: 0,
        }
    }

    /// Takes a transaction, or says why not.
    ///
    /// `account` is the sender's at a head not older than that of the last [`Pool::on_block`], default if it does not
    /// exist; `base_fee` is that of the next block, in wei per gas.
    ///
    /// Funds are counted as geth counts them: gas limit times fee cap plus value of this transaction *and* of the
    /// sender's executable ones must be covered by the balance (a replaced one does not count). A replacement needs
    /// 10 % more of both fee cap and priority fee: at least `old + old / 10` with the division rounded down, and more
    /// than `old` in any case. A fee cap below the base fee is accepted: it waits for a cheaper block.
    ///
    /// An account with code, or one that an authorization in the pool names, may have one transaction here, and that must
    /// be executable next; an authorization may not name an account that has more (EIP-7702). Otherwise one cheap
    /// transaction could make thousands invalid that the pool has to hold.
    ///
    /// # Errors
    /// [`PoolError`] with what to change; the pool is then as before.
    pub fn insert(
        &mut self,
        candidate: impl Into<Candidate>,
        account: &Account,
        base_fee: u64,
    ) -> Result<Inserted, PoolError> {
        let candidate = candidate.into();
        let (authorities, transaction) = (candidate.authorities(), candidate.transaction);
        let hash = *transaction.tx_hash();
        if self.by_hash.contains_key(&hash) {
            return Err(PoolError::AlreadyKnown { hash });
        }
        let bytes = admission::check(&transaction, self.rules, &self.limits)?;
        self.follow_base_fee(base_fee);
        let sender = transaction.signer();
        if self.queues.get(&sender).is_some_and(|queue| account.nonce > queue.account().nonce) {
            self.follow_account(sender, *account);
        }
        let price = Price::of(&transaction);
        let entry = Entry {
            price,
            cost: cost(&transaction),
            bytes: bytes.saturating_add(Limits::OVERHEAD_BYTES),
            sequence: self.next_sequence,
            floor: price.worth(self.rank_base_fee),
            transaction,
            authorities,
        };
        // What the pool knows of the account is newer than what the caller read, if they differ.
        let account = self.queues.get(&sender).map_or(*account, |queue| *queue.account());
        self.check_against_queue(&entry, account)?;
        self.check_delegations(&entry, account)?;
        let evicted = self.make_room(&entry, account)?;
        self.next_sequence = self.next_sequence.saturating_add(1);
        let nonce = entry.transaction.nonce();
        let replaced = self.put(entry, account);
        for gone in &evicted {
            self.forget(gone);
        }
        if let Some(old) = &replaced {
            self.forget(old);
        }
        Ok(Inserted {
            replaced: replaced.map(|old| old.hash()),
            evicted: evicted.iter().map(Entry::hash).collect(),
            executable: self.queues.get(&sender).is_some_and(|queue| queue.run_holds(nonce)),
        })
    }

    /// True if a transaction pays more than the executable one that would leave the pool first, at the base fee that the
    /// order of eviction was computed for, or if there is no such one. Its signature is not looked at.
    #[must_use]
    pub fn outbids(&self, transaction: &Transaction) -> bool {
        let worth = Price::of(transaction).worth(self.rank_base_fee);
        self.ranks.range(Rank::EXECUTABLE_MIN..).next().is_none_or(|least| worth > least.floor)
    }

    /// The transaction with this hash.
    #[must_use]
    pub fn get(&self, hash: &B256) -> Option<Arc<Recovered>> {
        let (sender, nonce) = self.by_hash.get(hash)?;
        self.queues.get(sender)?.get(*nonce).map(|entry| entry.transaction.clone())
    }

    /// True if the pool holds this hash.
    #[must_use]
    pub fn contains(&self, hash: &B256) -> bool {
        self.by_hash.contains_key(hash)
    }

    /// Number of transactions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_hash.len()
    }

    /// True if nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_hash.is_empty()
    }

    /// Bytes that count against [`Limits::bytes_max`].
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The nonce that the sender's next transaction should have: the first from `account_nonce` on that does not wait
    /// here (`eth_getTransactionCount` at `pending`).
    #[must_use]
    pub fn next_nonce(&self, sender: &Address, account_nonce: u64) -> u64 {
        self.queues.get(sender).map_or(account_nonce, |queue| queue.missing_from(account_nonce))
    }

    /// What a proposer should try, best first: at most four blocks' worth.
    #[must_use]
    pub fn best(&self, base_fee: u64) -> Best {
        self.best_of(base_fee, usize::MAX)
    }

    /// The same, at most `count_max`: each costs a fraction of a microsecond while the pool is held.
    #[must_use]
    pub fn best_of(&self, base_fee: u64, count_max: usize) -> Best {
        let count = (self.rules.block_gas_limit / TRANSACTION_GAS_MIN).saturating_add(1).saturating_mul(BEST_BLOCKS);
        best::best(self.queues.values(), base_fee, usize::try_from(count).unwrap_or(usize::MAX).min(count_max))
    }

    /// True if [`Pool::best`] would yield anything.
    #[must_use]
    pub fn has_executable(&self, base_fee: u64) -> bool {
        let covered = |(price, _): (Price, u64)| matches!(price.worth(base_fee), Worth::Tip(_));
        self.queues.values().any(|queue| queue.head().is_some_and(covered))
    }

    /// Follows a new head: `accounts` are all that the block touched, as they are now (default for one that is gone),
    /// `base_fee_next` is the base fee of the block after it.
    ///
    /// Included transactions leave, and those that the balance no longer covers. Nonces after a dropped one wait again.
    pub fn on_block(&mut self, base_fee_next: u64, accounts: impl IntoIterator<Item = (Address, Account)>) {
        self.follow_base_fee(base_fee_next);
        for (address, account) in accounts {
            if self.queues.contains_key(&address) {
                self.follow_account(address, account);
            }
        }
    }

    /// Takes a transaction out; later nonces of its sender wait again.
    pub fn remove(&mut self, hash: &B256) -> Option<Arc<Recovered>> {
        let (sender, nonce) = *self.by_hash.get(hash)?;
        let base_fee = self.rank_base_fee;
        let entry = self.change(sender, |queue| queue.take(nonce, base_fee))??;
        self.forget(&entry);
        Some(entry.transaction)
    }

    /// Executable transactions, by sender and nonce (`txpool_content`).
    #[must_use]
    pub fn pending(&self) -> Vec<Arc<Recovered>> {
        self.sorted().flat_map(Queue::run).map(|entry| entry.transaction.clone()).collect()
    }

    /// Transactions that wait for a nonce or for funds, by sender and nonce.
    #[must_use]
    pub fn queued(&self) -> Vec<Arc<Recovered>> {
        self.sorted().flat_map(Queue::waiting).map(|entry| entry.transaction.clone()).collect()
    }

    /// Hashes of what arrived at or after `cursor` and is still here, in order of arrival, at most `count_max`, and the
    /// cursor for the next question. Begin with zero.
    #[must_use]
    pub fn hashes_since(&self, cursor: u64, count_max: usize) -> (Vec<B256>, u64) {
        let mut next = cursor;
        let mut hashes = Vec::new();
        for (sequence, hash) in self.by_arrival.range(cursor..).take(count_max) {
            next = sequence.saturating_add(1);
            hashes.push(*hash);
        }
        (hashes, next)
    }

    /// What arrived at or after `cursor` and is still here, as [`Pool::hashes_since`] has it.
    #[must_use]
    pub fn since(&self, cursor: u64, count_max: usize) -> (Vec<Arc<Recovered>>, u64) {
        let (hashes, next) = self.hashes_since(cursor, count_max);
        (hashes.iter().filter_map(|hash| self.get(hash)).collect(), next)
    }

    /// The cursor after everything that has arrived so far.
    #[must_use]
    pub const fn cursor(&self) -> u64 {
        self.next_sequence
    }

    /// How many transactions are executable, and how many wait for a nonce or for funds (`txpool_status`).
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.executable, self.len().saturating_sub(self.executable))
    }

    /// One sender's executable transactions, and those that wait, each by nonce (`txpool_contentFrom`).
    #[must_use]
    pub fn of_sender(&self, sender: &Address) -> (Vec<Arc<Recovered>>, Vec<Arc<Recovered>>) {
        let Some(queue) = self.queues.get(sender) else { return (Vec::new(), Vec::new()) };
        let copy = |entry: &Entry| entry.transaction.clone();
        (queue.run().map(copy).collect(), queue.waiting().map(copy).collect())
    }

    /// True if the pool holds this hash, and a block could take it after earlier nonces of its sender that are here too.
    #[must_use]
    pub fn is_executable(&self, hash: &B256) -> bool {
        let Some((sender, nonce)) = self.by_hash.get(hash) else { return false };
        self.queues.get(sender).is_some_and(|queue| queue.run_holds(*nonce))
    }

    fn sorted(&self) -> impl Iterator<Item = &Queue> {
        let mut senders: Vec<_> = self.queues.iter().collect();
        senders.sort_unstable_by_key(|(sender, _)| **sender);
        senders.into_iter().map(|(_, queue)| queue)
    }

    /// Nonce, replacement and funds.
    fn check_against_queue(&self, entry: &Entry, account: Account) -> Result<(), PoolError> {
        let empty = Queue::new(account);
        let queue = self.queues.get(&entry.transaction.signer()).unwrap_or(&empty);
        let nonce = entry.transaction.nonce();
        let expected = queue.account().nonce;
        if nonce < expected {
            return Err(PoolError::NonceTooLow { nonce, expected });
        }
        let gap_max = self.limits.nonce_gap_max;
        if nonce > queue.missing().saturating_add(gap_max) {
            return Err(PoolError::NonceGap { nonce, expected: queue.missing(), gap_max });
        }
        let old = queue.get(nonce);
        if let Some(old) = old {
            check_replacement(entry.price, old.price)?;
        }
        let counted = old.filter(|_| queue.run_holds(nonce)).map_or(U256::ZERO, |old| old.cost);
        let queued = queue.run_cost().saturating_sub(counted);
        let balance = queue.account().balance;
        let needed = queued.saturating_add(entry.cost);
        if needed > balance || entry.cost == U256::MAX {
            return Err(PoolError::InsufficientFunds { balance, queued, cost: entry.cost });
        }
        Ok(())
    }

    /// EIP-7702: what others can make invalid must not stack.
    fn check_delegations(&self, entry: &Entry, account: Account) -> Result<(), PoolError> {
        let (sender, nonce) = (entry.transaction.signer(), entry.transaction.nonce());
        let empty = Queue::new(account);
        let queue = self.queues.get(&sender).unwrap_or(&empty);
        let replaces = queue.get(nonce).is_some();
        if !replaces && (account.code_hash != KECCAK256_EMPTY || self.authorizing.contains_key(&sender)) {
            if !queue.is_empty() {
                return Err(PoolError::DelegatedLimit { sender, waiting: queue.len() });
            }
            if nonce != queue.missing() {
                return Err(PoolError::DelegatedGap { nonce, expected: queue.missing() });
            }
        }
        for authority in &entry.authorities {
            let replaced = usize::from(*authority == sender && replaces);
            let waiting = self.queues.get(authority).map_or(0, Queue::len).saturating_sub(replaced);
            if waiting > 1 {
                return Err(PoolError::AuthorityReserved { authority: *authority, waiting });
            }
        }
        Ok(())
    }

    /// Takes out what must leave for this one; nothing if it is refused.
    fn make_room(&mut self, entry: &Entry, account: Account) -> Result<Vec<Entry>, PoolError> {
        let mut taken = Vec::new();
        let result = self
            .make_room_at_sender(entry, &mut taken)
            .and_then(|()| self.make_room_at_all(entry, account, &mut taken));
        if let Err(error) = result {
            // In reverse, so that each is the tail again that it was.
            while let Some(Taken { entry, account }) = taken.pop() {
                self.put(entry, account);
            }
            return Err(error);
        }
        Ok(taken.into_iter().map(|taken| taken.entry).collect())
    }

    /// Keeps the sender within its own bounds at the cost of its own later nonces.
    fn make_room_at_sender(&mut self, entry: &Entry, taken: &mut Vec<Taken>) -> Result<(), PoolError> {
        let limits = self.limits;
        let sender = entry.transaction.signer();
        loop {
            let Some(queue) = self.queues.get(&sender) else { return Ok(()) };
            let old = queue.get(entry.transaction.nonce());
            let count = queue.len().saturating_add(usize::from(old.is_none()));
            let bytes = queue.bytes().saturating_add(entry.bytes).saturating_sub(old.map_or(0, |old| old.bytes));
            if count <= limits.transactions_per_sender_max && bytes <= limits.bytes_per_sender_max {
                return Ok(());
            }
            if queue.tail().is_none_or(|(nonce, _)| nonce <= entry.transaction.nonce()) {
                return Err(PoolError::SenderFull {
                    count: queue.len(),
                    count_max: limits.transactions_per_sender_max,
                    bytes: queue.bytes(),
                    bytes_max: limits.bytes_per_sender_max,
                });
            }
            taken.extend(self.take_tail(sender));
        }
    }

    /// Keeps the pool within its bound at the cost of whoever pays less.
    fn make_room_at_all(&mut self, entry: &Entry, account: Account, taken: &mut Vec<Taken>) -> Result<(), PoolError> {
        let sender = entry.transaction.signer();
        let nonce = entry.transaction.nonce();
        let empty = Queue::new(account);
        let queue = self.queues.get(&sender).unwrap_or(&empty);
        let expected = queue.missing();
        let rank = Rank {
            executable: queue.would_run(nonce, entry.cost),
            floor: queue.floor_at(nonce, entry.floor),
            sequence: Reverse(entry.sequence),
            sender,
        };
        let replaced_bytes = queue.get(nonce).map_or(0, |old| old.bytes);
        while self.bytes.saturating_add(entry.bytes).saturating_sub(replaced_bytes) > self.limits.bytes_max {
            let victim = self.ranks.first().copied().filter(|victim| *victim < rank);
            // Its own earlier nonces are worth at least as much as itself.
            let victim = victim.filter(|victim| victim.sender != sender || self.tail_nonce(sender) > Some(nonce));
            let Some(victim) = victim else { return Err(self.full(entry, rank.executable, expected)) };
            taken.extend(self.take_tail(victim.sender));
        }
        Ok(())
    }

    fn full(&self, entry: &Entry, executable: bool, expected: u64) -> PoolError {
        let (pool_bytes, max_bytes) = (self.bytes, self.limits.bytes_max);
        let Price { max_fee, priority_fee } = entry.price;
        if executable {
            PoolError::Full { pool_bytes, max_bytes, priority_fee, max_fee }
        } else {
            PoolError::FullForQueued { pool_bytes, max_bytes, nonce: entry.transaction.nonce(), expected }
        }
    }

    fn tail_nonce(&self, sender: Address) -> Option<u64> {
        Some(self.queues.get(&sender)?.tail()?.0)
    }

    fn take_tail(&mut self, sender: Address) -> Option<Taken> {
        let account = *self.queues.get(&sender)?.account();
        let entry = self.change(sender, Queue::take_tail)??;
        Some(Taken { entry, account })
    }

    /// Puts an entry into its queue and the indexes; one with the same nonce is returned, still in the indexes. The
    /// account counts only if the sender has no queue.
    fn put(&mut self, entry: Entry, account: Account) -> Option<Entry> {
        let base_fee = self.rank_base_fee;
        let sender = entry.transaction.signer();
        self.by_hash.insert(entry.hash(), (sender, entry.transaction.nonce()));
        self.by_arrival.insert(entry.sequence, entry.hash());
        for authority in &entry.authorities {
            self.authorizing.entry(*authority).or_default().insert(entry.hash());
        }
        self.queues.entry(sender).or_insert_with(|| Queue::new(account));
        self.change(sender, |queue| queue.put(entry, base_fee)).flatten()
    }

    /// Changes a queue and keeps its rank and the bytes in step; an empty queue leaves.
    fn change<T>(&mut self, sender: Address, change: impl FnOnce(&mut Queue) -> T) -> Option<T> {
        let queue = self.queues.get_mut(&sender)?;
        let before = queue.rank(sender);
        self.bytes = self.bytes.saturating_sub(queue.bytes());
        self.executable = self.executable.saturating_sub(queue.run_len());
        let result = change(queue);
        self.bytes = self.bytes.saturating_add(queue.bytes());
        self.executable = self.executable.saturating_add(queue.run_len());
        let after = queue.rank(sender);
        if before != after {
            if let Some(before) = before {
                self.ranks.remove(&before);
            }
            self.ranks.extend(after);
        }
        if queue.is_empty() {
            self.queues.remove(&sender);
        }
        Some(result)
    }

    /// Removes an entry that left its queue from the indexes by hash, arrival and authority.
    fn forget(&mut self, entry: &Entry) {
        self.by_hash.remove(&entry.hash());
        self.by_arrival.remove(&entry.sequence);
        for authority in &entry.authorities {
            let Some(hashes) = self.authorizing.get_mut(authority) else { continue };
            hashes.remove(&entry.hash());
            if hashes.is_empty() {
                self.authorizing.remove(authority);
            }
        }
    }

    fn follow_account(&mut self, sender: Address, account: Account) {
        let base_fee = self.rank_base_fee;
        for gone in self.change(sender, |queue| queue.follow(account, base_fee)).into_iter().flatten() {
            self.forget(&gone);
        }
    }

    fn follow_base_fee(&mut self, base_fee: u64) {
        if base_fee.abs_diff(self.rank_base_fee) <= self.rank_base_fee / RANK_DRIFT {
            return;
        }
        self.rank_base_fee = base_fee;
        for queue in self.queues.values_mut() {
            queue.refresh_all_floors(base_fee);
        }
        self.ranks = self.queues.iter().filter_map(|(sender, queue)| queue.rank(*sender)).collect();
    }
}

/// An entry out of its queue, still in the indexes, with what its queue knew of the account.
struct Taken {
    entry: Entry,
    account: Account,
}

/// geth's rule: both fees higher, and by at least a tenth, rounded down.
fn check_replacement(new: Price, old: Price) -> Result<(), PoolError> {
    let needed = |old: u128| old.saturating_add((old / 10).max(1));
    let (max_fee_needed, priority_fee_needed) = (needed(old.max_fee), needed(old.priority_fee));
    if new.max_fee < max_fee_needed || new.priority_fee < priority_fee_needed {
        return Err(PoolError::ReplacementUnderpriced {
            priority_fee: new.priority_fee,
            priority_fee_needed,
            max_fee: new.max_fee,
            max_fee_needed,
        });
    }
    Ok(())
}

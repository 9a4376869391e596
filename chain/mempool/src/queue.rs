//! The transactions of one sender in nonce order, and what they are worth.

use alloy_consensus::Transaction as _;
use alloy_primitives::{Address, B256, U256};
use keystead_types::{Account, Recovered, Transaction};
use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

/// What a transaction pays the proposer per gas at a base fee. More is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Worth {
    /// The fee cap is below the base fee: how high it is.
    Uncovered(u128),
    /// The priority fee that remains.
    Tip(u128),
}

/// The two fees of a transaction in wei per gas, kept beside it: to order a pool must not touch every transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Price {
    pub(crate) max_fee: u128,
    pub(crate) priority_fee: u128,
}

impl Price {
    /// A legacy gas price is fee cap and priority fee in one.
    pub(crate) fn of(transaction: &Transaction) -> Self {
        let max_fee = transaction.max_fee_per_gas();
        Self { max_fee, priority_fee: transaction.max_priority_fee_per_gas().unwrap_or(max_fee) }
    }

    pub(crate) fn worth(self, base_fee: u64) -> Worth {
        match self.max_fee.checked_sub(u128::from(base_fee)) {
            None => Worth::Uncovered(self.max_fee),
            Some(room) => Worth::Tip(self.priority_fee.min(room)),
        }
    }
}

/// A waiting transaction.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) transaction: Arc<Recovered>,
    /// Accounts whose code it may change.
    pub(crate) authorities: Box<[Address]>,
    pub(crate) price: Price,
    /// Bytes that count against the limits.
    pub(crate) bytes: usize,
    /// Order of arrival, unique in the pool.
    pub(crate) sequence: u64,
    /// The most it can take from the balance, in wei.
    pub(crate) cost: U256,
    /// The least worth of this and all before it: it cannot be executed before they are.
    pub(crate) floor: Worth,
}

impl Entry {
    pub(crate) fn hash(&self) -> B256 {
        *self.transaction.tx_hash()
    }
}

/// Gas limit times fee cap, plus value, in wei; the greatest number if it does not fit.
pub(crate) fn cost(transaction: &Recovered) -> U256 {
    U256::from(transaction.gas_limit())
        .saturating_mul(U256::from(transaction.max_fee_per_gas()))
        .saturating_add(transaction.value())
}

/// Order of eviction: the least goes first. Queued before executable, then what pays least, then the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    pub(crate) executable: bool,
    pub(crate) floor: Worth,
    pub(crate) sequence: Reverse<u64>,
    pub(crate) sender: Address,
}

impl Rank {
    /// No executable transaction goes before one of this rank.
    pub(crate) const EXECUTABLE_MIN: Self =
        Self { executable: true, floor: Worth::Uncovered(0), sequence: Reverse(u64::MAX), sender: Address::ZERO };
}

/// One sender's transactions.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    account: Account,
    entries: BTreeMap<u64, Entry>,
    bytes: usize,
    /// First nonce from the account's own that has no transaction.
    missing: u64,
    /// First nonce that is not executable: missing, or no longer covered by the balance.
    run_end: u64,
    /// Cost of the executable run.
    run_cost: U256,
    /// Price and arrival of the first of the run: a proposal looks at every sender's.
    head: Option<(Price, u64)>,
}

impl Queue {
    pub(crate) const fn new(account: Account) -> Self {
        Self {
            account,
            entries: BTreeMap::new(),
            bytes: 0,
            missing: account.nonce,
            run_end: account.nonce,
            run_cost: U256::ZERO,
            head: None,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) const fn account(&self) -> &Account {
        &self.account
    }

    pub(crate) const fn missing(&self) -> u64 {
        self.missing
    }

    /// Price and arrival of the first executable transaction.
    pub(crate) const fn head(&self) -> Option<(Price, u64)> {
        self.head
    }

    pub(crate) const fn run_cost(&self) -> U256 {
        self.run_cost
    }

    pub(crate) fn get(&self, nonce: u64) -> Option<&Entry> {
        self.entries.get(&nonce)
    }

    pub(crate) fn tail(&self) -> Option<(u64, &Entry)> {
        self.entries.last_key_value().map(|(nonce, entry)| (*nonce, entry))
    }

    /// The executable transaction with this nonce.
    pub(crate) fn executable(&self, nonce: u64) -> Option<&Entry> {
        self.get(nonce).filter(|_| self.run_holds(nonce))
    }

    /// The executable run in nonce order.
    pub(crate) fn run(&self) -> impl Iterator<Item = &Entry> {
        self.entries.range(self.account.nonce..self.run_end).map(|(_, entry)| entry)
    }

    /// Number of executable transactions: the run has no gap.
    pub(crate) fn run_len(&self) -> usize {
        usize::try_from(self.run_end.saturating_sub(self.account.nonce)).unwrap_or(usize::MAX)
    }

    /// What waits for a nonce or for funds, in nonce order.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = &Entry> {
        self.entries.range(self.run_end..).map(|(_, entry)| entry)
    }

    /// True if this nonce is in the executable run.
    pub(crate) const fn run_holds(&self, nonce: u64) -> bool {
        self.account.nonce <= nonce && nonce < self.run_end
    }

    /// First nonce from `nonce` on that has no transaction.
    pub(crate) fn missing_from(&self, nonce: u64) -> u64 {
        if nonce <= self.missing {
            return self.missing;
        }
        let taken = self.entries.range(nonce..).map(|(nonce, _)| *nonce);
        let count = taken.zip(nonce..).take_while(|(taken, expected)| taken == expected).count();
        // LOSSY: none, a count fits into 64 bits.
        nonce.saturating_add(count as u64)
    }

    /// True if a transaction with this nonce and cost would be executable now.
    pub(crate) fn would_run(&self, nonce: u64, cost: U256) -> bool {
        let replaced = self.get(nonce).filter(|_| nonce < self.run_end).map_or(U256::ZERO, |entry| entry.cost);
        let spent = self.run_cost.saturating_sub(replaced).saturating_add(cost);
        (self.account.nonce..=self.run_end).contains(&nonce) && spent <= self.account.balance
    }

    /// Rank in the order of eviction of the transaction that would go first; `None` if the queue is empty.
    pub(crate) fn rank(&self, sender: Address) -> Option<Rank> {
        let (nonce, entry) = self.tail()?;
        Some(Rank { executable: nonce < self.run_end, floor: entry.floor, sequence: Reverse(entry.sequence), sender })
    }

    /// The least worth of a transaction with this nonce and of all before it.
    pub(crate) fn floor_at(&self, nonce: u64, worth: Worth) -> Worth {
        self.entries.range(..nonce).next_back().map_or(worth, |(_, before)| before.floor.min(worth))
    }

    /// Puts a transaction in; one with the same nonce is returned.
    pub(crate) fn put(&mut self, entry: Entry, base_fee: u64) -> Option<Entry> {
        let nonce = entry.transaction.nonce();
        self.bytes = self.bytes.saturating_add(entry.bytes);
        let old = self.entries.insert(nonce, entry);
        if let Some(old) = &old {
            self.bytes = self.bytes.saturating_sub(old.bytes);
            self.refresh_run();
        } else {
            self.extend_run();
        }
        self.refresh_head();
        self.refresh_floors(nonce, base_fee);
        old
    }

    /// Takes a transaction out; later ones then wait for its nonce.
    pub(crate) fn take(&mut self, nonce: u64, base_fee: u64) -> Option<Entry> {
        let entry = self.entries.remove(&nonce)?;
        self.bytes = self.bytes.saturating_sub(entry.bytes);
        if nonce < self.missing {
            self.refresh_run();
        }
        self.refresh_head();
        self.refresh_floors(nonce, base_fee);
        Some(entry)
    }

    /// Takes the highest nonce out.
    pub(crate) fn take_tail(&mut self) -> Option<Entry> {
        let (nonce, entry) = self.entries.pop_last()?;
        self.bytes = self.bytes.saturating_sub(entry.bytes);
        // A tail in the contiguous part is its end, a tail in the run is the run's end.
        self.missing = self.missing.min(nonce.max(self.account.nonce));
        if nonce < self.run_end {
            self.run_end = nonce;
            self.run_cost = self.run_cost.saturating_sub(entry.cost);
        }
        self.refresh_head();
        Some(entry)
    }

    /// Follows the account: takes out what is included (lower nonces) and what the balance cannot cover even alone.
    pub(crate) fn follow(&mut self, account: Account, base_fee: u64) -> Vec<Entry> {
        let included = self.account.nonce != account.nonce;
        self.account = account;
        let mut gone = Vec::new();
        if included {
            let rest = self.entries.split_off(&account.nonce);
            gone.extend(std::mem::replace(&mut self.entries, rest).into_values());
        }
        gone.extend(self.entries.extract_if(.., |_, entry| entry.cost > account.balance).map(|(_, entry)| entry));
        for entry in &gone {
            self.bytes = self.bytes.saturating_sub(entry.bytes);
        }
        self.refresh_run();
        self.refresh_head();
        if !gone.is_empty() {
            self.refresh_all_floors(base_fee);
        }
        gone
    }

    /// Computes every floor anew, for another base fee.
    pub(crate) fn refresh_all_floors(&mut self, base_fee: u64) {
        let mut before: Option<Worth> = None;
        for entry in self.entries.values_mut() {
            let worth = entry.price.worth(base_fee);
            entry.floor = before.map_or(worth, |before| before.min(worth));
            before = Some(entry.floor);
        }
    }

    /// Computes the floors from a nonce on, as far as they change. (The entry at `nonce` itself is always computed.)
    fn refresh_floors(&mut self, nonce: u64, base_fee: u64) {
        let mut before = self.entries.range(..nonce).next_back().map(|(_, entry)| entry.floor);
        for (at, entry) in self.entries.range_mut(nonce..) {
            let worth = entry.price.worth(base_fee);
            let floor = before.map_or(worth, |before| before.min(worth));
            if floor == entry.floor && *at != nonce {
                break;
            }
            entry.floor = floor;
            before = Some(floor);
        }
    }

    fn refresh_head(&mut self) {
        self.head = self.executable(self.account.nonce).map(|entry| (entry.price, entry.sequence));
    }

    fn refresh_run(&mut self) {
        self.missing = self.account.nonce;
        self.run_end = self.account.nonce;
        self.run_cost = U256::ZERO;
        self.extend_run();
    }

    /// Goes on from where the contiguous part and the run end.
    fn extend_run(&mut self) {
        let mut covered = self.run_end == self.missing;
        if !covered {
            // The run ended for lack of funds before; an insertion cannot change that.
            while self.entries.contains_key(&self.missing) {
                self.missing = self.missing.saturating_add(1);
            }
            return;
        }
        for (nonce, entry) in self.entries.range(self.missing..) {
            if *nonce != self.missing {
                break;
            }
            self.missing = self.missing.saturating_add(1);
            let cost = self.run_cost.saturating_add(entry.cost);
            covered = covered && cost <= self.account.balance;
            if covered {
                self.run_end = self.missing;
                self.run_cost = cost;
            }
        }
    }
}

//! Makes blocks, and remembers how the next ones are to be made.

use super::{Accounts, clock::Clock};
use crate::chain::{Chain, Plan, Submissions, beacon};
use alloy_consensus::Transaction as _;
use keystead_consensus::Ledger as _;
use keystead_mempool::Pool;
use keystead_rpc::{DevError, MineOrder, Mining, Submit, SubmitError};
use keystead_state::{Snapshot, Store};
use keystead_types::{
    Address, B256, BeaconValue, Block, ChainSpec, ConsensusContext, MILLIS_PER_SECOND, Recovered, Seed,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::sync::watch;

/// Blocks that one call makes at most: some tens of seconds, and a week at a block every six seconds, which is how far
/// tests of votes and locks go.
pub(super) const MINE_BLOCKS_MAX: u64 = 100_000;
/// Blocks that one transaction can bring about: it may complete a row of nonces, and then all that wait fit into a few.
const READY_BLOCKS_MAX: usize = 64;
/// Longest time until the thread that makes blocks at intervals looks whether the process ends.
const LOOK: Duration = Duration::from_millis(250);

/// What the first block is made with, and what a reset goes back to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start {
    pub(crate) mining: Mining,
    pub(crate) gas_limit: u64,
    pub(crate) impersonates_all: bool,
}

/// Makes the blocks of a development chain.
pub(crate) struct Producer {
    pub(super) chain: Chain,
    pub(super) store: Store,
    pub(super) spec: ChainSpec,
    pub(super) pool: Arc<Mutex<Pool>>,
    pub(super) submissions: Submissions,
    pub(super) accounts: Accounts,
    pub(super) start: Start,
    /// The state of the beginning, before anything was amended in it.
    pub(super) beginning: Arc<Snapshot>,
    clock: Clock,
    state: Mutex<State>,
    /// Rings when the interval changes.
    paced: Condvar,
}

/// Everything that can change. Held while blocks are made.
pub(super) struct State {
    pub(super) clock: Clock,
    pub(super) mining: Mining,
    /// When the next block is due if they come at intervals.
    due: Option<Instant>,
    pub(super) next: Next,
    pub(super) lasting: Lasting,
    pub(super) snapshots: BTreeMap<u64, Saved>,
    /// The name of the next snapshot; none is ever given twice.
    pub(super) snapshot_next: u64,
    pub(super) impersonated: BTreeSet<Address>,
    pub(super) impersonates_all: bool,
}

/// What was set for the next block only.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Next {
    pub(super) base_fee: Option<u64>,
    pub(super) prev_randao: Option<B256>,
}

/// What was set for all blocks to come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lasting {
    pub(super) gas_limit: u64,
    pub(super) coinbase: Address,
}

/// A place to go back to.
pub(super) struct Saved {
    pub(super) state: Arc<Snapshot>,
    pub(super) clock: Clock,
    /// The machine's time when it was saved.
    pub(super) saved: u64,
    pub(super) next: Next,
    pub(super) lasting: Lasting,
    pub(super) waiting: Vec<Arc<Recovered>>,
}

impl State {
    fn new(start: Start, clock: Clock) -> Self {
        Self {
            clock,
            mining: start.mining,
            due: due(start.mining),
            next: Next::default(),
            lasting: Lasting { gas_limit: start.gas_limit, coinbase: Address::ZERO },
            snapshots: BTreeMap::new(),
            snapshot_next: 0,
            impersonated: BTreeSet::new(),
            impersonates_all: start.impersonates_all,
        }
    }
}

impl Producer {
    /// A producer over a store that was opened for development.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(crate) fn new(
        store: Store,
        spec: ChainSpec,
        pool: Arc<Mutex<Pool>>,
        submissions: Submissions,
        accounts: Accounts,
        start: Start,
    ) -> Result<Self, keystead_state::Error> {
        let head = store.head();
        let beginning = if head.number == 0 { store.latest() } else { store.at(0)?.unwrap_or_else(|| store.latest()) };
        let (now, head_s) = (now(), head.timestamp_ms / MILLIS_PER_SECOND);
        // A new chain goes on from the time of its genesis block, whenever that is.
        let shown = if head.number == 0 { head_s } else { head_s.max(now) };
        let clock = Clock::showing(shown, now);
        let chain = Chain::new(store.clone(), spec, Arc::clone(&pool), Address::ZERO, submissions.clone());
        let state = Mutex::new(State::new(start, clock));
        let paced = Condvar::new();
        Ok(Self { chain, store, spec, pool, submissions, accounts, start, beginning, clock, state, paced })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything as at the start; the clock has gone on meanwhile.
    pub(super) fn fresh(&self) -> State {
        State::new(self.start, self.clock)
    }

    /// Changes how blocks come.
    pub(super) fn pace(&self, state: &mut State, mining: Mining) {
        state.mining = mining;
        state.due = due(mining);
        self.paced.notify_all();
    }

    pub(super) fn head(&self) -> Result<Arc<Block>, DevError> {
        let number = self.store.head().number;
        let block = self.store.block(number).map_err(|error| broken(&error))?;
        block.ok_or_else(|| DevError::Broken("the store lacks its head".to_owned()))
    }

    /// The base fee of the next block.
    pub(super) fn next_base_fee(&self, state: &State, head: &Block) -> u64 {
        state.next.base_fee.unwrap_or_else(|| self.spec.next_base_fee(head.header()))
    }

    /// What the next block is made with now.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(super) fn plan(&self, state: &State, head: &Block) -> Result<Plan, DevError> {
        let timestamp = state.clock.of_next(now(), head.header().timestamp);
        let number = head.number().saturating_add(1);
        let chain_id = self.spec.chain_id;
        // A block with a chosen `PREVRANDAO` has nothing of ours in its body; the next one makes up for it.
        let values = |height| state.next.prev_randao.is_none().then(|| BeaconValue::development(chain_id, height));
        let beacon = beacon::following(&self.store.latest(), number, values).map_err(|error| broken(&error))?;
        Ok(Plan {
            context: context(head),
            timestamp_ms: timestamp.saturating_mul(MILLIS_PER_SECOND),
            beneficiary: state.lasting.coinbase,
            gas_limit: state.lasting.gas_limit,
            base_fee: self.next_base_fee(state, head),
            prev_randao: state.next.prev_randao,
            beacon,
        })
    }

    /// Makes one block of what waits. With [`Empty::Left`] it is not made if there is nothing to put into it.
    fn make(&self, state: &mut State, empty: Empty) -> Result<Option<Arc<Block>>, DevError> {
        let head = self.head()?;
        let plan = self.plan(state, &head)?;
        let block = self.chain.build_as(&head, &plan).map_err(|error| broken(&error))?;
        if empty == Empty::Left && block.transactions().is_empty() {
            return Ok(None);
        }
        self.chain.commit(&block, None).map_err(|error| broken(&error))?;
        state.clock.advance(now(), block.header().timestamp);
        state.next = Next::default();
        Ok(Some(block))
    }

    /// Makes blocks until nothing waits that could be executed.
    pub(super) fn make_ready(&self, state: &mut State) -> Result<(), DevError> {
        for _ in 0..READY_BLOCKS_MAX {
            let head = self.head()?;
            let base_fee = self.next_base_fee(state, &head);
            if !self.pool().has_executable(base_fee) || self.make(state, Empty::Left)?.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// Makes the blocks of an order.
    pub(super) fn make_order(&self, state: &mut State, order: MineOrder) -> Result<(), DevError> {
        let MineOrder { blocks, timestamp, interval } = order;
        if blocks > MINE_BLOCKS_MAX {
            return Err(DevError::TooManyBlocks { got: blocks, max: MINE_BLOCKS_MAX });
        }
        let Some(others) = blocks.checked_sub(1) else { return Ok(()) };
        let head = self.head()?.header().timestamp;
        let spacing = interval.unwrap_or(1).max(1);
        let first = timestamp.unwrap_or_else(|| state.clock.of_next(now(), head));
        for timestamp in [first, first.saturating_add(spacing.saturating_mul(others))] {
            super::clock::check(timestamp, head)?;
        }
        if let Some(timestamp) = timestamp {
            state.clock.set_next(timestamp, head)?;
        }
        for index in 0..blocks {
            if index > 0 && (interval.is_some() || timestamp.is_some()) {
                let head = self.head()?.header().timestamp;
                state.clock.set_next(head.saturating_add(spacing), head)?;
            }
            self.make(state, Empty::Made)?;
        }
        let head = self.head()?.header().timestamp;
        state.clock.catch_up(now(), head);
        Ok(())
    }

    /// Makes blocks at intervals until the process ends. Runs on a thread of its own.
    pub(crate) fn keep_pace(&self, stopped: &watch::Receiver<bool>) {
        let mut state = self.state();
        while !*stopped.borrow() {
            let now = Instant::now();
            match (state.mining.interval, state.due) {
                (Some(interval), Some(due)) if due <= now => {
                    state.due = now.checked_add(interval);
                    if let Err(error) = self.make(&mut state, Empty::Made) {
                        tracing::error!(%error, "cannot make a block: none comes by itself any more");
                        state.due = None;
                    }
                }
                (_, due) => {
                    let left = due.map_or(LOOK, |due| due.saturating_duration_since(now)).min(LOOK);
                    state = self.paced.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }
}

impl Submit for Producer {
    fn submit(&self, transaction: Recovered) -> Result<B256, SubmitError> {
        let unavailable = |error: DevError| SubmitError::Unavailable(error.to_string());
        let mut state = self.state();
        if !state.mining.automine {
            return self.submissions.submit(transaction);
        }
        let head = self.head().map_err(unavailable)?;
        let (max_fee, base_fee) = (transaction.max_fee_per_gas(), self.next_base_fee(&state, &head));
        if max_fee < base_fee.into() {
            return Err(SubmitError::FeeBelowBase { max_fee, base_fee });
        }
        let hash = self.submissions.submit(transaction)?;
        self.make_ready(&mut state).map_err(unavailable)?;
        Ok(hash)
    }

    fn arrivals(&self) -> watch::Receiver<()> {
        self.submissions.arrivals()
    }
}

/// When the next block comes by itself, from now on.
fn due(mining: Mining) -> Option<Instant> {
    mining.interval.and_then(|interval| Instant::now().checked_add(interval))
}

/// What becomes of a block without transactions.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Empty {
    Made,
    Left,
}

/// The context of a head's child: a view for each height, no leader, and in place of seeds what the head's hash gives, so
/// that `PREVRANDAO` differs from block to block and follows from the chain.
fn context(head: &Block) -> ConsensusContext {
    let view = head.number().saturating_add(1);
    let mut context =
        ConsensusContext { epoch: 0, view, parent_view: head.number(), leader: [0; 32], seeds: Vec::new() };
    let mut seed = [0; 48];
    seed.iter_mut().zip(head.hash()).for_each(|(to, from)| *to = from);
    context.seeds = vec![Seed(seed); context.seed_count()];
    context
}

/// The machine's time in Unix seconds.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

pub(super) fn broken(error: &dyn std::fmt::Display) -> DevError {
    DevError::Broken(error.to_string())
}

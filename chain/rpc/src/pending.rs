//! The block that this node would make now: the head's child with the best transactions of the pool.
//!
//! # Design
//! It is built as a proposer builds one, so gas, receipts and state are those of real execution; what only the proposer
//! or the engine knows (time, beneficiary, seeds) is filled in with the clock and with zeros, so its roots are those of no
//! real block. It is remembered until the head or the pool changes, and only one is built at a time: whoever comes
//! meanwhile gets the last one of the same head. A large one is given for a moment after the pool changed, too, so that no
//! caller can keep a core busy with building.
//!
//! Its state is a child of the head's, so reads and calls on top of it cost what they cost on any other.
//!
//! # Not here
//! Proofs: no certificate will ever be over this block. The block after the last one of an imported chain: nobody makes
//! it, and `pending` means the head there.

use crate::{error::RpcError, params::BlockId, service::Service};
use alloy_consensus::{
    EMPTY_OMMER_ROOT_HASH, Header, constants::EMPTY_WITHDRAWALS, proofs::calculate_transaction_root,
};
use alloy_eips::eip7685::EMPTY_REQUESTS_HASH;
use alloy_primitives::{Address, B256, Bytes};
use keystead_execution::{BlockEnv, BuildLimits, build};
use keystead_state::Snapshot;
use keystead_types::{BODY_BYTES_MAX, MILLIS_PER_SECOND, Recovered, Transaction};
use std::{
    sync::{Arc, Mutex, PoisonError, TryLockError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// How long filling the block may take before it is shown as it is.
const BUILD_TIME_MAX: Duration = Duration::from_millis(50);
/// A block with no more gas is built anew with every change of the pool: some milliseconds, so who sends and then asks
/// sees what he sent.
const BUILD_GAS_CHEAP: u64 = 5_000_000;
/// A larger one is given for so many times as long as it took: building takes at most a fifth of one core.
const BUILD_TIMES_KEPT: u32 = 4;
/// Transactions in the block at most: its gas limit allows fewer.
const TRANSACTIONS_MAX: usize = 8_192;

/// The block.
#[derive(Debug)]
pub(crate) struct PendingBlock {
    /// Its header.
    pub(crate) header: Header,
    /// Its transactions in order.
    pub(crate) transactions: Vec<Arc<Recovered>>,
    /// The state after it.
    state: Arc<Snapshot>,
}

/// Where values are read and calls are tried: the state after a block, and that block's environment.
#[derive(Debug)]
pub(crate) struct Place {
    /// The state.
    pub(crate) state: Arc<Snapshot>,
    /// The environment.
    pub(crate) env: BlockEnv,
}

impl Place {
    /// The place of this name. Cost and errors: those of [`pending_block`] and of [`crate::chain::Chain::state`].
    pub(crate) fn find(service: &Service, id: BlockId) -> Result<Self, RpcError> {
        if id == BlockId::Pending && service.context.spec.ethereum.is_none() {
            let block = pending_block(service)?;
            return Ok(Self { state: Arc::clone(&block.state), env: BlockEnv::from(&block.header) });
        }
        let chain = service.chain();
        let state = chain.state(id)?;
        let env = BlockEnv::from(&chain.header(state.number())?);
        Ok(Self { state, env })
    }
}

/// The last one that was built.
#[derive(Debug, Default)]
pub(crate) struct PendingCache {
    /// Held while one is built.
    building: Mutex<()>,
    last: Mutex<Option<Built>>,
}

#[derive(Clone, Debug)]
struct Built {
    parent: B256,
    /// The pool's cursor and size: one of them moves with every change that can matter here.
    pool: (u64, usize),
    block: Arc<PendingBlock>,
    /// When it was ready, and how long that took.
    ready: Instant,
    took: Duration,
}

impl Built {
    /// True if it is what would be built now, or was so a moment ago and is not cheap to build.
    fn holds(&self, pool: (u64, usize)) -> bool {
        let is_cheap = self.block.header.gas_used <= BUILD_GAS_CHEAP;
        self.pool == pool || !is_cheap && self.ready.elapsed() < self.took.saturating_mul(BUILD_TIMES_KEPT)
    }
}

impl PendingCache {
    /// Forgets the last one, after a commit: its state holds a view of the tables, which would keep old values on disk
    /// for as long as nobody asks again.
    pub(crate) fn forget(&self) {
        drop(self.last.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    fn last(&self, parent: B256) -> Option<Built> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.clone().filter(|built| built.parent == parent)
    }
}

/// The pending block.
///
/// Cost: [`BUILD_TIME_MAX`] and a state root, if something changed. Errors: this node is broken.
pub(crate) fn pending_block(service: &Service) -> Result<Arc<PendingBlock>, RpcError> {
    let cache = &service.pending;
    let head = service.context.store.head().hash;
    let building = match cache.building.try_lock() {
        Ok(building) => building,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => match cache.last(head) {
            Some(built) => return Ok(built.block),
            None => cache.building.lock().unwrap_or_else(PoisonError::into_inner),
        },
    };
    let pool = {
        let pool = service.pool();
        (pool.cursor(), pool.len())
    };
    // In development more can change than head and pool: time, fees, state.
    let lasts = service.context.dev.is_none();
    if let Some(built) = cache.last(head).filter(|built| lasts && built.holds(pool)) {
        return Ok(built.block);
    }
    let start = Instant::now();
    let block = Arc::new(make(service)?);
    let (parent, took) = (block.header.parent_hash, start.elapsed());
    let built = Built { parent, pool, block: Arc::clone(&block), ready: Instant::now(), took };
    *cache.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(built);
    drop(building);
    Ok(block)
}

fn make(service: &Service) -> Result<PendingBlock, RpcError> {
    let (context, chain) = (&service.context, service.chain());
    let state = chain.state(BlockId::Latest)?;
    let parent = chain.header(state.number())?;
    let parent_hash = state.hash();
    let (env, timestamp_ms) = next_block(service, &parent, parent_hash)?;
    let mut candidates = service.pool().best(env.base_fee);
    let limits = BuildLimits { bytes_max: BODY_BYTES_MAX, transactions_max: TRANSACTIONS_MAX };
    let start = Instant::now();
    let stop = || start.elapsed() > BUILD_TIME_MAX;
    let built = build(&*state, &context.spec, &env, &mut candidates, limits, &stop)
        .map_err(|error| RpcError::internal(&error))?;
    let outcome = built.outcome;
    let listed: Vec<&Transaction> = built.transactions.iter().map(|it| it.inner()).collect();
    let child = state.child(outcome.changes)?;
    let header = Header {
        parent_hash,
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        beneficiary: env.beneficiary,
        state_root: child.state_root(),
        transactions_root: calculate_transaction_root(&listed),
        receipts_root: outcome.receipts_root,
        logs_bloom: outcome.logs_bloom,
        number: env.number,
        gas_limit: env.gas_limit,
        gas_used: outcome.gas_used,
        timestamp: env.timestamp,
        extra_data: Bytes::copy_from_slice(&timestamp_ms.to_be_bytes()),
        base_fee_per_gas: Some(env.base_fee),
        withdrawals_root: Some(EMPTY_WITHDRAWALS),
        blob_gas_used: Some(0),
        excess_blob_gas: Some(0),
        parent_beacon_block_root: Some(env.parent_beacon_block_root),
        requests_hash: Some(EMPTY_REQUESTS_HASH),
        ..Header::default()
    };
    let state = child.seal(header.hash_slow());
    Ok(PendingBlock { header, transactions: built.transactions, state })
}

/// What the transactions learn of the block, and its time in milliseconds.
pub(crate) fn next_block(service: &Service, parent: &Header, parent_hash: B256) -> Result<(BlockEnv, u64), RpcError> {
    let spec = &service.context.spec;
    if let Some(dev) = &service.context.dev {
        let env = BlockEnv { number: parent.number.saturating_add(1), parent_hash, ..dev.next_block()? };
        return Ok((env, env.timestamp.saturating_mul(MILLIS_PER_SECOND)));
    }
    let timestamp_ms = timestamp_ms(parent);
    let env = BlockEnv {
        number: parent.number.saturating_add(1),
        timestamp: timestamp_ms / MILLIS_PER_SECOND,
        beneficiary: Address::ZERO,
        gas_limit: spec.gas_limit,
        base_fee: spec.next_base_fee(parent),
        prev_randao: B256::ZERO,
        parent_beacon_block_root: B256::ZERO,
        parent_hash,
        ..BlockEnv::default()
    };
    Ok((env, timestamp_ms))
}

/// Now, or the first moment after the parent if the clock is behind it.
fn timestamp_ms(parent: &Header) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let parent_ms = parent.extra_data.as_ref().try_into().map(u64::from_be_bytes).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX).max(parent_ms.saturating_add(1))
}

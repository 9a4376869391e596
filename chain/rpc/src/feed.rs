//! What subscriptions and filters watch, and how far each of them has been told.
//!
//! # Design
//! Nothing is queued for a watcher: it keeps a [`Cursor`] into the chain and the pool, and reads from there what is new.
//! So a slow one costs no memory, none misses a block however fast they come, and the two kinds (notifications over
//! WebSocket, answers to polling) share one way of reading.
//!
//! # Invariants
//! - Blocks are final when they can be read here, so nothing that was told is ever taken back. (Only a development node goes
//!   back, and then tells the blocks that take the place of others.)
//! - A cursor moves past something only after it was handed to the caller.

use crate::{
    error::RpcError,
    message::Json,
    methods::{eth::logs::LogQuery, keystead},
    params::BlockId,
    render::{self, Detail, LogPlace},
    service::Service,
};
use alloy_rpc_types_eth::Header as RpcHeader;
use tokio::sync::OwnedSemaphorePermit;

/// Transactions of the pool that are copied under its lock at once.
const ARRIVALS_MAX: usize = 256;
/// What a step counts for at least, in bytes: even an empty block costs a read.
const STEP_BYTES_MIN: usize = 512;

/// What is watched.
#[derive(Debug)]
pub(crate) enum Watched {
    /// Headers of new blocks.
    Heads,
    /// Hashes of new blocks.
    Hashes,
    /// Logs of new blocks.
    Logs {
        /// Which ones.
        query: Box<LogQuery>,
        /// The query's share of the room for addresses and topics.
        _room: OwnedSemaphorePermit,
    },
    /// Transactions that enter the pool.
    Arrivals(Detail),
    /// Whether the node is catching up: told once, because it never changes.
    Syncing,
    /// What makes new blocks final.
    Finalized,
}

impl Watched {
    /// True if each new block is looked at: then a cursor far below the head means a slow watcher.
    pub(crate) const fn follows_blocks(&self) -> bool {
        matches!(self, Self::Heads | Self::Hashes | Self::Logs { .. })
    }
}

/// How far a watcher has been told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// The next block.
    pub(crate) block: u64,
    /// The next log in it, counted over the whole block.
    log: usize,
    /// The next arrival in the pool.
    arrival: u64,
    /// Whether what is told once has been told.
    told: bool,
}

impl Cursor {
    /// Everything after this moment.
    pub(crate) fn now(service: &Service) -> Self {
        let arrival = service.pool().cursor();
        Self { block: service.chain().head().saturating_add(1), log: 0, arrival, told: false }
    }

    /// Stands at a block at most: a development node went back, and what comes there is new.
    pub(crate) const fn go_back(&mut self, block: u64) {
        if self.block > block {
            self.block = block;
            self.log = 0;
        }
    }
}

/// Takes what is told, and says when it has enough.
pub(crate) struct Listener<'a> {
    /// Bytes that may still be told.
    pub(crate) bytes_left: usize,
    /// Items that may still be told.
    pub(crate) items_left: usize,
    /// Where they go.
    pub(crate) tell: &'a mut dyn FnMut(Json),
}

impl Listener<'_> {
    /// True if nothing more can be told now.
    pub(crate) const fn is_full(&self) -> bool {
        self.bytes_left == 0 || self.items_left == 0
    }

    fn hear(&mut self, json: Json) {
        self.bytes_left = self.bytes_left.saturating_sub(json.bytes());
        self.items_left = self.items_left.saturating_sub(1);
        (self.tell)(json);
    }
}

/// Tells the next block, or the next few arrivals; false if there is nothing new.
///
/// Cost: one block at most. Errors: the store cannot be read.
pub(crate) fn step(
    service: &Service,
    watched: &Watched,
    cursor: &mut Cursor,
    listener: &mut Listener<'_>,
) -> Result<bool, RpcError> {
    let height = service.chain().head();
    if service.context.dev.is_some() {
        cursor.go_back(height.saturating_add(1));
    }
    let new_block = cursor.block <= height;
    match watched {
        Watched::Heads | Watched::Hashes | Watched::Logs { .. } if !new_block => return Ok(false),
        Watched::Heads => {
            listener.hear(head(service, cursor.block)?);
            next_block(cursor);
        }
        Watched::Hashes => {
            listener.hear(Json::of(&service.chain().header(cursor.block)?.hash_slow())?);
            next_block(cursor);
        }
        Watched::Logs { query, .. } => logs(service, query, cursor, listener)?,
        Watched::Arrivals(detail) => return arrivals(service, *detail, cursor, listener),
        Watched::Syncing if cursor.told => return Ok(false),
        Watched::Syncing => {
            listener.hear(Json::of(&false)?);
            cursor.told = true;
        }
        Watched::Finalized => match keystead::finalization_from(service, cursor.block)? {
            Some((certified, json)) => {
                listener.hear(json);
                cursor.block = certified.saturating_add(1);
            }
            None => return Ok(false),
        },
    }
    listener.bytes_left = listener.bytes_left.saturating_sub(STEP_BYTES_MIN);
    Ok(true)
}

const fn next_block(cursor: &mut Cursor) {
    cursor.block = cursor.block.saturating_add(1);
    cursor.log = 0;
}

/// A header as `newHeads` shows it.
fn head(service: &Service, number: u64) -> Result<Json, RpcError> {
    let inner = service.chain().header(number)?;
    let hash = inner.hash_slow();
    Json::of(&RpcHeader { hash, inner, total_difficulty: None, size: None })
}

/// The logs of one block, or as many as the listener takes; the cursor then stands within the block.
fn logs(service: &Service, query: &LogQuery, cursor: &mut Cursor, listener: &mut Listener<'_>) -> Result<(), RpcError> {
    let chain = service.chain();
    let number = cursor.block;
    if !query.takes_height(number) || !query.matches_bloom(chain.header(number)?.logs_bloom) {
        next_block(cursor);
        return Ok(());
    }
    let Some(executed) = chain.executed(BlockId::Number(number))? else { return Ok(()) };
    let header = executed.block.header();
    let mut log_index = 0usize;
    for ((index, transaction), receipt) in executed.block.transactions().iter().enumerate().zip(&*executed.receipts) {
        let place = LogPlace {
            block_hash: executed.block.hash(),
            block_number: number,
            block_timestamp: header.timestamp,
            transaction_hash: *transaction.tx_hash(),
            transaction_index: index as u64,
        };
        for log in receipt.logs() {
            let told = log_index < cursor.log;
            if !told && query.matches(log) {
                if listener.is_full() {
                    cursor.log = log_index;
                    return Ok(());
                }
                listener.hear(Json::of(&place.log(log.clone(), log_index))?);
            }
            log_index = log_index.saturating_add(1);
        }
    }
    next_block(cursor);
    Ok(())
}

fn arrivals(
    service: &Service,
    detail: Detail,
    cursor: &mut Cursor,
    listener: &mut Listener<'_>,
) -> Result<bool, RpcError> {
    let count = ARRIVALS_MAX.min(listener.items_left);
    let next = match detail {
        Detail::Hashes => {
            let (hashes, next) = service.pool().hashes_since(cursor.arrival, count);
            for hash in hashes {
                listener.hear(Json::of(&hash)?);
            }
            next
        }
        Detail::Full => {
            let (transactions, next) = service.pool().since(cursor.arrival, count);
            for transaction in transactions {
                listener.hear(Json::of(&render::pending((*transaction).clone()))?);
            }
            next
        }
    };
    let moved = next > cursor.arrival;
    cursor.arrival = next;
    Ok(moved)
}

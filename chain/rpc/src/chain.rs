//! Finds blocks and states by the ways in which callers name them.
//!
//! # Design
//! A block that does not exist is `None` (most methods answer null); a state that does not exist is an error, because
//! its caller asked for a value that nobody can give.

use crate::{error::RpcError, params::BlockId};
use alloy_primitives::{Address, B256};
use keystead_execution::{BlockEnv, ExecutedBlock};
use keystead_state::{Snapshot, Store};
use keystead_types::{Block, ChainSpec, Header, Receipt, Recovered, Transaction};
use std::sync::Arc;

/// Lookups over the store.
#[derive(Clone, Copy)]
pub(crate) struct Chain<'a> {
    store: &'a Store,
}

/// A committed block with all that its rendering needs.
#[derive(Clone, Debug)]
pub(crate) struct Executed {
    /// The block.
    pub(crate) block: Arc<Block>,
    /// Receipts in the order of the transactions.
    pub(crate) receipts: Arc<Vec<Receipt>>,
    /// Senders in the order of the transactions.
    pub(crate) senders: Arc<Vec<Address>>,
}

impl Executed {
    /// The transaction at `index` with its sender.
    pub(crate) fn transaction(&self, index: usize) -> Option<Recovered> {
        let transaction: &Transaction = self.block.transactions().get(index)?;
        let sender = self.senders.get(index)?;
        Some(Recovered::new_unchecked(transaction.clone(), *sender))
    }
}

/// A committed block and the state that it was executed on.
#[derive(Debug)]
pub(crate) struct Replayable {
    /// The state after the parent.
    pub(crate) parent: Arc<Snapshot>,
    /// The block's environment.
    pub(crate) env: BlockEnv,
    /// The block's hash.
    pub(crate) hash: B256,
    /// Its transactions with their senders.
    pub(crate) transactions: Vec<Recovered>,
}

impl Replayable {
    /// The same for the executor.
    pub(crate) fn block<'a>(&'a self, spec: &'a ChainSpec) -> ExecutedBlock<'a> {
        let (env, hash, transactions) = (self.env, self.hash, &self.transactions);
        ExecutedBlock { view: &*self.parent, spec, env, hash, transactions }
    }
}

impl<'a> Chain<'a> {
    /// Lookups over `store`.
    pub(crate) const fn new(store: &'a Store) -> Self {
        Self { store }
    }

    /// Height of the head.
    pub(crate) fn head(&self) -> u64 {
        self.store.head().number
    }

    /// Height of a block that exists; `None` if there is none of that name.
    pub(crate) fn number(&self, id: BlockId) -> Result<Option<u64>, RpcError> {
        let head = self.head();
        Ok(match id {
            BlockId::Latest | BlockId::Pending => Some(head),
            BlockId::Number(number) => (number <= head).then_some(number),
            BlockId::Hash(hash) => self.store.number_of(&hash)?,
        })
    }

    /// The block, if it exists.
    pub(crate) fn block(&self, id: BlockId) -> Result<Option<Arc<Block>>, RpcError> {
        let Some(number) = self.number(id)? else { return Ok(None) };
        self.store.block(number)?.map_or_else(|| Err(missing("block", number)), |block| Ok(Some(block)))
    }

    /// The header of a height that exists.
    pub(crate) fn header(&self, number: u64) -> Result<Header, RpcError> {
        self.store.header(number)?.ok_or_else(|| missing("header", number))
    }

    /// The block with senders and receipts, if it exists.
    pub(crate) fn executed(&self, id: BlockId) -> Result<Option<Executed>, RpcError> {
        let Some(block) = self.block(id)? else { return Ok(None) };
        let number = block.number();
        if block.transactions().is_empty() {
            return Ok(Some(Executed { block, receipts: Arc::default(), senders: Arc::default() }));
        }
        let receipts = self.store.receipts(number)?.ok_or_else(|| missing("receipts", number))?;
        let senders = self.store.senders(number)?.ok_or_else(|| missing("senders", number))?;
        Ok(Some(Executed { block, receipts, senders }))
    }

    /// Where a transaction stands, if it is in a block: the block, and its index there.
    pub(crate) fn find_transaction(&self, hash: &B256) -> Result<Option<(Executed, usize)>, RpcError> {
        let Some((number, index)) = self.store.transaction_location(hash)? else { return Ok(None) };
        Ok(self.executed(BlockId::Number(number))?.map(|executed| (executed, index)))
    }

    /// The state after a block.
    ///
    /// Errors: server error if there is no such block, or if its state is no longer kept.
    pub(crate) fn state(&self, id: BlockId) -> Result<Arc<Snapshot>, RpcError> {
        if matches!(id, BlockId::Latest | BlockId::Pending) {
            return Ok(self.store.latest());
        }
        let Some(number) = self.number(id)? else {
            return Err(RpcError::server(match id {
                BlockId::Hash(hash) => format!("header for hash not found: {hash}"),
                _ => format!("header not found: the head is block {}", self.head()),
            }));
        };
        self.store.at(number)?.ok_or_else(|| {
            let (oldest, head) = (self.store.oldest_state(), self.head());
            RpcError::server(format!(
                "state of block {number} is not kept: this node has the states of blocks {oldest} to {head}"
            ))
        })
    }

    /// A block with what running it again needs; `None` if there is no such block.
    ///
    /// Errors: server error for the genesis block, and if the parent's state is no longer kept.
    pub(crate) fn replayable(&self, id: BlockId) -> Result<Option<Replayable>, RpcError> {
        let Some(executed) = self.executed(id)? else { return Ok(None) };
        let header = executed.block.header();
        let Some(parent) = header.number.checked_sub(1) else {
            return Err(RpcError::server("genesis is not traceable"));
        };
        let parent = self.store.at(parent)?.ok_or_else(|| {
            let (first, head) = (self.store.oldest_state().saturating_add(1), self.head());
            let number = header.number;
            RpcError::server(if first > head {
                format!("block {number} cannot be traced: this node keeps only the state of the head")
            } else {
                format!("block {number} cannot be traced: this node has the states for blocks {first} to {head}")
            })
        })?;
        let transactions: Vec<_> =
            (0..executed.senders.len()).filter_map(|index| executed.transaction(index)).collect();
        Ok(Some(Replayable {
            parent,
            env: BlockEnv::from(&*executed.block),
            hash: executed.block.hash(),
            transactions,
        }))
    }
}

/// The store lacks what every committed block has.
fn missing(what: &str, number: u64) -> RpcError {
    RpcError::internal(&format!("the store has no {what} of committed block {number}"))
}

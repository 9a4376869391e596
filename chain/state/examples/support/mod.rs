//! What the measuring programs share: an empty chain, blocks on it, and the lines that `cargo xtask bench --state` reads.

use alloy_primitives::{B256, Bloom};
use alloy_trie::EMPTY_ROOT_HASH;
use keystead_state::Head;
use keystead_types::{Address, Block, BlockParts, ConsensusContext, Genesis, Transaction};
use std::error::Error;

pub(crate) type Outcome<T> = Result<T, Box<dyn Error>>;

/// A chain without accounts.
pub(crate) fn genesis() -> Outcome<Genesis> {
    Ok(Genesis::from_json(r#"{"config":{"chainId":1},"gasLimit":"0x1","difficulty":"0x0","alloc":{}}"#)?)
}

/// The child of a block that leads to a state.
pub(crate) fn block(parent: &Head, state_root: B256, transactions: Vec<Transaction>) -> Block {
    Block::assemble(BlockParts {
        parent_hash: parent.hash,
        number: parent.number + 1,
        timestamp_ms: parent.timestamp_ms + 200,
        beneficiary: Address::ZERO,
        state_root,
        receipts_root: EMPTY_ROOT_HASH,
        logs_bloom: Bloom::ZERO,
        gas_limit: 150_000_000,
        gas_used: 0,
        base_fee: 7,
        transactions,
        context: ConsensusContext::genesis(),
        requests: Vec::new(),
    })
}

/// A figure.
pub(crate) struct Row<'r> {
    pub(crate) name: &'r str,
    pub(crate) value: f64,
    pub(crate) unit: &'r str,
    pub(crate) spread: &'r str,
    pub(crate) goal: &'r str,
    pub(crate) less: bool,
}

impl Row<'_> {
    /// Prints `row`, name, value, unit, spread, goal and `less` or `more`, between tabs.
    pub(crate) fn print(&self) {
        let Self { name, value, unit, spread, goal, less } = self;
        let better = if *less { "less" } else { "more" };
        println!("row\t{name}\t{value:.3}\t{unit}\t{spread}\t{goal}\t{better}");
    }
}

/// A round number, shortly.
pub(crate) fn count(number: u64) -> String {
    match number {
        1_000_000.. => format!("{} M", number / 1_000_000),
        _ => format!("{} k", number / 1_000),
    }
}

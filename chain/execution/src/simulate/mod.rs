//! Simulates whole blocks of calls on top of a state, as `eth_simulateV1` asks for.
//!
//! # Design
//! `plan.rs` gives every block its number and time and fills gaps; `run.rs` executes them one after another on one
//! overlay and makes headers that hash, so that `BLOCKHASH` and the system calls of the next block see them;
//! `logs.rs` collects logs, and transfers of value as logs if asked. Numbers, order of checks and defaults are those of
//! geth, because callers decode its errors.
//!
//! # Not here
//! Roots of states: the caller has the trie and hands in a function. Withdrawals: no chain of ours has any. Of blocks of
//! foreign chains from before Byzantium, the roots of states in receipts.

mod logs;
mod plan;
mod run;

pub use run::simulate;

use crate::{
    call::{CallRequest, CallStatus},
    error::InvalidTransaction,
    overrides::Overrides,
    trace::TraceError,
};
use alloy_consensus::Header;
use alloy_primitives::{Address, B256, Bytes, Log};
use keystead_types::{ChangeSet, Recovered, ViewError};

/// Blocks of one simulation, those that fill gaps included: geth's limit.
pub const SIMULATED_BLOCKS_MAX: u64 = 256;

/// A call in a simulated block.
#[derive(Clone, Debug, Default)]
pub struct SimulatedCall {
    /// The call; without gas it gets what is left.
    pub request: CallRequest,
    /// Its nonce; `None` for the one that follows. Only compared if the simulation validates.
    pub nonce: Option<u64>,
}

/// A block to be simulated.
#[derive(Clone, Debug, Default)]
pub struct BlockRequest {
    /// What is different in it: the block's fields hold for it alone, but `coinbase` and `gasLimit` also for those that
    /// follow; the state's stay.
    pub overrides: Overrides,
    /// Its calls, in order.
    pub calls: Vec<SimulatedCall>,
}

/// How a chain makes headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderStyle {
    /// One second from block to block, the time in milliseconds in `extraData`.
    Keystead,
    /// Twelve seconds from block to block, no `extraData`.
    Ethereum,
}

/// What all blocks of a simulation have in common.
#[derive(Clone, Copy, Debug)]
pub struct SimulateOptions {
    /// Checks nonces, fees and base fees as a block does. Signatures and code at the sender are never checked.
    pub validation: bool,
    /// Adds a log for each transfer of value.
    pub trace_transfers: bool,
    /// Gas that all calls together may use.
    pub gas_max: u64,
    /// Kind of chain.
    pub style: HeaderStyle,
}

/// The root of the base's state with these changes.
pub type SimulatedRoot<'a> = &'a mut dyn FnMut(ChangeSet) -> Result<B256, ViewError>;

/// A block that never was.
#[derive(Clone, Debug)]
pub struct SimulatedBlock {
    /// Its header, with all roots.
    pub header: Header,
    /// Its transactions under an empty signature.
    pub transactions: Vec<Recovered>,
    /// What they gave, in order.
    pub results: Vec<SimulatedResult>,
}

/// What a simulated call gave.
#[derive(Clone, Debug)]
pub struct SimulatedResult {
    /// How it ended.
    pub status: CallStatus,
    /// What it returned, or the data of its revert.
    pub output: Bytes,
    /// Gas that it paid for, after refunds.
    pub gas_used: u64,
    /// Gas that it needed before refunds were given back.
    pub gas_spent: u64,
    /// Its logs with their index in the block, if it succeeded. Indices of logs that were undone are skipped.
    pub logs: Vec<(u64, Log)>,
}

/// There is no simulation.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    /// No block was asked for.
    #[error("empty input")]
    Empty,
    /// More blocks than allowed, those that fill gaps included.
    #[error("too many blocks: at most {max}")]
    TooManyBlocks {
        /// The limit.
        max: u64,
    },
    /// Numbers do not rise.
    #[error("block numbers must be in order: {number} <= {before}")]
    NumberOrder {
        /// Number of the block.
        number: u64,
        /// Number of the block before it.
        before: u64,
    },
    /// Times do not rise.
    #[error("block timestamps must be in order: {time} <= {before}")]
    TimeOrder {
        /// Time of the block in seconds.
        time: u64,
        /// Time of the block before it.
        before: u64,
    },
    /// A call asks for more gas than its block has left.
    #[error("block gas limit reached: remaining: {left}, required: {gas_limit}")]
    BlockGas {
        /// Gas left in the block.
        left: u64,
        /// Gas of the call.
        gas_limit: u64,
    },
    /// A call may not stand where it stands.
    #[error("err: {refused}: address {from} (supplied gas {gas_limit})")]
    Call {
        /// Who calls.
        from: Address,
        /// Gas of the call.
        gas_limit: u64,
        /// The rule that it breaks.
        refused: Box<InvalidTransaction>,
    },
    /// It could not be run, or costs more than allowed.
    #[error(transparent)]
    Run(#[from] TraceError),
}

impl From<crate::Error> for SimulateError {
    fn from(error: crate::Error) -> Self {
        Self::Run(error.into())
    }
}

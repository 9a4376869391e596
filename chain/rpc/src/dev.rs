//! What a development node does for its callers beside answering: sign, make blocks on demand, set time and state, go back.
//!
//! A validator has no [`Dev`], and the methods that need one do not exist there.

use crate::error::RpcError;
use alloy_consensus::{EthereumTypedTransaction, TxEip4844};
use alloy_primitives::{Address, B256, Bytes, Signature, U256};
use keystead_execution::BlockEnv;
use keystead_types::Recovered;
use std::time::Duration;

/// A transaction without signature.
pub type Unsigned = EthereumTypedTransaction<TxEip4844>;

/// A development node's own part. Calls block until what they ask for is done; they come from many threads.
pub trait Dev: Send + Sync {
    /// The accounts that it signs for, in the order in which they were made.
    fn accounts(&self) -> Vec<Address>;

    /// True if [`Self::sign`] takes transactions of this account: it holds the key, or the account is impersonated.
    fn sends_for(&self, account: &Address) -> bool;

    /// Signs a transaction; for an impersonated account it stands in place of a signature that nobody can make.
    ///
    /// # Errors
    /// [`DevError::NoKey`].
    fn sign(&self, from: Address, transaction: Unsigned) -> Result<Recovered, DevError>;

    /// Signs a hash.
    ///
    /// # Errors
    /// [`DevError::NoKey`]: also for an impersonated account.
    fn sign_hash(&self, from: Address, hash: B256) -> Result<Signature, DevError>;

    /// What a transaction would learn of its block if that were made now.
    ///
    /// # Errors
    /// [`DevError::Broken`].
    fn next_block(&self) -> Result<BlockEnv, DevError>;

    /// How blocks come.
    fn mining(&self) -> Mining;

    /// Makes blocks of what waits, empty ones if nothing does.
    ///
    /// # Errors
    /// [`DevError::TooManyBlocks`], [`DevError::TimestampTooLow`]: none was made.
    fn mine(&self, order: MineOrder) -> Result<(), DevError>;

    /// Changes how the next blocks are made, or who may send.
    ///
    /// # Errors
    /// [`DevError`]: nothing was changed.
    fn set(&self, setting: Setting) -> Result<(), DevError>;

    /// Moves the time of the blocks to come; by how many seconds it is ahead of the clock from now on.
    ///
    /// # Errors
    /// [`DevError::TimeOutOfRange`].
    fn increase_time(&self, seconds: u64) -> Result<i64, DevError>;

    /// Sets the time of now, in Unix seconds; by how many seconds it is ahead of the clock from now on.
    ///
    /// # Errors
    /// [`DevError::TimeOutOfRange`].
    fn set_time(&self, timestamp: u64) -> Result<i64, DevError>;

    /// Changes an account in the head's state.
    ///
    /// # Errors
    /// [`DevError`]: nothing was changed.
    fn amend(&self, account: Address, amendment: Amendment) -> Result<(), DevError>;

    /// Remembers the chain, the time and the pool as they are; the name to go back by.
    ///
    /// # Errors
    /// [`DevError::TooManySnapshots`].
    fn snapshot(&self) -> Result<u64, DevError>;

    /// Goes back to a snapshot, which is used up with all later ones; false if there is none of this name.
    ///
    /// # Errors
    /// [`DevError::Broken`].
    fn revert(&self, snapshot: u64) -> Result<bool, DevError>;

    /// Goes back to the beginning and forgets every setting.
    ///
    /// # Errors
    /// [`DevError::Broken`].
    fn reset(&self) -> Result<(), DevError>;

    /// Takes a transaction out of the pool; false if it is not there.
    fn drop_transaction(&self, hash: &B256) -> bool;

    /// Takes all transactions out of the pool.
    fn drop_all_transactions(&self);
}

/// How blocks come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mining {
    /// Each transaction that can be executed gets its block at once.
    pub automine: bool,
    /// A block comes each time so long has passed.
    pub interval: Option<Duration>,
}

/// Blocks that are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MineOrder {
    /// How many.
    pub blocks: u64,
    /// Time of the first, in Unix seconds; otherwise the clock's.
    pub timestamp: Option<u64>,
    /// Seconds between two of them; otherwise one.
    pub interval: Option<u64>,
}

/// How the next blocks are made, and who may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Whether each transaction gets its block at once.
    Automine(bool),
    /// A block each time so long has passed; `None` for none.
    Interval(Option<Duration>),
    /// Gas limit of all blocks from the next one on.
    BlockGasLimit(u64),
    /// Base fee of the next block only, in wei per gas.
    NextBaseFee(u64),
    /// Who gets the priority fees from the next block on.
    Coinbase(Address),
    /// What `PREVRANDAO` returns in the next block only.
    PrevRandao(B256),
    /// Time of the next block only, in Unix seconds.
    NextTimestamp(u64),
    /// Seconds from each block to the next, whatever the clock says; `None` to follow the clock again.
    TimestampInterval(Option<u64>),
    /// From now on this account sends without a signature.
    Impersonate(Address),
    /// It no longer does.
    StopImpersonating(Address),
    /// Whether all accounts do.
    ImpersonateAll(bool),
}

/// A change of one account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Amendment {
    /// The balance in wei.
    Balance(U256),
    /// What is added to the balance, in wei.
    AddBalance(U256),
    /// The nonce.
    Nonce(u64),
    /// The code; empty for none.
    Code(Bytes),
    /// One storage slot.
    Slot {
        /// Which one.
        slot: U256,
        /// What it holds; zero for nothing.
        value: U256,
    },
}

/// A development node cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum DevError {
    /// Blocks follow each other in time.
    #[error("timestamp {got} is too low: the head has {head}, the next block needs more")]
    TimestampTooLow {
        /// Unix seconds that were asked for.
        got: u64,
        /// Unix seconds of the head.
        head: u64,
    },
    /// No block could have such a time.
    #[error("time out of range: got={got} max={max} seconds")]
    TimeOutOfRange {
        /// Seconds that were asked for.
        got: u64,
        /// Most seconds that a time may have.
        max: u64,
    },
    /// More blocks than one call makes.
    #[error("too many blocks in one call: got={got} max={max}")]
    TooManyBlocks {
        /// Blocks that were asked for.
        got: u64,
        /// Most blocks that one call makes.
        max: u64,
    },
    /// More snapshots than are kept.
    #[error("too many snapshots are kept: max={max}, revert to one of them")]
    TooManySnapshots {
        /// Most snapshots that are kept.
        max: usize,
    },
    /// More accounts than are impersonated.
    #[error("too many accounts are impersonated: max={max}, stop impersonating some or impersonate all")]
    TooManyImpersonated {
        /// Most accounts at once.
        max: usize,
    },
    /// Code or gas limit beyond the chain's bounds.
    #[error("{what} out of range: got={got} max={max}")]
    OutOfRange {
        /// What was to be set.
        what: &'static str,
        /// What was asked for.
        got: u64,
        /// The largest value.
        max: u64,
    },
    /// The node does not sign for this account.
    #[error("unknown account: this node has no key for {0}, and it is not impersonated")]
    NoKey(Address),
    /// The balance would exceed 256 bits.
    #[error("balance overflows: account={0}")]
    BalanceOverflow(Address),
    /// The node failed; its log says more.
    #[error("{0}")]
    Broken(String),
}

impl From<DevError> for RpcError {
    fn from(error: DevError) -> Self {
        match error {
            DevError::Broken(reason) => Self::internal(&reason),
            DevError::NoKey(_) | DevError::TooManySnapshots { .. } | DevError::TooManyImpersonated { .. } => {
                Self::server(error.to_string())
            }
            DevError::TimestampTooLow { .. }
            | DevError::TimeOutOfRange { .. }
            | DevError::TooManyBlocks { .. }
            | DevError::OutOfRange { .. }
            | DevError::BalanceOverflow(_) => Self::invalid_params(error.to_string()),
        }
    }
}

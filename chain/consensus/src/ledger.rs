//! The one interface through which the engine knows execution and state.

use futures::future::BoxFuture;
use keystead_types::{B256, BeaconValue, Block, Bytes, Certificate, ConsensusContext};
use std::sync::Arc;

/// What a proposer is asked for.
#[derive(Clone, Debug)]
pub struct BuildRequest {
    /// The block to build on.
    pub parent: Arc<Block>,
    /// Context to put into the block.
    pub context: ConsensusContext,
    /// Unix time of the block in milliseconds; greater than the parent's.
    pub timestamp_ms: u64,
    /// Beacon values that are known and not in a final block yet, verified, in the order of their heights; there may be gaps. The
    /// ledger takes those that may follow (specs/0007-beacon.md §4).
    pub beacon: Vec<(u64, BeaconValue)>,
}

/// Whether a block follows the chain's rules. The answer never changes later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every rule holds; the state after the block is kept for its children.
    Valid,
    /// A rule is broken; the sentence says which, with the numbers.
    Invalid(String),
}

/// Why the ledger gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The state after the parent is not at hand; give the parent first.
    #[error("parent state is unknown: parent={0}")]
    UnknownParent(B256),
    /// Our own store or executor failed. The node must stop.
    #[error("ledger is broken: {0}")]
    Broken(String),
}

/// Builds, checks and keeps blocks. Calls may block for as long as execution takes; they run on threads made for it.
pub trait Ledger: Send + Sync + 'static {
    /// True if the state after the block with this hash is at hand.
    fn knows(&self, hash: &B256) -> bool;

    /// Builds a block on a known parent and keeps its state.
    ///
    /// # Errors
    /// [`LedgerError`].
    fn build(&self, request: BuildRequest) -> Result<Arc<Block>, LedgerError>;

    /// Checks every rule but those of the engine (context, seeds, clock, signatures of beacon values), by executing the
    /// block.
    ///
    /// # Errors
    /// [`LedgerError`].
    fn check(&self, block: &Arc<Block>, parent: &Arc<Block>) -> Result<Verdict, LedgerError>;

    /// Makes a finalized block durable. Called in order of height, at least once per block; a block that is already
    /// there is left alone. `certificate` is this node's own, if it has one for this very block.
    ///
    /// # Errors
    /// [`LedgerError`]; the block is delivered again after a restart.
    fn commit(&self, block: &Arc<Block>, certificate: Option<Certificate>) -> Result<(), LedgerError>;

    /// Newest height whose beacon value is in a durable block, zero if there is none yet; `None` if this chain keeps no beacon.
    ///
    /// # Errors
    /// [`LedgerError::Broken`].
    fn beacon_newest(&self) -> Result<Option<u64>, LedgerError>;

    /// Ends as soon as there is a transaction that a block could include.
    fn demanded(&self) -> BoxFuture<'static, ()>;

    /// Takes transactions (EIP-2718 bytes, hostile) that a validator gossiped. Must not block.
    fn receive(&self, transactions: Vec<Bytes>);
}

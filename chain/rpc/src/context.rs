//! What the node hands to its RPC server.

use crate::dev::Dev;
use alloy_primitives::B256;
use keystead_mempool::{Pool, PoolError};
use keystead_state::Store;
use keystead_types::{ChainSpec, RecoverError, Recovered, Transaction, recover};
use std::{
    fmt,
    sync::{Arc, Mutex, atomic::AtomicUsize},
};
use tokio::sync::watch;

/// Everything that the server answers from.
#[derive(Clone)]
pub struct Context {
    /// Blocks, receipts, states and certificates.
    pub store: Store,
    /// Transactions that wait for a block; only read here.
    pub pool: Arc<Mutex<Pool>>,
    /// Rules of the chain.
    pub spec: ChainSpec,
    /// Where new transactions go.
    pub submit: Arc<dyn Submit>,
    /// Who makes blocks final.
    pub network: Network,
    /// With how many other validators this node is connected: whoever connects keeps it true. 0 on a node that is no validator.
    pub connected: Arc<AtomicUsize>,
    /// Answer of `web3_clientVersion`, as `keystead/v0.1.0/linux-x86_64`.
    pub client_version: String,
    /// What only a development node does; `None` on a validator, where the methods that need it do not exist.
    pub dev: Option<Arc<dyn Dev>>,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("spec", &self.spec)
            .field("network", &self.network)
            .field("client_version", &self.client_version)
            .finish_non_exhaustive()
    }
}

/// The committee and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// BLS12-381 public key of the network: compressed G2 point. Spec: specs/0001-certificate.md.
    pub network_key: [u8; 96],
    /// Members of the committee, in the committee's order.
    pub validators: Vec<ValidatorInfo>,
}

/// One member of the committee.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidatorInfo {
    /// Its ed25519 public key.
    pub public_key: [u8; 32],
    /// Where its peers reach it, as `host:port`.
    pub p2p_address: String,
}

/// Takes transactions into the node: pool, gossip, and waking the proposer.
pub trait Submit: Send + Sync {
    /// Whether transactions are taken at the moment. Asked before a signature is checked, which costs more than all the
    /// rest: a node that cannot keep up must be able to refuse cheaply.
    ///
    /// # Errors
    /// [`SubmitError::Busy`].
    fn ready(&self) -> Result<(), SubmitError> {
        Ok(())
    }

    /// Offers transactions whose signatures nobody has checked, in order; an answer to each.
    ///
    /// Called on a blocking thread, from many at once; must not wait for the network. A node that shares work between
    /// transactions does it here; this is the plain way.
    fn offer(&self, transactions: Vec<Transaction>) -> Vec<Result<B256, SubmitError>> {
        transactions.into_iter().map(|transaction| self.submit(recover(transaction)?)).collect()
    }

    /// Offers a transaction whose signature was verified.
    ///
    /// Called on a blocking thread, from many at once. A validator does not wait for the network; a follower waits for a
    /// source's answer, for a bounded time.
    ///
    /// # Errors
    /// [`SubmitError`]: the caller of `eth_sendRawTransaction` gets its text.
    fn submit(&self, transaction: Recovered) -> Result<B256, SubmitError>;

    /// Rings whenever a transaction entered the pool, from a user or from another validator.
    fn arrivals(&self) -> watch::Receiver<()>;
}

/// A transaction that the node did not take.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The pool's rules refuse it: the sender must change it, or wait.
    #[error(transparent)]
    Refused(Box<PoolError>),
    /// More transactions arrive than this node can check: send it again later, or to another node.
    #[error("the node is busy: send again in a second or to another node: waiting={waiting} max={max}")]
    Busy {
        /// Transactions that wait to be checked.
        waiting: usize,
        /// From how many on none is taken.
        max: usize,
    },
    /// The signature gives no sender.
    #[error("invalid sender: {0}")]
    Sender(#[from] RecoverError),
    /// Each transaction gets its block at once here, and this one does not pay what that block asks for.
    #[error("max fee per gas less than block base fee: maxFeePerGas={max_fee} baseFee={base_fee}")]
    FeeBelowBase {
        /// The most that it pays, in wei per gas.
        max_fee: u128,
        /// What the next block asks for, in wei per gas.
        base_fee: u64,
    },
    /// The node takes no transactions now, for instance while it stops: try another node.
    #[error("the node takes no transactions now: {0}")]
    Unavailable(String),
    /// This node forwards transactions, and the other node refused it: code and message are that node's.
    #[error("{message}")]
    Forwarded {
        /// Its JSON-RPC error code.
        code: i32,
        /// Its sentence.
        message: String,
    },
}

impl From<PoolError> for SubmitError {
    fn from(refused: PoolError) -> Self {
        Self::Refused(Box::new(refused))
    }
}

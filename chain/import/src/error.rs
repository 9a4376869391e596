//! Why a block was not imported: the block was wrong, or we are.

use alloy_primitives::B256;
use keystead_execution::{BlockFault, InvalidTransaction};
use keystead_types::{BlockError, HeaderFault, RecoverError};

/// A block was not imported. The store is as it was before.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The block breaks a rule of its chain: do not ask again.
    #[error("block refused: {0}")]
    Refused(#[source] Box<Refusal>),
    /// The genesis is that of a chain of ours, which is not imported but followed.
    #[error("not a foreign chain: chain_id={chain_id}")]
    NotForeign {
        /// Chain id of the genesis.
        chain_id: u64,
    },
    /// The store failed: see [`keystead_state::Error`].
    #[error(transparent)]
    Store(#[from] keystead_state::Error),
    /// The block could not be executed, so nothing is known about it.
    #[error("cannot execute: {0}")]
    Execution(#[source] keystead_execution::Error),
    /// The store has no block or header that it must have.
    #[error("the store lacks a block: number={number}")]
    Missing {
        /// Its height.
        number: u64,
    },
}

/// A file of blocks was not imported to its end.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// The file cannot be read on.
    #[error("cannot read the chain: index={index}")]
    File {
        /// Blocks before the place.
        index: u64,
        /// Why not.
        #[source]
        source: FileError,
    },
    /// A block was not imported.
    #[error("cannot import a block of the chain: index={index} head={head}")]
    Block {
        /// Blocks before it in the file.
        index: u64,
        /// Height of the last block that was imported.
        head: u64,
        /// Why not.
        source: Box<Error>,
    },
}

/// The rule that a block breaks.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Its bytes are no block, or its header does not commit to its body.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// It is longer than its fork allows (EIP-7934).
    #[error("block too large for its fork: got_bytes={got_bytes} max_bytes={max_bytes}")]
    TooLarge {
        /// Length of its encoding.
        got_bytes: usize,
        /// The most.
        max_bytes: usize,
    },
    /// Its header is not what its parent asks for.
    #[error(transparent)]
    Header(#[from] HeaderFault),
    /// One of its ommers is wrong.
    #[error("ommer refused: ommer={hash}: {fault}")]
    Ommer {
        /// Hash of the ommer.
        hash: B256,
        /// What is wrong with it.
        fault: Box<OmmerFault>,
    },
    /// A signature gives no sender.
    #[error(transparent)]
    Signature(#[from] RecoverError),
    /// A transaction may not stand where it stands.
    #[error("invalid transaction: index={index} hash={hash}: {source}")]
    Transaction {
        /// Position in the block.
        index: usize,
        /// Its hash.
        hash: B256,
        /// The rule it breaks.
        source: Box<InvalidTransaction>,
    },
    /// Something around the transactions is wrong.
    #[error(transparent)]
    System(#[from] BlockFault),
    /// The header states another result than execution gives.
    #[error("header does not match the execution: field={field} got={got} want={want}")]
    Mismatch {
        /// Name of the field as in JSON-RPC.
        field: &'static str,
        /// What the header says.
        got: String,
        /// What execution gives.
        want: String,
    },
}

/// What is wrong with an ommer. Spec: Ethereum yellow paper §11.1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OmmerFault {
    /// It is not one of the six generations before the block.
    #[error("too far away: number={number} block={block}")]
    Distance {
        /// Its height.
        number: u64,
        /// Height of the block.
        block: u64,
    },
    /// Its parent is no ancestor of the block.
    #[error("its parent is no ancestor: parent={parent}")]
    Stranger {
        /// The parent that it names.
        parent: B256,
    },
    /// It is an ancestor itself.
    #[error("it is an ancestor")]
    Ancestor,
    /// It was an ommer before, in this block or in an ancestor.
    #[error("it was included before: number={number}")]
    Repeated {
        /// Height of the block that has it already.
        number: u64,
    },
    /// Its header is not what its parent asks for.
    #[error(transparent)]
    Header(#[from] HeaderFault),
}

/// A file of blocks that cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// What follows is no RLP list.
    #[error("not a block at this place: offset={offset} byte={byte:#04x}")]
    NotList {
        /// Bytes before it.
        offset: u64,
        /// The first byte.
        byte: u8,
    },
    /// A block longer than any that is read.
    #[error("block too large: offset={offset} got_bytes={got_bytes} max_bytes={max_bytes}")]
    TooLarge {
        /// Bytes before it.
        offset: u64,
        /// Its claimed length.
        got_bytes: u64,
        /// The most.
        max_bytes: usize,
    },
    /// The file ends within a block.
    #[error("the file ends within a block: offset={offset}")]
    Truncated {
        /// Bytes before the block.
        offset: u64,
    },
    /// The file system failed.
    #[error("cannot read: {0}")]
    Io(#[from] std::io::Error),
}

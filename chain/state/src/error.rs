//! What can go wrong with the store, told apart by what the caller has to do.

use alloy_primitives::B256;
use keystead_types::ViewError;
use std::path::PathBuf;

/// Why the store did not do what was asked.
///
/// [`Error::Corrupt`], [`Error::Store`] and [`Error::Io`] mean that this node is broken: it must stop and sign nothing.
/// The others leave the store as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another process has the folder open, or this one still holds a snapshot of an earlier [`crate::Store`].
    #[error("data folder is in use by another process: stop it or choose another folder: dir={}", dir.display())]
    Locked {
        /// The folder.
        dir: PathBuf,
    },
    /// The folder holds another chain. Use another folder or the right genesis file.
    #[error("data folder holds another chain: stored_genesis={stored} given_genesis={given}")]
    WrongGenesis {
        /// Hash of block 0 in the store.
        stored: B256,
        /// Hash of block 0 of the genesis that was given.
        given: B256,
    },
    /// The folder holds a chain with the same genesis block and another chain id. Use another folder or the right file.
    #[error("data folder holds another chain: stored_chain_id={stored} given_chain_id={given}")]
    WrongChain {
        /// Chain id in the store.
        stored: u64,
        /// Chain id of the genesis that was given.
        given: u64,
    },
    /// The folder was written in a format that this program does not read.
    #[error("data folder has another format: stored_format={stored} known_format={known}")]
    Version {
        /// Format in the store.
        stored: u32,
        /// Format that this program writes.
        known: u32,
    },
    /// A snapshot is half loaded into the folder. Load it to its end, or delete the folder.
    #[error("a snapshot is half loaded here: load it to its end or delete the folder: dir={}", dir.display())]
    HalfLoaded {
        /// The folder.
        dir: PathBuf,
    },
    /// What the store holds cannot be true. Never go on: restore the folder from a copy, or delete it and follow again.
    #[error("data folder is damaged: {0}")]
    Corrupt(Corruption),
    /// The key-value store failed.
    #[error("key-value store: {0}")]
    Store(#[source] fjall::Error),
    /// The file system failed.
    #[error("file system: {0}")]
    Io(#[from] std::io::Error),
    /// A block at or below the head that is not the committed one. The caller's view of the chain is wrong.
    #[error("another block is committed at this height: number={number} committed={committed} got={got}")]
    Conflict {
        /// Height.
        number: u64,
        /// Hash that is committed.
        committed: B256,
        /// Hash that was given.
        got: B256,
    },
    /// A block above the child of the head. Commit its ancestors first.
    #[error("block leaves a gap: number={number} head={head}")]
    Gap {
        /// Height of the block.
        number: u64,
        /// Height of the head.
        head: u64,
    },
    /// The block, or its snapshot, has another parent than the head.
    #[error("block is no child of the head: parent={parent} head={head}")]
    NotChild {
        /// Hash of the parent of the block or snapshot.
        parent: B256,
        /// Hash of the head.
        head: B256,
    },
    /// A part of a [`crate::Commit`] that does not belong to its block.
    #[error("commit does not fit its block: number={number} part={part}")]
    Mismatch {
        /// Height of the block.
        number: u64,
        /// What does not fit.
        part: &'static str,
    },
    /// A certificate for a height too far above the head to be kept.
    #[error("certificate is too far ahead: number={number} head={head} ahead_max={ahead_max}")]
    TooFarAhead {
        /// Height that the certificate was given for.
        number: u64,
        /// Height of the head.
        head: u64,
        /// Largest distance that is kept.
        ahead_max: u64,
    },
    /// Too many blocks stand on each other without being committed. Commit first.
    #[error("too many blocks pending: pending={pending} max={max}")]
    TooManyPending {
        /// Blocks between the last committed one and the new one.
        pending: usize,
        /// Largest number that is allowed.
        max: usize,
    },
    /// A proof of a state so far below the recent ones that making it would take too much time or memory. Ask for a
    /// newer block; values of this state can still be read.
    #[error(
        "too far back for a proof: number={number} nearest_state={above} records_max={records_max} values={values} values_max={values_max}"
    )]
    TooDeep {
        /// Height of the state.
        number: u64,
        /// Height of the nearest state above it that is in memory.
        above: u64,
        /// Blocks that one proof may undo.
        records_max: u64,
        /// Old values that were united before giving up.
        values: usize,
        /// Old values that one state may hold.
        values_max: usize,
    },
    /// What was asked for of a block was dropped, or lies below the snapshot that the store began with. Ask another node.
    #[error("history is pruned: number={number} oldest={oldest}")]
    Pruned {
        /// Height that was asked for.
        number: u64,
        /// Height of the oldest block that is kept.
        oldest: u64,
    },
    /// More logs match than were asked for. Narrow the query or the range.
    #[error("too many logs match: logs_max={logs_max} reached_at_block={up_to}")]
    TooManyLogs {
        /// Height at which the bound was passed.
        up_to: u64,
        /// Logs that were asked for at most.
        logs_max: usize,
    },
    /// More logs than can be compared in reasonable time share a value with the query. Narrow the range.
    #[error("too many logs to compare: candidates_max={candidates_max} reached_at_block={up_to}")]
    TooManyCandidates {
        /// Height at which the bound was passed.
        up_to: u64,
        /// Logs that one search compares at most.
        candidates_max: usize,
    },
    /// The store was not opened for development, so its past does not change.
    #[error("this store only grows: open it for development to amend it or to go back")]
    OnlyGrows,
    /// No code with this hash is known to this state.
    #[error("unknown code: hash={0}")]
    UnknownCode(B256),
}

/// What exactly is damaged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Corruption {
    /// The flat accounts do not give the state root of the head block.
    #[error("accounts do not match the head block: number={number} header_root={header} computed_root={computed}")]
    StateRoot {
        /// Height of the head.
        number: u64,
        /// State root in the head's header.
        header: B256,
        /// Root of the accounts in the store.
        computed: B256,
    },
    /// The flat slots of an account do not give the storage root in the account.
    #[error(
        "storage does not match its account: hashed_address={hashed_address} stored_root={stored} computed_root={computed}"
    )]
    StorageRoot {
        /// keccak256 of the address.
        hashed_address: B256,
        /// Storage root in the account.
        stored: B256,
        /// Root of the slots in the store.
        computed: B256,
    },
    /// The flat values below a position do not give the hash that the trie has there.
    #[error("values do not match their trie: table={table} key={key} depth={depth} values={leaves}")]
    Subtree {
        /// The table.
        table: &'static str,
        /// Any key below the position.
        key: B256,
        /// Nibbles of it that lead there.
        depth: usize,
        /// How many values lie below.
        leaves: u64,
    },
    /// The old values do not give the state root of an old block.
    #[error("history does not match an old block: number={number} header_root={header} computed_root={computed}")]
    PastRoot {
        /// Height of the block.
        number: u64,
        /// State root in its header.
        header: B256,
        /// Root of the state that the history gives.
        computed: B256,
    },
    /// The store ends before a block that it once reported as committed.
    #[error("committed blocks are lost: found={found} committed={committed}")]
    LostBlocks {
        /// Height of the last block found.
        found: u64,
        /// Height that was once committed.
        committed: u64,
    },
    /// A table is as it was at an earlier block.
    #[error("table is older than the head: table={table} found={found} head={head}")]
    OldTable {
        /// The table.
        table: &'static str,
        /// Height of the last block in it.
        found: u64,
        /// Height of the head.
        head: u64,
    },
    /// A record is not in its format.
    #[error("malformed record: table={table} key={key}: {reason}")]
    Record {
        /// The table.
        table: &'static str,
        /// The key, in hexadecimal or decimal.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A record that another one refers to is not there.
    #[error("missing record: table={table} key={key}")]
    Missing {
        /// The table.
        table: &'static str,
        /// The key, in hexadecimal or decimal.
        key: String,
    },
    /// A file of sealed blocks.
    #[error("damaged segment: file={file}: {reason}")]
    Segment {
        /// Name of the file in the folder `segments`.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The files of the key-value store are not readable as such.
    #[error("key-value store does not open: {0}")]
    Files(String),
}

impl From<Corruption> for Error {
    fn from(corruption: Corruption) -> Self {
        Self::Corrupt(corruption)
    }
}

impl From<fjall::Error> for Error {
    fn from(error: fjall::Error) -> Self {
        Self::Store(error)
    }
}

impl From<Error> for ViewError {
    fn from(error: Error) -> Self {
        Self(error.to_string())
    }
}

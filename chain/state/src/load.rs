//! Makes a store out of the chunks of a snapshot, step by step, and lets nobody use it before its root is the header's.
//!
//! # Design
//! Each chunk is one batch, together with the number of the next, so a load that was cut off goes on there. Until the end the
//! folder says that it is half loaded, and [`crate::Store::open`] refuses it. At the end the flat state is read once more in
//! order and its root computed by alloy's `HashBuilder`, as `db verify` does; only if it is the one in the header does the last
//! batch make a store of it: synced, with the block as its head. What lies below the block is not there: its header is the
//! first of a few that the next blocks need, its state the oldest that can be read.
//! Spec: specs/0006-snapshot.md.
//!
//! # Trust
//! Chunks are hostile. Headers, block, receipts and certificates were checked by the caller; what can be compared cheaply is
//! compared here.

use crate::{
    commit::{self, Bundle},
    error::{Corruption, Error},
    export::{CHUNK_BYTES_MAX, Chunk, Section},
    genesis::{self, Identity},
    history::Window,
    mark::{Mark, Marked},
    open::lock,
    record::{self, AccountRecord},
    tables::{Expect, Tables, meta},
    verify::{self, Progress},
};
use alloy_primitives::{Address, B256, keccak256};
use keystead_types::{Block, Certificate, Genesis, Header, Receipt};
use std::{
    fmt,
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Cache for the tables: everything is written once and read once, in order.
const CACHE_BYTES: u64 = 32 * 1024 * 1024;
/// Length of the record that says how far a load is.
const LOADING_BYTES: usize = 32 + 8;

/// Why a load did not go on.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The folder holds a store: there is nothing to load.
    #[error("there is a store already: dir={}", dir.display())]
    Exists {
        /// The folder.
        dir: PathBuf,
    },
    /// Another snapshot is half loaded. Go on with that one, or delete the folder.
    #[error("another snapshot is half loaded here: dir={} chunks={next}", dir.display())]
    OtherPlan {
        /// The folder.
        dir: PathBuf,
        /// Chunks of it that are in.
        next: u64,
    },
    /// The genesis is not the one that the chain began with.
    #[error("another genesis: computed={computed} chain={chain}")]
    Genesis {
        /// Hash of the given genesis block.
        computed: B256,
        /// Hash that the chain's first block names.
        chain: B256,
    },
    /// Not the next chunk.
    #[error("not the next chunk: got={got} want={want}")]
    Order {
        /// Its number.
        got: u64,
        /// Number of the next.
        want: u64,
    },
    /// A chunk that is not in its format.
    #[error("malformed chunk: index={index}: {reason}")]
    Chunk {
        /// Its number, from 0.
        index: u64,
        /// What is wrong.
        reason: String,
    },
    /// All chunks are in, and are not the state of the header: the snapshot is false. Delete the folder.
    #[error("the chunks are not the state of block {number}: {finding}")]
    State {
        /// Height.
        number: u64,
        /// The first thing that is wrong.
        finding: Box<Corruption>,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Error),
}

/// Which snapshot is loaded.
#[derive(Clone, Copy, Debug)]
pub struct LoadPlan<'p> {
    /// What tells this snapshot from others, such as the hash of its manifest.
    pub id: B256,
    /// The chain's genesis.
    pub genesis: &'p Genesis,
    /// Hash of block 0, from the first block.
    pub genesis_hash: B256,
}

/// What a store needs beside the state.
#[derive(Clone, Debug)]
pub struct LoadEnd {
    /// The block after which the state is.
    pub block: Arc<Block>,
    /// Sender of each transaction.
    pub senders: Vec<Address>,
    /// Receipt of each transaction.
    pub receipts: Vec<Receipt>,
    /// Its certificate.
    pub certificate: Certificate,
    /// Headers below it, ascending, without gaps, the last one its parent's.
    pub headers: Vec<Header>,
    /// Headers from block 1 upwards, none above the block, and the certificate of the last: they bind the genesis.
    pub origin: (Vec<Header>, Certificate),
}

/// A store in the making.
pub struct Load {
    dir: PathBuf,
    tables: Tables,
    plan: B256,
    next: u64,
    genesis: Block,
    identity: Identity,
    /// Dropped last.
    _lock: File,
}

impl Load {
    /// Begins in a folder that has no store, or goes on with the same snapshot.
    ///
    /// # Errors
    /// [`LoadError::Exists`], [`LoadError::OtherPlan`], [`LoadError::Genesis`], [`Error::Locked`], or a failure of the machine.
    pub fn open(dir: &Path, plan: LoadPlan<'_>) -> Result<Self, LoadError> {
        let genesis = genesis::genesis_block(plan.genesis);
        if genesis.hash() != plan.genesis_hash {
            return Err(LoadError::Genesis { computed: genesis.hash(), chain: plan.genesis_hash });
        }
        let identity = genesis::identify(plan.genesis, &genesis);
        std::fs::create_dir_all(dir).map_err(Error::from)?;
        let lock = lock(dir)?;
        let exists = || LoadError::Exists { dir: dir.to_owned() };
        if Mark::read(dir)?.is_some() {
            return Err(exists());
        }
        let tables = Tables::open(&dir.join("tables"), CACHE_BYTES, Expect::Anything)?;
        if tables.meta(meta::FORMAT)?.is_some() {
            return Err(exists());
        }
        let next = match tables.meta(meta::LOADING)? {
            Some(bytes) => match decode_loading(&bytes) {
                Some((id, next)) if id == plan.id => next,
                Some((_, next)) => return Err(LoadError::OtherPlan { dir: dir.to_owned(), next }),
                None => return Err(crate::tables::malformed(&tables.meta, meta::LOADING.as_bytes()).into()),
            },
            None => {
                tables.meta.insert(meta::LOADING, encode_loading(plan.id, 0)).map_err(Error::from)?;
                0
            }
        };
        Ok(Self { dir: dir.to_owned(), tables, plan: plan.id, next, genesis, identity, _lock: lock })
    }

    /// Number of the next chunk: those before it are in and need not be read again.
    #[must_use]
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// Adds the next chunk.
    ///
    /// # Errors
    /// [`LoadError::Order`], [`LoadError::Chunk`]: nothing was added. Otherwise a failure of the store.
    pub fn put(&mut self, index: u64, chunk: &Chunk) -> Result<(), LoadError> {
        if index != self.next {
            return Err(LoadError::Order { got: index, want: self.next });
        }
        let malformed = |reason: String| LoadError::Chunk { index, reason };
        let raw = zstd::bulk::decompress(&chunk.packed, CHUNK_BYTES_MAX)
            .map_err(|error| malformed(format!("not zstd, or longer than allowed: {error}")))?;
        if raw.len() as u64 != chunk.raw_bytes {
            return Err(malformed(format!("raw bytes: got={} want={}", raw.len(), chunk.raw_bytes)));
        }
        let tables = &self.tables;
        let mut batch = tables.database.batch();
        let (mut rest, mut entries, mut last) = (raw.as_slice(), 0_u64, Vec::new());
        while !rest.is_empty() {
            let offset = raw.len().saturating_sub(rest.len());
            let entry = take_entry(chunk.section, &mut rest);
            let (key, value) = entry.ok_or_else(|| malformed(format!("entry {entries} at byte {offset}")))?;
            if entries > 0 && key <= last {
                return Err(malformed(format!("entry {entries} at byte {offset} is out of order")));
            }
            let table = match chunk.section {
                Section::Accounts => &tables.accounts,
                Section::Storage => &tables.storage,
                Section::Code => &tables.code,
            };
            batch.insert(table, key.as_slice(), value);
            last = key;
            entries = entries.saturating_add(1);
        }
        if entries != chunk.entries {
            return Err(malformed(format!("entries: got={entries} want={}", chunk.entries)));
        }
        let next = self.next.saturating_add(1);
        batch.insert(&tables.meta, meta::LOADING, encode_loading(self.plan, next));
        batch.commit().map_err(Error::from)?;
        self.next = next;
        Ok(())
    }

    /// Computes the root of what was loaded, and makes a store of it if it is that of the block.
    ///
    /// Cost: reads the state once, some 5 us per account and 10 us per slot.
    ///
    /// # Errors
    /// [`LoadError::State`]: the snapshot is false; delete the folder. Otherwise a failure of the store: call it again.
    pub fn finish(self, end: &LoadEnd, progress: &mut dyn FnMut(Progress)) -> Result<(), LoadError> {
        let tables = &self.tables;
        let number = end.block.number();
        self.put_headers(end)?;
        let verified = verify::world(tables, number, progress)?;
        if let Some(finding) = verified.findings.into_iter().next() {
            return Err(LoadError::State { number, finding: Box::new(finding) });
        }
        let mut batch = commit::batch(tables);
        let bundle = Bundle {
            block: &end.block,
            senders: &end.senders,
            receipts: &end.receipts,
            certificate: Some(&end.certificate),
        };
        commit::put_block(&mut batch, tables, &bundle);
        Window { oldest: number }.put(&mut batch, tables);
        let base = number.saturating_sub(end.headers.len() as u64);
        let heights = [(meta::INDEXED, number), (meta::SEALED, number.saturating_sub(1)), (meta::BASE, base)];
        for (name, height) in heights {
            batch.insert(&tables.meta, name, height.to_be_bytes());
        }
        batch.insert(&tables.meta, meta::GENESIS, self.identity.encode());
        batch.insert(&tables.meta, meta::FORMAT, genesis::FORMAT_WITH_BASE.to_be_bytes());
        batch.remove(&tables.meta, meta::LOADING);
        batch.commit().map_err(Error::from)?;
        Mark::open(&self.dir, Marked { number, hash: end.block.hash() })?;
        Ok(())
    }

    /// Writes the genesis block and the headers, which are not found before the last batch.
    fn put_headers(&self, end: &LoadEnd) -> Result<(), Error> {
        let tables = &self.tables;
        let mut batch = tables.database.batch();
        let genesis = Bundle { block: &self.genesis, senders: &[], receipts: &[], certificate: None };
        commit::put_block(&mut batch, tables, &genesis);
        batch.commit()?;
        let mut batch = tables.database.batch();
        let (origin, certificate) = &end.origin;
        for header in origin.iter().chain(&end.headers).chain([end.block.header()]) {
            let (encoded, number) = (record::encode_header(header), header.number.to_be_bytes());
            batch.insert(&tables.numbers, keccak256(&encoded).as_slice(), number);
            batch.insert(&tables.headers, number, encoded);
        }
        if let Some(certified) = origin.last() {
            let certificate = record::encode_certificate(certificate);
            batch.insert(&tables.certificates, certified.number.to_be_bytes(), certificate);
        }
        Ok(batch.commit()?)
    }
}

impl fmt::Debug for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Load").field("dir", &self.dir).field("next", &self.next).finish_non_exhaustive()
    }
}

fn encode_loading(id: B256, next: u64) -> Vec<u8> {
    [id.as_slice(), &next.to_be_bytes()].concat()
}

fn decode_loading(bytes: &[u8]) -> Option<(B256, u64)> {
    let bytes: &[u8; LOADING_BYTES] = bytes.try_into().ok()?;
    let (id, next) = bytes.split_at_checked(32)?;
    Some((B256::from_slice(id), record::decode_height(next)?))
}

/// Takes the key and the value of the next entry, if it is one that an export writes.
fn take_entry(section: Section, rest: &mut &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (key, value, tail) = match section {
        Section::Accounts | Section::Storage => {
            let (key, tail) = rest.split_at_checked(if section == Section::Accounts { 32 } else { 64 })?;
            let (length, tail) = tail.split_first()?;
            let (value, tail) = tail.split_at_checked(usize::from(*length))?;
            (key.to_vec(), value, tail)
        }
        Section::Code => {
            let (length, tail) = rest.split_first_chunk::<4>()?;
            let (value, tail) = tail.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
            (keccak256(value).to_vec(), value, tail)
        }
    };
    *rest = tail;
    let canonical = match section {
        Section::Accounts => AccountRecord::decode(value).is_some(),
        Section::Storage => record::decode_slot(value).is_some(),
        Section::Code => !value.is_empty(),
    };
    canonical.then(|| (key, value.to_vec()))
}

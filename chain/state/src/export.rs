//! The whole state after one block as packed chunks: what another store can begin with.
//!
//! # Design
//! Three sections, each in order of its keys: accounts and slots as the flat tables have them, then the code of the accounts.
//! A chunk belongs to one section and is packed by itself. A state that is not the newest any more is read through the history,
//! over the keys that are there now and those that the history remembers.
//! Spec: specs/0006-snapshot.md.

use crate::{
    error::Error,
    record::{self, AccountRecord},
    snapshot::Snapshot,
    state::State,
    store::Store,
    tables::{Base, Tables},
};
use alloy_primitives::{B256, KECCAK256_EMPTY, keccak256};
use std::{collections::BTreeSet, fmt, iter::Peekable, sync::Arc};

/// Raw bytes of a chunk: large enough to pack well, small enough that one that is broken is soon read again.
pub const CHUNK_BYTES_MAX: usize = 4 * 1024 * 1024;
/// zstd's level: the flat state is mostly hashes, which no level packs.
const PACK_LEVEL: i32 = 3;

/// What the entries of a chunk are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    /// Hashed address, length in one byte, account.
    Accounts,
    /// Hashed address, hashed slot, length in one byte, value.
    Storage,
    /// Length in four bytes, big-endian, code; in order of its hashes.
    Code,
}

impl Section {
    /// Its name in a manifest.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accounts => "accounts",
            Self::Storage => "storage",
            Self::Code => "code",
        }
    }

    /// The section with a name.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        [Self::Accounts, Self::Storage, Self::Code].into_iter().find(|section| section.name() == name)
    }
}

/// A part of a state.
#[derive(Clone, PartialEq, Eq)]
pub struct Chunk {
    /// What its entries are.
    pub section: Section,
    /// How many.
    pub entries: u64,
    /// Bytes before packing, at most [`CHUNK_BYTES_MAX`].
    pub raw_bytes: u64,
    /// zstd of the entries.
    pub packed: Vec<u8>,
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunk")
            .field("section", &self.section)
            .field("entries", &self.entries)
            .field("raw_bytes", &self.raw_bytes)
            .field("bytes", &self.packed.len())
            .finish()
    }
}

/// What [`Store::export_part`] finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// The state after this block is not kept.
    NotKept,
    /// The section has no entry behind the key.
    End,
    /// Entries.
    Chunk {
        /// They.
        chunk: Chunk,
        /// Key of the last one: the next part begins behind it.
        last: Vec<u8>,
    },
}

type Entry = Result<Vec<u8>, Error>;
type Entries = Peekable<Box<dyn Iterator<Item = Entry> + Send>>;

/// The chunks of a state, in order.
pub struct Export {
    state: Arc<Snapshot>,
    section: Section,
    entries: Entries,
    /// Hashes of code that the accounts name.
    codes: BTreeSet<B256>,
    ended: bool,
}

impl Store {
    /// The whole state after a committed block, in chunks; `None` if the state is not kept. Commits may go on meanwhile.
    ///
    /// Cost: reads the state once; below the recent states a seek for each value more.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Store`]: stop.
    pub fn export(&self, number: u64) -> Result<Option<Export>, Error> {
        // Then the history is complete by key but for blocks that are committed right now, which the state's view lists.
        self.upkeep()?;
        Ok(self.at(number)?.map(Export::new))
    }

    /// The chunk of a section behind a key (empty: from the beginning) of the state after a committed block. Unlike an export,
    /// its code is all that the store has.
    ///
    /// Cost: reads some ten thousand entries; below the recent states a seek for each more.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Store`]: stop.
    pub fn export_part(&self, number: u64, section: Section, after: &[u8]) -> Result<Part, Error> {
        let Some(snapshot) = self.at(number)? else { return Ok(Part::NotKept) };
        let state = snapshot.reads();
        let mut entries = match section {
            Section::Accounts => accounts(state, after),
            Section::Storage => slots(state, after),
            Section::Code => codes(state, state.base.code_hashes_after(&state.shared.tables, after)),
        }
        .peekable();
        let mut last = Vec::new();
        let chunk = take_chunk(section, &mut entries, |entry| last = key_of(section, entry))?;
        Ok(chunk.map_or(Part::End, |chunk| Part::Chunk { chunk, last }))
    }
}

impl Export {
    fn new(state: Arc<Snapshot>) -> Self {
        let entries = accounts(state.reads(), &[]);
        Self { state, section: Section::Accounts, entries: entries.peekable(), codes: BTreeSet::new(), ended: false }
    }

    /// The entries of one chunk; `None` if the section has no more.
    fn chunk(&mut self) -> Result<Option<Chunk>, Error> {
        let (section, codes) = (self.section, &mut self.codes);
        take_chunk(section, &mut self.entries, |entry| {
            if section == Section::Accounts {
                let hash = entry.get(33..).and_then(AccountRecord::decode).map(|record| record.account.code_hash);
                codes.extend(hash.filter(|hash| *hash != KECCAK256_EMPTY));
            }
        })
    }

    /// Goes to the next section; false if there is none.
    fn advance(&mut self) -> bool {
        let entries: Box<dyn Iterator<Item = Entry> + Send> = match self.section {
            Section::Accounts => slots(self.state.reads(), &[]),
            Section::Storage => {
                let hashes = std::mem::take(&mut self.codes);
                codes(self.state.reads(), hashes.into_iter().map(Ok))
            }
            Section::Code => return false,
        };
        self.section = if self.section == Section::Accounts { Section::Storage } else { Section::Code };
        self.entries = entries.peekable();
        true
    }
}

impl Iterator for Export {
    type Item = Result<Chunk, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            match self.chunk() {
                Ok(Some(chunk)) => return Some(Ok(chunk)),
                Ok(None) => self.ended = !self.advance(),
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

impl fmt::Debug for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Export").field("state", &self.state).field("section", &self.section).finish_non_exhaustive()
    }
}

/// Takes entries until a chunk is full; `None` if there are none. `see` is shown each.
fn take_chunk(section: Section, from: &mut Entries, mut see: impl FnMut(&[u8])) -> Result<Option<Chunk>, Error> {
    let (mut raw, mut entries) = (Vec::new(), 0_u64);
    while let Some(entry) = from.next_if(|entry| {
        let bytes = entry.as_ref().map_or(0, Vec::len);
        raw.is_empty() || raw.len().saturating_add(bytes) <= CHUNK_BYTES_MAX
    }) {
        let entry = entry?;
        see(&entry);
        raw.extend_from_slice(&entry);
        entries = entries.saturating_add(1);
    }
    if entries == 0 {
        return Ok(None);
    }
    let packed = zstd::bulk::compress(&raw, PACK_LEVEL)?;
    Ok(Some(Chunk { section, entries, raw_bytes: raw.len() as u64, packed }))
}

/// The key of an entry.
fn key_of(section: Section, entry: &[u8]) -> Vec<u8> {
    match section {
        Section::Accounts => entry.get(..32).unwrap_or_default().to_vec(),
        Section::Storage => entry.get(..64).unwrap_or_default().to_vec(),
        Section::Code => keccak256(entry.get(4..).unwrap_or_default()).to_vec(),
    }
}

/// One entry of a section of keys and values.
fn entry(key: &[u8], value: &[u8]) -> Vec<u8> {
    let length = u8::try_from(value.len()).expect("invariant: accounts and slots have at most 109 bytes");
    [key, &[length], value].concat()
}

fn accounts(state: &State, after: &[u8]) -> Box<dyn Iterator<Item = Entry> + Send> {
    let (base, shared) = (Arc::clone(&state.base), Arc::clone(&state.shared));
    if !base.is_past() {
        let found = base.accounts_after(&shared.tables, after);
        return Box::new(found.map(|found| found.map(|(key, record)| entry(key.as_slice(), &record.encode()))));
    }
    let tables = (&shared.tables.accounts, &shared.tables.account_history);
    let keys = base.keys_then_and_now(tables, base.unindexed_accounts(), after);
    Box::new(keys.filter_map(move |key| {
        let read = |key: Vec<u8>| {
            let account = base.account(&shared.tables, &B256::from_slice(&key))?;
            Ok(account.map(|record| entry(&key, &record.encode())))
        };
        key.and_then(read).transpose()
    }))
}

fn slots(state: &State, after: &[u8]) -> Box<dyn Iterator<Item = Entry> + Send> {
    let (base, shared) = (Arc::clone(&state.base), Arc::clone(&state.shared));
    if !base.is_past() {
        let found = base.slots_after(&shared.tables, after);
        return Box::new(found.map(|found| found.map(|(key, value)| entry(&key, &record::encode_slot(&value)))));
    }
    let tables = (&shared.tables.storage, &shared.tables.slot_history);
    let keys = base.keys_then_and_now(tables, base.unindexed_slots(), after);
    Box::new(keys.filter_map(move |key| {
        let read = |key: Vec<u8>| {
            let (address, slot) = key.split_at_checked(32).unwrap_or_default();
            let value = slot_at(&base, &shared.tables, address, slot)?;
            Ok((!value.is_zero()).then(|| entry(&key, &record::encode_slot(&value))))
        };
        key.and_then(read).transpose()
    }))
}

fn slot_at(base: &Base, tables: &Tables, address: &[u8], slot: &[u8]) -> Result<alloy_primitives::U256, Error> {
    base.slot(tables, &B256::from_slice(address), &B256::from_slice(slot))
}

fn codes(
    state: &State,
    hashes: impl Iterator<Item = Result<B256, Error>> + Send + 'static,
) -> Box<dyn Iterator<Item = Entry> + Send> {
    let (base, shared) = (Arc::clone(&state.base), Arc::clone(&state.shared));
    Box::new(hashes.map(move |hash| {
        let hash = hash?;
        let code = base.code(&shared.tables, &hash)?.ok_or(Error::UnknownCode(hash))?;
        let length = u32::try_from(code.len()).expect("invariant: code has at most some ten thousand bytes");
        Ok([length.to_be_bytes().as_slice(), &code].concat())
    }))
}

//! Opens a data folder: lock, format, genesis, head and history. The trie comes later ([`crate::Store::warm`]).
//!
//! # Design
//! The folder holds `lock`, `mark` and `tables/`. Every step of a first start can be cut off: the genesis is one batch,
//! and the mark, which says that the store exists, comes after it.

use crate::{
    cache::{TrieCache, ValueCache},
    commit,
    error::{Corruption, Error},
    genesis::{self, FORMAT, FORMAT_WITH_BASE},
    history::{Unindexed, Window},
    logs::Run,
    mark::{Mark, Marked},
    record, rewrite,
    segment::{self, Segments, Tail},
    snapshot::Snapshot,
    state::{Shared, State},
    store::{Head, Options, Purpose},
    tables::{Base, Expect, TIP, Tables, guarded, malformed, meta, missing},
    trie::Trie,
};
use alloy_primitives::keccak256;
use keystead_types::{Block, Genesis};
use rayon::prelude::*;
use std::{
    collections::VecDeque,
    fs::{File, TryLockError, create_dir_all},
    path::Path,
    sync::{Arc, RwLock},
};

/// Blocks after which a start looks whether blocks can be sealed.
const SEAL_STEP: u64 = 256;
/// The format before tables for history and segments came.
const FORMAT_WITHOUT_HISTORY: u32 = 1;

/// A store that is ready: what [`crate::Store`] is made of.
pub(crate) struct Opened {
    pub(crate) shared: Arc<Shared>,
    pub(crate) genesis: Arc<Block>,
    pub(crate) head: Head,
    pub(crate) latest: Arc<Snapshot>,
    pub(crate) window: Window,
    pub(crate) unindexed: Unindexed,
    pub(crate) mark: Mark,
    /// The lowest height from which on all headers are there.
    pub(crate) base: u64,
}

/// Opens or creates the store in a folder.
pub(crate) fn open(dir: &Path, genesis: &Genesis, options: Options) -> Result<Opened, Error> {
    create_dir_all(dir)?;
    let lock = lock(dir)?;
    let marked = Mark::read(dir)?;
    let tables_dir = dir.join("tables");
    let expect = if marked.is_some() { Expect::All } else { Expect::Anything };
    let tables = Tables::open(&tables_dir, options.cache_bytes / 2, expect)?;
    let stored = tables.meta(meta::FORMAT)?;
    match stored {
        Some(format) => check_format(&tables, &format)?,
        None if marked.is_some() => return Err(missing(&tables.meta, meta::FORMAT.as_bytes())),
        None if tables.meta(meta::LOADING)?.is_some() => return Err(Error::HalfLoaded { dir: dir.to_owned() }),
        None => {}
    }
    let base = lowest_header(&tables)?;
    let segments = Segments::open(dir.join("segments"), &tables)?;
    let shared = Arc::new(Shared {
        tables,
        segments,
        tail: Tail::default(),
        accounts: ValueCache::new(options.cache_bytes / 8),
        slots: ValueCache::new(options.cache_bytes / 8),
        tries: TrieCache::new(options.cache_bytes / 4),
        bases: RwLock::new(VecDeque::new()),
        _lock: lock,
    });
    let block = genesis::load_or_create(&shared, genesis)?;
    let Loaded { head, latest, window, unindexed } = guarded(|| load_head(&shared, options))??;
    check_mark(&shared, head, marked)?;
    let segment_blocks = match options.purpose {
        Purpose::Ledger => options.segment_blocks.max(1),
        Purpose::Development => segment::NEVER,
    };
    load_tail(&shared, &latest.reads().base, segment_blocks)?;
    let mark = Mark::open(dir, Marked { number: head.number, hash: head.hash })?;
    Ok(Opened { shared, genesis: Arc::new(block), head, latest, window, unindexed, mark, base })
}

/// The lowest height from which on all headers are there.
pub(crate) fn lowest_header(tables: &Tables) -> Result<u64, Error> {
    let Some(bytes) = tables.meta(meta::BASE)? else { return Ok(0) };
    record::decode_height(&bytes).ok_or_else(|| malformed(&tables.meta, meta::BASE.as_bytes()))
}

/// Takes the folder for this process; the error says that another one has it.
pub(crate) fn lock(dir: &Path) -> Result<File, Error> {
    let file = File::options().read(true).write(true).create(true).truncate(false).open(dir.join("lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Locked { dir: dir.to_owned() }),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// Refuses formats that are not known, and changes format 1 into 2: its history starts at its head.
fn check_format(tables: &Tables, stored: &[u8]) -> Result<(), Error> {
    let stored = stored.try_into().map(u32::from_be_bytes).map_err(|_| Corruption::Record {
        table: "meta",
        key: meta::FORMAT.to_owned(),
        reason: "not four bytes".to_owned(),
    })?;
    match stored {
        FORMAT | FORMAT_WITH_BASE => Ok(()),
        FORMAT_WITHOUT_HISTORY => upgrade(tables),
        _ => Err(Error::Version { stored, known: FORMAT }),
    }
}

/// One batch: a start that is cut off leaves the old format or the new one.
fn upgrade(tables: &Tables) -> Result<(), Error> {
    let head = tables.meta.get(TIP)?.ok_or_else(|| missing(&tables.meta, TIP))?;
    let head = record::decode_height(&head).ok_or_else(|| malformed(&tables.meta, TIP))?;
    let mut batch = commit::batch(tables);
    batch.insert(&tables.meta, meta::FORMAT, FORMAT.to_be_bytes());
    Window { oldest: head }.put(&mut batch, tables);
    batch.insert(&tables.meta, meta::INDEXED, head.to_be_bytes());
    batch.insert(&tables.meta, meta::SEALED, 0_u64.to_be_bytes());
    commit::put_tip(&mut batch, &tables.since_2(), head);
    tracing::info!(head, "the data folder now keeps history, from its head on");
    Ok(batch.commit()?)
}

/// The head, its state, and the history below it.
struct Loaded {
    head: Head,
    latest: Arc<Snapshot>,
    window: Window,
    unindexed: Unindexed,
}

/// The head and its state. The account trie is built later, and compared with the header, or in development with the root
/// that was amended.
fn load_head(shared: &Arc<Shared>, options: Options) -> Result<Loaded, Error> {
    let tables = &shared.tables;
    let number = tables.tip()?;
    let key = number.to_be_bytes();
    let header = tables.headers.get(key)?.ok_or_else(|| missing(&tables.headers, &key))?;
    let hash = keccak256(&header);
    let bytes = tables.blocks.get(key)?.ok_or_else(|| missing(&tables.blocks, &key))?;
    let block = commit::decode_block(tables, number, hash, &bytes)?;
    let amended = match options.purpose {
        Purpose::Ledger => None,
        Purpose::Development => rewrite::amended_root(tables, number)?,
    };
    let state_root = amended.unwrap_or_else(|| block.header().state_root);
    let head = Head { number, hash, state_root, timestamp_ms: block.timestamp_ms() };
    let window = Window::load(tables)?;
    let unindexed = Unindexed::load(tables, window.oldest, number)?;
    let base = Arc::new(tables.base(number, hash, unindexed.view()));
    let state = State { shared: Arc::clone(shared), base, layers: Vec::new(), trie: Trie::default() };
    shared.accounts.advance(number, None, std::iter::empty());
    shared.slots.advance(number, None, std::iter::empty());
    Ok(Loaded { head, latest: Arc::new(Snapshot::starting(head, state, options.trie_bytes)), window, unindexed })
}

/// Indexes the logs of the blocks that are not sealed. In a folder that was never sealed that may be all of them; so
/// blocks are sealed on the way.
fn load_tail(shared: &Shared, base: &Base, segment_blocks: u64) -> Result<(), Error> {
    let mut next = shared.segments.sealed().saturating_add(1);
    while next <= base.number {
        let last = base.number.min(next.saturating_add(SEAL_STEP));
        let blocks: Vec<Run> =
            (next..=last).into_par_iter().map(|number| postings(shared, base, number)).collect::<Result<_, _>>()?;
        blocks.into_iter().for_each(|block| shared.tail.push(block));
        shared.tail.merge();
        while segment::seal(shared, base, segment_blocks)?.is_some() {}
        next = last.max(shared.segments.sealed()).saturating_add(1);
    }
    Ok(())
}

fn postings(shared: &Shared, base: &Base, number: u64) -> Result<Run, Error> {
    let (tables, key) = (&shared.tables, number.to_be_bytes());
    let bytes = base.bytes(&tables.receipts, &key)?.ok_or_else(|| missing(&tables.receipts, &key))?;
    let size = base.size(&tables.blocks, &key)?.ok_or_else(|| missing(&tables.blocks, &key))?;
    let size = u64::from(size).saturating_add(bytes.len() as u64);
    Run::of_record(number, size, &bytes).ok_or_else(|| malformed(&tables.receipts, &key))
}

/// Compares the head with the block that was once marked as committed.
fn check_mark(shared: &Shared, head: Head, marked: Option<Marked>) -> Result<(), Error> {
    let Some(marked) = marked else { return Ok(()) };
    if head.number < marked.number {
        return Err(Corruption::LostBlocks { found: head.number, committed: marked.number }.into());
    }
    let tables = &shared.tables;
    let key = marked.number.to_be_bytes();
    let header = tables.headers.get(key)?.ok_or_else(|| missing(&tables.headers, &key))?;
    if keccak256(&header) != marked.hash {
        return Err(malformed(&tables.headers, &key));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "a test stops where an assumption fails")]

    use super::*;
    use crate::{Commit, Store, tables::NAMES_SINCE_2};
    use alloy_primitives::{Address, B256, Bloom, U256};
    use alloy_trie::EMPTY_ROOT_HASH;
    use keystead_types::{Account, AccountChange, BlockParts, ChangeSet, ConsensusContext, StateView as _};

    fn genesis() -> Genesis {
        Genesis::from_json(r#"{"config":{"chainId":1},"gasLimit":"0x1","difficulty":"0x0","alloc":{}}"#).unwrap()
    }

    /// A new store in a folder, closed, with `change` made to its tables.
    fn changed(change: impl FnOnce(&Tables)) -> Error {
        let dir = tempfile::tempdir().unwrap();
        drop(Store::open(dir.path(), &genesis(), Options::default()).unwrap());
        let tables = Tables::open(&dir.path().join("tables"), 0, Expect::All).unwrap();
        change(&tables);
        drop(tables);
        Store::open(dir.path(), &genesis(), Options::default()).unwrap_err()
    }

    #[test]
    fn a_folder_of_another_format_is_refused_with_both_numbers() {
        let error = changed(|tables| tables.meta.insert(meta::FORMAT, 7_u32.to_be_bytes()).unwrap());
        assert!(matches!(error, Error::Version { stored: 7, known: FORMAT }), "{error}");
    }

    /// Commits a block that gives an account a balance.
    fn grow(store: &Store, balance: u64) {
        let account = Account { balance: U256::from(balance), ..Account::default() };
        let change = AccountChange { account: Some(account), ..AccountChange::default() };
        let changes = ChangeSet { accounts: [(Address::repeat_byte(1), change)].into(), ..ChangeSet::default() };
        let child = store.latest().child(changes).unwrap();
        let block = Block::assemble(BlockParts {
            parent_hash: store.head().hash,
            number: store.head().number + 1,
            timestamp_ms: store.head().timestamp_ms + 1,
            beneficiary: Address::ZERO,
            state_root: child.state_root(),
            receipts_root: EMPTY_ROOT_HASH,
            logs_bloom: Bloom::ZERO,
            gas_limit: 1,
            gas_used: 0,
            base_fee: 7,
            transactions: Vec::new(),
            context: ConsensusContext::genesis(),
            requests: Vec::new(),
        });
        let snapshot = child.seal(block.hash());
        let (block, senders, receipts) = (Arc::new(block), Vec::new(), Vec::new());
        store.commit(Commit { block, senders, receipts, snapshot, certificate: None }).unwrap();
    }

    fn balance(store: &Store, number: u64) -> u64 {
        let account = store.at(number).unwrap().unwrap().account(&Address::repeat_byte(1)).unwrap().unwrap();
        account.balance.to()
    }

    #[test]
    fn a_folder_of_the_format_without_history_is_opened_and_its_history_starts_at_its_head() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), &genesis(), Options::default()).unwrap();
        (1..=3).for_each(|number| grow(&store, number * 10));
        drop(store);
        let tables = Tables::open(&dir.path().join("tables"), 0, Expect::All).unwrap();
        tables.meta.insert(meta::FORMAT, FORMAT_WITHOUT_HISTORY.to_be_bytes()).unwrap();
        tables.meta.remove(meta::HISTORY).unwrap();
        for table in tables.since_2() {
            tables.database.delete_keyspace(table.clone()).unwrap();
        }
        drop(tables);
        let store = Store::open(dir.path(), &genesis(), Options::default()).unwrap();
        assert_eq!((store.head().number, store.oldest_state()), (3, 3));
        assert!(store.at(2).unwrap().is_none());
        assert_eq!(balance(&store, 3), 30);
        (4..=5).for_each(|number| grow(&store, number * 10));
        drop(store);
        let store = Store::open(dir.path(), &genesis(), Options::default()).unwrap();
        assert_eq!(store.oldest_state(), 3);
        for number in 3..=5 {
            assert_eq!(balance(&store, number), number * 10);
            let proof = store.at(number).unwrap().unwrap().account_proof(&Address::repeat_byte(1)).unwrap();
            assert_eq!(proof.account.unwrap().0.balance, U256::from(number * 10));
        }
    }

    #[test]
    fn a_table_of_the_newer_format_that_is_gone_is_named() {
        for name in NAMES_SINCE_2 {
            let error = changed(|tables| {
                let table = tables.since_2().into_iter().find(|table| &**table.name() == name).unwrap();
                tables.database.delete_keyspace(table.clone()).unwrap();
            });
            assert!(matches!(error, Error::Corrupt(Corruption::Missing { table, .. }) if table == name), "{error}");
        }
    }

    #[test]
    fn a_folder_of_another_chain_id_is_refused_though_the_genesis_block_is_the_same() {
        let dir = tempfile::tempdir().unwrap();
        drop(Store::open(dir.path(), &genesis(), Options::default()).unwrap());
        let mut other = genesis();
        other.spec.chain_id = 2;
        let error = Store::open(dir.path(), &other, Options::default()).unwrap_err();
        assert!(matches!(error, Error::WrongChain { stored: 1, given: 2 }), "{error}");
    }

    #[test]
    fn a_genesis_that_differs_in_words_only_is_accepted() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = genesis();
        first.accounts.entry(Address::ZERO).or_default().nonce = 1;
        drop(Store::open(dir.path(), &first, Options::default()).unwrap());
        let mut second = first.clone();
        let zero = (U256::from(5), U256::ZERO);
        second.accounts.entry(Address::ZERO).or_default().storage = [zero].into();
        let opened = Store::open(dir.path(), &second, Options::default()).unwrap();
        assert_eq!(opened.genesis().hash(), opened.head().hash);
    }

    #[test]
    fn an_account_too_many_is_found_by_the_root_and_both_roots_are_named() {
        let error = changed(|tables| tables.accounts.insert([7; 32], [0, 0, 0]).unwrap());
        let Error::Corrupt(Corruption::StateRoot { number: 0, header, computed }) = error else { panic!("{error}") };
        assert_ne!(header, computed);
    }

    #[test]
    fn values_are_read_before_the_trie_is_there_and_nothing_is_built_on_damage() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), &genesis(), Options::default()).unwrap();
        (1..=3).for_each(|number| grow(&store, number * 10));
        drop(store);
        let store = Store::open_early(dir.path(), &genesis(), Options::default()).unwrap();
        assert_eq!((balance(&store, 2), balance(&store, 3)), (20, 30));
        let proof = store.at(2).unwrap().unwrap().account_proof(&Address::repeat_byte(1)).unwrap();
        assert_eq!(proof.account.unwrap().0.balance, U256::from(20));
        grow(&store, 40);
        store.warm().unwrap();
        drop(store);
        let tables = Tables::open(&dir.path().join("tables"), 0, Expect::All).unwrap();
        tables.accounts.insert([7; 32], [0, 0, 0]).unwrap();
        drop(tables);
        let store = Store::open_early(dir.path(), &genesis(), Options::default()).unwrap();
        assert_eq!(balance(&store, 4), 40);
        for error in [
            store.latest().child(ChangeSet::default()).map(|_| ()).unwrap_err(),
            store.latest().account_proof(&Address::repeat_byte(1)).map(|_| ()).unwrap_err(),
            store.warm().unwrap_err(),
        ] {
            assert!(matches!(error, Error::Corrupt(Corruption::StateRoot { number: 4, .. })), "{error}");
        }
    }

    #[test]
    fn a_malformed_account_or_key_is_named() {
        for (key, value) in [(vec![7; 32], vec![9, 9]), (vec![7; 31], vec![0, 0, 0])] {
            let error = changed(|tables| tables.accounts.insert(key, value).unwrap());
            assert!(matches!(error, Error::Corrupt(Corruption::Record { table: "accounts", .. })), "{error}");
        }
    }

    #[test]
    fn a_table_that_is_older_than_the_others_is_named() {
        let error = changed(|tables| {
            tables.all().into_iter().for_each(|table| table.insert(TIP, 3_u64.to_be_bytes()).unwrap());
            tables.storage.insert(TIP, 2_u64.to_be_bytes()).unwrap();
        });
        let old = matches!(error, Error::Corrupt(Corruption::OldTable { table: "storage", found: 2, head: 3 }));
        assert!(old, "{error}");
    }

    #[test]
    fn slots_that_do_not_match_their_account_are_an_error_when_they_are_built_upon() {
        let dir = tempfile::tempdir().unwrap();
        let mut genesis = genesis();
        let address = Address::repeat_byte(1);
        genesis.accounts.entry(address).or_default().storage.insert(U256::from(1), "5".parse().unwrap());
        drop(Store::open(dir.path(), &genesis, Options::default()).unwrap());
        let tables = Tables::open(&dir.path().join("tables"), 0, Expect::All).unwrap();
        let key = record::slot_key(&keccak256(address), &B256::repeat_byte(9));
        tables.storage.insert(key, [1]).unwrap();
        drop(tables);
        let store = Store::open(dir.path(), &genesis, Options::default()).unwrap();
        let error = store.latest().storage_proof(&address, &U256::from(1)).unwrap_err();
        assert!(matches!(error, Error::Corrupt(Corruption::StorageRoot { .. })), "{error}");
    }
}

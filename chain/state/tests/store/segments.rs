//! Sealed blocks and the log index: against what was committed, against a scan, against damaged files.

use crate::model::{Model, Step, addresses, changes, genesis};
use alloy_consensus::{Receipt as PlainReceipt, ReceiptWithBloom};
use keystead_state::{Corruption, Error, FoundLog, History, LogQuery, Options, Store};
use keystead_types::{Address, B256, Block, Bytes, Log, Receipt, StateView as _};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use std::{
    fs,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// A committed block, as it must be found.
struct Kept {
    block: Arc<Block>,
    senders: Vec<Address>,
    receipts: Vec<Receipt>,
}

fn options(segment_blocks: u64) -> Options {
    Options { cache_bytes: 1 << 20, recent_states: 2, segment_blocks, ..Options::default() }
}

const fn value(number: u8) -> B256 {
    B256::with_last_byte(number)
}

const fn address(number: u8) -> Address {
    Address::with_last_byte(number)
}

/// Receipts with few different values, so that queries hit.
fn receipts(rng: &mut StdRng) -> Vec<Receipt> {
    let log = |rng: &mut StdRng| {
        let topics = (0..rng.random_range(0..=4)).map(|_| value(rng.random_range(0..5))).collect();
        Log::new_unchecked(address(rng.random_range(0..4)), topics, Bytes::from(vec![1; rng.random_range(0..40)]))
    };
    let receipt = |rng: &mut StdRng| {
        let logs = (0..rng.random_range(0..4)).map(|_| log(rng)).collect();
        let receipt = PlainReceipt { status: rng.random::<bool>().into(), cumulative_gas_used: rng.random(), logs };
        let logs_bloom = receipt.bloom_slow();
        Receipt::Eip1559(ReceiptWithBloom { receipt, logs_bloom })
    };
    (0..rng.random_range(0..5)).map(|_| receipt(rng)).collect()
}

/// Commits blocks, and seals now and then.
fn extend(store: &Store, model: &mut Model, kept: &mut Vec<Kept>, rng: &mut StdRng, count: u64) {
    let mut head = Step::head(store, model.clone());
    for _ in 0..count {
        head = head.child_with(&changes(rng, 3), rng.random_range(0..900), receipts(rng));
        store.commit(head.commit()).unwrap();
        let (block, senders, receipts) = (Arc::clone(&head.block), head.senders.clone(), head.receipts.clone());
        kept.push(Kept { block, senders, receipts });
        if rng.random_range(0..4) == 0 {
            seal(store);
        }
    }
    *model = head.model;
}

fn seal(store: &Store) {
    while let Some(sealed) = store.seal().unwrap() {
        assert!(sealed.bytes > 0 && sealed.raw_bytes > 0);
    }
}

fn compare(store: &Store, kept: &[Kept]) -> Result<(), Error> {
    for kept in kept {
        let number = kept.block.number();
        assert_eq!(store.block(number)?.as_ref(), Some(&kept.block), "number={number}");
        assert_eq!(store.receipts(number)?.as_deref(), Some(&kept.receipts), "number={number}");
        assert_eq!(store.senders(number)?.as_deref(), Some(&kept.senders), "number={number}");
        assert_eq!(store.number_of(&kept.block.hash())?, Some(number));
        for (index, transaction) in kept.block.transactions().iter().enumerate() {
            assert_eq!(store.transaction_location(transaction.tx_hash())?, Some((number, index)));
        }
    }
    Ok(())
}

/// What a query must find: by looking at every log.
fn scan(kept: &[Kept], query: &LogQuery, heights: &RangeInclusive<u64>) -> Vec<FoundLog> {
    let mut out = Vec::new();
    for kept in kept.iter().filter(|kept| heights.contains(&kept.block.number())) {
        let mut log_index = 0;
        for (index, receipt) in kept.receipts.iter().enumerate() {
            for log in receipt.logs() {
                let topic = |at: usize| {
                    let wanted = &query.topics[at];
                    wanted.is_empty() || log.topics().get(at).is_some_and(|topic| wanted.contains(topic))
                };
                let address = query.addresses.is_empty() || query.addresses.contains(&log.address);
                if address && (0..4).all(topic) && log.topics().len() >= query.topics_min {
                    out.push(FoundLog {
                        block_number: kept.block.number(),
                        block_hash: kept.block.hash(),
                        block_timestamp: kept.block.header().timestamp,
                        transaction_hash: *kept.block.transactions()[index].tx_hash(),
                        transaction_index: index as u64,
                        log_index,
                        log: log.clone(),
                    });
                }
                log_index += 1;
            }
        }
    }
    out
}

fn query(rng: &mut StdRng) -> LogQuery {
    let mut query = LogQuery { topics_min: rng.random_range(0..4), ..LogQuery::default() };
    query.addresses = (0..rng.random_range(0..3)).map(|_| address(rng.random_range(0..6))).collect();
    for topics in &mut query.topics {
        if rng.random_range(0..5) == 0 {
            *topics = (0..rng.random_range(0..3)).map(|_| value(rng.random_range(0..7))).collect();
        }
    }
    query
}

#[test]
fn blocks_and_logs_are_found_alike_in_memory_tables_and_files_slow() {
    for seed in 0..6 {
        let mut rng = StdRng::seed_from_u64(seed);
        let dir = tempfile::tempdir().unwrap();
        let options = options(rng.random_range(1..20));
        let mut store = Store::open(dir.path(), &genesis(seed), options).unwrap();
        let (mut model, mut kept) = (Model::of(&genesis(seed)), Vec::new());
        let (mut found, mut most) = (0, 0);
        for round in 0..5 {
            extend(&store, &mut model, &mut kept, &mut rng, 25);
            if round % 2 == 1 {
                drop(store);
                store = Store::open(dir.path(), &genesis(seed), options).unwrap();
            }
            compare(&store, &kept).unwrap();
            for _ in 0..60 {
                let query = query(&mut rng);
                let (from, to) = (rng.random_range(0..130), rng.random_range(0..140));
                let want = scan(&kept, &query, &(from..=to));
                assert_eq!(
                    store.logs(&query, from..=to, usize::MAX).unwrap(),
                    want,
                    "seed={seed} {query:?} {from} {to}"
                );
                found += want.len();
                if let Some(max) = want.len().checked_sub(1) {
                    let error = store.logs(&query, from..=to, max).unwrap_err();
                    assert!(matches!(error, Error::TooManyLogs { logs_max, .. } if logs_max == max), "{error}");
                    most += 1;
                }
            }
        }
        assert!(found > 1_000 && most > 30, "queries hit too little to mean anything: {found}");
        assert!(files(dir.path()).len() > 2, "nothing was sealed");
    }
}

#[test]
fn logs_are_found_in_blocks_whose_lists_were_merged_and_then_sealed_in_part() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path(), &genesis(2), options(40)).unwrap();
    let (mut model, mut kept, mut rng) = (Model::of(&genesis(2)), Vec::new(), StdRng::seed_from_u64(2));
    for round in 0..4_u64 {
        let mut head = Step::head(&store, model.clone());
        for number in 0..85 {
            head = head.child_with(&changes(&mut rng, 2), number, receipts(&mut rng));
            store.commit(head.commit()).unwrap();
            let (block, senders, receipts) = (Arc::clone(&head.block), head.senders.clone(), head.receipts.clone());
            kept.push(Kept { block, senders, receipts });
        }
        model = { head }.model;
        if round.is_multiple_of(2) {
            store.upkeep().unwrap();
        } else {
            drop(store);
            store = Store::open(dir.path(), &genesis(2), options(40)).unwrap();
        }
        for _ in 0..60 {
            let query = query(&mut rng);
            let (from, to) = (rng.random_range(0..350), rng.random_range(0..350));
            let want = scan(&kept, &query, &(from..=to));
            assert_eq!(store.logs(&query, from..=to, usize::MAX).unwrap(), want, "{query:?} {from} {to}");
        }
    }
    assert_eq!(files(dir.path()).len(), 8, "324 of 340 blocks may be sealed");
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut out: Vec<PathBuf> =
        fs::read_dir(dir.join("segments")).unwrap().map(|entry| entry.unwrap().path()).collect();
    out.sort();
    out
}

#[test]
fn nothing_is_sealed_until_a_file_is_full_and_the_newest_blocks_stay() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &genesis(1), options(10)).unwrap();
    let (mut model, mut kept) = (Model::of(&genesis(1)), Vec::new());
    let mut head = Step::head(&store, model.clone());
    for number in 1_u64..=36 {
        head = head.child_with(&changes(&mut StdRng::seed_from_u64(number), 3), number, Vec::new());
        store.commit(head.commit()).unwrap();
        let sealed = store.seal().unwrap().map(|sealed| sealed.blocks);
        let want = match number {
            26 => Some(1..=10),
            36 => Some(11..=20),
            _ => None,
        };
        assert_eq!(sealed, want, "number={number}");
    }
    model = head.model.clone();
    drop(head);
    extend(&store, &mut model, &mut kept, &mut StdRng::seed_from_u64(5), 1);
    assert_eq!(store.oldest_block(), 1);
}

#[test]
fn readers_find_every_block_and_state_while_blocks_are_sealed_and_states_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { history: History::Blocks(25), ..options(5) };
    let store = Store::open(dir.path(), &genesis(4), options).unwrap();
    let done = AtomicBool::new(false);
    let read = |seed| {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut states = 0_u64;
        while !done.load(Ordering::Relaxed) || states == 0 {
            let number = rng.random_range(0..=store.head().number);
            let header = store.header(number).unwrap().unwrap();
            let block = store.block(number).unwrap().unwrap();
            assert_eq!(block.header(), &header);
            assert_eq!(store.receipts(number).unwrap().unwrap().len(), block.transactions().len());
            store.logs(&query(&mut rng), 0..=number, usize::MAX).unwrap();
            let Some(state) = store.at(number).unwrap() else {
                assert!(number < store.oldest_state(), "number={number}");
                continue;
            };
            assert_eq!(state.state_root(), header.state_root);
            let address = addresses()[rng.random_range(0..36)];
            // The proof comes from a trie whose root was compared with the header; the value from the history.
            let proof = state.account_proof(&address).unwrap();
            assert_eq!(state.account(&address).unwrap(), proof.account.map(|(account, _)| account), "number={number}");
            states += 1;
        }
    };
    std::thread::scope(|scope| {
        let readers = [scope.spawn(|| read(1)), scope.spawn(|| read(2))];
        let mut head = Step::head(&store, Model::of(&genesis(4)));
        let mut rng = StdRng::seed_from_u64(4);
        for number in 0..200 {
            head = head.child_with(&changes(&mut rng, 6), number, receipts(&mut rng));
            store.commit(head.commit()).unwrap();
            if !number.is_multiple_of(3) {
                store.upkeep().unwrap();
            }
        }
        done.store(true, Ordering::Relaxed);
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
    assert!(files(dir.path()).len() > 30);
    assert!(store.oldest_state() > 150);
}

/// A store with sealed files, closed.
fn sealed() -> (tempfile::TempDir, Vec<Kept>) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &genesis(9), options(30)).unwrap();
    let (mut model, mut kept) = (Model::of(&genesis(9)), Vec::new());
    extend(&store, &mut model, &mut kept, &mut StdRng::seed_from_u64(9), 120);
    seal(&store);
    assert_eq!(files(dir.path()).len(), 3);
    (dir, kept)
}

/// Opens the store and reads everything: right answers, or the error.
fn read(dir: &Path, kept: &[Kept]) -> Result<(), Error> {
    let store = Store::open(dir, &genesis(9), options(30))?;
    compare(&store, kept)?;
    let mut rng = StdRng::seed_from_u64(1);
    for _ in 0..40 {
        let query = query(&mut rng);
        assert_eq!(store.logs(&query, 0..=120, usize::MAX)?, scan(kept, &query, &(0..=120)));
    }
    Ok(())
}

fn named(result: Result<(), Error>, path: &Path) -> String {
    match result {
        Err(Error::Corrupt(Corruption::Segment { file, reason })) => {
            assert_eq!(Some(file.as_str()), path.file_name().and_then(|name| name.to_str()));
            reason
        }
        other => panic!("{}: {other:?}", path.display()),
    }
}

#[test]
fn a_segment_file_that_is_gone_cut_or_flipped_is_named_slow() {
    let (dir, kept) = sealed();
    let mut rng = StdRng::seed_from_u64(2);
    let mut harmless = 0;
    for path in files(dir.path()) {
        let whole = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(named(read(dir.path(), &kept), &path), "it is gone");
        for length in [0, 10, whole.len() / 2, whole.len() - 1, whole.len() + 1] {
            let mut other = whole.clone();
            other.resize(length, 0);
            fs::write(&path, other).unwrap();
            assert!(named(read(dir.path(), &kept), &path).starts_with("it has another length"));
        }
        for _ in 0..40 {
            let (mut other, at) = (whole.clone(), rng.random_range(0..whole.len()));
            other[at] ^= 1 << rng.random_range(0..8);
            fs::write(&path, other).unwrap();
            // A bucket that no query asks for may be damaged unnoticed: `verify` reads all.
            match read(dir.path(), &kept) {
                Ok(()) => harmless += 1,
                error => drop(named(error, &path)),
            }
        }
        fs::write(&path, whole).unwrap();
        read(dir.path(), &kept).unwrap();
    }
    println!("harmless={harmless} of 120");
    assert!(harmless < 60, "{harmless}");
}

#[test]
fn a_file_of_another_store_is_not_taken_for_the_one_that_was_sealed() {
    let (dir, kept) = sealed();
    let other = tempfile::tempdir().unwrap();
    let store = Store::open(other.path(), &genesis(8), options(30)).unwrap();
    let (mut model, mut blocks) = (Model::of(&genesis(8)), Vec::new());
    extend(&store, &mut model, &mut blocks, &mut StdRng::seed_from_u64(3), 60);
    seal(&store);
    let path = &files(dir.path())[0];
    fs::copy(&files(other.path())[0], path).unwrap();
    named(read(dir.path(), &kept), path);
}

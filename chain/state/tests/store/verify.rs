//! `verify` finds nothing in a good store and names the right place in a bad one; `prune` drops what it says.

use crate::{
    damage::{copy, files},
    model::{Model, Step, changes, genesis},
};
use keystead_state::{Corruption, Error, History, LogQuery, Options, Progress, Store, Verified, verify};
use keystead_types::StateView as _;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use std::{fs, path::Path};

const SEED: u64 = 21;
const BLOCKS: u64 = 70;

fn options() -> Options {
    Options { cache_bytes: 1 << 20, segment_blocks: 20, ..Options::default() }
}

/// A closed store: two sealed files, some blocks whose old values are not there by key yet.
fn written() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &genesis(SEED), options()).unwrap();
    let mut head = Step::head(&store, Model::of(&genesis(SEED)));
    let mut rng = StdRng::seed_from_u64(SEED);
    for number in 1..=BLOCKS {
        head = head.child(&changes(&mut rng, 8), number);
        store.commit(head.commit()).unwrap();
        if number == BLOCKS - 3 {
            store.upkeep().unwrap();
            while store.seal().unwrap().is_some() {}
        }
    }
    dir
}

fn look(dir: &Path) -> Verified {
    verify(dir, &genesis(SEED), &mut |_| {}).unwrap()
}

#[test]
fn a_good_store_has_no_findings_and_everything_is_looked_at() {
    let dir = written();
    let mut told = Vec::new();
    let verified = verify(dir.path(), &genesis(SEED), &mut |progress: Progress| told.push(progress.part)).unwrap();
    assert_eq!(verified.findings.iter().map(ToString::to_string).collect::<Vec<_>>(), [""; 0]);
    assert_eq!((verified.head, verified.blocks, verified.states), (Some(BLOCKS), BLOCKS + 1, BLOCKS));
    assert_eq!(verified.segments, 2);
    assert!(verified.accounts > 3 && verified.slots > 3, "{verified:?}");
    assert!(told.contains(&"blocks"));
    // Looking changes nothing.
    let store = Store::open(dir.path(), &genesis(SEED), options()).unwrap();
    assert_eq!(store.head().number, BLOCKS);
}

#[test]
fn a_store_that_is_open_is_not_looked_at() {
    let dir = written();
    let _store = Store::open(dir.path(), &genesis(SEED), options()).unwrap();
    let error = verify(dir.path(), &genesis(SEED), &mut |_| {}).unwrap_err();
    assert!(matches!(error, Error::Locked { .. }), "{error}");
}

#[test]
fn every_flipped_bit_and_every_cut_of_a_segment_is_found_and_the_file_is_named_slow() {
    let dir = written();
    let mut rng = StdRng::seed_from_u64(3);
    for path in files(&dir.path().join("segments")) {
        let whole = fs::read(&path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        let damaged = |bytes: Vec<u8>, what: &str| {
            fs::write(&path, bytes).unwrap();
            let findings = look(dir.path()).findings;
            let named = |finding: &Corruption| matches!(finding, Corruption::Segment { file, .. } if file == name);
            assert!(findings.iter().any(named), "{what}: {findings:?}");
        };
        for _ in 0..30 {
            let mut bytes = whole.clone();
            let at = rng.random_range(0..bytes.len());
            bytes[at] ^= 1 << rng.random_range(0..8);
            damaged(bytes, &format!("bit in byte {at} of {}", whole.len()));
        }
        for length in [0, 9, whole.len() / 3, whole.len() - 1] {
            damaged(whole[..length].to_vec(), "cut");
        }
        fs::remove_file(&path).unwrap();
        let findings = look(dir.path()).findings;
        assert!(findings.iter().any(|finding| finding.to_string().contains(name)), "{findings:?}");
        fs::write(&path, whole).unwrap();
    }
    assert!(look(dir.path()).findings.is_empty());
}

#[test]
fn a_cut_or_flipped_file_of_the_tables_is_found_or_harmless_and_never_a_panic_slow() {
    let dir = written();
    let mut rng = StdRng::seed_from_u64(4);
    let (mut found, mut harmless) = (0, 0);
    for path in files(&dir.path().join("tables")) {
        let whole = fs::read(&path).unwrap();
        for damage in 0..3 {
            let mut bytes = whole.clone();
            if damage == 0 || bytes.is_empty() {
                bytes.truncate(bytes.len() / 2);
            } else {
                // Where files have content: the journal is created with room ahead, which is zero.
                let used = bytes.iter().rposition(|&byte| byte != 0).unwrap_or(0);
                let at = rng.random_range(0..=used);
                bytes[at] ^= 1 << rng.random_range(0..8);
            }
            // Opening the tables tidies them up, so each damage has a copy of its own.
            let copied = tempfile::tempdir().unwrap();
            copy(dir.path(), copied.path());
            fs::write(copied.path().join(path.strip_prefix(dir.path()).unwrap()), bytes).unwrap();
            let verified = look(copied.path());
            if verified.findings.is_empty() {
                // Then everything that matters was read and is right.
                assert_eq!(verified.head, Some(BLOCKS), "{}", path.display());
                harmless += 1;
            } else {
                found += 1;
            }
        }
    }
    println!("found={found} harmless={harmless}");
    assert!(found > 10, "found={found} harmless={harmless}");
    assert!(look(dir.path()).findings.is_empty());
}

#[test]
fn pruning_drops_states_and_whole_files_below_a_height_and_the_rest_stays_right() {
    let dir = written();
    let store = Store::open(dir.path(), &genesis(SEED), options()).unwrap();
    let (block, old) = (store.block(41).unwrap(), store.at(30).unwrap().unwrap());
    let before = store.stats().unwrap();
    assert_eq!((before.head, before.oldest_state, before.oldest_block, before.sealed), (BLOCKS, 0, 1, 40));
    assert_eq!(before.segments, 2);
    let pruned = store.prune(30).unwrap();
    assert_eq!((pruned.states, pruned.segments), (30, 1), "the second file has blocks from 30 on");
    assert!(pruned.segment_bytes > 0);
    let after = store.stats().unwrap();
    assert_eq!((after.oldest_state, after.oldest_block, after.sealed, after.segments), (30, 21, 40, 1));
    assert!(store.at(29).unwrap().is_none());
    for error in [store.block(20).unwrap_err(), store.receipts(1).unwrap_err(), store.senders(3).unwrap_err()] {
        assert!(matches!(error, Error::Pruned { oldest: 21, .. }), "{error}");
    }
    let error = store.logs(&LogQuery::default(), 20..=50, 10_000).unwrap_err();
    assert!(matches!(error, Error::Pruned { number: 20, oldest: 21 }), "{error}");
    assert!(!store.logs(&LogQuery::default(), 21..=50, 10_000).unwrap().is_empty());
    assert!(store.block(0).unwrap().is_some() && store.header(5).unwrap().is_some());
    assert_eq!(store.block(41).unwrap(), block);
    let again = store.at(30).unwrap().unwrap();
    assert_eq!(again.state_root(), old.state_root());
    assert_eq!(again.block_hash(29).unwrap(), old.block_hash(29).unwrap());
    again.account_proof(&crate::model::addresses()[0]).unwrap();
    drop((old, again, store));
    let verified = look(dir.path());
    assert!(verified.findings.is_empty(), "{:?}", verified.findings);
    assert_eq!((verified.states, verified.segments), (BLOCKS - 30, 1));
    let store = Store::open(dir.path(), &genesis(SEED), Options { history: History::Archive, ..options() }).unwrap();
    assert_eq!((store.oldest_state(), store.oldest_block()), (30, 21));
    assert_eq!(store.prune(1_000).unwrap().segments, 1);
    assert_eq!((store.oldest_state(), store.oldest_block()), (BLOCKS, 41));
    drop(store);
    let store = Store::open(dir.path(), &genesis(SEED), options()).unwrap();
    assert_eq!((store.oldest_state(), store.oldest_block()), (BLOCKS, 41));
}

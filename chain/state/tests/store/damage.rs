//! Truncated, flipped and missing files: an error, or exactly the state that was committed; never another one.

use crate::model::{Model, Step, changes, genesis};
use keystead_state::{Corruption, Error, Options, Store};
use keystead_types::{AccountChange, Address, B256, Block, ChangeSet, Genesis, Receipt, U256};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

const BLOCKS: u64 = 12;
/// Slots of one account: enough that tables leave the journal for files of their own.
const MANY_SLOTS: u64 = 140_000;
/// The account that has them; it is none of the model's.
const LARGE: Address = Address::repeat_byte(0xee);

/// A closed store, and what it must say.
struct Written {
    dir: tempfile::TempDir,
    genesis: Genesis,
    model: Model,
    blocks: Vec<(Arc<Block>, Vec<Receipt>)>,
}

fn write(large: bool) -> Written {
    let dir = tempfile::tempdir().unwrap();
    let mut genesis = genesis(5);
    if large {
        let account = genesis.accounts.entry(LARGE).or_default();
        account.nonce = 1;
        account.storage = (1..=MANY_SLOTS).map(|slot| (U256::from(slot), U256::from(slot))).collect();
    }
    let store = Store::open(dir.path(), &genesis, Options::default()).unwrap();
    let mut head = Step::head(&store, Model::of(&genesis));
    let mut blocks = Vec::new();
    for number in 0..BLOCKS {
        head = head.child(&changes(&mut StdRng::seed_from_u64(number), 20), number);
        store.commit(head.commit()).unwrap();
        blocks.push((Arc::clone(&head.block), head.receipts.clone()));
    }
    if large {
        // The files are written in the background.
        let deadline = Instant::now() + Duration::from_secs(30);
        while !files(dir.path()).iter().any(|file| fs::metadata(file).unwrap().len() > 1 << 20 && !is_journal(file)) {
            assert!(Instant::now() < deadline, "no table file appeared");
            std::thread::yield_now();
        }
    }
    let model = { head }.model;
    drop(store);
    Written { dir, genesis, model, blocks }
}

fn is_journal(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "jnl")
}

pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { out.extend(files(&path)) } else { out.push(path) }
    }
    out.sort();
    out
}

/// Copies a folder.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

impl Written {
    /// Opens a copy of the store and reads everything.
    fn read(&self, dir: &Path) -> Result<(), Error> {
        let store = Store::open(dir, &self.genesis, Options::default())?;
        let last = &self.blocks.last().unwrap().0;
        assert_eq!((store.head().number, store.head().hash), (last.number(), last.hash()), "another head");
        let state = store.latest();
        assert_eq!(state.state_root(), last.header().state_root);
        self.model.compare(&state)?;
        for address in self.model.accounts.keys() {
            state.account_proof(address)?;
            state.storage_proof(address, &U256::from(1))?;
        }
        for (block, receipts) in &self.blocks {
            let number = block.number();
            assert_eq!(store.block(number)?.as_ref(), Some(block));
            assert_eq!(store.receipts(number)?.as_deref(), Some(receipts));
            assert_eq!(store.senders(number)?.map(|senders| senders.len()), Some(receipts.len()));
            assert_eq!(store.number_of(&block.hash())?, Some(number));
        }
        // A write must not build on damage either.
        let mut changes = ChangeSet::default();
        for (address, (account, _)) in &self.model.accounts {
            let storage = [(U256::from(1), U256::from(77))].into();
            changes
                .accounts
                .insert(*address, AccountChange { account: Some(*account), storage_cleared: false, storage });
        }
        let mut after = self.model.clone();
        after.apply(&changes);
        assert_eq!(state.child(changes)?.state_root(), after.root(), "a wrong root");
        Ok(())
    }

    /// Applies a damage to one file of a copy, reads it, and says what came of it.
    fn damaged(&self, file: &Path, damage: impl FnOnce(&Path)) -> Result<(), Error> {
        let copied = tempfile::tempdir().unwrap();
        copy(self.dir.path(), copied.path());
        damage(&copied.path().join(file.strip_prefix(self.dir.path()).unwrap()));
        let read = catch_unwind(AssertUnwindSafe(|| self.read(copied.path())));
        read.unwrap_or_else(|_| panic!("a panic instead of an error: {}", file.display()))
    }
}

fn flip(path: &Path, bit: u64) {
    let mut bytes = fs::read(path).unwrap();
    bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
    fs::write(path, bytes).unwrap();
}

fn cut(path: &Path, bytes: u64) {
    fs::File::options().write(true).open(path).unwrap().set_len(bytes).unwrap();
}

/// Damages every file in several ways; counts how often that was noticed.
fn damage_all(written: &Written, flips: usize) -> (usize, usize) {
    let mut rng = StdRng::seed_from_u64(99);
    let (mut noticed, mut harmless) = (0, 0);
    let mut count = |what: &str, file: &Path, result: Result<(), Error>| match result {
        Err(error) => {
            noticed += 1;
            println!("{what} {}: {error}", file.file_name().unwrap().display());
        }
        Ok(()) => {
            harmless += 1;
            println!("{what} {}: no loss", file.file_name().unwrap().display());
        }
    };
    written.read(written.dir.path()).unwrap();
    for file in files(written.dir.path()) {
        let bytes = fs::metadata(&file).unwrap().len();
        count("removed", &file, written.damaged(&file, |path| fs::remove_file(path).unwrap()));
        if bytes == 0 {
            continue;
        }
        count("emptied", &file, written.damaged(&file, |path| cut(path, 0)));
        count("torn", &file, written.damaged(&file, |path| cut(path, bytes / 2)));
        count("cut by a byte", &file, written.damaged(&file, |path| cut(path, bytes - 1)));
        for flip_number in 0..flips {
            // Every other flip near the end, where files keep what describes the rest.
            let from = if flip_number % 2 == 0 { bytes.saturating_sub(600) } else { 0 };
            let bit = rng.random_range(from * 8..bytes * 8);
            count("flipped", &file, written.damaged(&file, |path| flip(path, bit)));
        }
    }
    (noticed, harmless)
}

#[test]
fn damage_to_a_small_store_is_an_error_or_no_loss_slow() {
    let (noticed, harmless) = damage_all(&write(false), 8);
    println!("noticed={noticed} harmless={harmless}");
    assert!(noticed > 10, "noticed={noticed} harmless={harmless}");
}

#[test]
fn damage_to_table_files_is_an_error_or_no_loss_slow() {
    let (noticed, harmless) = damage_all(&write(true), 4);
    println!("noticed={noticed} harmless={harmless}");
    assert!(noticed > 10, "noticed={noticed} harmless={harmless}");
}

#[test]
fn a_store_whose_journal_lost_its_end_says_how_many_blocks_are_gone() {
    let written = write(false);
    let journal = files(written.dir.path()).into_iter().find(|file| is_journal(file)).unwrap();
    let used = used_bytes(&journal);
    let error = written.damaged(&journal, |path| cut(path, used - 10)).unwrap_err();
    let lost = Corruption::LostBlocks { found: BLOCKS - 1, committed: BLOCKS };
    assert_eq!(error.to_string(), Error::Corrupt(lost).to_string());
}

/// The journal is created with room ahead, which is zero.
fn used_bytes(journal: &Path) -> u64 {
    let bytes = fs::read(journal).unwrap();
    bytes.iter().rposition(|&byte| byte != 0).unwrap() as u64 + 1
}

#[test]
fn a_first_start_that_was_cut_off_at_any_file_is_repeated() {
    let genesis = genesis(6);
    let empty = tempfile::tempdir().unwrap();
    fs::write(empty.path().join("lock"), b"").unwrap();
    fs::write(empty.path().join("mark.new"), b"half").unwrap();
    let store = Store::open(empty.path(), &genesis, Options::default()).unwrap();
    let root = store.head().state_root;
    drop(store);
    // The genesis is written, the mark is not.
    fs::remove_file(empty.path().join("mark")).unwrap();
    let store = Store::open(empty.path(), &genesis, Options::default()).unwrap();
    assert_eq!(store.head().state_root, root);
    assert_ne!(root, B256::ZERO);
}

//! Development: amendments of the head and ways back, against models that kept everything.

use crate::model::{Model, Step, addresses, changes, genesis};
use keystead_state::{Error, History, LogQuery, Options, Purpose, Snapshot, Store};
use keystead_types::{Account, AccountChange, Address, B256, ChangeSet, U256};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use std::{path::Path, sync::Arc};

fn options(seed: u64, recent_states: usize) -> Options {
    Options {
        cache_bytes: 1 << 20,
        // All of the trie, nearly nothing of it, or a part.
        trie_bytes: [u64::MAX, 0, 4_000][(seed % 3) as usize],
        recent_states,
        history: History::Archive,
        // Too few for any block: a store for development seals nothing.
        segment_blocks: 1,
        purpose: Purpose::Development,
        ..Options::default()
    }
}

fn open(dir: &Path, seed: u64, recent_states: usize) -> Store {
    Store::open(dir, &genesis(seed), options(seed, recent_states)).unwrap()
}

/// What is expected at a height.
#[derive(Clone)]
struct Kept {
    hash: B256,
    model: Model,
    transactions: Vec<B256>,
}

/// A chain with what is expected at each height, and places to go back to.
struct Tale {
    store: Store,
    kept: Vec<Kept>,
    /// Everything that was ever in a block.
    transactions: Vec<B256>,
    saved: Vec<(Arc<Snapshot>, Vec<Kept>)>,
}

impl Tale {
    fn new(store: Store, seed: u64) -> Self {
        let kept = Kept { hash: store.head().hash, model: Model::of(&genesis(seed)), transactions: Vec::new() };
        Self { store, kept: vec![kept], transactions: Vec::new(), saved: Vec::new() }
    }

    fn commit(&mut self, rng: &mut StdRng) {
        let head = Step::head(&self.store, self.kept.last().unwrap().model.clone());
        let step = head.child(&changes(rng, 8), rng.random_range(0..1_000));
        self.store.commit(step.commit()).unwrap();
        let transactions: Vec<B256> = step.block.transactions().iter().map(|it| *it.tx_hash()).collect();
        self.transactions.extend(&transactions);
        self.kept.push(Kept { hash: step.block.hash(), model: step.model.clone(), transactions });
    }

    fn amend(&mut self, rng: &mut StdRng) {
        let changes = changes(rng, 4);
        self.store.amend(changes.clone()).unwrap();
        self.kept.last_mut().unwrap().model.apply(&changes);
    }

    fn save(&mut self) {
        self.saved.push((self.store.latest(), self.kept.clone()));
    }

    fn go_back(&mut self, rng: &mut StdRng) {
        if self.saved.is_empty() {
            return;
        }
        let at = rng.random_range(0..self.saved.len());
        self.saved.truncate(at + 1);
        let (snapshot, kept) = self.saved.pop().unwrap();
        self.store.restore(&snapshot).unwrap();
        self.kept = kept;
    }

    fn check_head(&self) {
        let (head, kept) = (self.store.head(), self.kept.last().unwrap());
        assert_eq!((head.number, head.hash), (self.kept.len() as u64 - 1, kept.hash));
        assert_eq!(head.state_root, kept.model.root());
        kept.model.compare(&self.store.latest()).unwrap();
    }

    fn check_all(&self, rng: &mut StdRng) {
        self.check_head();
        for (number, kept) in (0..).zip(&self.kept) {
            let state = self.store.at(number).unwrap().unwrap();
            assert_eq!((state.hash(), state.state_root()), (kept.hash, kept.model.root()), "number={number}");
            kept.model.compare(&state).unwrap();
            kept.model.prove(&state, rng);
            assert_eq!(self.store.block(number).unwrap().unwrap().hash(), kept.hash);
            assert_eq!(self.store.number_of(&kept.hash).unwrap(), Some(number));
        }
        let here: Vec<B256> = self.kept.iter().flat_map(|kept| kept.transactions.iter().copied()).collect();
        for hash in &self.transactions {
            let found = self.store.transaction_location(hash).unwrap().is_some();
            assert_eq!(found, here.contains(hash), "{hash}");
        }
        let query = LogQuery { addresses: vec![Address::repeat_byte(3)], ..LogQuery::default() };
        let logs = self.store.logs(&query, 0..=u64::MAX, 10_000).unwrap();
        assert_eq!(logs.iter().map(|log| log.transaction_hash).collect::<Vec<_>>(), here);
        let above = self.kept.len() as u64;
        assert!(self.store.at(above).unwrap().is_none() && self.store.block(above).unwrap().is_none());
    }
}

#[test]
fn a_chain_that_is_amended_and_goes_back_equals_models_that_kept_everything_slow() {
    for seed in 0..12 {
        let mut rng = StdRng::seed_from_u64(seed);
        let dir = tempfile::tempdir().unwrap();
        let recent_states = rng.random_range(1..8);
        let mut tale = Tale::new(open(dir.path(), seed, recent_states), seed);
        for _ in 0..3 {
            for _ in 0..40 {
                match rng.random_range(0..12) {
                    0..6 => tale.commit(&mut rng),
                    6..9 => tale.amend(&mut rng),
                    9 => tale.save(),
                    10 => tale.go_back(&mut rng),
                    _ => tale.store.upkeep().unwrap(),
                }
                tale.check_head();
            }
            tale.check_all(&mut rng);
            // Snapshots keep the folder, so a restart forgets the places to go back to.
            let Tale { store, kept, transactions, saved } = tale;
            drop((store, saved));
            // Half of the starts go on before the trie is there, and may go back to the state without one.
            let early = rng.random();
            let store = if early {
                Store::open_early(dir.path(), &genesis(seed), options(seed, recent_states)).unwrap()
            } else {
                open(dir.path(), seed, recent_states)
            };
            tale = Tale { store, kept, transactions, saved: Vec::new() };
            if early {
                tale.save();
                if rng.random() {
                    tale.go_back(&mut rng);
                    tale.check_head();
                }
            } else {
                tale.check_all(&mut rng);
            }
        }
    }
}

#[test]
fn the_first_thing_after_an_early_start_may_be_an_amendment_or_a_way_back_far_down() {
    let mut rng = StdRng::seed_from_u64(6);
    for amend_first in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let mut tale = Tale::new(open(dir.path(), 6, 2), 6);
        (0..6).for_each(|_| tale.commit(&mut rng));
        tale.amend(&mut rng);
        let Tale { store, kept, transactions, .. } = tale;
        drop(store);
        let store = Store::open_early(dir.path(), &genesis(6), options(6, 2)).unwrap();
        let mut tale = Tale { store, kept, transactions, saved: Vec::new() };
        tale.saved.push((tale.store.at(3).unwrap().unwrap(), tale.kept[..4].to_vec()));
        if amend_first {
            tale.amend(&mut rng);
            tale.check_head();
        }
        tale.go_back(&mut rng);
        assert_eq!(tale.store.head().number, 3);
        tale.commit(&mut rng);
        tale.check_all(&mut rng);
    }
}

#[test]
fn a_store_that_only_grows_is_neither_amended_nor_restored() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &genesis(1), Options::default()).unwrap();
    let root = store.head().state_root;
    let account = Account { nonce: 7, balance: U256::from(1), ..Account::default() };
    let change = AccountChange { account: Some(account), ..AccountChange::default() };
    let changes = ChangeSet { accounts: [(addresses()[0], change)].into(), ..ChangeSet::default() };
    assert!(matches!(store.amend(changes), Err(Error::OnlyGrows)));
    assert!(matches!(store.restore(&store.latest()), Err(Error::OnlyGrows)));
    assert_eq!((store.head().state_root, store.latest().state_root()), (root, root));
}

#[test]
fn a_snapshot_of_a_block_that_is_gone_or_of_another_store_is_refused() {
    let mut rng = StdRng::seed_from_u64(5);
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut tale = Tale::new(open(dir.path(), 5, 4), 5);
    tale.save();
    (0..3).for_each(|_| tale.commit(&mut rng));
    let gone = tale.store.latest();
    tale.go_back(&mut rng);
    assert!(matches!(tale.store.restore(&gone), Err(Error::Conflict { number: 3, .. })));
    (0..3).for_each(|_| tale.commit(&mut rng));
    assert!(matches!(tale.store.restore(&gone), Err(Error::Conflict { number: 3, .. })));
    let foreign = open(other.path(), 5, 4).latest();
    assert!(matches!(tale.store.restore(&foreign), Err(Error::Mismatch { number: 0, .. })));
    tale.check_all(&mut rng);
}

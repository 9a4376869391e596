//! Old states against a model that kept everything: values, roots and proofs at every height, windows, restarts.

use crate::model::{Model, Step, addresses, changes, genesis};
use keystead_state::{Error, History, Options, Store};
use keystead_types::{Account, AccountChange, B256, ChangeSet, StateView as _, U256};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use std::path::Path;

/// What a block left behind, without its snapshot, which would keep the folder locked.
struct Kept {
    hash: B256,
    model: Model,
}

impl Kept {
    fn of(step: &Step) -> Self {
        Self { hash: step.block.hash(), model: step.model.clone() }
    }
}

fn options(recent_states: usize, history: History) -> Options {
    Options { cache_bytes: 1 << 20, recent_states, history, ..Options::default() }
}

/// Commits `count` blocks of random changes: new accounts, deletions, wiped storages, accounts that come back.
fn extend(store: &Store, kept: &mut Vec<Kept>, rng: &mut StdRng, count: u64) {
    let mut head = Step::head(store, kept.last().unwrap().model.clone());
    for _ in 0..count {
        head = head.child(&changes(rng, 8), rng.random_range(0..3));
        store.commit(head.commit()).unwrap();
        kept.push(Kept::of(&head));
        // Often not: then old values are found by block.
        if rng.random_range(0..3) == 0 {
            store.upkeep().unwrap();
        }
    }
}

/// Upkeep until the window has its size.
fn tidy(store: &Store) {
    (0..20).for_each(|_| store.upkeep().unwrap());
}

/// Compares the state at a height in full.
fn check(store: &Store, kept: &Kept, number: u64, rng: &mut StdRng) {
    let state = store.at(number).unwrap().unwrap_or_else(|| panic!("no state: number={number}"));
    assert_eq!((state.number(), state.hash()), (number, kept.hash));
    assert_eq!(state.state_root(), kept.model.root(), "number={number}");
    kept.model.compare(&state).unwrap();
    kept.model.prove(&state, rng);
}

fn open(dir: &Path, seed: u64, options: Options) -> Store {
    Store::open(dir, &genesis(seed), options).unwrap()
}

#[test]
fn every_old_state_equals_a_model_that_kept_everything_slow() {
    for seed in 0..10 {
        let mut rng = StdRng::seed_from_u64(seed);
        let dir = tempfile::tempdir().unwrap();
        let options = options(rng.random_range(1..6), History::Archive);
        let mut store = open(dir.path(), seed, options);
        let mut kept = vec![Kept { hash: store.head().hash, model: Model::of(&genesis(seed)) }];
        for _ in 0..4 {
            let count = rng.random_range(1..30);
            extend(&store, &mut kept, &mut rng, count);
            if rng.random() {
                drop(store);
                store = open(dir.path(), seed, options);
            }
            // In random order: each proof may start from the states of those before.
            for _ in 0..40 {
                let number = rng.random_range(0..kept.len());
                check(&store, &kept[number], number as u64, &mut rng);
            }
        }
        for (number, kept) in kept.iter().enumerate().rev() {
            check(&store, kept, number as u64, &mut rng);
        }
        assert_eq!(store.oldest_state(), 0);
        assert!(store.at(kept.len() as u64).unwrap().is_none());
    }
}

#[test]
fn a_storage_that_was_wiped_and_made_again_is_found_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 3, options(1, History::Archive));
    let address = addresses()[0];
    let account = |nonce| Account { nonce, ..Account::default() };
    let with = |nonce, slots: &[(u64, u64)], storage_cleared| {
        let storage = slots.iter().map(|(slot, value)| (U256::from(*slot), U256::from(*value))).collect();
        let change = AccountChange { account: Some(account(nonce)), storage_cleared, storage };
        ChangeSet { accounts: [(address, change)].into(), ..ChangeSet::default() }
    };
    let gone = ChangeSet { accounts: [(address, AccountChange::default())].into(), ..ChangeSet::default() };
    let blocks =
        [with(1, &[(1, 10), (2, 20)], false), gone.clone(), with(2, &[(2, 22)], true), with(2, &[(3, 30)], true), gone];
    let want = [[10, 20, 0], [0, 0, 0], [0, 22, 0], [0, 0, 30], [0, 0, 0]];
    let mut head = Step::head(&store, Model::of(&genesis(3)));
    let mut kept = vec![Kept::of(&head)];
    for block in &blocks {
        head = head.child(block, 0);
        store.commit(head.commit()).unwrap();
        kept.push(Kept::of(&head));
    }
    for (number, want) in (1_u64..).zip(want) {
        let state = store.at(number).unwrap().unwrap();
        let got = [1_u64, 2, 3].map(|slot| state.storage(&address, &U256::from(slot)).unwrap());
        assert_eq!(got, want.map(U256::from), "number={number}");
        check(&store, &kept[number as usize], number, &mut StdRng::seed_from_u64(number));
    }
}

#[test]
fn a_window_moves_with_the_head_and_shrinks_over_some_blocks_when_it_is_shortened() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = StdRng::seed_from_u64(1);
    let store = open(dir.path(), 1, options(2, History::Blocks(20)));
    let mut kept = vec![Kept { hash: store.head().hash, model: Model::of(&genesis(1)) }];
    extend(&store, &mut kept, &mut rng, 50);
    tidy(&store);
    assert_eq!(store.oldest_state(), 30);
    assert!(store.at(29).unwrap().is_none());
    for number in 30..=50 {
        check(&store, &kept[number as usize], number, &mut rng);
    }
    drop(store);
    let store = open(dir.path(), 1, options(2, History::Blocks(5)));
    let mut oldest = Vec::new();
    for _ in 0..6 {
        oldest.push(store.oldest_state());
        store.upkeep().unwrap();
    }
    assert_eq!(oldest, [30, 34, 38, 42, 45, 45], "four blocks a step");
    drop(store);
    let store = open(dir.path(), 1, options(2, History::Archive));
    extend(&store, &mut kept, &mut rng, 30);
    tidy(&store);
    assert_eq!(store.oldest_state(), 45, "what is gone stays gone");
    for number in 45..=80 {
        check(&store, &kept[number as usize], number, &mut rng);
    }
}

#[test]
fn old_values_are_found_while_nobody_calls_upkeep_and_commits_help_out() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = StdRng::seed_from_u64(6);
    let store = open(dir.path(), 6, options(1, History::Archive));
    let mut head = Step::head(&store, Model::of(&genesis(6)));
    let mut kept = vec![Kept::of(&head)];
    for _ in 0..300 {
        head = head.child(&changes(&mut rng, 3), 0);
        store.commit(head.commit()).unwrap();
        kept.push(Kept::of(&head));
    }
    drop(head);
    for number in [0, 1, 40, 88, 89, 90, 250, 299, 300] {
        check(&store, &kept[number], number as u64, &mut rng);
    }
    let held = store.at(70).unwrap().unwrap();
    store.upkeep().unwrap();
    extend(&store, &mut kept, &mut rng, 5);
    kept[70].model.compare(&held).unwrap();
    drop((held, store));
    let store = open(dir.path(), 6, options(1, History::Archive));
    for number in [0, 50, 299, 304] {
        check(&store, &kept[number], number as u64, &mut rng);
    }
}

#[test]
fn an_old_state_that_somebody_holds_stays_readable_after_it_left_the_window() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = StdRng::seed_from_u64(2);
    let store = open(dir.path(), 2, options(1, History::Blocks(4)));
    let mut kept = vec![Kept { hash: store.head().hash, model: Model::of(&genesis(2)) }];
    extend(&store, &mut kept, &mut rng, 6);
    let held = store.at(3).unwrap().unwrap();
    extend(&store, &mut kept, &mut rng, 12);
    tidy(&store);
    assert!(store.at(3).unwrap().is_none());
    kept[3].model.compare(&held).unwrap();
    kept[3].model.prove(&held, &mut rng);
}

#[test]
fn a_proof_that_would_unite_too_many_values_is_refused_and_values_are_still_read() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = StdRng::seed_from_u64(4);
    let options = Options { undone_values_max: 40, ..options(1, History::Archive) };
    let store = open(dir.path(), 4, options);
    let mut kept = vec![Kept { hash: store.head().hash, model: Model::of(&genesis(4)) }];
    extend(&store, &mut kept, &mut rng, 60);
    check(&store, &kept[59], 59, &mut rng);
    let state = store.at(0).unwrap().unwrap();
    let error = state.account_proof(&addresses()[0]).unwrap_err();
    assert!(matches!(error, Error::TooDeep { number: 0, values_max: 40, .. }), "{error}");
    assert_eq!(state.state_root(), kept[0].model.root(), "the header says it");
    kept[0].model.compare(&state).unwrap();
}

#[test]
fn an_old_state_has_children_of_its_own_which_nobody_can_commit() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = StdRng::seed_from_u64(5);
    let store = open(dir.path(), 5, options(1, History::Archive));
    let mut kept = vec![Kept { hash: store.head().hash, model: Model::of(&genesis(5)) }];
    extend(&store, &mut kept, &mut rng, 20);
    for number in [19, 12, 7, 0] {
        let old = &kept[number];
        let snapshot = store.at(number as u64).unwrap().unwrap();
        let block = store.block(number as u64).unwrap().unwrap();
        let parent = Step { snapshot, block, senders: Vec::new(), receipts: Vec::new(), model: old.model.clone() };
        let mut last = parent;
        for salt in 0..3 {
            last = last.child(&changes(&mut rng, 8), salt);
            assert_eq!(last.snapshot.state_root(), last.model.root(), "number={number}");
            last.model.compare(&last.snapshot).unwrap();
            last.model.prove(&last.snapshot, &mut rng);
        }
        assert_eq!(last.snapshot.block_hash(number as u64).unwrap(), old.hash);
        assert_eq!(last.snapshot.block_hash(last.block.number()).unwrap(), last.block.hash());
        assert!(store.commit(last.commit()).is_err());
    }
}

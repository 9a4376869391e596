//! The rules by which a block becomes the head, and what can be read afterwards.

use crate::model::{Model, Step, addresses, changes, genesis};
use keystead_state::{Commit, Error, History, Listener, Options, Store};
use keystead_types::{
    Account, AccountChange, Address, B256, Block, Certificate, ChangeSet, Receipt, StateView as _, U256,
};
use rand::{SeedableRng as _, rngs::StdRng};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tempfile::TempDir;

fn fresh(seed: u64) -> (TempDir, Store, Step) {
    let dir = tempfile::tempdir().unwrap();
    let genesis = genesis(seed);
    let store = Store::open(dir.path(), &genesis, Options::default()).unwrap();
    let head = Step::head(&store, Model::of(&genesis));
    (dir, store, head)
}

fn some_changes(seed: u64) -> ChangeSet {
    changes(&mut StdRng::seed_from_u64(seed), 12)
}

/// Commits `count` children one after the other; the first element is the head before.
fn chain(store: &Store, head: Step, count: u64) -> Vec<Step> {
    let mut steps = vec![head];
    for number in 0..count {
        let next = steps.last().unwrap().child(&some_changes(number), number);
        store.commit(next.commit()).unwrap();
        steps.push(next);
    }
    steps
}

#[test]
fn everything_of_a_committed_block_is_found_before_and_after_a_restart() {
    let (dir, store, head) = fresh(1);
    // More blocks than are kept decoded in memory.
    let steps = chain(&store, head, 40);
    let written: Vec<Written> = steps.into_iter().map(Written::of).collect();
    found(&store, &written);
    drop(store);
    let store = Store::open(dir.path(), &genesis(1), Options::default()).unwrap();
    found(&store, &written);
    written.last().unwrap().model.compare(&store.latest()).unwrap();
}

/// A step without its snapshot, which would keep the folder locked.
struct Written {
    block: Arc<Block>,
    senders: Vec<Address>,
    receipts: Vec<Receipt>,
    model: Model,
}

impl Written {
    fn of(step: Step) -> Self {
        let Step { block, senders, receipts, model, .. } = step;
        Self { block, senders, receipts, model }
    }
}

fn found(store: &Store, written: &[Written]) {
    for step in written {
        let number = step.block.number();
        assert_eq!(store.block(number).unwrap().unwrap(), step.block);
        assert_eq!(store.header(number).unwrap().as_ref(), Some(step.block.header()));
        assert_eq!(*store.senders(number).unwrap().unwrap(), step.senders);
        assert_eq!(*store.receipts(number).unwrap().unwrap(), step.receipts);
        assert_eq!(store.number_of(&step.block.hash()).unwrap(), Some(number));
        for (index, transaction) in step.block.transactions().iter().enumerate() {
            assert_eq!(store.transaction_location(transaction.tx_hash()).unwrap(), Some((number, index)));
        }
    }
    let above = written.len() as u64;
    assert_eq!(store.genesis(), written[0].block);
    assert_eq!(store.block(above).unwrap(), None);
    assert_eq!(store.header(above).unwrap(), None);
    assert_eq!(store.receipts(above).unwrap(), None);
    assert_eq!(store.senders(above).unwrap(), None);
    assert_eq!(store.number_of(&B256::ZERO).unwrap(), None);
    assert_eq!(store.transaction_location(&B256::ZERO).unwrap(), None);
    let (head, last) = (store.head(), written.last().unwrap());
    assert_eq!((head.number, head.hash), (last.block.number(), last.block.hash()));
    assert_eq!((head.state_root, head.timestamp_ms), (last.model.root(), last.block.timestamp_ms()));
}

#[test]
fn a_committed_block_is_accepted_again_and_changes_nothing() {
    let (_dir, store, head) = fresh(2);
    let steps = chain(&store, head, 3);
    let before = store.head();
    for step in &steps[1..] {
        store.commit(step.commit()).unwrap();
    }
    assert_eq!(store.head(), before);
}

#[test]
fn another_block_at_a_committed_height_a_gap_and_a_foreign_parent_are_refused() {
    let (_dir, store, head) = fresh(3);
    let other = head.child(&some_changes(77), 2);
    let steps = chain(&store, head, 2);
    let before = store.head();
    let error = store.commit(other.commit()).unwrap_err();
    assert!(matches!(error, Error::Conflict { number: 1, .. }), "{error}");
    let next = steps[2].child(&some_changes(5), 1);
    let after = next.child(&some_changes(6), 1);
    let error = store.commit(after.commit()).unwrap_err();
    assert!(matches!(error, Error::Gap { number: 4, head: 2 }), "{error}");
    let orphan = other.child(&some_changes(7), 1).child(&some_changes(8), 1);
    let error = store.commit(orphan.commit()).unwrap_err();
    assert!(matches!(error, Error::NotChild { .. }), "{error}");
    assert_eq!(store.head(), before);
    store.commit(next.commit()).unwrap();
    store.commit(after.commit()).unwrap();
}

#[test]
fn a_commit_whose_parts_do_not_belong_together_is_refused_with_the_part() {
    let (_dir, store, head) = fresh(4);
    let (_other_dir, _other_store, other_head) = fresh(4);
    let good = head.child(&some_changes(1), 3);
    let sibling = head.child(&some_changes(2), 3);
    let foreign = other_head.child(&some_changes(1), 3);
    let unsealed = head.snapshot.child(some_changes(2)).unwrap().seal(good.block.hash());
    let refused = |change: &dyn Fn(&mut Commit)| {
        let mut commit = good.commit();
        change(&mut commit);
        match store.commit(commit).unwrap_err() {
            Error::Mismatch { number: 1, part } => part,
            error => panic!("{error}"),
        }
    };
    assert_eq!(refused(&|commit| commit.senders.push(addresses()[0])), "senders");
    assert_eq!(refused(&|commit| commit.receipts.clear()), "receipts");
    assert_eq!(refused(&|commit| commit.snapshot = Arc::clone(&sibling.snapshot)), "snapshot hash");
    assert_eq!(refused(&|commit| commit.snapshot = Arc::clone(&unsealed)), "state root");
    assert_eq!(refused(&|commit| commit.snapshot = Arc::clone(&foreign.snapshot)), "snapshot store");
    assert_eq!(refused(&|commit| commit.snapshot = store.latest()), "snapshot height");
    assert_eq!(refused(&|commit| commit.certificate = Some(sibling.certificate(1))), "certificate");
    assert_eq!(store.head().number, 0);
    store.commit(good.commit()).unwrap();
}

#[test]
fn the_next_certificate_at_or_above_a_height_is_found_and_never_above_the_head() {
    let (_dir, store, head) = fresh(5);
    let steps = chain(&store, head, 6);
    assert_eq!(store.certificate_at_or_above(0).unwrap(), None);
    let (second, fifth) = (steps[2].certificate(2), steps[5].certificate(5));
    store.put_certificate(2, second).unwrap();
    store.put_certificate(5, fifth).unwrap();
    let expected =
        [(0, Some((2, second))), (2, Some((2, second))), (3, Some((5, fifth))), (5, Some((5, fifth))), (6, None)];
    for (number, found) in expected {
        assert_eq!(store.certificate_at_or_above(number).unwrap(), found, "number={number}");
    }
    assert_eq!(store.certificate(2).unwrap(), Some(second));
    assert_eq!(store.certificate(3).unwrap(), None);
    let error = store.put_certificate(3, second).unwrap_err();
    assert!(matches!(error, Error::Conflict { number: 3, .. }), "{error}");
}

#[test]
fn a_certificate_that_comes_before_its_block_waits_for_it() {
    let (_dir, store, head) = fresh(6);
    let first = head.child(&some_changes(1), 1);
    let second = first.child(&some_changes(2), 1);
    let wrong = first.child(&some_changes(3), 1);
    store.put_certificate(1, first.certificate(1)).unwrap();
    store.put_certificate(2, wrong.certificate(2)).unwrap();
    assert_eq!(store.certificate(1).unwrap(), None, "not committed yet");
    assert_eq!(store.certificate_at_or_above(0).unwrap(), None);
    store.commit(first.commit()).unwrap();
    store.commit(second.commit()).unwrap();
    assert_eq!(store.certificate(1).unwrap(), Some(first.certificate(1)));
    assert_eq!(store.certificate(2).unwrap(), None, "it names another block");
    let error = store.put_certificate(5_000, second.certificate(9)).unwrap_err();
    assert!(matches!(error, Error::TooFarAhead { number: 5_000, head: 2, .. }), "{error}");
}

#[test]
fn recent_states_are_found_by_height_and_older_ones_only_by_those_who_hold_them() {
    let dir = tempfile::tempdir().unwrap();
    let genesis = genesis(7);
    let options = Options { recent_states: 4, history: History::Blocks(3), ..Options::default() };
    let store = Store::open(dir.path(), &genesis, options).unwrap();
    let held = store.latest();
    let steps = chain(&store, Step::head(&store, Model::of(&genesis)), 10);
    (0..3).for_each(|_| store.upkeep().unwrap());
    for step in &steps {
        let number = step.block.number();
        match store.at(number).unwrap() {
            Some(state) => {
                assert!((7..=10).contains(&number));
                assert_eq!((state.number(), state.hash()), (number, step.block.hash()));
                step.model.compare(&state).unwrap();
                step.model.prove(&state, &mut StdRng::seed_from_u64(number));
            }
            None => assert!(number < 7),
        }
    }
    assert!(store.at(11).unwrap().is_none());
    steps[0].model.compare(&held).unwrap();
    steps[0].model.prove(&held, &mut StdRng::seed_from_u64(0));
}

#[test]
fn the_hashes_of_the_last_256_ancestors_are_known_and_no_others() {
    let (_dir, store, head) = fresh(8);
    let mut steps = vec![head];
    for number in 0..260 {
        let next = steps.last().unwrap().child(&ChangeSet::default(), number);
        // The last five stay pending.
        if number < 255 {
            store.commit(next.commit()).unwrap();
        }
        steps.push(next);
    }
    let last = steps.last().unwrap();
    for step in &steps {
        let number = step.block.number();
        let want = if number > 4 { step.block.hash() } else { B256::ZERO };
        assert_eq!(last.snapshot.block_hash(number).unwrap(), want, "number={number}");
    }
    assert_eq!(last.snapshot.block_hash(261).unwrap(), B256::ZERO);
    let committed = store.latest();
    assert_eq!(committed.block_hash(255).unwrap(), steps[255].block.hash());
    assert_eq!(committed.block_hash(256).unwrap(), B256::ZERO, "a pending child is no ancestor");
}

#[test]
fn pending_chains_are_bounded_and_grow_on_while_blocks_are_committed() {
    let (_dir, store, head) = fresh(9);
    let mut last = Arc::clone(&head.snapshot);
    for number in 0..256_u64 {
        last = last.child(ChangeSet::default()).unwrap().seal(B256::left_padding_from(&number.to_be_bytes()));
    }
    let error = last.child(ChangeSet::default()).unwrap_err();
    assert!(matches!(error, Error::TooManyPending { pending: 257, max: 256 }), "{error}");
    drop(last);
    let mut steps = vec![head];
    for number in 0..600_usize {
        steps.push(steps.last().unwrap().child(&some_changes(number as u64 % 9), 0));
        if number > 20 {
            store.commit(steps[number - 20].commit()).unwrap();
        }
    }
    let last = steps.last().unwrap();
    assert_eq!(last.snapshot.state_root(), last.model.root());
    last.model.compare(&last.snapshot).unwrap();
}

#[test]
fn a_waiter_sees_a_head_that_comes_and_gives_up_on_one_that_does_not() {
    let (_dir, store, head) = fresh(10);
    assert!(store.wait_for(0, Duration::ZERO));
    assert!(!store.wait_for(1, Duration::from_millis(1)));
    let next = head.child(&some_changes(1), 1);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| store.wait_for(1, Duration::from_secs(60)));
        store.commit(next.commit()).unwrap();
        assert!(waiter.join().unwrap());
    });
}

#[test]
fn a_listener_is_called_after_each_commit_and_certificate_until_its_owner_drops_it() {
    let (_dir, store, head) = fresh(12);
    let heard = Arc::new(std::sync::Mutex::new(Vec::new()));
    let listener: Arc<Listener> = Arc::new({
        let (store, heard) = (store.clone(), Arc::clone(&heard));
        // It reads, and adds a listener, while it is called.
        move || {
            let number = store.head().number;
            assert!(store.block(number).unwrap().is_some());
            store.listen(&(Arc::new(|| ()) as Arc<Listener>));
            heard.lock().unwrap().push((number, store.certificate(number).unwrap().is_some()));
        }
    });
    store.listen(&listener);
    let steps = chain(&store, head, 2);
    store.commit(steps[2].commit()).unwrap();
    assert_eq!(*heard.lock().unwrap(), [(1, false), (2, false)], "a block that is there already is nothing new");
    let certificate = |number: u64, block_hash| Certificate {
        epoch: 0,
        view: number,
        parent_view: number - 1,
        block_hash,
        signature: [0; 48],
    };
    store.put_certificate(9, certificate(9, B256::ZERO)).unwrap();
    store.put_certificate(2, certificate(2, steps[2].block.hash())).unwrap();
    assert_eq!(heard.lock().unwrap()[2..], [(2, true)], "one above the head cannot be read yet");
    drop(listener);
    store.commit(steps[2].child(&some_changes(5), 3).commit()).unwrap();
    assert_eq!(heard.lock().unwrap().len(), 3);
}

/// Blocks move one unit at a time between accounts; whoever sees half a block sees another sum.
#[test]
fn readers_never_see_half_a_block() {
    const SUM: u64 = 1_000;
    let (_dir, store, head) = fresh(11);
    let balance = |balance: u64| Account { balance: U256::from(balance), ..Account::default() };
    let split = |first: u64| {
        let mut changes = ChangeSet::default();
        for (address, amount) in [(addresses()[0], first), (addresses()[20], SUM - first)] {
            let storage = [(U256::from(1), U256::from(amount))].into();
            let change = AccountChange { account: Some(balance(amount)), storage, ..AccountChange::default() };
            changes.accounts.insert(address, change);
        }
        changes
    };
    let mut last = head.child(&split(0), 0);
    store.commit(last.commit()).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = || {
            let mut seen = 0_u64;
            while !done.load(Ordering::Relaxed) || seen == 0 {
                let state = store.latest();
                let account = |at: usize| state.account(&addresses()[at]).unwrap().unwrap().balance;
                let slot = |at: usize| state.storage(&addresses()[at], &U256::from(1)).unwrap();
                let head = store.head();
                assert!(store.block(head.number).unwrap().is_some());
                assert!(store.receipts(head.number).unwrap().is_some());
                let sum = U256::from(SUM);
                assert_eq!((account(0) + account(20), slot(0) + slot(20)), (sum, sum), "number={}", state.number());
                assert_eq!(account(0), slot(0));
                seen += 1;
            }
            seen
        };
        let readers = [scope.spawn(reader), scope.spawn(reader)];
        for number in 1..300 {
            last = last.child(&split(number % SUM), 0);
            store.commit(last.commit()).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            assert!(reader.join().unwrap() > 0);
        }
    });
}

#[test]
fn a_second_store_on_the_folder_is_refused_until_the_last_snapshot_is_gone() {
    let (dir, store, head) = fresh(12);
    let again = || Store::open(dir.path(), &genesis(12), Options::default());
    assert!(matches!(again(), Err(Error::Locked { .. })));
    drop(store);
    assert!(matches!(again(), Err(Error::Locked { .. })), "a snapshot still reads the tables");
    drop(head);
    assert_eq!(again().unwrap().head().number, 0);
}

#[test]
fn a_folder_of_another_chain_is_refused() {
    let (dir, store, head) = fresh(13);
    drop((store, head));
    match Store::open(dir.path(), &genesis(14), Options::default()).unwrap_err() {
        Error::WrongGenesis { stored, given } => assert_ne!(stored, given),
        error => panic!("{error}"),
    }
    assert!(Store::open(dir.path(), &genesis(13), Options::default()).is_ok());
}

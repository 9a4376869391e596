//! Random chains with competing pending blocks, checked against plain maps, `HashBuilder` and `eth_trie` at each step.

use crate::model::{Model, Step, changes, genesis};
use keystead_state::{Options, Store};
use keystead_types::{Account, AccountChange, Address, ChangeSet, U256};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use std::path::Path;

/// One random chain. Pending blocks are extended at random, one child of the head is committed now and then, blocks on
/// lost branches are kept a while: their states must stay what they were.
fn run(dir: &Path, seed: u64, steps: usize, options: Options) {
    let mut rng = StdRng::seed_from_u64(seed);
    let genesis = genesis(seed);
    let mut store = Store::open(dir, &genesis, options).unwrap();
    let mut head = Step::head(&store, Model::of(&genesis));
    assert_eq!(store.head().state_root, head.model.root());
    let mut pending: Vec<Step> = Vec::new();
    for step in 0..steps {
        match rng.random_range(0..10) {
            0 => {
                let (old, root) = (store.head(), head.snapshot.state_root());
                pending.clear();
                // The folder stays locked until the last snapshot is gone.
                let model = { head }.model;
                drop(store);
                store = Store::open(dir, &genesis, options).unwrap();
                assert_eq!(store.head(), old);
                head = Step::head(&store, model);
                assert_eq!(head.snapshot.state_root(), root);
            }
            1..=3 => {
                let Some(at) = pending.iter().position(|step| step.block.header().parent_hash == store.head().hash)
                else {
                    continue;
                };
                let winner = pending.remove(at);
                store.commit(winner.commit()).unwrap();
                assert_eq!(store.head().hash, winner.block.hash());
                // A pending snapshot stays a good parent after its commit.
                head = if rng.random() { Step { snapshot: store.latest(), ..winner } } else { winner };
                if pending.len() > 6 {
                    pending.drain(..3);
                }
            }
            _ => {
                let at = rng.random_range(0..=pending.len());
                let parent = pending.get(at).unwrap_or(&head);
                let child = parent.child(&changes(&mut rng, 9), rng.random_range(0..1_000));
                assert_eq!(child.snapshot.state_root(), child.model.root(), "seed={seed} step={step}");
                if step % 8 == 0 {
                    assert_eq!(child.model.root(), child.model.eth_root(), "oracles: seed={seed} step={step}");
                }
                pending.push(child);
            }
        }
        let at = rng.random_range(0..=pending.len());
        let any = pending.get(at).unwrap_or(&head);
        any.model.compare(&any.snapshot).unwrap();
        if step % 3 == 0 {
            any.model.prove(&any.snapshot, &mut rng);
        }
        assert_eq!(any.snapshot.state_root(), any.model.root(), "seed={seed} step={step}");
    }
}

#[test]
fn every_state_of_a_random_chain_equals_the_oracles_slow() {
    for seed in 0..24 {
        let dir = tempfile::tempdir().unwrap();
        run(dir.path(), seed, 120, Options { cache_bytes: 1 << 20, recent_states: 3, ..Options::default() });
    }
}

#[test]
fn states_do_not_depend_on_the_caches() {
    for seed in 100..106 {
        let dir = tempfile::tempdir().unwrap();
        run(dir.path(), seed, 120, Options { cache_bytes: 0, recent_states: 1, ..Options::default() });
    }
}

#[test]
fn states_do_not_depend_on_how_much_of_the_trie_is_in_memory() {
    for seed in 200..206 {
        let dir = tempfile::tempdir().unwrap();
        let trie_bytes = [0, 4_000][(seed % 2) as usize];
        run(dir.path(), seed, 120, Options { cache_bytes: 0, trie_bytes, recent_states: 3, ..Options::default() });
    }
}

/// New balances for accounts with these numbers.
fn balances(rng: &mut StdRng, numbers: impl Iterator<Item = u64>) -> ChangeSet {
    let mut changes = ChangeSet::default();
    for number in numbers {
        let account = Account { balance: U256::from(rng.random::<u64>()), ..Account::default() };
        let change = AccountChange { account: Some(account), ..AccountChange::default() };
        changes.accounts.insert(Address::left_padding_from(&number.to_be_bytes()), change);
    }
    changes
}

#[test]
fn the_trie_stays_within_its_memory_while_blocks_change_accounts_at_random() {
    const ACCOUNTS: u64 = 6_000;
    let dir = tempfile::tempdir().unwrap();
    let mut rng = StdRng::seed_from_u64(9);
    let genesis = genesis(9);
    let store = Store::open(dir.path(), &genesis, Options::default()).unwrap();
    let head = Step::head(&store, Model::of(&genesis)).child(&balances(&mut rng, 0..ACCOUNTS), 0);
    store.commit(head.commit()).unwrap();
    let whole = store.stats().unwrap().trie_bytes;
    let model = { head }.model;
    drop(store);
    let options = Options { trie_bytes: whole / 3, ..Options::default() };
    let store = Store::open(dir.path(), &genesis, options).unwrap();
    let mut head = Step::head(&store, model);
    for block in 1..=40 {
        let numbers: Vec<u64> = (0..20).map(|_| rng.random_range(0..ACCOUNTS)).collect();
        head = head.child(&balances(&mut rng, numbers.into_iter()), block);
        store.commit(head.commit()).unwrap();
        let bytes = store.stats().unwrap().trie_bytes;
        assert!(bytes <= whole / 2, "block={block} bytes={bytes} whole={whole}");
        if block % 10 == 0 {
            assert_eq!(head.snapshot.state_root(), head.model.root(), "block={block}");
        }
    }
}

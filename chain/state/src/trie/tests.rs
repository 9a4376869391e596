//! Random updates against full rebuilds: `HashBuilder` (alloy-trie) and `eth_trie` are the oracles.
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "a test stops where an assumption fails")]

use super::*;
use alloy_trie::{HashBuilder, Nibbles, proof::verify_proof};
use eth_trie::{EthTrie, MemoryDB, Trie as _};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use std::{
    collections::{BTreeMap, BTreeSet},
    slice,
    sync::Arc,
};

type State = BTreeMap<B256, Vec<u8>>;

impl Values for State {
    fn value(&self, key: &B256) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.get(key).cloned())
    }

    fn below(&self, range: &Range) -> Result<Vec<(B256, Vec<u8>)>, Error> {
        Ok(self.range(range.first..=range.last).map(|(key, value)| (*key, value.clone())).collect())
    }

    fn table(&self) -> &'static str {
        "test"
    }
}

fn full_root(state: &State) -> B256 {
    let mut builder = HashBuilder::default();
    state.iter().for_each(|(key, value)| builder.add_leaf(Nibbles::unpack(key), value));
    builder.root()
}

fn eth_trie(state: &State) -> EthTrie<MemoryDB> {
    let mut trie = EthTrie::new(Arc::new(MemoryDB::new(true)));
    state.iter().for_each(|(key, value)| trie.insert(key.as_slice(), value).unwrap());
    trie
}

/// How close together the keys of a run lie.
const SPREADS: u64 = 5;

/// Keys that share long prefixes, so that extensions, splits, collapses and inline nodes are common.
fn key(rng: &mut StdRng, spread: u64) -> B256 {
    let mut key = B256::repeat_byte(0x5a);
    match spread {
        0 => key[31] = rng.random(),
        1 => (key[0], key[31]) = (rng.random_range(0..3) << 4, rng.random()),
        2 => {
            (key[3], key[20], key[31]) = (rng.random_range(0..4), rng.random_range(0..3) << 3, rng.random_range(0..40));
        }
        3 => (key[0], key[1]) = (rng.random(), rng.random()),
        _ => rng.fill(key.as_mut_slice()),
    }
    key
}

/// Changes of up to `size` keys, applied to `state`: two thirds of them near keys that exist.
fn changes(rng: &mut StdRng, state: &mut State, spread: u64, size: usize) -> Vec<Change> {
    let deletions = rng.random_range(0..101);
    let mut changes = BTreeMap::new();
    for _ in 0..size {
        let near = state.range(key(rng, spread)..).next().map(|(key, _)| *key);
        let target = near.filter(|_| rng.random_range(0..3) > 0).unwrap_or_else(|| key(rng, spread));
        let delete = rng.random_range(0..100) < deletions;
        let length = if rng.random() { rng.random_range(1..5) } else { rng.random_range(1..120) };
        // Values are RLP items, so one of a single byte is below 0x80.
        let highest = if length == 1 { 0x7f } else { 0xff };
        let value = (!delete).then(|| (0..length).map(|_| rng.random_range(1..=highest)).collect::<Vec<u8>>());
        changes.insert(target, Change { key: target, value });
    }
    apply(state, changes.values());
    changes.into_values().collect()
}

fn apply<'c>(state: &mut State, changes: impl Iterator<Item = &'c Change>) {
    for change in changes {
        match &change.value {
            Some(value) => state.insert(change.key, value.clone()),
            None => state.remove(&change.key),
        };
    }
}

/// Whatever the tries reach is filled; a single one reaches all that is.
fn assert_reached(tries: &[(Trie, State)], context: &str) {
    let mut families: BTreeMap<usize, (Arc<arena::Arena>, BTreeSet<u32>)> = BTreeMap::new();
    for (trie, _) in tries {
        let Some(version) = &trie.version else { continue };
        let family = families.entry(Arc::as_ptr(&version.arena) as usize);
        let (arena, reached) = family.or_insert_with(|| (Arc::clone(&version.arena), BTreeSet::new()));
        trie.root.iter().for_each(|root| arena.read().reach(root, reached));
    }
    for (arena, reached) in families.values() {
        let filled = arena.filled();
        assert!(filled >= reached.len() && (tries.len() > 1 || filled == reached.len()), "{context} filled={filled}");
    }
}

/// A run of updates: half of them on the newest trie, the others on an older one, whose state must not have moved.
fn run(seed: u64, updates: usize, size: usize) {
    let mut rng = StdRng::seed_from_u64(seed);
    let spread = seed % SPREADS;
    let hashing = if seed.is_multiple_of(2) { Hashing::Widest } else { Hashing::Scalar };
    // Every other run takes whatever it may out of memory after each update, or keeps a little.
    let bytes_max = [u64::MAX, 0, u64::MAX, 2_000][(seed / SPREADS % 4) as usize];
    let mut versions = vec![(Trie::default(), State::new())];
    for update in 0..updates {
        let at = if rng.random() { versions.len() - 1 } else { rng.random_range(0..versions.len()) };
        let (trie, old) = versions[at].clone();
        let mut state = old.clone();
        let size = rng.random_range(1..=size);
        let changes = changes(&mut rng, &mut state, spread, size);
        let next = trie.update(&old, &changes, hashing).unwrap();
        let want = full_root(&state);
        assert_eq!(next.root(), want, "seed={seed} update={update}");
        assert_eq!(next.leaves(), state.len() as u64, "seed={seed} update={update}");
        assert_eq!(trie.root(), full_root(&old), "an older version changed: seed={seed} update={update}");
        if update % 8 == 0 {
            assert_eq!(B256::new(eth_trie(&state).root_hash().unwrap().0), want, "oracles: seed={seed}");
        }
        drop(trie);
        let built = Trie::build(leaves_of(&state), bytes_max, hashing).unwrap();
        assert_eq!((built.root(), built.leaves()), (want, state.len() as u64), "seed={seed} update={update}");
        // Now and then what is built stands for what was updated.
        let next = if update % 7 == 6 { built } else { next };
        next.shrink(bytes_max);
        versions.push((next, state));
        if versions.len() > 6 {
            // Not always the oldest: a version in the middle must go without what the others reach.
            versions.remove(rng.random_range(0..versions.len()));
        }
        if update % 10 == 9 {
            versions = vec![versions.swap_remove(rng.random_range(0..versions.len()))];
        }
        assert_reached(&versions, &format!("seed={seed} update={update}"));
    }
}

#[test]
fn every_update_of_small_tries_gives_the_root_of_a_full_rebuild() {
    (0..600).for_each(|seed| run(seed, 40, 12));
}

#[test]
fn every_update_of_larger_tries_gives_the_root_of_a_full_rebuild() {
    (0..20).for_each(|seed| run(3 + seed * SPREADS + seed % 2, 8, 6_000));
}

#[test]
fn an_update_beyond_the_merge_limit_gives_the_same_root() {
    let mut rng = StdRng::seed_from_u64(7);
    let state: State = (0..MERGE_CHANGES_MAX + 5_000).map(|_| (key(&mut rng, 4), vec![rng.random(); 70])).collect();
    let changes: Vec<Change> =
        state.iter().map(|(key, value)| Change { key: *key, value: Some(value.clone()) }).collect();
    let trie = Trie::default().update(&State::new(), &changes, Hashing::Widest).unwrap();
    assert_eq!(trie.root(), full_root(&state));
    let gone: Vec<Change> = changes.into_iter().map(|change| Change { value: None, ..change }).collect();
    let empty = trie.update(&state, &gone, Hashing::Widest).unwrap();
    assert_eq!((empty.root(), empty.leaves()), (EMPTY_ROOT_HASH, 0));
}

#[test]
fn proofs_of_present_and_absent_keys_verify_and_equal_those_of_the_oracle() {
    for seed in 0..60 {
        let mut rng = StdRng::seed_from_u64(seed);
        let spread = seed % SPREADS;
        let mut state = State::new();
        let size = rng.random_range(0..60);
        let changes = changes(&mut rng, &mut state, spread, size);
        let trie = Trie::default().update(&State::new(), &changes, Hashing::Widest).unwrap();
        let mut oracle = eth_trie(&state);
        let root = B256::new(oracle.root_hash().unwrap().0);
        assert_eq!(trie.root(), root);
        let absent: Vec<B256> = (0..40).map(|_| key(&mut rng, spread)).collect();
        for key in state.keys().chain(&absent) {
            let nodes = trie.proof(&state, key).unwrap();
            verify_proof(root, Nibbles::unpack(key), state.get(key).cloned(), &nodes).unwrap();
            let hashes: Vec<Vec<u8>> = oracle.get_proof(key.as_slice()).unwrap();
            let listed: Vec<&[u8]> = hashes.iter().map(Vec::as_slice).filter(|node| node.len() >= 32).collect();
            let ours: Vec<&[u8]> = nodes.iter().map(AsRef::as_ref).filter(|node: &&[u8]| node.len() >= 32).collect();
            assert_eq!(ours, listed, "seed={seed} key={key}");
            let wrong = Some(vec![0x77; 3]);
            assert!(verify_proof(root, Nibbles::unpack(key), wrong, &nodes).is_err(), "a wrong value verifies");
        }
    }
}

#[test]
fn a_value_that_the_store_lost_is_an_error_and_not_a_root() {
    let one = Change { key: B256::repeat_byte(0x11), value: Some(vec![1; 40]) };
    let two = Change { key: B256::repeat_byte(0x12), value: Some(vec![2; 40]) };
    let trie = Trie::default().update(&State::new(), &[one], Hashing::Widest).unwrap();
    let error = trie.update(&State::new(), &[two], Hashing::Widest).unwrap_err();
    assert!(matches!(error, Error::Corrupt(crate::Corruption::Missing { .. })), "{error}");
}

#[test]
fn an_update_or_proof_that_needs_what_is_out_of_memory_fails_if_the_values_are_others() {
    let mut rng = StdRng::seed_from_u64(11);
    let state: State = (0..2_000).map(|_| (key(&mut rng, 4), vec![rng.random(); 70])).collect();
    let trie = Trie::build(leaves_of(&state), 0, Hashing::Widest).unwrap();
    let whole = Trie::build(leaves_of(&state), u64::MAX, Hashing::Widest).unwrap();
    assert!(trie.bytes() * 4 < whole.bytes(), "{} of {} bytes are left", trie.bytes(), whole.bytes());
    let (changed, other) = (*state.keys().next().unwrap(), *state.keys().nth(1).unwrap());
    let change = Change { key: changed, value: Some(vec![7; 70]) };
    let mut want = state.clone();
    apply(&mut want, [&change].into_iter());
    assert_eq!(trie.update(&state, slice::from_ref(&change), Hashing::Widest).unwrap().root(), full_root(&want));
    for damage in [None, Some(vec![9; 70])] {
        let mut damaged = state.clone();
        let damage = Change { key: other, value: damage };
        apply(&mut damaged, [&damage].into_iter());
        let errors = [
            trie.update(&damaged, slice::from_ref(&change), Hashing::Widest).unwrap_err(),
            trie.proof(&damaged, &changed).unwrap_err(),
        ];
        for error in errors {
            let subtree = matches!(error, Error::Corrupt(crate::Corruption::Subtree { table: "test", .. }));
            assert!(subtree, "{error}");
        }
    }
}

/// The leaves of a state, as a build takes them.
fn leaves_of(state: &State) -> impl Iterator<Item = Result<(B256, impl FnOnce(&mut Vec<u8>)), Error>> {
    state.iter().map(|(key, value)| Ok((*key, |out: &mut Vec<u8>| out.extend_from_slice(value))))
}

#[test]
fn branches_beyond_the_bound_leave_memory_while_updates_go_on() {
    let mut rng = StdRng::seed_from_u64(12);
    let mut state: State = (0..20_000).map(|_| (key(&mut rng, 4), vec![rng.random(); 70])).collect();
    let mut trie = Trie::build(leaves_of(&state), u64::MAX, Hashing::Widest).unwrap();
    let bytes_max = trie.bytes() / 3;
    for round in 0..60 {
        let old = state.clone();
        let changes = changes(&mut rng, &mut state, 4, 50);
        trie = trie.update(&old, &changes, Hashing::Widest).unwrap();
        trie.shrink(bytes_max);
        if round % 10 == 9 {
            assert_eq!(trie.root(), full_root(&state), "round={round}");
            assert!(trie.bytes() <= bytes_max, "round={round} bytes={} max={bytes_max}", trie.bytes());
        }
    }
}

#[test]
fn nothing_leaves_memory_that_an_update_under_way_has_copied() {
    let mut rng = StdRng::seed_from_u64(13);
    let state: State = (0..3_000).map(|_| (key(&mut rng, 4), vec![rng.random(); 70])).collect();
    for round in 0..60 {
        let trie = Trie::build(leaves_of(&state), u64::MAX, Hashing::Widest).unwrap();
        let mut new = state.clone();
        let first = changes(&mut rng, &mut new, 4, 200);
        let next = std::thread::scope(|scope| {
            let shrunk = scope.spawn(|| (0..50).for_each(|_| trie.shrink(0)));
            let next = trie.update(&state, &first, Hashing::Widest).unwrap();
            shrunk.join().unwrap();
            next
        });
        assert_eq!(next.root(), full_root(&new), "round={round}");
        let versions = [(trie, state.clone()), (next, new.clone())];
        assert_reached(&versions, &format!("round={round}"));
        let [_, (next, _)] = versions;
        let old = new.clone();
        let second = changes(&mut rng, &mut new, 4, 600);
        assert_eq!(next.update(&old, &second, Hashing::Widest).unwrap().root(), full_root(&new), "round={round}");
    }
}

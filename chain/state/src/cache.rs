//! Two bounded caches before the flat tables: single values, and storage tries.
//!
//! # Design
//! A cached value says since which height it has been the newest. A state at that height or later, but not after the
//! newest committed one, may use it; an older state reads the tables. So one cache serves all states and none is torn:
//! [`ValueCache::advance`] runs before the state of a new block can be seen, and a value read for an older state is
//! not taken in.
//! Storage tries are kept by (hashed address, root): equal roots are equal tries, whatever the height.

use crate::trie::Trie;
use alloy_primitives::{B256, map::HashMap};
use std::{
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Locks that readers of different keys spread over: well above the number of cores of a validator.
const SHARDS: usize = 16;
/// Bytes that a cached value takes, with its key and its share of the table, for the bound in bytes.
const VALUE_BYTES: u64 = 224;
/// Bytes for one entry in each generation of each shard.
const TURN_BYTES: u64 = VALUE_BYTES * 2 * SHARDS as u64;
/// Bytes that a leaf of a cached trie takes: 1.35 child entries and 0.35 branches, as measured over random keys.
const LEAF_BYTES: u64 = 144;
/// Bytes that a cached trie takes beside its leaves.
const TRIE_BYTES: u64 = 256;

/// Locks even if a holder panicked: every critical section here leaves the map usable at each step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A key whose last byte is that of a hash.
pub(crate) trait CacheKey: Hash + Eq + Copy {
    /// Any byte that is spread evenly.
    fn spread(&self) -> u8;
}

impl CacheKey for B256 {
    fn spread(&self) -> u8 {
        self[31]
    }
}

impl CacheKey for (B256, B256) {
    fn spread(&self) -> u8 {
        self.1[31] ^ self.0[31]
    }
}

struct Entry<V> {
    /// First height from which the value has not changed, as far as known.
    since: u64,
    value: V,
}

struct Shard<K, V> {
    /// Height of the newest committed state; `None` until the store is open.
    head: Option<u64>,
    /// Used since the last turn.
    hot: HashMap<K, Entry<V>>,
    /// Used before it; dropped at the next turn.
    cold: HashMap<K, Entry<V>>,
}

/// Values of the newest committed state.
pub(crate) struct ValueCache<K, V> {
    shards: Vec<Mutex<Shard<K, V>>>,
    /// Entries that `hot` holds before it becomes `cold`.
    turn: usize,
}

impl<K: CacheKey, V: Clone> ValueCache<K, V> {
    /// A cache of about this many bytes.
    pub(crate) fn new(bytes: u64) -> Self {
        let turn = bytes / TURN_BYTES;
        let shard = || Mutex::new(Shard { head: None, hot: HashMap::default(), cold: HashMap::default() });
        Self { shards: (0..SHARDS).map(|_| shard()).collect(), turn: usize::try_from(turn).unwrap_or(usize::MAX) }
    }

    fn shard(&self, key: &K) -> MutexGuard<'_, Shard<K, V>> {
        let index = usize::from(key.spread()) % SHARDS;
        lock(self.shards.get(index).expect("invariant: the index is below the number of shards"))
    }

    /// The value of a key in the state after block `number`, if it is here.
    pub(crate) fn get(&self, key: &K, number: u64) -> Option<V> {
        let mut shard = self.shard(key);
        if let Some(entry) = shard.hot.get(key) {
            return (entry.since <= number).then(|| entry.value.clone());
        }
        let entry = shard.cold.remove(key)?;
        let value = (entry.since <= number).then(|| entry.value.clone());
        self.insert(&mut shard, *key, entry);
        value
    }

    /// Takes in what the tables say about a key in the state after block `number`, if that is the newest state.
    pub(crate) fn fill(&self, key: &K, number: u64, value: V) {
        let mut shard = self.shard(key);
        if shard.head == Some(number) {
            self.insert(&mut shard, *key, Entry { since: number, value });
        }
    }

    /// Moves to the state after block `number`: the keys for which `stale` holds are forgotten, `changes` are taken in.
    ///
    /// The order matters: once the heights have moved, no reader of the old state can bring a stale value back.
    pub(crate) fn advance(
        &self,
        number: u64,
        stale: Option<&dyn Fn(&K) -> bool>,
        changes: impl Iterator<Item = (K, V)>,
    ) {
        for shard in &self.shards {
            let mut shard = lock(shard);
            shard.head = Some(number);
            if let Some(stale) = stale {
                shard.hot.retain(|key, _| !stale(key));
                shard.cold.retain(|key, _| !stale(key));
            }
        }
        for (key, value) in changes {
            let mut shard = self.shard(&key);
            shard.cold.remove(&key);
            self.insert(&mut shard, key, Entry { since: number, value });
        }
    }

    fn insert(&self, shard: &mut Shard<K, V>, key: K, entry: Entry<V>) {
        if shard.hot.len() >= self.turn {
            shard.cold = std::mem::take(&mut shard.hot);
        }
        if self.turn > 0 {
            shard.hot.insert(key, entry);
        }
    }
}

struct Kept {
    trie: Trie,
    used: u64,
}

#[derive(Default)]
struct Tries {
    kept: HashMap<(B256, B256), Kept>,
    bytes: u64,
    clock: u64,
}

/// Storage tries that were used last.
pub(crate) struct TrieCache {
    tries: Mutex<Tries>,
    bytes_max: u64,
}

impl TrieCache {
    /// A cache of about this many bytes. A single trie may be larger: then it is kept alone.
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self { tries: Mutex::default(), bytes_max }
    }

    /// The storage trie of a hashed address with this root.
    pub(crate) fn get(&self, address: B256, root: B256) -> Option<Trie> {
        let mut tries = lock(&self.tries);
        tries.clock = tries.clock.saturating_add(1);
        let clock = tries.clock;
        let kept = tries.kept.get_mut(&(address, root))?;
        kept.used = clock;
        Some(kept.trie.clone())
    }

    /// Takes in a trie and drops the least recently used ones above the bound.
    pub(crate) fn insert(&self, address: B256, trie: Trie) {
        let mut tries = lock(&self.tries);
        tries.clock = tries.clock.saturating_add(1);
        let used = tries.clock;
        tries.bytes = tries.bytes.saturating_add(trie_bytes(&trie));
        if let Some(old) = tries.kept.insert((address, trie.root()), Kept { trie, used }) {
            tries.bytes = tries.bytes.saturating_sub(trie_bytes(&old.trie));
        }
        if tries.bytes > self.bytes_max {
            tries.shrink(self.bytes_max / 2);
        }
    }
}

impl Tries {
    /// Drops the oldest until `bytes` are left, or one trie.
    fn shrink(&mut self, bytes: u64) {
        let mut order: Vec<_> = self.kept.iter().map(|(key, kept)| (kept.used, *key)).collect();
        order.sort_unstable();
        // The newest is what somebody is working with.
        order.pop();
        for (_, key) in order {
            if self.bytes <= bytes {
                break;
            }
            if let Some(old) = self.kept.remove(&key) {
                self.bytes = self.bytes.saturating_sub(trie_bytes(&old.trie));
            }
        }
    }
}

const fn trie_bytes(trie: &Trie) -> u64 {
    trie.leaves().saturating_mul(LEAF_BYTES).saturating_add(TRIE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{keccak::Hashing, trie::Change};
    use std::collections::BTreeMap;

    fn key(byte: u8) -> B256 {
        B256::repeat_byte(byte)
    }

    #[test]
    fn an_older_state_never_gets_a_newer_value() {
        let cache = ValueCache::<B256, u32>::new(1 << 20);
        cache.fill(&key(1), 0, 99);
        assert_eq!(cache.get(&key(1), 0), None, "nothing is taken in before the store is open");
        cache.advance(5, None, std::iter::empty());
        cache.fill(&key(1), 5, 10);
        cache.fill(&key(2), 4, 20);
        assert_eq!(cache.get(&key(1), 5), Some(10));
        assert_eq!(cache.get(&key(1), 4), None);
        assert_eq!(cache.get(&key(2), 5), None, "read for an older state");
        cache.advance(6, None, [(key(1), 11)].into_iter());
        assert_eq!(cache.get(&key(1), 6), Some(11));
        assert_eq!(cache.get(&key(1), 5), None);
        cache.fill(&key(1), 5, 10);
        assert_eq!(cache.get(&key(1), 6), Some(11), "a late reader of an older state changes nothing");
    }

    #[test]
    fn forgotten_keys_are_gone_and_cannot_come_back_from_an_older_state() {
        let cache = ValueCache::<B256, u32>::new(1 << 20);
        cache.advance(1, None, [(key(1), 1), (key(2), 2)].into_iter());
        cache.advance(2, Some(&|stale: &B256| *stale == key(1)), std::iter::empty());
        cache.fill(&key(1), 1, 1);
        assert_eq!((cache.get(&key(1), 2), cache.get(&key(2), 2)), (None, Some(2)));
    }

    #[test]
    fn the_cache_stays_within_its_bound_and_keeps_what_is_used() {
        let bytes = VALUE_BYTES * 2 * SHARDS as u64 * 8;
        let cache = ValueCache::<B256, u32>::new(bytes);
        cache.advance(0, None, std::iter::empty());
        for number in 0..10_000_u32 {
            cache.fill(&alloy_primitives::keccak256(number.to_be_bytes()), 0, number);
            cache.fill(&key(7), 0, 7);
        }
        let count = |shard: &Shard<B256, u32>| shard.hot.len().saturating_add(shard.cold.len());
        let held: usize = cache.shards.iter().map(|shard| count(&lock(shard))).sum();
        assert!(held <= 2 * SHARDS * 8, "held={held}");
        assert_eq!(cache.get(&key(7), 0), Some(7));
    }

    #[test]
    fn a_cache_of_no_bytes_holds_nothing() {
        let cache = ValueCache::<B256, u32>::new(0);
        cache.advance(0, None, [(key(1), 1)].into_iter());
        cache.fill(&key(2), 0, 2);
        assert_eq!((cache.get(&key(1), 0), cache.get(&key(2), 0)), (None, None));
    }

    #[test]
    fn the_least_recently_used_trie_goes_first() {
        let trie = |byte: u8| {
            let change = Change { key: key(byte), value: Some(vec![byte]) };
            Trie::default().update(&BTreeMap::new(), &[change], Hashing::Widest).unwrap_or_default()
        };
        let cache = TrieCache::new(3 * (LEAF_BYTES + TRIE_BYTES));
        (1..=3).for_each(|byte| cache.insert(key(byte), trie(byte)));
        assert!(cache.get(key(1), trie(1).root()).is_some());
        cache.insert(key(4), trie(4));
        assert!(cache.get(key(2), trie(2).root()).is_none());
        assert!(cache.get(key(4), trie(4).root()).is_some());
    }
}

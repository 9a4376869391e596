//! A state that is exported and loaded is the state, at every height; whatever is not is never opened.

use crate::model::{Model, Step, changes, genesis};
use keystead_state::{
    Chunk, Corruption, Error, History, Load, LoadEnd, LoadError, LoadPlan, Options, Section, Store, verify,
};
use keystead_types::{B256, ChangeSet, Genesis};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use std::{collections::BTreeSet, path::Path};

/// More than the headers that a snapshot holds.
const BLOCKS: u64 = 300;
/// Headers below the block.
const HEADERS: u64 = 255;

fn options(recent_states: usize) -> Options {
    // Too little for the whole trie: parts of it leave memory.
    let (cache_bytes, trie_bytes, history) = (1 << 20, 4_000, History::Archive);
    Options { cache_bytes, trie_bytes, recent_states, history, segment_blocks: 50, ..Options::default() }
}

/// A chain, with what is needed to make its blocks again.
struct Source {
    store: Store,
    genesis: Genesis,
    models: Vec<Model>,
    made: Vec<(ChangeSet, u64)>,
    _dir: tempfile::TempDir,
}

fn source(seed: u64) -> Source {
    let mut rng = StdRng::seed_from_u64(seed);
    let dir = tempfile::tempdir().unwrap();
    let genesis = genesis(seed);
    let store = Store::open(dir.path(), &genesis, options(rng.random_range(1..6))).unwrap();
    let mut head = Step::head(&store, Model::of(&genesis));
    let (mut models, mut made) = (vec![head.model.clone()], Vec::new());
    for _ in 0..BLOCKS {
        let (changes, salt) = (changes(&mut rng, 8), rng.random_range(0..4));
        head = head.child(&changes, salt);
        store.commit(head.commit()).unwrap();
        if rng.random_range(0..3) == 0 {
            store.upkeep().unwrap();
        }
        models.push(head.model.clone());
        made.push((changes, salt));
    }
    Source { store, genesis, models, made, _dir: dir }
}

impl Source {
    fn chunks(&self, number: u64) -> Vec<Chunk> {
        self.store.export(number).unwrap().unwrap().collect::<Result<_, _>>().unwrap()
    }

    fn plan(&self, id: u8) -> LoadPlan<'_> {
        LoadPlan { id: B256::repeat_byte(id), genesis: &self.genesis, genesis_hash: self.store.genesis().hash() }
    }

    fn end(&self, number: u64) -> LoadEnd {
        let header = |number| self.store.header(number).unwrap().unwrap();
        let block = self.store.block(number).unwrap().unwrap();
        let certificate = |view, block_hash| {
            let (epoch, parent_view, signature) = (0, view - 1, [7; 48]);
            keystead_types::Certificate { epoch, view, parent_view, block_hash, signature }
        };
        let origin: Vec<_> = (1..=number.min(2)).map(header).collect();
        LoadEnd {
            certificate: certificate(number, block.hash()),
            senders: self.store.senders(number).unwrap().unwrap().to_vec(),
            receipts: self.store.receipts(number).unwrap().unwrap().to_vec(),
            block,
            headers: (number.saturating_sub(HEADERS).max(1)..number).map(header).collect(),
            origin: (origin.clone(), certificate(2, origin.last().unwrap().hash_slow())),
        }
    }

    /// Loads the state after a block into a folder.
    fn load(&self, number: u64, dir: &Path) -> Result<(), LoadError> {
        self.load_chunks(number, dir, &self.chunks(number))
    }

    fn load_chunks(&self, number: u64, dir: &Path, chunks: &[Chunk]) -> Result<(), LoadError> {
        let mut load = Load::open(dir, self.plan(1))?;
        for (chunk, index) in chunks.iter().zip(0..) {
            load.put(index, chunk)?;
        }
        load.finish(&self.end(number), &mut |_| {})
    }

    /// The state after a block, without code that no account names: a snapshot does not have it.
    fn named(&self, number: u64) -> Model {
        let mut model = self.models[number as usize].clone();
        let named: BTreeSet<B256> = model.accounts.values().map(|(account, _)| account.code_hash).collect();
        model.code.retain(|hash, _| named.contains(hash));
        model
    }

    fn open(&self, dir: &Path) -> Result<Store, Error> {
        Store::open_early(dir, &self.genesis, options(3))
    }
}

#[test]
fn a_store_that_began_with_a_snapshot_goes_on_as_the_one_it_came_from_slow() {
    let source = source(11);
    let mut rng = StdRng::seed_from_u64(12);
    for number in [1, 2, 40, 256, 257, 290, BLOCKS] {
        let dir = tempfile::tempdir().unwrap();
        source.load(number, dir.path()).unwrap();
        let store = source.open(dir.path()).unwrap();
        let block = source.store.block(number).unwrap().unwrap();
        assert_eq!((store.head().number, store.head().hash), (number, block.hash()));
        let model = source.named(number);
        model.compare(&store.latest()).unwrap();
        model.prove(&store.latest(), &mut rng);
        assert_eq!(store.block(number).unwrap().unwrap(), block);
        assert_eq!(store.receipts(number).unwrap(), source.store.receipts(number).unwrap());
        assert_eq!((store.oldest_state(), store.oldest_block()), (number, number));
        // The same blocks on top give the same hashes, and the state has a history from there on.
        let mut head = Step::head(&store, model);
        for (changes, salt) in &source.made[number as usize..] {
            head = head.child(changes, *salt);
            store.commit(head.commit()).unwrap();
            store.upkeep().unwrap();
            assert_eq!(Some(head.block.hash()), source.store.block(head.block.number()).unwrap().map(|it| it.hash()));
        }
        drop(head);
        drop(store);
        let store = source.open(dir.path()).unwrap();
        assert_eq!(store.head(), source.store.head());
        for at in [number, number.midpoint(BLOCKS), BLOCKS] {
            source.named(at).compare(&store.at(at).unwrap().unwrap()).unwrap();
        }
        drop(store);
        let verified = verify(dir.path(), &source.genesis, &mut |_| {}).unwrap();
        assert_eq!(verified.findings.iter().map(ToString::to_string).collect::<Vec<_>>(), [""; 0], "number={number}");
    }
}

#[test]
fn what_lies_below_a_snapshot_is_said_to_be_gone_not_missing() {
    let source = source(13);
    let dir = tempfile::tempdir().unwrap();
    source.load(BLOCKS, dir.path()).unwrap();
    let store = source.open(dir.path()).unwrap();
    let base = BLOCKS - HEADERS;
    assert_eq!(store.oldest_header(), base);
    assert_eq!(store.header(base).unwrap(), source.store.header(base).unwrap());
    let pruned = |result: Result<(), Error>| matches!(result, Err(Error::Pruned { .. }));
    assert!(pruned(store.header(base - 1).map(|_| ())));
    assert!(pruned(store.block(BLOCKS - 1).map(|_| ())));
    assert!(pruned(store.receipts(3).map(|_| ())));
    assert!(pruned(store.logs(&keystead_state::LogQuery::default(), 3..=BLOCKS, 10).map(|_| ())));
    assert!(store.at(BLOCKS - 1).unwrap().is_none());
    assert_eq!(store.genesis(), source.store.genesis());
    assert_eq!(store.block(0).unwrap(), source.store.block(0).unwrap());
    // What binds the genesis stays, so the next snapshot has it, too.
    assert_eq!(store.header(1).unwrap(), source.store.header(1).unwrap());
    assert_eq!(store.certificate_at_or_above(1).unwrap().unwrap().0, 2);
    assert_eq!(store.number_of(&store.header(base).unwrap().unwrap().hash_slow()).unwrap(), Some(base));
}

#[test]
fn a_load_that_is_cut_off_goes_on_with_the_next_chunk_and_is_no_store_meanwhile() {
    let source = source(14);
    let dir = tempfile::tempdir().unwrap();
    let chunks = source.chunks(BLOCKS);
    assert!(chunks.len() >= 3, "a section each: {chunks:?}");
    let mut load = Load::open(dir.path(), source.plan(1)).unwrap();
    load.put(0, &chunks[0]).unwrap();
    let error = load.put(0, &chunks[0]).unwrap_err();
    assert!(matches!(error, LoadError::Order { got: 0, want: 1 }), "{error}");
    drop(load);
    assert!(matches!(source.open(dir.path()), Err(Error::HalfLoaded { .. })));
    let error = Load::open(dir.path(), source.plan(2)).unwrap_err();
    assert!(matches!(error, LoadError::OtherPlan { next: 1, .. }), "{error}");
    let mut load = Load::open(dir.path(), source.plan(1)).unwrap();
    assert_eq!(load.next(), 1);
    for (chunk, index) in chunks.iter().zip(0..).skip(1) {
        load.put(index, chunk).unwrap();
    }
    drop(load);
    let load = Load::open(dir.path(), source.plan(1)).unwrap();
    assert_eq!(load.next(), chunks.len() as u64);
    load.finish(&source.end(BLOCKS), &mut |_| {}).unwrap();
    let error = Load::open(dir.path(), source.plan(1)).unwrap_err();
    assert!(matches!(error, LoadError::Exists { .. }), "{error}");
    source.named(BLOCKS).compare(&source.open(dir.path()).unwrap().latest()).unwrap();
}

/// A chunk with other entries.
fn packed(chunk: &Chunk, raw: &[u8]) -> Chunk {
    let packed = zstd::bulk::compress(raw, 1).unwrap();
    Chunk { raw_bytes: raw.len() as u64, packed, ..chunk.clone() }
}

fn raw(chunk: &Chunk) -> Vec<u8> {
    zstd::bulk::decompress(&chunk.packed, chunk.raw_bytes as usize).unwrap()
}

#[test]
fn a_false_state_is_refused_by_its_root_whatever_is_false() {
    let source = source(15);
    let good = source.chunks(BLOCKS);
    let refuse = |chunks: &[Chunk]| {
        let dir = tempfile::tempdir().unwrap();
        let error = source.load_chunks(BLOCKS, dir.path(), chunks).unwrap_err();
        assert!(matches!(source.open(dir.path()), Err(Error::HalfLoaded { .. })), "never a store");
        error
    };
    for (index, chunk) in good.iter().enumerate() {
        // The last byte of a section is the end of a balance, a hash, a value or a code.
        let mut bytes = raw(chunk);
        *bytes.last_mut().unwrap() ^= 1;
        let mut chunks = good.clone();
        chunks[index] = packed(chunk, &bytes);
        let error = refuse(&chunks);
        assert!(matches!(error, LoadError::State { number: BLOCKS, .. }), "{:?}: {error}", chunk.section);
        let mut chunks = good.clone();
        chunks.remove(index);
        let error = refuse(&chunks);
        assert!(matches!(error, LoadError::State { .. }), "left out {:?}: {error}", chunk.section);
    }
    // A slot of an account that is not there.
    let mut chunks = good.clone();
    let at = good.iter().position(|chunk| chunk.section == Section::Storage).unwrap();
    let mut bytes = vec![0; 64];
    bytes.extend([1, 9]);
    bytes.extend(raw(&good[at]));
    chunks[at] = Chunk { entries: good[at].entries + 1, ..packed(&good[at], &bytes) };
    let error = refuse(&chunks);
    let LoadError::State { finding, .. } = error else { panic!("{error}") };
    assert!(matches!(*finding, Corruption::Record { table: "storage", .. }), "{finding}");
    // The state of another block.
    let error = refuse(&source.chunks(BLOCKS - 1));
    assert!(matches!(error, LoadError::State { .. }), "{error}");
}

#[test]
fn a_malformed_chunk_is_named_and_changes_nothing() {
    let source = source(16);
    let dir = tempfile::tempdir().unwrap();
    let good = source.chunks(BLOCKS);
    let mut load = Load::open(dir.path(), source.plan(1)).unwrap();
    let first = &good[0];
    let bytes = raw(first);
    let entry = 33 + usize::from(bytes[32]);
    let swapped = [&bytes[entry..], &bytes[..entry]].concat();
    let mut long = bytes.clone();
    long[32] = 255;
    let bad = [
        Chunk { packed: first.packed[..first.packed.len() - 1].to_vec(), ..first.clone() },
        Chunk { packed: vec![1, 2, 3], ..first.clone() },
        Chunk { raw_bytes: first.raw_bytes + 1, ..first.clone() },
        Chunk { entries: first.entries + 1, ..first.clone() },
        Chunk { section: Section::Storage, ..first.clone() },
        packed(first, &bytes[..bytes.len() - 1]),
        packed(first, &swapped),
        packed(first, &long),
        packed(first, &vec![0; 5 * 1024 * 1024]),
    ];
    for (chunk, case) in bad.iter().zip(0..) {
        let error = load.put(0, chunk).unwrap_err();
        assert!(matches!(error, LoadError::Chunk { index: 0, .. }), "{case}: {error}");
        assert_eq!(load.next(), 0);
    }
    for (chunk, index) in good.iter().zip(0..) {
        load.put(index, chunk).unwrap();
    }
    load.finish(&source.end(BLOCKS), &mut |_| {}).unwrap();
}

#[test]
fn a_genesis_that_the_chain_did_not_begin_with_is_refused_at_once() {
    let source = source(17);
    let dir = tempfile::tempdir().unwrap();
    let other = genesis(18);
    let plan = LoadPlan { genesis: &other, ..source.plan(1) };
    let error = Load::open(dir.path(), plan).unwrap_err();
    assert!(matches!(error, LoadError::Genesis { .. }), "{error}");
}

#[test]
fn chunks_are_bounded_and_hold_each_key_once_in_order() {
    let source = source(19);
    for number in [3, BLOCKS - 100, BLOCKS] {
        let chunks = source.chunks(number);
        let sections: Vec<Section> = chunks.iter().map(|chunk| chunk.section).collect();
        assert!(sections.is_sorted() && sections.contains(&Section::Accounts));
        let accounts: u64 = chunks.iter().filter(|it| it.section == Section::Accounts).map(|it| it.entries).sum();
        assert_eq!(accounts, source.models[number as usize].accounts.len() as u64);
        let slots: u64 = chunks.iter().filter(|it| it.section == Section::Storage).map(|it| it.entries).sum();
        let want: usize = source.models[number as usize].accounts.values().map(|(_, storage)| storage.len()).sum();
        assert_eq!(slots, want as u64);
    }
    assert!(source.store.export(BLOCKS + 1).unwrap().is_none());
}

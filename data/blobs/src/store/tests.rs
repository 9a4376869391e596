//! Rules that every store keeps, checked on both, and those that only a folder has.
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]

use std::{fs, path::Path};

use tempfile::TempDir;

use super::*;
use crate::outline::GROUP_BYTES;

const CAPACITY: Capacity = Capacity { blob_bytes_max: 1 << 20, total_bytes_max: 2 << 20 };

fn sample(size: usize) -> Vec<u8> {
    (0..size).map(|i| (i * 7 + i / 253) as u8).collect()
}

fn disk(folder: &Path) -> DiskStore {
    DiskStore::open(folder, CAPACITY, Durability::Synced).unwrap()
}

/// Runs a rule on a store in memory and on a store on disk; `used` reads the account.
fn on_both(rule: impl Fn(&dyn BlobStore, &dyn Fn() -> u64)) {
    let memory = MemoryStore::new(CAPACITY);
    rule(&memory, &|| memory.used_bytes());
    let folder = TempDir::new().unwrap();
    let disk = disk(folder.path());
    rule(&disk, &|| disk.used_bytes());
}

fn receive(store: &dyn BlobStore, bytes: &[u8]) -> Result<(), StoreError> {
    let mut part = store.receive(Hash::of(bytes))?;
    part.start(Outline::of(bytes))?;
    let offset = part.offset() as usize;
    part.append(&bytes[offset..])?;
    part.finish()
}

fn files(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        names.push(entry.unwrap().file_name().into_string().unwrap());
    }
    names.sort();
    names
}

#[test]
fn what_was_put_is_read_sized_opened_and_deleted() {
    on_both(|store, used| {
        for size in [0, 1, GROUP_BYTES, GROUP_BYTES + 1, 1 << 20] {
            let bytes = sample(size);
            let hash = store.put(&bytes).unwrap();
            assert_eq!(hash, Hash::of(&bytes));
            assert_eq!(store.put(&bytes).unwrap(), hash);
            assert_eq!(used(), size as u64);
            assert!(store.has(hash).unwrap());
            assert_eq!(store.size(hash).unwrap(), Some(size as u64));
            assert_eq!(store.get(hash, size as u64).unwrap(), bytes);
            let mut source = store.open(hash).unwrap();
            let mut read = Vec::new();
            for index in 0..source.outline().group_count() {
                source.read_group(index, &mut read).unwrap();
            }
            assert_eq!(read, bytes);
            assert!(store.delete(hash).unwrap());
            assert!(!store.delete(hash).unwrap());
            assert!(matches!(store.get(hash, 0), Err(StoreError::NotFound { .. })));
            assert!(matches!(store.open(hash), Err(StoreError::NotFound { .. })));
            assert_eq!(used(), 0);
        }
    });
}

#[test]
fn what_is_not_to_stay_is_deleted_and_its_room_is_free() {
    let folder = TempDir::new().unwrap();
    let store = disk(folder.path());
    let [first, second, third] = [1, 20, 300].map(|size| store.put(&sample(size)).unwrap());
    fs::write(folder.path().join("blobs").join("note.txt"), b"a person's").unwrap();
    assert_eq!(store.retain(|hash| hash == second).unwrap(), 2);
    assert_eq!([first, second, third].map(|hash| store.has(hash).unwrap()), [false, true, false]);
    assert_eq!(store.used_bytes(), 20);
    assert_eq!(store.retain(|_| true).unwrap(), 0);
    assert!(folder.path().join("blobs").join("note.txt").exists());
}

#[test]
fn sizes_are_bounded_from_both_sides() {
    on_both(|store, used| {
        let largest = store.put(&sample(1 << 20)).unwrap();
        let error = store.put(&sample((1 << 20) + 1)).unwrap_err();
        assert!(matches!(error, StoreError::TooLarge { got_bytes: 1_048_577, max_bytes: 1_048_576 }));
        assert!(store.get(largest, (1 << 20) - 1).is_err());
        store.put(&vec![1; 1 << 20]).unwrap();
        assert!(matches!(store.put(&[5]), Err(StoreError::Full { need_bytes: 1, free_bytes: 0 })));
        let mut part = store.receive(Hash::of(&[5])).unwrap();
        assert!(matches!(part.start(Outline::of(&[5])), Err(StoreError::Full { .. })));
        drop(part);
        let big = sample((1 << 20) + 1);
        let mut part = store.receive(Hash::of(&big)).unwrap();
        assert!(matches!(part.start(Outline::of(&big)), Err(StoreError::TooLarge { .. })));
        drop(part);
        assert_eq!(used(), 2 << 20);
    });
}

#[test]
fn a_received_blob_appears_whole_and_is_counted_once() {
    on_both(|store, used| {
        for size in [0, 5, GROUP_BYTES, 3 * GROUP_BYTES + 1] {
            let bytes = sample(size);
            receive(store, &bytes).unwrap();
            assert_eq!(store.get(Hash::of(&bytes), size as u64).unwrap(), bytes);
            assert_eq!(used(), size as u64);
            receive(store, &bytes).unwrap();
            assert_eq!(used(), size as u64);
            store.delete(Hash::of(&bytes)).unwrap();
        }
    });
}

#[test]
fn a_wrong_group_is_refused_and_discarding_leaves_nothing() {
    on_both(|store, used| {
        let bytes = sample(3 * GROUP_BYTES);
        let mut part = store.receive(Hash::of(&bytes)).unwrap();
        part.start(Outline::of(&bytes)).unwrap();
        let mut wrong = bytes.clone();
        wrong[GROUP_BYTES] ^= 1;
        assert!(matches!(part.append(&wrong), Err(StoreError::Mismatch { group: 1, .. })));
        assert_eq!(part.offset(), GROUP_BYTES as u64);
        part.discard();
        assert!(!store.has(Hash::of(&bytes)).unwrap());
        assert_eq!(used(), 0);
        assert_eq!(store.receive(Hash::of(&bytes)).unwrap().offset(), 0);
    });
}

#[test]
fn a_part_used_out_of_order_says_so() {
    on_both(|store, used| {
        let bytes = sample(2 * GROUP_BYTES);
        let mut part = store.receive(Hash::of(&bytes)).unwrap();
        assert!(matches!(part.append(&bytes), Err(StoreError::Unordered { .. })));
        assert!(matches!(part.start(Outline::of(b"other")), Err(StoreError::Unordered { .. })));
        part.start(Outline::of(&bytes)).unwrap();
        assert!(matches!(part.start(Outline::of(&bytes)), Err(StoreError::Unordered { .. })));
        assert!(matches!(part.append(&bytes[..100]), Err(StoreError::Mismatch { .. })));
        part.append(&bytes[..GROUP_BYTES]).unwrap();
        assert!(matches!(part.finish(), Err(StoreError::Unordered { .. })));
        assert!(!store.has(Hash::of(&bytes)).unwrap());
        assert!(used() <= GROUP_BYTES as u64);
    });
}

#[test]
fn a_folder_is_reopened_with_its_blobs_and_counts() {
    let folder = TempDir::new().unwrap();
    let bytes = sample(GROUP_BYTES + 3);
    let hash = disk(folder.path()).put(&bytes).unwrap();
    fs::write(folder.path().join("partial/9.tmp"), b"scratch of a crash").unwrap();
    fs::write(folder.path().join("blobs/.note"), b"somebody's file").unwrap();
    let store = disk(folder.path());
    assert_eq!(store.used_bytes(), bytes.len() as u64);
    assert_eq!(store.get(hash, 1 << 20).unwrap(), bytes);
    assert_eq!(fs::read(store.path(hash)).unwrap(), bytes);
    assert!(files(&folder.path().join("partial")).is_empty());
}

#[test]
fn a_folder_serves_one_store_at_a_time() {
    let folder = TempDir::new().unwrap();
    let first = disk(folder.path());
    let second = DiskStore::open(folder.path(), CAPACITY, Durability::Lazy);
    assert!(matches!(second, Err(StoreError::InUse { .. })));
    drop(first);
    assert!(DiskStore::open(folder.path(), CAPACITY, Durability::Lazy).is_ok());
}

/// Damage of every kind: a flipped bit, a cut, an extension.
#[test]
fn a_damaged_blob_is_noticed_removed_and_can_come_again() {
    let folder = TempDir::new().unwrap();
    let store = disk(folder.path());
    let bytes = sample(GROUP_BYTES + 3);
    for damage in [bytes[..9].to_vec(), [bytes.clone(), vec![0]].concat(), vec![0; bytes.len()]] {
        for open in [false, true] {
            let hash = store.put(&bytes).unwrap();
            fs::write(store.path(hash), &damage).unwrap();
            let error = if open { store.open(hash).err().unwrap() } else { store.get(hash, 1 << 20).unwrap_err() };
            assert!(matches!(error, StoreError::Corrupt { .. }));
            assert!(!store.has(hash).unwrap());
        }
    }
    receive(&store, &bytes).unwrap();
    assert_eq!(store.get(Hash::of(&bytes), 1 << 20).unwrap(), bytes);
}

#[test]
fn a_broken_transfer_resumes_after_its_verified_groups() {
    let folder = TempDir::new().unwrap();
    let bytes = sample(5 * GROUP_BYTES + 9);
    let hash = Hash::of(&bytes);
    {
        let store = disk(folder.path());
        let mut part = store.receive(hash).unwrap();
        part.start(Outline::of(&bytes)).unwrap();
        part.append(&bytes[..3 * GROUP_BYTES]).unwrap();
        drop(part);
        assert_eq!(store.used_bytes(), 3 * GROUP_BYTES as u64);
    }
    let store = disk(folder.path());
    assert_eq!(store.used_bytes(), 3 * GROUP_BYTES as u64);
    let part = store.receive(hash).unwrap();
    assert_eq!(part.offset(), 3 * GROUP_BYTES as u64);
    drop(part);
    receive(&store, &bytes).unwrap();
    assert_eq!(store.get(hash, 1 << 20).unwrap(), bytes);
    assert_eq!(store.used_bytes(), bytes.len() as u64);
    assert!(files(&folder.path().join("partial")).is_empty());
}

#[test]
fn a_damaged_part_resumes_only_after_what_still_verifies() {
    let folder = TempDir::new().unwrap();
    let store = disk(folder.path());
    let bytes = sample(4 * GROUP_BYTES);
    let hash = Hash::of(&bytes);
    let begin = || {
        let mut part = store.receive(hash).unwrap();
        part.start(Outline::of(&bytes)).unwrap();
        let offset = part.offset() as usize;
        part.append(&bytes[offset..3 * GROUP_BYTES]).unwrap();
    };
    let data = folder.path().join(format!("partial/{hash}.data"));
    begin();
    let mut damaged = fs::read(&data).unwrap();
    damaged[GROUP_BYTES + 4] ^= 1;
    fs::write(&data, &damaged).unwrap();
    assert_eq!(store.receive(hash).unwrap().offset(), GROUP_BYTES as u64);
    assert_eq!(store.used_bytes(), GROUP_BYTES as u64);
    begin();
    fs::write(folder.path().join(format!("partial/{hash}.outline")), b"not an outline").unwrap();
    assert_eq!(store.receive(hash).unwrap().offset(), 0);
    assert_eq!(store.used_bytes(), 0);
    receive(&store, &bytes).unwrap();
    assert_eq!(store.used_bytes(), bytes.len() as u64);
}

#[test]
fn two_transfers_of_one_blob_do_not_disturb_each_other() {
    let folder = TempDir::new().unwrap();
    let store = disk(folder.path());
    let bytes = sample(3 * GROUP_BYTES);
    let hash = Hash::of(&bytes);
    let mut first = store.receive(hash).unwrap();
    let mut second = store.receive(hash).unwrap();
    first.start(Outline::of(&bytes)).unwrap();
    second.start(Outline::of(&bytes)).unwrap();
    first.append(&bytes[..GROUP_BYTES]).unwrap();
    second.append(&bytes).unwrap();
    first.append(&bytes[GROUP_BYTES..]).unwrap();
    second.finish().unwrap();
    first.finish().unwrap();
    assert_eq!(store.get(hash, 1 << 20).unwrap(), bytes);
    assert_eq!(store.used_bytes(), bytes.len() as u64);
    assert!(files(&folder.path().join("partial")).is_empty());
}

#[test]
fn unfinished_parts_give_way_when_room_is_short() {
    let folder = TempDir::new().unwrap();
    let store = disk(folder.path());
    let unfinished = vec![3; 1 << 20];
    let mut part = store.receive(Hash::of(&unfinished)).unwrap();
    part.start(Outline::of(&unfinished)).unwrap();
    part.append(&unfinished[..8 * GROUP_BYTES]).unwrap();
    drop(part);
    assert_eq!(store.used_bytes(), 8 * GROUP_BYTES as u64);
    store.put(&sample(1 << 20)).unwrap();
    store.put(&vec![1; 1 << 20]).unwrap();
    assert_eq!(store.used_bytes(), 2 << 20);
    assert!(files(&folder.path().join("partial")).is_empty());
}

#[cfg(unix)]
#[test]
fn a_new_folder_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("store");
    let store = disk(&root);
    let hash = store.put(b"private").unwrap();
    for path in [root.as_path(), &root.join("partial"), store.path(hash).parent().unwrap().parent().unwrap()] {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o077, 0, "{}", path.display());
    }
}

fn settled(folder: &Path) -> DiskStore {
    DiskStore::open(folder, CAPACITY, Durability::Settled).unwrap()
}

#[test]
fn what_was_not_settled_is_hashed_at_the_next_start_and_what_a_power_cut_damaged_can_be_put_again() {
    let folder = TempDir::new().unwrap();
    let mark = folder.path().join("unsettled");
    let store = settled(folder.path());
    let old = store.put(&sample(10)).unwrap();
    assert!(mark.exists(), "the mark is there before the blob");
    store.settle().unwrap();
    assert!(!mark.exists());
    let (whole, damaged) = (store.put(&sample(2_000)).unwrap(), store.put(&sample(3_000)).unwrap());
    receive(&store, &sample(4_000)).unwrap();
    let received = Hash::of(&sample(4_000));
    // As after a power cut: the name is there, the bytes are not.
    fs::write(store.path(damaged), [0; 3_000]).unwrap();
    fs::write(store.path(received), []).unwrap();
    drop(store);

    let store = settled(folder.path());
    assert!(!mark.exists());
    assert!(store.has(old).unwrap() && store.has(whole).unwrap());
    assert!(!store.has(damaged).unwrap() && !store.has(received).unwrap());
    assert_eq!(store.used_bytes(), 2_010);
    store.put(&sample(3_000)).unwrap();
    assert_eq!(store.get(damaged, 3_000).unwrap(), sample(3_000));
}

#[test]
fn many_and_few_and_deleted_blobs_settle_and_a_settled_store_trusts_its_names_at_start() {
    let folder = TempDir::new().unwrap();
    let store = settled(folder.path());
    let names: Vec<Hash> = (0..40).map(|number| store.put(&sample(100 + number)).unwrap()).collect();
    store.settle().unwrap();
    let gone = store.put(&sample(5)).unwrap();
    store.delete(gone).unwrap();
    store.put(&sample(6)).unwrap();
    store.settle().unwrap();
    store.settle().unwrap();
    // Nothing says that it was not settled: the name is believed until somebody reads.
    fs::write(store.path(names[0]), b"other").unwrap();
    drop(store);
    let store = settled(folder.path());
    assert!(store.has(names[0]).unwrap());
    assert!(matches!(store.get(names[0], 1_000), Err(StoreError::Corrupt { .. })));
    assert_eq!(store.get(names[39], 1_000).unwrap(), sample(139));
}

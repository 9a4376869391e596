//! The blobs of checks that are under way: fetched for one unit, gone with its check.

use crate::compute::{files, stores::Stores, windows::Which};
use alloy_primitives::B256;
use eyre::{Context as _, Result};
use keystead_blobs::{BLOB_BYTES_MAX, BlobStore, Capacity, DiskStore, Durability, Duty, Hash, Offer, StoreError};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::ErrorKind,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// A store, and which check holds which blob.
#[derive(Debug)]
pub(super) struct Shelf {
    pub(super) store: Arc<dyn BlobStore>,
    held: Mutex<BTreeMap<Which, Held>>,
}

/// What one check holds.
#[derive(Debug, Default)]
struct Held {
    blobs: BTreeSet<Hash>,
    /// What its source said, once everything had come.
    duty: Option<Duty>,
}

impl Shelf {
    /// Begins empty: what a check needs is fetched again after a restart. What it holds counts among `stores`.
    pub(super) fn open(folder: &Path, total_bytes_max: u64, stores: &Stores) -> Result<Self> {
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).wrap_err_with(|| format!("cannot empty {}", folder.display()));
            }
            _ => files::private_folder(folder)?,
        }
        let capacity = Capacity { blob_bytes_max: BLOB_BYTES_MAX, total_bytes_max };
        let store = DiskStore::open(folder, capacity, Durability::default());
        let store = Arc::new(store.wrap_err_with(|| format!("cannot use {}", folder.display()))?);
        stores.add(&store);
        Ok(Self { store, held: Mutex::default() })
    }

    pub(super) fn put(&self, bytes: &[u8]) -> Result<Hash, StoreError> {
        self.store.put(bytes)
    }

    pub(super) fn get(&self, name: B256, bytes_max: u64) -> Result<Vec<u8>, StoreError> {
        self.store.get(Hash::from(name), bytes_max)
    }

    /// Nobody deletes these while the check is under way.
    pub(super) fn hold(&self, which: Which, blobs: impl IntoIterator<Item = Hash>) {
        self.held().entry(which).or_default().blobs.extend(blobs);
    }

    /// Everything that the check needs has come, with what its source said.
    pub(super) fn complete(&self, which: Which, duty: Duty) {
        self.held().entry(which).or_default().duty = Some(duty);
    }

    /// What a check got, for who checks the same after it; `None` if it got nothing, or not since this process began.
    pub(super) fn offer(&self, which: Which) -> Option<Offer> {
        let held = self.held();
        let Held { blobs, duty } = held.get(&which)?;
        Some(Offer { duty: duty.clone()?, blobs: blobs.iter().copied().collect() })
    }

    /// The check is over: what no other check holds goes.
    pub(super) fn release(&self, which: Which) {
        let mut held = self.held();
        let Some(mine) = held.remove(&which) else { return };
        for blob in mine.blobs.into_iter().filter(|blob| !held.values().any(|others| others.blobs.contains(blob))) {
            // Under the lock, so that nobody begins to count on it meanwhile.
            if let Err(error) = self.store.delete(blob) {
                tracing::warn!(%error, "a blob that no check needs stays on disk until the next start");
            }
        }
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<Which, Held>> {
        // No code panics while it holds this lock.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_blob_stays_while_any_check_holds_it_and_a_start_begins_empty() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("blobs");
        let which = |unit| Which { window: B256::ZERO, unit, round: 0, slot: 0 };
        let stores = Stores::default();
        let shelf = Shelf::open(&path, 1 << 20, &stores).unwrap();
        let (common, own) = (shelf.put(b"common").unwrap(), shelf.put(b"own").unwrap());
        assert_eq!(stores.held_bytes(), 9);
        shelf.hold(which(1), [common, own]);
        shelf.hold(which(2), [common]);
        assert!(shelf.offer(which(1)).is_none(), "not everything has come");
        shelf.complete(which(1), Duty { job: vec![7].into(), before: vec![8].into() });
        let offer = shelf.offer(which(1)).unwrap();
        assert_eq!((offer.blobs.len(), &offer.duty.job[..], &offer.duty.before[..]), (2, &[7][..], &[8][..]));
        shelf.release(which(1));
        assert!(shelf.offer(which(1)).is_none());
        assert!(shelf.store.has(common).unwrap() && !shelf.store.has(own).unwrap());
        drop(shelf);
        let again = Shelf::open(&path, 1 << 20, &stores).unwrap();
        assert!(!again.store.has(common).unwrap());
        again.release(which(2));
    }
}

//! The blobs of checks that are under way: fetched for one unit, gone with its check.
//!
//! # Design
//! What one check holds is a file beside the blobs, so that a checker that began anew still gives later ones what it got. It goes with its check.
//!
//! # Invariants
//! Nothing that this machine made itself is offered to anybody.

use super::record::file_of;
use crate::compute::{files, stores::Stores, windows::Which};
use alloy_primitives::{B256, Bytes};
use eyre::{Context as _, Result, ensure};
use keystead_blobs::{BLOB_BYTES_MAX, BlobStore, Capacity, DiskStore, Durability, Duty, Hash, Offer, StoreError};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Version of a file of what a check holds.
const VERSION: u32 = 1;
const BLOBS_FOLDER: &str = "blobs";
const HELD_FOLDER: &str = "held";

/// A store, and which check holds which blob.
#[derive(Debug)]
pub(super) struct Shelf {
    pub(super) store: Arc<dyn BlobStore>,
    /// Of the files of what checks hold.
    folder: PathBuf,
    held: Mutex<BTreeMap<Which, Held>>,
}

/// What one check holds.
#[derive(Clone, Debug, Default)]
struct Held {
    blobs: BTreeSet<Hash>,
    /// What this machine made: kept for itself.
    own: BTreeSet<Hash>,
    /// What its source said, once everything had come.
    duty: Option<Duty>,
}

/// The same in its file: from then on when everything had come.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Kept {
    version: u32,
    which: Which,
    blobs: Vec<B256>,
    own: Vec<B256>,
    job: Bytes,
    before: Bytes,
}

impl Held {
    fn has(&self, blob: Hash) -> bool {
        self.blobs.contains(&blob) || self.own.contains(&blob)
    }

    fn kept(&self, which: Which) -> Option<Kept> {
        let words = |blobs: &BTreeSet<Hash>| blobs.iter().copied().map(B256::from).collect();
        let Duty { job, before } = self.duty.clone()?;
        Some(Kept { version: VERSION, which, blobs: words(&self.blobs), own: words(&self.own), job, before })
    }
}

impl From<Kept> for Held {
    fn from(kept: Kept) -> Self {
        let Kept { blobs, own, job, before, .. } = kept;
        let hashes = |words: Vec<B256>| words.into_iter().map(Hash::from).collect();
        Self { blobs: hashes(blobs), own: hashes(own), duty: Some(Duty { job, before }) }
    }
}

impl Shelf {
    /// Begins with what the checks of an earlier process hold, and deletes everything else. What it holds counts among `stores`.
    pub(super) fn open(folder: &Path, total_bytes_max: u64, stores: &Stores) -> Result<Self> {
        let (blobs, notes) = (folder.join(BLOBS_FOLDER), folder.join(HELD_FOLDER));
        files::private_folder(&notes)?;
        let held = load(&notes)?;
        let capacity = Capacity { blob_bytes_max: BLOB_BYTES_MAX, total_bytes_max };
        let opened = || -> Result<DiskStore, StoreError> {
            let store = DiskStore::open(&blobs, capacity, Durability::default())?;
            store.retain(|blob| held.values().any(|mine: &Held| mine.has(blob)))?;
            store.sweep_partials()?;
            Ok(store)
        };
        let store = Arc::new(opened().wrap_err_with(|| format!("cannot use {}", blobs.display()))?);
        stores.add(&store);
        Ok(Self { store, folder: notes, held: Mutex::new(held) })
    }

    pub(super) fn put(&self, bytes: &[u8]) -> Result<Hash, StoreError> {
        self.store.put(bytes)
    }

    pub(super) fn get(&self, name: B256, bytes_max: u64) -> Result<Vec<u8>, StoreError> {
        self.store.get(Hash::from(name), bytes_max)
    }

    /// The first of these that is not here. What the disk does not tell is not here either: it is fetched again.
    pub(super) fn lacks(&self, blobs: impl IntoIterator<Item = Hash>) -> Option<Hash> {
        blobs.into_iter().find(|blob| !self.store.has(*blob).unwrap_or_default())
    }

    /// Nobody deletes these while the check is under way.
    pub(super) fn hold(&self, which: Which, blobs: impl IntoIterator<Item = Hash>) {
        self.held().entry(which).or_default().blobs.extend(blobs);
    }

    /// As [`Self::hold`], of what this machine made: nobody else gets it.
    pub(super) fn hold_own(&self, which: Which, blob: Hash) {
        self.held().entry(which).or_default().own.insert(blob);
        self.save(which);
    }

    /// Everything that the check needs has come, with what its source said.
    pub(super) fn complete(&self, which: Which, duty: Duty) {
        self.held().entry(which).or_default().duty = Some(duty);
        self.save(which);
    }

    /// Writes down what a check holds, once everything had come. Without the file the blobs go at the next start, which hurts nobody but later checkers.
    fn save(&self, which: Which) {
        let kept = self.held().get(&which).and_then(|mine| mine.kept(which));
        let Some(kept) = kept else { return };
        let written = serde_json::to_vec(&kept).map_err(eyre::Report::from);
        let written = written.and_then(|text| files::replace(&self.folder.join(file_of(which)), &text));
        if let Err(error) = written {
            tracing::warn!(error = format!("{error:#}"), "what a check fetched will be gone after a restart");
        }
    }

    /// What a check got, for who checks the same after it; `None` if it did not get everything.
    pub(super) fn offer(&self, which: Which) -> Option<Offer> {
        let held = self.held();
        let Held { blobs, duty, .. } = held.get(&which)?;
        Some(Offer { duty: duty.clone()?, blobs: blobs.iter().copied().collect() })
    }

    /// Releases what checks hold that are not among these.
    pub(super) fn keep(&self, is_under_way: impl Fn(&Which) -> bool) {
        let over: Vec<Which> = self.held().keys().copied().filter(|which| !is_under_way(which)).collect();
        over.into_iter().for_each(|which| self.release(which));
    }

    /// The check is over: what no other check holds goes.
    pub(super) fn release(&self, which: Which) {
        let mut held = self.held();
        let Some(mine) = held.remove(&which) else { return };
        match fs::remove_file(self.folder.join(file_of(which))) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                tracing::warn!(%error, "what a check that is over held stays on disk until the next start");
            }
            _ => {}
        }
        let is_free = |blob: &Hash| !held.values().any(|others| others.has(*blob));
        for blob in mine.blobs.union(&mine.own).copied().filter(is_free) {
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

/// What checks of an earlier process hold. A file that cannot be read goes: it is needed for nothing but later checkers.
fn load(folder: &Path) -> Result<BTreeMap<Which, Held>> {
    let mut held = BTreeMap::new();
    for entry in fs::read_dir(folder).wrap_err_with(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        match kept(&path) {
            Ok(kept) => drop(held.insert(kept.which, Held::from(kept))),
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "what a check held is forgotten");
                // Best effort: it is looked at again at the next start.
                let _ = fs::remove_file(&path);
            }
        }
    }
    Ok(held)
}

fn kept(path: &Path) -> Result<Kept> {
    let text = files::read(path)?.unwrap_or_default();
    let kept: Kept = serde_json::from_str(&text).wrap_err_with(|| format!("cannot read {}", path.display()))?;
    ensure!(
        kept.version == VERSION && path.file_name().is_some_and(|name| *name == *file_of(kept.which)),
        "{} is another version's, or of another check",
        path.display()
    );
    Ok(kept)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const fn which(unit: u32) -> Which {
        Which { window: B256::ZERO, unit, round: 0, slot: 0 }
    }

    fn duty() -> Duty {
        Duty { job: vec![7].into(), before: vec![8].into() }
    }

    #[test]
    fn a_blob_stays_while_any_check_holds_it_and_goes_with_the_last() {
        let folder = tempfile::tempdir().unwrap();
        let stores = Stores::default();
        let shelf = Shelf::open(folder.path(), 1 << 20, &stores).unwrap();
        let (common, own) = (shelf.put(b"common").unwrap(), shelf.put(b"own").unwrap());
        assert_eq!(stores.held_bytes(), 9);
        shelf.hold(which(1), [common, own]);
        shelf.hold(which(2), [common]);
        assert!(shelf.offer(which(1)).is_none(), "not everything has come");
        shelf.complete(which(1), duty());
        let offer = shelf.offer(which(1)).unwrap();
        assert_eq!((offer.blobs.len(), &offer.duty.job[..], &offer.duty.before[..]), (2, &[7][..], &[8][..]));
        shelf.release(which(1));
        assert!(shelf.offer(which(1)).is_none());
        assert!(shelf.store.has(common).unwrap() && !shelf.store.has(own).unwrap());
        shelf.release(which(2));
        assert_eq!(stores.held_bytes(), 0);
    }

    #[test]
    fn what_a_machine_made_itself_is_kept_and_given_to_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf::open(folder.path(), 1 << 20, &Stores::default()).unwrap();
        let (input, made) = (shelf.put(b"input").unwrap(), shelf.put(b"made").unwrap());
        shelf.hold(which(1), [input]);
        shelf.complete(which(1), duty());
        shelf.hold_own(which(1), made);
        assert_eq!(shelf.offer(which(1)).unwrap().blobs, [input]);
        assert!(shelf.store.has(made).unwrap());
        shelf.release(which(1));
        assert!(!shelf.store.has(made).unwrap(), "it goes with its check");
    }

    #[test]
    fn a_start_keeps_what_had_come_whole_for_checks_that_are_under_way_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let stores = Stores::default();
        let shelf = Shelf::open(folder.path(), 1 << 20, &stores).unwrap();
        let bytes = [&b"input"[..], b"made", b"part", b"over", b"stray"];
        let [input, made, part, over, stray] = bytes.map(|bytes| shelf.put(bytes).unwrap());
        shelf.hold(which(1), [input]);
        shelf.complete(which(1), duty());
        shelf.hold_own(which(1), made);
        shelf.hold(which(2), [part]);
        shelf.hold(which(3), [over]);
        shelf.complete(which(3), duty());
        drop(shelf);
        fs::write(folder.path().join(HELD_FOLDER).join("torn.json"), "{").unwrap();
        let again = Shelf::open(folder.path(), 1 << 20, &stores).unwrap();
        let here = |blob| again.store.has(blob).unwrap();
        assert_eq!([input, made, part, over, stray].map(here), [true, true, false, true, false]);
        // Of a check whose file is gone nobody asks.
        again.keep(|check| *check == which(1));
        assert_eq!([input, made, over].map(here), [true, true, false]);
        let offer = again.offer(which(1)).unwrap();
        // Who runs it once more has what its source said and all that came, and asks nobody.
        assert_eq!((again.lacks([input, made]), again.lacks([input, part, over])), (None, Some(part)));
        assert_eq!((offer.blobs, offer.duty), (vec![input], duty()));
        assert!(again.offer(which(2)).is_none() && again.offer(which(3)).is_none());
        again.release(which(1));
        assert_eq!(fs::read_dir(folder.path().join(HELD_FOLDER)).unwrap().count(), 0);
    }
}

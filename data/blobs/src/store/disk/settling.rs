//! Which blobs are not forced to disk yet, and how all of them are at once.
//!
//! # Design
//! The file `unsettled` is forced to disk before the first of them gets its name, and removed after all of them were forced to disk. Who finds it at start
//! was not settled: everything that was written since is forced to disk, read again from there and hashed, and what is damaged is removed. Removing the
//! file is not forced to disk; one that comes back costs some hashing.
//!
//! # Invariants
//! Once the disk has failed to take something, nothing is believed settled until the next start: Linux tells of a lost write once and takes the pages for
//! written from then on.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

#[cfg(test)]
use self::tests::fault;
use super::{each_blob, failed};
use crate::{
    hash::Hash,
    outline::Outline,
    store::{BLOB_BYTES_MAX, StoreError},
};

/// Blobs that may wait; the next one makes all of them settle.
const WAITING_MAX: usize = 4_096;
/// Up to so many are forced to disk one by one. More are by one order to the file system, which then writes what other programs have left to it as well.
const ONE_BY_ONE_MAX: usize = 16;
/// Blobs that are so much older than the mark are hashed too: the clock may have been set back meanwhile.
const SLACK: Duration = Duration::from_secs(3_600);

/// The blobs that wait.
#[derive(Debug)]
pub(super) struct Settling {
    root: PathBuf,
    /// Locked while they are forced to disk, so that nobody believes it before.
    waiting: Mutex<Vec<PathBuf>>,
    /// The disk has failed to take something.
    lost: AtomicBool,
}

/// The right to name one blob more.
pub(super) struct Begun<'a> {
    waiting: MutexGuard<'a, Vec<PathBuf>>,
}

impl Settling {
    /// Looks whether the last user of the folder had settled, and hashes what may be damaged if not.
    pub(super) fn open(root: &Path) -> Result<Self, StoreError> {
        let this = Self { root: root.to_path_buf(), waiting: Mutex::default(), lost: AtomicBool::new(false) };
        let mark = this.mark();
        match fs::metadata(&mark).and_then(|metadata| metadata.modified()) {
            Ok(since) => this.recover(since.checked_sub(SLACK).unwrap_or(SystemTime::UNIX_EPOCH))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("look up the mark", &mark)(error)),
        }
        Ok(this)
    }

    /// Removes what was written since and is damaged. What stays is on the disk before the mark goes.
    fn recover(&self, since: SystemTime) -> Result<(), StoreError> {
        let mut written = Vec::new();
        each_blob(&self.root, |path, metadata| {
            if metadata.modified().map_err(failed("look up", &path))? >= since {
                written.push(path);
            }
            Ok(())
        })?;
        self.force_many(&written)?;
        for folder in remove_damaged(&written)? {
            self.force_folder(&folder)?;
        }
        self.unmark()
    }

    /// Announces a blob that is about to get its name.
    pub(super) fn begin(&self, file: &File, path: &Path) -> Result<Begun<'_>, StoreError> {
        // No code panics while it holds this lock.
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        self.check()?;
        // Before the new one has its name: whoever hears of a failure has nothing here.
        if waiting.len() >= WAITING_MAX {
            self.settle_these(&mut waiting)?;
        }
        if waiting.is_empty() {
            let mark = self.mark();
            let made = File::create(&mark).map_err(failed("write the mark", &mark))?;
            self.force("synchronise the mark", &mark, || made.sync_all())?;
            self.force_folder(&self.root)?;
        }
        // What was received long ago counts from now.
        file.set_modified(SystemTime::now()).map_err(failed("date", path))?;
        Ok(Begun { waiting })
    }

    /// Forces all that wait to disk. They go on waiting if that fails; and if it was the disk that failed, until the next start.
    pub(super) fn settle(&self) -> Result<(), StoreError> {
        self.settle_these(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn settle_these(&self, waiting: &mut Vec<PathBuf>) -> Result<(), StoreError> {
        self.check()?;
        if waiting.is_empty() {
            return Ok(());
        }
        if waiting.len() <= ONE_BY_ONE_MAX {
            self.force_each(waiting)?;
        } else {
            self.force_many(waiting)?;
        }
        self.unmark()?;
        waiting.clear();
        Ok(())
    }

    fn check(&self) -> Result<(), StoreError> {
        let is_lost = self.lost.load(Ordering::Acquire);
        if is_lost { Err(StoreError::Unsettled { path: self.root.clone() }) } else { Ok(()) }
    }

    fn force_many(&self, paths: &[PathBuf]) -> Result<(), StoreError> {
        if self.force_file_system()? { Ok(()) } else { self.force_each(paths) }
    }

    fn force_each(&self, paths: &[PathBuf]) -> Result<(), StoreError> {
        let mut folders = BTreeSet::from([self.root.join("blobs")]);
        for path in paths {
            match File::open(path) {
                Ok(file) => self.force("synchronise", path, || file.sync_all())?,
                // Deleted meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failed("open the blob", path)(error)),
            }
            folders.extend(path.parent().map(Path::to_path_buf));
        }
        folders.iter().try_for_each(|folder| self.force_folder(folder))
    }

    /// Forces names to disk. Only Unix needs and allows opening a folder for this.
    fn force_folder(&self, folder: &Path) -> Result<(), StoreError> {
        if cfg!(unix) {
            let open = File::open(folder).map_err(failed("open the folder", folder))?;
            self.force("synchronise the folder", folder, || open.sync_all())?;
        }
        Ok(())
    }

    /// Forces everything on the folder's file system to disk, where the system can do that; says whether it did.
    #[cfg(target_os = "linux")]
    fn force_file_system(&self) -> Result<bool, StoreError> {
        let root = File::open(&self.root).map_err(failed("open the folder", &self.root))?;
        self.force("synchronise the file system of", &self.root, || Ok(rustix::fs::syncfs(&root)?))?;
        Ok(true)
    }

    #[cfg(not(target_os = "linux"))]
    const fn force_file_system(&self) -> Result<bool, StoreError> {
        Ok(false)
    }

    /// Forces something to disk, and remembers if the disk did not take it.
    fn force(
        &self,
        operation: &'static str,
        path: &Path,
        force: impl FnOnce() -> io::Result<()>,
    ) -> Result<(), StoreError> {
        fault(operation).and_then(|()| force()).map_err(|source| {
            self.lost.store(true, Ordering::Release);
            tracing::error!(
                path = %path.display(),
                error = %source,
                "the disk did not take what was written: nothing more is kept here until a restart, which finds what is damaged"
            );
            failed(operation, path)(source)
        })
    }

    fn mark(&self) -> PathBuf {
        self.root.join("unsettled")
    }

    fn unmark(&self) -> Result<(), StoreError> {
        let mark = self.mark();
        match fs::remove_file(&mark) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove the mark", &mark)(error)),
            _ => Ok(()),
        }
    }
}

impl Begun<'_> {
    /// The blob has this name.
    pub(super) fn named(mut self, path: PathBuf) {
        self.waiting.push(path);
    }
}

/// Hashes blobs and removes what is not what its name says; the folders in which something was removed.
fn remove_damaged(written: &[PathBuf]) -> Result<BTreeSet<PathBuf>, StoreError> {
    let (mut removed, mut folders) = (0_u64, BTreeSet::new());
    for path in written {
        match hash_on_disk(path) {
            Ok(hash) if is_named(path, hash) => continue,
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a blob cannot be read and is removed: it is fetched or made again");
            }
        }
        fs::remove_file(path).map_err(failed("delete the blob", path))?;
        removed = removed.saturating_add(1);
        folders.extend(path.parent().map(Path::to_path_buf));
    }
    if removed > 0 {
        tracing::warn!(
            hashed = written.len(),
            removed,
            "the last process did not end well; blobs that it had not written to the end are removed"
        );
    }
    Ok(folders)
}

fn is_named(path: &Path, hash: Hash) -> bool {
    path.file_name().is_some_and(|name| *name == *hash.to_string())
}

/// The hash of what the disk has: what the system remembers of the file may never have got there.
fn hash_on_disk(path: &Path) -> io::Result<Hash> {
    let mut file = File::open(path)?;
    forget(&file);
    fault("read")?;
    Ok(Outline::of_reader(&mut file, BLOB_BYTES_MAX)?.hash())
}

/// Lets the system forget a file's bytes. Best effort: where it keeps them, damage that they hide is found when they are read later.
#[cfg(target_os = "linux")]
fn forget(file: &File) {
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed);
}

#[cfg(not(target_os = "linux"))]
const fn forget(_file: &File) {}

/// Tests let the disk fail here.
#[cfg(not(test))]
const fn fault(_operation: &str) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::cell::Cell;

    use tempfile::TempDir;

    use super::*;
    use crate::store::{BlobStore as _, Capacity, DiskStore, Durability};

    thread_local! {
        /// What the disk of this test fails to do, by the beginning of its name; empty: nothing.
        static FAILING: Cell<&'static str> = const { Cell::new("") };
    }

    pub(super) fn fault(operation: &str) -> io::Result<()> {
        let failing = FAILING.get();
        let fails = !failing.is_empty() && operation.starts_with(failing);
        if fails { Err(io::Error::other("input/output error")) } else { Ok(()) }
    }

    fn open(folder: &TempDir) -> Result<DiskStore, StoreError> {
        DiskStore::open(folder.path(), Capacity::default(), Durability::Settled)
    }

    #[test]
    fn what_a_killed_process_left_is_forced_to_disk_before_its_mark_goes() {
        let folder = TempDir::new().unwrap();
        let mark = folder.path().join("unsettled");
        let store = open(&folder).unwrap();
        let hash = store.put(b"whole").unwrap();
        drop(store);
        FAILING.set("synchronise");
        assert!(matches!(open(&folder), Err(StoreError::Io { .. })));
        assert!(mark.exists(), "nobody knows whether the disk has it");
        FAILING.set("");
        let store = open(&folder).unwrap();
        assert!(!mark.exists());
        assert_eq!(store.get(hash, 5).unwrap(), b"whole");
    }

    #[test]
    fn a_disk_that_failed_once_is_not_believed_before_the_next_start() {
        let folder = TempDir::new().unwrap();
        let mark = folder.path().join("unsettled");
        let store = open(&folder).unwrap();
        let first = store.put(b"first").unwrap();
        FAILING.set("synchronise");
        assert!(matches!(store.settle(), Err(StoreError::Io { .. })));
        FAILING.set("");
        for _ in 0..2 {
            let refused = store.settle().unwrap_err();
            assert!(matches!(refused, StoreError::Unsettled { .. }), "{refused}");
            assert!(refused.to_string().contains("restart"), "{refused}");
        }
        assert!(matches!(store.put(b"second"), Err(StoreError::Unsettled { .. })));
        assert_eq!(store.used_bytes(), 5);
        assert!(mark.exists());
        drop(store);

        let store = open(&folder).unwrap();
        assert!(!mark.exists());
        assert_eq!(store.get(first, 5).unwrap(), b"first");
        store.put(b"second").unwrap();
        store.settle().unwrap();
        assert!(!mark.exists());
    }

    #[test]
    fn a_mark_that_the_disk_did_not_take_names_no_blob() {
        let folder = TempDir::new().unwrap();
        let store = open(&folder).unwrap();
        FAILING.set("synchronise the mark");
        assert!(matches!(store.put(b"one"), Err(StoreError::Io { .. })));
        FAILING.set("");
        assert!(matches!(store.put(b"one"), Err(StoreError::Unsettled { .. })));
        assert!(!store.has(Hash::of(b"one")).unwrap());
        assert_eq!(store.used_bytes(), 0);
    }

    #[test]
    fn at_start_other_files_stay_and_a_blob_that_cannot_be_read_goes() {
        let folder = TempDir::new().unwrap();
        let store = open(&folder).unwrap();
        let hash = store.put(b"blob").unwrap();
        let beside = store.path(hash).parent().unwrap().to_path_buf();
        drop(store);
        let (note, upper) = (beside.join("note.txt"), beside.join("A".repeat(64)));
        for path in [&note, &upper] {
            fs::write(path, b"somebody's file").unwrap();
        }
        let (inner, named) = (beside.join("folder"), beside.join("a".repeat(64)));
        for path in [&inner, &named] {
            fs::create_dir(path).unwrap();
        }
        let others_stay = || [&note, &upper, &inner, &named].iter().all(|path| path.exists());

        let store = open(&folder).unwrap();
        assert!(store.has(hash).unwrap() && others_stay());
        assert_eq!(store.used_bytes(), 4, "only blobs count");
        // The next start finds a mark again, and a sector that gives nothing.
        store.put(b"second").unwrap();
        drop(store);
        FAILING.set("read");
        let store = open(&folder).unwrap();
        FAILING.set("");
        assert!(!store.has(hash).unwrap() && others_stay());
        assert_eq!(store.used_bytes(), 0);
        assert!(!folder.path().join("unsettled").exists());
        assert_eq!(store.put(b"blob").unwrap(), hash, "it can come again");
    }

    #[test]
    fn a_blob_that_has_its_name_keeps_its_room_when_those_before_it_cannot_settle() {
        let folder = TempDir::new().unwrap();
        let mark = folder.path().join("unsettled");
        let store = open(&folder).unwrap();
        let most = u32::try_from(WAITING_MAX).unwrap();
        for number in 1..most {
            store.put(&number.to_be_bytes()).unwrap();
        }
        // A mark that cannot be removed: settling fails.
        fs::remove_file(&mark).unwrap();
        fs::create_dir(&mark).unwrap();
        store.put(&most.to_be_bytes()).unwrap();
        let used_bytes = u64::from(most).saturating_mul(4);
        assert_eq!(store.used_bytes(), used_bytes);
        assert!(store.settle().is_err());
        let late = b"late";
        assert!(store.put(late).is_err());
        assert!(!store.has(Hash::of(late)).unwrap());
        assert_eq!(store.used_bytes(), used_bytes);
        fs::remove_dir(&mark).unwrap();
        store.settle().unwrap();
        store.put(late).unwrap();
        assert!(mark.exists());
    }
}

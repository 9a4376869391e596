//! Which blobs are not forced to disk yet, and how all of them are at once.
//!
//! # Design
//! The file `unsettled` is forced to disk before the first of them gets its name, and removed after all of them were forced to disk. Who finds it at start
//! was not settled: everything that was written since is hashed, and what a power cut has damaged is removed. Removing the file is not forced to disk; one
//! that comes back costs some hashing.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use super::{failed, list, sync_folder};
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
}

/// The right to name one blob more.
pub(super) struct Begun<'a> {
    of: &'a Settling,
    waiting: MutexGuard<'a, Vec<PathBuf>>,
}

impl Settling {
    /// Looks whether the last user of the folder had settled, and hashes what may be damaged if not.
    pub(super) fn open(root: &Path) -> Result<Self, StoreError> {
        let this = Self { root: root.to_path_buf(), waiting: Mutex::default() };
        let mark = this.mark();
        match fs::metadata(&mark).and_then(|metadata| metadata.modified()) {
            Ok(since) => {
                remove_damaged(root, since.checked_sub(SLACK).unwrap_or(SystemTime::UNIX_EPOCH))?;
                this.unmark()?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("look up the mark", &mark)(error)),
        }
        Ok(this)
    }

    /// Announces a blob that is about to get its name.
    pub(super) fn begin(&self, file: &File, path: &Path) -> Result<Begun<'_>, StoreError> {
        // No code panics while it holds this lock.
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.is_empty() {
            let mark = self.mark();
            let made = File::create(&mark).and_then(|mark| mark.sync_all());
            made.map_err(failed("write the mark", &mark))?;
            sync_folder(&self.root)?;
        }
        // What was received long ago counts from now.
        file.set_modified(SystemTime::now()).map_err(failed("date", path))?;
        Ok(Begun { of: self, waiting })
    }

    /// Forces all that wait to disk; they go on waiting if that fails.
    pub(super) fn settle(&self) -> Result<(), StoreError> {
        self.settle_these(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn settle_these(&self, waiting: &mut Vec<PathBuf>) -> Result<(), StoreError> {
        if waiting.is_empty() {
            return Ok(());
        }
        if waiting.len() <= ONE_BY_ONE_MAX || !sync_file_system(&self.root)? {
            self.one_by_one(waiting)?;
        }
        self.unmark()?;
        waiting.clear();
        Ok(())
    }

    fn one_by_one(&self, waiting: &[PathBuf]) -> Result<(), StoreError> {
        let mut folders = BTreeSet::from([self.root.join("blobs")]);
        for path in waiting {
            match File::open(path) {
                Ok(file) => file.sync_all().map_err(failed("synchronise", path))?,
                // Deleted meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failed("open the blob", path)(error)),
            }
            folders.extend(path.parent().map(Path::to_path_buf));
        }
        folders.iter().try_for_each(|folder| sync_folder(folder))
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
    pub(super) fn named(&mut self, path: PathBuf) -> Result<(), StoreError> {
        self.waiting.push(path);
        if self.waiting.len() >= WAITING_MAX {
            return self.of.settle_these(&mut self.waiting);
        }
        Ok(())
    }
}

/// Hashes every blob that was written since, and removes what is not what its name says.
fn remove_damaged(root: &Path, since: SystemTime) -> Result<(), StoreError> {
    let (mut hashed, mut removed) = (0_u64, 0_u64);
    for folder in list(&root.join("blobs"))?.into_iter().filter(|path| path.is_dir()) {
        for path in list(&folder)? {
            let modified = path.metadata().and_then(|metadata| metadata.modified());
            if modified.map_err(failed("look up", &path))? < since {
                continue;
            }
            let mut file = File::open(&path).map_err(failed("open the blob", &path))?;
            let hash = Outline::of_reader(&mut file, BLOB_BYTES_MAX).map_err(failed("read the blob", &path))?.hash();
            hashed = hashed.saturating_add(1);
            if !is_named(&path, hash) {
                fs::remove_file(&path).map_err(failed("delete the blob", &path))?;
                removed = removed.saturating_add(1);
            }
        }
    }
    if removed > 0 {
        tracing::warn!(
            hashed,
            removed,
            "the last process did not end well; blobs that it had not written to the end are removed"
        );
    }
    Ok(())
}

fn is_named(path: &Path, hash: Hash) -> bool {
    path.file_name().is_some_and(|name| *name == *hash.to_string())
}

/// Forces everything on the folder's file system to disk, where the system can do that; says whether it did.
#[cfg(target_os = "linux")]
fn sync_file_system(folder: &Path) -> Result<bool, StoreError> {
    let synced = File::open(folder).and_then(|folder| Ok(rustix::fs::syncfs(&folder)?));
    synced.map_err(failed("synchronise the file system of", folder))?;
    Ok(true)
}

#[cfg(not(target_os = "linux"))]
const fn sync_file_system(_folder: &Path) -> Result<bool, StoreError> {
    Ok(false)
}

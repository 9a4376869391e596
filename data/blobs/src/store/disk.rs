//! Keeps blobs in a folder, one file each, so that a crash or a damaged disk is noticed instead of believed.
//!
//! # Design
//! `blobs/<first two digits>/<hash>` holds exactly the blob's bytes. A file appears there by rename, after its bytes were
//! verified and (with [`Durability::Synced`]) forced to disk. `partial/<hash>.data` is the verified beginning of an
//! unfinished transfer, `partial/<hash>.outline` what it was verified against; both are verified again before
//! a transfer resumes. `partial/*.tmp` is scratch and removed at start. `lock` is held while a process uses the folder.
//! With [`Durability::Settled`] the file `unsettled` is on the disk before the first blob that is not; who finds it at start forces to disk and hashes what
//! was written since.
//!
//! # Invariants
//! Nothing in the folder is trusted: a blob is hashed whenever it is read, and one that fails is removed.

mod part;
mod settling;

use std::{
    collections::HashSet,
    ffi::OsStr,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use alloy_primitives::B256;

use self::{part::DiskPart, settling::Settling};
use super::{BLOB_BYTES_MAX, BlobStore, Capacity, Part, Source, StoreError, budget::Budget, memory::size_of_slice};
use crate::{
    hash::{HASH_BYTES, Hash},
    outline::{GROUP_BYTES, Outline},
};

/// Whether a blob is forced to disk before it appears under its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// File and folder are synchronised: what `put` acknowledged survives a power cut. Costs a few milliseconds a blob.
    #[default]
    Synced,
    /// All at once, at [`BlobStore::settle`]: for many small blobs, each of which would wait for the disk alone. After a power cut each blob is there whole
    /// or not at all.
    Settled,
    /// The system decides when to write. A power cut may leave damaged blobs, which are noticed when read and removed:
    /// right for inputs that can be fetched again.
    Lazy,
}

/// Blobs in a folder. Clones share the same store.
#[derive(Clone, Debug)]
pub struct DiskStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    durability: Durability,
    budget: Budget,
    /// Names whose resumable part is in use; a second transfer of the same blob gets a scratch file.
    receiving: Mutex<HashSet<Hash>>,
    settling: Settling,
    /// Makes names of scratch files unique within the process; the lock makes them unique on the machine.
    scratch: AtomicU64,
    /// Held, not read: dropping it unlocks the folder.
    _lock: File,
}

impl DiskStore {
    /// Opens the folder `root`, creating it if needed, removes scratch files and counts what is there.
    ///
    /// # Errors
    /// [`StoreError::InUse`]: another process (or another store in this one) has it open. [`StoreError::Io`].
    pub fn open(root: &Path, capacity: Capacity, durability: Durability) -> Result<Self, StoreError> {
        for folder in [root.to_path_buf(), root.join("blobs"), root.join("partial")] {
            create_private(&folder).map_err(failed("create the folder", &folder))?;
        }
        let lock_path = root.join("lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path);
        let lock = lock.map_err(failed("open the lock", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse { path: root.to_path_buf() }),
            Err(TryLockError::Error(source)) => return Err(failed("lock the folder", &lock_path)(source)),
        }
        let settling = Settling::open(root)?;
        let budget = Budget::new(capacity);
        budget.charge(scan(root)?);
        let inner = Inner {
            root: root.to_path_buf(),
            durability,
            budget,
            receiving: Mutex::default(),
            settling,
            scratch: AtomicU64::new(0),
            _lock: lock,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Bytes held now: blobs, unfinished parts and the room reserved for them.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.inner.budget.used_bytes()
    }

    /// Removes the parts of unfinished transfers that nobody is receiving now, and returns the bytes that frees.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn sweep_partials(&self) -> Result<u64, StoreError> {
        self.inner.sweep_partials()
    }

    /// Deletes every blob of which `stays` says no, and returns how many that were. Unfinished parts stay.
    ///
    /// # Errors
    /// [`StoreError::Io`]: some may be deleted.
    pub fn retain(&self, stays: impl Fn(Hash) -> bool) -> Result<u64, StoreError> {
        let mut over = Vec::new();
        each_blob(&self.inner.root, |path, _| {
            over.extend(name_of(&path).filter(|hash| !stays(*hash)));
            Ok(())
        })?;
        let mut deleted = 0_u64;
        for hash in over {
            deleted = deleted.saturating_add(u64::from(self.inner.delete(hash)?));
        }
        Ok(deleted)
    }

    /// Where the blob's file is: for handing it to a program that reads files. The blob may not exist.
    #[must_use]
    pub fn path(&self, hash: Hash) -> PathBuf {
        self.inner.blob_path(hash)
    }
}

impl BlobStore for DiskStore {
    fn put(&self, bytes: &[u8]) -> Result<Hash, StoreError> {
        let size = size_of_slice(bytes);
        self.inner.budget.admit(size)?;
        let hash = Hash::of(bytes);
        if self.has(hash)? {
            return Ok(hash);
        }
        let room = self.inner.reserve(size)?;
        let scratch = self.inner.scratch_path();
        let written = write_file(&scratch, bytes).and_then(|file| self.inner.publish(&file, &scratch, hash));
        match written {
            Ok(Named { fresh, forced }) => {
                room.keep(if fresh { size } else { 0 });
                forced?;
            }
            Err(error) => {
                // Best effort: what stays is scratch, removed at the next start.
                let _ = fs::remove_file(&scratch);
                return Err(error);
            }
        }
        Ok(hash)
    }

    fn settle(&self) -> Result<(), StoreError> {
        self.inner.settling.settle()
    }

    fn get(&self, hash: Hash, bytes_max: u64) -> Result<Vec<u8>, StoreError> {
        let path = self.inner.blob_path(hash);
        let (file, got_bytes) = open_blob(&path, hash)?;
        if got_bytes > bytes_max {
            return Err(StoreError::TooLarge { got_bytes, max_bytes: bytes_max });
        }
        let mut bytes = Vec::new();
        // One byte more than the file had, so that a file that grows is noticed by its hash and not read for ever.
        let mut limited = (&file).take(got_bytes.saturating_add(1));
        limited.read_to_end(&mut bytes).map_err(failed("read the blob", &path))?;
        if Hash::of(&bytes) == hash {
            return Ok(bytes);
        }
        Err(self.inner.remove_corrupt(hash))
    }

    fn size(&self, hash: Hash) -> Result<Option<u64>, StoreError> {
        let path = self.inner.blob_path(hash);
        match fs::metadata(&path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("look up the blob", &path)(error)),
        }
    }

    fn delete(&self, hash: Hash) -> Result<bool, StoreError> {
        self.inner.delete(hash)
    }

    fn open(&self, hash: Hash) -> Result<Box<dyn Source>, StoreError> {
        let path = self.inner.blob_path(hash);
        let (mut file, _) = open_blob(&path, hash)?;
        let outline = Outline::of_reader(&mut file, BLOB_BYTES_MAX).map_err(failed("read the blob", &path))?;
        if outline.hash() != hash {
            return Err(self.inner.remove_corrupt(hash));
        }
        Ok(Box::new(DiskSource { file, path, outline }))
    }

    fn receive(&self, hash: Hash) -> Result<Box<dyn Part>, StoreError> {
        Ok(Box::new(DiskPart::open(Arc::clone(&self.inner), hash)?))
    }
}

impl Inner {
    fn blob_path(&self, hash: Hash) -> PathBuf {
        let name = hash.to_string();
        // `name` is 64 ASCII digits.
        self.root.join("blobs").join(&name[..2]).join(&name)
    }

    fn partial_path(&self, hash: Hash, extension: &str) -> PathBuf {
        self.root.join("partial").join(format!("{hash}.{extension}"))
    }

    fn scratch_path(&self) -> PathBuf {
        let number = self.scratch.fetch_add(1, Ordering::Relaxed);
        self.root.join("partial").join(format!("{number}.tmp"))
    }

    fn receiving(&self) -> MutexGuard<'_, HashSet<Hash>> {
        // No code panics while it holds this lock; a poisoned set is still a whole set.
        self.receiving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes room, and gives up unfinished parts (only an optimisation) before it says that there is none.
    fn reserve(&self, bytes: u64) -> Result<super::budget::Reservation, StoreError> {
        match self.budget.reserve(bytes) {
            Err(StoreError::Full { .. }) if self.sweep_partials()? > 0 => self.budget.reserve(bytes),
            other => other,
        }
    }

    /// Moves a complete, verified file to its name. An error means that it does not have it.
    fn publish(&self, file: &File, from: &Path, hash: Hash) -> Result<Named, StoreError> {
        let to = self.blob_path(hash);
        let folder = to.parent().unwrap_or(&self.root).to_path_buf();
        if self.durability == Durability::Synced {
            file.sync_all().map_err(failed("synchronise", from))?;
        }
        // Held until the blob has its name: then it is among those to be settled, or settled.
        let settling = (self.durability == Durability::Settled).then(|| self.settling.begin(file, from)).transpose()?;
        let new_folder = !folder.exists();
        fs::create_dir_all(&folder).map_err(failed("create the folder", &folder))?;
        // Held over look and rename, so that two writers of one blob do not both count it.
        let guard = self.receiving();
        let fresh = !to.exists();
        fs::rename(from, &to).map_err(failed("name the blob", &to))?;
        drop(guard);
        if let Some(settling) = settling {
            settling.named(to);
        }
        let forced = if self.durability == Durability::Synced { self.force_name(&folder, new_folder) } else { Ok(()) };
        Ok(Named { fresh, forced })
    }

    fn force_name(&self, folder: &Path, new_folder: bool) -> Result<(), StoreError> {
        sync_folder(folder)?;
        if new_folder { sync_folder(&self.root.join("blobs")) } else { Ok(()) }
    }

    fn delete(&self, hash: Hash) -> Result<bool, StoreError> {
        let path = self.blob_path(hash);
        let guard = self.receiving();
        let size = match fs::metadata(&path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(failed("look up the blob", &path)(error)),
        };
        fs::remove_file(&path).map_err(failed("delete the blob", &path))?;
        drop(guard);
        self.budget.release(size);
        Ok(true)
    }

    /// Removes a damaged blob, so that it can be fetched again, and says what happened.
    fn remove_corrupt(&self, hash: Hash) -> StoreError {
        tracing::warn!(%hash, "blob at rest is damaged and was removed");
        match self.delete(hash) {
            Ok(_) => StoreError::Corrupt { hash },
            Err(error) => error,
        }
    }

    fn sweep_partials(&self) -> Result<u64, StoreError> {
        let folder = self.root.join("partial");
        let receiving = self.receiving();
        let mut freed = 0_u64;
        for entry in fs::read_dir(&folder).map_err(failed("list the folder", &folder))? {
            let path = entry.map_err(failed("list the folder", &folder))?.path();
            let is_scratch = path.extension() == Some(OsStr::new("tmp"));
            let stem = path.file_stem().and_then(OsStr::to_str).unwrap_or_default();
            if is_scratch || receiving.iter().any(|hash| hash.to_string() == stem) {
                continue;
            }
            let size = path.metadata().map_or(0, |metadata| metadata.len());
            fs::remove_file(&path).map_err(failed("delete a part", &path))?;
            // Only the data were charged; an outline is at most 0.05 % of them.
            if path.extension() == Some(OsStr::new("data")) {
                self.budget.release(size);
                freed = freed.saturating_add(size);
            }
        }
        Ok(freed)
    }
}

/// A blob that has its name, and so takes room.
struct Named {
    /// Nobody had counted it: the name was free.
    fresh: bool,
    /// Whether the name is on the disk, where it must be.
    forced: Result<(), StoreError>,
}

struct DiskSource {
    file: File,
    path: PathBuf,
    outline: Outline,
}

impl Source for DiskSource {
    fn outline(&self) -> &Outline {
        &self.outline
    }

    fn read_group(&mut self, index: u64, out: &mut Vec<u8>) -> Result<(), StoreError> {
        let start = index.saturating_mul(GROUP_BYTES as u64);
        self.file.seek(SeekFrom::Start(start)).map_err(failed("read the blob", &self.path))?;
        let size = self.outline.group_bytes(index);
        let before = out.len();
        let mut group = (&self.file).take(u64::try_from(size).unwrap_or(u64::MAX));
        group.read_to_end(out).map_err(failed("read the blob", &self.path))?;
        if out.len().saturating_sub(before) == size {
            return Ok(());
        }
        Err(StoreError::Corrupt { hash: self.outline.hash() })
    }
}

/// Makes the error of a failed operation on `path`.
fn failed<'a>(operation: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> StoreError + use<'a> {
    move |source| StoreError::Io { operation, path: path.to_path_buf(), source }
}

/// Creates a folder that only its owner reads, where the system knows owners: jobs' inputs are private.
fn create_private(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<File, StoreError> {
    let file = OpenOptions::new().create_new(true).write(true).open(path);
    let mut file = file.map_err(failed("create", path))?;
    file.write_all(bytes).map_err(failed("write", path))?;
    Ok(file)
}

fn open_blob(path: &Path, hash: Hash) -> Result<(File, u64), StoreError> {
    match File::open(path) {
        Ok(file) => {
            let size = file.metadata().map_err(failed("look up the blob", path))?.len();
            Ok((file, size))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(StoreError::NotFound { hash }),
        Err(error) => Err(failed("open the blob", path)(error)),
    }
}

/// Forces a rename to disk. Only Unix needs and allows opening a folder for this.
fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    if cfg!(unix) {
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(failed("synchronise the folder", folder))?;
    }
    Ok(())
}

/// Removes scratch files and adds up the sizes of all blobs and parts.
fn scan(root: &Path) -> Result<u64, StoreError> {
    let mut total = 0_u64;
    let partial = root.join("partial");
    for path in list(&partial)? {
        if path.extension() == Some(OsStr::new("tmp")) {
            fs::remove_file(&path).map_err(failed("delete scratch", &path))?;
        } else if path.extension() == Some(OsStr::new("data")) {
            total = total.saturating_add(path.metadata().map_err(failed("look up", &path))?.len());
        }
    }
    each_blob(root, |_, metadata| {
        total = total.saturating_add(metadata.len());
        Ok(())
    })?;
    Ok(total)
}

/// Shows every blob, with what the system knows of its file. Systems and people leave other things about: only regular files with a blob's name are ours.
fn each_blob(
    root: &Path,
    mut look: impl FnMut(PathBuf, &fs::Metadata) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let folders = list(&root.join("blobs"))?.into_iter().filter(|path| is_digits(path, 2) && path.is_dir());
    for folder in folders {
        for path in list(&folder)?.into_iter().filter(|path| is_digits(path, 2 * HASH_BYTES)) {
            let metadata = path.symlink_metadata().map_err(failed("look up", &path))?;
            if metadata.is_file() {
                look(path, &metadata)?;
            }
        }
    }
    Ok(())
}

/// The blob that a file of [`each_blob`] is.
fn name_of(path: &Path) -> Option<Hash> {
    path.file_name()?.to_str()?.parse::<B256>().ok().map(Hash::from)
}

/// Whether the last part of a path is so many lower-case hexadecimal digits.
fn is_digits(path: &Path, count: usize) -> bool {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    name.len() == count && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn list(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let entries = fs::read_dir(folder).map_err(failed("list the folder", folder))?;
    entries.map(|entry| Ok(entry.map_err(failed("list the folder", folder))?.path())).collect()
}

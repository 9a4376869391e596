//! Files that hold secrets or that must survive a crash.
//!
//! # Invariants
//! [`replace`] leaves either the old or the new content, never a part, and what it wrote is on the disk when it returns. A secret is
//! readable by its owner only. A [`Lock`] is held by one process at most.

use eyre::{Context as _, Result, bail, ensure, eyre};
use keystead_recipes::plain::{self, Links};
use serde::{Deserialize, de::DeserializeOwned};
use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, ErrorKind, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::Stdio,
};

/// Largest file read here: a state file of the largest job has about 5 MB.
const FILE_BYTES_MAX: u64 = 32 << 20;

/// Makes a folder that only its owner may enter, with its parents.
pub(crate) fn private_folder(path: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .wrap_err_with(|| format!("cannot make the folder {}", path.display()))
}

/// Writes a secret into a new file of mode 0600; fails if the file exists. The file is there whole or not at all, whenever the process ends.
pub(crate) fn create_secret(path: &Path, content: &str) -> Result<()> {
    let named = || format!("cannot write {}", path.display());
    let name = path.file_name().ok_or_else(|| eyre!("{} has no file name", path.display()))?;
    let mut scratch = name.to_owned();
    scratch.push(format!(".{}.new", std::process::id()));
    let scratch = path.with_file_name(scratch);
    // One that a dead process of the same number left may be a second name of a secret that is in use: only the name goes.
    let _ = fs::remove_file(&scratch);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&scratch).wrap_err_with(named)?;
    let written =
        file.write_all(content.as_bytes()).and_then(|()| file.sync_all()).and_then(|()| name_anew(&scratch, path));
    // Best effort: what stays is a secret that nobody uses.
    let _ = fs::remove_file(&scratch);
    written.wrap_err_with(named)?;
    sync_folder(path.parent().unwrap_or(path))
}

/// Gives a file a second name, which must be free.
fn name_anew(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        // A file system without second names.
        Err(error) if error.kind() != ErrorKind::AlreadyExists && !to.try_exists()? => fs::rename(from, to),
        other => other,
    }
}

/// Reads a secret; `None` if there is no such file. It may be a pipe, into which a keeper of secrets writes one.
///
/// # Errors
/// The file is readable by others, or not readable at all.
pub(crate) fn read_secret(path: &Path) -> Result<Option<String>> {
    secret(File::open(path), path)
}

/// As [`read_secret`], of a file that somebody else made: it is no pipe, which could have this program wait for ever.
///
/// # Errors
/// The same, and it is no regular file.
pub(crate) fn read_shared_secret(path: &Path) -> Result<Option<String>> {
    secret(plain::open(path, Links::Followed), path)
}

fn secret(opened: io::Result<File>, path: &Path) -> Result<Option<String>> {
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).wrap_err_with(|| format!("cannot open {}", path.display())),
    };
    let mode = file.metadata().wrap_err_with(|| format!("cannot read {}", path.display()))?.permissions().mode();
    ensure!(
        mode & 0o077 == 0,
        "{} holds a secret and can be read by others (mode {:o}): run `chmod 600 {}`",
        path.display(),
        mode & 0o777,
        path.display()
    );
    text(file, path).map(Some)
}

/// Reads a text file, which is a regular one; `None` if there is no such file.
pub(crate) fn read(path: &Path) -> Result<Option<String>> {
    match plain::open(path, Links::Followed) {
        Ok(file) => text(file, path).map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).wrap_err_with(|| format!("cannot open {}", path.display())),
    }
}

/// What every state file says, whatever else it holds.
#[derive(Deserialize)]
struct Head {
    version: u32,
}

/// Reads a state file of JSON in this version of its format; `None` if there is no such file.
///
/// # Errors
/// It cannot be read, has another version, or holds something else.
pub(crate) fn read_versioned<T: DeserializeOwned>(path: &Path, reads: u32) -> Result<Option<T>> {
    let Some(text) = read(path)? else { return Ok(None) };
    let named = || format!("cannot read {}", path.display());
    let Head { version } = serde_json::from_str(&text).wrap_err_with(named)?;
    ensure!(version == reads, "{} has version {version}, this program reads {reads}", path.display());
    serde_json::from_str(&text).map(Some).wrap_err_with(named)
}

/// Reads every state file of a folder, in no order: those whose names end with `.json`.
///
/// # Errors
/// As [`read_versioned`], of any of them.
pub(crate) fn read_all_versioned<T: DeserializeOwned>(folder: &Path, reads: u32) -> Result<Vec<T>> {
    let mut states = Vec::new();
    for entry in fs::read_dir(folder).wrap_err_with(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            states.extend(read_versioned::<T>(&path, reads)?);
        }
    }
    Ok(states)
}

fn text(file: File, path: &Path) -> Result<String> {
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).wrap_err_with(|| format!("cannot read {}", path.display()))?;
    Ok(text)
}

/// Replaces a file's content atomically: written beside it (mode 0600), synced, renamed, and the folder synced.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<()> {
    let named = || format!("cannot write {}", path.display());
    let name = path.file_name().ok_or_else(|| eyre!("{} has no file name", path.display()))?;
    let mut scratch = name.to_owned();
    scratch.push(".new");
    let scratch = path.with_file_name(scratch);
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&scratch).wrap_err_with(named)?;
    file.write_all(content).wrap_err_with(named)?;
    file.sync_all().wrap_err_with(named)?;
    fs::rename(&scratch, path).wrap_err_with(named)?;
    sync_folder(path.parent().unwrap_or(path))
}

/// Forces a folder's own entries (what was made, renamed, removed in it) to the disk.
pub(crate) fn sync_folder(path: &Path) -> Result<()> {
    // The parent of a bare file name is the empty path.
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let synced = File::open(path).and_then(|folder| folder.sync_all());
    synced.wrap_err_with(|| format!("cannot write the folder {}", path.display()))
}

/// So often a lock file may be replaced under our eyes before we give up.
const LOCK_TRIES: u32 = 16;

/// A file that one process at most holds; the system frees it when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct Lock {
    path: PathBuf,
    file: File,
}

impl Lock {
    /// Takes the lock, making its file if needed; `None` if another process has it.
    pub(crate) fn take(path: &Path) -> Result<Option<Self>> {
        let named = || format!("cannot lock {}", path.display());
        for _ in 0..LOCK_TRIES {
            let mut options = OpenOptions::new();
            let file = options.write(true).create(true).truncate(false).mode(0o600).open(path).wrap_err_with(named)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error).wrap_err_with(named),
            }
            // Whoever held it before may have removed the file between our two calls: then the lock that counts is that of a new file.
            let ours = file.metadata().wrap_err_with(named)?;
            match fs::metadata(path) {
                Ok(there) if (there.dev(), there.ino()) == (ours.dev(), ours.ino()) => {
                    return Ok(Some(Self { path: path.to_owned(), file }));
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error).wrap_err_with(named),
            }
        }
        bail!("cannot lock {}: other processes come and go", path.display())
    }

    /// The same lock as a child's standard input: then it is held until the child has ended, too, also if this process ends before.
    pub(crate) fn share(&self) -> Result<Stdio> {
        let file = self.file.try_clone().wrap_err_with(|| format!("cannot hold {}", self.path.display()))?;
        Ok(file.into())
    }

    /// Removes the file, while it is still held.
    pub(crate) fn remove(self) -> Result<()> {
        fs::remove_file(&self.path).wrap_err_with(|| format!("cannot remove {}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_secret_is_private_from_the_start_and_refused_once_others_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        assert_eq!(read_secret(&path).unwrap(), None);
        create_secret(&path, "abc").unwrap();
        assert_eq!(read_secret(&path).unwrap().as_deref(), Some("abc"));
        assert!(create_secret(&path, "def").is_err(), "a key is never overwritten");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no scratch stays");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(read_secret(&path).unwrap_err().to_string().contains("chmod 600"));
    }

    #[test]
    fn a_secret_is_there_whole_or_not_at_all_at_every_moment() {
        let folder = tempfile::tempdir().unwrap();
        let path = |number: u32| folder.path().join(format!("key-{number}"));
        std::thread::scope(|scope| {
            scope.spawn(|| (0..100).for_each(|number| create_secret(&path(number), "whole").unwrap()));
            for number in 0..100 {
                let read = std::iter::repeat_with(|| read_secret(&path(number)).unwrap()).flatten().next();
                assert_eq!(read.as_deref(), Some("whole"));
            }
        });
    }

    #[test]
    fn a_replaced_file_has_the_new_content_and_no_scratch_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(read(&path).unwrap().as_deref(), Some("two"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[derive(Debug, Deserialize, PartialEq, Eq)]
    #[serde(deny_unknown_fields)]
    struct State {
        version: u32,
    }

    #[test]
    fn a_state_file_of_another_version_is_refused_and_other_files_are_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        assert_eq!(read_versioned::<State>(&path, 2).unwrap(), None);
        replace(&path, br#"{"version":2}"#).unwrap();
        replace(&folder.path().join("state.portion"), b"none of these").unwrap();
        assert_eq!(read_versioned::<State>(&path, 2).unwrap(), Some(State { version: 2 }));
        assert_eq!(read_all_versioned::<State>(folder.path(), 2).unwrap(), [State { version: 2 }]);
        // What is new in it is not what is said first.
        replace(&path, br#"{"version":3,"more":1}"#).unwrap();
        let said = read_all_versioned::<State>(folder.path(), 2).unwrap_err().to_string();
        assert!(said.ends_with("state.json has version 3, this program reads 2"), "{said}");
        replace(&path, b"{").unwrap();
        assert!(read_all_versioned::<State>(folder.path(), 2).unwrap_err().to_string().starts_with("cannot read "));
    }

    #[test]
    fn a_lock_has_one_holder_and_is_free_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = Lock::take(&path).unwrap().unwrap();
        assert!(Lock::take(&path).unwrap().is_none());
        drop(held);
        Lock::take(&path).unwrap().unwrap().remove().unwrap();
        assert!(!path.exists());
        assert!(Lock::take(&path).unwrap().is_some());
    }

    #[test]
    fn a_lock_that_a_child_has_is_held_until_both_have_ended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = Lock::take(&path).unwrap().unwrap();
        let mut child = std::process::Command::new("sleep").arg("600").stdin(held.share().unwrap()).spawn().unwrap();
        drop(held);
        let is_held = Lock::take(&path).unwrap().is_none();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(is_held, "the child lives");
        assert!(Lock::take(&path).unwrap().is_some());
    }
}

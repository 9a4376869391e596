//! Bounded reading of files below a root folder, so that a fixture tree can stand for a machine.
//!
//! # Trust
//! What the files hold is hostile: sizes and counts are bounded, nothing but regular files is read, text is cut to what can be printed.

use crate::reading::{Reading, Unknown};
use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Read as _},
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::SystemTime,
};

/// Largest ordinary file, bytes: files of sysfs have at most a page of 4 KiB, on some machines 64 KiB.
pub const FILE_BYTES_MAX: u64 = 64 * 1_024;
/// Largest table, bytes: `/proc/cpuinfo` and `/proc/interrupts` of a machine with a thousand processors.
pub const TABLE_BYTES_MAX: u64 = 8 * 1_024 * 1_024;
/// Entries of a folder: `/proc` of a machine with so many processes.
pub const ENTRIES_MAX: usize = 32_768;
/// Characters of a word such as a model's name.
const WORD_CHARS_MAX: usize = 128;

/// A folder that stands for `/`.
#[derive(Clone, Debug)]
pub struct Root {
    folder: PathBuf,
}

impl Root {
    /// Reads below `folder`; `/` is this machine.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Whether this is the machine itself, so that system calls speak of the same machine as the files.
    #[must_use]
    pub fn is_machine(&self) -> bool {
        self.folder == Path::new("/")
    }

    /// Where a path below the root is. Parts such as `..` are dropped: some paths are put together from what files say.
    #[must_use]
    pub fn path(&self, path: &str) -> PathBuf {
        let mut full = self.folder.clone();
        full.extend(path.split('/').filter(|part| !matches!(*part, "" | "." | "..")));
        full
    }

    /// The text of an ordinary file.
    #[must_use]
    pub fn text(&self, path: &str) -> Reading<String> {
        self.text_max(path, FILE_BYTES_MAX)
    }

    /// The text of a file of at most `bytes_max`. Bytes that are not UTF-8 are replaced.
    #[must_use]
    pub fn text_max(&self, path: &str, bytes_max: u64) -> Reading<String> {
        match read(&self.path(path), bytes_max) {
            Ok(Some(bytes)) => Reading::known(String::from_utf8_lossy(&bytes).into_owned(), path),
            Ok(None) => Reading::Unknown(Unknown::Malformed(Arc::from(path))),
            Err(kind) => Reading::Unknown(unknown(kind, path)),
        }
    }

    /// The first word or words of a file, cut and without control characters, such as a model's name; an empty file is malformed.
    #[must_use]
    pub fn word(&self, path: &str) -> Reading<String> {
        self.text(path).and_then(|text| word(&text))
    }

    /// The number that a file holds.
    #[must_use]
    pub fn number<T: FromStr>(&self, path: &str) -> Reading<T> {
        self.text(path).and_then(|text| text.trim().parse().ok())
    }

    /// Names in a folder, sorted; those that are not UTF-8 are left out, and so is everything after [`ENTRIES_MAX`].
    #[must_use]
    pub fn list(&self, path: &str) -> Reading<Vec<String>> {
        match fs::read_dir(self.path(path)) {
            Ok(entries) => {
                let names = entries.take(ENTRIES_MAX).filter_map(|entry| entry.ok()?.file_name().into_string().ok());
                let mut names: Vec<String> = names.collect();
                names.sort_unstable();
                Reading::known(names, path)
            }
            Err(error) => Reading::Unknown(unknown(error.kind(), path)),
        }
    }

    /// The same, and nothing where it cannot be listed.
    pub(crate) fn names(&self, path: &str) -> Vec<String> {
        self.list(path).value().cloned().unwrap_or_default()
    }

    /// Whether something is there.
    #[must_use]
    pub fn exists(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    /// When something was last read, ms since 1970.
    pub(crate) fn accessed_unix_ms(&self, path: &str) -> Option<i64> {
        let accessed = fs::metadata(self.path(path)).ok()?.accessed().ok()?;
        i64::try_from(accessed.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_millis()).ok()
    }
}

/// At most `bytes_max` bytes of a regular file; none if it is no regular file or larger.
pub(crate) fn read(path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>, ErrorKind> {
    let file = open(path).map_err(|error| error.kind())?;
    if !file.metadata().map_err(|error| error.kind())?.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes).map_err(|error| error.kind())?;
    Ok(u64::try_from(bytes.len()).is_ok_and(|length| length <= bytes_max).then_some(bytes))
}

#[cfg(unix)]
fn open(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    // A named pipe in a hostile tree must not make us wait.
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)
}

#[cfg(not(unix))]
fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).open(path)
}

/// Some drivers answer a read with "no device" or "no data" while the device sleeps: that is absent, not malformed.
fn unknown(kind: ErrorKind, path: &str) -> Unknown {
    match kind {
        ErrorKind::PermissionDenied => Unknown::Denied(Arc::from(path)),
        _ => Unknown::Absent(Arc::from(path)),
    }
}

/// Text without control characters, in one line, cut to [`WORD_CHARS_MAX`].
pub(crate) fn word(text: &str) -> Option<String> {
    let printable = text.chars().map(|char| if char.is_control() { ' ' } else { char });
    let text: String = printable.take(4 * WORD_CHARS_MAX).collect();
    let word = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let word: String = word.chars().take(WORD_CHARS_MAX).collect();
    (!word.is_empty()).then_some(word)
}

/// The value of a line `key: value` or `key = value` of a table.
pub(crate) fn entry<'a>(table: &'a str, key: &str, separator: char) -> Option<&'a str> {
    table.lines().find_map(|line| {
        let (name, value) = line.split_once(separator)?;
        (name.trim() == key).then(|| value.trim())
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test: a panic is a failure.
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_its_bound_and_a_folder_or_pipe_is_not_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(folder.path());
        let size = usize::try_from(FILE_BYTES_MAX).unwrap();
        fs::write(folder.path().join("full"), vec![b'x'; size]).unwrap();
        fs::write(folder.path().join("over"), vec![b'x'; size.saturating_add(1)]).unwrap();
        assert_eq!(root.text("full").value().map(String::len), Some(size));
        assert!(matches!(root.text("over"), Reading::Unknown(Unknown::Malformed(_))));
        assert!(matches!(root.text("nothing"), Reading::Unknown(Unknown::Absent(_))));
        assert!(root.text("").value().is_none(), "a folder");
        #[cfg(unix)]
        {
            let pipe = folder.path().join("pipe");
            assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
            assert!(matches!(root.text("pipe"), Reading::Unknown(Unknown::Malformed(_))), "and it does not wait");
        }
    }

    #[test]
    fn paths_from_files_cannot_leave_the_root() {
        let root = Root::new("base");
        assert_eq!(root.path("/a/../../b/./c"), Path::new("base/a/b/c"));
        assert!(Root::new("/").is_machine() && !root.is_machine());
    }

    #[test]
    fn words_are_cut_and_cleaned() {
        assert_eq!(word("  A\tB\u{1b}[31m\n\0"), Some("A B [31m".to_owned()));
        assert_eq!(word("\0\n "), None);
        assert_eq!(word(&"x".repeat(1_000)).unwrap().len(), WORD_CHARS_MAX);
        assert_eq!(entry("a: 1\nab:2\n", "ab", ':'), Some("2"));
    }
}

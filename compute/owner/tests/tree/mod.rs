//! Unpacks a fixture: one text file that holds a tree. `=== path` begins a file, `=== path/` is an empty folder, `\0` is a zero byte.
#![allow(dead_code)] // Each test program uses its part.

use keystead_owner::probe::Root;
use std::{fs, path::Path};
use tempfile::TempDir;

/// A fixture tree on disk, removed when dropped.
pub(crate) struct Tree {
    pub(crate) folder: TempDir,
    pub(crate) root: Root,
}

impl Tree {
    /// Unpacks one of the machines.
    pub(crate) fn machine(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/{name}.tree"));
        let tree = Self::empty();
        let text = fs::read_to_string(path).unwrap();
        for part in text.split("\n=== ").skip(1) {
            let (path, content) = part.split_once('\n').unwrap_or((part, ""));
            if path.ends_with('/') {
                fs::create_dir_all(tree.folder.path().join(path)).unwrap();
            } else {
                tree.write(path, format!("{content}\n").replace("\\0", "\0"));
            }
        }
        tree
    }

    pub(crate) fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(folder.path());
        Self { folder, root }
    }

    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn remove(&self, path: &str) {
        let path = self.folder.path().join(path);
        if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
    }
}

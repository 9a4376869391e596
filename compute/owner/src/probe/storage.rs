//! Room on the disk that holds our data.

use super::root::Root;
use crate::{
    reading::{Reading, Unknown},
    system,
};
use std::{path::Path, sync::Arc};

/// Where a fixture tree says what the disk's answer is: total and free bytes in one line. No machine has this file.
const FIXTURE: &str = "fixture/disk";

/// A disk, bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    /// All of it.
    pub total: Reading<u64>,
    /// What is free for this account.
    pub free: Reading<u64>,
}

/// Reads the size of the disk that holds `folder`. The size is no file but a system call; so a fixture tree has a file of its own for it.
#[must_use]
pub fn disk(root: &Root, folder: &Path) -> Disk {
    let both = if root.is_machine() {
        let source: Arc<str> = Arc::from(folder.to_string_lossy().as_ref());
        match system::disk_bytes(folder) {
            Ok(Some(sizes)) => Reading::Known(sizes, source),
            Ok(None) => Reading::Unknown(Unknown::Unsupported),
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                Reading::Unknown(Unknown::Denied(source))
            }
            Err(_) => Reading::Unknown(Unknown::Absent(source)),
        }
    } else {
        root.text(FIXTURE).and_then(|text| {
            let mut parts = text.split_whitespace().map_while(|part| part.parse::<u64>().ok());
            Some((parts.next()?, parts.next()?))
        })
    };
    Disk { total: both.clone().map(|(total, _)| total), free: both.map(|(_, free)| free) }
}

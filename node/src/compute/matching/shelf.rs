//! Capability records that were seen before, by hash, in a folder of the user's.
//!
//! # Design
//! A file is as hostile as the network: it counts only if it hashes to its name, so a torn or forged one is fetched again. So nothing is synced, and two
//! processes may write at once. A folder that cannot be used costs time, not results.

use alloy_primitives::{Address, B256};
use keystead_market::{Record, record::ENCODED_BYTES_MAX};
use std::{
    collections::BTreeSet,
    env,
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
};

/// Records that are kept: those of a full register. Each has at most 32 KiB.
const FILES_MAX: usize = 8_192;

/// The folder; none if the system names no place for it.
#[derive(Clone, Debug)]
pub(super) struct Shelf {
    folder: Option<PathBuf>,
}

/// The folder that was given, or the usual place.
pub(super) fn folder(given: Option<&Path>) -> Option<PathBuf> {
    let usual = || {
        let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let cache = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
        cache.map(|cache| cache.join("keystead").join("records"))
    };
    given.map(Path::to_path_buf).or_else(usual)
}

impl Shelf {
    /// The folder that was given, or the usual place. It is made when something is kept.
    pub(super) fn open(given: Option<&Path>) -> Self {
        Self { folder: folder(given) }
    }

    fn path(&self, hash: B256) -> Option<PathBuf> {
        self.folder.as_ref().map(|folder| folder.join(format!("{hash:x}")))
    }

    /// A record that was kept, checked as if it came from the provider.
    pub(super) fn record(&self, account: Address, hash: B256) -> Option<Record> {
        let file = File::open(self.path(hash)?).ok()?;
        let mut bytes = Vec::new();
        // One byte more shows that it is too long.
        file.take((ENCODED_BYTES_MAX as u64).saturating_add(1)).read_to_end(&mut bytes).ok()?;
        Record::listed(&bytes, account, hash).ok()
    }

    /// Keeps a record. What cannot be kept is fetched again next time.
    pub(super) fn keep(&self, record: &Record) {
        let (Some(folder), Some(path)) = (&self.folder, self.path(record.hash())) else { return };
        let kept = fs::create_dir_all(folder).and_then(|()| fs::write(&path, record.encode()));
        if let Err(error) = kept {
            tracing::debug!(%error, "a capability record is not kept in {}", folder.display());
        }
    }

    /// Removes what no register names any more, once there is much.
    pub(super) fn tidy(&self, named: &BTreeSet<B256>) {
        let Some(entries) = self.folder.as_ref().and_then(|folder| fs::read_dir(folder).ok()) else { return };
        let files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        if files.len() <= FILES_MAX {
            return;
        }
        for path in files {
            let hash = path.file_name().and_then(|name| name.to_str()?.parse::<B256>().ok());
            if hash.is_some_and(|hash| !named.contains(&hash)) {
                let _ = fs::remove_file(path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::compute::matching::known::tests::record;

    #[test]
    fn a_record_comes_back_and_a_forged_or_endless_file_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf::open(Some(&folder.path().join("records")));
        let record = record(1, |_| ());
        let (account, hash) = (record.provider, record.hash());
        assert!(shelf.record(account, hash).is_none());
        shelf.keep(&record);
        assert_eq!(shelf.record(account, hash), Some(record.clone()));
        assert!(shelf.record(Address::repeat_byte(9), hash).is_none(), "of another account");
        let path = shelf.path(hash).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert!(shelf.record(account, hash).is_none());
        fs::write(&path, vec![0; ENCODED_BYTES_MAX + 1]).unwrap();
        assert!(shelf.record(account, hash).is_none());
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        shelf.keep(&record);
        assert!(shelf.record(account, hash).is_none());
    }
}

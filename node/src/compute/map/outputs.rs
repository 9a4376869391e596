//! The states that were paid for, one after the other in one file: what the journal says lies where, lies there.

use eyre::{Context as _, Result, ensure};
use keystead_job::blob_hash;
use std::{
    fs::{File, OpenOptions},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::journal::Place;

/// The file; clones share it. One of them appends.
#[derive(Clone, Debug)]
pub(super) struct Outputs {
    file: Arc<File>,
    path: PathBuf,
    end: u64,
}

impl Outputs {
    /// Opens or makes the file, and cuts what lies behind `end`: nothing that was settled.
    ///
    /// # Errors
    /// It is shorter than that.
    pub(super) fn open(path: &Path, end: u64) -> Result<Self> {
        let named = || format!("cannot open {}", path.display());
        let mut options = OpenOptions::new();
        let file =
            options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path).wrap_err_with(named)?;
        let length = file.metadata().wrap_err_with(named)?.len();
        ensure!(length >= end, "{} lost what it held: got_bytes={length} expected_bytes={end}", path.display());
        file.set_len(end).wrap_err_with(named)?;
        Ok(Self { file: Arc::new(file), path: path.to_owned(), end })
    }

    /// Appends a state; where it lies. On the disk only after [`Outputs::sync`].
    pub(super) fn append(&mut self, state: &[u8]) -> Result<u64> {
        let offset = self.end;
        self.file.write_all_at(state, offset).wrap_err_with(|| format!("cannot write {}", self.path.display()))?;
        self.end = offset.saturating_add(u64::try_from(state.len()).unwrap_or(u64::MAX));
        Ok(offset)
    }

    pub(super) fn sync(&self) -> Result<()> {
        self.file.sync_data().wrap_err_with(|| format!("cannot write {}", self.path.display()))
    }

    /// Reads a state, and looks that it is the one that was written.
    pub(super) fn read(&self, place: &Place) -> Result<Vec<u8>> {
        let mut state = vec![0; usize::try_from(place.length)?];
        let named = || format!("cannot read {}", self.path.display());
        self.file.read_exact_at(&mut state, place.offset).wrap_err_with(named)?;
        ensure!(
            blob_hash(&state) == place.name,
            "{} is damaged: the state of unit {} after {} segments is not what was paid for",
            self.path.display(),
            place.unit,
            place.done
        );
        Ok(state)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn what_was_settled_stays_what_was_not_is_cut_and_damage_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("outputs");
        let mut outputs = Outputs::open(&path, 0).unwrap();
        let place = |offset, state: &[u8]| Place {
            unit: 0,
            done: 1,
            offset,
            length: u64::try_from(state.len()).unwrap(),
            name: blob_hash(state),
        };
        let first = place(outputs.append(b"first").unwrap(), b"first");
        let second = place(outputs.append(b"second").unwrap(), b"second");
        outputs.sync().unwrap();
        assert_eq!(
            (outputs.read(&first).unwrap(), outputs.read(&second).unwrap()),
            (b"first".to_vec(), b"second".to_vec())
        );
        let mut again = Outputs::open(&path, 5).unwrap();
        assert!(again.read(&second).is_err());
        assert_eq!(again.append(b"other").unwrap(), 5);
        assert!(again.read(&place(5, b"third")).unwrap_err().to_string().contains("damaged"));
        assert!(Outputs::open(&path, 11).is_err());
    }
}

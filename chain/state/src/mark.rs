//! A small file that says up to which block the store has been committed.
//!
//! # Design
//! After a crash fjall drops what it cannot read at the end of its journal, as a half-written batch looks like that.
//! Damage to a whole, acknowledged block looks the same. So each commit also overwrites one sector of this file. It is
//! not synced: a mark that is older than the tables says less, and a newer one cannot be.
//! Shape: magic, height (eight bytes, big-endian), block hash, the first eight bytes of keccak256 over all that.

use crate::error::{Corruption, Error};
use alloy_primitives::{B256, keccak256};
use std::{
    fs::File,
    io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _},
    path::Path,
};

const MAGIC: [u8; 8] = *b"KSTMARK1";
const BYTES: usize = 8 + 8 + 32 + 8;
/// One byte more than a mark has: a longer file is seen without reading all of it.
const READ_BYTES_MAX: u64 = BYTES as u64 + 1;

/// The block that was committed last, as far as the mark knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marked {
    pub(crate) number: u64,
    pub(crate) hash: B256,
}

/// The open file.
pub(crate) struct Mark {
    file: File,
}

impl Mark {
    /// Reads the mark in a folder; `None` if there is none yet.
    ///
    /// # Errors
    /// [`Corruption::Record`] if the file is not a mark.
    pub(crate) fn read(dir: &Path) -> Result<Option<Marked>, Error> {
        let mut bytes = Vec::new();
        match File::open(path(dir)) {
            Ok(file) => file.take(READ_BYTES_MAX).read_to_end(&mut bytes)?,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let malformed = || Corruption::Record {
            table: "mark",
            key: path(dir).display().to_string(),
            reason: "not the mark of a store".to_owned(),
        };
        decode(&bytes).map(Some).ok_or_else(|| malformed().into())
    }

    /// Creates the mark, synced, or opens the one that is there.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn open(dir: &Path, marked: Marked) -> Result<Self, Error> {
        let there = path(dir).try_exists()?;
        if !there {
            // Written aside first: a mark that is there is whole.
            let draft = dir.join("mark.new");
            let mut file = File::create(&draft)?;
            file.write_all(&encode(marked))?;
            file.sync_all()?;
            std::fs::rename(&draft, path(dir))?;
            File::open(dir)?.sync_all()?;
        }
        let file = File::options().write(true).open(path(dir))?;
        let mut mark = Self { file };
        mark.set(marked)?;
        Ok(mark)
    }

    /// Overwrites the mark.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn set(&mut self, marked: Marked) -> Result<(), Error> {
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&encode(marked))?;
        Ok(())
    }
}

fn path(dir: &Path) -> std::path::PathBuf {
    dir.join("mark")
}

fn encode(marked: Marked) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(BYTES);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&marked.number.to_be_bytes());
    bytes.extend_from_slice(marked.hash.as_slice());
    let check = keccak256(&bytes);
    bytes.extend(check.iter().take(8));
    bytes
}

fn decode(bytes: &[u8]) -> Option<Marked> {
    let (_, rest) = bytes.split_at_checked(MAGIC.len())?;
    let (number, rest) = rest.split_at_checked(8)?;
    let (hash, _) = rest.split_at_checked(32)?;
    let marked = Marked { number: u64::from_be_bytes(number.try_into().ok()?), hash: B256::from_slice(hash) };
    (encode(marked) == bytes).then_some(marked)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops where an assumption fails")]

    use super::*;

    #[test]
    fn a_mark_with_any_bit_flipped_or_any_length_changed_is_refused() {
        let marked = Marked { number: 77, hash: B256::repeat_byte(9) };
        let bytes = encode(marked);
        assert_eq!(decode(&bytes), Some(marked));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&flipped), None, "bit={bit}");
        }
        for length in 0..bytes.len() {
            assert_eq!(decode(&bytes[..length]), None);
        }
        assert_eq!(decode(&[bytes, vec![0]].concat()), None);
    }

    #[test]
    fn a_mark_is_found_again_with_the_last_value_set() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Mark::read(dir.path()).unwrap(), None);
        let (first, second) =
            (Marked { number: 1, hash: B256::ZERO }, Marked { number: 2, hash: B256::repeat_byte(1) });
        let mut mark = Mark::open(dir.path(), first).unwrap();
        assert_eq!(Mark::read(dir.path()).unwrap(), Some(first));
        mark.set(second).unwrap();
        assert_eq!(Mark::read(dir.path()).unwrap(), Some(second));
        std::fs::write(dir.path().join("mark"), b"").unwrap();
        assert!(matches!(Mark::read(dir.path()), Err(Error::Corrupt(Corruption::Record { .. }))));
    }
}

//! How far one loop of this program has followed the chain, kept over restarts in a small file.
//!
//! # Design
//! The file is written when something was found, and otherwise once a minute: a disk that rests stays at rest, and forcing a file to it each second costs a
//! tenth of a percent of a core. After a restart the blocks of the last minute may be looked at again, in which nothing was found.

use super::files;
use eyre::{Context as _, Result};
use std::{path::PathBuf, time::Duration};
use tokio::time::Instant;

/// How often a height is written down though nothing was found.
const SAVE: Duration = Duration::from_secs(60);

/// Whether what was written at this time is to be written again though nothing was found since.
pub(crate) fn is_old(saved: Option<Instant>) -> bool {
    saved.is_none_or(|saved| saved.elapsed() >= SAVE)
}

/// The first block that was not looked at, and the file that remembers it.
#[derive(Debug)]
pub(crate) struct Place {
    path: PathBuf,
    next: u64,
    saved: Option<Instant>,
}

impl Place {
    /// Where the last process of this file stopped, or at the head.
    ///
    /// # Errors
    /// The file cannot be read, or holds no height.
    pub(crate) fn open(path: PathBuf, head: u64) -> Result<Self> {
        let next = match files::read(&path)? {
            Some(text) => text.trim().parse().wrap_err_with(|| format!("{} is damaged", path.display()))?,
            None => head,
        };
        // A height above the head's belongs to another network, whose folder was reused.
        Ok(Self { path, next: next.min(head.saturating_add(1)), saved: None })
    }

    /// The first block that was not looked at.
    pub(crate) const fn next(&self) -> u64 {
        self.next
    }

    /// Leaves out what lies before this block: it is too old to be of use.
    pub(crate) fn skip_to(&mut self, first: u64) {
        self.next = self.next.max(first);
    }

    /// Blocks up to this one were looked at.
    ///
    /// # Errors
    /// The file cannot be written. The blocks count as looked at all the same.
    pub(crate) fn pass(&mut self, last: u64, found: bool) -> Result<()> {
        self.next = last.saturating_add(1);
        if found || is_old(self.saved) {
            files::replace(&self.path, self.next.to_string().as_bytes())?;
            self.saved = Some(Instant::now());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_height_is_written_when_something_was_found_and_otherwise_once_a_minute() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("next-block");
        let written = || files::read(&path).unwrap();
        let mut place = Place::open(path.clone(), 40).unwrap();
        assert_eq!((place.next(), written()), (40, None));
        place.pass(40, false).unwrap();
        assert_eq!(written().as_deref(), Some("41"), "the first time, so that a restart goes on from here");
        place.pass(50, false).unwrap();
        assert_eq!((place.next(), written().as_deref()), (51, Some("41")), "nothing was found");
        place.pass(52, true).unwrap();
        assert_eq!(written().as_deref(), Some("53"));
        // As if a minute had passed; a machine that runs for less than one has no such moment, and the first write stands for it.
        place.saved = Instant::now().checked_sub(SAVE);
        place.pass(60, false).unwrap();
        assert_eq!(written().as_deref(), Some("61"));
    }

    #[test]
    fn a_process_goes_on_where_the_last_one_stopped_and_not_beyond_the_head() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("next-block");
        files::replace(&path, b"30\n").unwrap();
        let next = |head| Place::open(path.clone(), head).unwrap().next();
        assert_eq!([next(100), next(30), next(29), next(7)], [30, 30, 30, 8]);
        let mut place = Place::open(path.clone(), 100).unwrap();
        place.skip_to(20);
        assert_eq!(place.next(), 30);
        place.skip_to(35);
        assert_eq!(place.next(), 35);
        files::replace(&path, b"soon").unwrap();
        let error = Place::open(path.clone(), 100).unwrap_err();
        assert!(error.to_string().contains("is damaged"), "{error:#}");
    }
}

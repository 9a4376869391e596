//! How often a customer may fetch what was delivered to it: some times over, and no more, or it uses up the volume that the owner gives (docs/guides/earn.md).
//!
//! # Design
//! An order, and a channel, has one portion: what was delivered, and what was fetched, whichever session did it. What is resumed where a lost connection left
//! it counts as far as it goes. Of what was fetched a bound is not on the disk yet ([`UNSAVED`]): a process that is killed forgets so much, and a small
//! delivery is never written down. What was delivered is written with it, so that the two fit each other.
//!
//! # Not here
//! Checkers: who they are and how many is drawn by the chain.
//!
//! Spec: specs/0005-transfer.md §5.1.

use crate::compute::{amount::bytes, files};
use eyre::{Context as _, Result};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// What was delivered may be fetched so many times: a customer that dies begins again.
const TIMES: u64 = 3;
/// And so much besides, for small deliveries over bad lines.
const SPARE: Volume = Volume { blobs: 1_024, bytes: 64 << 20 };
/// So much may be fetched before it is written down: a quarter of what is spare, so that a restart gives little away and nobody makes this machine write often.
const UNSAVED: Volume = Volume { blobs: 256, bytes: 16 << 20 };

/// Blobs, and their bytes.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Volume {
    pub(super) blobs: u64,
    pub(super) bytes: u64,
}

impl Volume {
    /// Of blobs of these sizes.
    pub(super) fn of(sizes: impl IntoIterator<Item = u64>) -> Self {
        sizes.into_iter().fold(Self::default(), |sum, bytes| sum.with(Self { blobs: 1, bytes }))
    }

    const fn with(self, other: Self) -> Self {
        Self { blobs: self.blobs.saturating_add(other.blobs), bytes: self.bytes.saturating_add(other.bytes) }
    }

    /// What this is more than an earlier one.
    pub(super) const fn since(self, earlier: Self) -> Self {
        Self { blobs: self.blobs.saturating_sub(earlier.blobs), bytes: self.bytes.saturating_sub(earlier.bytes) }
    }

    const fn times(self, count: u64) -> Self {
        Self { blobs: self.blobs.saturating_mul(count), bytes: self.bytes.saturating_mul(count) }
    }

    /// Whether it is as much as that, in blobs or in bytes.
    const fn reaches(self, most: Self) -> bool {
        self.bytes >= most.bytes || self.blobs >= most.blobs
    }
}

/// What one customer was delivered and fetched.
#[derive(Debug, Default)]
pub(super) struct Portion {
    state: Mutex<State>,
    /// Where it is written down, if it is; held while that happens.
    path: Mutex<Option<PathBuf>>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct State {
    delivered: Volume,
    fetched: Volume,
    /// The last lease that was delivered, of a channel.
    lease: Option<u64>,
    /// What of `fetched` is on the disk.
    #[serde(skip)]
    saved: Volume,
}

impl Portion {
    /// As an earlier process left it. A file that cannot be read is as good as none: then it begins anew.
    pub(super) fn open(path: PathBuf) -> Self {
        let state = read(&path).unwrap_or_else(|error| {
            tracing::warn!(error = format!("{error:#}"), "what a customer fetched is not known any more");
            State::default()
        });
        let state = State { saved: state.fetched, ..state };
        Self { state: Mutex::new(state), path: Mutex::new(Some(path)) }
    }

    /// A lease's window was delivered; once, however often it is said.
    pub(super) fn deliver(&self, lease: u64, more: impl FnOnce() -> Volume) {
        if self.locked().lease == Some(lease) {
            return;
        }
        let more = more();
        let mut state = self.locked();
        state.lease = Some(lease);
        state.delivered = state.delivered.with(more);
    }

    /// All that there is to deliver, unless it was told before.
    pub(super) fn deliver_once(&self, all: impl FnOnce() -> Volume) {
        if self.locked().delivered == Volume::default() {
            let all = all();
            self.locked().delivered = all;
        }
    }

    /// More was fetched.
    pub(super) fn fetch(&self, more: Volume) {
        let mut state = self.locked();
        state.fetched = state.fetched.with(more);
    }

    /// Whether so much was fetched since the last time that it has to be written down.
    pub(super) fn is_due(&self) -> bool {
        let State { fetched, saved, .. } = *self.locked();
        fetched.since(saved).reaches(UNSAVED)
    }

    /// Writes down what was fetched, if that is not there already. It waits for the disk.
    pub(super) fn save(&self) {
        let path = self.path();
        let Some(path) = &*path else { return };
        let now = {
            let mut state = self.locked();
            if state.fetched == state.saved {
                return;
            }
            // Also if it fails: a disk that is full is not tried with every byte.
            state.saved = state.fetched;
            *state
        };
        if let Err(error) = write(path, &now) {
            tracing::warn!(error = format!("{error:#}"), "what a customer fetched is not written down");
        }
    }

    /// The order is over: nothing more is written down, and what was goes.
    pub(super) fn forget(&self) {
        let Some(path) = self.path().take() else { return };
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                tracing::warn!(%error, "{} stays on disk", path.display());
            }
            _ => {}
        }
    }

    /// Why nothing more is served, if nothing is.
    pub(super) fn spent(&self) -> Option<String> {
        let State { delivered, fetched, .. } = *self.locked();
        fetched.reaches(delivered.times(TIMES).with(SPARE)).then(|| {
            format!(
                "fetched too often: {} blobs, {} in all, of {} blobs, {}, that were delivered; {TIMES} times that, {} and {} blobs are the most: keep what arrives",
                fetched.blobs,
                bytes(fetched.bytes),
                delivered.blobs,
                bytes(delivered.bytes),
                bytes(SPARE.bytes),
                SPARE.blobs
            )
        })
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds these locks.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self) -> MutexGuard<'_, Option<PathBuf>> {
        self.path.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(path: &Path) -> Result<State> {
    let Some(text) = files::read(path)? else { return Ok(State::default()) };
    serde_json::from_str(&text).wrap_err_with(|| format!("cannot read {}", path.display()))
}

fn write(path: &Path, state: &State) -> Result<()> {
    files::replace(path, &serde_json::to_vec(state)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use keystead_blobs::REASON_BYTES_MAX;

    fn volume(blobs: u64, bytes: u64) -> Volume {
        Volume { blobs, bytes }
    }

    #[test]
    fn what_was_delivered_is_fetched_three_times_and_a_little_more() {
        let portion = Portion::default();
        portion.deliver(1, || Volume::of([1 << 30, 1 << 30]));
        for _ in 0..3 {
            portion.fetch(volume(2, 1 << 31));
            assert_eq!(portion.spent(), None);
        }
        portion.fetch(volume(1, SPARE.bytes.saturating_sub(1)));
        assert_eq!(portion.spent(), None);
        portion.fetch(volume(0, 1));
        let said = portion.spent().unwrap();
        assert!(said.contains("of 2 blobs, 2 GiB, that were delivered") && said.contains("64 MiB"), "{said}");
        assert!(said.is_ascii() && said.len() <= REASON_BYTES_MAX, "{said}");
        // The same window said again is no more work. More of it, and it goes on.
        portion.deliver(1, || volume(1, 1));
        assert!(portion.spent().is_some());
        portion.deliver(2, || volume(1, 1));
        assert_eq!(portion.spent(), None);
    }

    #[test]
    fn many_empty_answers_count_too() {
        let portion = Portion::default();
        portion.deliver(1, || volume(10, 0));
        portion.fetch(volume(SPARE.blobs.saturating_add(29), 0));
        assert_eq!(portion.spent(), None);
        portion.fetch(volume(1, 0));
        assert!(portion.spent().is_some());
    }

    #[test]
    fn all_of_an_order_counts_once() {
        let portion = Portion::default();
        portion.deliver_once(|| volume(1, 5));
        portion.deliver_once(|| volume(1, 7));
        assert_eq!(portion.locked().delivered, volume(1, 5));
    }

    #[test]
    fn a_restart_gives_no_new_portion_and_little_is_written_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("portion.json");
        let portion = Portion::open(path.clone());
        portion.deliver(7, || volume(1, 5));
        // Too little to be written before the end.
        portion.fetch(volume(UNSAVED.blobs.saturating_sub(1), UNSAVED.bytes.saturating_sub(1)));
        assert!(!portion.is_due() && !path.exists());
        portion.fetch(volume(0, 1));
        assert!(portion.is_due());
        portion.save();
        assert!(!portion.is_due() && path.exists());
        // What a killed process forgets, and what one that ends does not.
        portion.fetch(volume(1, 1));
        let before = Portion::open(path.clone());
        assert_eq!(before.locked().fetched, volume(UNSAVED.blobs.saturating_sub(1), UNSAVED.bytes));
        portion.save();
        let after = Portion::open(path.clone());
        assert_eq!(after.locked().fetched, volume(UNSAVED.blobs, UNSAVED.bytes.saturating_add(1)));
        // What was delivered is known, too, and counts once.
        after.deliver(7, || volume(9, 9));
        assert_eq!(after.locked().delivered, volume(1, 5));
        assert!(!after.is_due());
        after.fetch(SPARE);
        assert!(after.spent().is_some() && after.is_due());
        after.forget();
        after.save();
        assert!(!path.exists(), "what is over is not written again");
        fs::write(&path, b"no portion").unwrap();
        assert_eq!(Portion::open(path).spent(), None);
    }
}

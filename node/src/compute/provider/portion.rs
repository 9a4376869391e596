//! How often a customer may fetch what was delivered to it: some times over, and no more, or it uses up the volume that the owner gives (docs/guides/earn.md).
//!
//! # Design
//! An order, and a channel, has one portion in this process: what was delivered, and what was fetched, whichever session did it. What is resumed where a lost
//! connection left it counts as far as it goes. Nothing is kept on the disk: a restart gives a new portion.
//!
//! # Not here
//! Checkers: who they are and how many is drawn by the chain.
//!
//! Spec: specs/0005-transfer.md §5.1.

use crate::compute::amount::bytes;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What was delivered may be fetched so many times: a customer that dies begins again.
const TIMES: u64 = 3;
/// And so much besides, for small deliveries over bad lines.
const SPARE: Volume = Volume { blobs: 1_024, bytes: 64 << 20 };

/// Blobs, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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

    const fn times(self, count: u64) -> Self {
        Self { blobs: self.blobs.saturating_mul(count), bytes: self.bytes.saturating_mul(count) }
    }
}

/// What one customer was delivered and fetched.
#[derive(Debug, Default)]
pub(super) struct Portion(Mutex<State>);

#[derive(Clone, Copy, Debug, Default)]
struct State {
    delivered: Volume,
    fetched: Volume,
}

impl Portion {
    /// More was delivered.
    pub(super) fn deliver(&self, more: Volume) {
        let mut state = self.locked();
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

    /// Why nothing more is served, if nothing is; with what a session has fetched that is not counted yet.
    pub(super) fn spent(&self, uncounted: Volume) -> Option<String> {
        let State { delivered, fetched } = *self.locked();
        let (fetched, most) = (fetched.with(uncounted), delivered.times(TIMES).with(SPARE));
        let is_spent = fetched.bytes >= most.bytes || fetched.blobs >= most.blobs;
        is_spent.then(|| {
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
        // No code panics while it holds this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
        portion.deliver(Volume::of([1 << 30, 1 << 30]));
        for _ in 0..3 {
            portion.fetch(volume(2, 1 << 31));
            assert_eq!(portion.spent(Volume::default()), None);
        }
        portion.fetch(volume(1, SPARE.bytes.saturating_sub(1)));
        assert_eq!(portion.spent(Volume::default()), None);
        let said = portion.spent(volume(0, 1)).unwrap();
        assert!(said.contains("of 2 blobs, 2 GiB, that were delivered") && said.contains("64 MiB"), "{said}");
        assert!(said.is_ascii() && said.len() <= REASON_BYTES_MAX, "{said}");
        // More work, and it goes on.
        portion.deliver(volume(1, 1));
        assert_eq!(portion.spent(volume(0, 1)), None);
    }

    #[test]
    fn many_empty_answers_count_too() {
        let portion = Portion::default();
        portion.deliver(volume(10, 0));
        portion.fetch(volume(SPARE.blobs.saturating_add(29), 0));
        assert_eq!(portion.spent(Volume::default()), None);
        assert!(portion.spent(volume(1, 0)).is_some());
    }

    #[test]
    fn all_of_an_order_counts_once() {
        let portion = Portion::default();
        portion.deliver_once(|| volume(1, 5));
        portion.deliver_once(|| volume(1, 7));
        assert_eq!(portion.locked().delivered, volume(1, 5));
    }
}

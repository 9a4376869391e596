//! When a proof no longer counts: its provider was drawn to prove again, and nobody has stated that it did.
//!
//! # Design
//! Everybody can repeat the draw ([`super::due`]), so a reader needs nobody's word that a provider let a due round pass: a statement of an older height
//! stops counting once the time for that round is over. One of a newer height counts again, since a round fails at an honest provider, too, when a job has
//! its machine. What cannot be repeated is not believed: an epoch whose randomness this reader cannot get, or more epochs than it looks at.
//! Spec: specs/0010-capability.md §6.7.
//!
//! # Not here
//! Where the randomness of a height comes from: the caller asks its node.

use super::due::{EPOCH_BLOCKS, epoch_height, is_due};
use alloy_primitives::{Address, B256};
use std::collections::BTreeMap;

/// Blocks after a due height until its round must be stated in the record: half an epoch, 7 minutes at the fastest pace. A round takes seconds, checkers try
/// to fetch it for five minutes, then the record and the register change.
pub const STATED_WITHIN_BLOCKS: u64 = EPOCH_BLOCKS / 2;
/// Epochs that are looked at, 15 to 44 hours: one lookup each. Of 5,000 honest providers one is not drawn in so many; it proves again by itself.
pub const EPOCHS_MAX: usize = 64;

/// Why a statement does not count any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lapse {
    /// The provider was due at this height, and no statement of it or of a newer one is there.
    Due(u64),
    /// Whether it was due at this height cannot be known here: the height's randomness could not be had.
    Unknown(u64),
    /// Its last statement is older than this height, from which on draws are looked at.
    Old(u64),
}

/// What a reader knows of the draws; nothing by default, and nothing lapses then.
#[derive(Clone, Debug, Default)]
pub struct Draws {
    /// Newest block.
    pub head: u64,
    /// Newest height whose randomness is on the chain.
    pub newest: u64,
    /// Randomness of first heights of epochs, as far as it is known.
    pub randomness: BTreeMap<u64, B256>,
}

impl Draws {
    /// The first heights of the epochs that decide about a statement of this height, newest first: above it, with their time for statements over. At most
    /// [`EPOCHS_MAX`].
    pub fn heights(&self, stated: u64) -> impl Iterator<Item = u64> {
        self.all(stated).take(EPOCHS_MAX)
    }

    fn all(&self, stated: u64) -> impl Iterator<Item = u64> + use<> {
        // A round whose time ends with block `height + STATED_WITHIN_BLOCKS` is over in the one after it.
        let over = self.head.saturating_sub(STATED_WITHIN_BLOCKS).saturating_sub(1).min(self.newest);
        let newest = epoch_height(over);
        std::iter::successors(newest, |height| height.checked_sub(EPOCH_BLOCKS))
            .take_while(move |height| *height > stated)
    }

    /// Whether a statement of this height lapsed, and why: the newest draw that the provider let pass, before what is not known.
    #[must_use]
    pub fn lapse(&self, provider: Address, stated: u64) -> Option<Lapse> {
        let is_drawn = |height: &u64| self.randomness.get(height).is_some_and(|value| is_due(provider, *value));
        if let Some(due) = self.heights(stated).find(is_drawn) {
            return Some(Lapse::Due(due));
        }
        if let Some(unknown) = self.heights(stated).find(|height| !self.randomness.contains_key(height)) {
            return Some(Lapse::Unknown(unknown));
        }
        let oldest = self.all(stated).nth(EPOCHS_MAX.saturating_sub(1))?;
        self.all(stated).nth(EPOCHS_MAX).map(|_| Lapse::Old(oldest))
    }
}

impl core::fmt::Display for Lapse {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Due(height) => write!(f, "proof lapsed: was due at block {height}"),
            Self::Unknown(height) => {
                write!(
                    f,
                    "proof not believed: your node does not have the randomness of block {height}, at which it may have been due"
                )
            }
            Self::Old(height) => write!(f, "proof lapsed: it is older than block {height}"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::arithmetic_side_effects)] // A test: a panic is a failure, and numbers are small.
mod tests {
    use super::*;
    use alloy_primitives::keccak256;

    const ME: Address = Address::repeat_byte(7);

    /// Randomness by which `ME` is drawn, or is not.
    fn value(drawn: bool, height: u64) -> B256 {
        (0_u64..)
            .map(|salt| keccak256([height, salt].map(u64::to_be_bytes).concat()))
            .find(|value| is_due(ME, *value) == drawn)
            .unwrap()
    }

    /// All epochs up to the head are known, and `ME` is drawn in these.
    fn draws(head: u64, drawn: &[u64]) -> Draws {
        let heights = (1..=head / EPOCH_BLOCKS).map(|number| number * EPOCH_BLOCKS);
        let randomness = heights.map(|height| (height, value(drawn.contains(&height), height))).collect();
        Draws { head, newest: head.saturating_sub(2), randomness }
    }

    #[test]
    fn a_statement_counts_until_a_due_rounds_time_is_over_and_not_in_the_block_after() {
        let over = 8_192 + STATED_WITHIN_BLOCKS;
        assert_eq!(draws(over, &[8_192]).lapse(ME, 8_191), None);
        assert_eq!(draws(over + 1, &[8_192]).lapse(ME, 8_191), Some(Lapse::Due(8_192)));
        assert_eq!(draws(over + 1, &[]).lapse(ME, 8_191), None, "others were drawn");
    }

    #[test]
    fn a_statement_of_the_due_height_or_of_a_newer_one_counts() {
        let draws = draws(20_000, &[4_096, 8_192]);
        assert_eq!([8_191, 8_192, 8_193].map(|stated| draws.lapse(ME, stated)), [Some(Lapse::Due(8_192)), None, None]);
        assert_eq!(draws.lapse(ME, 1), Some(Lapse::Due(8_192)), "the newest is named");
    }

    #[test]
    fn an_older_draw_that_was_let_pass_is_not_forgotten() {
        assert_eq!(draws(40 * EPOCH_BLOCKS, &[4_096]).lapse(ME, 10), Some(Lapse::Due(4_096)));
    }

    #[test]
    fn what_is_not_known_is_not_believed_and_said_as_such() {
        let mut some = draws(20_000, &[]);
        some.randomness.remove(&8_192);
        assert_eq!(some.lapse(ME, 8_191), Some(Lapse::Unknown(8_192)));
        assert_eq!(some.lapse(ME, 8_192), None, "not needed");
        let mut due = draws(20_000, &[4_096]);
        due.randomness.remove(&8_192);
        assert_eq!(due.lapse(ME, 10), Some(Lapse::Due(4_096)), "what is known comes first");
    }

    #[test]
    fn more_epochs_than_are_looked_at_are_too_many_and_no_more_are_asked_for() {
        let most = EPOCHS_MAX as u64;
        let head = (most + 1) * EPOCH_BLOCKS + STATED_WITHIN_BLOCKS + 1;
        let draws = draws(head, &[]);
        assert_eq!(draws.lapse(ME, EPOCH_BLOCKS), None, "{most} epochs are above it");
        assert_eq!(draws.lapse(ME, EPOCH_BLOCKS - 1), Some(Lapse::Old(2 * EPOCH_BLOCKS)));
        assert_eq!((draws.heights(0).count(), draws.heights(0).next()), (EPOCHS_MAX, Some((most + 1) * EPOCH_BLOCKS)));
    }

    #[test]
    fn where_nothing_is_known_or_no_epoch_is_over_nothing_lapses() {
        assert_eq!(Draws::default().lapse(ME, 0), None);
        assert_eq!(draws(4_096 + STATED_WITHIN_BLOCKS, &[4_096]).lapse(ME, 0), None);
        // Blocks without values: nobody was drawn yet.
        assert_eq!(Draws { newest: 4_095, ..draws(20_000, &[4_096]) }.lapse(ME, 0), None);
        assert_eq!(Lapse::Due(4_096).to_string(), "proof lapsed: was due at block 4096");
    }
}

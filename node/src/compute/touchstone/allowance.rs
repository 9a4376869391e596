//! How much of what is published goes to whoever asks: strangers must not use up the volume that the machine's owner allows.
//!
//! # Design
//! One bucket of bytes for all strangers together, since identities cost nothing; an answer takes its whole length before it goes. Who was drawn to check the
//! round has bytes of its own in each round, so that no stranger keeps a checker out. How many read at once is not bounded: who reads slowly must not hold up
//! others, and holds no bytes of its own.
//!
//! Spec: specs/0005-transfer.md §9.

use keystead_blobs::NodeId;
use keystead_market::touchstone::round::PUBLISHED_BYTES_MAX;
use keystead_owner::preferences::Network;
use std::collections::BTreeMap;

/// For strangers in a day, bytes. A start value: sixteen of the longest answers, so that anybody can still check a proof, and at most 30 GiB a month.
const DAY_BYTES: u64 = 1 << 30;
/// For strangers at once, bytes: four of the longest answers in a row.
const BURST_BYTES: u64 = 4 * PUBLISHED_BYTES_MAX as u64;
/// For each drawn checker of a round, bytes: one that finds its own node behind fetches a few times.
const DRAWN_BYTES: u64 = 4 * PUBLISHED_BYTES_MAX as u64;
/// Strangers get at most this part of the owner's limit.
const PART: u64 = 10;
/// Bytes of an MB.
const MB: u64 = 1_000_000;
/// Milliseconds of a day.
const DAY_MS: u128 = 86_400_000;

/// What all strangers together may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    burst_bytes: u64,
    day_bytes: u64,
}

impl Bounds {
    /// Those of an owner: a limit of the volume gives strangers at most a tenth of it in its days, the burst included.
    pub(super) fn of(network: &Network) -> Self {
        if network.transfer_mb_max == 0 {
            return Self { burst_bytes: BURST_BYTES, day_bytes: DAY_BYTES };
        }
        let part = network.transfer_mb_max.saturating_mul(MB) / PART;
        let burst_bytes = BURST_BYTES.min(part / 2);
        let rest = part.saturating_sub(burst_bytes).checked_div(network.transfer_days).unwrap_or(0);
        Self { burst_bytes, day_bytes: DAY_BYTES.min(rest) }
    }
}

/// A checker that was drawn for a round.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drawn {
    pub(super) node: NodeId,
    /// The round's height.
    pub(super) height: u64,
}

/// What has been taken.
#[derive(Debug)]
pub(super) struct Allowance {
    /// What strangers may take now, in bytes times the milliseconds of a day, so that nothing is rounded.
    level: u128,
    looked_ms: u64,
    height: u64,
    /// Bytes taken by the checkers of this height.
    drawn: BTreeMap<NodeId, u64>,
}

impl Default for Allowance {
    /// A full bucket.
    fn default() -> Self {
        Self { level: u128::MAX, looked_ms: 0, height: 0, drawn: BTreeMap::new() }
    }
}

impl Allowance {
    /// Whether an answer of so many bytes may go now, to a checker that was drawn or to a stranger; then it counts.
    pub(super) fn take(&mut self, bytes: u64, asker: Option<Drawn>, bounds: Bounds, now_ms: u64) -> bool {
        if asker.is_some_and(|drawn| self.take_drawn(bytes, drawn)) {
            return true;
        }
        let passed = u128::from(now_ms.saturating_sub(self.looked_ms));
        self.looked_ms = self.looked_ms.max(now_ms);
        let more = passed.saturating_mul(u128::from(bounds.day_bytes));
        let most = u128::from(bounds.burst_bytes).saturating_mul(DAY_MS);
        self.level = self.level.saturating_add(more).min(most);
        let left = self.level.checked_sub(u128::from(bytes).saturating_mul(DAY_MS));
        self.level = left.unwrap_or(self.level);
        left.is_some()
    }

    fn take_drawn(&mut self, bytes: u64, Drawn { node, height }: Drawn) -> bool {
        if self.height != height {
            self.height = height;
            self.drawn.clear();
        }
        let taken = self.drawn.entry(node).or_default();
        let sum = taken.saturating_add(bytes);
        let fits = sum <= DRAWN_BYTES;
        if fits {
            *taken = sum;
        }
        fits
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use keystead_blobs::SecretKey;
    use keystead_owner::preferences::Preferences;

    const LONGEST: u64 = PUBLISHED_BYTES_MAX as u64;
    const HOUR_MS: u64 = 3_600_000;

    fn bounds(transfer_mb_max: u64, transfer_days: u64) -> Bounds {
        Bounds::of(&Network { transfer_mb_max, transfer_days, ..Preferences::default().network })
    }

    fn drawn(byte: u8, height: u64) -> Option<Drawn> {
        Some(Drawn { node: SecretKey::from_bytes(&[byte; 32]).id(), height })
    }

    #[test]
    fn strangers_together_get_a_burst_and_the_bytes_of_a_day_and_no_more() {
        let (mut allowance, bounds) = (Allowance::default(), bounds(0, 1));
        let mut longest = |now_ms: u64| (0..).take_while(|_| allowance.take(LONGEST, None, bounds, now_ms)).count();
        assert_eq!(longest(0), 4, "in a row");
        // As fast as they can, for a day.
        let given: usize = (1..86_400).map(|second| longest(second * 1_000)).sum();
        assert_eq!(given, 15, "the sixteenth is there at the end of the day");
        assert!(allowance.take(LONGEST, None, bounds, 86_400_000));
        assert!(!allowance.take(1, None, bounds, 86_400_000), "to the last byte");
        // Small answers pass as long as their bytes are there, and an idle week saves no more than a burst.
        let week = 8 * 24 * HOUR_MS;
        let small = (0..).take_while(|_| allowance.take(1 << 20, None, bounds, week)).count();
        assert_eq!(small, 256);
        assert!(!allowance.take(LONGEST, None, bounds, 0), "a clock that falls gives nothing");
    }

    #[test]
    fn a_drawn_checker_gets_the_round_whatever_strangers_have_taken_and_not_without_end() {
        let (mut allowance, bounds) = (Allowance::default(), bounds(0, 1));
        while allowance.take(LONGEST, None, bounds, 0) {}
        for _ in 0..4 {
            assert!(allowance.take(LONGEST, drawn(1, 7), bounds, 0));
        }
        assert!(!allowance.take(LONGEST, drawn(1, 7), bounds, 0), "a fifth time it is a stranger");
        assert!(allowance.take(LONGEST, drawn(2, 7), bounds, 0), "another has its own");
        assert!(!allowance.take(1, None, bounds, 0), "a stranger still gets nothing");
        assert!(allowance.take(LONGEST, drawn(1, 8), bounds, 0), "the next round");
    }

    #[test]
    fn a_limit_of_the_owner_gives_strangers_at_most_a_tenth_of_it_in_its_days() {
        assert_eq!(bounds(0, 30), Bounds { burst_bytes: 256 << 20, day_bytes: 1 << 30 });
        for (mb, days) in [(1, 1), (1_000, 1), (10_000, 30), (10_000, 365), (100_000, 30), (1_000_000, 30)] {
            let Bounds { burst_bytes, day_bytes } = bounds(mb, days);
            assert!(burst_bytes + day_bytes * days <= mb * MB / 10, "{mb} MB in {days} days");
            assert!(burst_bytes <= BURST_BYTES && day_bytes <= DAY_BYTES);
        }
        let ten = bounds(10_000, 30);
        assert_eq!((ten.burst_bytes, ten.day_bytes), (256 << 20, (1_000_000_000 - (256 << 20)) / 30));
        // Where the longest answer is more than half of the part, no stranger gets it.
        let (mut allowance, small) = (Allowance::default(), bounds(1_000, 1));
        assert!(!allowance.take(LONGEST, None, small, 100 * HOUR_MS));
        assert!(allowance.take(50_000_000, None, small, 100 * HOUR_MS));
        // A limit that is set later holds for what was saved before.
        let mut saved = Allowance::default();
        assert!(saved.take(1, None, bounds(0, 1), 0));
        assert!(!saved.take(50_000_001, None, small, 0));
    }
}

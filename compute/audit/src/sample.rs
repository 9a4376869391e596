//! Which units are run again: a uniform draw without replacement that anybody can repeat from a seed.
//!
//! # Design
//! A counter hashed with the seed gives 64-bit words, rejection makes them uniform below any bound, and the first `s` steps of a
//! Fisher-Yates shuffle give the sample. Integers only, so every implementation draws the same units. Spec: specs/0003-job.md §10.

use alloy_primitives::keccak256;
use core::num::{NonZeroU32, NonZeroU64};
use std::collections::BTreeMap;

const DOMAIN: &[u8] = b"keystead/sample/v1";
const PPM: u64 = 1_000_000;

/// 32 bytes chosen after the commitment was recorded; who knows them before can cheat elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(pub [u8; 32]);

/// How many units of a job are run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleRule {
    /// Share of all units, parts per million; more than 1,000,000 counts as all.
    pub rate_ppm: u32,
    /// At least so many units (or all, if the job has fewer); 0 counts as 1.
    pub units_min: u32,
}

impl SampleRule {
    /// The rule to begin with: 3 % of the units, at least 10 (the probation rule of the design).
    pub const START: Self = Self { rate_ppm: 30_000, units_min: 10 };

    /// Sample size for a job: `min(n, max(units_min, ceil(n * rate_ppm / 1,000,000)))`, at least 1 if there is a unit.
    #[must_use]
    pub fn size(&self, unit_count: u32) -> u32 {
        let share = u64::from(unit_count).saturating_mul(u64::from(self.rate_ppm)).div_ceil(PPM);
        let share = u32::try_from(share).unwrap_or(u32::MAX);
        share.max(self.units_min).max(1).min(unit_count)
    }
}

/// Draws `size` different units of `0..unit_count`, each set and order equally likely; in the order in which they are to be run.
/// A `size` above `unit_count` counts as `unit_count`. Costs about one hash and two map steps a unit.
#[must_use]
pub fn draw(seed: Seed, unit_count: u32, size: u32) -> Vec<u32> {
    let mut words = Words { seed, counter: 0 };
    // The shuffled array, only where it differs from 0, 1, 2, ..
    let mut moved: BTreeMap<u32, u32> = BTreeMap::new();
    let size = size.min(unit_count);
    let mut sample = Vec::with_capacity(size as usize);
    for (place, left) in (0..size).zip((1..=unit_count).rev()) {
        let other = place.saturating_add(words.below(left));
        let here = moved.get(&place).copied().unwrap_or(place);
        let there = moved.insert(other, here).unwrap_or(other);
        sample.push(there);
    }
    sample
}

struct Words {
    seed: Seed,
    counter: u64,
}

impl Words {
    fn next(&mut self) -> u64 {
        let hash = keccak256([DOMAIN, &self.seed.0, &self.counter.to_be_bytes()].concat());
        self.counter = self.counter.wrapping_add(1);
        hash.iter().take(8).fold(0, |word, &byte| (word << 8) | u64::from(byte))
    }

    /// A uniform number in `0..bound`; a bound of 0 counts as 1.
    fn below(&mut self, bound: u32) -> u32 {
        let bound = NonZeroU64::from(NonZeroU32::new(bound).unwrap_or(NonZeroU32::MIN));
        let zone = (u64::MAX / bound).saturating_mul(bound.get());
        loop {
            let word = self.next();
            if word < zone {
                // LOSSY: the remainder is below a u32 bound.
                #[allow(clippy::cast_possible_truncation)]
                return (word % bound) as u32;
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)] // Small numbers in tests.
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The shuffle of the spec, written with the whole array: the oracle.
    fn oracle(seed: Seed, unit_count: u32, size: u32) -> Vec<u32> {
        let mut words = Words { seed, counter: 0 };
        let mut all: Vec<u32> = (0..unit_count).collect();
        for place in 0..size {
            let other = place + words.below(unit_count - place);
            all.swap(place as usize, other as usize);
        }
        all.truncate(size as usize);
        all
    }

    #[test]
    fn size_is_the_share_rounded_up_within_minimum_and_count() {
        let rule = |rate_ppm, units_min| SampleRule { rate_ppm, units_min };
        assert_eq!(rule(30_000, 10).size(64), 10);
        assert_eq!(rule(30_000, 10).size(9), 9);
        assert_eq!(rule(30_000, 10).size(333), 10);
        assert_eq!(rule(30_000, 10).size(334), 11);
        assert_eq!(rule(1_000_000, 0).size(65_536), 65_536);
        assert_eq!(rule(u32::MAX, 0).size(65_536), 65_536);
        assert_eq!(rule(0, 0).size(64), 1);
        assert_eq!(rule(0, 0).size(0), 0);
        assert_eq!(rule(1, 0).size(1_000_001), 2);
    }

    #[test]
    fn the_draw_of_a_published_seed_never_changes() {
        assert_eq!(draw(Seed([0; 32]), 64, 8), oracle(Seed([0; 32]), 64, 8));
        assert_eq!(draw(Seed([0; 32]), 64, 8), [56, 54, 14, 38, 34, 2, 29, 12]);
    }

    #[test]
    fn every_pair_of_five_units_is_drawn_equally_often() {
        // 20 ordered pairs, 20,000 draws: chi-squared with 19 degrees of freedom stays below 43.8 (p = 0.001).
        let mut counts = BTreeMap::<Vec<u32>, i32>::new();
        for trial in 0u32..20_000 {
            let seed = Seed(keccak256(trial.to_be_bytes()).0);
            *counts.entry(draw(seed, 5, 2)).or_default() += 1;
        }
        assert_eq!(counts.len(), 20);
        let chi_squared: f64 = counts.values().map(|&n| f64::from(n - 1_000).powi(2) / 1_000.0).sum();
        assert!(chi_squared < 43.8, "chi squared {chi_squared}");
    }

    proptest! {
        #[test]
        fn the_sparse_shuffle_equals_the_whole_one_and_never_repeats(seed: [u8; 32], unit_count in 0u32..300, size in 0u32..320) {
            let sample = draw(Seed(seed), unit_count, size);
            prop_assert_eq!(&sample, &oracle(Seed(seed), unit_count, size.min(unit_count)));
            let mut sorted = sample;
            sorted.sort_unstable();
            sorted.dedup();
            prop_assert_eq!(sorted.len(), size.min(unit_count) as usize);
            prop_assert!(sorted.iter().all(|&unit| unit < unit_count));
        }
    }
}

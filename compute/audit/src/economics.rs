//! What rate, how many checkers and which bond make honesty the best reply: the formulas of the audit in whole numbers.
//!
//! # Design
//! A wrong unit is caught with `q = p * d * (1 - r^k)`. Cheating saves at most `saved`, wins at most `gain` outside, and loses the
//! window's price and bond if caught, so honesty is best iff `q >= (saved + gain) / (price + bond + gain)`. Everything is rounded
//! against the cheat: probabilities down, bonds up. Spec: specs/0008-audit.md §1.

use crate::draw::PPM;
use alloy_primitives::U256;

/// How a unit is checked, in parts per million.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checking {
    /// Share of units drawn.
    pub rate_ppm: u32,
    /// Power of the class's check: 1,000,000 for exact and self-checking.
    pub power_ppm: u32,
    /// Share of seats that would say *right* to anything.
    pub colluding_ppm: u32,
    /// Checkers per drawn unit.
    pub checkers: u32,
}

impl Checking {
    /// The probability that one wrong unit is caught, parts per million, rounded down; 0 if nobody checks.
    #[must_use]
    pub fn caught_ppm(&self) -> u32 {
        const WHOLE: u64 = PPM as u64;
        let part = |share: u64, of: u32| share.saturating_mul(u64::from(of.min(PPM))) / WHOLE;
        // r^k rounded up: a smaller power is a larger chance.
        let all_collude = (0..self.checkers.min(64))
            .fold(WHOLE, |share, _| share.saturating_mul(u64::from(self.colluding_ppm.min(PPM))).div_ceil(WHOLE));
        let honest = WHOLE.saturating_sub(all_collude);
        // LOSSY: at most one million.
        #[allow(clippy::cast_possible_truncation)]
        return part(part(honest, self.rate_ppm), self.power_ppm) as u32;
    }
}

/// What is at stake in one window, wei.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stakes {
    /// What the provider is paid for the window.
    pub price: U256,
    /// The work that cheating saves, at most the price.
    pub saved: U256,
    /// What a false result is worth to the provider outside of the market.
    pub gain: U256,
}

impl Stakes {
    /// The least bond that makes honesty the best reply, rounded up; `None` if wrong units are never caught, or the number is
    /// beyond 256 bits.
    #[must_use]
    pub fn bond_min(&self, checking: Checking) -> Option<U256> {
        let caught = U256::from(checking.caught_ppm());
        let wins = self.saved.min(self.price).checked_add(self.gain)?;
        let due =
            wins.checked_mul(U256::from(PPM))?.checked_add(caught.checked_sub(U256::ONE)?)?.checked_div(caught)?;
        Some(due.saturating_sub(self.price).saturating_sub(self.gain))
    }

    /// Whether honesty is the best reply behind this bond.
    #[must_use]
    pub fn honest(&self, checking: Checking, bond: U256) -> bool {
        self.bond_min(checking).is_some_and(|least| bond >= least)
    }

    /// The least rate that makes honesty the best reply behind this bond, parts per million, rounded up; `None` if checking all is
    /// not enough.
    #[must_use]
    pub fn rate_min_ppm(&self, checking: Checking, bond: U256) -> Option<u32> {
        // The condition is monotone in the rate: twenty halvings of a million.
        let holds = |rate_ppm| self.honest(Checking { rate_ppm, ..checking }, bond);
        if !holds(PPM) {
            return None;
        }
        let (mut fails, mut works) = (0_u32, PPM);
        while works > fails.saturating_add(1) {
            let middle = fails.midpoint(works);
            if holds(middle) { works = middle } else { fails = middle }
        }
        Some(works)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::arithmetic_side_effects)] // A test: a panic is a failure, and numbers are small.
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WORST: Checking = Checking { rate_ppm: 30_000, power_ppm: 990_000, colluding_ppm: 333_333, checkers: 1 };

    fn stakes(price: u64, saved: u64, gain: u64) -> Stakes {
        Stakes { price: U256::from(price), saved: U256::from(saved), gain: U256::from(gain) }
    }

    #[test]
    fn the_published_worst_cases_come_out() {
        // compute-market notes: C = R, r = 1/3, k = 1, d = 0.99: S = 149.5 R at 1 %, 74.8 R at 2 %, 49.5 R at 3 %, 29.3 R at 5 %.
        for (rate_ppm, tenths) in [(10_000, 1_505), (20_000, 748), (30_000, 495), (50_000, 293)] {
            let bond = stakes(1_000_000, 1_000_000, 0).bond_min(Checking { rate_ppm, ..WORST }).unwrap();
            let got = u32::try_from(bond / U256::from(100_000)).unwrap();
            assert!(got.abs_diff(tenths) <= 1, "rate {rate_ppm}: {got} tenths of R, published {tenths}");
        }
    }

    #[test]
    fn more_checkers_leave_less_to_colluders() {
        let with = |checkers| Checking { rate_ppm: PPM, power_ppm: PPM, checkers, ..WORST }.caught_ppm();
        assert_eq!([0, 1, 3, 5].map(with), [0, 666_667, 962_963, 995_884]);
        assert_eq!(Checking { colluding_ppm: u32::MAX, ..WORST }.caught_ppm(), 0);
        assert_eq!(stakes(1, 1, 1).bond_min(Checking { rate_ppm: 0, ..WORST }), None);
    }

    proptest! {
        #[test]
        fn behind_the_least_bond_cheating_never_pays_and_one_wei_less_it_may(
            price in 1u64..1 << 50, saved in any::<prop::sample::Index>(), gain in 0u64..1 << 50,
            rate_ppm in 1u32..=PPM, colluding_ppm in 0u32..900_000, checkers in 1u32..6,
        ) {
            let saved = saved.index(usize::try_from(price).unwrap() + 1) as u64;
            let checking = Checking { rate_ppm, power_ppm: PPM, colluding_ppm, checkers };
            let stakes = stakes(price, saved, gain);
            let caught = u128::from(checking.caught_ppm());
            prop_assume!(caught > 0);
            let bond = u128::try_from(stakes.bond_min(checking).unwrap()).unwrap();
            // q (R + S + G) >= C + G, in millionths.
            let wins = u128::from(PPM) * (u128::from(saved) + u128::from(gain));
            let worth = |bond: u128| caught * (u128::from(price) + bond + u128::from(gain)) >= wins;
            prop_assert!(worth(bond));
            prop_assert!(bond == 0 || !worth(bond - 1));
            let rate = stakes.rate_min_ppm(checking, U256::from(bond)).unwrap();
            prop_assert!(rate <= rate_ppm);
            let honest = stakes.honest(Checking { rate_ppm: rate, ..checking }, U256::from(bond));
            prop_assert!(honest);
        }
    }
}

//! What rate, how many checkers and which bond make honesty the best reply: the formulas of the audit in whole numbers.
//!
//! # Design
//! A wrong unit is caught with `q = p * d * (1 - r^k)`. Cheating saves at most `saved`, wins at most `gain` outside, and loses the
//! window's price and bond if caught, so honesty is best iff `q >= (saved + gain) / (price + bond + gain)`. Everything is rounded
//! against the cheat: probabilities down, bonds up. [`Stakes`] is the rule for one cheat, [`Pieces`] the rule for every number of wrong
//! units or segments of a window. Spec: specs/0008-audit.md §1.

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
        self.bond_for(checking.caught_ppm())
    }

    /// The same for a given probability of being caught, parts per million.
    fn bond_for(&self, caught_ppm: u32) -> Option<U256> {
        let caught = U256::from(caught_ppm);
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
        least_rate_ppm(|rate_ppm| self.honest(Checking { rate_ppm, ..checking }, bond))
    }
}

/// The lowest rate at which a condition holds that holds at every higher rate too; `None` if it does not even hold where all is drawn.
fn least_rate_ppm(holds: impl Fn(u32) -> bool) -> Option<u32> {
    if !holds(PPM) {
        return None;
    }
    // Twenty halvings of a million.
    let (mut fails, mut works) = (0_u32, PPM);
    while works > fails.saturating_add(1) {
        let middle = fails.midpoint(works);
        if holds(middle) { works = middle } else { fails = middle }
    }
    Some(works)
}

/// A window as a cheat sees it: equal pieces (units, or segments of units), any number of which it may get wrong.
///
/// With `w` wrong pieces it saves `w` pieces' price, wins `gain` once, and is caught with at least `1 - (1 - q)^w`, `q` the probability for
/// one piece. The former is linear in `w`, the latter concave: so honesty is best for every `w` iff it is for one piece and for all.
/// Several wrong segments of one unit are caught more often than as many in different units, so the count may be that of all segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pieces {
    /// How many; 0 counts as 1.
    pub count: u32,
    /// What the provider is paid for all of them, wei.
    pub price: U256,
    /// What a false result is worth to the provider outside of the market, wei.
    pub gain: U256,
}

impl Pieces {
    /// The least bond that makes honesty the best reply whatever the number of wrong pieces, rounded up. `checking` is that of one
    /// piece. `None` if wrong pieces are never caught, or the number is beyond 256 bits.
    #[must_use]
    pub fn bond_min(&self, checking: Checking) -> Option<U256> {
        let Self { count, price, gain } = *self;
        let count = count.max(1);
        let caught = checking.caught_ppm();
        let one = Stakes { price, saved: price.div_ceil(U256::from(count)), gain }.bond_for(caught)?;
        let all = Stakes { price, saved: price, gain }.bond_for(caught_among(caught, count))?;
        Some(one.max(all))
    }

    /// The least rate that does so behind a given bond, parts per million, rounded up; `None` if drawing all is not enough.
    #[must_use]
    pub fn rate_min_ppm(&self, checking: Checking, bond: U256) -> Option<u32> {
        let enough = |rate_ppm| self.bond_min(Checking { rate_ppm, ..checking }).is_some_and(|least| bond >= least);
        least_rate_ppm(enough)
    }
}

/// The probability that at least one of `count` wrong pieces is caught, each with `caught_ppm`, rounded down.
fn caught_among(caught_ppm: u32, count: u32) -> u32 {
    /// A probability of one; its square fits 128 bits.
    const ONE: u128 = 1_000_000_000_000_000_000;
    const TO_PPM: u128 = ONE / PPM as u128;
    let times = |a: u128, b: u128| a.saturating_mul(b).div_ceil(ONE);
    let (mut missed, mut left) = (ONE, count);
    let mut power = u128::from(PPM.saturating_sub(caught_ppm)).saturating_mul(TO_PPM);
    while left > 0 {
        if left & 1 == 1 {
            missed = times(missed, power);
        }
        power = times(power, power);
        left >>= 1;
    }
    // LOSSY: at most one million.
    #[allow(clippy::cast_possible_truncation)]
    return (ONE.saturating_sub(missed) / TO_PPM) as u32;
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

    #[test]
    fn several_wrong_pieces_are_caught_more_often_than_one_and_never_surely_below_it() {
        assert_eq!(caught_among(30_000, 1), 30_000);
        assert_eq!(caught_among(30_000, 2), 59_100);
        // 1 - 0.97^100
        assert_eq!(caught_among(30_000, 100), 952_447);
        assert_eq!(caught_among(0, 1_000), 0);
        assert_eq!(caught_among(PPM, 3), PPM);
        assert_eq!(caught_among(1, u32::MAX), 999_999);
    }

    #[test]
    fn a_larger_window_needs_less_bond_a_unit_and_outside_value_needs_more() {
        let pieces = |count: u32, gain: u64| Pieces {
            count,
            price: U256::from(1_000_000_u64 * u64::from(count)),
            gain: U256::from(gain),
        };
        // One unit: the published case. All of a hundred units are caught with 86.4 %, so that their own price nearly pays for it.
        let one = pieces(1, 0).bond_min(WORST).unwrap();
        assert_eq!(one, stakes(1_000_000, 1_000_000, 0).bond_min(WORST).unwrap());
        let hundred = pieces(100, 0).bond_min(WORST).unwrap();
        assert!(hundred < one && hundred > U256::ZERO, "{hundred}");
        assert!(pieces(100, 1_000_000).bond_min(WORST).unwrap() > hundred);
        let none = Checking { checkers: 0, ..WORST };
        assert_eq!(pieces(100, 0).bond_min(none), None);
        assert_eq!(pieces(100, 0).rate_min_ppm(none, U256::MAX), None);
        assert!(pieces(1, 0).rate_min_ppm(WORST, one).unwrap() <= WORST.rate_ppm);
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

        /// Every number of wrong pieces, with the probabilities multiplied out.
        #[test]
        fn behind_the_least_bond_of_a_window_no_number_of_wrong_pieces_pays(
            count in 1u32..60, price in 1u64..1 << 40, gain in 0u64..1 << 40, rate_ppm in 1_000u32..=PPM, checkers in 1u32..6,
        ) {
            let checking = Checking { rate_ppm, power_ppm: PPM, colluding_ppm: 333_333, checkers };
            let pieces = Pieces { count, price: U256::from(price), gain: U256::from(gain) };
            let bond = u64::try_from(pieces.bond_min(checking).unwrap()).unwrap() as f64;
            let caught = f64::from(checking.caught_ppm()) / 1e6;
            for wrong in 1..=count {
                let share = f64::from(wrong) / f64::from(count);
                let caught = 1.0 - (1.0 - caught).powi(i32::try_from(wrong).unwrap());
                let loses = caught * (price as f64 + bond + gain as f64);
                let wins = price as f64 * share + gain as f64;
                prop_assert!(loses >= wins * (1.0 - 1e-9), "{wrong} of {count}: loses {loses}, wins {wins}");
            }
        }
    }
}
